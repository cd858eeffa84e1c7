"""What clipping the gradient of every example to a norm takes: the factor of each example, and sums with it.

The first axis of every operand is that of the examples. An example's gradient for a weight that a row of numbers x
meets once is the product of x and a signal d, whose norm is |x| |d|: it is never written out. Other gradients are. What
is promised of the sums, that no example adds more than `bound` to their joint L2 norm, the factors keep (TRAINING
section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    NO_ROWS,
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    NoGradient,
    OpError,
    Rounding,
    Shape,
    Value,
    apply,
    bounds,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.families import Ordinary
from compiler.ops.linear import Conv2d
from compiler.ops.rules import TWICE, expect_count, expect_kind
from compiler.ops.shapes import Reshape, Transpose, part


@dataclass(frozen=True)
class Unclipped(Ordinary, abstract=True):
    """Of which nobody asks for a gradient."""

    symbol: ClassVar[str] = "clipping"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return tuple(NoGradient(TWICE) for _ in args)


@dataclass(frozen=True)
class ClipFactor(Unclipped):
    """For each example min(1, bound / n), or 0 where it does not count.

    Arguments: `pairs` of x and d, whose gradients are their products; gradients that are written out; and a bit for
    each example, whether it counts. n: the norm of all gradients of an example together. frac: the fraction bits of the
    result, at most.
    """

    bound: float
    pairs: int
    frac: int
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        *found, counts = args
        if not 0 < self.bound < math.inf:
            raise OpError(f"gradients are clipped to a norm above 0, found {self.bound:g}")
        kind = expect_kind(self.symbol, found, (Kind.FIXED,))
        expect_kind(self.symbol, (counts,), (Kind.BIT,))
        if any(arg.shape[:1] != counts.shape for arg in found):
            raise OpError(f"{self.symbol} expects as many examples in each value")
        return kind, counts.shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return 0 if all(axis == 0 for axis in axes) else ROWS_MEET

    def interval(self, *args: Value) -> Interval:
        return Interval(0.0, 1.0)

    def largest(self, *args: Value) -> float:
        """What no squared norm is above."""
        return sum(a * b for a, b in self.squares(args))

    def squares(self, args: Sequence[Value]) -> list[tuple[float, float]]:
        """Of each pair, and each gradient that is written out, the largest squared norms of its factors."""
        found = [bounds.l2(arg, range(1, arg.rank)) ** 2 for arg in args[:-1]]
        pairs = [(found[2 * i], found[2 * i + 1]) for i in range(self.pairs)]
        return [*pairs, *((each, 1.0) for each in found[2 * self.pairs :])]

    def evaluate(self, *arrays: Array) -> Array:
        *found, counts = arrays
        squares = [np.square(each).reshape(len(each), -1).sum(axis=1) for each in found]
        products = [squares[2 * i] * squares[2 * i + 1] for i in range(self.pairs)]
        total = np.sum([*products, *squares[2 * self.pairs :]], axis=0)
        return np.asarray(counts * (self.bound / np.sqrt(np.maximum(total, self.bound**2))))


@dataclass(frozen=True)
class Clipped(Unclipped):
    """Signals [n, k], each example's times its factor [n], with `frac` fraction bits."""

    frac: int

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return 0 if tuple(axes) == (0, 0) else ROWS_MEET

    def interval(self, *args: Value) -> Interval:
        return args[0].range.hull(Interval(0.0, 0.0))

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        d, factor = arrays
        return np.asarray(d * factor[:, None])


@dataclass(frozen=True)
class Summed(Unclipped, abstract=True):
    """A sum over examples of which each adds at most `bound` to any element."""

    bound: float

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if any(axis != NO_ROWS for axis in axes) else NO_ROWS

    def interval(self, *args: Value) -> Interval:
        most = self.bound * args[0].shape[0]
        return Interval(-most, most)


@dataclass(frozen=True)
class OuterSum(Summed):
    """x^T d: the sum over examples of the products of x [n, j] and clipped signals d [n, k]."""

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), (args[0].shape[1], args[1].shape[1])

    def evaluate(self, *arrays: Array) -> Array:
        x, d = arrays
        return np.asarray(x.T @ d)


@dataclass(frozen=True)
class FactorSum(Summed):
    """The sum over examples of their gradients [n, …], each times its factor [n]."""

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), args[0].shape[1:]

    def evaluate(self, *arrays: Array) -> Array:
        found, factor = arrays
        return np.asarray(np.tensordot(factor, found, axes=1))


@dataclass(frozen=True)
class Noised(Unclipped):
    """The argument with noise of this deviation, whose mean is 0; it is made where the result is computed privately,
    and no element moves by more than `reach`."""

    deviation: float
    reach: float

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]

    def interval(self, *args: Value) -> Interval:
        return args[0].range.widened(self.reach)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]


def along_each_kernel(op: Conv2d, x: Value, gradient: Value, shape: Shape) -> Value:
    """What reaches a weight of `shape` from each example alone, [n, *shape]: a convolution in which every example's
    input has its own gradient as the kernel. Stride and dilation change places."""
    groups, n = op.groups, x.shape[0]
    depth, outs = x.shape[1] // groups, gradient.shape[1]
    images = apply(Reshape((n, groups, depth, *x.shape[2:])), x)
    images = apply(Transpose((2, 0, 1, 3, 4)), images)
    images = apply(Reshape((depth, n * groups, *x.shape[2:])), images)
    kernels = apply(Reshape((n * outs, 1, *gradient.shape[2:])), gradient)
    found = apply(Conv2d(op.dilation, op.padding, op.stride, n * groups), images, kernels)
    found = part(found, (0, 0, 0, 0), (depth, n * outs, *shape[2:]))
    return apply(Transpose((1, 2, 0, 3, 4)), apply(Reshape((depth, n, outs, *shape[2:])), found))
