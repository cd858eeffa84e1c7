"""The largest along an axis, as the expansion emits it: in groups of all sizes. Truth: NumPy's maximum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compiler.expand import maxima
from compiler.expand.layouts import LAN, WAN, Network, conjunction, conjunction_cost
from compiler.expand.maxima import groups, maximum_along, tournament
from mpc_runtime.gates import Gaps, Open, Select, Wins
from tests.compiler.expand.executed import Unit

FEW_ROUNDS, FEW_BYTES = Network(1.0, 1e12), Network(1e-9, 1e6)
"""Networks on which all pairs at once, and a tournament, are the cheaper way."""
NETWORKS = st.sampled_from([LAN, WAN, FEW_ROUNDS, FEW_BYTES])
HALF = 1 << 18
"""Ends of the range [-4, 4] at 16 fraction bits."""


def largest(x: np.ndarray, axis: int, network: Network, scale: int = 16) -> tuple[np.ndarray, Unit]:
    unit = Unit(network=network)
    held = unit.held(x, scale, (-4, 4))
    wire, _ = unit.e.wire(held)
    return np.array(unit.read(maximum_along(unit.x, wire, axis, held, scale))), unit


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("network", [FEW_ROUNDS, FEW_BYTES])
def test_all_orders_and_all_ties(n: int, network: Network) -> None:
    values = np.array([-HALF, -1, 0, HALF])[:n]
    x = np.array(list(itertools.product(values, repeat=n)))
    assert np.array_equal(largest(x, 1, network)[0], x.max(axis=1, keepdims=True))


@pytest.mark.parametrize("n", [5, 7, 10, 13, 16, 33])
def test_whole_ranges(n: int) -> None:
    random = np.random.default_rng(n)
    ends = random.choice([-HALF, -HALF + 1, -1, 0, 1, HALF - 1, HALF], (200, n))
    close = random.integers(-HALF, HALF, (200, 1)) + random.integers(0, 2, (200, n))
    x = np.concatenate([ends, close, np.full((1, n), -HALF), np.full((1, n), HALF)])
    for network in (FEW_ROUNDS, LAN, FEW_BYTES):
        assert np.array_equal(largest(x, 1, network)[0], x.max(axis=1, keepdims=True))


@settings(max_examples=40)
@given(data=st.data(), network=NETWORKS)
def test_any_axis(data: st.DataObject, network: Network) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3), "shape"))
    axis = data.draw(st.integers(0, len(shape) - 1), "axis")
    shape = (*shape[:axis], data.draw(st.integers(1, 12), "n"), *shape[axis + 1 :])
    x = np.random.default_rng(data.draw(st.integers(0, 99), "seed")).integers(-HALF, HALF + 1, shape)
    found, _ = largest(x, axis, network)
    assert np.array_equal(found, x.max(axis=axis, keepdims=True))


@settings(max_examples=40)
@given(n=st.integers(3, 12), seed=st.integers(0, 99))
def test_what_is_far_below_the_stored_precision_is_ignored(n: int, seed: int) -> None:
    """Products hold 16 bits more: what is found is one of the numbers, less than half a stored step too low."""
    random, more = np.random.default_rng(seed), 16
    base = random.integers(-HALF, HALF, (50, 1)) << more
    x = base + random.integers(0, 1 << random.integers(1, more + 3), (50, n))
    x[0] = -HALF << more
    found, unit = largest(x, 1, FEW_ROUNDS, 16 + more)
    assert (x == found).any(axis=1).all()
    assert ((x.max(axis=1, keepdims=True) - found) < 1 << (more - 1)).all()
    assert [gate.shift for gate in unit.gates(Gaps) if isinstance(gate, Gaps)] == [more - 2]


@pytest.mark.parametrize("n", [3, 10])
def test_whole_numbers_and_unknown_ranges(n: int) -> None:
    """In 64 bits, as far as differences do not wrap."""
    x = np.random.default_rng(n).choice([-(2**62), 2**62 - 1, 0, -1], (60, n)).astype(object)
    unit = Unit(network=FEW_ROUNDS)
    held = unit.held(x, 0, (-np.inf, np.inf))
    wire, _ = unit.e.wire(held)
    found = unit.read(maximum_along(unit.x, wire, 1, held, 0))
    assert found == [[max(row)] for row in x.tolist()]


def test_unknown_ranges_of_products() -> None:
    unit = Unit(network=FEW_ROUNDS)
    x = np.array([[-(2**62), 2**61, 5], [3 << 20, -(2**62), -(2**61)]], object)
    held = unit.held(x, 32, (-np.inf, np.inf))
    wire, _ = unit.e.wire(held)
    assert unit.read(maximum_along(unit.x, wire, 1, held, 32)) == [[2**61], [3 << 20]]


# -- how many places meet ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@example(n=3000, others=10, network=LAN)
@given(n=st.integers(1, 150), others=st.sampled_from([1, 10, 1000, 10**6]), network=NETWORKS)
def test_groups_leave_one_place(n: int, others: int, network: Network) -> None:
    left = n
    for places in groups(n, others, 31, network):
        assert 2 <= places <= maxima.MOST_IN_GROUP
        left = left // places + left % places
    assert left == 1


def test_rounds_are_saved_where_they_cost_more_than_bytes() -> None:
    assert groups(10, 128, 31, LAN) == (10,)
    assert groups(2, 1, 31, WAN) == (2,)
    assert set(groups(10, 10**6, 31, LAN)) == {2}
    assert set(groups(1000, 1, 31, FEW_BYTES)) == {2}
    assert len(groups(1000, 1, 31, FEW_ROUNDS)) <= 3


def test_rounds_of_ten_classes() -> None:
    """Leaves, their trees, the conjunctions, and the largest."""
    x = np.random.default_rng(3).integers(-HALF, HALF, (4, 10))
    _, unit = largest(x, 1, LAN)
    assert unit.count()[Gaps] == unit.count()[Wins] == unit.count()[Select] == 1
    assert unit.count()[Open] == 1 + 4
    played = Unit(network=LAN)
    held = played.held(x, 16, (-4, 4))
    wire, _ = played.e.wire(held)
    tournament(played.x, wire, 1, held, 16)
    assert played.count()[Open] == 1 + 12


@given(nodes=st.integers(1, 31), elements=st.sampled_from([1, 1000, 10**7]), network=NETWORKS)
def test_conjunctions_end_in_one_bit(nodes: int, elements: int, network: Network) -> None:
    tree, left = conjunction(nodes, elements, network), nodes
    for fan_in in tree:
        left = -(-left // fan_in)
    assert left == 1


def test_the_cost_of_a_conjunction() -> None:
    """Every product of some of the masks but none and all of them, and one bit opened a node."""
    assert conjunction_cost(9, (9,)) == (2**9 - 2, 1)
    assert conjunction_cost(9, (3, 3)) == (4 * (2**3 - 2), 4)
    assert conjunction_cost(4, (3, 2)) == (2**3 - 2 + 2**2 - 2, 3)
    assert conjunction(9, 1000, LAN) == (9,) and len(conjunction(9, 10**6, LAN)) > 1
