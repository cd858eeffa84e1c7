"""Division by normalisation: exponents, signs, groups that share a cut. Truth: Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.expand.division import GROUP, Signs, inverse, normalise, quotient
from mpc_runtime.gates import Select
from tests.compiler.expand.executed import Unit

FRAC = 16
RELATIVE = Fraction(1, 2**12)
SIDES = st.sampled_from(["positive", "negative", "both"])


def ends(side: str, least: int, most: int) -> tuple[int, int]:
    return {"positive": (least, most), "negative": (-most, -least), "both": (-most, most)}[side]


def spread(lo: int, hi: int) -> list[int]:
    """Powers of two, their neighbours and the ends, between the ends; of every exponent and sign."""
    found = {sign * ((1 << e) + step) for sign in (-1, 1) for e in range(63) for step in (-1, 0, 1)} | {lo, hi}
    return sorted(x for x in found if lo <= x <= hi)


@settings(max_examples=40)
@given(side=SIDES, top=st.integers(1, 20), data=st.data())
def test_a_weighted_sum_takes_the_weight_of_the_exponent_and_the_sign(side: str, top: int, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, top))
    lo, hi = ends(side, 1 << low, (2 << top) - 1)
    divisors = [b for b in spread(lo, hi) if abs(b) >= 1 << low]
    weights = data.draw(st.lists(st.integers(0, 2**20), min_size=top - low + 1, max_size=top - low + 1))
    ys = [7 * i - 40 for i in range(len(divisors))]
    unit = Unit()
    signs = Signs(unit.x, unit.masked(divisors), low, top, hi > 0, lo < 0)
    assume(any(weights))
    found = unit.read(signs.weighted(unit.masked(ys), weights, 0))
    expected = [
        weights[abs(b).bit_length() - 1 - low] * (1 if b > 0 else -1) * y for b, y in zip(divisors, ys, strict=True)
    ]
    assert found == expected


@settings(max_examples=20)
@given(top=st.integers(0, 30), below=st.booleans(), data=st.data())
def test_a_level_is_the_weight_of_the_exponent_and_0_below_the_lowest(
    top: int, below: bool, data: st.DataObject
) -> None:
    low = data.draw(st.integers(0, top))
    numbers = spread(-min(5, 1 << top) if below else 1 << low, (2 << top) - 1)
    weights = data.draw(st.lists(st.integers(-(2**20), 2**20), min_size=top - low + 1, max_size=top - low + 1))
    unit = Unit()
    signs = Signs(unit.x, unit.masked(numbers), low, top, True, False, below)
    found = unit.read(signs.level(weights, 0))
    assert found == [weights[b.bit_length() - 1 - low] if b >= 1 << low else 0 for b in numbers]


@settings(max_examples=20)
@given(side=SIDES, least=st.integers(2, 2**20), more=st.integers(2, 2**10))
def test_exponents_cover_a_range_and_no_more_than_one_below_it(side: str, least: int, more: int) -> None:
    lo, hi = ends(side, least, least * more)
    unit = Unit()
    n = normalise(unit.x, unit.held([lo], FRAC, (lo / 2**FRAC, hi / 2**FRAC)), FRAC)
    nearest = 1 if side == "both" else least
    assert nearest.bit_length() - 2 <= n.low <= nearest.bit_length() - 1
    assert n.top >= (least * more).bit_length() - 1


@pytest.mark.parametrize("side", ["positive", "negative", "both"])
@pytest.mark.parametrize("reach", [4, 9])
def test_a_reciprocal_has_its_relative_error_over_all_exponents(side: str, reach: int) -> None:
    lo, hi = ends(side, 1 << (FRAC - 2), 1 << (FRAC + reach))
    numbers = [b for b in spread(lo, hi) if abs(b) >= 1 << (FRAC - 2)]
    unit = Unit()
    h = unit.held(numbers, FRAC, (lo / 2**FRAC, hi / 2**FRAC))
    n = normalise(unit.x, h, FRAC)
    out = inverse(unit.x, unit.value((len(numbers),), (-4.01, 4.01)), n, FRAC)
    register, scale = unit.e.share(out)
    for b, found in zip(numbers, unit.read(register), strict=True):
        true = Fraction(2**FRAC, b)
        assert abs(Fraction(found, 2**scale) - true) <= abs(true) * RELATIVE + Fraction(1, 2**FRAC), b


@pytest.mark.parametrize("limit", [4.0, 2.0**20])
def test_a_quotient_is_right_with_one_group_of_exponents_and_with_many(limit: float) -> None:
    """The wider the results, the fewer exponents share a cut; the divisor takes more exponents than one group holds."""
    least = Fraction(1, 2**10)
    divisors = spread(1 << 6, 1 << (FRAC + 8))
    numerators = [int(min(Fraction(limit) * b / 2**FRAC, 2**10) * 2**FRAC * 15 // 16) for b in divisors]
    numerators = [a * (-1) ** i for i, a in enumerate(numerators)]
    unit = Unit()
    a = unit.held(numerators, FRAC, (-(2.0**10), 2.0**10))
    b = unit.held(divisors, FRAC, (float(least), 2.0**8))
    out = quotient(unit.x, unit.value((len(divisors),), (-limit, limit)), a, b)
    register, scale = unit.e.share(out)
    for x, y, found in zip(numerators, divisors, unit.read(register), strict=True):
        true = Fraction(x, y)
        assert abs(Fraction(found, 2**scale) - true) <= abs(true) * RELATIVE + Fraction(2, 2**FRAC), (x, y)
    exponents = FRAC + 8 - 6 + 1
    cuts = {gate.shift for gate in unit.gates(Select) if gate.shift}  # type: ignore[attr-defined]
    assert len(cuts) >= -(-exponents // GROUP) - 1


def test_a_divisor_of_zero_gives_zero() -> None:
    unit = Unit()
    h = unit.held([0, 1 << FRAC], FRAC, (-8, 8))
    out = inverse(unit.x, unit.value((2,), (-(2.0**16), 2.0**16)), normalise(unit.x, h, FRAC), FRAC)
    register, scale = unit.e.share(out)
    zero, one = unit.read(register)
    assert zero == 0 and abs(Fraction(one, 2**scale) - 1) <= RELATIVE
