"""Arithmetic, choices and conversions, element by element, with NumPy's broadcasting.

The ops are strict about kinds; `compiler.ops.build` inserts `ToInt` and `ToFixed` where the language converts. Smooth
functions are in `activations`.
"""

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
    apply,
    bounds,
    constant,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.comparisons import Larger, Within
from compiler.ops.families import Ordinary
from compiler.ops.rules import NUMBERS, broadcast, expect_count, expect_kind, typed
from compiler.ops.shapes import aligned
from mpc_runtime.errors import number


@dataclass(frozen=True)
class Binary(TensorOp, abstract=True):
    """Two numbers of one kind give one of that kind."""

    symbol: ClassVar[str] = ""
    rounding: ClassVar[Rounding] = Rounding.STEPS
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, NUMBERS), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)


@dataclass(frozen=True)
class Unary(TensorOp, abstract=True):
    """One number gives one of its kind."""

    symbol: ClassVar[str] = ""
    rounding: ClassVar[Rounding] = Rounding.STEPS
    commutative: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        return expect_kind(self.symbol, args, NUMBERS), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]


# -- arithmetic --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Add(Binary):
    symbol: ClassVar[str] = "`+`"
    compares: ClassVar[bool] = False
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range + args[1].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.added(*args)

    def evaluate(self, *arrays: Array) -> Array:
        return np.add(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return gradient, gradient


@dataclass(frozen=True)
class Sub(Binary):
    symbol: ClassVar[str] = "`-`"
    compares: ClassVar[bool] = False
    commutative: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        if args[0] is args[1]:
            return Interval(0, 0)
        both, known = args[0].range - args[1].range, args[1].op.distance(*args)
        return both.intersect(known or both) or both

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.added(*args)

    def evaluate(self, *arrays: Array) -> Array:
        return np.subtract(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return gradient, apply(Neg(), gradient)


@dataclass(frozen=True)
class Mul(Ordinary):
    """A product; an int times a fixed is a fixed and needs no truncation, so mixed kinds stay mixed."""

    symbol: ClassVar[str] = "`*`"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS
    commutative: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        kinds = {expect_kind(self.symbol, (arg,), NUMBERS) for arg in args}
        return (Kind.FIXED if Kind.FIXED in kinds else Kind.INT), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        return args[0].range.square() if args[0] is args[1] else args[0].range * args[1].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.multiplied(*args)

    def evaluate(self, *arrays: Array) -> Array:
        return np.multiply(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        a, b = args
        return times(gradient, b), times(gradient, a)


@dataclass(frozen=True)
class Div(Ordinary):
    """a / b of fixed numbers. Where b is 0 the result is some number (LANGUAGE.md, "Types and numbers")."""

    symbol: ClassVar[str] = "`/`"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        return args[0].range / args[1].range

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.divide(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        part = apply(Div(), gradient, args[1])
        return part, apply(Neg(), apply(Mul(), part, result))


@dataclass(frozen=True)
class Neg(Unary):
    symbol: ClassVar[str] = "unary `-`"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.NONE
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return -args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return np.negative(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Neg(), gradient),)


@dataclass(frozen=True)
class Square(Unary):
    symbol: ClassVar[str] = "square"
    compares: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range.square()

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.squared(args[0])

    def evaluate(self, *arrays: Array) -> Array:
        return np.square(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (times(times(constant(np.int64(2)), gradient), args[0]),)


@dataclass(frozen=True)
class Abs(Unary):
    symbol: ClassVar[str] = "abs"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range.absolute()

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return np.abs(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """At 0 it is 1."""
        zero = constant(np.zeros((), args[0].kind.dtype))
        above = chosen(apply(Larger(), args[0], zero), gradient)
        return (apply(Sub(), apply(Mul(), constant(np.int64(2)), above), gradient),)


@dataclass(frozen=True)
class Sign(Unary):
    """-1, 0 or 1, of the argument's kind."""

    symbol: ClassVar[str] = "sign"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return Interval(np.sign(args[0].range.lo), np.sign(args[0].range.hi))

    def evaluate(self, *arrays: Array) -> Array:
        return np.sign(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("a sign changes in jumps"),)


# -- choices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Minimum(Binary):
    symbol: ClassVar[str] = "minimum"
    compares: ClassVar[bool] = True
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.minimum(args[1].range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.minimum(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Of equals, b gets all."""
        larger = chosen(apply(Larger(), *args), gradient)
        return apply(Sub(), gradient, larger), larger


@dataclass(frozen=True)
class Maximum(Binary):
    symbol: ClassVar[str] = "maximum"
    compares: ClassVar[bool] = True
    commutative: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.maximum(args[1].range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Of equals, a gets all."""
        larger = chosen(apply(Larger(), *args), gradient)
        return larger, apply(Sub(), gradient, larger)


@dataclass(frozen=True)
class Clip(Unary):
    """min(max(x, lo), hi); on an int both ends are whole."""

    lo: float
    hi: float
    symbol: ClassVar[str] = "clip"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        if not self.lo <= self.hi:
            raise OpError(f"clip expects lo <= hi, found {number(self.lo)} and {number(self.hi)}", "swap the two")
        kind, shape = super().infer(*args)
        if kind is Kind.INT and not (self.lo == int(self.lo) and self.hi == int(self.hi)):
            raise OpError(f"clip of an int expects whole ends, found {number(self.lo)} and {number(self.hi)}")
        return kind, shape

    def interval(self, *args: Value) -> Interval:
        return args[0].range.clip(self.lo, self.hi)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms if self.lo <= 0 <= self.hi else ()

    def evaluate(self, *arrays: Array) -> Array:
        return np.clip(arrays[0], self.lo, self.hi).astype(arrays[0].dtype)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (chosen(apply(Within(self.lo, self.hi), args[0]), gradient),)


@dataclass(frozen=True)
class Where(Ordinary):
    """a where the bit is 1, else b; a and b of one kind."""

    symbol: ClassVar[str] = "where"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 3)
        if args[0].kind is not Kind.BIT:
            raise OpError(
                f"where expects bits as its first argument, found {typed(args[0])}", "compare first: `x > 0`", 0
            )
        return expect_kind(self.symbol, args[1:], NUMBERS), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        return args[1].range.hull(args[2].range)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """Of one that is chosen or left out; of two, no more than the sum of theirs."""
        return bounds.added(args[1], args[2], args[0])

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        first = chosen(args[0], gradient)
        return None, first, apply(Sub(), gradient, first)


@dataclass(frozen=True)
class Blend(Ordinary):
    """b + z (a - b): between a and b, for z between 0 and 1."""

    symbol: ClassVar[str] = "the blend"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 3)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        z, a, b = (arg.range for arg in args)
        return a.hull(b) if Interval(0, 1).contains(z) else b + z * (a - b)

    def evaluate(self, *arrays: Array) -> Array:
        z, a, b = arrays
        result: Array = b + z * (a - b)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        z, a, b = args
        first = times(gradient, z)
        return times(gradient, apply(Sub(), a, b)), first, apply(Sub(), gradient, first)


def chosen(bit: Value, x: Value) -> Value:
    """x where the bit is 1, else 0."""
    return apply(Where(), bit, x, constant(0.0))


def times(a: Value, b: Value) -> Value:
    """A product, but for a factor of one: what broadcasts to the same shape."""
    for factor, other in ((a, b), (b, a)):
        if factor.is_constant and factor.size == 1 and factor.array.item() == 1 and other.kind is Kind.FIXED:
            return other
    return apply(Square(), a) if a is b else apply(Mul(), a, b)


# -- conversions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conversion(Ordinary, abstract=True):
    """The same number, of another kind."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.NONE
    before: ClassVar[Kind]
    after: ClassVar[Kind]

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        what = f"the conversion to {self.after.value}"
        expect_count(what, args, 1)
        expect_kind(what, args, (self.before,))
        return self.after, args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].astype(self.after.dtype)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)


@dataclass(frozen=True)
class ToInt(Conversion):
    """A bit as the int 0 or 1."""

    before: ClassVar[Kind] = Kind.BIT
    after: ClassVar[Kind] = Kind.INT


@dataclass(frozen=True)
class ToFixed(Conversion):
    """An int as a fixed number of the same value."""

    before: ClassVar[Kind] = Kind.INT
    after: ClassVar[Kind] = Kind.FIXED
