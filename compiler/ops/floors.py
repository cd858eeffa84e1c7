"""The whole number below a number, and the nearest one: exact, of what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Kind, NoGradient, Rounding, Shape, Value
from compiler.graph.interval import Interval
from compiler.ops.families import Ordinary
from compiler.ops.rules import expect_count, expect_kind


@dataclass(frozen=True)
class ToWhole(Ordinary, abstract=True):
    """A fixed number gives an int."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE
    monotone: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        expect_kind(self.symbol, args, (Kind.FIXED,))
        return Kind.INT, args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("a whole number changes in jumps"),)


@dataclass(frozen=True)
class Floor(ToWhole):
    """The largest whole number that is not above."""

    symbol: ClassVar[str] = "floor"

    def interval(self, *args: Value) -> Interval:
        return _image(args[0].range, math.floor)

    def evaluate(self, *arrays: Array) -> Array:
        return _whole(np.floor(arrays[0]))


@dataclass(frozen=True)
class Round(ToWhole):
    """The nearest whole number, and of two the even one."""

    symbol: ClassVar[str] = "round"

    def interval(self, *args: Value) -> Interval:
        return _image(args[0].range, round)

    def evaluate(self, *arrays: Array) -> Array:
        return _whole(np.rint(arrays[0]))


def _image(x: Interval, function: Callable[[float], int]) -> Interval:
    lo, hi = (end if math.isinf(end) else float(function(end)) for end in (x.lo, x.hi))
    return Interval(lo, hi)


def _whole(x: Array) -> Array:
    """As int64; what it does not hold is the nearest that it does."""
    most = 2.0**62
    result: Array = np.clip(np.nan_to_num(x), -most, most).astype(np.int64)
    return result
