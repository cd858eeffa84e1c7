"""Selection by whole numbers, secret or public."""

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
    expect_constant,
    expect_tensor,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import BITS, Interval
from compiler.ops.elementwise import ToInt
from compiler.ops.families import Ordinary
from compiler.ops.linear import MatMul
from compiler.ops.rules import NUMBERS, axis_of, expect_count, expect_kind, typed
from compiler.ops.shapes import Reshape, Transpose, whole


@dataclass(frozen=True)
class OneHot(Ordinary):
    """Bits along a new last axis: 1 at the index, and nowhere for an index outside [0, count)."""

    count: int
    symbol: ClassVar[str] = "one_hot"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        expect_kind(self.symbol, args, (Kind.INT,))
        if self.count < 1:
            raise OpError(f"`n` of one_hot expects at least 1, found {self.count}", arg="n")
        shape = (*args[0].shape, self.count)
        (expect_constant if args[0].is_constant else expect_tensor)(shape)
        return Kind.BIT, shape

    def interval(self, *args: Value) -> Interval:
        inside = args[0].range.intersect(Interval(0, self.count - 1))
        return BITS if inside is not None else Interval(0, 0)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return (Norm(1, (args[0].rank,), 1.0),)

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = arrays[0][..., None] == np.arange(self.count)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("bits change in jumps"),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]


@dataclass(frozen=True)
class Gather(Ordinary):
    """NumPy's take: the elements of the first argument at indices along one axis; 0 for an index outside."""

    axis: int
    symbol: ClassVar[str] = "gather"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        x, i = args
        kind = expect_kind(self.symbol, (x,), NUMBERS)
        if i.kind is not Kind.INT:
            raise OpError(f"{self.symbol} expects int indices, found {typed(i)}", arg=1)
        axis_of(self.symbol, self.axis, x.rank)
        shape = (*x.shape[: self.axis], *i.shape, *x.shape[self.axis + 1 :])
        constant = x.is_constant and i.is_constant
        (expect_constant if constant else expect_tensor)(shape)
        (expect_constant if constant else expect_tensor)((*i.shape, x.shape[self.axis]))
        return kind, shape

    def interval(self, *args: Value) -> Interval:
        x, i = args
        inside = Interval(0, x.shape[self.axis] - 1).contains(i.range)
        return x.range if inside else x.range.hull(Interval(0, 0))

    def evaluate(self, *arrays: Array) -> Array:
        x, i = arrays
        inside = (i >= 0) & (i < x.shape[self.axis])
        found = np.take(x, np.where(inside, i, 0), axis=self.axis)
        shape = (*i.shape, *(1,) * (x.ndim - self.axis - 1))
        result: Array = np.where(np.reshape(inside, shape), found, x.dtype.type(0))
        return result

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        x, i = axes
        if x == NO_ROWS:
            return self.axis + i
        if i != NO_ROWS or x == self.axis:
            return ROWS_MEET
        return x if x < self.axis else x + args[1].rank - 1

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Each row of the first argument gets the sum of what reaches its copies: a product with one-hot rows."""
        x, i = args
        before, n, behind = math.prod(x.shape[: self.axis]), x.shape[self.axis], math.prod(x.shape[self.axis + 1 :])
        reaching = apply(Reshape((before, i.size, behind)), whole(gradient, result.shape))
        rows = apply(Reshape((i.size, before * behind)), apply(Transpose((1, 0, 2)), reaching))
        chosen = apply(ToInt(), apply(OneHot(n), apply(Reshape((i.size,)), i)))
        summed = apply(MatMul(), apply(Transpose((1, 0)), chosen), rows)
        back = apply(Transpose((1, 0, 2)), apply(Reshape((n, before, behind)), summed))
        return apply(Reshape(x.shape), back), NoGradient("an index changes in jumps")
