"""Forms of a tensor: each is made once, of what is there, and all are the same number. Truth: Python's integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.expand.emitter import MAX_CONSTANT, MAX_WIDTH, PUBLIC, SHARE, WIRE, Held, width
from compiler.graph import OpError
from compiler.graph.interval import Interval
from mpc_runtime.gates import Add, Constant, FromPublic, Open, Slice, Truncate, Unmask
from tests.compiler.expand.executed import Unit

WHOLE = [0, 1, -1, 5, -8, 7, 1000, -1000]
ENDS = st.integers(-(2**62), 2**62)


@given(a=ENDS, b=ENDS)
def test_a_width_is_the_least_that_holds_a_range(a: int, b: int) -> None:
    lo, hi = (int(float(end)) for end in sorted((a, b)))
    k = width(Interval(float(lo), float(hi)), 0, exact=True, most=64)
    assert -(2 ** (k - 1)) <= lo <= hi < 2 ** (k - 1)
    assert k == 2 or not (-(2 ** (k - 2)) <= lo <= hi < 2 ** (k - 2))


@given(a=st.integers(-(2**20), 2**20), b=st.integers(-(2**20), 2**20), scale=st.integers(0, 30))
def test_a_width_counts_fraction_bits_and_leaves_room_for_rounding(a: int, b: int, scale: int) -> None:
    lo, hi = sorted((a, b))
    k = width(Interval(lo, hi), scale, most=64)
    rounding = 1 << max(0, scale - 10)
    assert -(2 ** (k - 1)) <= (lo << scale) - rounding and (hi << scale) + rounding <= 2 ** (k - 1)
    assert width(Interval(lo, hi), scale) == min(k, MAX_WIDTH)


def test_a_range_that_nobody_knows_takes_all_there_is() -> None:
    assert width(Interval(-np.inf, 1.0), 3) == MAX_WIDTH and width(Interval(0.0, np.inf), 3, most=64) == 64


def test_the_same_gate_on_the_same_registers_is_emitted_once() -> None:
    unit = Unit()
    a, b = unit.words(WHOLE), unit.words(WHOLE[::-1])
    assert unit.e.add(a, b) == unit.e.add(a, b)
    assert len({unit.e.add(a, b), unit.e.add(b, a), unit.e.sub(a, b)}) == 3
    assert unit.count()[Add] == 3
    assert unit.read(unit.e.sub(a, b)) == [x - y for x, y in zip(WHOLE, WHOLE[::-1], strict=True)]


def test_equal_constants_are_stored_once_whatever_their_scale() -> None:
    unit = Unit()
    registers = [unit.e.constant(np.array(WHOLE), scale) for scale in (0, 3, 0)]
    assert len(unit.e.constants) == 1 and unit.count()[Constant] == 2 == len(set(registers))
    unit.e.constant(np.array(WHOLE[::-1]), 0)
    unit.e.constant(np.array(WHOLE).reshape(2, 4), 0)
    assert len(unit.e.constants) == 3


@given(st.lists(st.floats(-(2.0**20), 2.0**20), min_size=1, max_size=5), st.integers(0, 40))
def test_a_constant_is_rounded_to_the_nearest_step(numbers: list[float], scale: int) -> None:
    unit = Unit()
    unit.e.encoded(np.array(numbers), scale)
    found = unit.e.constants[0].view(np.int64).tolist()
    assert found == [round(Fraction(number) * 2**scale) for number in numbers]


@pytest.mark.parametrize("scale", [0, 16, 40])
def test_a_constant_that_no_word_holds_is_refused_with_the_most_that_one_holds(scale: int) -> None:
    most = MAX_CONSTANT * 2.0**-scale
    Unit().e.encoded(np.array([np.nextafter(most, 0)]), scale)
    for bad in (most, -most):
        with pytest.raises(OpError, match=r"a constant here holds \|v\| < .*, found"):
            Unit().e.encoded(np.array([1.0, bad]), scale)


FORMS = st.lists(st.tuples(st.sampled_from(["wire", "share", "any"]), st.integers(4, 9)), min_size=1, max_size=8)


@settings(max_examples=60)
@given(asked=FORMS, mode=st.sampled_from([SHARE, PUBLIC, WIRE]), numbers=st.lists(st.integers(-99, 99), min_size=1))
def test_every_form_is_the_same_number(asked: list[tuple[str, int]], mode: str, numbers: list[int]) -> None:
    unit = Unit()
    if mode == WIRE:
        register = unit.masked(numbers, scale=4)
        h = unit.e.held(unit.value((len(numbers),), (-8, 8)), register, 4)
    else:
        h = unit.held(numbers, scale=4, mode=mode)
    found = [getattr(unit.e, form)(h, scale) for form, scale in asked]
    assert [scale for _, scale in found] == [scale for _, scale in asked]
    assert unit.count()[Truncate] == 0
    for (register, scale), (form, _) in zip(found, asked, strict=True):
        assert form == "any" or unit.e.mode(register) == {"wire": WIRE, "share": SHARE}[form]
        assert unit.e.drafts[register].scale == scale
    assert unit.read_all(*(register for register, _ in found)) == [
        [number << (scale - 4) for number in numbers] for _, scale in asked
    ]


@given(asked=FORMS, mode=st.sampled_from([SHARE, PUBLIC]))
def test_a_value_that_is_open_is_not_opened_again(asked: list[tuple[str, int]], mode: str) -> None:
    unit = Unit()
    h = unit.held(WHOLE, scale=4, mode=mode)
    unit.e.wire(h)
    for form, scale in asked:
        getattr(unit.e, form)(h, scale)
    count = unit.count()
    assert (count[Open], count[Unmask]) == (1, 0)
    assert count[FromPublic] == (mode == PUBLIC)


@given(st.lists(st.integers(4, 9), min_size=1))
def test_a_value_is_opened_at_its_lowest_scale_whichever_is_asked_for_first(scales: list[int]) -> None:
    unit = Unit()
    h = unit.held(WHOLE, scale=4)
    for scale in scales:
        unit.e.wire(h, scale)
    (opening,) = unit.gates(Open)
    assert opening.x == h.words[SHARE, 4]  # type: ignore[attr-defined]


@settings(max_examples=40)
@given(numbers=st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1), finer=st.integers(1, 12))
def test_a_coarser_form_is_truncated_once(numbers: list[int], finer: int) -> None:
    unit = Unit()
    h = unit.held(numbers, scale=20)
    forms = [unit.e.share(h, 20 - finer)[0], unit.e.wire(h, 20 - finer)[0], unit.e.share(h, 20 - finer)[0]]
    assert unit.count()[Truncate] == 1 and forms[0] == forms[2]
    assert unit.e.scales(h) == [20 - finer, 20] and unit.e.scale(h) == 20 - finer
    shares, wire = unit.read_all(*forms[:2])
    assert shares == wire
    assert all(found - (number >> finer) in (0, 1) for found, number in zip(shares, numbers, strict=True))


def test_a_view_is_made_of_what_its_base_has() -> None:
    unit = Unit()
    base = unit.held(WHOLE, scale=2)
    view = Held(base.kind, (3,), base.range, base=base, view=lambda r: unit.e.slice(r, (1,), (2,), (3,)))
    wire, _ = unit.e.wire(base)
    seen, _ = unit.e.wire(view)
    assert unit.e.share(view)[0] == unit.e.slice(unit.e.share(base)[0], (1,), (2,), (3,))
    assert unit.count()[Open] == 1 and {gate.x for gate in unit.gates(Slice)} == {wire, base.words[SHARE, 2]}  # type: ignore[attr-defined]
    assert unit.read(seen) == WHOLE[1:7:2]


def test_a_view_that_is_opened_first_opens_its_base() -> None:
    unit = Unit()
    base = unit.held(WHOLE)
    view = Held(base.kind, (2,), base.range, base=base, view=lambda r: unit.e.slice(r, (0,), (1,), (2,)))
    unit.e.wire(view)
    assert unit.e.has(base, WIRE, 0)
    unit.e.wire(base)
    assert unit.count()[Open] == 1


@pytest.mark.parametrize("wanted", [1, 4, 6, 11])
def test_shares_at_another_scale(wanted: int) -> None:
    unit = Unit()
    numbers = [13 * x for x in WHOLE]
    found = unit.read(unit.e.at_scale(unit.words(numbers, 4), 4, wanted, 20))
    for number, at in zip(numbers, found, strict=True):
        assert at - (number << wanted >> 4) in ((0,) if wanted >= 4 else (0, 1))
