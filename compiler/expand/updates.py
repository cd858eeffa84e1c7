"""The rounding of updates. TRAINING: the sum over a batch keeps all its bits until its only truncation."""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import typed
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import PUBLIC, SHARE, Held, width
from compiler.expand.roots import logarithmic, root
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

ROOT_BITS = 16
"""Fraction bits of an inverse root: those that are right of a root of at most 2^6 (TRAINING section 1.3)."""


def shifted(x: Expansion, value: Value, a: Held) -> Held:
    """One truncation of the finest form that is there, which a momentum has opened already."""
    op = value.op
    assert isinstance(op, ops.Shifted)
    return _cut(x, value, a, op.by, x.e.frac)


def stored(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Stored)
    return _cut(x, value, a, op.by, op.frac)


def squared(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Squared)
    scale = _finest(x, a)
    square = x.e.emit(gates.Square, value.shape, SHARE, scale=2 * scale, x=x.e.wire(a, scale)[0])
    return _cut(x, value, x.e.held(value, square, 2 * scale), 0, op.frac)


def paced(x: Expansion, value: Value, a: Held, pace: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Paced)
    return _cut(x, value, _times_public(x, value, a, pace), op.by, x.e.frac)


def scaled(x: Expansion, value: Value, a: Held, by: Held) -> Held:
    return _cut(x, value, _times_public(x, value, a, by), 0, _finest(x, a))


def _times_public(x: Expansion, value: Value, a: Held, by: Held) -> Held:
    """A public factor multiplies shares, which costs nothing; the product is opened and rounded."""
    scale = _finest(x, a)
    public = x.e.existing(by, PUBLIC, x.e.frac)
    assert public is not None, "a pace is public"
    shares = x.e.share(a, scale)[0]
    product = x.e.emit(gates.Mul, value.shape, SHARE, scale=scale + x.e.frac, x=shares, y=public)
    return x.e.held(typed(value, value.shape, a.range * by.range), product, scale + x.e.frac)


def carried(x: Expansion, value: Value, a: Held, on: Held) -> Held:
    """Times a public 0 or 1, or selected by a bit: nothing is rounded."""
    scale = _finest(x, a)
    if on.kind is Kind.BIT:
        return x.e.held(value, x.bits.select(x.e.bit(on), x.e.wire(a, scale)[0], scale), scale)
    public = x.e.existing(on, PUBLIC, 0)
    assert public is not None, "whether a sum goes on is public"
    product = x.e.emit(gates.Mul, value.shape, SHARE, scale=scale, x=x.e.share(a, scale)[0], y=public)
    return x.e.held(value, product, scale)


def over_root(x: Expansion, value: Value, m: Held, v: Held) -> Held:
    """m times 1 / sqrt(v + eps^2), whose relative error is 2^-10 or a step of ROOT_BITS."""
    op = value.op
    assert isinstance(op, ops.OverRoot)
    scale, fine = _finest(x, v), _finest(x, m)
    least = max(1, round(op.eps**2 * 2.0**scale))
    total = x.e.add(x.e.share(v, scale)[0], x.e.constant(np.array(least), scale))
    within = Interval(least * 2.0**-scale, v.range.hi + least * 2.0**-scale)
    held = Held(v.kind, v.shape, within, {(SHARE, scale): total})
    inverse = typed(value, v.shape, Interval(0.0, (least * 2.0**-scale) ** -0.5))
    factor = root(x, inverse, logarithmic(x, held, scale), "rsqrt", -0.5)
    left, right = x.e.wire(m, fine)[0], x.e.wire(factor, ROOT_BITS)[0]
    product = x.e.emit(gates.Mul, value.shape, SHARE, scale=fine + ROOT_BITS, x=left, y=right)
    return _cut(x, value, x.e.held(value, product, fine + ROOT_BITS), 0, op.frac)


def largest(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """b + [a >= b](a - b), compared to the last bit: the format's bits are too few for second moments."""
    (left, right), scale = x.wires(a, b)
    gap = x.e.sub(left, right)
    bit = x.bits.positive(gap, a.range - b.range, scale, 0, True)
    return x.e.held(value, x.e.add(x.bits.select(bit, gap, scale), right), scale)


def _finest(x: Expansion, a: Held) -> int:
    return max(x.e.scales(a), default=x.e.frac)


def _cut(x: Expansion, value: Value, a: Held, by: int, frac: int) -> Held:
    """Shares of a 2^-by with `frac` fraction bits."""
    scale = _finest(x, a)
    shift = scale + by - frac
    if shift <= 0:
        register = x.e.rescaled(x.e.any(a, scale)[0], frac, 1 << -shift)
        return x.e.held(value, register, frac)
    wire, _ = x.e.wire(a, scale)
    return x.e.held(value, x.e.truncated(wire, shift, width(a.range, scale), frac), frac)


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Shifted: shifted,
    ops.Stored: stored,
    ops.Squared: squared,
    ops.Paced: paced,
    ops.Scaled: scaled,
    ops.Carried: carried,
    ops.OverRoot: over_root,
    ops.Largest: largest,
}
