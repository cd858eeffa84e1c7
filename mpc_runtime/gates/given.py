"""Values that are given: by a role, in shares or in clear, and by the plan. PROTOCOLS section 7."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..registers import Domain, Form
from .base import Gate, Out, Owners, Revelation
from .contexts import DealerContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect


@dataclass(frozen=True)
class Input(Gate):
    """A value that a role shares (or, `public`, shows to both parties)."""

    fresh = False
    reveals = True

    feed: str
    public: bool
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        feed, bits = given.feed(self.feed), types[self.y].bits
        expect(
            feed.public is self.public, f"`{self.feed}` is {_seen(feed.public)} to its owner, {_seen(self.public)} here"
        )
        expect(feed.bits == bits, f"`{self.feed}` is shared in {feed.bits} bits and held in {bits}")
        return (Layout(feed.shape, feed.domain, feed.scale),)

    def result(self, out: int, types: Types) -> Form:
        return Form.PUBLIC if self.public else Form.SHARED

    @property
    def feeds(self) -> tuple[str, ...]:
        return (self.feed,)

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        if not self.public:
            return ()
        role, what = owners[self.feed]
        return (Revelation(f"`{what}` of {role} is public: p0 and p1 see it"),)

    def deal(self, d: DealerContext) -> None:
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p.feed(self.feed)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s.feed(self.feed)


@dataclass(frozen=True)
class Constant(Gate):
    """A public array of the plan, as ring elements. Machines hold constants from the start: nothing is evaluated."""

    fresh = False
    reveals = False

    index: int
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        array = given.constant(self.index)
        return (Layout(array.shape, Domain.WORDS if array.dtype == np.uint64 else Domain.BITS, None),)

    def result(self, out: int, types: Types) -> Form:
        return Form.CONSTANT

    def deal(self, d: DealerContext) -> None:
        d[self.y] = None

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s.constant(self.index)


def _seen(public: bool) -> str:
    return "public" if public else "secret"
