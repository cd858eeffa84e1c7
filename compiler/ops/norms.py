"""What is scaled by a norm of its own: layer normalisation, and clipping to a norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import ROWS_MEET, Array, Gradients, Kind, OpError, Rounding, Shape, Value, apply, constant
from compiler.graph.bounds import UP, Norm
from compiler.graph.interval import Interval
from compiler.ops.activations import Rsqrt
from compiler.ops.comparisons import Larger
from compiler.ops.elementwise import Add, Maximum, Mul, Square, Sub, chosen
from compiler.ops.families import Ordinary
from compiler.ops.reductions import Mean, Var
from compiler.ops.rules import axes_of, expect_count, expect_kind
from compiler.ops.shapes import whole
from compiler.ops.sums import Sum

LEAST_VARIANCE = 2.0**-14
"""That layer normalisation divides by on the way back. A smaller one has less than 2 bits that are right."""


@dataclass(frozen=True)
class Normed(Ordinary, abstract=True):
    """A fixed number gives a fixed number, and each depends on all along some axes."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), args[0].shape


@dataclass(frozen=True)
class LayerNorm(Normed):
    """(x - mean) / sqrt(var + eps) along the last axis."""

    eps: float
    symbol: ClassVar[str] = "layernorm"

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        found = super().infer(*args)
        if not found[1]:
            raise OpError("layernorm expects at least one axis, found a scalar", arg=0)
        return found

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if axes[0] == len(shape) - 1 else axes[0]

    def interval(self, *args: Value) -> Interval:
        """The largest when all others are equal."""
        most = math.sqrt(args[0].shape[-1] - 1)
        return Interval(-1, 1) * Interval(most, most).widened(1e-9 * most)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """The mean square is at most 1."""
        return (Norm(2, (args[0].rank - 1,), UP * math.sqrt(args[0].shape[-1])),)

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        result: Array = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + self.eps)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """(g - mean(g) - y mean(g y)) / deviation, which is taken to be no smaller than fixed point can divide by."""
        last = (args[0].rank - 1,)
        gradient = whole(gradient, result.shape)
        variance = apply(Add(), apply(Var(last, True), args[0]), constant(self.eps))
        inverse = apply(Rsqrt(), apply(Maximum(), variance, constant(max(self.eps, LEAST_VARIANCE))))
        along = apply(Mul(), result, apply(Mean(last, True), apply(Mul(), gradient, result)))
        rest = apply(Sub(), apply(Sub(), gradient, apply(Mean(last, True), gradient)), along)
        return (apply(Mul(), rest, inverse),)


@dataclass(frozen=True)
class ClipNorm(Normed):
    """x times min(1, bound / its L2 norm over `axes`), which are sorted and counted from the front."""

    bound: float
    axes: tuple[int, ...]
    symbol: ClassVar[str] = "clip_norm"

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        if not 0 < self.bound < math.inf:
            raise OpError(f"`bound` of clip_norm expects a number above 0, found {self.bound:g}", arg="bound")
        axes_of(self.symbol, self.axes, args[0].rank)
        return super().infer(*args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if axes[0] in self.axes else axes[0]

    def interval(self, *args: Value) -> Interval:
        return args[0].range.hull(Interval(0, 0)).clip(-self.bound, self.bound)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return (Norm(2, self.axes, UP * self.bound), *args[0].norms)

    def evaluate(self, *arrays: Array) -> Array:
        norm = np.sqrt(np.square(arrays[0]).sum(axis=self.axes, keepdims=True))
        result: Array = arrays[0] * (self.bound / np.maximum(norm, self.bound))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """f g, less f y (y . g) / bound^2 where it was clipped, with f what x was multiplied by."""
        squared, limit = apply(Sum(self.axes, True), apply(Square(), args[0])), constant(self.bound**2)
        factor = apply(Mul(), apply(Rsqrt(), apply(Maximum(), squared, limit)), constant(self.bound))
        met = apply(Sum(self.axes, True), apply(Mul(), whole(gradient, result.shape), result))
        clipped = chosen(apply(Larger(), squared, limit), apply(Mul(), met, constant(self.bound**-2)))
        return (apply(Mul(), factor, apply(Sub(), gradient, apply(Mul(), result, clipped))),)
