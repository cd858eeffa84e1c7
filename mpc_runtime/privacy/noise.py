"""How wide noise must be for what it promises.

Discrete Laplace noise of scale sensitivity / epsilon hides an L1 distance with (epsilon, 0), exactly. Discrete Gaussian
noise of deviation s hides an L2 distance d with d^2 / (2 s^2)-concentrated privacy, in any number of dimensions, and
that is (epsilon, delta) for the delta of `gaussian_delta`. Both are of C. Canonne, G. Kamath, T. Steinke, "The Discrete
Gaussian for Differential Privacy", NeurIPS 2020, arXiv:2004.00010: theorem 4, corollary 13.

Scales are whole numbers of steps over whole numbers, as `samplers.py` takes them. Whoever loads a plan checks its
scales by the same functions (`hides`).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

from .samplers import MAX_NUMERATOR

__all__ = [
    "LAWS",
    "MAX_EPSILON",
    "Law",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_multiplier",
    "hides",
    "hides_nothing",
    "in_parts",
    "reach",
    "scale",
]

Law = Literal["laplace", "gaussian"]
LAWS: tuple[Law, ...] = ("laplace", "gaussian")

MAX_EPSILON = 64.0
"""More is no privacy, and nothing that a sampler could tell from infinity."""

FINE = 30  # bits of a scale: so little is it wider than it has to be
SPARE = 1e-6
"""Part by which a delta may be exceeded where it is computed once more: other machines round logarithms otherwise."""

REACHES = {"laplace": 45.0, "gaussian": 9.3}
"""Scales beyond which one number in 2^64 lies. A register holds that much; what is beyond wraps, and tells no more."""


def scale(law: Law, epsilon: float, delta: float, sensitivity: Fraction) -> tuple[int, int] | None:
    """(numerator, denominator) of the scale in steps that hides a distance of `sensitivity` steps; None where no
    sampler reaches so far."""
    return in_parts(sensitivity / Fraction(epsilon) if law == "laplace" else _deviation(epsilon, delta, sensitivity))


def in_parts(wide: Fraction) -> tuple[int, int] | None:
    """(numerator, denominator) of a scale that is hardly wider; None where no sampler reaches so far."""
    denominator = 1 << max(0, FINE - math.floor(wide).bit_length())
    numerator = math.ceil(wide * denominator)
    return (max(numerator, 1), denominator) if numerator <= MAX_NUMERATOR else None


def hides(law: Law, epsilon: float, delta: float, sensitivity: Fraction, numerator: int, denominator: int) -> bool:
    """Whether noise of this scale, in steps, hides a distance of `sensitivity` steps."""
    if law == "laplace":
        return Fraction(numerator, denominator) * Fraction(epsilon) >= sensitivity
    multiplier = float(Fraction(numerator, denominator) / sensitivity)
    return gaussian_delta(epsilon, multiplier) <= delta * (1 + SPARE)


def reach(law: Law, numerator: int, denominator: int) -> float:
    """The steps within which noise lies, but for one number in 2^64."""
    return REACHES[law] * numerator / denominator + 1


def gaussian_multiplier(epsilon: float, delta: float) -> float:
    """The least deviation, over the sensitivity, for (epsilon, delta)."""
    low, high = 0.0, 1.0
    while gaussian_delta(epsilon, high) > delta:
        low, high = high, 2 * high
    while high - low > high * 2.0**-40:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(epsilon, middle) > delta else (low, middle)
    return high


def gaussian_epsilon(delta: float, multiplier: float) -> float:
    """The least epsilon at this delta of noise whose deviation is so many sensitivities."""
    low, high = 0.0, 1.0
    while gaussian_delta(high, multiplier) > delta:
        low, high = high, 2 * high
    while high - low > high * 2.0**-20:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, multiplier) > delta else (low, middle)
    return high


def hides_nothing(delta: float, multiplier: float) -> bool:
    """Whether noise whose deviation is so many sensitivities costs more than MAX_EPSILON at this delta."""
    return gaussian_delta(MAX_EPSILON, multiplier) > delta


def gaussian_delta(epsilon: float, multiplier: float) -> float:
    """The delta at `epsilon` of discrete Gaussian noise whose deviation is so many sensitivities: the least of

        exp((a - 1) (a r - epsilon)) (1 - 1/a)^a / (a - 1),  r = 1 / (2 multiplier^2),  a > 1,

    whose logarithm falls and then rises: its derivative, (2 a - 1) r - epsilon + log(1 - 1/a), grows with a.
    """
    r = 0.5 / multiplier**2
    low, high = 1.0 + 2.0**-40, 2.0 + (epsilon + 1) / r
    for _ in range(200):
        a = (low + high) / 2
        slope = (2 * a - 1) * r - epsilon + math.log1p(-1 / a)
        low, high = (a, high) if slope < 0 else (low, a)
    log = (high - 1) * (high * r - epsilon) + high * math.log1p(-1 / high) - math.log(high - 1)
    return min(1.0, math.exp(min(log, 0.0)))


def _deviation(epsilon: float, delta: float, sensitivity: Fraction) -> Fraction:
    return Fraction(gaussian_multiplier(epsilon, delta)) * sensitivity
