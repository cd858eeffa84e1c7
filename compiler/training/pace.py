"""How far a step goes: the learning rate, over the batch, as the plan has it.

A constant rate of SGD is part of the plan: lr / batch = m 2^-shift with m in [1, 2), and m is in the gradient that the
loss sends back, so that only a power of two is left for the update. A rate that follows the epoch and the step, and the
corrections of Adam, are a public number that a role gives with each step, in multiples of a grain: it is rounded down
or up, at other steps otherwise, so that the mean over steps is right for rates far below a grain too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compiler.graph import Array, Leaf, OpError, Value, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import Add, Div, Exp, Floor, Mul, Sqrt, Sub, ToFixed
from compiler.reading.reference import evaluate_values
from compiler.training.optimizers import LEAST_DECAY, LEAST_RATE, MOST_RATE, Adam, Optimizer, expect_rate
from mpc_runtime.errors import number
from mpc_runtime.procedure import PACE

MANTISSA_BITS = 11
"""Fraction bits of a learning rate's mantissa."""

PACE_BITS = 4
"""A pace is given times 2^-PACE_BITS, with the 16 fraction bits of any number: 12 of them at the highest rate."""

TURN = (math.sqrt(5) - 1) / 2
"""How far the threshold of rounding turns with each step. Multiples of the golden ratio are spread over [0, 1) as
evenly as any (D. Knuth, TAOCP 3, section 6.4): of n equal rates, the mean is right to some log(n) / n grains."""

SEED_ROOM = 2 + 2**-5
"""The mantissa of a rate is below 2. A little more, since ranges are rounded, and many are powers of two."""

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
    is one: a public number within [0, ROOM 2^-PACE_BITS]. room: how many times the seed may be at another rate."""

    seed: float
    shift: int
    value: Value | None = None
    room: float = 1.0


def pace_of(optimizer: Optimizer, rate: Value, clock: Clock | None, batch: int, frac: int) -> Pace:
    """For the gradient of a mean over `batch` rows, in a format of `frac` fraction bits. Raises OpError for a rate that
    training cannot follow."""
    if rate.is_constant and not isinstance(optimizer, Adam):
        return constant_pace(expect_rate(float(rate.array)), batch)
    assert clock is not None, "the front end gives a clock to what follows one"
    power = math.ceil(math.log2(batch))
    shift, value = _given(_followed(optimizer, rate, clock), rate, clock, frac)
    return Pace(2.0**power, shift if isinstance(optimizer, Adam) else shift + power, value)


def coarse(optimizer: Optimizer, rate: Value, clock: Clock | None, frac: int) -> OpError | None:
    """What to say of a rate that begins below a grain, as one that rises may: the grain follows from the highest."""
    if rate.is_constant:
        return None
    assert clock is not None, "the front end gives a clock to what follows one"
    factor = _followed(optimizer, rate, clock)
    found, top = _highest(rate, clock), _highest(factor, clock).rate
    grain = 2.0 ** -(_shift(top) + frac)
    first = next((each for step in (0, 1) if (each := rate_at(factor, clock, 0, step))), grain)
    if not first < grain:
        return None
    told = f"is rounded to multiples of {number(grain)}, as its highest was taken to be {found}"
    help = "if you do not train so long, bound it, as by `minimum(…, 0.1)`; what is rounded is right in the mean"
    return OpError(f"`lr` begins with {number(first)} and {told}", help, "lr")


def constant_pace(lr: float, batch: int) -> Pace:
    shift = -math.floor(math.log2(lr / batch))
    mantissa = round(lr / batch * 2.0 ** (shift + MANTISSA_BITS)) * 2.0**-MANTISSA_BITS
    return Pace(mantissa * batch, shift, room=SEED_ROOM / mantissa)


def decay_of(rate: Value, clock: Clock, weight_decay: float, frac: int) -> Pace:
    """By how much a decoupled weight decay shrinks a parameter; `seed` times it, where the rate is constant. Raises
    OpError for one that no step can follow."""
    factor = apply(Mul(), rate, constant(weight_decay))
    most = float(rate.array) * weight_decay if rate.is_constant else _highest(factor, clock).rate
    if most < LEAST_DECAY:
        message = f"`lr` times `weight_decay` expects at least {number(LEAST_DECAY)}, found at most {number(most)}"
        raise OpError(message, "where that is meant, write `weight_decay=0`", "lr")
    if rate.is_constant:
        return constant_pace(most, 1)
    shift, value = _given(factor, rate, clock, frac)
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


def _followed(optimizer: Optimizer, rate: Value, clock: Clock) -> Value:
    return corrected(rate, optimizer, clock) if isinstance(optimizer, Adam) else rate


def _given(factor: Value, rate: Value, clock: Clock, frac: int) -> tuple[int, Value]:
    """(shift, value) with factor = value 2^-shift in the mean over steps, as a role gives it."""
    highest = _highest(rate, clock)
    if not LEAST_RATE <= highest.rate <= MOST_RATE:
        help = "bound it: `minimum(…, 0.1)`" if highest.rate > MOST_RATE else None
        limits = f"expects numbers that reach {number(LEAST_RATE)} and stay within {number(MOST_RATE)}"
        raise OpError(f"`lr` {limits}, found at most {highest}", help, "lr")
    shift = _shift(highest.rate if factor is rate else _highest(factor, clock).rate)
    within = Interval(0.0, ROOM * 2.0**-PACE_BITS)
    scaled = declare(apply(Mul(), factor, constant(2.0**shift)), within, PACE)
    return shift, declare(_dithered(scaled, clock[1], frac), within, PACE)


def _shift(highest: float) -> int:
    return -math.ceil(math.log2(highest)) - PACE_BITS if highest > 0 else 0


def _dithered(value: Value, step: Value, frac: int) -> Value:
    """A multiple of 2^-frac, below or above the value as often as it is near."""
    turned = apply(Add(), apply(Mul(), apply(ToFixed(), step), constant(TURN)), constant(0.5))
    threshold = apply(Sub(), turned, apply(ToFixed(), apply(Floor(), turned)))
    grains = apply(Floor(), apply(Add(), apply(Mul(), value, constant(2.0**frac)), threshold))
    return apply(Mul(), apply(ToFixed(), grains), constant(2.0**-frac))


@dataclass(frozen=True)
class _Seen:
    """A rate, and when it was seen; infinite where it is no number."""

    rate: float
    epoch: int
    step: int

    def __str__(self) -> str:
        what = number(self.rate) if math.isfinite(self.rate) else "what is no number"
        return f"{what} at epoch {self.epoch}, step {self.step}"


def _highest(value: Value, clock: Clock) -> _Seen:
    """Of some epochs and steps; the first, of equals."""
    found = []
    for epoch in EPOCHS:
        for step in STEPS:
            rate = rate_at(value, clock, epoch, step)
            found.append(_Seen(rate if math.isfinite(rate) else math.inf, epoch, step))
    return max(found, key=lambda each: each.rate)
