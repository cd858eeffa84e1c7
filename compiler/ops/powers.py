"""Powers: what `**` and `pow` make of a base and an exponent, and the ops of those that no products give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Kind, OpError, Rounding, Shape, Value, apply, constant
from compiler.graph.interval import UNKNOWN, Interval
from compiler.ops import build
from compiler.ops.activations import POSITIVE, Exp, Log, Reciprocal, Rsqrt, Smooth, Sqrt
from compiler.ops.comparisons import Less
from compiler.ops.elementwise import Abs, Div, Mul, Neg, Square, Where, times
from compiler.ops.families import Ordinary
from compiler.ops.rules import broadcast, expect_count, expect_kind, typed
from compiler.ops.shapes import aligned
from mpc_runtime.errors import number

MOST_EXPONENT = 16
"""Of a power that is taken by logarithms: times more, their error is more than the result may have."""


@dataclass(frozen=True)
class Power(Smooth):
    """x ** exponent of a positive x, for an exponent that no product gives; below 0 some number."""

    exponent: float
    symbol: ClassVar[str] = "`**`"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        x = args[0].range.clip(0, math.inf)
        if self.exponent > 0:
            return x.monotone(lambda v: _power(v, self.exponent), POSITIVE)
        return x.reciprocal().monotone(lambda v: _power(v, -self.exponent), POSITIVE) if x.hi > 0 else POSITIVE

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return _of_positive(arrays[0], np.array(self.exponent))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        slope = apply(Mul(), apply(Power(self.exponent - 1), args[0]), constant(self.exponent))
        return (times(gradient, slope),)


@dataclass(frozen=True)
class PowerOf(Ordinary):
    """x ** y of a positive x; of others some number."""

    symbol: ClassVar[str] = "`**`"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), broadcast(self.symbol, *args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        x, y = (arg.range for arg in args)
        logs = x.clip(0, math.inf).monotone(_log) if x.hi > 0 else UNKNOWN
        return (y * logs).monotone(_exp, POSITIVE)

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return _of_positive(*arrays)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        x, y = args
        reaching = times(gradient, result)
        return apply(Div(), apply(Mul(), reaching, y), x), apply(Mul(), reaching, apply(Log(), x))


def _of_positive(x: Array, exponent: Array) -> Array:
    result: Array = np.where(x >= 0, np.power(x, exponent), np.nan)
    return result


def _power(x: float, exponent: float) -> float:
    try:
        return math.pow(x, exponent)
    except OverflowError:
        return math.inf


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


# -- what the language calls -------------------------------------------------------------------------------------------


def power(x: Value, exponent: Value) -> Value:
    """x ** exponent: products for a whole exponent of at least 0, roots and logarithms for others."""
    if not exponent.is_constant:
        return _computed(x, exponent)
    if exponent.size > 1 and np.ptp(exponent.array):
        return _known(x, exponent)
    if exponent.shape != ():
        same = power(x, constant(exponent.array.flat[0]))
        return build.broadcast_to(same, np.broadcast_shapes(x.shape, exponent.shape))
    n = float(exponent.array)
    if n == int(n):
        x = build.to_number(x)
        return whole_power(x, int(n)) if n >= 0 else _inverse_power(build.to_fixed(x), -int(n))
    return _fraction(build.to_fixed(x), n)


def whole_power(x: Value, n: int) -> Value:
    """By squares and products."""
    if n == 0:
        return build.broadcast_to(constant(np.ones((), x.kind.dtype)), x.shape)
    if n == 1:
        return x
    half = apply(Square(), whole_power(x, n // 2))
    return apply(Mul(), half, x) if n % 2 else half


def _inverse_power(x: Value, n: int) -> Value:
    """1 / x^n, which the power itself would have lost where it is small."""
    if x.is_constant and not x.array.all():
        raise OpError("division by zero", "zero has no negative power", 0)
    if n == 1:
        return apply(Reciprocal(), x)
    if n > MOST_EXPONENT:
        half = apply(Square(), _inverse_power(x, n // 2))
        return apply(Mul(), half, apply(Reciprocal(), x)) if n % 2 else half
    if x.range.lo >= 0:
        return apply(Power(-float(n)), x)
    found = apply(Power(-float(n)), apply(Abs(), x))
    if n % 2 == 0:
        return found
    return apply(Where(), apply(Less(), x, constant(0.0)), apply(Neg(), found), found)


def _fraction(x: Value, n: float) -> Value:
    """Roots have tables of their own."""
    if x.range.hi < 0 or (x.is_constant and x.range.lo < 0):
        raise OpError(f"a negative number has no power {n:g}, found {_where(x)}", "only whole powers have signs", 0)
    if abs(n) == 0.5:
        return apply(Sqrt() if n > 0 else Rsqrt(), x)
    if abs(n) > MOST_EXPONENT:
        message = f"an exponent that is not whole lies within [-{MOST_EXPONENT}, {MOST_EXPONENT}], found {n:g}"
        raise OpError(message, "multiply smaller powers: `x ** 16 * x ** 0.5`", 1)
    return apply(Power(n), x)


def _known(x: Value, exponents: Value) -> Value:
    """A table of exponents: numbers have all their powers, a value that is proved to be positive those near 0."""
    if x.is_constant:
        base, y = (each.array.astype(np.float64) for each in (x, exponents))
        with np.errstate(all="ignore"):
            found = np.power(base, y)
        if not np.isfinite(found).all():
            raise OpError("a number here has no such power", "a negative one has whole powers, and 0 those above 0", 0)
        whole = Kind.FIXED not in (x.kind, exponents.kind) and bool((y >= 0).all())
        return constant(np.rint(found).astype(np.int64) if whole else found)
    near = Interval(-MOST_EXPONENT, MOST_EXPONENT).contains(exponents.range)
    if build.to_number(x).range.lo <= 0 or not near:
        message = f"several exponents, {typed(exponents)}, are powers of a base that is proved to be above 0"
        raise OpError(f"{message}, and lie within [-{MOST_EXPONENT}, {MOST_EXPONENT}]", "take a power for each", 1)
    return apply(PowerOf(), build.to_fixed(x), build.to_fixed(exponents))


def _computed(x: Value, y: Value) -> Value:
    """An exponent that is not known at compile time."""
    help = "a base that is above 0 has such powers: promise it, `x = … in [0.01, 10]`"
    if x.is_constant:
        if not (x.array > 0).all():
            raise OpError(f"a power with a computed exponent has a base above 0, found {_where(x)}", help, 0)
        return apply(Exp(), apply(Mul(), build.to_number(y), constant(np.log(x.array.astype(np.float64)))))
    x, y = build.to_fixed(x), build.to_fixed(y)
    if x.range.hi <= 0:
        raise OpError(f"a power with a computed exponent has a base above 0, found {_where(x)}", help, 0)
    if not Interval(-MOST_EXPONENT, MOST_EXPONENT).contains(y.range):
        message = f"a computed exponent lies within [-{MOST_EXPONENT}, {MOST_EXPONENT}], found {_where(y)}"
        raise OpError(message, "promise it: `y = … in [-2, 2]`", 1)
    return apply(PowerOf(), x, y)


def _where(x: Value) -> str:
    if x.is_constant:
        return number(float(x.range.lo))
    return "one without a range" if not x.range.is_finite else f"one in {x.range}"
