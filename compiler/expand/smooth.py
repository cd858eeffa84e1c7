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
from compiler.expand.arithmetic import by_constant
from compiler.expand.choice import tournament
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import CONSTANT, MAX_WIDTH, SHARE, WIRE, Held, width
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

WEIGHT_BITS = 18
"""Fraction bits of interpolation weights."""

INDEX_BITS = 12
"""Bits of the place within a cell that choose the interpolation weights: their error is h 2^-13 |F'|."""

MOST_NODES_LOG = 7
"""Nodes of the largest table, that of the exponential over all that a format holds."""


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

    @property
    def scale(self) -> int:
        """Fraction bits of what is interpolated."""
        return self.table_scale + self.weight_scale


SIGMOID = Curve("sigmoid", -1, 6, -12.5, 12.5, 1.0, 0.0, 19, 18, 40)
TANH = Curve("lifted_tanh", -2, 6, -6.5, 6.5, 2.0, -1.0, 18, 18, 40)
GENERAL_EXP = Curve("exp", -1, 8, -11.5, inf, 0.0, 0.0, 16, 16, 64)


def sigmoid(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, SIGMOID)


def tanh(x: Expansion, value: Value, a: Held) -> Held:
    return curve(x, value, a, TANH)


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
    step = 2.0**c.cell_log
    margin = (c.points / 2 + 1) * step
    cells = ceil((max(hi, lo) - lo + 2 * margin) / step)
    nodes_log = max(ceil(log2(cells)), ceil(log2(2 * c.points)))
    samples = x.e.emit(
        gates.Table,
        value.shape,
        SHARE,
        scale=c.scale,
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
    top = value.range - Interval(c.lift, c.lift)
    table = x.e.open(samples)
    shift, k = c.scale - out_scale, min(c.entry_bits - 1, width(top, c.scale))
    if not (low_tail or high_tail):
        return _lifted(x, value, x.e.truncated(table, shift, k, out_scale), out_scale, c.lift)
    inside, above = _tails(x, a, wire, scale, c, low_tail, high_tail)
    out = x.bits.select(inside, table, out_scale, shift, k)
    if above is not None and c.at_above:
        number = x.bits.number(above)
        out = x.e.add(out, x.e.rescaled(number, out_scale, round(c.at_above * 2.0**out_scale)))
    return _lifted(x, value, out, out_scale, c.lift)


def _lifted(x: Expansion, value: Value, register: int, scale: int, lift: float) -> Held:
    if lift:
        register = x.e.add(register, x.e.encoded(np.array(lift), scale))
    return x.e.held(value, register, scale)


def _fine_wire(x: Expansion, a: Held, c: Curve) -> tuple[int, int]:
    """The masked value at a scale at which a cell has places inside and the domain has room in the ring."""
    scale = x.e.scale(a)
    if scale + c.cell_log + MOST_NODES_LOG > MAX_WIDTH or width(a.range, scale, most=64) > MAX_WIDTH:
        scale = x.e.plain(a)
    x.e.wire(a, scale)
    return x.e.wire(a, max(scale, INDEX_BITS + 1 - c.cell_log))


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

LEAST_MANTISSA = 14
"""With fewer, its truncation would bring the relative error near 2^-12."""

NUMERATOR_WIDTH, MOST_NUMERATOR_WIDTH = MAX_WIDTH - 1 - MANTISSA_SCALE, MAX_WIDTH - 1 - LEAST_MANTISSA
"""Signed bits of a numerator that leave room for all, and for the least, of the mantissa."""

QUOTIENT_GUARD = 2
"""Bits below the stored precision at which a quotient is cut."""

GROUP = 12
"""Most exponents that share one cut of a quotient: each costs a bit of every selected word, a cut another gate."""


def mul(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """A product, but a * (1 / b) is the quotient: 1 / b alone would be rounded to the format first."""
    for left, other in ((0, b), (1, a)):
        inverted = value.args[left]
        if isinstance(inverted.op, ops.Reciprocal):
            return quotient(x, value, other, x.held[inverted.args[0]])
    return arithmetic.mul(x, value, a, b)


def _fixed(value: Value, shape: tuple[int, ...], range_: Interval) -> Value:
    """A fixed-point value of another shape and range, in the place of `value`."""
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

    def divided(
        self, y: int, y_scale: int, k: int, reach: Interval, out_scale: int, least_cut: int = 0
    ) -> tuple[int, int]:
        """(shares, scale) of y / 2^(e - scale) for a masked y of k signed bits, right to a step of `out_scale`.

        What is below that step is cut from y before it is multiplied by 2^-e. The finer the result's scale, the more
        exponents share one cut: as many as the result's range leaves room for. reach: that range. least_cut: 1 where y
        stands in a narrow ring, which only a cut can leave.
        """
        x = self.signs.x
        count = self.top - self.low + 1
        group = min(count, GROUP, max(1, MAX_WIDTH + 1 - width(reach, out_scale, most=64)))
        fine = out_scale + group - 1
        total: int | None = None
        for first in range(self.low, self.top + 1, group):
            last = min(first + group - 1, self.top)
            cut = min(k - 1, max(least_cut, y_scale + last - self.scale - fine))
            powers = [fine + self.scale - e - y_scale + cut for e in range(self.low, self.top + 1)]
            weights = [1 << p if first <= self.low + i <= last and p >= 0 else 0 for i, p in enumerate(powers)]
            if any(weights):
                part = self.signs.weighted(y, weights, fine, cut, k)
                total = part if total is None else x.e.add(total, part)
        return x.zeros(x.e.shape(y), fine) if total is None else total, fine


def normalise(x: Expansion, b: Held, scale: int) -> Normal:
    """Scale b into [1, 2) by the bits [b >= 2^j], and look 1/u up. A divisor of 0 gives signs that choose nothing."""
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
        table_scale=TABLE_SCALE - WEIGHT_BITS,
        weight_scale=WEIGHT_BITS,
        points=NORMAL_POINTS,
        index_bits=min(INDEX_BITS, normal + 1 - NORMAL_NODES_LOG),
        entry_bits=TABLE_BITS,
        x=x.e.open(unit),
    )
    return Normal(x.e.open(samples), signs, scale, low, top)


def _divisor(x: Expansion, b: Held) -> Normal:
    """A divisor as it is stored."""
    x.e.wire(b, x.e.plain(b))
    return normalise(x, b, max(x.e.plain(b), x.e.frac))


def reciprocal(x: Expansion, value: Value, b: Held) -> Held:
    """1/b for b of any sign; 0 for b = 0."""
    return inverse(x, value, _divisor(x, b), x.e.frac + QUOTIENT_GUARD)


def inverse(x: Expansion, value: Value, n: Normal, out_scale: int) -> Held:
    """1/b at a scale of at least `out_scale`, right to a step of it."""
    out, fine = n.divided(n.inverse, TABLE_SCALE, TABLE_BITS - 1, value.range, out_scale, least_cut=1)
    return x.e.held(value, out, fine)


def div(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    if b.constant:
        assert b.array is not None
        return by_constant(x, value, a, 1.0 / np.asarray(b.array, np.float64))
    return quotient(x, value, a, b)


def quotient(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    """a / b = (a / u) 2^(scale - e): the product is made before 2^-e, so that nothing is lost where b is large."""
    n = _divisor(x, b)
    least = 2.0 ** (n.low - n.scale)  # of |b|, where it is not 0
    largest = a.range.magnitude / least
    reach = value.range.intersect(Interval(-largest, largest)) or value.range
    out: int | None = None
    for register, scale, range_ in _numerators(x, a):
        mantissa = min(MANTISSA_SCALE, MAX_WIDTH - 1 - width(range_, scale))
        unit = x.e.open(x.e.truncated(n.inverse, TABLE_SCALE - mantissa, TABLE_BITS - 1, mantissa))
        mode = WIRE if x.e.mode(register) == CONSTANT else SHARE
        product_ = x.e.emit(gates.Mul, value.shape, mode, scale=scale + mantissa, x=register, y=unit)
        wire = product_ if mode == WIRE else x.e.open(product_)
        k = width(range_, scale + mantissa)
        part, fine = n.divided(wire, scale + mantissa, k, reach, x.e.frac + QUOTIENT_GUARD)
        out = part if out is None else x.e.add(out, part)
    assert out is not None
    return x.e.held(value, out, fine)


def _numerators(x: Expansion, a: Held) -> list[tuple[int, int, Interval]]:
    """(masked value or constant, scale, range) of the parts of a numerator, which add up to it.

    A numerator leaves a mantissa room beside it, or is cut in two that do.
    """
    if a.array is not None:
        array = np.asarray(a.array, np.float64)
        largest = float(np.abs(array).max(initial=0.0))
        scale = NUMERATOR_WIDTH - 2 - (ceil(log2(largest)) if largest else 0)
        return [(x.e.encoded(array, scale), scale, Interval(-largest, largest))]
    scale = min(x.e.scale(a), x.e.plain(a))
    wire, _ = x.e.wire(a, scale)
    k = width(a.range, scale)
    if k <= MOST_NUMERATOR_WIDTH:
        return [(wire, scale, a.range)]
    cut = k - NUMERATOR_WIDTH
    above = x.e.open(x.e.truncated(wire, cut, k, scale - cut))
    rest = x.e.sub(wire, x.e.rescaled(above, scale, 1 << cut))
    return [(above, scale - cut, a.range), (rest, scale, Interval(-(2.0 ** (cut - scale)), 2.0 ** (cut - scale)))]


def _lowest_exponent(range_: Interval, scale: int, top: int) -> int:
    """The least j with 2^j <= |b| for every b but 0."""
    nearest = range_.lo if range_.lo > 0 else -range_.hi if range_.hi < 0 else 0.0
    low = floor(log2(nearest * 2.0**scale * 0.998)) if nearest * 2.0**scale >= 1.1 else 0
    return max(0, min(low, top))


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
        pairs = [*zip(self.up, steps, strict=False), *zip(self.down, steps, strict=False)]
        flags, factors = [flag for flag, step in pairs if step], [step for _, step in pairs if step]
        if flags:
            part = self._chosen(y, flags, factors, scale, shift, k)
            out = part if out is None else x.e.add(out, part)
        assert out is not None
        return out

    def _plain(self, y: int, scale: int, shift: int, k: int) -> int:
        x = self.x
        return x.e.truncated(y, shift, k, scale) if shift else x.e.unmask(y)

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


UNIT = Interval(0.0, 1.0 + 2.0**-7)
"""Where terms and inverses lie: the table overshoots 1 a little."""

INVERSE_SCALE = 17
"""Fraction bits to which the inverse of the sum is right."""

TERMS_RELATIVE = 2.0**-15
"""Of a quotient: a quarter of the curve's relative error of 2^-13.3, and the inverse's of 2^-16."""


def softmax(x: Expansion, value: Value, a: Held) -> Held:
    """exp(a - max) / sum: the largest term is 1, so that nothing overflows and the divisor lies in [1, n]."""
    op = value.op
    assert isinstance(op, ops.Softmax)
    axis = op.axis % len(a.shape)
    n = a.shape[axis]
    wire, scale = x.e.wire(a)
    largest = tournament(x, wire, axis, a, scale)
    gap = x.e.sub(wire, x.e.broadcast(largest, a.shape))
    exponent = Held(Kind.FIXED, a.shape, Interval(-a.range.width, 0.0), {(x.e.mode(gap), scale): gap})
    fine = _terms_scale(x.e.frac, n)
    terms = curve(x, _fixed(value, a.shape, UNIT), exponent, negative_exp(fine), fine)
    wire, _ = x.e.wire(terms, fine)
    total_shape = tuple(1 if i == axis else m for i, m in enumerate(a.shape))
    total = Held(Kind.FIXED, total_shape, Interval(1.0 - 2.0**-8, n), {(WIRE, fine): x.e.sum(wire, (axis,))})
    inverted = inverse(x, _fixed(value, total_shape, UNIT), normalise(x, total, fine), INVERSE_SCALE)
    factor, inverse_scale = x.e.wire(inverted)
    register = x.e.emit(gates.Mul, value.shape, SHARE, scale=fine + inverse_scale, x=wire, y=factor)
    return x.e.held(value, register, fine + inverse_scale)


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
    ops.Reciprocal: reciprocal,
    ops.Div: div,
    ops.Mul: mul,
    ops.Softmax: softmax,
}
