"""Linear maps with public coefficients: local at the parties and at the dealer.

The same function is applied to shares, to masked values, to masks and to offsets; only a public summand is treated
apart (party 0 adds it to shares, both parties to a masked value, the dealer to nothing). PROTOCOLS section 0, "Who
knows a public number".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from ..registers import Domain, Form
from .base import (
    Array,
    DealerContext,
    Gate,
    In,
    Ins,
    MaskContext,
    MeaningContext,
    Out,
    PartyContext,
    Types,
    narrowest,
)
from .rules import Declared, Layout, broadcast, expect, expect_between, expect_domain, joined


class LinearMap(Gate, family=True):
    """A linear function of one register. An offset passes through it."""

    reveals = False

    domains: ClassVar[tuple[Domain, ...]] = (Domain.WORDS,)
    """The kinds of elements that it applies to."""

    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The result's shape. Raises Refused for a shape to which it cannot be applied."""
        raise AssertionError(f"{type(self).__name__} has no shape")

    def apply(self, a: Array) -> Array:
        raise AssertionError(f"{type(self).__name__} applies nothing")

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        t = expect_domain(given.layout(self.x), *self.domains)
        return (replace(t, shape=self.shape_of(t.shape)),)

    def result(self, out: int, types: Types) -> Form:
        return types[self.x].form

    def wants_mask(self, register: int, types: Types) -> bool:
        return types[self.y].form is Form.WIRE

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def deal(self, d: DealerContext) -> None:
        a = d[self.x]
        d[self.y] = None if a is None else self.apply(a)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = self.apply(p[self.x])

    def mask(self, p: MaskContext) -> Array:
        return self.apply(p.mask(self.x))

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = self.apply(s[self.x])


class View(LinearMap, family=True):
    """Elements of the operand in another order or shape, which NumPy shows without a copy where it can."""

    fresh = False
    domains: ClassVar[tuple[Domain, ...]] = (Domain.WORDS, Domain.BITS)

    def is_view(self, types: Types) -> bool:
        return True


@dataclass(frozen=True)
class Reshape(View):
    shape: tuple[int, ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(min(self.shape, default=0) >= 0, f"no shape: {self.shape}")
        expect(prod(self.shape) == prod(shape), f"{shape} has not the elements of {self.shape}")
        return self.shape

    def apply(self, a: Array) -> Array:
        return a.reshape(self.shape)


@dataclass(frozen=True)
class Rescale(View):
    """The same ring elements, read at another scale: a product with a power of two that costs nothing."""

    domains: ClassVar[tuple[Domain, ...]] = (Domain.WORDS,)

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return (replace(super().infer(types, given)[0], scale=None),)

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def apply(self, a: Array) -> Array:
        return a


@dataclass(frozen=True)
class Transpose(View):
    axes: tuple[int, ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(sorted(self.axes) == list(range(len(shape))), f"{self.axes} is no order of the axes of {shape}")
        return tuple(shape[a] for a in self.axes)

    def apply(self, a: Array) -> Array:
        return np.transpose(a, self.axes)


@dataclass(frozen=True)
class Slice(View):
    """x[starts:stops:steps]; a stop of -1 below a negative step means "to the first element"."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]
    x: In
    y: Out

    @property
    def index(self) -> tuple[slice, ...]:
        return tuple(
            slice(start, None if stop < 0 else stop, step)
            for start, stop, step in zip(self.starts, self.stops, self.steps, strict=True)
        )

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = len(self.starts) == len(self.stops) == len(self.steps) == len(shape)
        expect(axes, f"expected a slice of each of {len(shape)} axes")
        expect(0 not in self.steps and min(self.starts, default=0) >= 0, "a slice has no step, or starts below 0")
        return tuple(len(range(*part.indices(n))) for part, n in zip(self.index, shape, strict=True))

    def apply(self, a: Array) -> Array:
        part: Array = a[self.index]
        return part


@dataclass(frozen=True)
class Broadcast(View):
    """Materialized in front, where an offset is least."""

    shape: tuple[int, ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(min(self.shape, default=0) >= 0, f"no shape: {self.shape}")
        expect(broadcast(shape, self.shape) == self.shape, f"{shape} does not broadcast to {self.shape}")
        return self.shape

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return types[self.y].form is Form.SHARED

    def apply(self, a: Array) -> Array:
        return np.broadcast_to(a, self.shape)


@dataclass(frozen=True)
class Pad(LinearMap):
    """Zeros around: a constant with mask 0."""

    fresh = True
    domains: ClassVar[tuple[Domain, ...]] = (Domain.WORDS, Domain.BITS)

    widths: tuple[tuple[int, int], ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(len(self.widths) == len(shape), f"expected widths for each of {len(shape)} axes")
        expect(min((w for pair in self.widths for w in pair), default=0) >= 0, "a width is negative")
        return tuple(n + before + after for n, (before, after) in zip(shape, self.widths, strict=True))

    def apply(self, a: Array) -> Array:
        return np.pad(a, self.widths) if self.widths else a.copy()  # NumPy pads no scalars


@dataclass(frozen=True)
class Sum(LinearMap):
    """Sum over axes, which stay with size 1."""

    fresh = True

    axes: tuple[int, ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(len(set(self.axes)) == len(self.axes), f"an axis is named twice: {self.axes}")
        for axis in self.axes:
            expect_between("axis", axis, 0, len(shape) - 1)
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(shape))

    def apply(self, a: Array) -> Array:
        total: Array = a.sum(axis=self.axes, keepdims=True, dtype=np.uint64)
        return total


@dataclass(frozen=True)
class WindowSum(LinearMap):
    """Sums of 2-D windows of the last two axes (average pooling without its division)."""

    fresh = True

    kernel: tuple[int, int]
    stride: tuple[int, int]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(len(shape) >= 2 and min(*self.kernel, *self.stride) >= 1, f"no windows of {self.kernel} in {shape}")
        expect(all(k <= n for k, n in zip(self.kernel, shape[-2:], strict=True)), "a window is larger than the image")
        sizes = zip(shape[-2:], self.kernel, self.stride, strict=True)
        return (*shape[:-2], *((n - k) // step + 1 for n, k, step in sizes))

    def apply(self, a: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(a, self.kernel, axis=(-2, -1))
        kept = windows[..., :: self.stride[0], :: self.stride[1], :, :]
        total: Array = kept.sum(axis=(-2, -1), dtype=np.uint64)
        return total


@dataclass(frozen=True)
class Scale(LinearMap):
    """x times a whole number."""

    fresh = True

    factor: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return (replace(expect_domain(given.layout(self.x), Domain.WORDS), scale=None),)

    def apply(self, a: Array) -> Array:
        y: Array = a * np.uint64(self.factor % (1 << 64))
        return y


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
class Add(Gate):
    """x + y or, `negative`, x - y, with NumPy's broadcasting. Both additive or both masked; either may be public."""

    fresh = True
    reveals = False

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
            d[self.z] = np.broadcast_to(-b if self.negative else b, shape)
        else:
            d[self.z] = None if a is None else np.broadcast_to(a, shape)

    def evaluate(self, p: PartyContext) -> None:
        a, b = terms(p, self.z, (self.x, self.y))
        if p.may_overwrite(self.x) and a.shape == p.types[self.z].shape and a.flags.writeable:
            p[self.z] = p.kernels.subtract(a, b, out=a) if self.negative else p.kernels.add(a, b, out=a)
        else:
            p[self.z] = self.combine(a, b)

    def mask(self, p: MaskContext) -> Array:
        shape = p.types[self.z].shape
        if not p.types[self.y].form.masked:
            return np.broadcast_to(p.mask(self.x), shape)
        b = p.mask(self.y)
        if not p.types[self.x].form.masked:
            return np.broadcast_to(-b if self.negative else b, shape)
        return self.combine(p.mask(self.x), b)

    def meaning(self, s: MeaningContext) -> None:
        s[self.z] = self.combine(s[self.x], s[self.y])


@dataclass(frozen=True)
class Xor(Gate):
    """x xor y on bits, with NumPy's broadcasting; a public operand flips."""

    fresh = True
    reveals = False

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
            d[self.z] = np.broadcast_to(parts[0], shape) if parts else None

    def evaluate(self, p: PartyContext) -> None:
        a, b = terms(p, self.z, (self.x, self.y))
        p[self.z] = a ^ b

    def mask(self, p: MaskContext) -> Array:
        parts = [p.mask(r) for r in (self.x, self.y) if p.types[r].form.masked]
        return parts[0] ^ parts[1] if len(parts) == 2 else np.broadcast_to(parts[0], p.types[self.z].shape)

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
