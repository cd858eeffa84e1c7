"""Smooth functions by shifted sample tables, reciprocals by normalisation. PROTOCOLS section 4.

A function is sampled on the part of its domain that the operand's range needs. Where the range goes beyond the table,
two masked bits tell the table from its tails. The reciprocal first scales its operand into [1, 2) by bits [x >= 2^j].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf, log, log2

import numpy as np

from compiler import ops
from compiler.expand import arithmetic
from compiler.expand.arithmetic import by_constant, product
from compiler.expand.choice import tournament
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, SHARE, WIRE, Held, width
from compiler.graph import Kind, Value
from compiler.interval import Interval
from mpc_runtime import gates

INDEX_BITS = 12
"""Bits of the place within a cell that choose the interpolation weights: their error is h 2^-13 |F'|."""


@dataclass(frozen=True)
class Curve:
    """How a function is sampled.

    cell_log: log2 of the grid step. below, above: where its tails are constant (to 2^-17).
    peak: the largest value that the table holds (after `lift` is added), which fixes its scales.
    """

    function: str
    cell_log: int
    points: int
    below: float
    above: float
    at_above: float
    lift: float
    table_scale: int
    weight_scale: int
    entry_bits: int


SIGMOID = Curve("sigmoid", -1, 6, -12.5, 12.5, 1.0, 0.0, 19, 18, 40)
TANH = Curve("lifted_tanh", -2, 6, -6.5, 6.5, 2.0, -1.0, 18, 18, 40)
EXP = Curve("exp", -1, 8, -11.5, inf, 0.0, 0.0, 19, 18, 40)
GENERAL_EXP = Curve("exp", -1, 8, -11.5, inf, 0.0, 0.0, 16, 16, 64)


def sigmoid(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, SIGMOID)


def tanh(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, TANH)


def exp(x: Expansion, value: Value, a: Held) -> Held:
    return _exponential(x, value, a)


def _exponential(x: Expansion, value: Value, a: Held) -> Held:
    if a.range.hi <= 0.01:
        return curve(x, value, a, EXP)
    top = log(x.e.precision.limit)
    within = Held(
        a.kind, a.shape, Interval(min(a.range.lo, 0.0), min(a.range.hi, top)), a.words, base=a.base, view=a.view
    )
    return curve(x, value, within, GENERAL_EXP)


def curve(x: Expansion, value: Value, a: Held, c: Curve) -> Held:
    """F(a) at the format's scale, tails included."""
    wire, scale = _fine_wire(x, a, INDEX_BITS + 1 - c.cell_log)
    lo, hi = max(a.range.lo, c.below), min(a.range.hi, c.above)
    low_tail, high_tail = a.range.lo < c.below, a.range.hi > c.above
    step = 2.0**c.cell_log
    margin = (c.points / 2 + 1) * step
    cells = ceil((max(hi, lo) - lo + 2 * margin) / step)
    nodes_log = max(ceil(log2(cells)), ceil(log2(2 * c.points)))
    samples = x.e.emit(
        gates.Table,
        value.shape,
        SHARE,
        scale=c.table_scale + c.weight_scale,
        function=c.function,
        input_scale=scale,
        origin=-floor((lo - margin) * 2.0**scale),
        nodes_log=nodes_log,
        cell_log=scale + c.cell_log,
        table_scale=c.table_scale,
        weight_scale=c.weight_scale,
        points=c.points,
        index_bits=min(INDEX_BITS, scale + c.cell_log),
        entry_bits=c.entry_bits,
        x=wire,
    )
    fine = c.table_scale + c.weight_scale
    top = value.range - Interval(c.lift, c.lift)
    table = x.e.open(samples)
    shift, k = fine - x.e.frac, min(c.entry_bits - 1, width(top, fine))
    if not (low_tail or high_tail):
        out = x.e.emit(gates.Truncate, value.shape, SHARE, scale=x.e.frac, shift=shift, width=k, x=table)
        return _lifted(x, value, out, x.e.frac, c.lift)
    inside, above = _tails(x, a, wire, scale, c, low_tail, high_tail)
    out = x.bits.select(inside, table, x.e.frac, shift, k)
    if above is not None and c.at_above:
        number = x.bits.number(above)
        out = x.e.add(out, x.e.scaled(number, round(c.at_above * 2.0**x.e.frac)))
    return _lifted(x, value, out, x.e.frac, c.lift)


def _lifted(x: Expansion, value: Value, register: int, scale: int, lift: float) -> Held:
    if lift:
        register = x.e.add(register, x.e.encoded(np.array(lift), scale))
    return x.e.held(value, register, scale)


def _fine_wire(x: Expansion, a: Held, bits: int) -> tuple[int, int]:
    """The masked value at a scale of at least `bits`, so that a cell has a place inside."""
    scale = x.e.scale(a)
    x.e.wire(a, scale)
    return x.e.wire(a, max(scale, bits))


def _tails(
    x: Expansion, a: Held, wire: int, scale: int, c: Curve, low_tail: bool, high_tail: bool
) -> tuple[int, int | None]:
    """Masked bits (inside the table, above it). They need no finer grain than half a cell."""
    bounds = [b for b, wanted in ((c.below, low_tail), (c.above, high_tail)) if wanted]
    reach = a.range - Interval(min(bounds), max(bounds))
    grain = scale + c.cell_log - 1
    k = min(64, width(reach.hull(a.range), scale) + 1)
    thresholds = tuple(round(b * 2.0**scale) for b in bounds)
    flags = x.bits.at_least(wire, thresholds, k, max(0, grain))
    if low_tail and high_tail:
        return x.bits.exclusive(flags[0], flags[1]), flags[1]
    return (flags[0], None) if low_tail else (x.bits.negate(flags[0]), flags[0])


# -- reciprocal and division -------------------------------------------------------------------------------------------


NORMAL_NODES_LOG, NORMAL_POINTS = 5, 6
"""The table of 1/u on [1, 2): 32 nodes over [0.75, 2.75), error 2^-22 (PROTOCOLS section 4.1)."""

TABLE_BITS, TABLE_SCALE = 48, 40
"""Ring and scale of the samples of 1/u."""

MANTISSA_SCALE = 20
"""Fraction bits of 1/u after its truncation."""


def reciprocal(x: Expansion, value: Value, a: Held) -> Held:
    return inverse(x, value, a)


def div(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    if b.constant:
        assert b.array is not None
        return by_constant(x, value, a, 1.0 / np.asarray(b.array, np.float64))
    return quotient(x, value, a, b)


def mul(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """A product, but a * (1 / b) is the quotient: 1 / b alone would be rounded to the format first."""
    for left, other in ((0, b), (1, a)):
        inverted = value.args[left]
        if isinstance(inverted.op, ops.Reciprocal):
            return quotient(x, value, other, x.held[inverted.args[0]])
    return arithmetic.mul(x, value, a, b)


def _fixed(value: Value, shape: tuple[int, ...], range_: Interval) -> Value:
    return Value(value.op, (), Kind.FIXED, shape, value.visibility, range_)


@dataclass(frozen=True)
class Normal:
    """A divisor b as sign(b) 2^(e - scale) u with u in [1, 2) and 2^e <= |b| < 2^(e+1) in units of 2^-scale.

    inverse: the masked 1/u, at scale 40. signs: the bits that know e and the sign. low, top: the least and greatest e.
    """

    inverse: int
    signs: Signs
    scale: int
    low: int
    top: int

    def weights(self) -> list[int]:
        """2^(top - e) for each e: what 1/u is multiplied by, at a scale of top - scale more bits."""
        return [2 ** (self.top - j) for j in range(self.low, self.top + 1)]


def normalise(x: Expansion, b: Held) -> Normal:
    """Scale b into [1, 2) by the bits [b >= 2^j], and look 1/u up. A divisor of 0 gives signs that choose nothing."""
    scale = max(x.e.plain(b), x.e.frac)
    x.e.wire(b, x.e.plain(b))
    wire, _ = x.e.wire(b, scale)
    top = width(b.range, scale) - 2
    normal = max(top, INDEX_BITS + NORMAL_NODES_LOG)
    low = _lowest_exponent(b.range, scale, top)
    signs = Signs(x, wire, low, top, b.range.hi > 0, b.range.lo < 0)
    unit = signs.weighted(wire, [2 ** (normal - j) for j in range(low, top + 1)], scale)
    samples = x.e.emit(
        gates.Table,
        b.shape,
        SHARE,
        scale=TABLE_SCALE,
        function="reciprocal",
        input_scale=normal,
        origin=-(3 << (normal - 2)),
        nodes_log=NORMAL_NODES_LOG,
        cell_log=normal + 1 - NORMAL_NODES_LOG,
        table_scale=TABLE_SCALE - 18,
        weight_scale=18,
        points=NORMAL_POINTS,
        index_bits=min(INDEX_BITS, normal + 1 - NORMAL_NODES_LOG),
        entry_bits=TABLE_BITS,
        x=x.e.open(unit),
    )
    return Normal(x.e.open(samples), signs, scale, low, top)


def inverse(x: Expansion, value: Value, b: Held) -> Held:
    """1/b for b of any sign; 0 for b = 0."""
    n = normalise(x, b)
    mantissa = min(MANTISSA_SCALE, MAX_WIDTH - 3 - (n.top - n.low))
    out_scale = mantissa + n.top - n.scale
    out = n.signs.weighted(n.inverse, n.weights(), out_scale, TABLE_SCALE - mantissa, TABLE_BITS - 1)
    if out_scale < x.e.frac:
        out, out_scale = x.e.scaled(out, 1 << (x.e.frac - out_scale)), x.e.frac
    return Held(Kind.FIXED, value.shape, value.range, {(x.e.mode(out), out_scale): out})


def quotient(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """a / b = (a / u) 2^(scale - e): the product is made before 2^-e, so that nothing is lost where b is large."""
    n = normalise(x, b)
    sa = x.e.frac if a.constant else min(x.e.scale(a), x.e.plain(a))
    mantissa = min(MANTISSA_SCALE, MAX_WIDTH - 1 - width(a.range, sa))
    shift = TABLE_SCALE - mantissa
    shares = x.e.emit(gates.Truncate, b.shape, SHARE, scale=mantissa, shift=shift, width=TABLE_BITS - 1, x=n.inverse)
    unit = x.e.open(shares)
    if a.array is not None:
        constant = x.e.encoded(np.asarray(a.array, np.float64), sa)
        scaled = x.e.emit(gates.Mul, value.shape, WIRE, scale=sa + mantissa, x=unit, y=constant)
    else:
        held = Held(Kind.FIXED, b.shape, Interval(0.0, 1.0), {(WIRE, mantissa): unit})
        product_ = product(x, _fixed(value, value.shape, a.range), a, held, gates.Mul, fine=mantissa)
        scaled = x.e.wire(product_)[0]
    largest = a.range.magnitude * 2.0 ** (n.scale - n.low)  # |b| is at least 2^low steps, or 0
    reach = value.range.intersect(Interval(-largest, largest)) or value.range
    kept = _kept_bits(reach, sa + n.top - n.scale, mantissa)
    k = width(a.range, sa + mantissa)
    out_scale = sa + kept + n.top - n.scale
    out = n.signs.weighted(scaled, n.weights(), out_scale, mantissa - kept, k)
    if out_scale < x.e.frac:
        out, out_scale = x.e.scaled(out, 1 << (x.e.frac - out_scale)), x.e.frac
    return Held(Kind.FIXED, value.shape, value.range, {(x.e.mode(out), out_scale): out})


def _kept_bits(range_: Interval, scale: int, mantissa: int) -> int:
    """How many of the mantissa's bits the result keeps below `scale` to have room (below 0: low bits of a go)."""
    kept = mantissa
    while kept > -scale and width(range_, scale + kept, most=64) > MAX_WIDTH:
        kept -= 1
    return kept


def _lowest_exponent(range_: Interval, scale: int, top: int) -> int:
    """The least j with 2^j <= |b| for every b but 0; results beyond the format need not be told apart."""
    nearest = range_.lo if range_.lo > 0 else -range_.hi if range_.hi < 0 else 0.0
    low = floor(log2(nearest * 2.0**scale * 0.998)) if nearest * 2.0**scale >= 1.1 else 0
    return max(0, min(low, top), top - (MAX_WIDTH - 3 - 12))


class Signs:
    """The bits [b >= 2^j] (and, for negative b, [b >= 1 - 2^j]) for j = low .. top, as factors of a weighted sum.

    weighted(y, w) = w_e sign(b) y for 2^e <= |b| < 2^(e+1): with t_j = [b >= 2^j], n_j = [b <= -2^j] it is
    sum_j g_j (t_j - n_j) y, g_low = w_low, g_j = w_j - w_(j-1). PROTOCOLS section 4.2.
    """

    def __init__(self, x: Expansion, wire: int, low: int, top: int, positive: bool, negative: bool) -> None:
        self.x, self.low = x, low
        self.positive, self.negative = positive, negative
        first = low if negative and positive else low + 1
        ups = [1 << j for j in range(first, top + 1)] if positive else []
        downs = [1 - (1 << j) for j in range(first, top + 1)] if negative else []
        thresholds = tuple(ups + downs)
        k = min(64, top + 2 + (1 if negative else 0))
        flags = x.bits.at_least(wire, thresholds, k) if thresholds else []
        self.up, self.down = flags[: len(ups)], flags[len(ups) :]
        self.first = first

    def weighted(self, y: int, weights: list[int], scale: int, shift: int = 0, k: int = 0) -> int:
        """Shares of the weighted sum for a masked y, truncated by `shift` first (then of k signed bits)."""
        x = self.x
        steps = [w - v for v, w in zip([0, *weights], weights, strict=False)]
        steps = steps[self.first - self.low :]
        base = 0
        if self.first > self.low:
            base += weights[0] if self.positive else -weights[0]
        base -= sum(steps) if self.down else 0
        out: int | None = None
        if base:
            out = x.e.scaled(self._plain(y, scale, shift, k), base)
        flags, factors = [*self.up, *self.down], [*(steps if self.up else []), *(steps if self.down else [])]
        if flags:
            part = self._chosen(y, flags, factors, scale, shift, k)
            out = part if out is None else x.e.add(out, part)
        assert out is not None
        return out

    def _plain(self, y: int, scale: int, shift: int, k: int) -> int:
        x = self.x
        if not shift:
            return x.e.unmask(y)
        return x.e.emit(gates.Truncate, x.e.shape(y), SHARE, scale=scale, shift=shift, width=k, x=y)

    def _chosen(self, y: int, flags: list[int], factors: list[int], scale: int, shift: int, k: int) -> int:
        """sum_j factor_j flag_j y, with all the selections as one gate along a new first axis."""
        x = self.x
        shape = x.e.shape(y)
        stacked = x.e.concat([x.e.reshape(x.e.broadcast(flag, shape), (1, *shape)) for flag in flags], 0)
        chosen = x.bits.select(stacked, y, scale, shift, k)
        column = np.array(factors, dtype=object).reshape(len(factors), *(1,) * len(shape))
        words = (column % (1 << 64)).astype(np.uint64).view(np.int64)
        constant = x.e.constant(words, 0)
        full = x.e.shape(chosen)
        scaled = x.e.emit(gates.Mul, full, SHARE, scale=scale, x=chosen, y=constant)
        return x.e.reshape(x.e.sum(scaled, (0,)), shape)


# -- softmax -----------------------------------------------------------------------------------------------------------


def softmax(x: Expansion, value: Value, a: Held) -> Held:
    """exp(a - max) / sum: the largest term is 1, so that nothing overflows and the divisor lies in [1, n]."""
    op = value.op
    assert isinstance(op, ops.Softmax)
    axis = op.axis % len(a.shape)
    wire, scale = x.e.wire(a)
    largest = tournament(x, wire, axis, a, scale)
    gap = x.e.sub(wire, x.e.broadcast(largest, a.shape))
    below = Interval(-a.range.width, 0.0)
    exponent = Held(Kind.FIXED, a.shape, below, {(x.e.mode(gap), scale): gap})
    terms = _exponential(x, _fixed(value, a.shape, Interval(0.0, 1.0)), exponent)
    wire, scale = x.e.wire(terms, x.e.frac)
    n = a.shape[axis]
    total_shape = tuple(1 if i == axis else m for i, m in enumerate(a.shape))
    total = Held(Kind.FIXED, total_shape, Interval(1.0 - 2.0**-8, n), {("wire", scale): x.e.sum(wire, (axis,))})
    inverted = inverse(x, _fixed(value, total_shape, Interval(0.0, 1.0 + 2.0**-7)), total)
    return product(x, value, terms, inverted, gates.Mul)


HANDLERS: dict[type, Handler] = {
    ops.Sigmoid: sigmoid,
    ops.Tanh: tanh,
    ops.Exp: exp,
    ops.Reciprocal: reciprocal,
    ops.Div: div,
    ops.Mul: mul,
    ops.Softmax: softmax,
}
