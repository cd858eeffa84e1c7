"""Orders along an axis: sorted values, and the places from which they come. Equals keep the order they had."""

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
    OpError,
    Rounding,
    Shape,
    Value,
    apply,
    expect_tensor,
)
from compiler.graph.interval import Interval
from compiler.ops.elementwise import ToInt
from compiler.ops.families import Ordinary
from compiler.ops.linear import MatMul
from compiler.ops.rules import NUMBERS, axis_of, expect_count, expect_kind
from compiler.ops.selection import OneHot
from compiler.ops.shapes import Reshape, Transpose, whole


@dataclass(frozen=True)
class Ordered(Ordinary, abstract=True):
    """The first `count` along `axis` (counted from the front), smallest first or, `descending`, largest first."""

    axis: int
    count: int
    descending: bool
    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        kind, shape = expect_kind(self.symbol, args, NUMBERS), args[0].shape
        axis, size = axis_of(self.symbol, self.axis, len(shape)), args[0].size
        if not 1 <= self.count <= shape[axis]:
            raise OpError(f"`k` of topk expects a number from 1 to {shape[axis]}, found {self.count}", arg="k")
        if not args[0].is_constant:
            expect_tensor((size, self.count))  # a bit for each element and each place
        return kind, (*shape[:axis], self.count, *shape[axis + 1 :])

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if self.axis == axes[0] else axes[0]

    def places(self, x: Array) -> Array:
        """Where the sorted elements come from."""
        ordered = np.argsort(-x if self.descending else x, axis=self.axis, kind="stable")
        return np.take(ordered, range(self.count), axis=self.axis)


@dataclass(frozen=True)
class Sort(Ordered):
    symbol: ClassVar[str] = "sort"
    rounding: ClassVar[Rounding] = Rounding.NONE

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def evaluate(self, *arrays: Array) -> Array:
        return np.take_along_axis(arrays[0], self.places(arrays[0]), self.axis)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Each goes back to where its element came from: a product with one-hot rows."""
        x, axis = args[0], self.axis
        last = (*(i for i in range(x.rank) if i != axis), axis)
        places = apply(OneHot(x.shape[axis]), apply(ArgSort(axis, self.count, self.descending), x))
        chosen = apply(Transpose((*last, x.rank)), apply(ToInt(), places))
        reaching = apply(Transpose(last), whole(gradient, result.shape))
        rows = apply(Reshape((*reaching.shape[:-1], 1, self.count)), reaching)
        back = apply(MatMul(), rows, chosen)
        moved = apply(Reshape((*back.shape[:-2], back.shape[-1])), back)
        return (apply(Transpose(tuple(np.argsort(last).tolist())), moved),)


@dataclass(frozen=True)
class ArgSort(Ordered):
    symbol: ClassVar[str] = "argsort"
    rounding: ClassVar[Rounding] = Rounding.NONE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        return Kind.INT, super().infer(*args)[1]

    def interval(self, *args: Value) -> Interval:
        return Interval(0, args[0].shape[self.axis] - 1)

    def evaluate(self, *arrays: Array) -> Array:
        return self.places(arrays[0]).astype(np.int64)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("an index changes in jumps"),)
