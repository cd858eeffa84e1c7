"""Comparisons, conditions and everything that chooses: relu, max, clip, where, pooling. PROTOCOLS sections 3.4 and 3.5.

A choice works at the scale at which its operand is held: on a product it compares and truncates in one go. Comparisons
that the author wrote compare what is stored, exactly; in a choice, bits below the stored precision may be ignored.
"""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import add, by_constant, mul, typed
from compiler.expand.context import Expansion, Handler, exact_kind
from compiler.expand.emitter import MAX_CONSTANT, MAX_WIDTH, SHARE, WIRE, Held, width
from compiler.graph import Kind, TensorOp, Value, expect_constant
from compiler.graph.interval import Interval
from mpc_runtime import gates

GUARD_BITS = 2
"""A maximum ignores bits that are this far below the stored precision."""


# -- comparisons -------------------------------------------------------------------------------------------------------


def greater_equal(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return x.e.held_bit(value, _at_least(x, value, a, b))


def less(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return x.e.held_bit(value, x.bits.negate(_at_least(x, value, a, b)))


def less_equal(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return x.e.held_bit(value, _at_least(x, value, b, a))


def greater(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return x.e.held_bit(value, x.bits.negate(_at_least(x, value, b, a)))


def equal(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    difference, range_, scale = _difference(x, value, a, b)
    return x.e.held_bit(value, x.bits.equal_zero(difference, width(range_, scale, scale == 0)))


def not_equal(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    found = equal(x, value, a, b)
    return x.e.held_bit(value, x.bits.negate(x.e.bit(found)))


def _at_least(x: Expansion, value: Value, a: Held, b: Held) -> int:
    difference, range_, scale = _difference(x, value, a, b)
    return x.bits.positive(difference, range_, scale, exact=scale == 0)


def _difference(x: Expansion, value: Value, a: Held, b: Held) -> tuple[int, Interval, int]:
    """Masked a - b of the stored numbers, in the result's shape."""
    scale = max(x.e.plain(a), x.e.plain(b))
    left, right = (_stored_at(x, h, scale) for h in (a, b))
    difference = x.e.broadcast(x.e.sub(left, right), value.shape)
    return difference, a.range - b.range, scale


def _stored_at(x: Expansion, h: Held, scale: int) -> int:
    """The stored number (already rounded to its own scale), at a common scale.

    A constant far beyond the format is compared as the largest that a word holds: all else is on one side of both.
    """
    if h.array is not None:
        stored = np.rint(h.array * 2.0 ** x.e.plain(h)) if h.kind is Kind.FIXED else h.array
        within = np.clip(stored.astype(np.float64) * 2.0 ** (scale - x.e.plain(h)), -MAX_CONSTANT, MAX_CONSTANT)
        return x.e.constant(within.astype(np.int64), scale)
    x.e.wire(h, x.e.plain(h))
    return x.e.wire(h, scale)[0]


# -- logic -------------------------------------------------------------------------------------------------------------


def and_(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return x.e.held_bit(value, x.bits.all(_bits(x, value, a, b)))


def or_(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    neither = x.bits.all([x.bits.negate(bit) for bit in _bits(x, value, a, b)])
    return x.e.held_bit(value, x.bits.negate(neither))


def not_(x: Expansion, value: Value, a: Held) -> Held:
    return x.e.held_bit(value, x.bits.negate(x.e.bit(a)))


def _bits(x: Expansion, value: Value, a: Held, b: Held) -> list[int]:
    """Masked bits of both operands in the result's shape; constants join as masked values of mask 0."""
    out = []
    for h in (a, b):
        if h.array is not None:
            constant = x.e.bit_constant(np.broadcast_to(h.array, value.shape))
            other = x.e.broadcast(x.e.bit(b if h is a else a), value.shape)
            zero = x.bits.exclusive(other, other)
            out.append(x.bits.exclusive(zero, constant))
        else:
            out.append(x.e.broadcast(x.e.bit(h), value.shape))
    return out


# -- choices -----------------------------------------------------------------------------------------------------------


def where(x: Expansion, value: Value, d: Held, a: Held, b: Held) -> Held:
    """b + d (a - b)."""
    bit = x.e.bit(d)
    if a.constant and b.constant:
        assert a.array is not None and b.array is not None
        scale = x.e.frac if value.kind is Kind.FIXED else 0
        step = x.e.encoded(np.subtract(a.array, b.array, dtype=np.result_type(a.array, b.array)), scale)
        number = x.e.broadcast(x.bits.number(bit), value.shape)
        chosen = x.e.emit(gates.Mul, value.shape, x.e.mode(number), scale=scale, x=number, y=step)
        return x.e.held(value, x.e.add(chosen, x.e.encoded(b.array, scale)), scale)
    if b.array is not None and not b.array.any():
        return _or_nothing(x, value, bit, a)
    (left, right), scale = x.wires(a, b)
    chosen = x.bits.select(bit, x.e.sub(left, right), scale)
    return x.e.held(value, x.e.broadcast(x.e.add(chosen, right), value.shape), scale)


def _or_nothing(x: Expansion, value: Value, bit: int, a: Held) -> Held:
    """d a, cut to the plain scale as it is chosen."""
    wire, scale = x.e.wire(a)
    shift = max(0, scale - x.e.plain(a))
    out = x.bits.select(bit, wire, scale - shift, shift, width(a.range, scale))
    return x.e.held(value, x.e.broadcast(out, value.shape), scale - shift)


def relu(x: Expansion, value: Value, a: Held) -> Held:
    return _or_nothing(x, value, is_positive(x, a), a)


def is_positive(x: Expansion, a: Held, stored: bool = False) -> int:
    """Masked bits [a >= 0] of a at the lowest scale at which it is held, or of the stored number."""
    wire, scale = x.stored(a) if stored else x.e.wire(a)
    return x.bits.positive(wire, a.range, scale, low_bit=max(0, scale - x.e.plain(a)), exact=exact_kind(a))


def abs_(x: Expansion, value: Value, a: Held) -> Held:
    """2 relu(a) - a."""
    wire, scale = x.e.wire(a)
    bit = x.bits.positive(wire, a.range, scale, low_bit=ignored(x, a, scale), exact=exact_kind(a))
    twice = x.e.scaled(x.bits.select(bit, wire, scale), 2)
    return x.e.held(value, x.e.sub(twice, wire), scale)


def sign(x: Expansion, value: Value, a: Held) -> Held:
    """[a >= 0] + [a >= 1] - 1 on the stored number, from one set of tables."""
    wire, scale = x.stored(a)
    k = min(64, width(a.range, scale, exact_kind(a)) + 1)
    positive, above = x.bits.at_least(wire, (0, 1), k)
    both = x.e.add(x.bits.number(positive), x.bits.number(above))
    return x.e.held(value, x.e.add(both, x.e.constant(np.array(-1), 0)), 0)


def maximum(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    (left, right), scale = x.wires(a, b)
    out = larger(x, left, right, a.range - b.range, scale, a)
    return x.e.held(value, x.e.broadcast(out, value.shape), scale)


def minimum(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """a - relu(a - b)."""
    (left, right), scale = x.wires(a, b)
    difference = x.e.sub(left, right)
    bit = is_larger(x, difference, a.range - b.range, scale, a)
    out = x.e.sub(left, x.bits.select(bit, difference, scale))
    return x.e.held(value, x.e.broadcast(out, value.shape), scale)


def larger(
    x: Expansion, left: int, right: int, difference: Interval, scale: int, like: Held, wins: list[int] | None = None
) -> int:
    """Shares of max(left, right) = right + relu(left - right). wins: takes the bits of it."""
    gap = x.e.sub(left, right)
    bit = is_larger(x, gap, difference, scale, like)
    if wins is not None:
        wins.append(bit)
    return x.e.add(x.bits.select(bit, gap, scale), right)


def is_larger(x: Expansion, gap: int, difference: Interval, scale: int, like: Held) -> int:
    """Masked bits [gap >= 0] of a difference of tensors like `like`."""
    return x.bits.positive(gap, difference, scale, ignored(x, like, scale), scale == 0)


def ignored(x: Expansion, a: Held, scale: int) -> int:
    """Low bits that a choice may ignore: they are far below the stored precision."""
    return max(0, scale - x.e.plain(a) - GUARD_BITS)


def clip(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Clip)
    return clipped(x, value, a, op.lo, op.hi)


def relu6(x: Expansion, value: Value, a: Held) -> Held:
    return clipped(x, value, a, 0.0, 6.0)


def clipped(x: Expansion, value: Value, a: Held, lo: float, hi: float) -> Held:
    """lo + [a >= lo](a - lo) - [a >= hi](a - hi): two flags of one set of tables, none for a bound out of range."""
    if hi <= a.range.lo or lo >= min(hi, a.range.hi):
        return x.known(value, np.array(hi if hi <= a.range.lo else lo, value.kind.dtype))
    bounds = reached(a, lo, hi)
    if not bounds:
        return Held(value.kind, value.shape, value.range, base=a, view=lambda register: register)
    scale, shift, k, thresholds, flags = at_bounds(x, a, bounds)
    wire, _ = x.e.wire(a, scale)
    out: int | None = None
    for bound, threshold, flag in zip(bounds, thresholds, flags, strict=True):
        above = x.e.add(wire, x.e.constant(np.array(-threshold), scale))
        part = x.bits.select(flag, above, scale - shift, shift, min(MAX_WIDTH, k))
        if bound == lo:
            out = x.e.add(part, x.e.encoded(np.array(lo), scale - shift))
            continue
        if out is None:
            out = x.e.share(a, scale - shift)[0]
        out = x.e.sub(out, part)
    assert out is not None
    return x.e.held(value, out, scale - shift)


def reached(a: Held, *bounds: float) -> list[float]:
    """The bounds that a range leaves open: elements may lie on both sides."""
    return [b for b in bounds if np.isfinite(b) and a.range.lo < b < a.range.hi]


def at_bounds(x: Expansion, a: Held, bounds: list[float]) -> tuple[int, int, int, tuple[int, ...], list[int]]:
    """(scale, bits to cut, width, thresholds, masked bits [a >= bound]) for the comparison of a with bounds."""
    wire, scale = x.e.wire(a, x.scale_for(a, *bounds))
    shift = max(0, scale - x.e.plain(a))
    reach = a.range - Interval(min(bounds), max(bounds))
    k = min(64, width(reach.hull(a.range), scale, exact_kind(a)) + 1)
    # bounds as they are stored: then all parts are cut with one dither, and no result leaves them by a step
    thresholds = tuple(round(b * 2.0 ** (scale - shift)) << shift for b in bounds)
    return scale, shift, k, thresholds, x.bits.at_least(wire, thresholds, k, shift)


def leaky_relu(x: Expansion, value: Value, a: Held) -> Held:
    """relu(a) + slope (a - relu(a)): what is positive stays exact."""
    op = value.op
    assert isinstance(op, ops.LeakyRelu)
    kept, rest = _parted(x, a)
    below = typed(value, a.shape, rest.range * Interval(op.slope, op.slope))
    return add(x, value, kept, by_constant(x, below, rest, np.array(op.slope)))


def prelu(x: Expansion, value: Value, a: Held, slope: Held) -> Held:
    kept, rest = _parted(x, a)
    return add(x, value, kept, mul(x, typed(value, a.shape, rest.range * slope.range), rest, slope))


def _parted(x: Expansion, a: Held) -> tuple[Held, Held]:
    """(relu(a), a - relu(a)) of the stored number."""
    wire, scale = x.stored(a)
    positive = x.bits.select(is_positive(x, a, stored=True), wire, scale)
    above, below = a.range.clip(0.0, np.inf), a.range.clip(-np.inf, 0.0)
    kept = Held(a.kind, a.shape, above, {(SHARE, scale): positive})
    return kept, Held(a.kind, a.shape, below, {(SHARE, scale): x.e.sub(wire, positive)})


# -- pooling -----------------------------------------------------------------------------------------------------------


def maxpool2d(x: Expansion, value: Value, a: Held) -> Held:
    """Maxima along the width, then along the height: a tournament among the places of the window."""
    op = value.op
    assert isinstance(op, ops.MaxPool2d)
    wire, scale = x.e.wire(a)
    wire = bordered(x, wire, op.padding, a.range.lo, scale)
    for axis, k, stride in ((3, op.kernel[1], op.stride[1]), (2, op.kernel[0], op.stride[0])):
        wire = largest(x, places(x, wire, axis, k, stride), a, scale)
    return x.e.held(value, wire, scale)


def places(x: Expansion, wire: int, axis: int, k: int, stride: int) -> list[int]:
    """The elements of each of k places of the windows along an axis."""
    count = (x.e.shape(wire)[axis] - k) // stride + 1
    return [x.e.slice_axis(wire, axis, j, stride, count) for j in range(k)]


def bordered(x: Expansion, wire: int, padding: tuple[int, int], low: float, scale: int) -> int:
    """Padding that never wins: the lower end of the range."""
    h, w = padding
    if not (h or w):
        return wire
    inner = x.e.shape(wire)
    widths = ((0, 0),) * (len(inner) - 2) + ((h, h), (w, w))
    shape = (*inner[:-2], inner[-2] + 2 * h, inner[-1] + 2 * w)
    padded = x.e.emit(gates.Pad, shape, WIRE, scale=scale, widths=widths, x=wire)
    least = np.floor(low * 2.0**scale)
    expect_constant(shape[-2:])
    border = np.pad(np.zeros(inner[-2:]), ((h, h), (w, w)), constant_values=least)
    return x.e.add(padded, x.e.constant(border, scale))


def largest(x: Expansion, wires: list[int], a: Held, scale: int, wins: list[int] | None = None) -> int:
    """The masked elementwise maximum of wires of one shape; the pairs of a level are compared together, for `wins`."""
    while len(wires) > 1:
        half = len(wires) // 2
        left, right = x.e.concat(wires[:half], 0), x.e.concat(wires[half : 2 * half], 0)
        found = x.e.open(larger(x, left, right, a.range - a.range, scale, a, wins))
        n = x.e.shape(wires[0])[0]
        wires = [x.e.slice_axis(found, 0, j * n, 1, n) for j in range(half)] + wires[2 * half :]
    return wires[0]


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.GreaterEqual: greater_equal,
    ops.Greater: greater,
    ops.LessEqual: less_equal,
    ops.Less: less,
    ops.Equal: equal,
    ops.NotEqual: not_equal,
    ops.And: and_,
    ops.Or: or_,
    ops.Not: not_,
    ops.Where: where,
    ops.Relu: relu,
    ops.Relu6: relu6,
    ops.LeakyRelu: leaky_relu,
    ops.PRelu: prelu,
    ops.Abs: abs_,
    ops.Sign: sign,
    ops.Maximum: maximum,
    ops.Minimum: minimum,
    ops.Clip: clip,
    ops.MaxPool2d: maxpool2d,
}
