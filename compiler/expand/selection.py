"""Selection by whole numbers: an index is compared with all that it may be."""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import bilinear
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held, width
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

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


def gather(x: Expansion, value: Value, a: Held, i: Held) -> Held:
    """A one-hot matrix times the elements as rows: exact, since it is a sum with one term that is not 0."""
    op = value.op
    assert isinstance(op, ops.Gather)
    n, axis = a.shape[op.axis], op.axis
    front = (axis, *(k for k in range(len(a.shape)) if k != axis))
    others = tuple(a.shape[k] for k in front[1:])
    size, rest = i.size, int(np.prod(others))

    def as_rows(register: int) -> int:
        return x.e.reshape(x.e.transpose(register, front), (n, rest))

    if a.array is not None:
        table = Held(a.kind, (n, rest), a.range, array=a.array.transpose(front).reshape(n, rest))
    else:
        table = Held(a.kind, (n, rest), a.range, base=a, view=as_rows)
    inner = Value(op, (), value.kind, (size, rest), value.visibility, value.range)
    found = bilinear(x, inner, _places(x, value, i, n), table, gates.MatMul)
    order = (
        *range(len(i.shape), len(i.shape) + axis),
        *range(len(i.shape)),
        *range(len(i.shape) + axis, len(value.shape)),
    )

    def placed(register: int) -> int:
        return x.e.transpose(x.e.reshape(register, (*i.shape, *others)), order)

    return Held(value.kind, value.shape, value.range, base=found, view=placed)


def _places(x: Expansion, value: Value, i: Held, n: int) -> Held:
    """[indices, n] of 0 and 1."""
    shape, unit = (i.size, n), Interval(0, 1)
    if i.array is not None:
        places = (i.array.reshape(-1, 1) == np.arange(n)).astype(np.int64)
        return Held(Kind.INT, shape, unit, array=places)
    bits = one_hot(x, Value(ops.OneHot(n), (), Kind.BIT, (*i.shape, n), value.visibility, unit), i)
    number = x.e.reshape(x.bits.number(x.e.bit(bits)), shape)
    return Held(Kind.INT, shape, unit, {(SHARE, 0): number})


HANDLERS: dict[type[TensorOp], Handler] = {ops.OneHot: one_hot, ops.Gather: gather}
