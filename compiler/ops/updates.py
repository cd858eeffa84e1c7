"""What an update of a parameter takes beside arithmetic: numbers with more fraction bits than the format, rounded once.

A result is right in the mean however small it is: it is rounded to one of its neighbours, to each as often as it is
near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Kind, NoGradient, Rounding, Shape, TensorOp, Value, apply, bounds, constant
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.elementwise import Mul, Unary, times
from compiler.ops.rules import TWICE, broadcast, expect_count, expect_kind
from compiler.ops.shapes import aligned


@dataclass(frozen=True)
class Shifted(Unary):
    """x 2^-by in the format, of an x with all the fraction bits that it is held with."""

    by: int
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return _shifted(args[0].range, self.by)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.scaled(args[0].norms, 2.0**-self.by)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * 2.0**-self.by

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Shifted(self.by), gradient),)


@dataclass(frozen=True)
class Stored(Unary):
    """x 2^-by, rounded to `frac` fraction bits, which may be more than those of the format."""

    frac: int
    by: int = 0
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return _shifted(args[0].range, self.by)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.scaled(args[0].norms, 2.0**-self.by)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * 2.0**-self.by

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Shifted(self.by), gradient),)


@dataclass(frozen=True)
class Squared(Unary):
    """x^2, of an x with all the fraction bits that it is held with, rounded to `frac` of them."""

    frac: int
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range.square()

    def evaluate(self, *arrays: Array) -> Array:
        return np.square(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Mul(), times(gradient, args[0]), constant(2.0)),)


@dataclass(frozen=True)
class Pair(TensorOp, abstract=True):
    """Two fixed tensors give one, of which nobody asks for a gradient."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.name, args, 2)
        return expect_kind(self.name, args, (Kind.FIXED,)), broadcast(self.name, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return NoGradient(TWICE), NoGradient(TWICE)


@dataclass(frozen=True)
class Paced(Pair):
    """x p 2^-by in the format, for a public p."""

    by: int

    def interval(self, *args: Value) -> Interval:
        return _shifted(args[0].range * args[1].range, self.by)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.scaled(bounds.multiplied(*args), 2.0**-self.by)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * arrays[1] * 2.0**-self.by


@dataclass(frozen=True)
class Scaled(Pair):
    """x p, with as many fraction bits as x is held with, for a public p."""

    def interval(self, *args: Value) -> Interval:
        return args[0].range * args[1].range

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0] * arrays[1])


@dataclass(frozen=True)
class Carried(Pair):
    """What is x where the second is 1, and 0 where it is 0, in all the fraction bits with which x is held. The second
    is a public whole number, or a bit."""

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.name, args, 2)
        return args[0].kind, broadcast(self.name, *args)

    def interval(self, *args: Value) -> Interval:
        return args[0].range.hull(Interval(0, 0))

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0] * arrays[1])


@dataclass(frozen=True)
class OverRoot(Pair):
    """m / sqrt(v + eps^2), whose magnitude is known to be at most `reach`, with `frac` fraction bits."""

    eps: float
    reach: float
    frac: int
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return Interval(-self.reach, self.reach)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0] / np.sqrt(arrays[1] + self.eps**2))


@dataclass(frozen=True)
class Largest(Pair):
    """The larger of two, in all the fraction bits that they are held with."""

    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.maximum(args[1].range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(*arrays)


def _shifted(range_: Interval, by: int) -> Interval:
    return range_ * Interval(2.0**-by, 2.0**-by)
