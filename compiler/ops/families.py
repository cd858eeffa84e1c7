"""Families that ops of several files belong to, with the facts that all of their members share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from compiler.graph import ROWS_MEET, Kind, Rounding, Shape, TensorOp, Value
from compiler.ops.rules import axis_of, expect_count, expect_kind


@dataclass(frozen=True)
class Ordinary(TensorOp, abstract=True):
    """What most ops are: the order of their arguments matters, they need not rise with each element, they can be
    expanded, and no field holds a size of the result.

    A family of which some members are otherwise (`Binary`, `Move`) leaves that fact open instead, so that none of them
    can forget it.
    """

    symbol: ClassVar[str] = ""
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Along(Ordinary, abstract=True):
    """A tensor gives one of its shape, and each element depends on those along `axis`, counted from the front."""

    axis: int
    symbol: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = (Kind.FIXED,)
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        axis_of(self.symbol, self.axis, args[0].rank)
        return expect_kind(self.symbol, args, self.kinds), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if self.axis == axes[0] else axes[0]
