"""Layouts against the published table, against every way to cut a few bits, and against the gates that they become."""

from __future__ import annotations

from compiler.expand.layouts import LAN, WAN, cheapest, cost, layout


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
