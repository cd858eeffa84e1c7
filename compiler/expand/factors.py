"""Products with a public factor, right to one step: the factor gets as many fraction bits as that takes.

A factor C 2^-g differs from the real one by 2^-(g+1), which the other operand and the number of terms multiply up.
Where an exact product has room in the ring, it is one local gate and is truncated when its plain scale is first needed.
Where it has none (a wide or undeclared range), the operand is cut into pieces A = sum_i P_i 2^(h_i), the leading piece
short and with a fine factor, the last one with a coarse factor:

    T_i = trunc(A, h_i)     P_0 = T_0,  P_i = T_i - T_(i-1) 2^(h_(i-1) - h_i),  |P_i| <= 2^(h_(i-1) - h_i)
    A c = sum_i trunc(P_i C_i)

The pieces are linear in truncations of one masked value, so that they cost one round, and their products another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from compiler.expand.context import Array, Expansion
from compiler.expand.emitter import MAX_WIDTH, Held, expect_encodable, width
from compiler.graph import Value
from mpc_runtime.errors import number

GUARD_BITS = 7
"""Bits by which the rounding of a factor, and of each piece of a product, stays below one step of the result."""

FINE_GUARD_BITS, FINE_FACTOR = 4, 2.0**-3
"""The same for an operand that stands at a finer scale than it is documented to be rounded to, and factors of at least
an eighth: what that rounding may bring is more than the bits that are saved."""

MAX_SCALE = 60
"""No product with a factor stands at a finer scale than this: what reads it has to shift it back."""

MAX_FACTOR_BITS = 61
"""Of an encoded factor, which must fit a signed word."""

COARSE_PIECE = 16
"""Bits of a piece where no piece is short enough for a factor as fine as one step needs."""

Multiply = Callable[[int, Array, int], int]
"""(register, whole numbers, scale of the result) -> register of the product, linear in the register."""


@dataclass(frozen=True)
class Factor:
    """A public factor of an operand. terms: products that one result sums; norm: the largest sum of their |factor|."""

    array: Array
    terms: int
    norm: float

    @property
    def whole(self) -> bool:
        return self.array.dtype.kind in "ib"

    @property
    def exact_bits(self) -> int | None:
        """Fraction bits with which the factor is exact, if they are few."""
        for g in range(25):
            if np.array_equal(np.rint(self.array * 2.0**g), self.array * 2.0**g):
                return g
        return None

    @property
    def most_bits(self) -> int:
        """Fraction bits with which it fits a word; none for one that fits without any, if at all."""
        largest = float(np.abs(self.array).max(initial=0.0))
        return max(0, MAX_FACTOR_BITS - (max(0, ceil(log2(largest))) if largest > 0 else 0))

    def guard_bits(self, fine: bool) -> int:
        """fine: whether the operand stands at a finer scale than its plain one."""
        sizes = np.abs(self.array[self.array != 0])
        return FINE_GUARD_BITS if fine and sizes.size and sizes.min() >= FINE_FACTOR else GUARD_BITS

    def fraction_bits(self, frac: int, magnitude: float, fine: bool = False) -> int:
        """Fraction bits that make a product with an operand of this magnitude right to a part of a step 2^-frac."""
        needed = frac + self.guard_bits(fine) + ceil(log2(max(1.0, magnitude * self.terms)))
        exact = self.exact_bits
        return needed if exact is None else min(exact, needed)

    def encoded(self, g: int) -> Array:
        expect_encodable(self.array, g)
        return np.rint(self.array * 2.0**g).astype(np.int64)


@dataclass(frozen=True)
class Piece:
    """P_i: bits [low, high) of the operand, with the factor's fraction bits and the width of their product."""

    high: int
    low: int
    fraction_bits: int
    width: int


def elementwise(array: Array) -> Factor:
    return Factor(array, 1, float(np.abs(array).max(initial=0.0)))


def times_factor(x: Expansion, value: Value, a: Held, factor: Factor, multiply: Multiply) -> Held:
    """The product of `a` with a public factor, right to one step (and a part of it, 2^-GUARD_BITS)."""
    if factor.whole:
        scale = _roomy(x, a, value)
        register = multiply(x.e.any(a, scale)[0], np.asarray(factor.array, np.int64), scale)
        return x.e.held(value, register, scale)
    magnitude = min(a.range.magnitude, x.e.precision.limit)
    for scale in dict.fromkeys((x.e.scale(a), x.e.plain(a))):
        needed = factor.fraction_bits(x.e.frac, magnitude, fine=scale > x.e.plain(a))
        room = min(factor.most_bits, MAX_SCALE - scale, MAX_WIDTH - 1 - width(value.range, scale, most=64))
        if needed <= room:
            register = multiply(x.e.any(a, scale)[0], factor.encoded(needed), scale + needed)
            return x.e.held(value, register, scale + needed)
    return _in_pieces(x, value, a, factor, multiply)


def _roomy(x: Expansion, a: Held, value: Value) -> int:
    """The finest scale held at which a result has room."""
    scale = x.e.scale(a)
    return scale if width(value.range, scale, most=64) <= MAX_WIDTH else x.e.plain(a)


def _in_pieces(x: Expansion, value: Value, a: Held, factor: Factor, multiply: Multiply) -> Held:
    scale, room = min(x.e.scale(a), x.e.plain(a)), MAX_WIDTH - 1 - width(value.range, 0, most=64)
    out_scale = max(x.e.frac, min(x.e.frac + GUARD_BITS + 1, room))
    wire, _ = x.e.wire(a, scale)
    total: int | None = None
    above: tuple[int, int] | None = None  # T_(i-1) and h_(i-1)
    for piece in _pieces(x, value, a, factor, scale):
        h, g = piece.low, piece.fraction_bits
        here = x.e.truncated(wire, h, width(a.range, scale), scale - h) if h else x.e.unmask(wire)
        part = here
        if above is not None:
            before, high = above
            part = x.e.sub(here, x.e.rescaled(before, scale - h, 1 << (high - h)))
        product = multiply(part, factor.encoded(g), scale - h + g)
        product = x.e.at_scale(product, scale - h + g, out_scale, piece.width)
        total = product if total is None else x.e.add(total, product)
        above = here, h
    assert total is not None
    return x.e.held(value, total, out_scale)


def _pieces(x: Expansion, value: Value, a: Held, factor: Factor, scale: int) -> list[Piece]:
    """Greedily from the leading bit: each piece as long as its product, with as fine a factor as it needs, has room."""
    high = width(a.range, scale) - 1
    found: list[Piece] = []
    lost = 0.0
    while not found or found[-1].low:
        g = min(factor.most_bits, factor.fraction_bits(x.e.frac, 2.0 ** (high - scale)))
        low, bits = _fitting(value, factor, scale, high, g, first=not found)
        if low >= high:
            low = max(0, high - COARSE_PIECE)
            while g > 0 and low >= 0 and _width(value, factor, scale, high, low, g, first=not found) > MAX_WIDTH:
                g -= 1
            bits = _width(value, factor, scale, high, low, g, first=not found)
        lost += factor.terms * 2.0 ** (high - scale - g - 1)
        found.append(Piece(high, low, g, min(bits, MAX_WIDTH)))
        high = low
    if lost > x.e.precision.step / 2 and factor.exact_bits is None:
        x.warn(
            value,
            f"this product with constants is accurate only to {number(lost)} where its operand reaches "
            f"{number(a.range.magnitude)}",
            "declare a narrower range for what it is made of: `… in [lo, hi]`",
        )
    return found


def _fitting(value: Value, factor: Factor, scale: int, high: int, g: int, first: bool) -> tuple[int, int]:
    """(low end, width of the product) of the longest piece below `high` whose product has room."""
    for low in range(high):
        bits = _width(value, factor, scale, high, low, g, first)
        if bits <= MAX_WIDTH:
            return low, bits
    return high, MAX_WIDTH


def _width(value: Value, factor: Factor, scale: int, high: int, low: int, g: int, first: bool) -> int:
    """Signed bits of a piece's product. The first piece's is the result, but for what the others add."""
    reach = (2.0 ** (high - scale) + 2.0 ** (low - scale)) * factor.norm
    if first:
        reach = min(reach, value.range.magnitude + 2.0 ** (low - scale) * factor.norm)
    return ceil(log2(max(reach, 2.0**-60))) + scale - low + g + 2
