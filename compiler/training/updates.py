"""The update of a parameter, as values of the graph: what a step of private training computes from a gradient.

The gradient that arrives is of the loss times `Pace.seed`. A momentum v is held with MOMENTUM_BITS fewer fraction bits
than the sum over the batch; u = G + mu v is opened once and rounded twice, to v and to the update. Adam's moments are
averages of the mean gradient: the first with 24 fraction bits, the second with 40.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.graph import Input, Kind, Output, Precision, State, Value, apply, bounds, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import Add, Largest, Mul, OverRoot, Paced, Scaled, Shifted, Squared, Stored, Sub
from compiler.training.optimizers import (
    LEADING_BITS,
    LEAST_EPS,
    MOMENTUM_BITS,
    Adam,
    Optimizer,
    Sgd,
    rounded,
)
from compiler.training.pace import Pace
from mpc_runtime.procedure import RESCALE, SCALE

DECAY_BITS, DECAY_ERROR = 16, 2.0**-9
"""Fraction bits of the constant of a weight decay, which then stands beside a sum of products without a shift; and what
part of the constant they may cost: else it has leading bits and a power of two, and a truncation."""

MOVE_LIMIT = 2.0**27
"""The largest magnitude of what is rounded to an update, of the loss summed over the batch, where ranges prove none:
the rounding then has room for all its bits. In training that works they are below 2^8 (TRAINING section 2)."""

MEAN_LIMIT = 2.0**4
"""The largest magnitude of the mean gradient that Adam squares; in training that works it is below 2^-2."""

FIRST_BITS, SECOND_BITS, GUARD_BITS = 24, 40, 3
STEP_BITS = 24
"""Fraction bits of m / sqrt(v)."""


VELOCITY = "velocity"

MOST_SCALE = 2.0
"""Between the mantissas of two learning rates."""


@dataclass(frozen=True)
class Memory:
    """What an optimizer keeps of a parameter beside it. known: its norms; unit: `plan.State.unit`."""

    name: str
    frac: int
    lo: float
    hi: float
    known: tuple[bounds.Norm, ...] = ()
    unit: float = 1.0


@dataclass(frozen=True)
class Update:
    """The parameter after a step, and what is remembered, by name."""

    parameter: Value
    kept: Mapping[str, Value]


@dataclass(frozen=True)
class Updates:
    """How an optimizer updates parameters. shrinks: the pace of a decoupled weight decay."""

    optimizer: Optimizer
    precision: Precision
    pace: Pace
    shrinks: Pace | None = None

    def gradient(self, parameter: Value, gradient: Value) -> Value:
        """What the update is made from: within what it has room for, with what a weight decay adds to it."""
        most = self._gradient_limit()
        limit = Interval(-most, most)
        if not limit.contains(gradient.range):
            gradient = declare(gradient, limit)
        if not isinstance(self.optimizer, Sgd | Adam) or self.shrinks is not None or not self.optimizer.weight_decay:
            return gradient
        return apply(Add(), gradient, self._decay(parameter, self.optimizer.weight_decay * self.pace.seed))

    def _decay(self, parameter: Value, factor: float) -> Value:
        """What a weight decay adds to a sum of products."""
        near = rounded(factor, DECAY_BITS)
        if abs(near - factor) <= DECAY_ERROR * factor:
            return apply(Mul(), parameter, constant(near))
        power = -math.floor(math.log2(factor))
        mantissa = rounded(factor * 2.0**power, LEADING_BITS - 1)
        return apply(Stored(2 * self.precision.frac, power), apply(Mul(), parameter, constant(mantissa)))

    def memories(self, gradient: Value) -> tuple[Memory, ...]:
        """What is remembered of a parameter with this gradient; all of it is 0 at first."""
        if isinstance(self.optimizer, Adam):
            first = Memory("first moment", FIRST_BITS, -MEAN_LIMIT, MEAN_LIMIT)
            names = ("second moment", "largest second moment")[: 1 + self.optimizer.amsgrad]
            return (first, *(Memory(name, SECOND_BITS, 0.0, MEAN_LIMIT**2) for name in names))
        assert isinstance(self.optimizer, Sgd)
        if not self.optimizer.momentum:
            return ()
        sums, known = (1 + 2.0**-10) / (1 - self._momentum), gradient.norms
        most = gradient.range.magnitude * sums * self.pace.room  # a checkpoint fits at any constant rate
        reach = min(most, self.precision.limit - self.precision.step)
        return (Memory(VELOCITY, self._velocity_bits, -reach, reach, bounds.scaled(known, sums), self.pace.seed),)

    def update(self, parameter: Value, gradient: Value, kept: Mapping[str, Value]) -> Update:
        """A step. gradient: as `gradient` makes it; kept: what is remembered of the steps before, by name."""
        if isinstance(self.optimizer, Adam):
            return self._adam(self.optimizer, parameter, gradient, kept)
        assert isinstance(self.optimizer, Sgd)
        if not self.optimizer.momentum:
            return Update(self._moved(parameter, gradient), {})
        momentum = constant(self.optimizer.held)
        total = apply(Add(), gradient, apply(Mul(), kept[VELOCITY], momentum))
        remembered = apply(Stored(self._velocity_bits), total)
        move = total if self.pace.value is None else remembered
        if self.optimizer.nesterov:
            move = apply(Add(), gradient, apply(Mul(), remembered, momentum))
        return Update(self._moved(parameter, move), {VELOCITY: remembered})

    def _adam(self, adam: Adam, parameter: Value, gradient: Value, kept: Mapping[str, Value]) -> Update:
        mean = apply(Stored(FIRST_BITS, round(math.log2(self.pace.seed))), gradient)
        mean = declare(mean, Interval(-MEAN_LIMIT, MEAN_LIMIT))
        follows, after = adam.shares
        first = apply(Stored(FIRST_BITS), _towards(kept["first moment"], mean, follows))
        first = declare(first, mean.range)
        square = apply(Squared(SECOND_BITS + GUARD_BITS), mean)
        second = kept["second moment"]
        more = apply(Mul(), apply(Sub(), square, second), constant(after))
        second = declare(apply(Add(), second, apply(Stored(SECOND_BITS), more)), Interval(0.0, MEAN_LIMIT**2))
        remembered = {"first moment": first, "second moment": second}
        if adam.amsgrad:
            second = remembered["largest second moment"] = apply(Largest(), kept["largest second moment"], second)
        eps = max(adam.eps, LEAST_EPS)
        move = apply(OverRoot(eps, adam.ratio, STEP_BITS), first, second)
        moved = self._moved(parameter, move)
        return Update(
            moved if self.shrinks is None else apply(Sub(), moved, _shrunk(parameter, self.shrinks)), remembered
        )

    def _gradient_limit(self) -> float:
        """For what a momentum makes of it to stay within MOVE_LIMIT."""
        return MOVE_LIMIT * (1 - self._momentum)

    @property
    def _momentum(self) -> float:
        """The momentum as it is meant or as it is held, whichever remembers more."""
        return max(self.optimizer.momentum, self.optimizer.held) if isinstance(self.optimizer, Sgd) else 0.0

    @property
    def _velocity_bits(self) -> int:
        return 2 * self.precision.frac - MOMENTUM_BITS

    def _moved(self, parameter: Value, move: Value) -> Value:
        pace = self.pace
        if pace.value is None:
            return apply(Sub(), parameter, apply(Shifted(pace.shift), move))
        if isinstance(self.optimizer, Sgd):
            move = apply(Stored(self._velocity_bits), move)
        return apply(Sub(), parameter, apply(Paced(pace.shift), move, pace.value))


def _shrunk(parameter: Value, by: Pace) -> Value:
    """The part of a parameter that a decoupled weight decay takes away."""
    if by.value is not None:
        return apply(Paced(by.shift), parameter, by.value)
    return apply(Shifted(by.shift), apply(Mul(), parameter, constant(by.seed)))


def _towards(before: Value, now: Value, share: float) -> Value:
    return apply(Add(), before, apply(Mul(), apply(Sub(), now, before), constant(share)))


def rescaled(speaker: str, left: Sequence[State]) -> list[Output]:
    """What is remembered with the mantissa of a rate in it, times a number that this role says in clear."""
    found = []
    for state in left:
        if not state.key.endswith(f" ({VELOCITY})"):
            continue
        op = Input(Kind.FIXED, (), speaker, True, key=SCALE, stage=RESCALE)
        factor = apply(op, name=SCALE, declared=Interval(0.0, MOST_SCALE))
        wide = replace(state, stage=RESCALE, lo=MOST_SCALE * state.lo, hi=MOST_SCALE * state.hi, known=())
        value = declare(apply(Scaled(), apply(wide), factor), Interval(state.lo, state.hi))
        found.append(Output(state.key, value, (), stage=RESCALE, keeps=state))
    return found
