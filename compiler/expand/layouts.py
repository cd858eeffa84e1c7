"""Layouts of a comparison: how many digits the compared bits are cut into, and how they are joined. PROTOCOLS 3.2.

Few rounds want large digits (tables of 2^m - 1 bits for a digit of m bits) and one wide node (about 3 * 2^(g-1) bits
for g children); an extra round makes both small. `layout` weighs rounds against bytes on the given network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

SINGLE_DIGIT = 6
"""Up to this many bits one digit is cheapest: its 63 table bits cost less than another round."""

MAX_DIGIT = 8
MAX_FAN_IN = 12


@dataclass(frozen=True)
class Network:
    """What `--network` says: round-trip time in seconds and bandwidth in bits per second."""

    round_trip: float
    bandwidth: float

    def seconds(self, rounds: int, bits: float) -> float:
        """Of so many messages each way, one after the other, with so many bits in all."""
        return rounds * self.round_trip / 2 + bits / self.bandwidth


LAN = Network(0.001, 1e9)
WAN = Network(0.04, 1e8)

MATERIAL_WEIGHT = 0.05
"""How much a byte made ahead of time counts against a byte of the online phase."""


@dataclass(frozen=True)
class Layout:
    """widths: bits of the digits, low to high. tree: children of a node, level by level above the leaves."""

    widths: tuple[int, ...]
    tree: tuple[int, ...]

    @property
    def rounds(self) -> int:
        return 1 + len(self.tree)


def split(width: int, digits: int) -> tuple[int, ...]:
    """`width` bits in digits as equal as possible, the larger ones low."""
    return tuple(width // digits + (1 if i < width % digits else 0) for i in range(digits))


def cost(widths: tuple[int, ...], tree: tuple[int, ...], kind: str = "lt") -> tuple[int, int]:
    """(bits of material, bits opened by each party), for one element."""
    q = len(widths)
    offline = sum((1 << m) - 1 for m in widths)
    online = 2 * q - 1 if kind == "lt" else q
    nodes, leaf = q, True
    for fan_in in tree:
        groups = [min(fan_in, nodes - i) for i in range(0, nodes, fan_in)]
        for index, g in enumerate(groups):
            online += 1 if kind == "eq" or index == 0 else 2
            if g == 1:
                continue
            if kind == "eq":
                offline += 2**g - (2 + g if leaf else 2)
                continue
            offline += 3 * 2 ** (g - 1) - (3 * g if leaf else 2 + g)
            if index:
                offline += 2 ** (g - 1) - (2 if leaf else 1)
        nodes, leaf = len(groups), False
    return offline, online


@cache
def cheapest(width: int, rounds: int, kind: str = "lt") -> Layout | None:
    """The layout with the least material that takes `rounds` rounds, or None."""
    best: tuple[tuple[int, int], Layout] | None = None
    for q in range(1 if rounds == 1 else 2, width + 1):
        widths = split(width, q)
        if widths[0] > MAX_DIGIT:
            continue
        for tree in product(range(2, min(q, MAX_FAN_IN) + 1), repeat=rounds - 1):
            if prod(tree) >= 4 * q or not _joins(q, tree):
                continue
            found = cost(widths, tree, kind)
            if best is None or found < best[0]:
                best = found, Layout(widths, tree)
    return None if best is None else best[1]


def _joins(nodes: int, tree: tuple[int, ...]) -> bool:
    """Whether every level does something and the last leaves one node."""
    for fan_in in tree:
        if nodes == 1:
            return False
        nodes = -(-nodes // fan_in)
    return nodes == 1


@cache
def layout(width: int, elements: int, network: Network, kind: str = "lt") -> Layout:
    """The layout for `elements` comparisons of `width` bits: least time for rounds, opened bits and material."""
    if width <= SINGLE_DIGIT:
        return Layout((width,), ())
    best: tuple[float, Layout] | None = None
    for rounds in (2, 3, 4):
        found = cheapest(width, rounds, kind)
        if found is None:
            continue
        offline, online = cost(found.widths, found.tree, kind)
        bits = elements * (online + MATERIAL_WEIGHT * offline)
        seconds = network.seconds(rounds, bits)
        if best is None or seconds < best[0]:
            best = seconds, found
    assert best is not None
    return best[1]


def conjunction_cost(nodes: int, tree: tuple[int, ...]) -> tuple[int, int]:
    """(bits of material, bits opened by each party) of joining so many masked bits of one element."""
    offline, online = 0, 0
    for fan_in in tree:
        groups = [min(fan_in, nodes - i) for i in range(0, nodes, fan_in)]
        offline += sum(2**g - 2 for g in groups if g > 1)
        online += len(groups)
        nodes = len(groups)
    return offline, online


@cache
def conjunction(nodes: int, elements: int, network: Network) -> tuple[int, ...]:
    """The tree that joins so many masked bits of each element: least time for rounds, opened bits and material."""
    if nodes == 1:
        return ()
    best: tuple[float, tuple[int, ...]] | None = None
    for levels in (1, 2, 3):
        for tree in product(range(2, min(nodes, MAX_FAN_IN) + 1), repeat=levels):
            if not _joins(nodes, tree):
                continue
            offline, online = conjunction_cost(nodes, tree)
            bits = elements * (online + MATERIAL_WEIGHT * offline)
            seconds = network.seconds(levels, bits)
            if best is None or seconds < best[0]:
                best = seconds, tree
    assert best is not None
    return best[1]
