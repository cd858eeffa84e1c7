"""What an update of a parameter takes beside arithmetic: a step by a power of two, rounded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.graph import Array, Gradients, Value, apply
from compiler.graph.interval import Interval
from compiler.ops.elementwise import Unary


@dataclass(frozen=True)
class Shifted(Unary):
    """x 2^-by, with all the fraction bits that x is held with until it is rounded: to nothing, or one step, for a small
    x, but right in the mean."""

    by: int
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range * Interval(2.0**-self.by, 2.0**-self.by)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * 2.0**-self.by

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Shifted(self.by), gradient),)


@dataclass(frozen=True)
class Stored(Unary):
    """x itself, rounded to `frac` fraction bits, which may be more than those of the format."""

    frac: int
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)
