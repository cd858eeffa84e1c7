"""Batch normalisation: by statistics that its owner has, by those that the parties hold in shares, by those of a batch.

In a model that trains, `BatchNorm` stands for all three until it is known which procedure computes it
(`compiler.training.modes`). S. Ioffe, C. Szegedy, ICML 2015; running statistics are PyTorch's, with a momentum of 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    bounds,
    constant,
    declare,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.activations import Rsqrt, Sqrt
from compiler.ops.elementwise import Add, Maximum, Mul, Sub
from compiler.ops.families import Ordinary
from compiler.ops.limits import Bounded
from compiler.ops.modes import Mark
from compiler.ops.norms import LEAST_VARIANCE, LayerNorm
from compiler.ops.reductions import Mean, Var
from compiler.ops.rules import expect_count
from compiler.ops.shapes import Reshape, Transpose, whole

SLACK = 1 + 2.0**-8
"""Of bounds that exact arithmetic has, for what rounding adds."""


@dataclass(frozen=True)
class BatchNorm(Ordinary):
    """Of x, weight, bias, running mean and running variance. lo, hi: the declared range of what it multiplies by and
    adds; infinite where none is. layer: its path."""

    eps: float
    lo: float
    hi: float
    layer: str
    symbol: ClassVar[str] = "batch normalisation"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS
    private: ClassVar[bool] = False

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 5)
        return Kind.FIXED, args[0].shape

    def interval(self, *args: Value) -> Interval:
        return self.by_its_owner(*args).range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return self.by_its_owner(*args).norms

    def evaluate(self, *arrays: Array) -> Array:
        x, weight, bias, mean, variance = arrays
        scale = weight / np.sqrt(variance + self.eps)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        result: Array = x * scale.reshape(shape) + (bias - mean * scale).reshape(shape)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("it is another function in training"),) * len(args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if axes[0] in (1, NO_ROWS) else axes[0]

    def by_its_owner(self, x: Value, weight: Value, bias: Value, mean: Value, variance: Value) -> Value:
        """x * scale + shift. Scale and shift depend on one owner's values, who computes them before sharing."""
        deviation = apply(Sqrt(), build.add(variance, constant(self.eps)))
        scale = self._part("scale", build.div(weight, deviation))
        shift = self._part("shift", build.sub(bias, build.mul(mean, scale)))
        return build.add(build.mul(x, _along(scale, x)), _along(shift, x))

    def _part(self, word: str, value: Value) -> Value:
        """What the owner computes, promised and named as if it were a parameter of the layer: `bn.scale`."""
        name = f"{self.layer}.{word}" if self.layer else word
        if math.isinf(self.hi):
            return replace(value, name=name)
        return declare(value, Interval(self.lo, self.hi), name)

    def by_states(self, x: Value, weight: Value, bias: Value, mean: Value, variance: Value) -> Value:
        """By running statistics that nobody knows. A variance counts as at least LEAST_VARIANCE."""
        least = constant(max(self.eps, LEAST_VARIANCE))
        inverse = apply(Rsqrt(), apply(Maximum(), apply(Add(), variance, constant(self.eps)), least))
        away = apply(Sub(), apply(Mark(self.layer, False), x), _along(mean, x))
        return apply(Add(), apply(Mul(), away, _along(apply(Mul(), weight, inverse), x)), _along(bias, x))

    def by_batch(self, x: Value, weight: Value, bias: Value, activations: float) -> Batch:
        """By the statistics of this batch, of which no example is longer than `activations`. Raises OpError for one
        without any."""
        channels, count = x.shape[1], x.size // x.shape[1]
        if count < 2:
            raise OpError(
                "batchnorm expects several numbers of each channel in a batch, found one", "use a larger `batch`"
            )
        longest = activations if x.is_secret else bounds.l2(x, range(1, x.rank))  # what is public is not limited
        most = SLACK * longest * math.sqrt(x.shape[0])
        order = (1, 0, *range(2, x.rank))
        flat = apply(Reshape((channels, count)), apply(Transpose(order), apply(Mark(self.layer, False), x)))
        normal = apply(Standardised(self.eps, most), flat)
        back = apply(Transpose(order), apply(Reshape(tuple(x.shape[axis] for axis in order)), normal))
        back = apply(Bounded(tuple(range(1, x.rank)), SLACK * math.sqrt(normal.size)), back)  # all squares together
        y = apply(Add(), apply(Mul(), back, _along(weight, x)), _along(bias, x))
        mean, variance = apply(Mean((1,), False), flat), apply(Var((1,), False), flat)
        mean = declare(mean, Interval(-most / math.sqrt(count), most / math.sqrt(count)))
        unbiased = apply(Mul(), variance, constant(count / (count - 1)))
        unbiased = declare(unbiased, Interval(0, SLACK * most**2 / (count - 1)))
        return Batch(apply(Mark(self.layer, True), y), mean, unbiased)


@dataclass(frozen=True)
class Batch:
    """A normalised batch, and the mean and the variance of each channel, which divides by n - 1."""

    result: Value
    mean: Value
    variance: Value


def _along(parameter: Value, x: Value) -> Value:
    return build.reshape(parameter, (1, -1, *(1,) * (x.rank - 2)))


@dataclass(frozen=True)
class Standardised(LayerNorm):
    """Layer normalisation of rows that are no longer than `most` in L2."""

    most: float
    symbol: ClassVar[str] = "batchnorm"

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """That of layer normalisation. |mean(g y)| is at most the largest |g|, as the mean of |y| is at most 1."""
        last = (args[0].rank - 1,)
        gradient = whole(gradient, result.shape)
        largest = SLACK * gradient.range.magnitude
        variance = apply(Add(), apply(Var(last, True), args[0]), constant(self.eps))
        inverse = apply(Rsqrt(), apply(Maximum(), variance, constant(max(self.eps, LEAST_VARIANCE))))
        shared = apply(Mean(last, True), apply(Mul(), gradient, result))
        if math.isfinite(largest):
            shared = declare(shared, Interval(-largest, largest))
        along = apply(Mul(), result, shared)
        rest = apply(Sub(), apply(Sub(), gradient, apply(Mean(last, True), gradient)), along)
        return (apply(Mul(), rest, inverse),)
