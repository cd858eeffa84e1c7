"""The update of a parameter, as values of the graph: what a step of private training computes from a gradient.

The gradient that arrives is of the loss times `Rate.seed`: the batch's 1/n and the mantissa of the learning rate are in
what the loss sends back, so that only a power of two is left for the update. A momentum v is held with MORE_BITS fewer
fraction bits than the sum over the batch; u = G + mu v is opened once and rounded twice, to v and to the update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.graph import Precision, Value, apply, constant
from compiler.ops import Add, Mul, Shifted, Stored, Sub
from compiler.training.optimizers import Optimizer, Sgd

MANTISSA_BITS = 11
"""Fraction bits of a learning rate's mantissa."""

MOMENTUM_BITS = 12
"""Fraction bits of the constant of a momentum."""

DECAY_BITS = 16
"""Fraction bits of the constant of a weight decay, which then stands beside a sum of products without a shift."""


MOVE_LIMIT = 2.0**27
"""The largest magnitude of what is rounded to an update, of the loss summed over the batch, where ranges prove none:
the rounding then has room for all its bits. In training that works they are below 2^8 (TRAINING section 2)."""


@dataclass(frozen=True)
class Rate:
    """lr / batch = mantissa 2^-shift, with a mantissa in [1, 2)."""

    mantissa: float
    shift: int
    batch: int

    @staticmethod
    def of(lr: float, batch: int) -> Rate:
        shift = -math.floor(math.log2(lr / batch))
        mantissa = round(lr / batch * 2.0 ** (shift + MANTISSA_BITS)) * 2.0**-MANTISSA_BITS
        return Rate(mantissa, shift, batch)

    @property
    def seed(self) -> float:
        """The gradient of the loss at itself."""
        return self.mantissa * self.batch


@dataclass(frozen=True)
class Memory:
    """What an optimizer keeps of a parameter beside it: its name, fraction bits, and largest magnitude."""

    name: str
    frac: int
    largest: float


@dataclass(frozen=True)
class Update:
    """The parameter after a step, and what is remembered, by name."""

    parameter: Value
    kept: Mapping[str, Value]


def gradient_limit(optimizer: Optimizer) -> float:
    """Of a gradient, for what a momentum makes of it to stay within MOVE_LIMIT."""
    assert isinstance(optimizer, Sgd)
    return MOVE_LIMIT * (1 - optimizer.momentum)


def memories(optimizer: Optimizer, precision: Precision, gradient: Value) -> tuple[Memory, ...]:
    """What the optimizer remembers of a parameter with this gradient; all of it is 0 at first."""
    assert isinstance(optimizer, Sgd)
    if not optimizer.momentum:
        return ()
    reach = gradient.range.magnitude / (1 - optimizer.momentum) * (1 + 2.0**-10)
    most = precision.limit - precision.step
    return (Memory("velocity", _velocity_bits(precision), min(reach, most)),)


def decayed(optimizer: Optimizer, rate: Rate, parameter: Value, gradient: Value) -> Value:
    """The gradient with what a weight decay adds to it."""
    assert isinstance(optimizer, Sgd)
    factor = _rounded(optimizer.weight_decay * rate.seed, DECAY_BITS)
    if not factor:
        return gradient
    return apply(Add(), gradient, apply(Mul(), parameter, constant(factor)))


def update(
    optimizer: Optimizer,
    rate: Rate,
    precision: Precision,
    parameter: Value,
    gradient: Value,
    kept: Mapping[str, Value],
) -> Update:
    """A step. gradient: as of `decayed`; kept: what is remembered of the steps before, by name."""
    assert isinstance(optimizer, Sgd)
    if not optimizer.momentum:
        return Update(_moved(parameter, gradient, rate.shift), {})
    momentum = constant(_rounded(optimizer.momentum, MOMENTUM_BITS))
    velocity = kept["velocity"]
    total = apply(Add(), gradient, apply(Mul(), velocity, momentum))
    remembered = apply(Stored(_velocity_bits(precision)), total)
    move = apply(Add(), gradient, apply(Mul(), remembered, momentum)) if optimizer.nesterov else total
    return Update(_moved(parameter, move, rate.shift), {"velocity": remembered})


def _velocity_bits(precision: Precision) -> int:
    return 2 * precision.frac - MOMENTUM_BITS


def _moved(parameter: Value, move: Value, shift: int) -> Value:
    return apply(Sub(), parameter, apply(Shifted(shift), move))


def _rounded(number: float, bits: int) -> float:
    return round(number * 2.0**bits) * 2.0**-bits
