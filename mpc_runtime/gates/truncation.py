"""Division by a power of two without a catastrophic case. PROTOCOLS section 2b.

    c = z + r public, off = 2^(l-2):   c+ = c + off,  m = msb(c+),  c' = c+ mod 2^(l-1)
    floor(z / 2^f) + u = A + U_m,      A = (c' >> f) + m 2^(l-1-f) - (off >> f)
    u in {0, 1},                       P(u = 1) = (z mod 2^f) / 2^f

U_0 is absorbed (the result's offset); the narrow difference U_1 - U_0 is shipped. What it avoids is the local shift of
P. Mohassel, Y. Zhang, "SecureML", ePrint 2017/396, which is wrong by 2^l with a small probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Out, Owners, Part, Revelation, flat, low, signed, tiles
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_between, expect_domain, expect_masked
from .secrets import Secret, Words

DITHER = Revelation(
    "values are rounded with public dither: a receiver of an output who colludes with a party can narrow down its last "
    "bit",
    whole=True,
)


def narrow_bits(bits: int, shift: int, result: int) -> int:
    """Bits of U_1 - U_0 that the result ring `result` can see, above their common factor 2^(bits - shift)."""
    return max(0, result - (bits - shift))


def offset_of(bits: int) -> int:
    """The public offset that makes a signed value non-negative."""
    return 1 << (bits - 2) if bits > 1 else 0


@dataclass(frozen=True)
class Truncate(Gate):
    """y = floor(x / 2^shift) or one more, for a masked x of `width` signed bits; a shift of 0 changes x's ring."""

    fresh = True
    reveals = True
    elementwise = True
    flattens = True
    protocol = Part("truncation", "rounds a product back to the number format")

    shift: int
    width: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        expect_truncation(self.shift, self.width, types[self.x].bits)
        return (Layout(x.shape, scale=None),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def demand(self, register: int, types: Types) -> int:
        return max(self.width + 1, self.shift + 2)

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        return (DITHER,) if self.shift else ()

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        bits = narrow_bits(types[self.x].bits, self.shift, types[self.y].bits)
        return (Words(bits),) if bits else ()

    def deal(self, d: DealerContext) -> None:
        l, lo = d.types[self.x].bits, d.types[self.y].bits
        r = flat(d.mask(self.x))
        offset = np.empty_like(r)
        for start, n in tiles(r.size):
            piece = slice(start, start + n)
            _, narrow = d.kernels.trunc_deal(r[piece], l, self.shift, lo, offset[piece])
            if narrow is not None:
                d.share(0, start, n, narrow)
        d[self.y] = offset.reshape(d.types[self.y].shape)

    def evaluate(self, p: PartyContext) -> None:
        l, lo = p.types[self.x].bits, p.types[self.y].bits
        c = flat(p[self.x])
        out = np.empty_like(c)
        for start, n in tiles(c.size):
            narrow = p.secret(0, start, n) if p.secrets else None
            piece = slice(start, start + n)
            p.kernels.trunc_eval(c[piece], l, self.shift, offset_of(l), lo, p.party, narrow, out[piece])
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = truncated(s[self.x], s.mask(self.x), s.types[self.x].bits, self.shift)


def expect_truncation(shift: int, width: int, bits: int) -> None:
    """Refused unless a value of `width` signed bits in a ring of `bits` can be shifted so (PROTOCOLS section 2b)."""
    expect_between("shift", shift, 0, 63)
    expect_between("width", width, 0, 64)
    room = max(width + 1, shift + 2) if shift else 1
    expect(bits >= room, f"a shift by {shift} of {width} signed bits takes a ring of {room} bits, found {bits}")


def truncated(z: Array, mask: Array, bits: int, shift: int) -> Array:
    """floor((z + 2^f - 1 - (c mod 2^f)) / 2^f) for c = z + mask: the publicly dithered rounding of section 0."""
    dither = np.uint64((1 << shift) - 1) - low(low(z + mask, bits), shift)
    y: Array = ((signed(z, bits) + dither.astype(np.int64)) >> np.int64(shift)).view(np.uint64)
    return y
