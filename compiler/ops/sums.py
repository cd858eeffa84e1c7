"""What all reductions over axes have in common, and the sum.

`axes` are sorted and counted from the front; `compiler.ops.build` reads the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import ROWS_MEET, Array, Gradients, Kind, Rounding, Shape, Value, apply, bounds
from compiler.graph.interval import Interval
from compiler.ops.families import Along, Ordinary
from compiler.ops.rules import NUMBERS, axes_of, expect_count, expect_kind
from compiler.ops.shapes import Reshape, Slice, whole


@dataclass(frozen=True)
class Reduction(Ordinary, abstract=True):
    axes: tuple[int, ...]
    keepdims: bool = False
    symbol: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = NUMBERS
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        axes = axes_of(self.symbol, self.axes, args[0].rank)
        return expect_kind(self.symbol, args, self.kinds), reduced(args[0].shape, axes, self.keepdims)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return kept_axis(axes[0], self.axes, self.keepdims)

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def count(self, shape: Shape) -> int:
        """How many elements become one."""
        return int(np.prod([shape[axis] for axis in self.axes], dtype=np.int64))

    def with_axes(self, gradient: Value, rank: int) -> Value:
        """What broadcasts to the result, with the axes that went: it broadcasts to an argument of `rank` axes."""
        if self.keepdims:
            return gradient
        sizes = [1] * (rank - len(self.axes) - gradient.rank) + list(gradient.shape)
        for axis in self.axes:
            sizes.insert(axis, 1)
        return apply(Reshape(tuple(sizes)), gradient)


def reduced(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def kept_axis(axis: int, gone: tuple[int, ...], keepdims: bool) -> int:
    """Where the rows' axis is behind a reduction."""
    if axis in gone:
        return ROWS_MEET
    return axis if keepdims else axis - sum(each < axis for each in gone)


@dataclass(frozen=True)
class Sum(Reduction):
    symbol: ClassVar[str] = "sum"
    compares: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        box = args[0].range.times(self.count(args[0].shape))
        return bounds.within(box, bounds.l1(args[0], self.axes)) if args[0].norms else box

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.sum(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (self.with_axes(gradient, args[0].rank),)


@dataclass(frozen=True)
class CumSum(Along):
    """Each element and all before it, added up."""

    symbol: ClassVar[str] = "cumsum"
    compares: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = NUMBERS
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def interval(self, *args: Value) -> Interval:
        x = args[0].range
        return x.hull(x.times(args[0].shape[self.axis]))

    def evaluate(self, *arrays: Array) -> Array:
        return np.cumsum(arrays[0], axis=self.axis)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Each gets the sum from it on: the same, from behind."""
        shape = args[0].shape
        starts = tuple(n - 1 if axis == self.axis else 0 for axis, n in enumerate(shape))
        turn = Slice(starts, tuple(-1 if axis == self.axis else 1 for axis in range(len(shape))), shape)
        return (apply(turn, apply(CumSum(self.axis), apply(turn, whole(gradient, result.shape)))),)
