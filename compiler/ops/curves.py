"""Smooth activations that are a constant or x itself far from 0, and the logarithm of softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Rounding, Value, apply, constant
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.activations import Exp, Sigmoid, Smooth, Softmax, Tanh
from compiler.ops.comparisons import Positive, Within
from compiler.ops.elementwise import Add, Clip, Mul, Neg, Square, Sub, chosen, times
from compiler.ops.families import Along
from compiler.ops.shapes import whole
from compiler.ops.sums import Sum

NOT_NEGATIVE = Interval(0, math.inf)

GELU_VALLEY, SILU_VALLEY = (-0.7517915247, -0.1699712075), (-1.2784645428, -0.2784645428)
MISH_VALLEY = (-1.1924312145, -0.3088434130)
"""Where they are least, and how little they are there."""

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

MORE = 1e-9
"""How far the digits of a valley may be off, and more."""


@dataclass(frozen=True)
class Erf(Smooth):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    symbol: ClassVar[str] = "erf"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(math.erf, Interval(-1, 1))

    def evaluate(self, *arrays: Array) -> Array:
        return _erf(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        slope = apply(Exp(), apply(Neg(), apply(Square(), args[0])))
        return (apply(Mul(), times(gradient, slope), constant(2 / math.sqrt(math.pi))),)


@dataclass(frozen=True)
class Softplus(Smooth):
    """log(1 + exp(x))."""

    symbol: ClassVar[str] = "softplus"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(_softplus, NOT_NEGATIVE)

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = np.maximum(arrays[0], 0) + np.log1p(np.exp(-np.abs(arrays[0])))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (times(gradient, apply(Sigmoid(), args[0])),)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@dataclass(frozen=True)
class Gelu(Smooth):
    """x times the normal distribution function of x."""

    symbol: ClassVar[str] = "gelu"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return with_valley(args[0].range, _gelu, *GELU_VALLEY)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * (0.5 + 0.5 * _erf(arrays[0] / math.sqrt(2)))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """The normal distribution and x times its density."""
        x = args[0]
        below = apply(
            Add(), apply(Mul(), apply(Erf(), apply(Mul(), x, constant(math.sqrt(0.5)))), constant(0.5)), constant(0.5)
        )
        bell = apply(Exp(), apply(Mul(), apply(Square(), x), constant(-0.5)))
        density = apply(Mul(), bell, constant(1 / math.sqrt(2 * math.pi)))
        return (times(gradient, apply(Add(), below, apply(Mul(), x, density))),)


def _gelu(x: float) -> float:
    return x * 0.5 * math.erfc(-x / math.sqrt(2))


@dataclass(frozen=True)
class Silu(Smooth):
    """x / (1 + exp(-x))."""

    symbol: ClassVar[str] = "silu"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return with_valley(args[0].range, _silu, *SILU_VALLEY)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        small = np.exp(-np.abs(x))
        result: Array = x * (np.where(x >= 0, 1, small) / (1 + small))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """s + y (1 - s), with s the sigmoid of x."""
        s = apply(Sigmoid(), args[0])
        return (times(gradient, apply(Add(), s, apply(Mul(), result, apply(Sub(), constant(1.0), s)))),)


def _silu(x: float) -> float:
    small = math.exp(-abs(x))
    return x * ((1 if x >= 0 else small) / (1 + small))


@dataclass(frozen=True)
class Mish(Smooth):
    """x tanh(softplus(x))."""

    symbol: ClassVar[str] = "mish"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return with_valley(args[0].range, _mish, *MISH_VALLEY)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = arrays[0] * np.tanh(np.logaddexp(arrays[0], 0.0))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """t + x s (1 - t^2), with t the tanh of softplus and s the sigmoid of x."""
        x = args[0]
        t = apply(Tanh(), apply(Softplus(), x))
        bell = apply(Mul(), apply(Sigmoid(), x), apply(Sub(), constant(1.0), apply(Square(), t)))
        return (times(gradient, apply(Add(), t, apply(Mul(), x, bell))),)


def _mish(x: float) -> float:
    return x * math.tanh(_softplus(x))


@dataclass(frozen=True)
class HardSwish(Smooth):
    """x min(max(x + 3, 0), 6) / 6."""

    symbol: ClassVar[str] = "hardswish"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def interval(self, *args: Value) -> Interval:
        return with_valley(args[0].range, lambda x: x * (min(max(x + 3, 0), 6) / 6), -1.5, -0.375)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = arrays[0] * (np.clip(arrays[0] + 3, 0, 6) / 6)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        sixth = apply(Mul(), args[0], constant(1 / 6))
        factor = apply(Clip(0.0, 1.0), apply(Add(), sixth, constant(0.5)))
        slope = apply(Add(), factor, chosen(apply(Within(-3.0, 3.0), args[0]), sixth))
        return (times(gradient, slope),)


def with_valley(x: Interval, function: Callable[[float], float], place: float, least: float) -> Interval:
    """The image under a function that is 0 far below, falls to `least` at `place` and rises from there on."""
    lo, hi = (0.0 if end == -math.inf else end if end == math.inf else function(end) for end in (x.lo, x.hi))
    bottom = least if x.lo <= place <= x.hi else min(lo, hi)
    return Interval(bottom - MORE * max(1.0, abs(bottom)), max(lo, hi) + MORE * max(1.0, abs(lo), abs(hi)))


@dataclass(frozen=True)
class ExponentialUnit(Smooth, abstract=True):
    """above x where x >= 0, else below (exp(inner x) - 1): continuous, and not decreasing."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    @property
    def below(self) -> float:
        return 1.0

    @property
    def inner(self) -> float:
        return 1.0

    @property
    def above(self) -> float:
        return 1.0

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(self._at, Interval(-self.below, math.inf))

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        return np.where(x >= 0, self.above * x, self.below * np.expm1(self.inner * np.minimum(x, 0)))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """At 0 it is that of the side above."""
        right = chosen(apply(Positive(), args[0]), gradient)
        left = apply(Mul(), apply(Sub(), gradient, right), apply(Add(), result, constant(self.below)))
        scaled = (times(each, constant(factor)) for each, factor in ((right, self.above), (left, self.inner)))
        return (apply(Add(), *scaled),)

    def _at(self, x: float) -> float:
        return self.above * x if x >= 0 else self.below * math.expm1(self.inner * x)


@dataclass(frozen=True)
class Elu(ExponentialUnit):
    """x where x >= 0, else alpha (exp(x) - 1)."""

    alpha: float
    symbol: ClassVar[str] = "elu"

    @property
    def below(self) -> float:
        return self.alpha


@dataclass(frozen=True)
class Celu(ExponentialUnit):
    """x where x >= 0, else alpha (exp(x / alpha) - 1)."""

    alpha: float
    symbol: ClassVar[str] = "celu"

    @property
    def below(self) -> float:
        return self.alpha

    @property
    def inner(self) -> float:
        return 1 / self.alpha


@dataclass(frozen=True)
class Selu(ExponentialUnit):
    """An elu times a number, with the constants that keep mean 0 and deviation 1 (Klambauer et al., 2017)."""

    symbol: ClassVar[str] = "selu"

    @property
    def below(self) -> float:
        return SELU_SCALE * SELU_ALPHA

    @property
    def above(self) -> float:
        return SELU_SCALE


@dataclass(frozen=True)
class LogSoftmax(Along):
    """x - log(sum(exp(x))) along `axis`."""

    symbol: ClassVar[str] = "log_softmax"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        """-log(1 + the others' exp(x_j - x_i))."""
        others, spread = args[0].shape[self.axis] - 1, args[0].range.width
        if others == 0:
            return Interval(0, 0)
        gap = Interval(-spread, spread) + Interval(math.log(others), math.log(others)).widened(MORE)
        return (-gap.monotone(_softplus, NOT_NEGATIVE)).clip(-math.inf, 0)

    def evaluate(self, *arrays: Array) -> Array:
        gap = arrays[0] - arrays[0].max(axis=self.axis, keepdims=True)
        result: Array = gap - np.log(np.exp(gap).sum(axis=self.axis, keepdims=True))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        gradient = whole(gradient, result.shape)
        total = apply(Sum((self.axis,), True), gradient)
        return (apply(Sub(), gradient, apply(Mul(), apply(Softmax(self.axis), args[0]), total)),)


def _erf(x: Array) -> Array:
    result: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return result
