"""Checks of norms: sums of squares from a value that is opened anyway, one comparison each. PROTOCOLS section 1d."""

from __future__ import annotations

import math

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held
from compiler.graph import OpError, TensorOp, Value
from compiler.ops.limits import pieces
from mpc_runtime import gates

KEPT_BITS = 8
"""Of a squared limit: a norm is refused from 2^-9 of the limit below it on, and comparisons are that narrow."""


def bounded(x: Expansion, value: Value, a: Held) -> Held:
    """The same registers. What rounds or compares `a` itself goes by its own range: that is what is proved of it."""
    return Held(
        value.kind, value.shape, value.range, bits=a.bits, array=a.array, base=a, view=lambda register: register
    )


def within_norm(x: Expansion, value: Value, a: Held) -> Held:
    op, vector = value.op, value.args[0]
    assert isinstance(op, ops.WithinNorm)
    register, scale = x.e.wire(a, min(x.e.scale(a), x.e.plain(a)))
    if not op.axes:
        return x.e.held_bit(value, _elements(x, vector, register, scale, op.bound))
    cut = pieces(vector, op.axes, op.bound, scale)
    squares = x.e.emit(gates.Square, a.shape, SHARE, scale=2 * scale, x=register)
    sums = _sums(x, squares, op.axes, cut.count)
    beyond = math.floor(op.bound * op.bound * 4.0**scale) + 1
    low_bit = max(0, beyond.bit_length() - 1 - KEPT_BITS)
    k = 1 + max(math.ceil(cut.most) + (1 << low_bit), beyond).bit_length()
    (over,) = x.bits.at_least(x.e.open(sums), (beyond,), min(k, 64), low_bit)
    last = len(x.e.shape(over)) - 1
    each = [x.e.slice_axis(over, last, place, 1, 1) for place in range(x.e.shape(over)[last])]
    return x.e.held_bit(value, x.bits.all([x.bits.negate(x.e.reshape(bit, value.shape)) for bit in each]))


def _elements(x: Expansion, vector: Value, register: int, scale: int, bound: float) -> int:
    """A bit for each element. One that may have left the format is not known by any comparison."""
    if vector.range.magnitude >= x.e.precision.format_range(vector.kind).magnitude:
        raise OpError(
            f"it cannot be checked, since it may lie anywhere in {vector.range}",
            "declare ranges of what it is made of, `… in [lo, hi]`; in training, use smaller `limits`",
        )
    limit = math.floor(bound * 2.0**scale)
    k = 1 + (math.ceil(vector.range.magnitude * 2.0**scale) + limit + 1).bit_length()
    above, beyond = x.bits.at_least(register, (-limit, limit + 1), min(k, 64))
    return x.bits.all([above, x.bits.negate(beyond)])


def _sums(x: Expansion, squares: int, axes: tuple[int, ...], parts: int) -> int:
    """Sums along `axes`, along a new last axis: of each part, and behind several of all of them."""
    shape = x.e.shape(squares)
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    outer, count = tuple(shape[axis] for axis in kept), math.prod(shape[axis] for axis in axes)
    if parts == 1:
        return x.e.reshape(x.e.sum(squares, axes), (*outer, 1))
    size, last = -(-count // parts), len(outer)
    rows = x.e.reshape(x.e.transpose(squares, (*kept, *axes)), (*outer, count))
    rows = x.e.pad(rows, (*((0, 0) for _ in outer), (0, size * parts - count)))
    found = x.e.sum(x.e.reshape(rows, (*outer, parts, size)), (last + 1,))
    found = x.e.reshape(found, (*outer, parts))
    return x.e.concat([found, x.e.sum(found, (last,))], last)


HANDLERS: dict[type[TensorOp], Handler] = {ops.Bounded: bounded, ops.WithinNorm: within_norm}
