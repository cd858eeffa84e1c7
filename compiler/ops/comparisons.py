"""Comparisons, which give bits, and logic on bits, element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Kind, NoGradient, Rounding, Shape, TensorOp, Value
from compiler.graph.bounds import Norm
from compiler.graph.interval import BITS, Interval
from compiler.ops.families import Ordinary
from compiler.ops.rules import NUMBERS, broadcast, expect_count, expect_kind
from compiler.ops.shapes import aligned

JUMPS = "a bit changes in jumps"


@dataclass(frozen=True)
class Comparison(TensorOp, abstract=True):
    """Compares what is stored, exactly; two numbers of one kind give a bit.

    Ranges decide between whole numbers only: a fixed number is stored with the rounding of all that it is made of.
    """

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        expect_kind(self.symbol, args, NUMBERS)
        return Kind.BIT, broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient(JUMPS),) * len(args)


def _decided(args: tuple[Value, ...], certain: bool, impossible: bool) -> Interval:
    if any(arg.kind is Kind.FIXED for arg in args):
        return BITS
    if certain:
        return Interval(1, 1)
    return Interval(0, 0) if impossible else BITS


@dataclass(frozen=True)
class Greater(Comparison):
    symbol: ClassVar[str] = "`>`"
    commutative: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.lo > b.hi, a.hi <= b.lo)

    def evaluate(self, *arrays: Array) -> Array:
        return np.greater(*arrays)


@dataclass(frozen=True)
class GreaterEqual(Comparison):
    symbol: ClassVar[str] = "`>=`"
    commutative: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.lo >= b.hi, a.hi < b.lo)

    def evaluate(self, *arrays: Array) -> Array:
        return np.greater_equal(*arrays)


@dataclass(frozen=True)
class Less(Comparison):
    symbol: ClassVar[str] = "`<`"
    commutative: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.hi < b.lo, a.lo >= b.hi)

    def evaluate(self, *arrays: Array) -> Array:
        return np.less(*arrays)


@dataclass(frozen=True)
class LessEqual(Comparison):
    symbol: ClassVar[str] = "`<=`"
    commutative: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.hi <= b.lo, a.lo > b.hi)

    def evaluate(self, *arrays: Array) -> Array:
        return np.less_equal(*arrays)


@dataclass(frozen=True)
class Equal(Comparison):
    symbol: ClassVar[str] = "`==`"
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.width == b.width == 0 and a.lo == b.lo, a.intersect(b) is None)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """One number is equal to at most one of different ones: a label beside all classes."""
        return tuple(n for x, table in (args, args[::-1]) for n in _one_of(x, table))

    def evaluate(self, *arrays: Array) -> Array:
        return np.equal(*arrays)


def _one_of(x: Value, table: Value) -> tuple[Norm, ...]:
    if not table.is_constant or table.rank != 1 or x.rank < 1 or x.shape[-1] != 1:
        return ()
    return (Norm(1, (x.rank - 1,), 1.0),) if np.unique(table.array).size == table.size else ()


@dataclass(frozen=True)
class NotEqual(Comparison):
    symbol: ClassVar[str] = "`!=`"
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        a, b = args[0].range, args[1].range
        return _decided(args, a.intersect(b) is None, a.width == b.width == 0 and a.lo == b.lo)

    def evaluate(self, *arrays: Array) -> Array:
        return np.not_equal(*arrays)


@dataclass(frozen=True)
class Logic(TensorOp, abstract=True):
    """Bits give bits."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    count: ClassVar[int] = 2
    rounding: ClassVar[Rounding] = Rounding.NONE
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, self.count)
        return expect_kind(self.symbol, args, (Kind.BIT,)), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient(JUMPS),) * len(args)


@dataclass(frozen=True)
class And(Logic):
    symbol: ClassVar[str] = "`and`"
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.minimum(args[1].range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.logical_and(*arrays)


@dataclass(frozen=True)
class Or(Logic):
    symbol: ClassVar[str] = "`or`"
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.maximum(args[1].range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.logical_or(*arrays)


@dataclass(frozen=True)
class Not(Logic):
    symbol: ClassVar[str] = "`not`"
    commutative: ClassVar[bool] = False
    count: ClassVar[int] = 1

    def interval(self, *args: Value) -> Interval:
        return Interval(1, 1) - args[0].range

    def evaluate(self, *arrays: Array) -> Array:
        return np.logical_not(arrays[0])


# -- the bits by which other ops choose --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice(Ordinary, abstract=True):
    """The bits by which an op chooses, for its gradient: the expansion finds that it has compared already.

    They compare as finely as that op, not what is stored.
    """

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    count: ClassVar[int] = 1
    rounding: ClassVar[Rounding] = Rounding.NONE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, self.count)
        expect_kind(self.symbol, args, NUMBERS)
        return Kind.BIT, broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        return BITS

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient(JUMPS),) * len(args)


@dataclass(frozen=True)
class Positive(Choice):
    """x >= 0, as `relu` has it, or as `leaky_relu`, which compares what is stored."""

    stored: bool = False
    symbol: ClassVar[str] = "the choice of relu"

    def evaluate(self, *arrays: Array) -> Array:
        return np.greater_equal(arrays[0], 0)


@dataclass(frozen=True)
class Larger(Choice):
    """a >= b, as `maximum` has it."""

    symbol: ClassVar[str] = "the choice of maximum"
    count: ClassVar[int] = 2

    def evaluate(self, *arrays: Array) -> Array:
        return np.greater_equal(*arrays)


@dataclass(frozen=True)
class Within(Choice):
    """lo <= x < hi, as `clip` has it."""

    lo: float
    hi: float
    symbol: ClassVar[str] = "the choice of clip"

    def evaluate(self, *arrays: Array) -> Array:
        return np.logical_and(arrays[0] >= self.lo, arrays[0] < self.hi)
