"""What several releases cost together.

Two bounds hold, and the smaller one counts. Basic composition adds up every epsilon and every delta. The accountant of
`dp-accounting` (the extra `[dp]`) composes the distributions of what each release may tell, which is much smaller for
many of them; where it is not installed, basic composition stands alone.

A release that promises (epsilon, 0) counts as the worst one that does, whatever its noise: the discrete Laplace law of
scale 1 / epsilon on neighbouring whole numbers, which is an answer at random. Steps of DP-SGD draw each row with the
same chance, up to a capacity (`Sampled`); whoever sees the draws too is told more (`training`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError

__all__ = ["ACCOUNTANT", "BASIC", "Event", "Training", "capacity", "composed", "installed", "training"]

BASIC = "basic composition"
ACCOUNTANT = "dp-accounting"
SIGMAS = 6  # of a batch's size above its mean, beyond which rows are left out


@dataclass(frozen=True)
class Event:
    """One release, or one step of training.

    kind: "pure" promises (epsilon, 0). "gaussian" has noise whose deviation is `multiplier` sensitivities, and promises
    (epsilon, delta) by itself. "sampled" is a gaussian one on rows drawn from `rows` with chance batch / rows, at most
    `most` of them; by itself nothing is promised of it. "bare" has no noise.
    """

    kind: Literal["pure", "gaussian", "sampled", "bare"]
    epsilon: float = math.inf
    delta: float = 0.0
    multiplier: float = 0.0
    rows: int = 0
    batch: int = 0
    most: int = 0


@dataclass(frozen=True)
class Training:
    """What DP-SGD costs. outputs: towards whoever sees only outputs; party: towards a compute party that sees them too,
    and the draws."""

    outputs: float
    party: float


def composed(events: Mapping[Event, int], delta: float) -> tuple[float, str]:
    """The epsilon of so many of each event together, at this delta, and by which bound."""
    total = basic(events, delta)
    if not events or any(event.kind == "bare" for event in events) or not installed() or delta <= 0:
        return total, BASIC
    found = _accounted(events, delta)
    return (found, ACCOUNTANT) if found < total else (total, BASIC)


def basic(events: Mapping[Event, int], delta: float) -> float:
    """By adding up; infinite where the deltas alone exceed `delta`."""
    if sum(event.delta * count for event, count in events.items()) > delta * (1 + 1e-9):
        return math.inf
    return sum(event.epsilon * count for event, count in events.items())


def training(rows: int, batch: int, noise: float, steps: int, delta: float, draws: int) -> Training:
    """Of so many steps of DP-SGD on batches of `batch` of these rows on average, of which at most `capacity` are taken.

    noise: the deviation over the bound to which gradients are clipped. draws: how often the row that was drawn most
    often was. InputError without dp-accounting.
    """
    if not installed():
        raise InputError("the epsilon of training needs dp-accounting: pip install 'mpc-runtime[dp]'")
    step = Event("sampled", multiplier=noise, rows=rows, batch=batch, most=capacity(batch))
    seen = Event("gaussian", multiplier=noise)
    return Training(_accounted({step: steps}, delta), _accounted({seen: draws}, delta))


def capacity(batch: int) -> int:
    """Rows for which a step of that average batch has room."""
    return math.ceil(batch + SIGMAS * math.sqrt(batch))


def installed() -> bool:
    """Whether `dp-accounting` is there."""
    from importlib.util import find_spec

    return find_spec("dp_accounting") is not None


def _accounted(events: Mapping[Event, int], delta: float) -> float:
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for event, count in events.items():
        accountant.compose(_told(event), count)
    return float(accountant.get_epsilon(delta))


def _told(event: Event) -> Any:
    """In the words of `dp-accounting`."""
    from dp_accounting import dp_event as dp

    if event.kind == "pure":
        return dp.DiscreteLaplaceDpEvent(event.epsilon, 1)
    if event.kind == "gaussian":
        return dp.GaussianDpEvent(event.multiplier)
    return dp.TruncatedSubsampledGaussianDpEvent(event.rows, event.batch / event.rows, event.most, event.multiplier)
