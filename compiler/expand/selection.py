"""Selection by whole numbers: an index is compared with all that it may be."""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import Held, width
from compiler.graph import TensorOp, Value
from compiler.graph.interval import Interval

MOST_THRESHOLDS = 64
"""Comparisons that read one set of tables; beyond, each place of a one-hot vector gets tables of its own."""


def one_hot(x: Expansion, value: Value, i: Held) -> Held:
    """[i = 0], [i = 1], …: all read the same tables where they are few."""
    op = value.op
    assert isinstance(op, ops.OneHot)
    wire, _ = x.e.wire(i, 0)
    k = width(i.range.hull(Interval(0, op.count)), 0, exact=True, most=64)
    if op.count <= MOST_THRESHOLDS:
        bits = x.bits.equals(wire, tuple(range(op.count)), k)
        return x.e.held_bit(value, x.e.concat([x.e.reshape(bit, (*i.shape, 1)) for bit in bits], len(i.shape)))
    each = x.e.broadcast(x.e.reshape(wire, (*i.shape, 1)), value.shape)
    places = x.e.broadcast(x.e.constant(np.arange(op.count), 0), value.shape)
    return x.e.held_bit(value, x.bits.equal_zero(x.e.sub(each, places), min(64, k + 1)))


HANDLERS: dict[type[TensorOp], Handler] = {ops.OneHot: one_hot}
