"""How far a step goes: the learning rate, over the batch, as the plan has it.

A constant rate of SGD is part of the plan: lr / batch = m 2^-shift with m in [1, 2), and m is in the gradient that the
loss sends back, so that only a power of two is left for the update. A rate that follows the epoch and the step, and the
corrections of Adam, are a public number that a role gives with each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.graph import Array, Leaf, OpError, Value, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import Add, Div, Exp, Mul, Sqrt, Sub, ToFixed
from compiler.reading.reference import evaluate_values
from compiler.training.optimizers import LEAST_RATE, Adam, Optimizer, expect_rate
from mpc_runtime.errors import number
from mpc_runtime.procedure import PACE

MANTISSA_BITS = 11
"""Fraction bits of a learning rate's mantissa."""

PACE_BITS = 4
"""A pace is given times 2^-PACE_BITS, with the 16 fraction bits of any number: 12 of them at the highest rate."""

ROOM = 4.0
"""How many times the highest rate that was found at compile time a rate may be."""

EPOCHS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
STEPS = (0, 1, 10, 100, 1000, 3000, 10_000, 100_000)
"""Where the highest rate is looked for."""

Clock = tuple[Value, Value]
"""The epoch and the step, both counted from 0, as inputs of a role."""


@dataclass(frozen=True)
class Pace:
    """A step moves a parameter by its gradient, of the loss times `seed`, times 2^-shift, and times `value`, if there
    is one: a public number within [0, ROOM 2^-PACE_BITS]."""

    seed: float
    shift: int
    value: Value | None = None


def pace_of(optimizer: Optimizer, rate: Value, clock: Clock | None, batch: int) -> Pace:
    """For the gradient of a mean over `batch` rows. Raises OpError for a rate that training cannot follow."""
    if rate.is_constant and not isinstance(optimizer, Adam):
        return constant_pace(expect_rate(float(rate.array)), batch)
    assert clock is not None, "the front end gives a clock to what follows one"
    power = math.ceil(math.log2(batch))
    factor = corrected(rate, optimizer, clock) if isinstance(optimizer, Adam) else rate
    shift, value = _given(factor, rate, clock, factor is not rate)
    return Pace(2.0**power, shift if isinstance(optimizer, Adam) else shift + power, value)


def constant_pace(lr: float, batch: int) -> Pace:
    shift = -math.floor(math.log2(lr / batch))
    mantissa = round(lr / batch * 2.0 ** (shift + MANTISSA_BITS)) * 2.0**-MANTISSA_BITS
    return Pace(mantissa * batch, shift)


def decay_of(rate: Value, clock: Clock, weight_decay: float) -> Pace:
    """By how much a decoupled weight decay shrinks a parameter; `seed` times it, where the rate is constant."""
    if rate.is_constant:
        return constant_pace(float(rate.array) * weight_decay, 1)
    shift, value = _given(apply(Mul(), rate, constant(weight_decay)), rate, clock, True)
    return Pace(1.0, shift, value)


def corrected(rate: Value, optimizer: Adam, clock: Clock) -> Value:
    """lr sqrt(1 - beta2^t) / (1 - beta1^t), with t the number of the step from 1."""
    count = apply(Add(), apply(ToFixed(), clock[1]), constant(1.0))

    def left(beta: float) -> Value:
        if not beta:
            return constant(1.0)
        return apply(Sub(), constant(1.0), apply(Exp(), apply(Mul(), count, constant(math.log(beta)))))

    return apply(Mul(), rate, apply(Div(), apply(Sqrt(), left(optimizer.beta2)), left(optimizer.beta1)))


def rate_at(rate: Value, clock: Clock | None, epoch: int, step: int) -> float:
    """A learning rate, or what is made of it, at an epoch and a step."""
    if rate.is_constant:
        return float(rate.array)
    assert clock is not None
    at: dict[Leaf, Array] = {}
    for leaf, now in zip(clock, (epoch, step), strict=True):
        assert isinstance(leaf.op, Leaf)
        at[leaf.op] = np.array(now)

    return float(evaluate_values([rate], lambda op: at[op])[0])


def _given(factor: Value, rate: Value, clock: Clock, made: bool) -> tuple[int, Value]:
    """(shift, value) with factor = value 2^-shift, as a role gives it. made: whether the factor is not the rate."""
    highest = max(_seen(rate, clock))
    if not LEAST_RATE <= highest < math.inf:
        found = f"found {number(highest)} at most" if math.isfinite(highest) else "found what is no number"
        raise OpError(f"`lr` expects numbers that reach {number(LEAST_RATE)}, {found}", arg="lr")
    top = max(_seen(factor, clock)) if made else highest
    shift = -math.ceil(math.log2(top)) - PACE_BITS if top > 0 else 0
    scaled = apply(Mul(), factor, constant(2.0**shift))
    return shift, declare(scaled, Interval(0.0, ROOM * 2.0**-PACE_BITS), PACE)


def _seen(value: Value, clock: Clock) -> Sequence[float]:
    """At some epochs and steps; infinite where it is no number."""
    found = [rate_at(value, clock, epoch, step) for epoch in EPOCHS for step in STEPS]
    return [each if math.isfinite(each) else math.inf for each in found]
