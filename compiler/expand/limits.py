"""Checks of norms: sums of squares from a value that is opened anyway, one comparison each. PROTOCOLS section 1d."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held, Shape
from compiler.graph import OpError, TensorOp, Value
from compiler.ops.limits import ROOM, pieces
from compiler.ops.sums import reduced
from mpc_runtime import gates

KEPT_BITS = 8
"""Of a squared limit: a norm is refused from 2^-9 of the limit below it on, and comparisons are that narrow."""

WIDER_BITS = 1 << 16
"""By so many more bits in all, what is checked may be opened for one comparison less: as long a message as the time
takes on a fast network that its dozen gates and three messages take."""


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
    """Sums of squares that one comparison serves are laid side by side, for one opening and one comparison."""
    op = value.op
    assert isinstance(op, ops.BeyondNorms)
    counts: dict[int, int] = {}
    whole: dict[int, Squares] = {}
    for place in range(len(args)):
        found = _found(x, value, place, args[place])
        if isinstance(found, Squares):
            whole[place] = found
        else:
            counts[place] = x.e.sum(x.bits.number(x.bits.negate(found)), (0,))
    for places in _alike(x, whole):
        counts |= _counted(x, {place: whole[place] for place in places})
    return x.e.held(value, x.e.concat([counts[place] for place in range(len(args))], 0), 0)


def _found(x: Expansion, value: Value, place: int, a: Held) -> Squares | int:
    """The sums of an argument's squares; where they are not whole, bits that say which vectors are within the limit."""
    op, vector = value.op, value.args[place]
    assert isinstance(op, ops.BeyondNorms)
    axes, limit = op.axes[place], op.limits[place]
    row = (math.prod(reduced(vector.shape, axes, keepdims=False)),)
    try:
        found = _squares(x, vector, a, axes, limit) if axes else None
        return found if found and found.parts == 1 else _within(x, vector, a, axes, limit, row)
    except OpError as error:
        raise OpError(error.message, error.help, place) from None


@dataclass(frozen=True)
class Squares:
    """Sums of squares: [..., parts], of whole vectors where that is 1. beyond: the least that is too large; most: what
    none is larger than; wire: what was squared."""

    register: int
    parts: int
    beyond: int
    most: int
    wire: int

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
    squares = x.e.emit(gates.Square, a.shape, SHARE, scale=2 * scale, x=register)
    beyond = math.floor(limit * limit * 4.0**scale) + 1
    return Squares(_sums(x, squares, axes, cut.count), cut.count, beyond, math.ceil(cut.most), register)


def _within(x: Expansion, vector: Value, a: Held, axes: tuple[int, ...], limit: float, shape: Shape) -> int:
    """A bit for each vector, in this shape."""
    if not axes:
        register, scale = x.e.wire(a, min(x.e.scale(a), x.e.plain(a)))
        return x.e.reshape(_elements(x, vector, register, scale, limit), shape)
    over = _over(x, _squares(x, vector, a, axes, limit))
    last = len(x.e.shape(over)) - 1
    each = [x.e.slice_axis(over, last, place, 1, 1) for place in range(x.e.shape(over)[last])]
    return x.bits.all([x.bits.negate(x.e.reshape(bit, shape)) for bit in each])


def _over(x: Expansion, found: Squares) -> int:
    """A bit for each sum: it is too large."""
    (over,) = x.bits.at_least(x.e.open(found.register), (found.beyond,), found.bits, found.low_bit)
    return over


def _alike(x: Expansion, found: Mapping[int, Squares]) -> list[list[int]]:
    """Places of sums of squares that are compared together: where multiples of them by powers of two have one limit and
    stay below what a comparison takes, and what is squared is not opened in so much wider a ring that this costs more
    than a comparison does."""
    groups: list[list[int]] = []
    for place in sorted(found, key=lambda place: found[place].beyond.bit_length() - found[place].bits):
        for group in groups:
            if _serves(x, found, [*group, place]):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _serves(x: Expansion, found: Mapping[int, Squares], group: list[int]) -> bool:
    """Whether these are compared together."""
    first = max((found[place] for place in group), key=lambda each: each.beyond)
    factors = {place: _factor(found[place], first) for place in group}
    most = max(found[place].most * factor for place, factor in factors.items())
    if not all(factors.values()) or most >= ROOM:
        return False
    bits, needed, asked = replace(first, most=most).bits, Counter[int](), Counter[int]()
    for each in found.values():
        needed[each.wire] = max(needed[each.wire], each.bits)
    for place, factor in factors.items():
        wire = found[place].wire
        asked[wire] = max(asked[wire], bits + 1 - factor.bit_length())
    wider = sum(math.prod(x.e.shape(wire)) * max(0, asked[wire] - needed[wire]) for wire in asked)
    return wider <= WIDER_BITS


def _factor(less: Squares, more: Squares) -> int:
    """The power of two by which the largest square within one limit is that within the other; 0 if there is none."""
    factor = 1 << max(0, more.beyond.bit_length() - less.beyond.bit_length())
    return factor if (less.beyond - 1) * factor == more.beyond - 1 else 0


def _counted(x: Expansion, found: Mapping[int, Squares]) -> dict[int, int]:
    """How many sums of each are too large: of a group that `_alike` has found, by its places."""
    first = max(found.values(), key=lambda each: each.beyond)
    rows, most, counts, at = [], 0, {}, 0
    for each in found.values():
        factor = _factor(each, first)
        row = x.e.reshape(each.register, (math.prod(x.e.shape(each.register)),))
        rows.append(x.e.rescaled(row, x.e.drafts[first.register].scale, factor))
        most = max(most, each.most * factor)
    bits = _over(x, replace(first, register=x.e.concat(rows, 0), most=most))
    number = x.bits.number(bits)
    for place, row in zip(found, rows, strict=True):
        (size,) = x.e.shape(row)
        counts[place] = x.e.sum(x.e.slice_axis(number, 0, at, 1, size), (0,))
        at += size
    return counts


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


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Bounded: bounded,
    ops.WithinNorm: within_norm,
    ops.BeyondNorms: beyond_norms,
}
