"""Reductions over axes. `axes` are sorted and counted from the front; `compiler.ops.build` reads the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    NoGradient,
    Rounding,
    Shape,
    Value,
    apply,
    bounds,
    constant,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.elementwise import Mul, Sub, times
from compiler.ops.families import Ordinary
from compiler.ops.rules import NUMBERS, TWICE, axis_of, expect_count, expect_kind
from compiler.ops.shapes import whole
from compiler.ops.sums import Reduction, Sum, kept_axis, reduced
from compiler.ops.tournament import back_through

__all__ = ["ArgMax", "Max", "MaxGradient", "Mean", "Min", "Reduction", "Sum"]


@dataclass(frozen=True)
class Mean(Reduction):
    symbol: ClassVar[str] = "mean"
    compares: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = (Kind.FIXED,)

    def interval(self, *args: Value) -> Interval:
        count = self.count(args[0].shape)
        return bounds.within(args[0].range, bounds.l1(args[0], self.axes) / count) if args[0].norms else args[0].range

    def distance(self, x: Value, result: Value) -> Interval | None:
        """What one of n elements is from their mean: at most (n - 1) / n of their width, and what rounds the mean."""
        if x is not result.args[0] or result.rank != x.rank or result.declared is not None:
            return None
        count, rounding = self.count(x.shape), max(x.range.lo - result.range.lo, result.range.hi - x.range.hi, 0.0)
        most = bounds.UP * x.range.width * (count - 1) / count + 2 * rounding
        return Interval(-most, most) if x.range.is_finite else None

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.mean(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        part = apply(Mul(), gradient, constant(1 / self.count(args[0].shape)))
        return (self.with_axes(part, args[0].rank),)


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
        box = Interval(0, Interval(half, half).square().hi)
        if not args[0].norms:
            return box
        norm = bounds.l2(args[0], self.axes)
        return bounds.within(box, bounds.UP * norm * norm / self.count(args[0].shape))

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.var(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """2 (x - mean) / n."""
        x = args[0]
        away = apply(Sub(), x, apply(Mean(self.axes, True), x))
        part = self.with_axes(apply(Mul(), gradient, constant(2 / self.count(x.shape))), x.rank)
        return (times(part, away),)


@dataclass(frozen=True)
class Max(Reduction):
    symbol: ClassVar[str] = "max"
    compares: ClassVar[bool] = True

    def distance(self, x: Value, result: Value) -> Interval | None:
        return _below(x, result)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.max(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (_extreme_gets(self, args[0], result, gradient, least=False),)


@dataclass(frozen=True)
class Min(Reduction):
    symbol: ClassVar[str] = "min"
    compares: ClassVar[bool] = True

    def distance(self, x: Value, result: Value) -> Interval | None:
        above = _below(x, result)
        return None if above is None else -above

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.min(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (_extreme_gets(self, args[0], result, gradient, least=True),)


def _below(x: Value, largest: Value) -> Interval | None:
    """The range of x less the largest of it, which the rounding of choices leaves a little too small."""
    if x is not largest.args[0] or largest.rank != x.rank or largest.declared is not None or not x.range.is_finite:
        return None
    rounding = max(x.range.lo - largest.range.lo, largest.range.hi - x.range.hi, 0.0)
    return Interval(-x.range.width - rounding, rounding)


def _extreme_gets(op: Reduction, x: Value, result: Value, gradient: Value, least: bool) -> Value:
    kept = op.with_axes(whole(gradient, result.shape), x.rank)
    return apply(MaxGradient(op.axes, least), x, kept)


@dataclass(frozen=True)
class MaxGradient(Ordinary):
    """Of x and a gradient with `axes` of size 1: zeros, with the gradient at the largest (or the least) along them.

    One of equals gets all.
    """

    axes: tuple[int, ...]
    least: bool = False
    symbol: ClassVar[str] = "the gradient of max"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        expect_kind(self.symbol, args[:1], NUMBERS)
        return expect_kind(self.symbol, args[1:], (Kind.FIXED,)), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0] if axes[0] == axes[1] and axes[0] not in self.axes else ROWS_MEET

    def interval(self, *args: Value) -> Interval:
        return args[1].range.hull(Interval(0, 0))

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """One element along `axes` is what the gradient is there."""
        known = {(n.order, n.axes) for n in args[1].norms} or {(1, ()), (2, ())}
        return tuple(
            Norm(
                order,
                tuple(sorted({*axes, *self.axes})),
                bounds.l1(args[1], axes) if order == 1 else bounds.l2(args[1], axes),
            )
            for order, axes in sorted(known)
        )

    def evaluate(self, *arrays: Array) -> Array:
        x, gradient = arrays
        largest = -x if self.least else x
        levels = []
        for axis in self.axes:
            levels.append(np.split(largest, largest.shape[axis], axis))
            largest = largest.max(axis=axis, keepdims=True)
        for axis, places in zip(reversed(self.axes), reversed(levels), strict=True):
            gradient = np.concatenate(back_through(places, gradient), axis)
        return gradient

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (None, NoGradient(TWICE))


@dataclass(frozen=True)
class ArgMax(Ordinary):
    """The index of the largest along `axis`, the first of equals; the axis goes."""

    axis: int
    symbol: ClassVar[str] = "argmax"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE

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

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("an index changes in jumps"),)
