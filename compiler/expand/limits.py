"""Checks of norms: sums of squares from a value that is opened anyway, one comparison each. PROTOCOLS section 1d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held, Shape
from compiler.expand.norms import summed_squares
from compiler.graph import OpError, TensorOp, Value
from compiler.ops.limits import pieces
from compiler.ops.sums import reduced
from mpc_runtime import gates

KEPT_BITS = 8
"""Of a squared limit: a norm is refused from 2^-9 of the limit below it on, and comparisons are that narrow."""


def bounded(x: Expansion, value: Value, a: Held) -> Held:
    """The same registers. What rounds or compares `a` itself goes by its own range: that is what is proved of it."""
    return Held(
        value.kind, value.shape, value.range, bits=a.bits, array=a.array, base=a, view=lambda register: register
    )


def within_norm(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.WithinNorm)
    return x.e.held_bit(value, _within(x, value.args[0], a, op.axes, op.bound, value.shape))


def beyond_norms(x: Expansion, value: Value, *args: Held) -> Held:
    """Sums of squares of whole vectors are compared together."""
    op = value.op
    assert isinstance(op, ops.BeyondNorms)
    sums: dict[int, Squares] = {}
    bits: dict[int, int] = {}
    for place in range(len(args)):
        found = _found(x, value, place, args[place])
        if isinstance(found, Squares):
            sums[place] = found
        else:
            bits[place] = x.bits.negate(found)
    together = [_over(x, list(sums.values()))] if sums else []
    number = x.bits.number(x.e.concat([*together, *bits.values()], 0))
    sizes = [math.prod(x.e.shape(found.register)) for found in sums.values()] + [
        math.prod(x.e.shape(bit)) for bit in bits.values()
    ]
    counts = number
    if set(sizes) != {1}:
        counts = x.e.emit(gates.SumParts, (len(sizes),), SHARE, sizes=tuple(sizes), x=number)
    if sums and bits:
        order = [*sums, *bits]
        each = [x.e.slice_axis(counts, 0, order.index(place), 1, 1) for place in range(len(args))]
        counts = x.e.concat(each, 0)
    return x.e.held(value, counts, 0)


def _found(x: Expansion, value: Value, place: int, a: Held) -> Squares | int:
    """The sums of an argument's squares; where they are not whole, bits that say which vectors are within the limit."""
    op, vector = value.op, value.args[place]
    assert isinstance(op, ops.BeyondNorms)
    axes, limit = op.axes[place], op.limits[place]
    if axes is None:
        register, scale = x.e.share(a)
        return Squares(register, 1, _beyond(limit, scale), math.ceil(vector.range.hi * 2.0**scale))
    row = (math.prod(reduced(vector.shape, axes, keepdims=False)),)
    try:
        found = _squares(x, vector, a, axes, limit) if axes else None
        return found if found and found.parts == 1 else _within(x, vector, a, axes, limit, row)
    except OpError as error:
        raise OpError(error.message, error.help, place) from None


def squared_norms(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.SquaredNorms)
    wire, scale = x.e.wire(a, min(x.e.scale(a), x.e.plain(a)))
    shift = pieces(value.args[0], op.axes, op.limit, scale).shift
    sums = summed_squares(x, wire, op.axes, scale, shift)
    return x.e.held(value, x.e.reshape(sums, value.shape), 2 * (scale - shift))


@dataclass(frozen=True)
class Squares:
    """Sums of squares, in C order of [..., parts]; of whole vectors where that is 1. beyond: the least that is too
    large; most: what none is larger than."""

    register: int
    parts: int
    beyond: int
    most: int

    @property
    def low_bit(self) -> int:
        """The first bit that is compared."""
        return max(0, self.beyond.bit_length() - 1 - KEPT_BITS)

    @property
    def bits(self) -> int:
        """Of the ring in which they are compared."""
        return min(64, 1 + max(self.most + (1 << self.low_bit), self.beyond).bit_length())


def _squares(x: Expansion, vector: Value, a: Held, axes: tuple[int, ...], limit: float) -> Squares:
    register, scale = x.e.wire(a, min(x.e.scale(a), x.e.plain(a)))
    cut = pieces(vector, axes, limit, scale)
    if cut.count > 1:
        sums = _parts(x, register, scale, axes, cut.count)
    else:
        sums = summed_squares(x, register, axes, scale, cut.shift)
    return Squares(sums, cut.count, _beyond(cut.limit, 2 * (scale - cut.shift)), math.ceil(cut.most))


def _beyond(limit: float, scale: int) -> int:
    """The least square at a scale that is beyond a limit."""
    return math.floor(limit * limit * 2.0**scale) + 1


def _within(x: Expansion, vector: Value, a: Held, axes: tuple[int, ...], limit: float, shape: Shape) -> int:
    """A bit for each vector, in this shape."""
    if not axes:
        register, scale = x.e.wire(a, min(x.e.scale(a), x.e.plain(a)))
        return x.e.reshape(_elements(x, vector, register, scale, limit), shape)
    found = _squares(x, vector, a, axes, limit)
    (over,) = x.bits.at_least(x.e.open(found.register), (found.beyond,), found.bits, found.low_bit)
    if found.parts == 1:
        return x.bits.negate(x.e.reshape(over, shape))
    last = len(x.e.shape(over)) - 1
    each = [x.e.slice_axis(over, last, place, 1, 1) for place in range(x.e.shape(over)[last])]
    return x.bits.all([x.bits.negate(x.e.reshape(bit, shape)) for bit in each])


def _over(x: Expansion, found: Sequence[Squares]) -> int:
    """A bit for each sum, one behind the other: it is too large.

    2^(l - m) times a sum is known mod 2^l where the sum is known mod 2^m: so all of them are lifted into the ring of
    the widest, and what is not negative there, less its limit, is too large.
    """
    bits = max(each.bits for each in found)
    lifts = tuple(bits - each.bits for each in found)
    sizes = [math.prod(x.e.shape(each.register)) for each in found]
    rows = x.e.emit(gates.Lift, (sum(sizes),), SHARE, by=lifts, xs=tuple(each.register for each in found))
    limits = np.repeat([each.beyond << lift for each, lift in zip(found, lifts, strict=True)], sizes)
    low_bit = min(each.low_bit + lift for each, lift in zip(found, lifts, strict=True))
    (over,) = x.bits.at_least(x.e.open(x.e.sub(rows, x.e.constant(limits, 0))), (0,), bits, low_bit)
    return over


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


def _parts(x: Expansion, wire: int, scale: int, axes: tuple[int, ...], parts: int) -> int:
    """Sums of squares along `axes`, along a new last axis: of each part, and behind them of all."""
    shape = x.e.shape(wire)
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    outer, count = tuple(shape[axis] for axis in kept), math.prod(shape[axis] for axis in axes)
    squares = x.e.emit(gates.Square, shape, SHARE, scale=2 * scale, x=wire)
    size, last = -(-count // parts), len(outer)
    rows = x.e.reshape(x.e.transpose(squares, (*kept, *axes)), (*outer, count))
    rows = x.e.pad(rows, (*((0, 0) for _ in outer), (0, size * parts - count)))
    found = x.e.sum(x.e.reshape(rows, (*outer, parts, size)), (last + 1,))
    found = x.e.reshape(found, (*outer, parts))
    return x.e.concat([found, x.e.sum(found, (last,))], last)


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Bounded: bounded,
    ops.WithinNorm: within_norm,
    ops.BeyondNorms: beyond_norms,
    ops.SquaredNorms: squared_norms,
}
