"""Closed intervals of real numbers with float64 ends: the arithmetic behind range analysis.

Every operation rounds outward, so that an interval always holds the exact real result; sums and products of numbers
that float64 holds exactly stay exact. Fixed-point rounding is not counted here: the expansion into gates adds its own
steps. The values themselves are finite, so `0 * inf` is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from mpc_runtime.errors import number


def _below(exact: Fraction) -> float:
    """The largest float64 that is not above `exact`."""
    try:
        near = float(exact)
    except OverflowError:
        return -math.inf if exact < 0 else math.nextafter(math.inf, 0)
    return near if Fraction(near) <= exact else math.nextafter(near, -math.inf)


def _above(exact: Fraction) -> float:
    """The smallest float64 that is not below `exact`."""
    return -_below(-exact)


def _add_below(a: float, b: float) -> float:
    """The largest float64 that is not above a + b; the error of a float64 sum is one itself (Knuth's two-sum)."""
    total = a + b
    if math.isinf(total):
        return total if math.isinf(a) or math.isinf(b) else _below(Fraction(a) + Fraction(b))
    part = total - a
    error = (a - (total - part)) + (b - part)
    return total if error >= 0 else math.nextafter(total, -math.inf)


def _multiply_below(a: float, b: float) -> float:
    """The largest float64 that is not above a * b, with 0 * inf = 0."""
    if a == 0 or b == 0:
        return 0.0
    if math.isinf(a) or math.isinf(b):
        return a * b
    if not (_FACTORS[0] < abs(a) < _FACTORS[1] and _FACTORS[0] < abs(b) < _FACTORS[1]):
        return _below(Fraction(a) * Fraction(b))
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product if error >= 0 else math.nextafter(product, -math.inf)


_FACTORS = (2.0**-400, 2.0**400)  # between these, Dekker's product neither overflows nor loses bits below the smallest


def _halves(a: float) -> tuple[float, float]:
    """a as a sum of two numbers of 26 bits (Veltkamp's split), whose products are exact."""
    scaled = 134217729.0 * a  # 2^27 + 1
    high = scaled - (scaled - a)
    return high, a - high


@dataclass(frozen=True)
class Interval:
    """All real numbers v with `lo <= v <= hi`; an end may be infinite, which means that it is not known."""

    lo: float
    hi: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lo", float(self.lo) + 0.0)  # + 0.0 turns -0.0 into 0.0: one spelling, one print
        object.__setattr__(self, "hi", float(self.hi) + 0.0)
        if not self.lo <= self.hi:
            raise ValueError(f"expected lo <= hi, found [{self.lo}, {self.hi}]")

    # -- questions ---------------------------------------------------------------------------------------------------

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.lo) and math.isfinite(self.hi)

    @property
    def magnitude(self) -> float:
        """The largest |v|."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def width(self) -> float:
        return self.hi - self.lo

    def contains(self, other: Interval | float) -> bool:
        if isinstance(other, Interval):
            return self.lo <= other.lo and other.hi <= self.hi
        return self.lo <= other <= self.hi

    # -- sets --------------------------------------------------------------------------------------------------------

    def intersect(self, other: Interval) -> Interval | None:
        """The common part, or None when there is none."""
        lo, hi = max(self.lo, other.lo), min(self.hi, other.hi)
        return Interval(lo, hi) if lo <= hi else None

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.lo, other.lo), max(self.hi, other.hi))

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def __add__(self, other: Interval) -> Interval:
        return Interval(_add_below(self.lo, other.lo), -_add_below(-self.hi, -other.hi))

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        corners = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        lo = min(_multiply_below(a, b) for a, b in corners)
        return Interval(lo, max(-_multiply_below(-a, b) for a, b in corners))

    def __truediv__(self, other: Interval) -> Interval:
        """Unknown when the divisor may be zero."""
        return self * other.reciprocal()

    def times(self, count: int) -> Interval:
        """The sum of `count` numbers of this interval."""
        return self * Interval(count, count)

    def reciprocal(self) -> Interval:
        """1 / v: unknown inside when the interval has zero inside, one-sided when zero is an end."""
        if self.lo > 0:
            return Interval(_divide_below(self.hi), _divide_above(self.lo))
        if self.hi < 0:
            return -(-self).reciprocal()
        if self.lo == 0 < self.hi:
            return Interval(_divide_below(self.hi), math.inf)
        if self.lo < 0 == self.hi:
            return Interval(-math.inf, _divide_above(self.lo))
        return UNKNOWN

    def square(self) -> Interval:
        squares = self.absolute()
        return squares * squares

    def absolute(self) -> Interval:
        if self.lo >= 0:
            return self
        return -self if self.hi <= 0 else Interval(0, self.magnitude)

    def minimum(self, other: Interval) -> Interval:
        return Interval(min(self.lo, other.lo), min(self.hi, other.hi))

    def maximum(self, other: Interval) -> Interval:
        return Interval(max(self.lo, other.lo), max(self.hi, other.hi))

    def clip(self, lo: float, hi: float) -> Interval:
        return Interval(min(max(self.lo, lo), hi), min(max(self.hi, lo), hi))

    def monotone(self, function: Callable[[float], float], bounds: Interval | None = None) -> Interval:
        """The image under a non-decreasing `function` that is right to about one unit in the last place.

        `bounds` are what the function never leaves, so that outward rounding does not either.
        """
        image = Interval(math.nextafter(function(self.lo), -math.inf), math.nextafter(function(self.hi), math.inf))
        return image if bounds is None else image.clip(bounds.lo, bounds.hi)

    def widened(self, slack: float) -> Interval:
        """Moved outward by `slack` at both ends."""
        return self if slack == 0 else self + Interval(-slack, slack)

    def __str__(self) -> str:
        return f"[{number(self.lo)}, {number(self.hi)}]"


UNKNOWN = Interval(-math.inf, math.inf)
BITS = Interval(0, 1)


def _divide_below(divisor: float) -> float:
    return 0.0 if math.isinf(divisor) else _below(1 / Fraction(divisor))


def _divide_above(divisor: float) -> float:
    return 0.0 if math.isinf(divisor) else _above(1 / Fraction(divisor))


def hull(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval that holds all of `intervals` (at least one)."""
    intervals = list(intervals)
    return Interval(min(i.lo for i in intervals), max(i.hi for i in intervals))
