"""Powers with exponents that no products give. PROTOCOLS section 4.2.

With b = u 2^e, u in [1, 2), the power is u^p 2^(p e). What depends on e is a sum of the bits [b >= 2^j] with public
weights, as for roots; u^p is exp(p log(u)), two tables in a row, of which the second spans only [1, 2^|p|) and needs no
tails. For a negative exponent it is (u / 2)^p 2^(p (e + 1)), so that both factors are as fine where they are small.

Where the results reach far, the exponents e fall into groups: large results leave less room for fraction bits, and need
fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from math import ceil, floor, inf, log, log2

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import by_constant, product, typed
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.expand.roots import LOG_TABLE_SCALE, LOG_WEIGHT_SCALE, Logarithmic, logarithm, stored
from compiler.expand.smooth import exp
from compiler.expand.tables import INDEX_BITS
from compiler.graph import TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

FINE_NODES_LOG = 5
"""Of the table of the logarithm, whose error the exponent multiplies: 2^-18."""

EXPONENT_BITS = 16
"""Fraction bits of the exponent beside log(u), which is below 1."""

CELL_LOG, POINTS, MARGIN = -2, 8, 1.25
"""The table of exp on [0, |p| log(2)]: steps of 1/4, and five of them around it for 8 points."""

TABLE_SCALE, WEIGHT_SCALE = 16, 18

MANTISSA_SCALE = 15
"""Fraction bits of u^p, which is at least 1."""

LEVEL_BITS = 14
"""Of a power of two, relative to it, where the result is at least 1."""

SPARE_BITS = 4
"""More of them where there is room: beyond, they only cost."""

GUARD_BITS = 2
"""Bits below the stored precision at which the groups' results are added."""

LOG_SCALE = 26
"""Fraction bits of a logarithm beside a secret exponent."""


def power(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Power)
    p, b = op.exponent, stored(x, a)
    unit = _mantissa(x, b, p)
    levels = [p * (e + (p < 0)) for e in b.exponents]
    top = log2(max(min(value.range.hi, x.e.precision.limit), 1.0))
    parts = []
    for group in _groups([level for level in levels if level <= top], abs(p), top):
        chosen = [round(2.0 ** (level + group.fine)) if level in group.levels else 0 for level in levels]
        level = x.e.open(b.signs.level(chosen, group.fine))
        scale = MANTISSA_SCALE + group.fine
        part = x.e.emit(gates.Mul, value.shape, SHARE, scale=scale, x=unit, y=level)
        parts.append((part, scale, Interval(0.0, 2.0**group.most)))
    if len(parts) == 1:
        (part, scale, range_), *_ = parts
        return Held(value.kind, value.shape, range_.intersect(value.range) or range_, {(SHARE, scale): part})
    out = x.e.frac + GUARD_BITS
    cut = (x.e.at_scale(part, scale, out, width(range_, scale)) for part, scale, range_ in parts)
    return x.e.held(value, reduce(x.e.add, cut), out)


@dataclass(frozen=True)
class _Group:
    """Powers of two that stand at one scale. most: log2 of what their results stay below; fine: their fraction bits."""

    levels: list[float]
    most: float
    fine: int


def _groups(levels: list[float], p: float, top: float) -> Iterator[_Group]:
    """From the largest: each takes as many as have LEVEL_BITS digits, or what is a fraction that small of 1.

    top: log2 of the largest result that has a place. What is beyond it belongs to no group: its result is 0.
    """
    left = sorted(levels)
    while left:
        most = min(top, left[-1] + p) + 1
        fine = min(MAX_WIDTH - 2 - MANTISSA_SCALE - ceil(most), LEVEL_BITS + ceil(p) + SPARE_BITS)
        lowest = -inf if fine >= LEVEL_BITS + p else LEVEL_BITS - fine
        taken = [level for level in left if level >= lowest] or left[-1:]
        yield _Group(taken, most, fine)
        left = left[: -len(taken)]


def _mantissa(x: Expansion, b: Logarithmic, p: float) -> int:
    """The masked u^p, or (u / 2)^p for a negative p: a number from 1 to 2^|p|."""
    scale = LOG_TABLE_SCALE + LOG_WEIGHT_SCALE + EXPONENT_BITS
    factor = round(p * 2.0**EXPONENT_BITS)
    logged = x.e.rescaled(b.looked_up("log", LOG_TABLE_SCALE, LOG_WEIGHT_SCALE, FINE_NODES_LOG), scale, factor)
    if p < 0:
        logged = x.e.add(logged, x.e.encoded(np.array(-p * log(2.0)), scale))
    cells = ceil((abs(p) * log(2.0) + 2 * MARGIN) * 2.0**-CELL_LOG)
    bits = TABLE_SCALE + WEIGHT_SCALE + ceil(abs(p) + 2 * MARGIN / log(2.0)) + 1
    samples = x.e.emit(
        gates.Table,
        x.e.shape(logged),
        SHARE,
        scale=TABLE_SCALE + WEIGHT_SCALE,
        function="exp",
        input_scale=scale,
        origin=-floor(-MARGIN * 2.0**scale),
        nodes_log=max(ceil(log2(cells)), ceil(log2(2 * POINTS))),
        cell_log=scale + CELL_LOG,
        table_scale=TABLE_SCALE,
        weight_scale=WEIGHT_SCALE,
        points=POINTS,
        index_bits=INDEX_BITS,
        entry_bits=-(-bits // 8) * 8,
        x=x.e.open(logged),
    )
    shift = TABLE_SCALE + WEIGHT_SCALE - MANTISSA_SCALE
    k = TABLE_SCALE + WEIGHT_SCALE + ceil(abs(p)) + 2
    return x.e.open(x.e.truncated(x.e.open(samples), shift, k, MANTISSA_SCALE))


def power_of(x: Expansion, value: Value, a: Held, y: Held) -> Held:
    """exp(y log(a))."""
    b = stored(x, a)
    logs = Interval(b.exponents[0] * log(2.0) - 1.0, (b.exponents[-1] + 1) * log(2.0) + 1.0)
    logged = logarithm(x, typed(value, a.shape, logs), b, FINE_NODES_LOG)
    scaled = typed(value, value.shape, y.range * logged.range)
    if y.array is not None:
        return exp(x, value, by_constant(x, scaled, logged, y.array))
    return exp(x, value, product(x, scaled, y, logged, gates.Mul, fine=LOG_SCALE))


HANDLERS: dict[type[TensorOp], Handler] = {ops.Power: power, ops.PowerOf: power_of}
