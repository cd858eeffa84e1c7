"""Gradients of choices: what reaches a result goes on to what was chosen.

They ask for the comparisons of the forward pass, which the emitter has (`compiler.expand.choice`): nothing is compared
twice, and a choice and its gradient agree.
"""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand import choice
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held, width
from compiler.expand.maxima import tournament
from compiler.graph import TensorOp, Value
from mpc_runtime import gates
from mpc_runtime.registers import Domain

# -- bits --------------------------------------------------------------------------------------------------------------


def positive(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Positive)
    return x.e.held_bit(value, choice.is_positive(x, a, op.stored))


def larger(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    (left, right), scale = x.wires(a, b)
    nothing = b.array is not None and not b.array.any()
    gap = left if nothing and a.shape == value.shape else x.e.sub(left, right)
    bit = choice.is_larger(x, gap, a.range - b.range, scale, a)
    return x.e.held_bit(value, x.e.broadcast(bit, value.shape))


def within(x: Expansion, value: Value, a: Held) -> Held:
    """[a >= lo] and not [a >= hi]."""
    op = value.op
    assert isinstance(op, ops.Within)
    bounds = choice.reached(a, op.lo, op.hi)
    if not bounds:
        inside = op.lo <= a.range.lo and a.range.hi <= op.hi
        return x.e.held_bit(value, _known(x, value, inside))
    *_, flags = choice.at_bounds(x, a, bounds)
    if len(flags) == 2:
        return x.e.held_bit(value, x.bits.exclusive(*flags))
    return x.e.held_bit(value, flags[0] if bounds == [op.lo] else x.bits.negate(flags[0]))


def _known(x: Expansion, value: Value, bit: bool) -> int:
    """Masked bits that are all the same."""
    constant = x.e.broadcast(x.e.bit_constant(np.array(bit, np.uint8)), value.shape)
    return x.e.open(x.e.emit(gates.FromPublic, value.shape, SHARE, domain=Domain.BITS, x=constant))


# -- maxima ------------------------------------------------------------------------------------------------------------


def max_gradient(x: Expansion, value: Value, a: Held, g: Held) -> Held:
    """Back through the tournament along each axis."""
    op = value.op
    assert isinstance(op, ops.MaxGradient)
    wire, scale = x.e.wire(a)
    wire = x.e.scaled(wire, -1 if op.least else 1)
    played: list[tuple[int, list[int]]] = []
    for axis in op.axes:
        wins: list[int] = []
        wire = tournament(x, wire, axis, a, scale, wins)
        played.append((axis, wins))
    largest: int | None = None
    for axis, wins in reversed(played):
        largest = _winners(x, largest, wins, axis)
    register, out_scale = _reaching(x, g)
    if largest is None:
        return x.e.held(value, register, out_scale)
    shift = max(0, out_scale - x.e.frac)
    chosen = x.bits.select(largest, register, out_scale - shift, shift, width(g.range, out_scale))
    return x.e.held(value, chosen, out_scale - shift)


def maxpool2d_gradient(x: Expansion, value: Value, a: Held, g: Held) -> Held:
    """Of each window the place that is the largest: one bit a place, by which what reaches the window is chosen."""
    op = value.op
    assert isinstance(op, ops.MaxPool2dGradient)
    (down, across), (vertical, horizontal) = op.stride, op.padding
    kh, kw = op.kernel
    wire, scale = x.e.wire(a)
    wire = choice.bordered(x, wire, op.padding, a.range.lo, scale)
    full = x.e.shape(wire)
    in_row: list[int] = []
    in_column: list[int] = []
    wire = choice.largest(x, choice.places(x, wire, 3, kw, across), a, scale, in_row)
    choice.largest(x, choice.places(x, wire, 2, kh, down), a, scale, in_column)
    n, oh = full[0], g.shape[2]
    rows = _winners(x, None, in_column, 0)
    beside = [_each_row(x, bit, n, kh, down, oh) for bit in in_row]
    largest = _winners(x, rows, beside, 0)
    register, out_scale = _reaching(x, g)
    shift = max(0, out_scale - x.e.frac)
    parts, shape = register, (kw, kh, *g.shape)
    if largest is not None:
        of_places = x.e.reshape(largest, shape)
        reaching = x.e.reshape(register, (1, 1, *g.shape))
        if shift:
            parts = x.bits.select(of_places, reaching, out_scale - shift, shift, width(g.range, out_scale))
        else:  # there are more parts than numbers, so that shares of these numbers' masks cost less
            parts = x.bits.choose(of_places, reaching, out_scale)
        out_scale -= shift
    image = _assembled(x, x.e.reshape(parts, shape), full, (down, across))
    register = x.e.slice(image, (0, 0, vertical, horizontal), (1, 1, 1, 1), value.shape)
    return x.e.held(value, register, out_scale)


def _each_row(x: Expansion, bit: int, n: int, kh: int, down: int, oh: int) -> int:
    """Bits of pairs of images, [pairs * n, c, h, ow], for each row of the windows: [pairs * kh * n, c, oh, ow]."""
    rows = [x.e.slice_axis(bit, 2, i, down, oh) for i in range(kh)]
    (images, *one), pairs = x.e.shape(rows[0]), x.e.shape(bit)[0] // n
    joined = x.e.concat([x.e.reshape(row, (pairs, n, *one)) for row in rows], 1)
    return x.e.reshape(joined, (kh * images, *one))


def _winners(x: Expansion, largest: int | None, wins: list[int], axis: int) -> int | None:
    """Masked bits: which places of a tournament are the largest, where its results are (None: all of them).

    wins: the bits of each round, of which half of the operands along the axis won.
    """
    for bit in reversed(wins):
        if largest is None:
            largest = x.e.concat([bit, x.bits.negate(bit)], axis)
            continue
        half, n = x.e.shape(bit)[axis], x.e.shape(largest)[axis]
        met = x.e.slice_axis(largest, axis, 0, 1, half)
        first = x.bits.all([met, bit])
        rest = [x.e.slice_axis(largest, axis, half, 1, n - half)] if n > half else []
        largest = x.e.concat([first, x.bits.exclusive(met, first), *rest], axis)
    return largest


def _reaching(x: Expansion, g: Held) -> tuple[int, int]:
    """(masked value, scale) of what reaches a result."""
    if g.array is None:
        return x.e.wire(g)
    constant = x.e.encoded(g.array, x.e.frac)
    return x.e.open(x.e.emit(gates.FromPublic, g.shape, SHARE, scale=x.e.frac, x=constant)), x.e.frac


def _assembled(x: Expansion, parts: int, full: tuple[int, ...], stride: tuple[int, int]) -> int:
    """An image [n, c, h, w] from what reaches the places of its windows, [kw, kh, n, c, oh, ow]."""
    kw, kh, n, c, oh, ow = x.e.shape(parts)
    if stride == (kh, kw):
        beside = x.e.reshape(x.e.transpose(parts, (2, 3, 4, 1, 5, 0)), (n, c, oh * kh, ow * kw))
        return x.e.spread(beside, full, (0, 0, 0, 0), (1, 1, 1, 1))
    total: int | None = None
    for j, i in np.ndindex(kw, kh):
        place = x.e.slice(parts, (j, i, 0, 0, 0, 0), (1,) * 6, (1, 1, n, c, oh, ow))
        spread = x.e.spread(x.e.reshape(place, (n, c, oh, ow)), full, (0, 0, i, j), (1, 1, *stride))
        total = spread if total is None else x.e.add(total, spread)
    assert total is not None
    return total


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Positive: positive,
    ops.Larger: larger,
    ops.Within: within,
    ops.MaxGradient: max_gradient,
    ops.MaxPool2dGradient: maxpool2d_gradient,
}
