"""Selection by whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    Array,
    Gradients,
    Kind,
    NoGradient,
    OpError,
    Rounding,
    Shape,
    TensorOp,
    Value,
    expect_constant,
    expect_tensor,
)
from compiler.graph.interval import BITS, Interval
from compiler.ops.rules import expect_count, expect_kind


@dataclass(frozen=True)
class OneHot(TensorOp):
    """Bits along a new last axis: 1 at the index, and nowhere for an index outside [0, count)."""

    count: int
    symbol: ClassVar[str] = "one_hot"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

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

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = arrays[0][..., None] == np.arange(self.count)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("bits change in jumps"),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]
