"""Reductions over axes. `axes` are sorted and counted from the front; `compiler.ops.build` reads the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import ROWS_MEET, Array, Kind, Rounding, Shape, TensorOp, Value
from compiler.graph.interval import Interval
from compiler.ops.rules import NUMBERS, axes_of, axis_of, expect_count, expect_kind


@dataclass(frozen=True)
class Reduction(TensorOp, abstract=True):
    axes: tuple[int, ...]
    keepdims: bool = False
    symbol: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = NUMBERS
    rounding: ClassVar[Rounding] = Rounding.STEPS
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

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
        return args[0].range.times(self.count(args[0].shape))

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.sum(arrays[0], axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True)
class Mean(Reduction):
    symbol: ClassVar[str] = "mean"
    compares: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = (Kind.FIXED,)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.mean(arrays[0], axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True)
class Var(Reduction):
    """The mean square of what is left after the mean is subtracted: it divides by n."""

    symbol: ClassVar[str] = "var"
    compares: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = (Kind.FIXED,)
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def interval(self, *args: Value) -> Interval:
        """At most that of numbers half of which are at either end."""
        half = args[0].range.width / 2
        return Interval(0, Interval(half, half).square().hi)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.var(arrays[0], axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True)
class Max(Reduction):
    symbol: ClassVar[str] = "max"
    compares: ClassVar[bool] = True

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.max(arrays[0], axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True)
class Min(Reduction):
    symbol: ClassVar[str] = "min"
    compares: ClassVar[bool] = True

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.min(arrays[0], axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True)
class ArgMax(TensorOp):
    """The index of the largest along `axis`, the first of equals; the axis goes."""

    axis: int
    symbol: ClassVar[str] = "argmax"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        expect_kind(self.symbol, args, NUMBERS)
        axis = axis_of(self.symbol, self.axis, args[0].rank)
        return Kind.INT, reduced(args[0].shape, (axis,), keepdims=False)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return kept_axis(axes[0], (self.axis,), keepdims=False)

    def interval(self, *args: Value) -> Interval:
        return Interval(0, args[0].shape[self.axis] - 1)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.argmax(arrays[0], axis=self.axis), dtype=np.int64)
