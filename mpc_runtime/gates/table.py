"""Smooth functions by one-time shifted sample tables. PROTOCOLS section 4.1.

c = x + r is public. The dealer, who knows r, shares the samples of F at the grid nodes of the *public* coordinate; the
parties interpolate between the nodes around c with public weights: linear in the shares, no round, no product of
shares. The weights are whole numbers, computed exactly: a unit of disagreement would multiply a uniformly random share.
Tables shifted by a mask: Y. Ishai et al., "On the power of correlated randomness in secure computation", TCC 2013;
their interpolation is PROTOCOLS 4.1's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Out, Part, flat, low
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_between, expect_domain, expect_masked
from .secrets import Samples, Secret
from .streams import PURPOSE_SHARE, stream

if TYPE_CHECKING:
    from ..kernels import Kernels, Prg

SAMPLE_TILE = 1 << 12
"""Elements at a time: a tile of 64-entry tables is about a megabyte."""

DEGREE = 6
"""Degree of the polynomials by which the dealer evaluates F within a cell: their error is below 2^-31 on every curve
that is sampled (a cell is short beside the distance to the nearest pole), far below a table's last place of 2^-22."""


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _erf(x: Array) -> Array:
    found: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return found


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": _sigmoid,
    "lifted_tanh": lambda x: np.tanh(x) + 1.0,
    "exp": lambda x: np.exp(np.minimum(x, 40.0)),
    "reciprocal": lambda x: 1.0 / np.maximum(x, 0.25),
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "lifted_erf": lambda x: 1.0 + _erf(x),
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x * 0.5**0.5)),
    "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
    "sqrt": lambda x: np.sqrt(np.maximum(x, 0.25)),
    "rsqrt": lambda x: np.maximum(x, 0.25) ** -0.5,
    "log": lambda x: np.log(np.maximum(x, 0.25)),
}


ENTRY_BITS = (32, 40, 48, 56, 64)
LIMITS = (
    ("input_scale", 0, 63),
    ("origin", -(1 << 63), 1 << 63),
    ("nodes_log", 1, 10),
    ("cell_log", 0, 63),
    ("table_scale", -62, 62),
    ("weight_scale", 1, 40),
    ("points", 2, 16),
    ("index_bits", 0, 15),
)
"""Attributes of a table, with the least and the most that the kernels have room for and the dealer has time for."""


@dataclass(frozen=True)
class Table(Gate):
    """y = F(x) at scale table_scale + weight_scale, for x in its domain.

    The domain is [-origin, -origin + 2^(nodes_log + cell_log)) in units of 2^-input_scale, with points/2 cells of
    margin at either end. entry_bits bounds the ring of the result.
    """

    fresh = True
    reveals = False
    elementwise = True
    flattens = True
    protocol = Part("sample table", "a function as a table of samples, looked up at a masked place")

    function: str
    input_scale: int
    origin: int
    nodes_log: int
    cell_log: int
    table_scale: int
    weight_scale: int
    points: int
    index_bits: int
    entry_bits: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        expect(self.function in FUNCTIONS, f"there is no function {self.function!r}")
        expect(self.entry_bits in ENTRY_BITS, f"entry_bits: expected one of {ENTRY_BITS}, found {self.entry_bits}")
        for name, low_, high in LIMITS:
            expect_between(name, getattr(self, name), low_, high)
        expect_between("bits of the domain", self.nodes_log + self.cell_log, 1, 64)
        expect(self.points % 2 == 0 and self.points <= 1 << self.nodes_log, f"no stencil of {self.points} points")
        return (Layout(x.shape, scale=self.table_scale + self.weight_scale),)

    def demand(self, register: int, types: Types) -> int:
        return self.nodes_log + self.cell_log

    def most_bits(self, most: Mapping[int, int]) -> int:
        return self.entry_bits

    @property
    def samples(self) -> Samples:
        return Samples(1 << self.nodes_log, self.entry_bits)

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        return (self.samples,)

    def coordinate(self, a: Array) -> Array:
        """The element's place in the domain, which starts at 0."""
        return low(flat(a) + np.uint64(self.origin % (1 << 64)), 64)

    def coefficients(self) -> Array:
        """Polynomials of 2^table_scale F on each cell, [cells, DEGREE + 1], in the place within the cell."""
        return _coefficients(
            self.function,
            self.input_scale,
            self.origin,
            self.nodes_log,
            self.cell_log,
            self.table_scale,
            self.entry_bits,
        )

    def _tiles(self, n: int) -> list[tuple[int, int]]:
        return [(start, min(SAMPLE_TILE, n - start)) for start in range(0, n, SAMPLE_TILE)]

    def _deal(self, k: Kernels, prg: Prg, op: int, r: Array, start: int, packed: Array) -> None:
        """r is the mask of the coordinate itself: the origin is public and cancels."""
        offset = start * (self.entry_bits // 8) << self.nodes_log
        k.table_deal(
            r,
            self.nodes_log,
            self.cell_log,
            self.coefficients(),
            self.entry_bits,
            prg,
            stream(PURPOSE_SHARE, op),
            packed,
            offset,
        )

    def _eval(self, k: Kernels, prg: Prg, op: int, c: Array, start: int, packed: Array | None) -> Array:
        weights = k.stencil_weights(self.points, self.weight_scale, self.index_bits)
        offset = start * (self.entry_bits // 8) << self.nodes_log
        return k.table_eval(
            c,
            self.nodes_log,
            self.cell_log,
            weights,
            self.entry_bits,
            packed,
            prg,
            stream(PURPOSE_SHARE, op),
            offset,
        )

    def deal(self, d: DealerContext) -> None:
        r = flat(d.mask(self.x))
        seeded = d.prgs[1 - d.receiver]
        for start, n in self._tiles(r.size):
            packed = d.room(self.samples.size(n))
            self._deal(d.kernels, seeded, d.op, r[start : start + n], start, packed)
            d.send(packed)
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        c = self.coordinate(p[self.x])
        out = np.empty_like(c)
        for start, n in self._tiles(c.size):
            packed = None if p.seeded else p.secret(0, start, n)
            out[start : start + n] = self._eval(p.kernels, p.prg, p.op, c[start : start + n], start, packed)
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        r = flat(s.mask(self.x))
        c = self.coordinate(s[self.x] + s.mask(self.x))
        any_prg = s.kernels.Prg(bytes(16))
        packed = np.empty(self.samples.size(r.size), np.uint8)
        self._deal(s.kernels, any_prg, 0, r, 0, packed)
        value = self._eval(s.kernels, any_prg, 0, c, 0, packed) + self._eval(s.kernels, any_prg, 0, c, 0, None)
        s[self.y] = value.reshape(s.types[self.y].shape)

    def result(self, out: int, types: Types) -> Form:
        return Form.SHARED


@cache
def _coefficients(
    function: str, input_scale: int, origin: int, nodes_log: int, cell_log: int, table_scale: int, entry_bits: int
) -> Array:
    nodes = 0.5 - 0.5 * np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    cells = np.arange(1 << nodes_log)
    place = (cells[:, None] + nodes) * 2.0**cell_log - origin
    limit = 2.0 ** (entry_bits - 2)
    values = np.clip(FUNCTIONS[function](place * 2.0**-input_scale) * 2.0**table_scale, -limit, limit)
    return np.ascontiguousarray(np.linalg.solve(np.vander(nodes, increasing=True), values.T).T)
