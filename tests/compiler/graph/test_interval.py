"""Interval arithmetic against exact fractions: outward, and no wider than one unit in the last place."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.interval import UNKNOWN, Interval

ENDS = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -1.0, 0.1, 2.0**-30, 2.0**53])


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    a, b = draw(ENDS), draw(ENDS)
    return Interval(min(a, b), max(a, b))


def tight(found: float, exact: Fraction) -> bool:
    return abs(Fraction(found) - exact) <= Fraction(math.ulp(found))


@settings(max_examples=60, deadline=None)
@given(intervals(), intervals())
def test_sums_and_products_hold_the_exact_corners(a: Interval, b: Interval) -> None:
    corners = [(Fraction(x), Fraction(y)) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    for found, exact in (
        (a + b, [x + y for x, y in corners]),
        (a - b, [x - y for x, y in corners]),
        (a * b, [x * y for x, y in corners]),
    ):
        assert found.lo <= min(exact) and max(exact) <= found.hi
        assert tight(found.lo, min(exact)) and tight(found.hi, max(exact))


@settings(max_examples=60, deadline=None)
@given(intervals(), st.floats(0, 1))
def test_one_argument_functions_hold_a_point(a: Interval, share: float) -> None:
    x = min(max(a.lo + share * (a.hi - a.lo), a.lo), a.hi)
    assert a.square().contains(x * x) and a.absolute().contains(abs(x)) and (-a).contains(-x)
    if x:
        assert a.reciprocal().contains(1 / x)
    if a.hi < 300:
        assert a.monotone(math.exp).contains(math.exp(x))


def test_squares_are_not_negative_and_whole_numbers_stay_whole() -> None:
    assert Interval(-3, 2).square() == Interval(0, 9)
    assert Interval(-1, 1).times(75) + Interval(-1, 1) == Interval(-76, 76)
    assert Interval(2, 4).reciprocal() == Interval(0.25, 0.5)


def test_what_may_be_zero_has_no_reciprocal() -> None:
    assert Interval(-1, 1).reciprocal() == UNKNOWN
    assert Interval(0, 2).reciprocal() == Interval(0.5, math.inf)
    assert UNKNOWN * Interval(0, 0) == Interval(0, 0)


def test_an_empty_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="expected lo <= hi"):
        Interval(1, 0)
    assert Interval(0, 1).intersect(Interval(2, 3)) is None


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_sums_and_products_of_any_two_numbers_are_rounded_by_less_than_a_unit(a: float, b: float) -> None:
    for found, exact in (
        (Interval(a, a) + Interval(b, b), Fraction(a) + Fraction(b)),
        (Interval(a, a) * Interval(b, b), Fraction(a) * Fraction(b)),
    ):
        assert found.lo <= exact <= found.hi
        assert found.hi in (found.lo, math.nextafter(found.lo, math.inf))
        assert (found.lo == found.hi) == (found.lo == exact)
