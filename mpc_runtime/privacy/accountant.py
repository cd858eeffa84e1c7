"""What several releases cost together.

Two bounds hold, and the smaller one counts. Basic composition adds up every epsilon and every delta. The accountant of
`dp-accounting` (the extra `[dp]`) composes the distributions of what each release may tell, which is much smaller for
many of them; where it is not installed, basic composition stands alone.

A release that promises (epsilon, 0) counts as the worst one that does, whatever its noise: the discrete Laplace law of
scale 1 / epsilon on neighbouring whole numbers, which is an answer at random. Steps of DP-SGD draw each row with the
same chance, up to a capacity; whoever sees the draws too is told more (`training`). Where noise hides nothing, nothing
is counted: it costs infinitely much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ..errors import InputError, number
from .noise import hides_nothing

__all__ = [
    "ACCOUNTANT",
    "BASIC",
    "Event",
    "Training",
    "capacity",
    "composed",
    "counted_rows",
    "expect_installed",
    "installed",
    "training",
    "within",
]

BASIC = "basic composition"
ACCOUNTANT = "dp-accounting"
CLOSE = 1 + 1e-9  # sums of floats
FIRST_STEPS = 64  # of training, whose cost is found at once
INTERVAL = 1e-4
"""Between the privacy losses that are told apart, as of `dp-accounting`: they are rounded to what costs more."""

FINE_NOISE = 0.5
"""Of narrower noise, losses are larger by the square, and so is what is told apart of them: else it takes minutes."""

ROW_DIGITS = 3
"""Decimal digits with which a ledger counts rows: fewer kinds of steps have to be composed then."""

SIGMAS = 6  # of a batch's size above its mean, beyond which rows are left out


@dataclass(frozen=True)
class Event:
    """One release, or one step of training.

    kind: "pure" promises (epsilon, 0). "gaussian" has noise whose deviation is `multiplier` sensitivities, and promises
    (epsilon, delta) by itself. "sampled" is a gaussian one on rows drawn from `rows` with chance batch / rows, at most
    `most` of them; by itself nothing is promised of it, and its delta is that at which all steps are told of. "bare"
    has no noise.
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
    """What DP-SGD costs, as epsilons at `delta`.

    Attributes:
        outputs: Towards whoever sees what training releases, and knows nothing of which rows were drawn.
        party: Towards whoever knows that too, as roles do that give rows themselves, and a compute party may from them.
        delta: At which both hold.
    """

    outputs: float
    party: float
    delta: float

    def __str__(self) -> str:
        at = f"at delta {number(self.delta)}"
        party = "more than is known" if math.isinf(self.party) else f"{self.party:.3g}"
        return f"epsilon {self.outputs:.3g} towards receivers, {party} towards whoever knows the rows drawn, {at}"


def composed(events: Mapping[Event, int], delta: float) -> tuple[float, str]:
    """The epsilon of so many of each event together, at this delta, and by which bound."""
    total = basic(events, delta)
    if not events or any(event.kind == "bare" for event in events) or not installed() or delta <= 0:
        return total, BASIC
    found = _known(frozenset(events.items()), delta)
    return (found, ACCOUNTANT) if found < total else (total, BASIC)


def basic(events: Mapping[Event, int], delta: float) -> float:
    """By adding up; infinite where the deltas alone exceed `delta`."""
    if any(event.kind == "sampled" for event in events):
        return math.inf
    if sum(event.delta * count for event, count in events.items()) > delta * CLOSE:
        return math.inf
    return sum(event.epsilon * count for event, count in events.items())


def training(rows: int, batch: int, noise: float, steps: int, delta: float, draws: int | None) -> Training:
    """Of so many steps of DP-SGD on batches of `batch` of these rows on average, of which at most `capacity` are taken.

    noise: the deviation over the bound to which gradients are clipped. draws: how often the row that was drawn most
    often was, if that is known. InputError without dp-accounting.
    """
    expect_installed()
    step = Event("sampled", multiplier=noise, rows=rows, batch=batch, most=capacity(batch))
    seen = Event("gaussian", multiplier=noise)
    outputs = _known(frozenset({(step, steps)}), delta) if steps else 0.0
    party = 0.0 if draws == 0 else math.inf
    if draws:
        party = _known(frozenset({(seen, draws)}), delta)
    return Training(outputs, party, delta)


def expect_installed() -> None:
    """InputError without dp-accounting."""
    if not installed():
        raise InputError("the epsilon of training needs dp-accounting: pip install 'mpc-runtime[dp]'")


def capacity(batch: int) -> int:
    """Rows for which a step of that average batch has room."""
    return math.ceil(batch + SIGMAS * math.sqrt(batch))


def counted_rows(rows: int, batch: int) -> int:
    """How many rows are counted where so many are: up to a hundredth fewer. Each of them is drawn with a higher chance,
    which costs no less."""
    step = 10 ** max(0, len(str(rows)) - ROW_DIGITS)
    fewer = rows // step * step
    return fewer if fewer > batch else rows


def installed() -> bool:
    """Whether `dp-accounting` is there."""
    from importlib.util import find_spec

    return find_spec("dp_accounting") is not None


def within(events: Mapping[Event, int], epsilon: float, delta: float) -> bool:
    """Whether so many of each event together cost at most `epsilon` at this delta.

    Steps of training are many, and each is asked for: what more of them would cost is remembered, and asked first.
    """
    if basic(events, delta) <= epsilon * CLOSE:
        return True
    if any(event.kind == "bare" for event in events) or not installed() or delta <= 0:
        return False
    counts = (
        frozenset((event, _rounded_up(event, count, digits)) for event, count in events.items())
        for digits in (1, 3, 6, 64)
    )
    return any(_known(each, delta) <= epsilon * CLOSE for each in counts)


def _rounded_up(event: Event, count: int, digits: int) -> int:
    """Of steps of training, the next number of so many binary digits, and zeros behind; some at once, at first."""
    if event.kind != "sampled":
        return count
    step = 1 << max(0, count.bit_length() - digits)
    return max(-(-count // step) * step, FIRST_STEPS if digits == 1 else 1)


@lru_cache(1024)
def _known(events: frozenset[tuple[Event, int]], delta: float) -> float:
    return _accounted(dict(events), delta)


def _accounted(events: Mapping[Event, int], delta: float) -> float:
    multipliers = [event.multiplier for event in events if event.kind != "pure"]
    if any(hides_nothing(delta, multiplier) for multiplier in multipliers):
        return math.inf
    from dp_accounting.pld import privacy_loss_distribution as pld

    interval = INTERVAL * max((math.ceil((FINE_NOISE / each) ** 2) for each in multipliers), default=1)
    total = pld.identity(interval)
    for event, count in events.items():
        total = total.compose(_distribution(event, count, interval))
    return float(total.get_epsilon_for_delta(delta))


def _distribution(event: Event, count: int, interval: float) -> Any:
    """Of the privacy loss of so many of these events, in the words of `dp-accounting`."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    if event.kind == "pure":
        found = pld.from_discrete_laplace_mechanism(event.epsilon, value_discretization_interval=interval)
        return found.self_compose(count)
    if event.kind == "gaussian":
        deviation = event.multiplier / math.sqrt(count)
        return pld.from_gaussian_mechanism(deviation, value_discretization_interval=interval)
    return _step(event, interval).self_compose(count)


@lru_cache(16)
def _step(event: Event, interval: float) -> Any:
    """Of one step of training, which takes seconds to find."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    chance = event.batch / event.rows
    return pld.from_truncated_subsampled_gaussian_mechanism(
        event.rows, chance, event.most, event.multiplier, value_discretization_interval=interval
    )
