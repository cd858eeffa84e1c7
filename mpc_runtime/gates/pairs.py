"""All pairs of an axis at once: what each of its places is more than each later one, and which places beat which.

Of a masked x, D knows the mask r and both parties know X = x + r. Each of them shifts what it knows by itself:

    (X >> t) - (r >> t) = floor(x / 2^t) + u,   u in {0, 1},   mod 2^(l - t)

which is one number for each place, whatever it is compared with. So comparisons of these numbers are those of an order:
no three places can beat each other in a cycle, as they could where every difference drops its own low bits (PROTOCOLS
3.1), and exactly one place is the first of the largest.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..registers import BLOCK, Domain, Form
from .base import Gate, In, Out, flat, narrowest
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rows import Batch, expect_apart, stride_of
from .rules import Declared, Layout, expect, expect_between, expect_domain, expect_masked

if TYPE_CHECKING:
    from ..kernels import Kernels

MOST_PLACES = 65
"""A place's bits, one for each other place, are the nodes of one conjunction."""


@lru_cache(maxsize=64)
def _pairs(places: int) -> tuple[Array, Array]:
    """The first and the second place of each pair, in the order (0, 1), (0, 2), …, (1, 2), …"""
    first, second = np.triu_indices(places, 1)
    return first, second


@lru_cache(maxsize=64)
def _met(places: int) -> tuple[Array, Array]:
    """[others, places]: the pair in which each place meets each of the others, and 1 where it is the second of it."""
    first, second = _pairs(places)
    pair = np.empty((places, places), np.intp)
    pair[first, second] = pair[second, first] = np.arange(first.size)
    other = np.arange(places - 1)[:, None]
    place = np.arange(places)
    other = other + (other >= place)
    return pair[place, other], (other < place).astype(np.uint8)


@dataclass(frozen=True)
class Gaps(Gate):
    """(x_i >> shift) - (x_j >> shift) of all places i < j of the last axis; x is masked, and its mask shifted too."""

    fresh = True
    reveals = False

    shift: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        expect(bool(x.shape), "expected an axis of places")
        expect_between("places", x.shape[-1], 2, MOST_PLACES)
        expect_between("shift", self.shift, 0, types[self.x].bits - 1)
        n = x.shape[-1]
        return (Layout((*x.shape[:-1], n * (n - 1) // 2), scale=types[self.x].scale - self.shift),)

    def result(self, out: int, types: Types) -> Form:
        return Form.BARE

    def demand(self, register: int, types: Types) -> int:
        return types[self.y].bits + self.shift

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most) - self.shift

    def rows(self, batch: Batch) -> int:
        return _beside(batch, self.x, self.y)

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        return types[self.x].memory_bytes + types[self.y].memory_bytes

    def _gaps(self, words: Array) -> Array:
        first, second = _pairs(words.shape[-1])
        shifted = words >> np.uint64(self.shift) if self.shift else words
        gaps: Array = shifted[..., first]
        gaps -= shifted[..., second]
        return gaps

    def deal(self, d: DealerContext) -> None:
        d[self.y] = self._gaps(d.mask(self.x))

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = self._gaps(p[self.x])

    def meaning(self, s: MeaningContext) -> None:
        r = s.mask(self.x)
        s[self.y] = self._gaps(s[self.x] + r) - self._gaps(r)


@dataclass(frozen=True)
class Wins(Gate):
    """For each place the bits that it beats each of the others, as planes, from masked bits "the first of a pair wins".

    places: so many, all pairs of which the last axis holds in the order of `Gaps`.
    """

    fresh = True
    reveals = False

    places: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.BITS)
        expect_between("places", self.places, 2, MOST_PLACES)
        pairs = self.places * (self.places - 1) // 2
        expect(x.shape[-1:] == (pairs,), f"bits of {x.shape}, expected {pairs} pairs along the last axis")
        return (Layout((*x.shape[:-1], self.places), Domain.PLANES, planes=self.places - 1),)

    def result(self, out: int, types: Types) -> Form:
        return Form.BARE

    def demand(self, register: int, types: Types) -> int:
        return 1

    def rows(self, batch: Batch) -> int:
        return _beside(batch, self.x, self.y)

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        t = types[self.y]
        return t.size + t.memory_bytes // t.planes

    def _planes(self, k: Kernels, bits: Array, flipped: bool) -> Array:
        pair, second = _met(self.places)
        size = bits.size // bits.shape[-1] * self.places
        planes = np.empty((-(-size // BLOCK), self.places - 1, 8), np.uint64)
        for other in range(self.places - 1):
            met = bits[..., pair[other]]
            if flipped:
                met ^= second[other]
            planes[:, other] = k.bits_to_planes(flat(met))[:, 0]
        return planes

    def deal(self, d: DealerContext) -> None:
        d[self.y] = self._planes(d.kernels, d.mask(self.x), flipped=False)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = self._planes(p.kernels, p[self.x], flipped=True)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = self._planes(s.kernels, s[self.x], flipped=True)


def _beside(batch: Batch, x: int, y: int) -> int:
    """The rows of a result whose last axis is made of the operand's last axis alone."""
    axis, each = batch.place(x)
    expect_apart(axis < len(batch.types[x].shape) - 1)
    return stride_of(batch.types[y].shape, axis, each)
