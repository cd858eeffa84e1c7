"""Sums, products, matrix products and convolutions. PROTOCOLS section 1 and section 12.

Products of two secrets are made of masked values at their plain scale and stand at twice that scale until they are truncated;
a public factor is encoded with as many fraction bits as the range leaves, so that `x * 0.001` is as exact as `x * 1`.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any

import numpy as np

from compiler import ops
from compiler.expand.context import Array, Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, PUBLIC, SHARE, WIRE, Held, width
from compiler.graph import Kind, Value
from compiler.interval import Interval
from mpc_runtime import gates
from mpc_runtime.gates import Gate

GUARD_BITS = 3
"""Bits by which a constant factor's rounding stays below one step of the result."""

MAX_FACTOR_SCALE = 40
"""No constant is encoded finer than this: its error is far below anything else."""


def add(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return _sum(x, value, a, b, negative=False)


def sub(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    return _sum(x, value, a, b, negative=True)


def _sum(x: Expansion, value: Value, a: Held, b: Held, negative: bool) -> Held:
    secret = [h for h in (a, b) if not h.constant]
    scale = x.common_scale(*secret, Held(value.kind, value.shape, value.range, array=np.zeros(())))
    masked = all(x.e.has(h, WIRE, scale) or x.e.has(h, PUBLIC, scale) for h in secret)
    prefer = WIRE if masked else SHARE
    register = x.e.add(x.operand(a, scale, prefer), x.operand(b, scale, prefer), negative)
    return x.e.held(value, register, scale)


def neg(x: Expansion, value: Value, a: Held) -> Held:
    register, scale = x.e.any(a)
    return x.e.held(value, x.e.scaled(register, -1), scale)


def mul(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    if a.constant or b.constant:
        secret, array = (b, a.array) if a.constant else (a, b.array)
        assert array is not None
        return by_constant(x, value, secret, array)
    return product(x, value, a, b, gates.Mul)


def by_constant(x: Expansion, value: Value, a: Held, factor: Array) -> Held:
    """a * factor, elementwise with broadcasting."""
    whole, g, scale = encoded_factor(x, a, factor, 1, value.range)
    if whole.size == 1 and value.shape == a.shape:
        register, _ = x.e.any(a, scale)
        return x.e.held(value, x.e.scaled(register, int(whole.reshape(-1)[0])), scale + g)
    register, _ = x.e.any(a, scale)
    constant = x.e.constant(whole, g)
    out = x.e.emit(gates.Mul, value.shape, x.e.mode(register), scale=scale + g, x=register, y=constant)
    return x.e.held(value, out, scale + g)


def encoded_factor(x: Expansion, a: Held, factor: Array, terms: int, result: Interval) -> tuple[Array, int, int]:
    """(whole numbers, their fraction bits, scale of the other operand) for a public factor of `a`.

    terms: how many products one result sums. The error of the encoding stays below a step of the result if the range leaves
    room; the other operand is truncated first if it must be.
    """
    if factor.dtype.kind in "ib":
        return np.asarray(factor, np.int64), 0, x.e.scale(a)
    exact = next((g for g in range(25) if np.array_equal(np.rint(factor * 2.0**g), factor * 2.0**g)), None)
    magnitude = max(1.0, min(a.range.magnitude, x.e.precision.limit) * terms)
    needed = exact if exact is not None else x.e.frac + GUARD_BITS + ceil(log2(magnitude))
    for scale in dict.fromkeys((x.e.scale(a), x.e.plain(a))):
        room = MAX_WIDTH - width(result, scale) - 1
        largest = float(np.abs(factor).max(initial=0.0))
        room = min(room, MAX_FACTOR_SCALE, 61 - max(0, ceil(log2(largest)) if largest > 0 else 0))
        if room >= needed or scale == x.e.plain(a):
            g = max(0, min(needed, room))
            return np.rint(factor * 2.0**g).astype(np.int64), g, scale
    raise AssertionError("the plain scale is always tried")


def product(x: Expansion, value: Value, a: Held, b: Held, cls: type[Gate], **attributes: Any) -> Held:
    """A bilinear gate of two values of a run."""
    sa, sb = (min(x.e.scale(h), x.e.plain(h)) if x.e.scale(h) <= x.e.plain(h) else x.e.plain(h) for h in (a, b))
    for first, second, s1, s2 in ((a, b, sa, sb), (b, a, sb, sa)):
        if x.e.has(second, PUBLIC, s2):
            public = x.e._existing(second, PUBLIC, s2)
            other = x.e._existing(first, PUBLIC, s1) if x.e.has(first, PUBLIC, s1) else x.e.share(first, s1)[0]
            left, right = (other, public) if first is a else (public, other)
            assert left is not None and right is not None and other is not None
            mode = x.e.mode(other)
            out = x.e.emit(cls, value.shape, mode, scale=sa + sb, **attributes, **_operands(left, right))
            return x.e.held(value, out, sa + sb)
    left, right = x.e.wire(a, sa)[0], x.e.wire(b, sb)[0]
    out = x.e.emit(cls, value.shape, SHARE, scale=sa + sb, **attributes, **_operands(left, right))
    return x.e.held(value, out, sa + sb)


def _operands(left: int, right: int) -> dict[str, int]:
    return {"x": left, "y": right}


def square(x: Expansion, value: Value, a: Held) -> Held:
    scale = min(x.e.scale(a), x.e.plain(a)) if x.e.scale(a) <= x.e.plain(a) else x.e.plain(a)
    register = x.e.emit(gates.Square, value.shape, SHARE, scale=2 * scale, x=x.e.wire(a, scale)[0])
    return x.e.held(value, register, 2 * scale)


def matmul(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """NumPy's matmul: vectors become matrices and the axis is taken away afterwards."""
    rows = _as_matrix(x, a, (1, *a.shape)) if len(a.shape) == 1 else a
    columns = _as_matrix(x, b, (*b.shape, 1)) if len(b.shape) == 1 else b
    full = (*np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2]), rows.shape[-2], columns.shape[-1])
    inner = _like(value, full)
    out = _bilinear(x, inner, rows, columns, rows.shape[-1], gates.MatMul)
    return out if full == value.shape else reshaped(x, out, value.shape)


def conv2d(x: Expansion, value: Value, a: Held, w: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Conv2d)
    terms = int(np.prod(w.shape[1:]))
    return _bilinear(
        x,
        value,
        a,
        w,
        terms,
        gates.Conv2d,
        stride=tuple(op.stride),
        padding=tuple(op.padding),
        dilation=tuple(op.dilation),
        groups=op.groups,
    )


def _bilinear(
    x: Expansion, value: Value, a: Held, b: Held, terms: int, cls: type[Gate], **attributes: Any
) -> Held:
    if not (a.constant or b.constant):
        return product(x, value, a, b, cls, **attributes)
    secret, array = (b, a.array) if a.constant else (a, b.array)
    assert array is not None
    whole, g, scale = encoded_factor(x, secret, array, terms, value.range)
    register, _ = x.e.any(secret, scale)
    constant = x.e.constant(whole, g)
    left, right = (constant, register) if a.constant else (register, constant)
    out = x.e.emit(cls, value.shape, x.e.mode(register), scale=scale + g, **attributes, **_operands(left, right))
    return x.e.held(value, out, scale + g)


def _as_matrix(x: Expansion, h: Held, shape: tuple[int, ...]) -> Held:
    if h.array is not None:
        return Held(h.kind, shape, h.range, array=h.array.reshape(shape))
    return reshaped(x, h, shape)


def _like(value: Value, shape: tuple[int, ...]) -> Value:
    """The type of a value in another shape."""
    return Value(value.op, value.args, value.kind, shape, value.visibility, value.range)


def reshaped(x: Expansion, h: Held, shape: tuple[int, ...]) -> Held:
    """A view of `h` in another shape."""
    return Held(h.kind, shape, h.range, base=h, view=lambda register: x.e.reshape(register, shape))


def sum_(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Sum)
    register, scale = x.e.any(a)
    return x.e.held(value, x.e.reshape(x.e.sum(register, op.axes), value.shape), scale)


def mean(x: Expansion, value: Value, a: Held) -> Held:
    """The sum, times 1/n as a constant with a scale of its own."""
    op = value.op
    assert isinstance(op, ops.Mean)
    count = op.count(a.shape)
    register, scale = x.e.any(a)
    total = Held(a.kind, value.shape, a.range * Interval(count, count))
    summed = x.e.reshape(x.e.sum(register, op.axes), value.shape)
    total.words[x.e.mode(summed), scale] = summed
    return by_constant(x, value, total, np.float64(1.0 / count).reshape(()))


def avgpool2d(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.AvgPool2d)
    register, scale = x.e.any(a)
    h, w = op.padding
    if h or w:
        shape = (*a.shape[:-2], a.shape[-2] + 2 * h, a.shape[-1] + 2 * w)
        widths = ((0, 0),) * (len(a.shape) - 2) + ((h, h), (w, w))
        register = x.e.emit(gates.Pad, shape, x.e.mode(register), scale=scale, widths=widths, x=register)
    count = op.kernel[0] * op.kernel[1]
    summed = x.e.emit(
        gates.WindowSum,
        value.shape,
        x.e.mode(register),
        scale=scale,
        kernel=tuple(op.kernel),
        stride=tuple(op.stride),
        x=register,
    )
    total = Held(a.kind, value.shape, a.range.hull(Interval(0, 0)) * Interval(count, count))
    total.words[x.e.mode(summed), scale] = summed
    return by_constant(x, value, total, np.float64(1.0 / count).reshape(()))


def to_int(x: Expansion, value: Value, a: Held) -> Held:
    return x.e.held(value, x.bits.number(x.e.bit(a)), 0)


def to_fixed(x: Expansion, value: Value, a: Held) -> Held:
    """The same ring elements: a whole number is a fixed-point number at scale 0."""
    return Held(value.kind, value.shape, value.range, dict(a.words), base=a.base, view=a.view)


HANDLERS: dict[type, Handler] = {
    ops.Add: add,
    ops.Sub: sub,
    ops.Neg: neg,
    ops.Mul: mul,
    ops.Square: square,
    ops.MatMul: matmul,
    ops.Conv2d: conv2d,
    ops.Sum: sum_,
    ops.Mean: mean,
    ops.AvgPool2d: avgpool2d,
    ops.ToInt: to_int,
    ops.ToFixed: to_fixed,
}
