"""Reciprocals and quotients by normalisation. PROTOCOLS section 4.2.

The divisor is scaled into [1, 2) by the bits [b >= 2^j], its inverse is looked up, and the same bits scale the product
with the numerator back.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log2

import numpy as np

from compiler import ops
from compiler.expand import arithmetic
from compiler.expand.arithmetic import by_constant
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import CONSTANT, MAX_WIDTH, SHARE, WIRE, Held, width
from compiler.expand.tables import INDEX_BITS, WEIGHT_BITS
from compiler.graph import TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

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
    top = width(b.range, scale) - 2
    signs = Signs(x, x.e.wire(b, scale)[0], lowest_exponent(b.range, scale, top), top, b.range.hi > 0, b.range.lo < 0)
    unit, normal = signs.unit(scale, INDEX_BITS + NORMAL_NODES_LOG)
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
        x=unit,
    )
    return Normal(x.e.open(samples), signs, scale, signs.low, top)


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


def lowest_exponent(range_: Interval, scale: int, top: int) -> int:
    """The least j with 2^j <= |b| for every b but 0."""
    nearest = range_.lo if range_.lo > 0 else -range_.hi if range_.hi < 0 else 0.0
    low = floor(log2(nearest * 2.0**scale * 0.998)) if nearest * 2.0**scale >= 1.1 else 0
    return max(0, min(low, top))


class Signs:
    """The bits [b >= 2^j] (and, for negative b, [b >= 1 - 2^j]) for j = low .. top, as factors of a weighted sum.

    weighted(y, w) = w_e sign(b) y for 2^e <= |b| < 2^(e+1): with t_j = [b >= 2^j], n_j = [b <= -2^j] it is
    sum_j g_j (t_j - n_j) y, g_low = w_low, g_j = w_j - w_(j-1). PROTOCOLS section 4.2.

    below: whether b may lie below 2^low although it has one sign; the weight is then 0.
    """

    def __init__(
        self, x: Expansion, wire: int, low: int, top: int, positive: bool, negative: bool, below: bool = False
    ) -> None:
        self.x, self.wire, self.low, self.top = x, wire, low, top
        self.positive, self.negative = positive, negative
        first = low if (negative and positive) or below else low + 1
        ups = [1 << j for j in range(first, top + 1)] if positive else []
        downs = [1 - (1 << j) for j in range(first, top + 1)] if negative else []
        thresholds = tuple(ups + downs)
        k = min(64, top + 2 + (1 if negative or below else 0))
        flags = x.bits.at_least(wire, thresholds, k) if thresholds else []
        self.up, self.down = flags[: len(ups)], flags[len(ups) :]
        self.first = first

    def unit(self, scale: int, least: int) -> tuple[int, int]:
        """(masked u = |b| 2^-e, its fraction bits, of which there are at least `least`): it lies in [1, 2)."""
        normal = max(self.top, least)
        weights = [2 ** (normal - j) for j in range(self.low, self.top + 1)]
        return self.x.e.open(self.weighted(self.wire, weights, scale)), normal

    def level(self, weights: list[int], scale: int) -> int:
        """Shares of w_e itself, at `scale`, for a b that is not negative."""
        assert self.positive and not self.negative
        x, shape = self.x, self.x.e.shape(self.wire)
        base = x.e.broadcast(x.e.constant(np.array(weights[0] if self.first > self.low else 0), scale), shape)
        if not self.up:
            return x.e.emit(gates.FromPublic, shape, SHARE, scale=scale, x=base)
        numbers = x.bits.number(self._stacked(self.up, shape))
        return x.e.add(self._weighed(numbers, self._steps(weights), scale), base)

    def _steps(self, weights: list[int]) -> list[int]:
        """g_j, from the first bit on."""
        return [w - v for v, w in zip([0, *weights], weights, strict=False)][self.first - self.low :]

    def weighted(self, y: int, weights: list[int], scale: int, shift: int = 0, k: int = 0) -> int:
        """Shares of the weighted sum for a masked y, truncated by `shift` first (then of k signed bits)."""
        x = self.x
        steps = self._steps(weights)
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
        return x.e.truncated(y, shift, k, scale) if shift else x.e.rescaled(x.e.unmask(y), scale, 1)

    def _chosen(self, y: int, flags: list[int], factors: list[int], scale: int, shift: int, k: int) -> int:
        """sum_j factor_j flag_j y, with all the selections as one gate along a new first axis."""
        x, shape = self.x, self.x.e.shape(y)
        chosen = x.bits.select(self._stacked(flags, shape), y, scale, shift, k)
        return self._weighed(chosen, factors, scale)

    def _stacked(self, flags: list[int], shape: tuple[int, ...]) -> int:
        """All the flags along a new first axis."""
        x = self.x
        return x.e.concat([x.e.reshape(x.e.broadcast(flag, shape), (1, *shape)) for flag in flags], 0)

    def _weighed(self, stacked: int, factors: list[int], scale: int) -> int:
        """The sum over the first axis, each element times its factor."""
        x = self.x
        full = x.e.shape(stacked)
        column = np.array(factors, dtype=object).reshape(len(factors), *(1,) * (len(full) - 1))
        words = (column % (1 << 64)).astype(np.uint64).view(np.int64)
        constant = x.e.constant(words, 0)
        scaled = x.e.emit(gates.Mul, full, SHARE, scale=scale, x=stacked, y=constant)
        return x.e.reshape(x.e.sum(scaled, (0,)), full[1:])


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Reciprocal: reciprocal,
    ops.Div: div,
    ops.Mul: mul,
}
