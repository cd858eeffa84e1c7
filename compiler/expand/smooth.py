"""Smooth functions by shifted sample tables, and softmax. PROTOCOLS section 4.1.

A function is sampled on the part of its domain that the operand's range needs. Where the range goes beyond the table,
two masked bits tell the table from its tails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, inf, isclose, log, log2

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import add, by_constant, sub, typed
from compiler.expand.choice import clipped
from compiler.expand.context import Array, Expansion, Handler, exact_kind
from compiler.expand.division import inverse, normalise
from compiler.expand.emitter import MAX_WIDTH, SHARE, WIRE, Held, width
from compiler.expand.maxima import maximum_along
from compiler.expand.roots import logarithm, logarithmic
from compiler.expand.tables import INDEX_BITS, WEIGHT_BITS
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from compiler.ops.activations import seen
from mpc_runtime import gates

MOST_NODES_LOG = 7
"""Nodes of the largest table, that of the exponential over all that a format holds."""


@dataclass(frozen=True)
class Curve:
    """How a function is sampled.

    cell_log: log2 of the grid step. below, above: where its tails begin, 0 below and `at_above` above, or x itself
    where it `rises`. lift: what is added to the result. table_scale, weight_scale: fraction bits of the samples and of
    the interpolation's weights. sharp: log2 of how far from its place a tail may begin; half a cell without it.
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
    rises: bool = False
    sharp: int | None = None
    index_bits: int = INDEX_BITS

    @property
    def scale(self) -> int:
        """Fraction bits of what is interpolated."""
        return self.table_scale + self.weight_scale

    @property
    def margin(self) -> float:
        """How far a table goes beyond the places at which it is looked up."""
        return (self.points / 2 + 1) * 2.0**self.cell_log

    def nodes_log(self, places: float) -> int:
        """log2 of the nodes of a table for an interval so wide."""
        cells = ceil((places + 2 * self.margin) / 2.0**self.cell_log)
        return max(ceil(log2(cells)), ceil(log2(2 * self.points)))


SIGMOID = Curve("sigmoid", -1, 6, -12.5, 12.5, 1.0, 0.0, 19, 18, 40)
TANH = Curve("lifted_tanh", -2, 6, -6.5, 6.5, 2.0, -1.0, 18, 18, 40)
ERF = Curve("lifted_erf", -2, 6, -3.0, 3.0, 2.0, -1.0, 18, 18, 40)
SOFTPLUS = Curve("softplus", -1, 6, -10.5, 10.5, 0.0, 0.0, 16, 18, 40, rises=True)
GELU = Curve("gelu", -1, 10, -4.5, 4.5, 0.0, 0.0, 17, 18, 40, rises=True)
SILU = Curve("silu", -1, 8, -12.5, 12.5, 0.0, 0.0, 16, 18, 40, rises=True)
MISH = Curve("mish", -1, 10, -12.5, 7.5, 0.0, 0.0, 16, 18, 40, rises=True)
FINER_BITS = 9
"""Bits below the stored precision at which a product with a number may stand, however it is made."""

GENERAL_EXP = Curve("exp", -1, 8, -11.5, inf, 0.0, 0.0, 16, 16, 64)


def sigmoid(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, SIGMOID)


def tanh(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, TANH)


def erf(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, ERF)


def softplus(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, SOFTPLUS)


def gelu(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, GELU)


def silu(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, SILU)


def mish(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, MISH)


def exponential_unit(x: Expansion, value: Value, a: Held) -> Held:
    """above relu(a) + below (exp(min(inner a, 0)) - 1): one bit [a >= 0] for both."""
    op = value.op
    assert isinstance(op, ops.ExponentialUnit)
    if a.range.lo >= 0:
        return _steeper(x, value, a, op.above)
    more = max(0, ceil(log2(max(op.below, 1.0))))
    fine = negative_exp(x.e.frac + more)
    near = a
    if op.inner != 1 and width(a.range * Interval(op.inner, op.inner), x.e.frac + FINER_BITS, most=64) > MAX_WIDTH:
        ends = floor(fine.below / op.inner), 1.0
        near = clipped(x, typed(value, a.shape, a.range.clip(*ends)), a, *ends)
    u = _steeper(x, typed(value, a.shape, near.range * Interval(op.inner, op.inner)), near, op.inner)
    c = replace(fine, cell_log=fine.cell_log - more, above=0.0, at_above=1.0, sharp=_kink(op))
    power = curve(x, typed(value, value.shape, UNIT), u, c, x.e.frac + more)
    register, scale = x.e.share(power)
    falls = Held(a.kind, a.shape, UNIT - Interval(1.0, 1.0), {(SHARE, scale): _shifted(x, register, scale, -1.0)})
    below = typed(value, value.shape, falls.range * Interval(op.below, op.below))
    out = by_constant(x, below, falls, np.array(op.below))
    if a.range.hi <= 0:
        return Held(value.kind, value.shape, value.range, out.words)
    wire, scale = _fine_wire(x, u, c)
    _, above = _tails(x, u, wire, scale, c, u.range.lo < c.below, high_tail=True)
    assert above is not None
    wire, scale = (wire, scale) if op.inner == 1 else x.e.wire(a)
    reach = a.range.clip(0.0, inf)
    positive = x.e.held(typed(value, value.shape, reach), _itself(x, a, wire, scale, above), x.e.frac)
    steep = _steeper(x, typed(value, value.shape, reach * Interval(op.above, op.above)), positive, op.above)
    return add(x, value, steep, out)


def _steeper(x: Expansion, value: Value, a: Held, factor: float) -> Held:
    """a times a number, which may be 1."""
    if factor == 1:
        return a if value.shape == a.shape and value.range == a.range else _seen_as(value, a)
    return by_constant(x, value, a, np.array(factor))


def _seen_as(value: Value, a: Held) -> Held:
    return Held(value.kind, value.shape, value.range, base=a, view=lambda register: register)


def _kink(op: ops.ExponentialUnit) -> int:
    """log2 of how far from 0 the branch may change: they differ by below u^2 / 2 there, and by more where they meet at
    an angle."""
    if not isclose(op.below * op.inner, op.above):
        return -MAX_WIDTH
    return -7 - max(0, ceil(log2(op.below) / 2))


def hardswish(x: Expansion, value: Value, a: Held) -> Held:
    """With c = min(max(a + 3, 0), 6): c (c - 3) / 6, and a - 3 more where a >= 3."""
    if a.range.lo >= 3:
        return _seen_as(value, a)
    wire, scale = x.e.wire(a, x.e.plain(a))
    k = min(64, width(a.range.hull(Interval(-3.0, 3.0)), scale, exact_kind(a)) + 3)
    three = x.e.encoded(np.array(3.0), scale)
    above, beyond = (
        x.bits.select(bit, x.e.add(wire, three, negative=sign < 0), scale)
        for bit, sign in zip(x.bits.at_least(wire, (-3 << scale, 3 << scale), k), (1, -1), strict=True)
    )
    held = Held(a.kind, a.shape, Interval(0.0, 6.0), {(SHARE, scale): x.e.sub(above, beyond)})
    c, _ = x.e.wire(held)
    product = x.e.emit(gates.Mul, value.shape, SHARE, scale=2 * scale, x=c, y=x.e.sub(c, three))
    parabola = Held(a.kind, a.shape, Interval(-2.25, 18.0), {(SHARE, 2 * scale): product})
    low = by_constant(x, typed(value, value.shape, Interval(-0.375, 3.0)), parabola, np.array(1.0 / 6.0))
    high = Held(a.kind, a.shape, Interval(0.0, max(0.0, a.range.hi - 3.0)), {(SHARE, scale): beyond})
    return add(x, value, high, low)


def negative_exp(scale: int) -> Curve:
    """exp(x) for x <= 0 to about 2^-scale: below, it is less than that, and the table's places are an eighth of it."""
    below = min(-11.5, -ceil(2 * scale * log(2.0)) / 2)
    table_scale = scale + 3
    entry_bits = -(-(table_scale + WEIGHT_BITS + 2) // 8) * 8
    return Curve("exp", -1, 8, below, inf, 0.0, 0.0, table_scale, WEIGHT_BITS, entry_bits)


def exp(x: Expansion, value: Value, a: Held) -> Held:
    if a.range.hi <= 0.01:
        return curve(x, value, a, negative_exp(x.e.frac))
    top = log(x.e.precision.limit)
    within = Held(
        a.kind, a.shape, Interval(min(a.range.lo, 0.0), min(a.range.hi, top)), a.words, base=a.base, view=a.view
    )
    return curve(x, value, within, GENERAL_EXP)


def curve(x: Expansion, value: Value, a: Held, c: Curve, out_scale: int | None = None) -> Held:
    """F(a) at the format's scale (or `out_scale`), tails included."""
    out_scale = x.e.frac if out_scale is None else out_scale
    wire, scale = _fine_wire(x, a, c)
    lo, hi = max(a.range.lo, c.below), min(a.range.hi, c.above)
    low_tail, high_tail = a.range.lo < c.below, a.range.hi > c.above
    samples = x.e.emit(
        gates.Table,
        value.shape,
        SHARE,
        scale=c.scale,
        function=c.function,
        input_scale=scale,
        origin=-floor((lo - c.margin) * 2.0**scale),
        nodes_log=c.nodes_log(max(hi, lo) - lo),
        cell_log=scale + c.cell_log,
        table_scale=c.table_scale,
        weight_scale=c.weight_scale,
        points=c.points,
        index_bits=min(c.index_bits, scale + c.cell_log),
        entry_bits=c.entry_bits,
        x=wire,
    )
    top = value.range - Interval(c.lift, c.lift)
    table = x.e.open(samples)
    shift, k = c.scale - out_scale, min(c.entry_bits - 1, width(top, c.scale))
    if not (low_tail or high_tail):
        return _lifted(x, value, x.e.truncated(table, shift, k, out_scale), out_scale, c.lift)
    inside, above = _tails(x, a, wire, scale, c, low_tail, high_tail)
    out = x.bits.select(inside, table, out_scale, shift, k)
    if above is not None and c.rises:
        out = x.e.add(out, x.e.rescaled(_itself(x, a, wire, scale, above), out_scale, 1 << (out_scale - x.e.frac)))
    elif above is not None and c.at_above:
        number = x.bits.number(above)
        out = x.e.add(out, x.e.rescaled(number, out_scale, round(c.at_above * 2.0**out_scale)))
    return _lifted(x, value, out, out_scale, c.lift)


def _lifted(x: Expansion, value: Value, register: int, scale: int, lift: float) -> Held:
    return x.e.held(value, _shifted(x, register, scale, lift) if lift else register, scale)


def _shifted(x: Expansion, register: int, scale: int, by: float) -> int:
    return x.e.add(register, x.e.encoded(np.array(by), scale))


def _itself(x: Expansion, a: Held, wire: int, scale: int, bit: int) -> int:
    """Shares of bit * a at the format's scale."""
    shift = max(0, scale - x.e.frac)
    chosen = x.bits.select(bit, wire, scale - shift, shift, width(a.range, scale))
    return x.e.rescaled(chosen, x.e.frac, 1 << (x.e.frac - scale + shift))


def _fine_wire(x: Expansion, a: Held, c: Curve) -> tuple[int, int]:
    """The masked value at a scale at which a cell has places inside and the domain has room in the ring."""
    scale = x.e.scale(a)
    if scale + c.cell_log + MOST_NODES_LOG > MAX_WIDTH or width(a.range, scale, most=64) > MAX_WIDTH:
        scale = x.e.plain(a)
    x.e.wire(a, scale)
    room = MAX_WIDTH - 1 - width(a.range, 0, most=64)
    return x.e.wire(a, max(scale, min(c.index_bits + 1 - c.cell_log, room)))


def _tails(
    x: Expansion, a: Held, wire: int, scale: int, c: Curve, low_tail: bool, high_tail: bool
) -> tuple[int, int | None]:
    """Masked bits (inside the table, above it), as sharp as the curve needs them."""
    bounds = [b for b, wanted in ((c.below, low_tail), (c.above, high_tail)) if wanted]
    reach = a.range - Interval(min(bounds), max(bounds))
    grain = scale + (c.cell_log - 1 if c.sharp is None else c.sharp)
    k = min(64, width(reach.hull(a.range), scale) + 1)
    thresholds = tuple(round(b * 2.0**scale) for b in bounds)
    flags = x.bits.at_least(wire, thresholds, k, max(0, grain))
    if low_tail and high_tail:
        return x.bits.exclusive(flags[0], flags[1]), flags[1]
    return (flags[0], None) if low_tail else (x.bits.negate(flags[0]), flags[0])


# -- softmax -----------------------------------------------------------------------------------------------------------


UNIT = Interval(0.0, 1.0 + 2.0**-7)
"""Where terms and inverses lie: the table overshoots 1 a little."""

INVERSE_SCALE = 17
"""Fraction bits to which the inverse of the sum is right."""

INVERSE = Curve("reciprocal", -3, 10, -inf, inf, 0.0, 0.0, 19, WEIGHT_BITS, 40, index_bits=13)
"""Of a sum of at least 1: its 10 points are right to 2^-20, and its places to 2^-17."""

TERMS_RELATIVE = 2.0**-15
"""Of a quotient: a quarter of the curve's relative error of 2^-13.3, and the inverse's of 2^-16."""


def softmax(x: Expansion, value: Value, a: Held) -> Held:
    """exp(a - max) / sum: the largest term is 1, so that nothing overflows and the divisor lies in [1, n]."""
    op = value.op
    assert isinstance(op, ops.Softmax)
    terms = _terms(x, value, a, op.axis % len(a.shape), seen(a.shape) if op.causal else None)
    factor, inverse_scale = x.e.wire(_inverse(x, typed(value, terms.total.shape, UNIT), terms))
    scale = terms.scale + inverse_scale
    return x.e.held(value, x.e.emit(gates.Mul, value.shape, SHARE, scale=scale, x=terms.wire, y=factor), scale)


def _inverse(x: Expansion, value: Value, terms: _Terms) -> Held:
    """1 / total: the sum of a few terms is looked up as it is, which takes no comparison; others are scaled first."""
    total = terms.total
    if INVERSE.nodes_log(total.range.width) <= MOST_NODES_LOG:
        return curve(x, value, total, INVERSE, INVERSE_SCALE + 4)
    return inverse(x, value, normalise(x, total, terms.scale), INVERSE_SCALE)


def log_softmax(x: Expansion, value: Value, a: Held) -> Held:
    """a - max - log(sum): the logarithm of a number of at least 1."""
    op = value.op
    assert isinstance(op, ops.LogSoftmax)
    terms = _terms(x, value, a, op.axis % len(a.shape))
    spread = Interval(0.0, log(terms.total.range.hi) + 1.0)
    logged = logarithm(x, typed(value, terms.total.shape, spread), logarithmic(x, terms.total, terms.scale))
    return sub(x, value, terms.gap, logged)


@dataclass(frozen=True)
class _Terms:
    """gap: a - max; wire: exp of it, masked, at a scale; total: its sum, with the axis as 1."""

    gap: Held
    wire: int
    scale: int
    total: Held


def _terms(x: Expansion, value: Value, a: Held, axis: int, counted: Array | None = None) -> _Terms:
    """counted: which elements take part. The others are the least of the range, and their terms 0."""
    n = a.shape[axis]
    wire, scale = x.e.wire(a)
    if counted is not None:
        least = np.where(counted, 0, floor(a.range.lo * 2.0**scale))
        wire = x.e.add(_times(x, wire, counted), x.e.constant(least, scale))
    largest = maximum_along(x, wire, axis, a, scale)
    gap = x.e.sub(wire, x.e.broadcast(largest, a.shape))
    exponent = Held(Kind.FIXED, a.shape, Interval(-a.range.width, 0.0), {(x.e.mode(gap), scale): gap})
    fine = _terms_scale(x.e.frac, n)
    terms = curve(x, typed(value, a.shape, UNIT), exponent, negative_exp(fine), fine)
    wire, _ = x.e.wire(terms, fine)
    if counted is not None:
        wire = _times(x, wire, counted)
    shape = tuple(1 if i == axis else m for i, m in enumerate(a.shape))
    total = Held(Kind.FIXED, shape, Interval(1.0 - 2.0**-8, n), {(WIRE, fine): x.e.sum(wire, (axis,))})
    return _Terms(exponent, wire, fine, total)


def _times(x: Expansion, wire: int, bits: Array) -> int:
    """A masked value times known bits."""
    mask = x.e.constant(bits.astype(np.int64), 0)
    return x.e.emit(gates.Mul, x.e.shape(wire), WIRE, scale=x.e.drafts[wire].scale, x=wire, y=mask)


def _terms_scale(frac: int, n: int) -> int:
    """Fraction bits of the terms, so that what rounding and the tail take from all of them together leaves the bound.

    The bound is 2^-12 or two steps. The quotient's own truncation takes one step, the curve's and the inverse's
    relative errors TERMS_RELATIVE, and each of the other n - 1 terms up to 1.1 units, where the sum is no more than 1.
    """
    left = max(2.0**-12, 2.0 * 2.0**-frac) - 2.0**-frac - TERMS_RELATIVE
    return max(frac, ceil(log2(1.1 * max(1, n - 1) / left)))


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Sigmoid: sigmoid,
    ops.Tanh: tanh,
    ops.Exp: exp,
    ops.Softmax: softmax,
    ops.LogSoftmax: log_softmax,
    ops.Erf: erf,
    ops.Softplus: softplus,
    ops.Gelu: gelu,
    ops.Silu: silu,
    ops.Mish: mish,
    ops.Elu: exponential_unit,
    ops.Celu: exponential_unit,
    ops.Selu: exponential_unit,
    ops.HardSwish: hardswish,
}
