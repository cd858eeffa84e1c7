"""Products of a masked bit with a masked value, and bits as numbers. PROTOCOLS sections 3.4 and 3.5.

After d^ = d xor delta is public, with A, m, U_0, U_1 of the truncation (or A = c, U = -r without one):

    d^ = 0:  y = A [delta] + K00 + m (K01 - K00)                    K0m = delta U_m
    d^ = 1:  y = A - A [delta] + K10 + m (K11 - K10)                K1m = (1 - delta) U_m

K00 is absorbed (the result's offset); delta, K10 - K00 and the two narrow differences are shipped. Where the parties
have shares of x's mask r and nothing is truncated, delta and delta r suffice, and the shares are true ones:

    d^ = 0:  y = X [delta] - [delta r]          d^ = 1:  y = X - [r] - (X [delta] - [delta r])

Gates made for a known mask: E. Boyle, N. Gilboa, Y. Ishai, TCC 2019, ePrint 2019/1095.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Out, Owners, Part, Revelation, flat, tiles
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_domain, expect_masked
from .secrets import Secret, Words
from .streams import PURPOSE_SHARE, stream
from .truncation import DITHER, expect_truncation, narrow_bits, offset_of, truncated

MATERIAL_BITS = 224
"""Most bits of material for one element, with a true share of the result: three words of the result's ring and two
narrow ones, as PROTOCOLS 3.4 has them for 64-bit words. A result in a much wider ring than x would need wider narrow
words; x is opened in a few bits more instead."""


@dataclass(frozen=True)
class Select(Gate):
    """y = d * floor(x / 2^shift) for a masked bit d and a masked x of one shape (of `width` signed bits if shifted)."""

    fresh = True
    reveals = True
    elementwise = True
    flattens = True
    protocol = Part("select", "chooses by a secret bit")

    shift: int
    width: int
    d: In
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        x = _expect_bit_and_word(types, given, self.d, self.x)
        expect_truncation(self.shift, self.width, types[self.x].bits)
        return (Layout(x.shape, scale=None),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def demand(self, register: int, types: Types) -> int:
        if register == self.d:
            return 1
        return max(self.width + 1, self.shift + 2) if self.shift else types[self.y].bits

    def preference(self, register: int, types: Types) -> int:
        if register == self.d or not self.shift:
            return 1
        least = -(-(5 * types[self.y].bits + 2 * self.shift - MATERIAL_BITS) // 2)
        return max(1, min(least, 64))

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        return (DITHER,) if self.shift else ()

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        lo = types[self.y].bits
        narrow = narrow_bits(types[self.x].bits, self.shift, lo)
        return (Words(lo), Words(lo), *((Words(narrow),) * 2 if narrow else ()))

    def deal(self, d: DealerContext) -> None:
        l, lo = d.types[self.x].bits, d.types[self.y].bits
        r = flat(d.mask(self.x))
        delta = flat(d.mask(self.d))
        offset = np.empty_like(r)
        for start, n in tiles(r.size):
            piece = slice(start, start + n)
            _, k10, n0, n1 = d.kernels.select_deal(r[piece], delta[piece], l, self.shift, lo, offset[piece])
            values = [v for v in (delta[piece].astype(np.uint64), k10, n0, n1) if v is not None]
            for slot, value in enumerate(values):
                d.share(slot, start, n, value)
        d[self.y] = offset.reshape(d.types[self.y].shape)

    def evaluate(self, p: PartyContext) -> None:
        l, lo = p.types[self.x].bits, p.types[self.y].bits
        c = flat(p[self.x])
        bit = flat(p[self.d])
        out = np.empty_like(c)
        truncation = l, self.shift, offset_of(l), lo
        for start, n in tiles(c.size):
            piece = slice(start, start + n)
            if p.seeded:
                delta, k10, n0, n1 = (stream(PURPOSE_SHARE, p.op, slot) for slot in range(4))
                p.kernels.select_eval(
                    c[piece], bit[piece], *truncation, p.party, delta, k10, n0, n1, out[piece], prg=p.prg, start=start
                )
                continue
            shares = [p.secret(slot, start, n) for slot in range(len(p.secrets))]
            narrow = [*shares[2:], None, None]
            p.kernels.select_eval(
                c[piece], bit[piece], *truncation, p.party, shares[0], shares[1], narrow[0], narrow[1], out[piece]
            )
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        x = s[self.x]
        if self.shift:
            x = truncated(x, s.mask(self.x), s.types[self.x].bits, self.shift)
        s[self.y] = s[self.d].astype(np.uint64) * x


@dataclass(frozen=True)
class Choose(Gate):
    """y = d * x for a masked bit d and a masked x of one shape, of whose mask the parties have shares.

    As `Select` without a shift, but the result is true shares for the two words that leave an offset there.
    """

    fresh = True
    reveals = False
    elementwise = True
    flattens = True
    protocol = Part("choose", "chooses by a secret bit under a mask that both parties have shares of")

    d: In
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return (_expect_bit_and_word(types, given, self.d, self.x),)

    def demand(self, register: int, types: Types) -> int:
        return 1 if register == self.d else types[self.y].bits

    def wants_mask(self, register: int, types: Types) -> bool:
        return register == self.x

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        return (Words(types[self.y].bits),) * 2

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        return types[self.x].memory_bytes

    def deal(self, d: DealerContext) -> None:
        r, delta = _period(d.mask(self.x)), flat(d.mask(self.d))
        for start, n in tiles(delta.size):
            word = delta[start : start + n].astype(np.uint64)
            d.share(0, start, n, word)
            for at, m in _stretches(start, n, r.size):
                word[at - start : at - start + m] *= _of(r, at, m)
            d.share(1, start, n, word)
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        c, bit, mask = _period(p[self.x]), flat(p[self.d]), _period(p.mask(self.x))
        out = np.empty(bit.size, np.uint64)
        for start, n in tiles(bit.size):
            delta, w = p.secret(0, start, n), p.secret(1, start, n)
            for at, m in _stretches(start, n, c.size, mask.size):
                here, all_ = slice(at - start, at - start + m), slice(at, at + m)
                x, share = _of(c, at, m), _of(mask, at, m)
                p.kernels.choose_eval(x, bit[all_], share, p.party, delta[here], w[here], out[all_])
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.d].astype(np.uint64) * s[self.x]


def _period(x: Array) -> Array:
    """As `flat`, but only up to where the elements begin again: of an array that is broadcast along its first axes."""
    repeated = 0
    while repeated < x.ndim and (x.strides[repeated] == 0 or x.shape[repeated] == 1):
        repeated += 1
    return flat(x[(0,) * repeated])


def _stretches(start: int, n: int, *periods: int) -> Iterator[tuple[int, int]]:
    """(start, length) of the parts of a tile within which none of these periods begins again."""
    end = start + n
    while start < end:
        length = min(end - start, *(each - start % each for each in periods))
        yield start, length
        start += length


def _of(x: Array, start: int, n: int) -> Array:
    """Elements [start, start + n) of the array whose period this is."""
    return x[start % x.size :][:n]


@dataclass(frozen=True)
class BitToWord(Gate):
    """A masked bit as a ring element: d = d^ + (1 - 2 d^) [delta]."""

    fresh = True
    reveals = False
    elementwise = True

    d: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.d)
        return (Layout(expect_domain(given.layout(self.d), Domain.BITS).shape),)

    def demand(self, register: int, types: Types) -> int:
        return 1

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        return (Words(types[self.y].bits),)

    def deal(self, d: DealerContext) -> None:
        delta = flat(d.mask(self.d))
        for start, n in tiles(delta.size):
            d.share(0, start, n, delta[start : start + n].astype(np.uint64))
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        bit = flat(p[self.d])
        out = np.empty(bit.size, np.uint64)
        for start, n in tiles(bit.size):
            piece = slice(start, start + n)
            p.kernels.b2a_eval(bit[piece], p.secret(0, start, n), p.party, out[piece])
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.d].astype(np.uint64)


def _expect_bit_and_word(types: Types, given: Declared, d: In, x: In) -> Layout:
    """What x is; it and the bits d are masked, and of one shape."""
    expect_masked(types, d, x)
    bits, words = expect_domain(given.layout(d), Domain.BITS), expect_domain(given.layout(x), Domain.WORDS)
    expect(bits.shape == words.shape, f"bits of {bits.shape} and words of {words.shape}")
    return words
