"""Masked bits: thresholds, equality, conjunction, and what bits choose (PROTOCOLS sections 3.1 to 3.5)."""

from __future__ import annotations

from math import prod

import numpy as np

from compiler.expand.emitter import SHARE, WIRE, Emitter, width
from compiler.expand.layouts import Layout, Network, layout
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.gates.comparison import Relation, leaf_planes
from mpc_runtime.registers import Domain

MOST_NODES = 64
"""Of a level of a tree: bits of a conjunction."""


class Bits:
    """Comparisons and selections on registers, for one emitter and network."""

    def __init__(self, emitter: Emitter, network: Network) -> None:
        self.e = emitter
        self.network = network
        self._leaves: dict[tuple[object, ...], list[int]] = {}
        self._negated: dict[int, int] = {}

    def at_least(self, wire: int, thresholds: tuple[int, ...], k: int, low_bit: int = 0) -> list[int]:
        """Masked bits [x >= T] for each T. k: signed bits of x and of every x - T; the low bits may be ignored."""
        low_bit = min(low_bit, max(0, k - 2))
        digits = layout(k - 1 - low_bit, len(thresholds) * prod(self.e.shape(wire)), self.network)
        return [
            self._bit(root, wire, k, threshold)
            for threshold, root in zip(
                thresholds, self._compare(wire, thresholds, k, low_bit, digits, "lt"), strict=True
            )
        ]

    def positive(self, wire: int, range_: Interval, scale: int, low_bit: int = 0, exact: bool = False) -> int:
        """Masked bits [x >= 0] of a masked x with a range. A dropped low bit costs a margin at the top of the range."""
        margin = 2.0 ** (low_bit - scale) if low_bit else 0.0
        k = width(Interval(range_.lo, range_.hi + margin), scale, exact, most=64)
        return self.at_least(wire, (0,), k, low_bit)[0]

    def equal_zero(self, wire: int, k: int) -> int:
        """Masked bits [x = 0] of a masked x of k signed bits."""
        return self.equals(wire, (0,), k)[0]

    def equals(self, wire: int, thresholds: tuple[int, ...], k: int) -> list[int]:
        """Masked bits [x = T] for each T; k signed bits hold x and every T."""
        digits = layout(k, len(thresholds) * prod(self.e.shape(wire)), self.network, "eq")
        roots = self._compare(wire, thresholds, k, 0, digits, "eq")
        return [self._bit(root, wire, 0, 0) for root in roots]

    def all(self, bits: list[int]) -> int:
        """Conjunction of masked bits of one shape."""
        if len(bits) == 1:
            return bits[0]
        if len(bits) > MOST_NODES:
            parts = range(0, len(bits), MOST_NODES)
            return self.all([self.all(bits[first : first + MOST_NODES]) for first in parts])
        shape = self.e.shape(bits[0])
        root = self.e.emit(gates.ToPlanes, shape, WIRE, domain=Domain.PLANES, planes=len(bits), xs=tuple(bits))
        tree, nodes = [], len(bits)
        while nodes > 1:
            tree.append(min(nodes, 4))
            nodes = -(-nodes // 4)
        return self.conjunction(root, len(bits), tuple(tree), bits[0])

    def conjunction(self, planes: int, nodes: int, tree: tuple[int, ...], like: int) -> int:
        """Masked bits, in the shape of `like`: whether all planes of an element are 1; tree: as in `layouts`."""
        for fan_in in tree:
            planes, nodes = self._combine(planes, nodes, fan_in, "eq", False)
        return self._bit(planes, like, 0, 0)

    def negate(self, bit: int) -> int:
        """Not: the public value flips. What was flipped is as it was."""
        if bit not in self._negated:
            one = self._one()
            flipped = self.e.emit(gates.Xor, self.e.shape(bit), self.e.mode(bit), domain=Domain.BITS, x=bit, y=one)
            self._negated |= {bit: flipped, flipped: bit}
        return self._negated[bit]

    def exclusive(self, a: int, b: int) -> int:
        shape = self.e.shape(a)
        return self.e.emit(gates.Xor, shape, self.e.mode(a), domain=Domain.BITS, x=a, y=b)

    def choose(self, bit: int, wire: int, scale: int) -> int:
        """Shares of bit * x, for an x that is to be shared again: the operands are broadcast to one shape."""
        shape = np.broadcast_shapes(self.e.shape(bit), self.e.shape(wire))
        bit, wire = self.e.broadcast(bit, shape), self.e.broadcast(wire, shape)
        return self.e.emit(gates.Choose, shape, SHARE, scale=scale, d=bit, x=wire)

    def select(self, bit: int, wire: int, scale: int, shift: int = 0, k: int = 0) -> int:
        """Shares of bit * floor(x / 2^shift); the operands are broadcast to one shape."""
        shape = np.broadcast_shapes(self.e.shape(bit), self.e.shape(wire))
        bit, wire = self.e.broadcast(bit, shape), self.e.broadcast(wire, shape)
        return self.e.emit(gates.Select, shape, SHARE, scale=scale, shift=shift, width=k, d=bit, x=wire)

    def number(self, bit: int) -> int:
        """Shares of a masked bit as a whole number."""
        return self.e.emit(gates.BitToWord, self.e.shape(bit), SHARE, d=bit)

    # -- the tree ------------------------------------------------------------------------------------------------------

    def _compare(
        self, wire: int, thresholds: tuple[int, ...], k: int, low_bit: int, digits: Layout, kind: Relation
    ) -> list[int]:
        """Masked planes of the roots of the comparisons."""
        roots = []
        for leaf in self._leaf(wire, thresholds, k, low_bit, digits, kind):
            root, nodes, above_leaf = self.e.open(leaf), len(digits.widths), True
            for fan_in in digits.tree:
                root, nodes = self._combine(root, nodes, fan_in, kind, above_leaf)
                above_leaf = False
            roots.append(root)
        return roots

    def _leaf(
        self, wire: int, thresholds: tuple[int, ...], k: int, low_bit: int, digits: Layout, kind: Relation
    ) -> list[int]:
        planes = leaf_planes(len(digits.widths), kind)
        key = (wire, thresholds, k, low_bit, digits, kind)
        if key not in self._leaves:
            shape = self.e.shape(wire)
            ys = [self.e.register(shape, SHARE, domain=Domain.PLANES, planes=planes) for _ in thresholds]
            gate = gates.Leaf(k, low_bit, digits.widths, kind, thresholds, wire, tuple(ys))
            self.e.add_gate(gate)
            self._leaves[key] = ys
        return self._leaves[key]

    def _combine(self, root: int, nodes: int, fan_in: int, kind: Relation, leaf: bool) -> tuple[int, int]:
        """One level and its opening: (register, nodes left)."""
        left = -(-nodes // fan_in)
        joined = self.e.emit(
            gates.Combine,
            self.e.shape(root),
            SHARE,
            domain=Domain.PLANES,
            planes=leaf_planes(left, kind),
            nodes=nodes,
            fan_in=fan_in,
            kind=kind,
            leaf=leaf,
            x=root,
        )
        return self.e.open(joined), left

    def _bit(self, root: int, wire: int, k: int, threshold: int) -> int:
        return self.e.emit(
            gates.ToBit,
            self.e.shape(root),
            WIRE,
            domain=Domain.BITS,
            width=k,
            threshold=threshold,
            root=root,
            x=wire,
        )

    def _one(self) -> int:
        return self.e.bit_constant(np.ones((), np.uint8))
