"""Clipping the gradient of every example, and the noise in their sum. TRAINING section 3.

A norm is never taken to be smaller than it is: what is cut of a square is rounded up. So no example adds more to the
sums than its bound, which noise hides; the factor is the bound less all that a root may be wrong by.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2, sqrt

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import typed
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.expand.norms import CLIP_MARGIN, FACTOR_BITS, square_sums
from compiler.expand.roots import ROOT_SCALE, logarithmic, root
from compiler.graph import OpError, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.errors import number
from mpc_runtime.privacy import noise

FINEST = 32
"""Fraction bits of a squared norm, at most: those of a square of the format's numbers."""

INPUT_BITS = 9
"""Of the squared norm of what is multiplied with signals. Beside a bias, that makes a norm 2^-9 too large at most."""

LEAST_BITS = 10
"""Of a squared bound."""

ROUNDED_UP = 1.01
"""By how much rounding up may lift the largest squared norm, and 1."""


def clip_factor(x: Expansion, value: Value, *held: Held) -> Held:
    """bound / sqrt(max(n^2, bound^2)), where it counts."""
    op = value.op
    assert isinstance(op, ops.ClipFactor)
    *found, counts = held
    squares = op.squares(value.args)
    floor_, most = op.bound**2, ROUNDED_UP * op.largest(*value.args) + 1
    scale = _room(value, max(floor_, most))
    if floor_ * 2.0**scale < 2.0**LEAST_BITS:
        raise _narrow(value, most)
    total: int | None = None
    for place, (first, second) in enumerate(squares):
        if place < op.pairs:
            term = _product(x, found[2 * place], found[2 * place + 1], first, second, scale)
        else:
            term = _up(x, *_squared(x, found[op.pairs + place]), scale, first)
        total = term if total is None else x.e.add(total, term)
    assert total is not None
    opened, bound = x.e.open(total), x.e.encoded(np.array(floor_), scale)
    above = x.e.sub(opened, bound)
    bit = x.bits.positive(above, Interval(-floor_, most), scale, exact=True)
    larger = x.e.add(x.bits.select(bit, above, scale), bound)
    return _factor(x, value, larger, scale, Interval(floor_, max(floor_, most)), counts)


def _factor(x: Expansion, value: Value, squared: int, scale: int, within: Interval, counts: Held) -> Held:
    """bound / sqrt(squared) to FACTOR_BITS of the smallest one, and 0 for what does not count."""
    op = value.op
    assert isinstance(op, ops.ClipFactor)
    factor = op.bound * (1 - CLIP_MARGIN)
    needed = FACTOR_BITS + max(0, ceil(log2(sqrt(within.hi) / factor)))
    held = Held(value.kind, value.shape, within, {(SHARE, scale): squared})
    inverse = typed(value, value.shape, Interval(0.0, 2.0))
    found = root(x, inverse, logarithmic(x, held, scale), "rsqrt", -0.5, factor, needed)
    if needed > x.e.scale(found) - 2 * ROOT_SCALE:
        raise _narrow(value, within.hi)
    fine = min(needed, op.frac)
    if fine < needed:  # rounded down: the few of the smallest are less exact, and never too large
        shares = x.e.sub(x.e.share(found, fine)[0], x.e.constant(np.array(1), fine))
        wire = x.e.open(shares)
    else:
        wire, _ = x.e.wire(found, fine)
    return Held(value.kind, value.shape, value.range, {(SHARE, fine): x.bits.select(x.e.bit(counts), wire, fine)})


def _room(value: Value, most: float) -> int:
    """The fraction bits of a squared norm."""
    for scale in range(FINEST, 0, -1):
        if width(Interval(0.0, 2 * most), scale, most=64) < MAX_WIDTH:
            return scale
    raise _narrow(value, most)


def _narrow(value: Value, most: float) -> OpError:
    op = value.op
    assert isinstance(op, ops.ClipFactor)
    found = f"a gradient may have a norm of {number(sqrt(most))}, which cannot be clipped to {number(op.bound)}"
    return OpError(found, "choose a larger `clip`, or smaller limits: `limits = norms(activations=64, signals=8)`")


def _squared(x: Expansion, h: Held) -> tuple[int, int]:
    """(register, scale) of the sums of the squares of each example, from the value that products are made of."""
    wire, scale = x.e.wire(h, min(x.e.scale(h), x.e.plain(h)))
    return x.e.reshape(square_sums(x, wire, tuple(range(1, len(h.shape))), scale), h.shape[:1]), 2 * scale


def _product(x: Expansion, a: Held, d: Held, first: float, second: float, scale: int) -> int:
    """Shares of |a|^2 |d|^2."""
    left = x.e.open(_up(x, *_squared(x, a), INPUT_BITS, first))
    right = x.e.open(_up(x, *_squared(x, d), scale - INPUT_BITS, second))
    return x.e.emit(gates.Mul, a.shape[:1], SHARE, scale=scale, x=left, y=right)


def _up(x: Expansion, register: int, have: int, wanted: int, most: float) -> int:
    """Shares at a scale, of no less than what it is. A truncation gives one of both neighbours."""
    if wanted >= have:
        return x.e.rescaled(register, wanted, 1 << (wanted - have))
    cut = x.e.at_scale(register, have, wanted, width(Interval(0.0, most), have))
    return x.e.add(cut, x.e.constant(np.array(1), wanted))


def clipped(x: Expansion, value: Value, d: Held, factor: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Clipped)
    (left, scale), (right, fine) = _operand(x, d), x.e.wire(factor)
    _expect_room(value, d.range, scale + fine)
    by = x.e.broadcast(x.e.reshape(right, (*factor.shape, *(1,) * (len(d.shape) - 1))), d.shape)
    product = x.e.emit(gates.Mul, d.shape, SHARE, scale=scale + fine, x=left, y=by)
    k = width(d.range.hull(Interval(0.0, 0.0)), scale + fine)
    return x.e.held(value, x.e.at_scale(product, scale + fine, op.frac, k), op.frac)


def outer_sum(x: Expansion, value: Value, a: Held, d: Held) -> Held:
    (left, scale), (right, fine) = _operand(x, a), x.e.wire(d)
    return _matrix(x, value, x.e.transpose(left, (1, 0)), right, scale + fine)


def factor_sum(x: Expansion, value: Value, each: Held, factor: Held) -> Held:
    (right, scale), (left, fine) = _operand(x, each), x.e.wire(factor)
    right = x.e.reshape(right, (each.shape[0], each.size // each.shape[0]))
    return _matrix(x, value, x.e.reshape(left, (1, *factor.shape)), right, scale + fine)


def _operand(x: Expansion, h: Held) -> tuple[int, int]:
    """(masked value, scale) as its squares were made of it."""
    return x.e.wire(h, min(x.e.scale(h), x.e.plain(h)))


def _matrix(x: Expansion, value: Value, left: int, right: int, scale: int) -> Held:
    """A product at full length: only what it adds up to has to fit the ring."""
    _expect_room(value, value.range, scale)
    shape = (x.e.shape(left)[0], x.e.shape(right)[1])
    product = x.e.emit(gates.MatMul, shape, SHARE, scale=scale, x=left, y=right)
    return x.e.held(value, x.e.reshape(product, value.shape), scale)


def _expect_room(value: Value, range_: Interval, scale: int) -> None:
    if width(range_, scale, most=64) > MAX_WIDTH:
        found = f"clipped gradients within {range_} have no room at the scale that their noise needs"
        raise OpError(found, "choose a smaller `clip` or batch, or smaller `limits`")


def noised(x: Expansion, value: Value, a: Held) -> Held:
    """Before the truncation that makes the update: 0 bytes, in the mask of its opening."""
    op = value.op
    assert isinstance(op, ops.Noised)
    register, scale = x.e.share(a)
    found = noise.in_parts(Fraction(op.deviation) * 2**scale)
    if found is None or width(value.range, scale, most=64) > MAX_WIDTH:
        wide = number(op.deviation)
        raise OpError(f"no noise of deviation {wide} can be drawn here", "choose a smaller `clip` or `noise`")
    numerator, denominator = found
    made = x.e.emit(
        gates.GradientNoise, a.shape, SHARE, scale=scale, numerator=numerator, denominator=denominator, x=register
    )
    return x.e.held(value, made, scale)


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.ClipFactor: clip_factor,
    ops.Clipped: clipped,
    ops.OuterSum: outer_sum,
    ops.FactorSum: factor_sum,
    ops.Noised: noised,
}
