"""Activations and smooth functions of one tensor. Those whose sample tables have tails of their own are in `curves`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import Array, Gradients, Kind, OpError, Rounding, Shape, Value, apply, bounds, constant
from compiler.graph.bounds import Norm
from compiler.graph.interval import UNKNOWN, Interval
from compiler.ops.comparisons import Positive, Within
from compiler.ops.elementwise import Add, Div, Mul, Neg, Square, Sub, Unary, chosen, times
from compiler.ops.families import Along, Ordinary
from compiler.ops.rules import broadcast, expect_count, expect_kind, show
from compiler.ops.shapes import aligned
from compiler.ops.sums import Sum

UNIT = Interval(0, 1)
POSITIVE = Interval(0, math.inf)


@dataclass(frozen=True)
class Relu(Unary):
    symbol: ClassVar[str] = "relu"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.clip(0, math.inf)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(arrays[0], 0)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """At 0 it is 1: the bit of the forward pass is x >= 0."""
        return (chosen(apply(Positive(), args[0]), gradient),)


@dataclass(frozen=True)
class Relu6(Unary):
    symbol: ClassVar[str] = "relu6"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.clip(0, 6)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return np.clip(arrays[0], 0, 6)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (chosen(apply(Within(0.0, 6.0), args[0]), gradient),)


@dataclass(frozen=True)
class Smooth(Ordinary, abstract=True):
    """A fixed number gives a fixed number."""

    symbol: ClassVar[str] = ""
    rounding: ClassVar[Rounding] = Rounding.RELATIVE

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        return expect_kind(self.symbol, args, (Kind.FIXED,)), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]


@dataclass(frozen=True)
class LeakyRelu(Smooth):
    """x where x > 0, else slope * x."""

    slope: float
    symbol: ClassVar[str] = "leaky_relu"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def interval(self, *args: Value) -> Interval:
        x = args[0].range
        branches = [part for part in (x.intersect(POSITIVE),) if part is not None]
        below = x.intersect(-POSITIVE)
        if below is not None:
            branches.append(below * Interval(self.slope, self.slope))
        return branches[0].hull(branches[-1])

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return bounds.scaled(args[0].norms, max(1.0, abs(self.slope)))

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] > 0, arrays[0], self.slope * arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """At 0 it is 1."""
        above = chosen(apply(Positive(stored=True), args[0]), gradient)
        return (apply(Add(), above, apply(Mul(), apply(Sub(), gradient, above), constant(self.slope))),)


@dataclass(frozen=True)
class PRelu(Smooth):
    """x where x > 0, else slope * x, for a slope that broadcasts to x."""

    symbol: ClassVar[str] = "prelu"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        kind, (x, slope) = expect_kind(self.symbol, args, (Kind.FIXED,)), args
        if broadcast(self.symbol, x, slope) != x.shape:
            message = f"prelu expects a slope that broadcasts to {show(x.shape)}, found {show(slope.shape)}"
            raise OpError(message, "one for each channel: `reshape(slope, [-1, 1, 1])`", 1)
        return kind, x.shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return aligned(args, axes, shape)

    def interval(self, *args: Value) -> Interval:
        x, slope = (arg.range for arg in args)
        above, below = x.clip(0, math.inf), x.clip(-math.inf, 0)
        return above.hull(below * slope) if x.lo < 0 else above

    def evaluate(self, *arrays: Array) -> Array:
        x, slope = arrays
        return np.where(x > 0, x, slope * x)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """At 0 it is 1."""
        x, slope = args
        above = chosen(apply(Positive(stored=True), x), gradient)
        below = apply(Sub(), gradient, above)
        return apply(Add(), above, apply(Mul(), below, slope)), apply(Mul(), below, x)


@dataclass(frozen=True)
class Sigmoid(Smooth):
    symbol: ClassVar[str] = "sigmoid"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(_sigmoid, UNIT)

    def evaluate(self, *arrays: Array) -> Array:
        small = np.exp(-np.abs(arrays[0]))
        result: Array = np.where(arrays[0] >= 0, 1, small) / (1 + small)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """s (1 - s), of the s that is there."""
        return (times(gradient, apply(Mul(), result, apply(Sub(), constant(1.0), result))),)


def _sigmoid(x: float) -> float:
    small = math.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


@dataclass(frozen=True)
class Tanh(Smooth):
    symbol: ClassVar[str] = "tanh"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(math.tanh, Interval(-1, 1))

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return args[0].norms

    def evaluate(self, *arrays: Array) -> Array:
        return np.tanh(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (times(gradient, apply(Sub(), constant(1.0), apply(Square(), result))),)


@dataclass(frozen=True)
class Exp(Smooth):
    symbol: ClassVar[str] = "exp"
    compares: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(_exp, POSITIVE)

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (times(gradient, result),)


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Softmax(Along):
    """exp(x - max) / sum(exp(x - max)) along `axis`.

    causal: the last two axes are queries and keys, and a query sees the keys up to its own place only, counted from the
    ends of both.
    """

    causal: bool = False
    symbol: ClassVar[str] = "softmax"
    compares: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        kind, shape = super().infer(*args)
        if self.causal and not (len(shape) >= 2 and self.axis == len(shape) - 1 and shape[-2] <= shape[-1]):
            message = f"a causal softmax expects scores [queries, keys], no more queries than keys, found {show(shape)}"
            raise OpError(message, "it is taken along the last axis, the keys", 0)
        return kind, shape

    def interval(self, *args: Value) -> Interval:
        others, spread = args[0].shape[self.axis] - 1, args[0].range.width
        if others == 0:
            return Interval(1, 1)
        if self.causal:
            return UNIT
        odds = Interval(-spread, spread).monotone(_exp, POSITIVE) * Interval(others, others)
        return (Interval(1, 1) + odds).reciprocal().clip(0, 1)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """They add up to 1, and each is at most 1."""
        return (Norm(1, (self.axis,), 1.0), Norm(2, (self.axis,), 1.0))

    def evaluate(self, *arrays: Array) -> Array:
        x = np.where(seen(arrays[0].shape), arrays[0], -np.inf) if self.causal else arrays[0]
        powers = np.exp(x - x.max(axis=self.axis, keepdims=True))
        result: Array = powers / powers.sum(axis=self.axis, keepdims=True)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """p (g - sum(p g))."""
        weighted = times(gradient, result)
        return (apply(Sub(), weighted, apply(Mul(), result, apply(Sum((self.axis,), True), weighted))),)


def seen(shape: Shape) -> Array:
    """[queries, keys] of a causal softmax: which keys a query sees."""
    queries, keys = shape[-2:]
    return np.tri(queries, keys, keys - queries, dtype=bool)


@dataclass(frozen=True)
class Reciprocal(Smooth):
    """1 / x; some number where x is 0."""

    symbol: ClassVar[str] = "reciprocal"
    compares: ClassVar[bool] = False

    def interval(self, *args: Value) -> Interval:
        return args[0].range.reciprocal()

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.reciprocal(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Neg(), times(gradient, apply(Square(), result))),)


@dataclass(frozen=True)
class Sqrt(Smooth):
    """The range is that of what has a root: below 0, the private result is 0."""

    symbol: ClassVar[str] = "sqrt"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.clip(0, math.inf).monotone(math.sqrt, POSITIVE)

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.sqrt(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Div(), apply(Mul(), gradient, constant(0.5)), result),)


@dataclass(frozen=True)
class Rsqrt(Smooth):
    """1 / sqrt(x); some number of what has none."""

    symbol: ClassVar[str] = "rsqrt"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        x = args[0].range
        return x.clip(0, math.inf).monotone(math.sqrt, POSITIVE).reciprocal() if x.hi > 0 else POSITIVE

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.reciprocal(np.sqrt(arrays[0]))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """-r / (2 x)."""
        return (apply(Div(), apply(Mul(), times(gradient, result), constant(-0.5)), args[0]),)


@dataclass(frozen=True)
class Log(Smooth):
    """The natural logarithm; some number of what has none."""

    symbol: ClassVar[str] = "log"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range.monotone(_log) if args[0].range.hi > 0 else UNKNOWN

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.log(arrays[0])

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (apply(Div(), gradient, args[0]),)


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf
