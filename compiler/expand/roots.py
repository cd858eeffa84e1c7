"""Square roots, their inverses and logarithms by normalisation. PROTOCOLS section 4.2.

With b = u 2^(e - scale), u in [1, 2), a root is the root of u, from a table, times that of 2^(e - scale); a logarithm
is a sum. What depends on e is a sum of the bits [b >= 2^j] with public weights: one masked number, opened with u.
Numbers outside the domain give 0 for the roots, and some number for the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from math import log as ln

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.division import Signs, lowest_exponent
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.expand.tables import INDEX_BITS
from compiler.graph import TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

NODES_LOG, POINTS = 4, 6
"""The tables on [1, 2): 16 nodes over [0.625, 2.625), error 2^-17 (PROTOCOLS section 4.1)."""

ENTRY_BITS = 64
"""Products with the table's result need the whole ring."""

ROOT_SCALE = 14
"""Fraction bits of a root's samples and of their weights. The weights sum to exactly 1, so that their rounding counts
only times the differences of neighbours: together they are right to 2^-14."""

LOG_TABLE_SCALE, LOG_WEIGHT_SCALE = 20, 18

MOST_LEVEL_SCALE = 24
"""Fraction bits of a root's power of two, where its range leaves room for them."""


@dataclass(frozen=True)
class Logarithmic:
    """A positive number by the bits that know its exponent: 2^low <= b 2^scale < 2^(top + 1), or what is below."""

    signs: Signs
    scale: int

    @property
    def exponents(self) -> list[int]:
        """e - scale, of each exponent e."""
        return [e - self.scale for e in range(self.signs.low, self.signs.top + 1)]

    def looked_up(self, function: str, table_scale: int, weight_scale: int, nodes_log: int = NODES_LOG) -> int:
        """Shares of a function of u."""
        x = self.signs.x
        unit, normal = self.signs.unit(self.scale, INDEX_BITS + nodes_log)
        return x.e.emit(
            gates.Table,
            x.e.shape(unit),
            SHARE,
            scale=table_scale + weight_scale,
            function=function,
            input_scale=normal,
            origin=-(5 << (normal - 3)),
            nodes_log=nodes_log,
            cell_log=normal + 1 - nodes_log,
            table_scale=table_scale,
            weight_scale=weight_scale,
            points=POINTS,
            index_bits=min(INDEX_BITS, normal + 1 - nodes_log),
            entry_bits=ENTRY_BITS,
            x=unit,
        )


def logarithmic(x: Expansion, b: Held, scale: int) -> Logarithmic:
    """The bits of a number at a scale."""
    top = width(b.range, scale) - 2
    below = b.range.lo * 2.0**scale < 1.1
    wire, _ = x.e.wire(b, scale)
    return Logarithmic(Signs(x, wire, lowest_exponent(b.range, scale, top), top, True, False, below), scale)


def stored(x: Expansion, b: Held) -> Logarithmic:
    """Of the number as it is stored."""
    x.e.wire(b, x.e.plain(b))
    return logarithmic(x, b, max(x.e.plain(b), x.e.frac))


def sqrt(x: Expansion, value: Value, b: Held) -> Held:
    return root(x, value, stored(x, b), "sqrt", 0.5)


def rsqrt(x: Expansion, value: Value, b: Held) -> Held:
    return root(x, value, stored(x, b), "rsqrt", -0.5)


def root(
    x: Expansion,
    value: Value,
    b: Logarithmic,
    function: str,
    power: float,
    factor: float = 1.0,
    fine: int = MOST_LEVEL_SCALE,
) -> Held:
    """factor b^power, as u^power times factor 2^(power (e - scale)), which has up to `fine` fraction bits."""
    reach = factor * max(2.0 ** (power * e) for e in (b.exponents[0], b.exponents[-1] + 1))
    level_scale = min(fine, MAX_WIDTH - 2 - 2 * ROOT_SCALE - max(0, ceil(log2(reach))))
    weights = [round(factor * 2.0 ** (power * e + level_scale)) for e in b.exponents]
    level = x.e.open(b.signs.level(weights, level_scale))
    unit = x.e.open(b.looked_up(function, ROOT_SCALE, ROOT_SCALE))
    scale = 2 * ROOT_SCALE + level_scale
    out = x.e.emit(gates.Mul, value.shape, SHARE, scale=scale, x=unit, y=level)
    within = value.range.intersect(Interval(0.0, reach)) or value.range
    return Held(value.kind, value.shape, within.hull(Interval(0.0, 0.0)), {(SHARE, scale): out})


def log(x: Expansion, value: Value, b: Held) -> Held:
    return logarithm(x, value, stored(x, b))


def logarithm(x: Expansion, value: Value, b: Logarithmic, nodes_log: int = NODES_LOG) -> Held:
    """log(u) + (e - scale) log(2)."""
    scale = LOG_TABLE_SCALE + LOG_WEIGHT_SCALE
    level = b.signs.level([round(ln(2.0) * 2.0**scale * e) for e in b.exponents], scale)
    total = x.e.add(b.looked_up("log", LOG_TABLE_SCALE, LOG_WEIGHT_SCALE, nodes_log), level)
    reach = Interval(min(0.0, b.exponents[0] * ln(2.0)) - 1.0, max(0.0, b.exponents[-1] * ln(2.0)) + 1.0)
    return Held(value.kind, value.shape, value.range.intersect(reach) or value.range, {(SHARE, scale): total})


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Sqrt: sqrt,
    ops.Rsqrt: rsqrt,
    ops.Log: log,
}
