"""Comparison of a masked value with public thresholds, by one-hot tables of the mask's digits. PROTOCOLS 3.1, 3.2.

    [z >= 0] = 1 xor c_{k-1} xor r_{k-1} xor [c mod 2^(k-1) < r mod 2^(k-1)]       for c = z + r, |z| < 2^(k-1)

`Leaf` reads, for each digit of the public c, shares of [c_j < r_j] and [c_j = r_j] out of the dealer's tables;
`Combine` is one level of the tree that joins digits; every level is followed by an `Open`; `ToBit` adds the top bits.
Gates made for a known mask: E. Boyle, N. Gilboa, Y. Ishai, "Secure computation with preprocessing via function
secret sharing", TCC 2019, ePrint 2019/1095; tables shifted by it: Y. Ishai, E. Kushilevitz, S. Meldgaard, C. Orlandi,
A. Paskin-Cherniavsky, "On the power of correlated randomness in secure computation", TCC 2013.

All of it is bit-sliced: a register of planes holds P bits for each element (see `registers.Domain`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from ..kernels.sizes import combine_planes, table_planes
from ..registers import BLOCK, Domain, Form
from .base import Gate, In, Ins, Out, Outs, Part, flat, low, tiles
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_between, expect_domain, expect_masked
from .secrets import Planes, Secret
from .streams import PURPOSE_SHARE, stream

if TYPE_CHECKING:
    from ..kernels import Kernels

Relation: TypeAlias = Literal["lt", "eq"]
"""Order or equality."""


MAX_DIGIT = 12
MAX_FAN_IN = 12
"""Bits of a digit and children of a node: what the kernels have room for."""

DIGIT_TABLES = Part("digit tables", "compares: looks the digits of masked values up in tables that the dealer made")


def leaf_planes(digits: int, kind: Relation) -> int:
    """Bits that the leaves of one comparison open for each element."""
    return 2 * digits - 1 if kind == "lt" else digits


@dataclass(frozen=True)
class Leaf(Gate):
    """Shares of the digit comparisons of x - threshold with 0, for each threshold; one set of tables serves them all.

    widths: bits of the digits, low to high, of bits [low_bit, width - 1) of the masked value.
    kind:   "lt" for order, "eq" for equality.
    """

    fresh = True
    reveals = False
    elementwise = True
    flattens = True
    protocol = DIGIT_TABLES

    width: int
    low_bit: int
    widths: tuple[int, ...]
    kind: Relation
    thresholds: tuple[int, ...]
    x: In
    ys: Outs

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        expect(self.kind in ("lt", "eq"), f"kind: expected lt or eq, found {self.kind!r}")
        expect_between("digits", len(self.widths), 1, 64)
        for bits in self.widths:
            expect_between("width of a digit", bits, 1, MAX_DIGIT)
        expect_between("width", self.width, 1, 64)
        expect_between("low_bit", self.low_bit, 0, 63)
        compared, wanted = self.low_bit + sum(self.widths), self.width - 1 if self.kind == "lt" else self.width
        expect(compared == wanted, f"digits of {compared} bits, the low ones included, expected {wanted}")
        expect(len(self.thresholds) == len(self.ys) >= 1, "expected a result for every threshold")
        return (Layout(x.shape, Domain.PLANES, planes=leaf_planes(len(self.widths), self.kind)),) * len(self.ys)

    def demand(self, register: int, types: Types) -> int:
        return self.width

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        return (Planes(table_planes(self.widths)),)

    def elements(self, types: Types) -> int:
        return types[self.x].size

    def deal(self, d: DealerContext) -> None:
        r = flat(d.mask(self.x))
        for start, n in tiles(r.size):
            d.share(0, start, n, d.kernels.leaf_deal(r[start : start + n], self.low_bit, self.widths))
        for y in self.ys:
            d[y] = None

    def evaluate(self, p: PartyContext) -> None:
        c = flat(p[self.x])
        planes = leaf_planes(len(self.widths), self.kind)
        results = [np.empty((-(-c.size // BLOCK), planes, 8), np.uint64) for _ in self.ys]
        for start, n in tiles(c.size):
            tables = None if p.seeded else p.secret(0, start, n)
            blocks = slice(start // BLOCK, -(-(start + n) // BLOCK))
            for threshold, result in zip(self.thresholds, results, strict=True):
                p.kernels.leaf_read(
                    _minus(c[start : start + n], threshold),
                    self.low_bit,
                    self.widths,
                    tables,
                    p.party,
                    self.kind,
                    out=result[blocks],
                    prg=p.prg if p.seeded else None,
                    stream=stream(PURPOSE_SHARE, p.op),
                    start=start,
                )
        for y, result in zip(self.ys, results, strict=True):
            p[y] = result

    def meaning(self, s: MeaningContext) -> None:
        bits = s.types[self.x].bits
        r = flat(s.mask(self.x))
        c = low(flat(s[self.x]) + r, bits)
        for threshold, y in zip(self.thresholds, self.ys, strict=True):
            shifted = c - np.uint64(threshold % (1 << 64))
            columns, at = [], self.low_bit
            for j, m in enumerate(self.widths):
                cj, rj = (low(a >> np.uint64(at), m) for a in (shifted, r))
                if self.kind == "lt":
                    columns.append(cj < rj)
                if self.kind == "eq" or j > 0:
                    columns.append(cj == rj)
                at += m
            s[y] = to_planes(s.kernels, columns)


@dataclass(frozen=True)
class Combine(Gate):
    """One level of the tree: every `fan_in` neighbouring nodes become one. PROTOCOLS 3.2.

    nodes:  how many nodes come in, lowest first; for kind "lt" all but the lowest carry an equality bit too.
    leaf:   whether shares of the single masks are free (the level just above the leaves).
    """

    fresh = True
    reveals = False
    elementwise = True
    protocol = DIGIT_TABLES

    nodes: int
    fan_in: int
    kind: Relation
    leaf: bool
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.PLANES)
        expect(self.kind in ("lt", "eq"), f"kind: expected lt or eq, found {self.kind!r}")
        expect_between("nodes", self.nodes, 1, 64)
        expect_between("fan_in", self.fan_in, 2, MAX_FAN_IN)
        inputs, _, outputs = self._shape()
        expect(x.planes == inputs, f"expected {inputs} planes of {self.nodes} nodes, found {x.planes}")
        return (Layout(x.shape, Domain.PLANES, planes=outputs),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def wants_mask(self, register: int, types: Types) -> bool:
        return self.leaf

    def demand(self, register: int, types: Types) -> int:
        return 1

    def _shape(self) -> tuple[int, int, int]:
        return combine_planes(self.nodes, self.fan_in, self.kind, self.leaf)

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        monomials = self._shape()[1]
        return (Planes(monomials),) if monomials else ()

    def deal(self, d: DealerContext) -> None:
        masks = d.mask(self.x)
        size = d.types[self.y].size
        offset = np.empty((masks.shape[0], self._shape()[2], 8), np.uint64)
        for start, n in tiles(size):
            blocks = slice(start // BLOCK, -(-(start + n) // BLOCK))
            monomials, offset[blocks] = d.kernels.combine_deal(
                masks[blocks], self.nodes, self.fan_in, self.kind, self.leaf
            )
            if d.secrets:
                d.share(0, start, n, monomials)
        d[self.y] = offset

    def evaluate(self, p: PartyContext) -> None:
        hats = p[self.x]
        singles = p.mask(self.x) if self.leaf else None
        secret = bool(p.secrets)
        size = p.types[self.y].size
        out = np.empty((hats.shape[0], self._shape()[2], 8), np.uint64)
        for start, n in tiles(size):
            blocks = slice(start // BLOCK, -(-(start + n) // BLOCK))
            monomials = p.secret(0, start, n) if secret and not p.seeded else None
            p.kernels.combine_eval(
                hats[blocks],
                self.nodes,
                self.fan_in,
                self.kind,
                self.leaf,
                monomials,
                None if singles is None else singles[blocks],
                p.party,
                out=out[blocks],
                prg=p.prg if secret and p.seeded else None,
                stream=stream(PURPOSE_SHARE, p.op),
                start=start,
            )
        p[self.y] = out

    def meaning(self, s: MeaningContext) -> None:
        x = s[self.x]
        lt, eq = _split(x, self.nodes, self.kind)
        out_lt, out_eq = [], []
        for first in range(0, self.nodes, self.fan_in):
            group = range(first, min(first + self.fan_in, self.nodes))
            less = np.zeros_like(x[:, 0])
            equal = np.full_like(x[:, 0], ~np.uint64(0))
            for j in reversed(group):
                if self.kind == "lt":
                    less ^= lt[j] & equal
                if eq[j] is not None:
                    equal = equal & eq[j]
            out_lt.append(less)
            out_eq.append(equal)
        columns = []
        for j, (less, equal) in enumerate(zip(out_lt, out_eq, strict=True)):
            if self.kind == "lt":
                columns.append(less)
            if self.kind == "eq" or j > 0:
                columns.append(equal)
        s[self.y] = np.stack(columns, axis=1)


@dataclass(frozen=True)
class ToBit(Gate):
    """One masked bit per element from the root of a comparison; a `width` adds the top bits: [x >= threshold]."""

    fresh = True
    reveals = False
    elementwise = True
    flattens = True

    width: int
    threshold: int
    root: In
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.root, self.x)
        root, x = expect_domain(given.layout(self.root), Domain.PLANES), given.layout(self.x)
        expect_between("width", self.width, 0, 64)
        expect_domain(x, *((Domain.WORDS,) if self.width else (Domain.WORDS, Domain.BITS)))
        expect(root.planes == 1, f"expected a root of one plane, found {root.planes}")
        expect(root.size == x.size, f"a root of {root.shape} and words of {x.shape}")
        return (Layout(x.shape, Domain.BITS),)

    def result(self, out: int, types: Types) -> Form:
        return Form.BARE

    def demand(self, register: int, types: Types) -> int:
        return self.width if register == self.x else 1

    def deal(self, d: DealerContext) -> None:
        t = d.types[self.y]
        bits = self._bits(d.kernels, d.mask(self.root), d.mask(self.x), 0, t.size, flip=False)
        d[self.y] = bits.reshape(t.shape)

    def evaluate(self, p: PartyContext) -> None:
        t = p.types[self.y]
        bits = self._bits(p.kernels, p[self.root], p[self.x], self.threshold, t.size, flip=True)
        p[self.y] = bits.reshape(t.shape)

    def _bits(self, k: Kernels, root: Array, words: Array, threshold: int, size: int, flip: bool) -> Array:
        """The root's bits, and with a width: xor the top bit of words - threshold, xor flip."""
        if not self.width:
            return k.planes_to_bits(root, size)
        words, planes = flat(words), ~root if flip else root.copy()
        for start, n in tiles(size):
            top = k.word_bit(_minus(words[start : start + n], threshold), self.width - 1)
            planes[start // BLOCK : -(-(start + n) // BLOCK)] ^= top
        return k.planes_to_bits(planes, size)

    def meaning(self, s: MeaningContext) -> None:
        t = s.types[self.y]
        bit = s.kernels.planes_to_bits(s[self.root], t.size).reshape(t.shape)
        if self.width:
            r = s.mask(self.x)
            c = s[self.x] + r - np.uint64(self.threshold % (1 << 64))
            bit ^= _bit(c, self.width - 1) ^ _bit(r, self.width - 1) ^ np.uint8(1)
        s[self.y] = bit


@dataclass(frozen=True)
class ToPlanes(Gate):
    """Several masked bits of one shape as the planes of one register, first bit first."""

    fresh = True
    reveals = False
    elementwise = True

    xs: Ins
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_between("bits", len(self.xs), 1, 64)
        expect_masked(types, *self.xs)
        shapes = {expect_domain(given.layout(x), Domain.BITS).shape for x in self.xs}
        expect(len(shapes) == 1, "expected bits of one shape")
        return (Layout(shapes.pop(), Domain.PLANES, planes=len(self.xs)),)

    def result(self, out: int, types: Types) -> Form:
        return Form.BARE

    def demand(self, register: int, types: Types) -> int:
        return 1

    def _join(self, k: Kernels, parts: list[Array]) -> Array:
        planes = [k.bits_to_planes(flat(a)) for a in parts]
        return np.ascontiguousarray(np.concatenate(planes, axis=1))

    def deal(self, d: DealerContext) -> None:
        d[self.y] = self._join(d.kernels, [d.mask(x) for x in self.xs])

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = self._join(p.kernels, [p[x] for x in self.xs])

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = self._join(s.kernels, [s[x] for x in self.xs])


def to_planes(k: Kernels, columns: list[Array]) -> Array:
    """Planes from one boolean vector a plane."""
    planes = [k.bits_to_planes(np.ascontiguousarray(c, np.uint8)) for c in columns]
    return np.ascontiguousarray(np.concatenate(planes, axis=1))


def _bit(words: Array, position: int) -> Array:
    bit: Array = ((words >> np.uint64(position)) & np.uint64(1)).astype(np.uint8)
    return bit


def _minus(words: Array, threshold: int) -> Array:
    """words - threshold, without a copy where that is nothing."""
    return words - np.uint64(threshold % (1 << 64)) if threshold else words


def _split(x: Array, nodes: int, kind: Relation) -> tuple[list[Array], list[Array | None]]:
    """The less-than and equality planes of each node, lowest first."""
    if kind == "eq":
        return [], [x[:, j] for j in range(nodes)]
    lt = [x[:, 2 * j - 1 if j else 0] for j in range(nodes)]
    eq = [x[:, 2 * j] if j else None for j in range(nodes)]
    return lt, eq
