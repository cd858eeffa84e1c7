"""Noise for a private release, whole steps of what is stored, drawn exactly. PROTOCOLS section 10.

    DealerNoise   the dealer draws e from streams of which each party knows one, and takes it for an offset: the parties
                  do nothing, and the next opening (of a truncation), or `Materialize`, carries it
    PartyNoise    each party draws e_i from a key of its own and adds it to its share: each must suffice alone, so that
                  the variance is twice that
    GradientNoise DealerNoise in what a step of training learns, before the update is rounded

The scale is not believed: a plan declares what the noise of a result, or of its training, hides, and `infer` computes
whether it does.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from ..privacy.noise import Law, hides
from ..privacy.samplers import MAX_NUMERATOR, Words, gaussian, laplace
from ..registers import Domain, Form, Register
from .base import Gate, In, Out, Part, low, narrowest, tiles
from .contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_additive, expect_between, expect_domain
from .streams import PURPOSE_NOISE, stream

if TYPE_CHECKING:
    from ..kernels import Prg

SAMPLERS = {"laplace": laplace, "gaussian": gaussian}
DRAWING = 24
"""Words of memory that a sampler takes for an element of a tile at work."""


class Noise(Gate, family=True):
    """y = x + e, for the result that is called so. numerator, denominator: the scale of e, in steps of x."""

    fresh = False
    reveals = False

    made_by: ClassVar[Literal["dealer", "parties"]]

    result_name: str
    law: Law
    numerator: int
    denominator: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_additive(types, self.x)
        t = expect_domain(given.layout(self.x), Domain.WORDS)
        noise = given.result(self.result_name).noise
        expect(noise is not None, f"`{self.result_name}` is declared without noise")
        assert noise is not None
        expect_between("numerator", self.numerator, 1, MAX_NUMERATOR)
        expect_between("denominator", self.denominator, 1, MAX_NUMERATOR)
        declared = noise.law, noise.made_by
        expect(declared == (self.law, self.made_by), f"`{self.result_name}` is declared with other noise")
        steps = (Fraction(noise.sensitivity) + Fraction(noise.rounding)) * Fraction(2) ** types[self.x].scale
        enough = hides(self.law, noise.epsilon, noise.delta, steps, self.numerator, self.denominator)
        expect(enough, f"the noise of `{self.result_name}` is too narrow for what is declared of it")
        return (t,)

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def drawn(self, words: Words, types: Types) -> Array:
        """Noise in the shape of the result, as ring elements."""
        return _drawn(self.law, words, types[self.y], self.numerator, self.denominator)


@dataclass(frozen=True)
class DealerNoise(Noise):
    """The noise is the dealer's: 0 bytes, or those of the `Materialize` behind it."""

    made_by: ClassVar[Literal["dealer", "parties"]] = "dealer"
    protocol: ClassVar[Part | None] = Part("the dealer's noise", "noise in a mask: the parties do nothing")

    result_name: str
    law: Law
    numerator: int
    denominator: int
    x: In
    y: Out

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def is_view(self, types: Types) -> bool:
        return True

    def deal(self, d: DealerContext) -> None:
        offset, noise = d[self.x], self.drawn(_Stream(d.prgs, d.op), d.types)
        d[self.y] = noise if offset is None else low(offset + noise, d.types[self.y].bits)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p[self.x]

    def meaning(self, s: MeaningContext) -> None:
        """The offsets of the dealer's side tell what it has drawn."""
        s[self.y] = s[self.x] + s.mask(self.y) - s.mask(self.x)


@dataclass(frozen=True)
class PartyNoise(Noise):
    """The noise is both parties': 0 bytes."""

    fresh = True
    made_by: ClassVar[Literal["dealer", "parties"]] = "parties"
    protocol: ClassVar[Part | None] = Part("both parties' noise", "each adds noise that suffices alone to its share")

    result_name: str
    law: Law
    numerator: int
    denominator: int
    x: In
    y: Out

    def result(self, out: int, types: Types) -> Form:
        return types[self.x].form

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        tile = max(n for _, n in tiles(types[self.y].size))
        return types[self.y].memory_bytes + 8 * DRAWING * tile

    def deal(self, d: DealerContext) -> None:
        d[self.y] = d[self.x]

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p[self.x] + self.drawn(_Stream((p.own,), p.op), p.types)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x] + sum(self.drawn(_Stream((own,), s.op), s.types) for own in s.owns)


@dataclass(frozen=True)
class GradientNoise(Gate):
    """y = x + e, for what examples whose gradients are clipped have added up to."""

    fresh = False
    reveals = False
    protocol: ClassVar[Part | None] = Part("the dealer's noise", "noise in a mask: the parties do nothing")

    numerator: int
    denominator: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_additive(types, self.x)
        t = expect_domain(given.layout(self.x), Domain.WORDS)
        declared = given.privacy
        expect(declared is not None, "a gradient has noise, but nothing is declared of its privacy")
        assert declared is not None
        expect_between("numerator", self.numerator, 1, MAX_NUMERATOR)
        expect_between("denominator", self.denominator, 1, MAX_NUMERATOR)
        steps = Fraction(declared.sensitivity) * Fraction(2) ** types[self.x].scale
        enough = Fraction(self.numerator, self.denominator) >= Fraction(declared.noise) * steps
        expect(enough, "the noise of a gradient is too narrow for what is declared of training")
        return (t,)

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def is_view(self, types: Types) -> bool:
        return True

    def deal(self, d: DealerContext) -> None:
        offset = d[self.x]
        noise = _drawn("gaussian", _Stream(d.prgs, d.op), d.types[self.y], self.numerator, self.denominator)
        d[self.y] = noise if offset is None else low(offset + noise, d.types[self.y].bits)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p[self.x]

    def meaning(self, s: MeaningContext) -> None:
        """The offsets of the dealer's side tell what it has drawn."""
        s[self.y] = s[self.x] + s.mask(self.y) - s.mask(self.x)


def _drawn(law: Law, words: Words, t: Register, numerator: int, denominator: int) -> Array:
    """Noise in the shape of a register, as its ring elements."""
    noise = np.empty(t.size, np.int64)
    for start, n in tiles(t.size):
        noise[start : start + n] = SAMPLERS[law](words, n, numerator, denominator)
    return low(noise.view(np.uint64).reshape(t.shape), t.bits)


class _Stream:
    """The words of an op's noise: the sum of those of these keys, each word once."""

    def __init__(self, prgs: tuple[Prg, ...], op: int) -> None:
        self._prgs = prgs
        self._pad = stream(PURPOSE_NOISE, op)
        self._next = 0

    def __call__(self, n: int) -> Array:
        first, *others = self._prgs
        words = first.words(self._pad, n, self._next)
        for prg in others:
            prg.add_words(self._pad, words, out=words, start=self._next)
        self._next += n
        return words
