"""Whole numbers below: exact floors, by a truncation and one comparison. PROTOCOLS section 2c.

A truncation by f bits gives y = floor(z / 2^f) + u with u in {0, 1}. What is left, z - 2^f y, lies in [0, 2^f) where u
is 0, and below 0 where u is 1: its sign is compared in f + 1 bits, opened in as few.

The nearest whole number, and of two the even one, is floor(x / 2 + 1/4) - floor(1/4 - x / 2).
"""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand.context import Expansion, Handler, exact_kind
from compiler.expand.emitter import Held, width
from compiler.graph import TensorOp, Value


def floor_of(x: Expansion, wire: int, shift: int, k: int) -> int:
    """Shares of floor(z / 2^shift), a whole number, of a masked z of k signed bits."""
    if shift == 0:
        return x.e.unmask(wire)
    near = x.e.truncated(wire, shift, k, 0)
    scaled = x.e.rescaled(near, x.e.drafts[wire].scale, 1 << shift)
    rest = x.e.open(x.e.sub(wire, scaled))
    (enough,) = x.bits.at_least(rest, (0,), shift + 1)
    return x.e.sub(near, x.bits.number(x.bits.negate(enough)))


def floor(x: Expansion, value: Value, a: Held) -> Held:
    """Of the number as it is stored."""
    wire, scale = x.stored(a)
    return x.e.held(value, floor_of(x, wire, scale, width(a.range, scale, exact_kind(a))), 0)


def round_(x: Expansion, value: Value, a: Held) -> Held:
    """x / 2 is the stored number at a scale that is one bit finer."""
    wire, scale = x.stored(a)
    k = width(a.range.widened(0.5), scale, exact_kind(a))
    quarter = x.e.constant(np.array(1 << (scale - 1)), scale)
    up = floor_of(x, x.e.add(wire, quarter), scale + 1, k)
    down = floor_of(x, x.e.sub(quarter, wire), scale + 1, k)
    return x.e.held(value, x.e.sub(up, down), 0)


HANDLERS: dict[type[TensorOp], Handler] = {ops.Floor: floor, ops.Round: round_}
