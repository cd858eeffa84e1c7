"""Optimizers: what a step makes of a gradient, in float64, as the twin of private training computes it.

The formulas are PyTorch's, with two differences that private training needs: the second moment's eps is inside the
root, where it is at least 2^-20, and the running averages are corrected by constants of the step's number. At an eps of
at most 1e-5 the two are one for practical purposes; a larger one would be another optimizer, and is refused. So are
constants that private training cannot hold as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.graph import Array, OpError
from compiler.ops import Parameter, Takes
from mpc_runtime.errors import number

State = Mapping[str, Array]
"""What an optimizer remembers of one parameter, by name; empty before its first step."""

MAX_EPS = 1e-5
LEAST_EPS = 2.0**-20
"""Its square is the last bit of a second moment of 40 fraction bits."""

MOMENTUM_BITS = 12
"""Fraction bits of the constant of a momentum, and at least of that of Adam's first moment."""

LEADING_BITS = 8
"""Bits of other constants of an optimizer, from their leading one."""

CLOSE = 0.05
"""By which part a momentum that is rounded may change how many steps it remembers, 1 / (1 - momentum)."""

MOST_BETA = 0.999999
"""Of Adam's moments, whose constants then have LEADING_BITS in the ring."""

LEAST_DECAY = 2.0**-40
"""What a step takes of a parameter at least, unless nothing: a millionth in a million steps."""

MOST_RATIO = 2.0**10
"""Of Adam's first moment over the root of the second."""


@dataclass(frozen=True)
class Optimizer:
    """A rule for one parameter at a time. lr is given with each step, for it may follow a schedule."""

    def update(self, parameter: Array, gradient: Array, state: State, lr: float, step: int) -> tuple[Array, State]:
        """The parameter and the state after a step; steps count from 1."""
        raise AssertionError(f"{type(self).__name__} updates nothing")


@dataclass(frozen=True)
class Sgd(Optimizer):
    """v = momentum v + g, w = w - lr v; with `nesterov`, w = w - lr (g + momentum v)."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _expect_below_one("momentum", self.momentum)
        _expect_decay(self.weight_decay)
        if abs(1 - self.held - (1 - self.momentum)) > CLOSE * (1 - self.momentum):
            nearest = min(self.held, 1 - 2.0**-MOMENTUM_BITS)
            message = f"`momentum` is held in steps of 2^-{MOMENTUM_BITS}, and {self.momentum:.9g} would be another one"
            raise OpError(message, f"the nearest is `momentum={nearest:.9g}`", "momentum")
        if self.nesterov and not self.momentum:
            raise OpError("nesterov expects a momentum", "write `sgd(…, momentum=0.9, nesterov=true)`", "nesterov")

    @property
    def held(self) -> float:
        """The momentum as private training has it."""
        return rounded(self.momentum, MOMENTUM_BITS)

    def update(self, parameter: Array, gradient: Array, state: State, lr: float, step: int) -> tuple[Array, State]:
        gradient = gradient + self.weight_decay * parameter
        if not self.momentum:
            return parameter - lr * gradient, {}
        velocity = self.momentum * state.get("velocity", np.zeros_like(gradient)) + gradient
        move = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - lr * move, {"velocity": velocity}


@dataclass(frozen=True)
class Adam(Optimizer):
    """D. Kingma, J. Ba, ICLR 2015. decoupled: weight decay as in AdamW; amsgrad: by the largest moment so far."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    amsgrad: bool = False

    def __post_init__(self) -> None:
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            _expect_below_one(name, beta)
            if beta > MOST_BETA:
                raise OpError(f"`{name}` expects at most {MOST_BETA}, found {beta:.9g}", arg=name)
        _expect_decay(self.weight_decay)
        if not 0 <= self.eps <= MAX_EPS:
            help = "it is added inside the root, where a larger one would make another optimizer"
            raise OpError(f"`eps` expects a number from 0 to {number(MAX_EPS)}, found {number(self.eps)}", help, "eps")
        if self.ratio > MOST_RATIO:
            square, found = number(self.beta1**2), number(self.beta2)
            message = f"`beta2` expects a number well above the square of `beta1`, {square}, found {found}"
            raise OpError(message, "else nothing bounds how far a step of Adam goes", "beta2")

    @property
    def shares(self) -> tuple[float, float]:
        """1 - beta1 and 1 - beta2 as private training has them."""
        first, second = 1 - self.beta1, 1 - self.beta2
        return rounded(first, max(MOMENTUM_BITS, leading(first))), rounded(second, leading(second))

    @property
    def ratio(self) -> float:
        """The largest magnitude of the first moment over the root of the second, by Cauchy and Schwarz."""
        first, second = self.shares
        return max(1.25 * _ratio(1 - self.beta1, 1 - self.beta2), _ratio(first, second))

    def update(self, parameter: Array, gradient: Array, state: State, lr: float, step: int) -> tuple[Array, State]:
        if self.decoupled:
            parameter = parameter * (1 - lr * self.weight_decay)
        else:
            gradient = gradient + self.weight_decay * parameter
        zero = np.zeros_like(gradient)
        first = self.beta1 * state.get("first", zero) + (1 - self.beta1) * gradient
        second = self.beta2 * state.get("second", zero) + (1 - self.beta2) * gradient**2
        kept = {"first": first, "second": second}
        if self.amsgrad:
            second = kept["largest"] = np.maximum(state.get("largest", zero), second)
        rate = lr * math.sqrt(1 - self.beta2**step) / (1 - self.beta1**step)
        return parameter - rate * first / np.sqrt(second + max(self.eps, LEAST_EPS) ** 2), kept


def _ratio(first: float, second: float) -> float:
    """Of moments that follow by these shares; infinite where nothing bounds it."""
    beta1, beta2 = 1 - first, 1 - second
    if not beta1:
        return first / math.sqrt(second)
    return first / math.sqrt(second) / math.sqrt(1 - beta1**2 / beta2) if beta1**2 < beta2 else math.inf


def rounded(number: float, bits: int) -> float:
    return round(number * 2.0**bits) * 2.0**-bits


def leading(number: float) -> int:
    """Fraction bits with which LEADING_BITS of a number are there."""
    return LEADING_BITS - 1 - math.floor(math.log2(number))


def _expect_decay(found: float) -> None:
    _expect_positive("weight_decay", found)
    if 0 < found < LEAST_DECAY:
        least = number(LEAST_DECAY)
        raise OpError(f"`weight_decay` expects 0 or at least {least}, found {number(found)}", arg="weight_decay")


def _expect_below_one(name: str, found: float) -> None:
    if not 0 <= found < 1:
        raise OpError(f"`{name}` expects a number of at least 0 and below 1, found {number(found)}", arg=name)


def _expect_positive(name: str, found: float) -> None:
    if not (0 <= found < math.inf):
        raise OpError(f"`{name}` expects a number of at least 0, found {number(found)}", arg=name)


# -- what the language calls -------------------------------------------------------------------------------------------

MOST_RATE = 1000.0
LEAST_RATE = 1e-6
"""Learning rates that a step of a parameter can follow; beyond, all of a gradient would be rounded away or overflow."""

LR = Parameter("lr", Takes.VALUE)
"""A number, or an expression in `epoch` and `step`."""

BETAS = (Parameter("beta1", Takes.NUMBER, 0.9), Parameter("beta2", Takes.NUMBER, 0.999))
EPS, DECAY = Parameter("eps", Takes.NUMBER, 1e-8), Parameter("weight_decay", Takes.NUMBER, 0.0)


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer of the language: the parameters of its call but for `lr`, and what they make."""

    name: str
    options: tuple[Parameter, ...]
    make: Callable[..., Optimizer]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (LR, *self.options)


def _adamw(**options: Any) -> Adam:
    return Adam(decoupled=True, **options)


def _amsgrad(**options: Any) -> Adam:
    return Adam(amsgrad=True, **options)


OPTIMIZERS: dict[str, OptimizerKind] = {
    kind.name: kind
    for kind in (
        OptimizerKind(
            "sgd", (Parameter("momentum", Takes.NUMBER, 0.0), Parameter("nesterov", Takes.FLAG, False), DECAY), Sgd
        ),
        OptimizerKind("adam", (*BETAS, EPS, DECAY), Adam),
        OptimizerKind("adamw", (*BETAS, EPS, Parameter("weight_decay", Takes.NUMBER, 0.01)), _adamw),
        OptimizerKind("amsgrad", (*BETAS, EPS, DECAY), _amsgrad),
    )
}


def expect_rate(lr: float) -> float:
    """A learning rate that training can follow; raises OpError."""
    if not LEAST_RATE <= lr <= MOST_RATE:
        raise OpError(
            f"`lr` expects a number from {number(LEAST_RATE)} to {number(MOST_RATE)}, found {number(lr)}", arg="lr"
        )
    return lr
