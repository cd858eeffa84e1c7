"""The rounding of updates. TRAINING: the sum over a batch keeps all its bits until its only truncation."""

from __future__ import annotations

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import Held, width
from compiler.graph import TensorOp, Value


def shifted(x: Expansion, value: Value, a: Held) -> Held:
    """One truncation of the finest form that is there, which a momentum has opened already."""
    op = value.op
    assert isinstance(op, ops.Shifted)
    return _cut(x, value, a, op.by, x.e.frac)


def stored(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Stored)
    return _cut(x, value, a, 0, op.frac)


def _cut(x: Expansion, value: Value, a: Held, by: int, frac: int) -> Held:
    """Shares of a 2^-by with `frac` fraction bits."""
    scale = max(x.e.scales(a), default=x.e.frac)
    shift = scale + by - frac
    if shift <= 0:
        register = x.e.rescaled(x.e.any(a, scale)[0], frac, 1 << -shift)
        return x.e.held(value, register, frac)
    wire, _ = x.e.wire(a, scale)
    return x.e.held(value, x.e.truncated(wire, shift, width(a.range, scale), frac), frac)


HANDLERS: dict[type[TensorOp], Handler] = {ops.Shifted: shifted, ops.Stored: stored}
