"""Comparisons, their conjunctions and what bits choose, as the expansion emits them. Truth: Python's comparisons."""

from __future__ import annotations

from functools import reduce
from operator import and_

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.expand.emitter import SHARE, WIRE
from compiler.expand.layouts import LAN, WAN, Network
from compiler.graph.interval import Interval
from mpc_runtime.gates import Leaf, Open
from tests.compiler.expand.executed import Unit

WIDTHS = st.integers(3, 62)
NETWORKS = st.sampled_from([LAN, WAN])
BITS = np.array([0, 1, 1, 0, 1, 0, 0, 1])


def near(edges: list[int], least: int, most: int) -> list[int]:
    """The edges, their neighbours and the ends, as far as they are between the ends."""
    found = {edge + step for edge in (*edges, least, most, 0) for step in (-1, 0, 1)}
    return sorted(x for x in found if least <= x <= most)


@settings(max_examples=60)
@given(k=WIDTHS, data=st.data(), network=NETWORKS)
def test_thresholds(k: int, data: st.DataObject, network: Network) -> None:
    half = 1 << (k - 2)  # so that x - T has k bits for every x and T
    thresholds = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=4, unique=True))
    numbers = near(thresholds, -half, half - 1) + data.draw(st.lists(st.integers(-half, half - 1), max_size=20))
    unit = Unit(network=network)
    found = unit.read_all(*unit.bits.at_least(unit.masked(numbers), tuple(thresholds), k))
    assert found == [[int(x >= threshold) for x in numbers] for threshold in thresholds]
    assert unit.count()[Leaf] == 1


@settings(max_examples=60)
@given(k=WIDTHS, low_bit=st.integers(1, 20), data=st.data())
def test_low_bits_may_be_ignored(k: int, low_bit: int, data: st.DataObject) -> None:
    """Right wherever the number is not within the bits that are ignored."""
    half = 1 << (k - 1)
    numbers = near([-(1 << low_bit), 1 << low_bit], -half, half - 1 - (1 << min(low_bit, k - 2)))
    numbers += data.draw(st.lists(st.sampled_from(numbers), max_size=5))
    unit = Unit()
    (found,) = unit.read_all(*unit.bits.at_least(unit.masked(numbers), (0,), k, low_bit))
    wrong = [x for x, bit in zip(numbers, found, strict=True) if bit != (x >= 0)]
    assert all(-(1 << low_bit) < x < 1 << low_bit for x in wrong)


@settings(max_examples=40)
@given(lo=st.integers(-(2**30), 2**30), hi=st.integers(-(2**30), 2**30), scale=st.integers(0, 16))
def test_a_sign_is_right_over_the_whole_of_a_range(lo: int, hi: int, scale: int) -> None:
    lo, hi = sorted((lo, hi))
    numbers = near([], lo, hi)
    unit = Unit()
    range_ = Interval(lo * 2.0**-scale, hi * 2.0**-scale)
    assert unit.read(unit.bits.positive(unit.masked(numbers, scale), range_, scale)) == [int(x >= 0) for x in numbers]


@settings(max_examples=40)
@given(k=WIDTHS, network=NETWORKS, place=st.integers(0, 61))
def test_equality_with_zero(k: int, network: Network, place: int) -> None:
    half = 1 << (k - 1)
    one = 1 << min(place, k - 2)  # a single bit, wherever it stands, is seen
    numbers = near([one, -one], -half, half - 1)
    unit = Unit(network=network)
    assert unit.read(unit.bits.equal_zero(unit.masked(numbers), k)) == [int(x == 0) for x in numbers]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 17, 64, 65, 200])
def test_a_conjunction_is_right_for_every_number_of_bits(count: int) -> None:
    columns = np.random.default_rng(count).random((count, count + 60)) < 0.9
    columns[:, 0], columns[:, 1] = True, False
    for i in range(count):
        columns[:, 2 + i] = np.arange(count) != i
    unit = Unit()
    found = unit.read(unit.bits.all([unit.masked_bits(column) for column in columns]))
    assert found == reduce(and_, columns.astype(int)).tolist()


def test_not_and_exclusive_or_open_nothing() -> None:
    unit = Unit()
    a, b = unit.masked_bits(BITS), unit.masked_bits(BITS[::-1])
    opened = unit.count()[Open]
    no, either = unit.bits.negate(a), unit.bits.exclusive(a, b)
    assert unit.count()[Open] == opened and unit.e.mode(no) == unit.e.mode(either) == WIRE
    assert unit.read_all(no, either) == [(1 - BITS).tolist(), (BITS ^ BITS[::-1]).tolist()]


@pytest.mark.parametrize("shift", [0, 3])
def test_a_bit_chooses_a_number_or_nothing_with_broadcasting(shift: int) -> None:
    numbers = [0, 1, -1, 2**20 - 1, -(2**20), 77]
    unit = Unit()
    bit = unit.masked_bits(BITS.reshape(8, 1))
    chosen = unit.bits.select(bit, unit.masked(numbers), 0, shift, 22 if shift else 0)
    assert unit.e.mode(chosen) == SHARE and unit.e.shape(chosen) == (8, 6)
    for flag, row in zip(BITS, unit.read(chosen), strict=True):
        for number, found in zip(numbers, row, strict=True):
            assert found - (int(flag) * number >> shift) in ((0, 1) if shift and flag else (0,))


def test_a_bit_as_a_number() -> None:
    unit = Unit()
    assert unit.read(unit.bits.number(unit.masked_bits(BITS))) == BITS.tolist()


def test_leaves_of_the_same_comparison_are_made_once() -> None:
    unit = Unit()
    wire = unit.masked([1, 2, 3])
    assert unit.bits.at_least(wire, (0, 2), 8) == unit.bits.at_least(wire, (0, 2), 8)
    assert unit.count()[Leaf] == 1
    unit.bits.at_least(wire, (1,), 8)
    assert unit.count()[Leaf] == 2
