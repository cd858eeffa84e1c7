"""Products with public factors are right to a step, however wide the operand. Truth: exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.expand import arithmetic
from compiler.expand.emitter import MAX_WIDTH
from compiler.expand.factors import FINE_GUARD_BITS, GUARD_BITS, Factor, elementwise
from compiler.graph import Kind, OpError
from mpc_runtime.gates import Open, Truncate
from tests.compiler.expand.executed import Unit

FRAC = 16
FACTORS = st.floats(-1000, 1000).filter(lambda c: abs(c) > 1e-4)


@given(st.integers(-(2**20), 2**20), st.integers(0, 24))
def test_a_factor_with_few_bits_is_exact(whole: int, g: int) -> None:
    factor = elementwise(np.array([whole * 2.0**-g]))
    bits = factor.exact_bits
    assert bits is not None and bits <= g
    assert Fraction(int(factor.encoded(bits)[0]), 2**bits) == Fraction(whole, 2**g)
    assert bits == 0 or Fraction(whole, 2**g) * 2 ** (bits - 1) % 1 != 0
    assert elementwise(np.array([whole * 2.0**-g, 1 / 3])).exact_bits is None


@given(c=FACTORS, magnitude=st.floats(0.01, 1e6), terms=st.integers(1, 5000))
def test_the_rounding_of_a_factor_stays_far_below_a_step(c: float, magnitude: float, terms: int) -> None:
    factor = Factor(np.array([c]), terms, terms * abs(c))
    g = factor.fraction_bits(FRAC, magnitude)
    assume(g <= factor.most_bits)  # else the operand is cut
    off = abs(Fraction(int(factor.encoded(g)[0]), 2**g) - Fraction(c))
    assert off * Fraction(magnitude) * terms <= Fraction(1, 2 ** (FRAC + GUARD_BITS))


def test_a_fine_operand_and_a_large_factor_need_fewer_bits() -> None:
    for c, fewer in ((0.3, GUARD_BITS - FINE_GUARD_BITS), (0.1, 0)):
        factor = elementwise(np.array([c, 0.0, 7.1]))
        assert factor.fraction_bits(FRAC, 8.0) - factor.fraction_bits(FRAC, 8.0, fine=True) == fewer


@given(st.floats(-(2.0**60), 2.0**60).filter(lambda c: abs(c) > 2.0**-20))
def test_a_factor_fits_a_word_with_the_most_bits_that_it_may_have(c: float) -> None:
    factor = elementwise(np.array([c]))
    assert abs(int(factor.encoded(factor.most_bits)[0])) < 2**62


def test_a_factor_that_fits_no_word_is_refused() -> None:
    with pytest.raises(OpError, match="a constant here holds"):
        elementwise(np.array([2.0**62])).encoded(0)


@settings(max_examples=60)
@given(c=st.lists(FACTORS, min_size=1, max_size=4), reach=st.integers(0, 29), data=st.data())
def test_a_product_is_right_to_a_step_however_wide_its_operand(c: list[float], reach: int, data: st.DataObject) -> None:
    """From ranges where the product is one local gate to those where the operand is cut into pieces."""
    most = (1 << (reach + FRAC)) - 1
    numbers = [most, -most, *data.draw(st.lists(st.integers(-most, most), min_size=2, max_size=6))]
    unit = Unit()
    h = unit.held([[x] for x in numbers], FRAC, (-(2.0**reach), 2.0**reach))
    largest = max(map(abs, c))
    factors = [each * min(1.0, unit.e.precision.limit / 2.0**reach / largest) for each in c]  # results that fit
    bound = 2.0**reach * max(map(abs, factors))
    value = unit.value((len(numbers), len(factors)), (-bound, bound))
    out = arithmetic.by_constant(unit.x, value, h, np.array(factors))
    register, scale = unit.e.share(out)
    allowed = Fraction(3, 2) if unit.count()[Open] else Fraction(1, 2**FINE_GUARD_BITS)
    assume(not unit.x.warnings)  # then the author is told
    for x, row in zip(numbers, unit.read(register), strict=True):
        for factor, found in zip(factors, row, strict=True):
            off = Fraction(found, 2**scale) - Fraction(x, 2**FRAC) * Fraction(factor)
            assert abs(off) <= allowed / 2**FRAC


def test_a_narrow_operand_takes_no_round_and_a_wide_one_is_cut() -> None:
    for reach, cuts in ((3, False), (29, True)):
        unit = Unit()
        h = unit.held([1, 2], FRAC, (-(2.0**reach), 2.0**reach))
        arithmetic.by_constant(unit.x, unit.value((2,), (-(2.0**reach), 2.0**reach)), h, np.array([1 / 3, 0.7]))
        assert (unit.count()[Truncate] > 0) == (unit.count()[Open] > 0) == cuts
        assert all(gate.width <= MAX_WIDTH for gate in unit.gates(Truncate))  # type: ignore[attr-defined]


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=4))
def test_whole_factors_are_exact_and_local(whole: list[int]) -> None:
    unit = Unit()
    h = unit.held([5, -3, 0, 1], FRAC, (-1, 1))
    factor = np.array(whole).reshape(-1, 1)
    out = arithmetic.by_constant(unit.x, unit.value((len(whole), 4), (-99, 99)), h, factor)
    register, scale = unit.e.share(out)
    assert unit.count()[Open] == 0 and out.kind is Kind.FIXED
    found = [[Fraction(x, 2**scale) for x in row] for row in unit.read(register)]
    assert found == [[prod((c, Fraction(x, 2**FRAC))) for x in (5, -3, 0, 1)] for c in whole]


def test_a_product_that_cannot_be_right_to_a_step_says_so() -> None:
    unit = Unit()
    limit = unit.e.precision.limit
    h = unit.held([1], FRAC, (-limit, limit))
    arithmetic.by_constant(unit.x, unit.value((1,), (-limit, limit)), h, np.array([2.0**20 + 1 / 3]))
    (warned,) = unit.x.warnings
    assert "is accurate only to" in warned.message and "declare a narrower range" in warned.help
