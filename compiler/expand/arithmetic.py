"""Sums, products, matrix products and convolutions. PROTOCOLS section 1 and section 12.

Products of two secrets are made of masked values at their plain scale and stand at twice that scale until they are
truncated; products with a public factor are `factors.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compiler import ops
from compiler.expand.context import Array, Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, PUBLIC, SHARE, WIRE, Held, width
from compiler.expand.factors import Factor, elementwise, times_factor
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.gates import Gate

TERMS, PRODUCTS = 16, 1 << 14
"""Terms of each element of a product, and multiplications in all, from which on it is halved: a bit more on the wire
and its packing cost about as much as a dozen multiplications, and may cost a small comparison a round."""

AHEAD = 32
"""Multiplications for each element that comes and goes, where the product that is saved would be made before a run."""


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


def blend(x: Expansion, value: Value, z: Held, a: Held, b: Held) -> Held:
    """b + z (a - b)."""
    reach = a.range - b.range
    shape = tuple(np.broadcast_shapes(a.shape, b.shape))
    apart = sub(x, typed(value, shape, reach), a, b)
    moved = mul(x, typed(value, value.shape, z.range * reach), z, apart)
    return add(x, value, b, moved)


def by_constant(x: Expansion, value: Value, a: Held, factor: Array) -> Held:
    """a * factor, elementwise with broadcasting."""

    def multiply(register: int, whole: Array, scale: int) -> int:
        return _multiplied(x, x.e.broadcast(register, value.shape) if whole.size == 1 else register, whole, scale)

    return times_factor(x, value, a, elementwise(factor), multiply)


def _multiplied(x: Expansion, register: int, factors: Array, scale: int) -> int:
    """A register times whole numbers, read at a scale."""
    if factors.size == 1:
        return x.e.rescaled(register, scale, int(factors.reshape(-1)[0]))
    shape = np.broadcast_shapes(x.e.shape(register), factors.shape)
    return x.e.emit(gates.Mul, shape, x.e.mode(register), scale=scale, x=register, y=x.e.constant(factors, 0))


def product(
    x: Expansion, value: Value, a: Held, b: Held, cls: type[Gate], fine: int | None = None, **attributes: Any
) -> Held:
    """A bilinear gate of two values of a run, at their plain scales; `fine` is a finer one for b."""
    sa, sb = (min(x.e.scale(h), x.e.plain(h)) for h in (a, b))
    sb = sb if fine is None else fine
    for first, second, s1, s2 in ((a, b, sa, sb), (b, a, sb, sa)):
        public = x.e.existing(second, PUBLIC, s2)
        if public is None:
            continue
        other = x.e.existing(first, PUBLIC, s1)
        other = x.e.share(first, s1)[0] if other is None else other
        left, right = (other, public) if first is a else (public, other)
        out = x.e.emit(cls, value.shape, x.e.mode(other), scale=sa + sb, **attributes, x=left, y=right)
        return x.e.held(value, out, sa + sb)
    left, right = x.e.wire(a, sa)[0], x.e.wire(b, sb)[0]
    half = _half(x, value, (a, left), (b, right), cls, sa + sb) if fine is None else ""
    scale = sa + sb + bool(half)
    attributes |= {"half": half} if half else {}
    out = x.e.emit(cls, value.shape, SHARE, scale=scale, **attributes, x=left, y=right)
    return x.e.held(value, out, scale)


def _half(x: Expansion, value: Value, a: tuple[Held, int], b: tuple[Held, int], cls: type[Gate], scale: int) -> str:
    """Y of a halved product, of two operands with their registers: one that is there from run to run, since what is
    made of it stays too, or the smaller one. Empty where halving is not worth its bit.

    It saves each party a product as large as the plaintext's, and the result is a bit wider.
    """
    if cls not in (gates.MatMul, gates.Conv2d) or width(value.range, scale + 1, most=64) > MAX_WIDTH:
        return ""
    (left, _), (right, _) = a, b
    terms = left.shape[-1] if cls is gates.MatMul else int(np.prod(right.shape[1:]))
    by_name = {"y": b, "x": a}
    name = min(by_name, key=lambda name: (by_name[name][1] in x.e.fresh, by_name[name][0].size))
    results, products = int(np.prod(value.shape)), terms * int(np.prod(value.shape))
    if by_name[name][1] in x.e.fresh:
        return name if terms >= TERMS and products >= PRODUCTS else ""
    return name if products >= AHEAD * (left.size + results) else ""


def square(x: Expansion, value: Value, a: Held) -> Held:
    scale = min(x.e.scale(a), x.e.plain(a))
    register = x.e.emit(gates.Square, value.shape, SHARE, scale=2 * scale, x=x.e.wire(a, scale)[0])
    return x.e.held(value, register, 2 * scale)


def matmul(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """NumPy's matmul: vectors become matrices and the axis is taken away afterwards."""
    rows = _as_matrix(x, a, (1, *a.shape)) if len(a.shape) == 1 else a
    columns = _as_matrix(x, b, (*b.shape, 1)) if len(b.shape) == 1 else b
    full = (*np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2]), rows.shape[-2], columns.shape[-1])
    inner = _like(value, full)
    out = bilinear(x, inner, rows, columns, gates.MatMul)
    return out if full == value.shape else reshaped(x, out, value.shape)


def conv2d(x: Expansion, value: Value, a: Held, w: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Conv2d)
    return bilinear(
        x,
        value,
        a,
        w,
        gates.Conv2d,
        stride=tuple(op.stride),
        padding=tuple(op.padding),
        dilation=tuple(op.dilation),
        groups=op.groups,
    )


def bilinear(x: Expansion, value: Value, a: Held, b: Held, cls: type[Gate], **attributes: Any) -> Held:
    """A matrix product or convolution; with a constant factor it is local."""
    if not (a.constant or b.constant):
        return product(x, value, a, b, cls, **attributes)
    secret, array = (b, a.array) if a.constant else (a, b.array)
    assert array is not None

    def multiply(register: int, whole: Array, scale: int) -> int:
        constant = x.e.constant(whole, 0)
        left, right = (constant, register) if a.constant else (register, constant)
        return x.e.emit(cls, value.shape, x.e.mode(register), scale=scale, **attributes, x=left, y=right)

    terms = a.shape[-1] if cls is gates.MatMul else int(np.prod(b.shape[1:]))
    largest = float(np.abs(array).max(initial=0.0))
    return times_factor(x, value, secret, Factor(array, terms, terms * largest), multiply)


def _as_matrix(x: Expansion, h: Held, shape: tuple[int, ...]) -> Held:
    if h.array is not None:
        return Held(h.kind, shape, h.range, array=h.array.reshape(shape))
    return reshaped(x, h, shape)


def typed(value: Value, shape: tuple[int, ...], range_: Interval) -> Value:
    """A fixed-point value of another shape and range, in the place of `value`."""
    return Value(value.op, (), Kind.FIXED, shape, value.visibility, range_)


def _like(value: Value, shape: tuple[int, ...]) -> Value:
    """The type of a value in another shape."""
    return Value(value.op, value.args, value.kind, shape, value.visibility, value.range)


def reshaped(x: Expansion, h: Held, shape: tuple[int, ...]) -> Held:
    """A view of `h` in another shape."""
    return Held(h.kind, shape, h.range, base=h, view=lambda register: x.e.reshape(register, shape))


def sum_(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Sum)
    total = summed(x, a, op.count(a.shape), lambda register: x.e.sum(register, op.axes), value.shape)
    return Held(value.kind, value.shape, value.range, total.words)


def summed(x: Expansion, a: Held, count: int, add_up: Callable[[int], int], shape: tuple[int, ...]) -> Held:
    """`count` elements added up to one, at the finest scale held at which the total has room."""
    reach = a.range.times(count)
    scale = x.e.scale(a) if width(reach, x.e.scale(a), most=64) <= MAX_WIDTH else x.e.plain(a)
    register, _ = x.e.any(a, scale)
    total = x.e.reshape(add_up(register), shape)
    return Held(a.kind, shape, reach, {(x.e.mode(total), scale): total})


def cumsum(x: Expansion, value: Value, a: Held) -> Held:
    """In steps of 1, 2, 4, …: each takes what stands so far before it."""
    op = value.op
    assert isinstance(op, ops.CumSum)
    n, rank = a.shape[op.axis], len(a.shape)

    def add_up(register: int) -> int:
        step = 1
        while step < n:
            widths = tuple((step if axis == op.axis else 0, 0) for axis in range(rank))
            before = x.e.pad(x.e.slice_axis(register, op.axis, 0, 1, n - step), widths)
            register = x.e.add(register, before)
            step *= 2
        return register

    total = summed(x, a, n, add_up, value.shape)
    return Held(value.kind, value.shape, value.range, total.words)


def mean(x: Expansion, value: Value, a: Held) -> Held:
    """The sum, times 1/n as a constant with a scale of its own."""
    op = value.op
    assert isinstance(op, ops.Mean)
    return _averaged(x, value, a, op.count(a.shape), lambda register: x.e.sum(register, op.axes))


def mean_over(x: Expansion, value: Value, a: Held, *axes: int) -> Held:
    """A mean on the way to `value`, with the axes as 1, at the scale of its product with 1/n."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(a.shape))
    count = int(np.prod([a.shape[axis] for axis in axes]))
    return _averaged(x, typed(value, kept, a.range), a, count, lambda register: x.e.sum(register, axes))


def _averaged(
    x: Expansion, value: Value, a: Held, count: int, add_up: Callable[[int], int], average: Array | None = None
) -> Held:
    """The sum of up to `count` elements, times 1 / count or an `average` of its own for each result.

    Where the sum has no room, its elements are multiplied in pieces.
    """
    average = np.array(1.0 / count) if average is None else average
    if width(a.range.times(count), x.e.plain(a), most=64) <= MAX_WIDTH:
        return by_constant(x, value, summed(x, a, count, add_up, value.shape), average)

    def multiply(register: int, whole: Array, scale: int) -> int:
        return _multiplied(x, x.e.reshape(add_up(register), value.shape), whole, scale)

    return times_factor(x, value, a, Factor(average, count, 1.0), multiply)


def var(x: Expansion, value: Value, a: Held) -> Held:
    """The mean of the squared distances to the mean, which is taken at the scale at which its product stands."""
    op = value.op
    assert isinstance(op, ops.Var)
    count = op.count(a.shape)
    center = mean_over(x, value, a, *op.axes)
    reach = Interval(-a.range.width, a.range.width)
    distance = sub(x, typed(value, a.shape, reach), a, center)
    squared = square(x, typed(value, a.shape, reach.square()), distance)
    return _averaged(x, value, squared, count, lambda register: x.e.sum(register, op.axes))


def avgpool2d(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.AvgPool2d)
    kernel, stride, (h, w) = tuple(op.kernel), tuple(op.stride), op.padding
    padded = (*a.shape[:-2], a.shape[-2] + 2 * h, a.shape[-1] + 2 * w)
    widths = ((0, 0),) * (len(a.shape) - 2) + ((h, h), (w, w))

    def add_up(register: int) -> int:
        mode, scale = x.e.mode(register), x.e.drafts[register].scale
        if h or w:
            register = x.e.emit(gates.Pad, padded, mode, scale=scale, widths=widths, x=register)
        return x.e.emit(gates.WindowSum, value.shape, mode, scale=scale, kernel=kernel, stride=stride, x=register)

    around = Held(a.kind, a.shape, a.range.hull(Interval(0, 0)), a.words, base=a.base, view=a.view)
    return _averaged(x, value, around, kernel[0] * kernel[1], add_up, 1.0 / op.counts(a.shape))


def to_int(x: Expansion, value: Value, a: Held) -> Held:
    return x.e.held(value, x.bits.number(x.e.bit(a)), 0)


def to_fixed(x: Expansion, value: Value, a: Held) -> Held:
    """The same ring elements: a whole number is a fixed-point number at scale 0."""
    return Held(value.kind, value.shape, value.range, dict(a.words), base=a.base, view=a.view)


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Add: add,
    ops.Sub: sub,
    ops.Neg: neg,
    ops.Square: square,
    ops.Blend: blend,
    ops.MatMul: matmul,
    ops.Conv2d: conv2d,
    ops.Sum: sum_,
    ops.CumSum: cumsum,
    ops.Mean: mean,
    ops.Var: var,
    ops.AvgPool2d: avgpool2d,
    ops.ToInt: to_int,
    ops.ToFixed: to_fixed,
}
