"""Ops that only move elements: no arithmetic, any kind."""

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
    Constant,
    Gradients,
    Kind,
    OpError,
    Rounding,
    Shape,
    TensorOp,
    Value,
    apply,
    bounds,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval, hull
from compiler.ops.families import Ordinary
from compiler.ops.rules import axis_of, broadcast_shapes, expect_count, expect_kind, show


@dataclass(frozen=True)
class Move(TensorOp, abstract=True):
    """A result whose elements are elements of the first argument."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        return args[0].kind, self.moved(args[0].shape)

    def moved(self, shape: Shape) -> Shape:
        raise OpError(f"{self.symbol} does not fit {show(shape)}")

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """Axes keep their places, and at most zeros are added."""
        return args[0].norms


class Same(Move, abstract=True):
    """The argument as it is, of which something is said."""

    sizes: ClassVar[tuple[str, ...]] = ()

    def moved(self, shape: Shape) -> Shape:
        return shape

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]


@dataclass(frozen=True)
class Reshape(Move):
    """The same elements in C order; every size is given."""

    shape: Shape
    symbol: ClassVar[str] = "reshape"
    sizes: ClassVar[tuple[str, ...]] = ("shape",)

    def moved(self, shape: Shape) -> Shape:
        have, want = math.prod(shape), math.prod(self.shape)
        if min(self.shape, default=1) < 1:
            raise OpError(_no_sizes(shape, self.shape), "one size may be -1: it takes what is left", "shape")
        if have != want:
            raise OpError(
                f"reshape expects the same number of elements before and after,"
                f" found {show(shape)} ({have}) for {show(self.shape)} ({want})",
                "one size may be -1: it takes what is left",
                0,
            )
        return self.shape

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.reshaped(args[0].norms, args[0].shape, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].reshape(self.shape)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Reshape(args[0].shape), whole(gradient, self.shape)),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        """The axis with as many elements before it and behind it; of several (a batch of 1) the nearest."""
        old, axis = args[0].shape, axes[0]
        before, size = math.prod(old[:axis]), old[axis]
        fitting = [i for i, n in enumerate(shape) if n == size and math.prod(shape[:i]) == before]
        return min(fitting, key=lambda i: abs(i - axis), default=ROWS_MEET)


def _no_sizes(shape: Shape, wanted: Shape) -> str:
    """Why `wanted`, which has sizes below 1, is no shape for the elements of `shape`."""
    rest = [size for size in wanted if size != -1]
    if min(rest, default=1) < 1 or len(rest) < len(wanted) - 1:
        return f"reshape expects sizes of at least 1, at most one of them -1, found {show(wanted)}"
    return (
        f"reshape cannot fill {show(wanted)}: {math.prod(shape)} elements of {show(shape)}"
        f" are not a multiple of {math.prod(rest)}"
    )


@dataclass(frozen=True)
class Transpose(Move):
    """Axis i of the result is axis `axes[i]` of the argument."""

    axes: tuple[int, ...]
    symbol: ClassVar[str] = "transpose"
    sizes: ClassVar[tuple[str, ...]] = ()

    def moved(self, shape: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(shape))):
            raise OpError(
                f"transpose expects each axis of {show(shape)} once, found axes {show(self.axes)}",
                f"give an order of {show(range(len(shape)))}",
                0,
            )
        return tuple(shape[axis] for axis in self.axes)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.permuted(args[0].norms, self.axes)

    def evaluate(self, *arrays: Array) -> Array:
        return np.transpose(arrays[0], self.axes)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        back = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return (apply(Transpose(back), whole(gradient, result.shape)),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return self.axes.index(axes[0])


@dataclass(frozen=True)
class Slice(Move):
    """Per axis `counts` elements from `starts` on, `steps` apart (negative: backwards); the rank stays.

    NumPy's basic indexing is this and a Reshape: `compiler.ops.indexing` reads the user's indices.
    """

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    symbol: ClassVar[str] = "indexing"
    sizes: ClassVar[tuple[str, ...]] = ("counts",)

    def moved(self, shape: Shape) -> Shape:
        if not len(self.starts) == len(self.steps) == len(self.counts) == len(shape):
            raise OpError(f"indexing expects {len(shape)} axes, found {len(self.counts)}", arg=0)
        for start, step, count, size in zip(self.starts, self.steps, self.counts, shape, strict=True):
            if count < 1 or not (0 <= start < size and 0 <= start + step * (count - 1) < size):
                raise OpError(f"indexing leaves the axes of {show(shape)}", arg=0)
        return self.counts

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0][tuple(map(_span, self.starts, self.steps, self.counts))]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Spread(args[0].shape, self.starts, self.steps), whole(gradient, result.shape)),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        axis = axes[0]
        whole = (self.starts[axis], self.steps[axis], self.counts[axis]) == (0, 1, args[0].shape[axis])
        return axis if whole else ROWS_MEET


def _span(start: int, step: int, count: int) -> slice:
    stop = start + step * count
    return slice(start, stop if stop >= 0 else None, step)


@dataclass(frozen=True)
class Spread(Move):
    """Zeros of `shape`, with the elements where a Slice with these starts and steps takes them from."""

    shape: Shape
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    symbol: ClassVar[str] = "the gradient of indexing"
    sizes: ClassVar[tuple[str, ...]] = ("shape",)

    def moved(self, shape: Shape) -> Shape:
        if Slice(self.starts, self.steps, shape).moved(self.shape) != shape:
            raise OpError(f"{self.symbol} does not fit {show(shape)}", arg=0)
        return self.shape

    def interval(self, *args: Value) -> Interval:
        return args[0].range if args[0].shape == self.shape else args[0].range.hull(Interval(0, 0))

    def evaluate(self, *arrays: Array) -> Array:
        result = np.zeros(self.shape, arrays[0].dtype)
        result[tuple(map(_span, self.starts, self.steps, arrays[0].shape))] = arrays[0]
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Slice(self.starts, self.steps, args[0].shape), whole(gradient, self.shape)),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        axis = axes[0]
        return axis if args[0].shape[axis] == shape[axis] and self.steps[axis] == 1 else ROWS_MEET


@dataclass(frozen=True)
class Concat(Ordinary):
    """The arguments one behind the other along `axis` (counted from the front)."""

    axis: int
    symbol: ClassVar[str] = "concat"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.NONE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        if not args:
            raise OpError("concat expects at least one value, found none")
        kind = expect_kind(self.symbol, args, tuple(Kind))
        first = args[0].shape
        axis = axis_of(self.symbol, self.axis, len(first))
        for index, arg in enumerate(args):
            if _without(arg.shape, axis) != _without(first, axis) or arg.rank != len(first):
                raise OpError(
                    f"concat along axis {axis} expects equal sizes on the other axes,"
                    f" found {show(first)} and {show(arg.shape)}",
                    arg=index,
                )
        total = sum(arg.shape[axis] for arg in args)
        return kind, (*first[:axis], total, *first[axis + 1 :])

    def interval(self, *args: Value) -> Interval:
        return hull(arg.range for arg in args)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.joined(args, self.axis)

    def evaluate(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, axis=self.axis)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        parts, start = [], 0
        for arg in args:
            starts = tuple(start if axis == self.axis else 0 for axis in range(arg.rank))
            parts.append(part(whole(gradient, result.shape), starts, arg.shape))
            start += arg.shape[self.axis]
        return tuple(parts)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        found = aligned(args, axes, shape)
        return ROWS_MEET if found == self.axis else found


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


@dataclass(frozen=True)
class Pad(Move):
    """`widths` is (before, after) per axis; the new elements are `value`."""

    widths: tuple[tuple[int, int], ...]
    value: float = 0
    symbol: ClassVar[str] = "pad"
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        kind, shape = super().infer(*args)
        if kind is not Kind.FIXED and self.value != int(self.value):
            raise OpError(f"pad of {kind.value} values expects a whole value, found {self.value}")
        if kind is Kind.BIT and self.value not in (0, 1):
            raise OpError(f"pad of bits expects 0 or 1, found {self.value}")
        return kind, shape

    def moved(self, shape: Shape) -> Shape:
        if len(self.widths) != len(shape):
            raise OpError(
                f"pad expects a pair [before, after] for each of the {len(shape)} axes of {show(shape)},"
                f" found {len(self.widths)}",
                "write [0, 0] for an axis that stays",
                0,
            )
        if any(width < 0 for pair in self.widths for width in pair):
            raise OpError("pad expects widths of at least 0", "to remove elements, use an index: `x[1:]`")
        return tuple(size + sum(pair) for size, pair in zip(shape, self.widths, strict=True))

    def interval(self, *args: Value) -> Interval:
        padded = any(width for pair in self.widths for width in pair)
        return args[0].range.hull(Interval(self.value, self.value)) if padded else args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms if self.value == 0 else ()

    def evaluate(self, *arrays: Array) -> Array:
        if not self.widths:
            return arrays[0]
        return np.pad(arrays[0], self.widths, constant_values=arrays[0].dtype.type(self.value))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        starts = tuple(before for before, _ in self.widths)
        return (part(whole(gradient, result.shape), starts, args[0].shape),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0] if self.widths[axes[0]] == (0, 0) else ROWS_MEET


@dataclass(frozen=True)
class BroadcastTo(Move):
    """NumPy's broadcast_to."""

    shape: Shape
    symbol: ClassVar[str] = "broadcast_to"
    sizes: ClassVar[tuple[str, ...]] = ("shape",)

    def moved(self, shape: Shape) -> Shape:
        if min(self.shape, default=1) < 1:
            raise OpError(f"broadcast_to expects sizes of at least 1, found {show(self.shape)}", arg="shape")
        if broadcast_shapes(shape, self.shape) != self.shape:
            raise OpError(
                f"broadcast_to expects a shape that {show(shape)} broadcasts to, found {show(self.shape)}",
                "counted from the last axis, sizes must be equal or 1 in the value",
                0,
            )
        return self.shape

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.broadcast(args[0], self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.broadcast_to(arrays[0], self.shape)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        moved = axes[0] + len(shape) - args[0].rank
        return moved if shape[moved] == args[0].shape[axes[0]] else ROWS_MEET


# -- what gradients move -----------------------------------------------------------------------------------------------


def whole(gradient: Value, shape: Shape) -> Value:
    """`gradient` with all elements of `shape`, to which it broadcasts."""
    return gradient if gradient.shape == shape else apply(BroadcastTo(shape), gradient)


def part(x: Value, starts: Shape, counts: Shape) -> Value:
    """`counts` neighbours from `starts` on."""
    return x if counts == x.shape else apply(Slice(starts, (1,) * x.rank, counts), x)


# -- the rows of the dim `batch`, for ops that broadcast ---------------------------------------------------------------


def aligned(args: Sequence[Value], axes: Sequence[int], result: Shape) -> int:
    """The rows' axis in `result`, to which the arguments are broadcast."""
    pairs = list(zip(args, axes, strict=True))
    axis, *others = {known + len(result) - arg.rank for arg, known in pairs if known != NO_ROWS}
    if others or any(arg.shape[known] != result[axis] for arg, known in pairs if known != NO_ROWS):
        return ROWS_MEET
    free = [arg for arg, known in pairs if known == NO_ROWS]
    return axis if all(uniform(arg, axis - len(result) + arg.rank) for arg in free) else ROWS_MEET


def uniform(value: Value, axis: int) -> bool:
    """Whether every row along `axis` gets the same of a value that depends on no rows. axis < 0: it has no such."""
    if axis < 0 or value.shape[axis] == 1:
        return True
    if isinstance(value.op, Constant):
        array = value.array
        return bool(np.all(array == array.take([0], axis=axis)))
    if isinstance(value.op, BroadcastTo):
        return uniform(value.args[0], axis - value.rank + value.args[0].rank)
    return False
