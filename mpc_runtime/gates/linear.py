"""Sums of tensors with public coefficients, and tensors joined: local at the parties and at the dealer.

Each term is a share, a masked value, a mask or an offset; only a public summand is treated apart (party 0 adds it to
shares, both parties to a masked value, the dealer to nothing). PROTOCOLS section 0, "Who knows a public number". Linear
functions of one tensor are in `maps.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Ins, Out, narrowest, spread
from .contexts import Array, DealerContext, MaskContext, MeaningContext, PartyContext, Types
from .rows import Batch, expect_apart, stride_of
from .rules import Declared, Layout, broadcast, expect, expect_between, expect_domain, joined


@dataclass(frozen=True)
class Concat(Gate):
    """Registers of one form, joined along an axis."""

    fresh = True
    reveals = False

    axis: int
    xs: Ins
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect(bool(self.xs), "nothing to join")
        forms = {types[x].form for x in self.xs}
        alike = all(f.additive for f in forms) or all(f.masked for f in forms) or len(forms) == 1
        expect(alike, "expected operands of one form")
        return (joined([expect_domain(given.layout(x), Domain.WORDS, Domain.BITS) for x in self.xs], self.axis),)

    def result(self, out: int, types: Types) -> Form:
        return joint_form(types, self.xs)

    def wants_mask(self, register: int, types: Types) -> bool:
        return types[self.y].form is Form.WIRE

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def rows(self, batch: Batch) -> int:
        places = {batch.place(x) for x in self.xs if x in batch.strides}
        expect_apart(len(places) == 1)
        ((axis, each),) = places
        expect_apart(axis != self.axis)
        for x in self.xs:
            if x not in batch.strides:
                batch.expect_uniform(x, axis)
        return stride_of(batch.types[self.y].shape, axis, each)

    def deal(self, d: DealerContext) -> None:
        parts = [d[x] for x in self.xs]
        if all(part is None for part in parts):
            d[self.y] = None
            return
        t = d.types[self.y]
        kind = np.uint64 if t.domain is Domain.WORDS else np.uint8
        full = [np.zeros(d.types[x].shape, kind) if a is None else a for x, a in zip(self.xs, parts, strict=True)]
        d[self.y] = np.concatenate(full, axis=self.axis)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = np.concatenate([p[x] for x in self.xs], axis=self.axis)

    def mask(self, p: MaskContext) -> Array:
        return np.concatenate([p.mask(x) for x in self.xs], axis=self.axis)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = np.concatenate([s[x] for x in self.xs], axis=self.axis)


@dataclass(frozen=True)
class Lift(Gate):
    """Shares as one vector, each register's in C order and times 2^by: what is known of them mod 2^m is then known mod
    2^(m + by)."""

    fresh = True
    reveals = False

    by: tuple[int, ...]
    xs: Ins
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect(0 < len(self.xs) == len(self.by), f"{len(self.xs)} operands and {len(self.by)} powers of two")
        for power in self.by:
            expect_between("by", power, 0, 63)
        layouts = [expect_domain(given.layout(x), Domain.WORDS) for x in self.xs]
        expect(all(types[x].form.additive for x in self.xs), "expected shares")
        return (Layout((sum(prod(x.shape) for x in layouts),), scale=None),)

    def result(self, out: int, types: Types) -> Form:
        return joint_form(types, self.xs)

    def demand(self, register: int, types: Types) -> int:
        least = min(power for x, power in zip(self.xs, self.by, strict=True) if x == register)
        return max(1, types[self.y].bits - least)

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def most_bits(self, most: Mapping[int, int]) -> int:
        known = zip(self.xs, self.by, strict=True)
        return min(64, *(most[x] + power if x in most else 64 for x, power in known))

    def lifted(self, parts: Iterable[Array]) -> Array:
        vectors = [x.reshape(-1) for x in parts]
        y = np.concatenate(vectors)
        y <<= _spread(self.by, tuple(x.size for x in vectors))
        return y

    def deal(self, d: DealerContext) -> None:
        parts = [d[x] for x in self.xs]
        if all(part is None for part in parts):
            d[self.y] = None
            return
        shapes = (d.types[x].shape for x in self.xs)
        full = [np.zeros(shape, np.uint64) if a is None else a for shape, a in zip(shapes, parts, strict=True)]
        d[self.y] = self.lifted(full)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = self.lifted(p[x] for x in self.xs)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = self.lifted(s[x] for x in self.xs)


@lru_cache(maxsize=64)
def _spread(by: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """The power of two of each element."""
    return np.repeat(np.array(by, np.uint64), sizes)


@dataclass(frozen=True)
class Add(Gate):
    """x + y or, `negative`, x - y, with NumPy's broadcasting. Both additive or both masked; either may be public."""

    fresh = True
    reveals = False
    elementwise = True

    negative: bool
    x: In
    y: In
    z: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        x, y = (expect_domain(given.layout(r), Domain.WORDS) for r in (self.x, self.y))
        scale = types[self.x].scale
        expect(scale == types[self.y].scale, f"a sum at scales {scale} and {types[self.y].scale}")
        return (Layout(broadcast(x.shape, y.shape), scale=scale),)

    def combine(self, a: Array, b: Array) -> Array:
        z: Array = a - b if self.negative else a + b
        return z

    def result(self, out: int, types: Types) -> Form:
        return joint_form(types, (self.x, self.y))

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def wants_mask(self, register: int, types: Types) -> bool:
        return types[self.z].form is Form.WIRE and types[register].form.masked

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def deal(self, d: DealerContext) -> None:
        shape = d.types[self.z].shape
        a, b = d[self.x], d[self.y]
        if a is not None and b is not None:
            d[self.z] = self.combine(a, b)
        elif b is not None:
            d[self.z] = spread(-b if self.negative else b, shape)
        else:
            d[self.z] = None if a is None else spread(a, shape)

    def evaluate(self, p: PartyContext) -> None:
        a, b = terms(p, self.z, (self.x, self.y))
        if p.may_overwrite(self.x) and a.shape == p.types[self.z].shape and a.flags.writeable:
            p[self.z] = p.kernels.subtract(a, b, out=a) if self.negative else p.kernels.add(a, b, out=a)
        else:
            p[self.z] = self.combine(a, b)

    def mask(self, p: MaskContext) -> Array:
        shape = p.types[self.z].shape
        if not p.types[self.y].form.masked:
            return spread(p.mask(self.x), shape)
        b = p.mask(self.y)
        if not p.types[self.x].form.masked:
            return spread(-b if self.negative else b, shape)
        return self.combine(p.mask(self.x), b)

    def meaning(self, s: MeaningContext) -> None:
        s[self.z] = self.combine(s[self.x], s[self.y])


@dataclass(frozen=True)
class Xor(Gate):
    """x xor y on bits, with NumPy's broadcasting; a public operand flips."""

    fresh = True
    reveals = False
    elementwise = True

    x: In
    y: In
    z: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        x, y = (expect_domain(given.layout(r), Domain.BITS) for r in (self.x, self.y))
        return (Layout(broadcast(x.shape, y.shape), Domain.BITS),)

    def result(self, out: int, types: Types) -> Form:
        return joint_form(types, (self.x, self.y))

    def wants_mask(self, register: int, types: Types) -> bool:
        return types[self.z].form is Form.WIRE and types[register].form.masked

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def deal(self, d: DealerContext) -> None:
        shape = d.types[self.z].shape
        parts = [a for a in (d[self.x], d[self.y]) if a is not None]
        if len(parts) == 2:
            d[self.z] = parts[0] ^ parts[1]
        else:
            d[self.z] = spread(parts[0], shape) if parts else None

    def evaluate(self, p: PartyContext) -> None:
        a, b = terms(p, self.z, (self.x, self.y))
        p[self.z] = a ^ b

    def mask(self, p: MaskContext) -> Array:
        parts = [p.mask(r) for r in (self.x, self.y) if p.types[r].form.masked]
        return parts[0] ^ parts[1] if len(parts) == 2 else spread(parts[0], p.types[self.z].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.z] = s[self.x] ^ s[self.y]


def terms(p: PartyContext, total: int, registers: tuple[int, ...]) -> list[Array]:
    """A party's part of each term of a sum: all of what is public, unless the sum is held as shares."""
    shares = p.types[total].form.additive
    return [p.public(r) if shares and not p.types[r].form.additive else p[r] for r in registers]


def joint_form(types: Types, registers: tuple[int, ...]) -> Form:
    """Form of a sum: the weakest of its secret operands; public where none is secret."""
    forms = {types[r].form for r in registers}
    for form in (Form.OFFSET, Form.SHARED, Form.BARE, Form.WIRE, Form.PUBLIC):
        if form in forms:
            mixed = form.additive and any(f.masked for f in forms)
            expect(not mixed, "a sum of shares and masked values: unmask first")
            return form
    return Form.CONSTANT
