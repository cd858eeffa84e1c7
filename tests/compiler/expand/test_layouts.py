"""Layouts against the published table, and against the gates that they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.expand.layouts import LAN, MAX_DIGIT, MAX_FAN_IN, WAN, Network, cheapest, cost, layout, split
from mpc_runtime.gates import Combine, Leaf, Open
from mpc_runtime.registers import Domain
from tests.compiler.expand.executed import Unit

KINDS = st.sampled_from(["lt", "eq"])


def test_layouts_are_those_of_the_published_table() -> None:
    """PROTOCOLS section 3.2: offline bytes and online bits of the cheapest layouts."""
    published = {
        (15, 2): (8.0, 8), (23, 2): (19.5, 10), (31, 2): (37.0, 12), (39, 2): (64.5, 14), (47, 2): (104, 16),
        (63, 2): (235.5, 18), (15, 3): (4.6, 17), (31, 3): (12.5, 29), (63, 3): (36.1, 49),
    }  # fmt: skip
    for (width, rounds), (offline, online) in published.items():
        found = cheapest(width, rounds)
        assert found is not None and found.rounds == rounds and sum(found.widths) == width
        bits, opened = cost(found.widths, found.tree)
        assert abs(bits / 8 - offline) < 0.06 and opened == online


def test_fewer_rounds_on_a_slow_network_for_few_elements() -> None:
    assert layout(31, 100, WAN).rounds == layout(31, 10**6, LAN).rounds == 2
    assert layout(63, 10**6, WAN).rounds > 2


@given(width=st.integers(1, 64), digits=st.integers(1, 64))
def test_digits_are_as_equal_as_possible(width: int, digits: int) -> None:
    widths = split(width, min(digits, width))
    assert sum(widths) == width and max(widths) - min(widths) <= 1 and list(widths) == sorted(widths, reverse=True)


@given(width=st.integers(1, 64), elements=st.integers(1, 10**7), network=st.sampled_from([LAN, WAN]), kind=KINDS)
def test_a_layout_covers_the_bits_and_its_tree_leaves_one_node(
    width: int, elements: int, network: Network, kind: str
) -> None:
    found = layout(width, elements, network, kind)
    assert sum(found.widths) == width and max(found.widths) <= MAX_DIGIT
    nodes = len(found.widths)
    for fan_in in found.tree:
        assert 2 <= fan_in <= MAX_FAN_IN and nodes > 1
        nodes = -(-nodes // fan_in)
    assert nodes == 1 and found.rounds == 1 + len(found.tree)


@given(width=st.integers(7, 63), slower=st.floats(1, 1000), elements=st.integers(1, 10**6))
def test_a_slower_network_never_wants_more_rounds(width: int, slower: float, elements: int) -> None:
    far = Network(LAN.round_trip * slower, LAN.bandwidth)
    assert layout(width, elements, far).rounds <= layout(width, elements, LAN).rounds


@pytest.mark.parametrize("kind", ["lt", "eq"])
@pytest.mark.parametrize("width", [5, 7, 16, 23, 31, 48, 62])
@pytest.mark.parametrize("network", [LAN, WAN])
def test_the_cost_of_a_layout_is_that_of_its_gates(width: int, network: Network, kind: str) -> None:
    elements = 512
    unit = Unit(network=network)
    wire = unit.masked([0] * elements)
    if kind == "lt":
        (bit,) = unit.bits.at_least(wire, (0,), width + 1)
    else:
        bit = unit.bits.equal_zero(wire, width)
    plan = unit.plan([bit])
    found = layout(width, elements, network, kind)
    bits, opened = cost(found.widths, found.tree, kind)
    ops = [op.gate for op in plan.procedure("run").ops]
    material = sum(g.material_bytes(plan.registers) for g in ops if isinstance(g, (Leaf, Combine)))
    sent = [plan.registers[g.y] for g in ops if isinstance(g, Open)]
    assert material == bits * elements // 8
    assert sum(r.wire_bytes for r in sent if r.domain is Domain.PLANES) == opened * elements // 8
