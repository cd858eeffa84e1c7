"""Linear functions of one tensor with public coefficients: views of it, sums, and products with whole numbers.

They are local at the parties and at the dealer: the same function is applied to shares, to masked values, to masks and
to offsets. PROTOCOLS section 0. What has several operands is in `linear.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Out, narrowest
from .contexts import Array, DealerContext, MaskContext, MeaningContext, PartyContext, Types
from .rows import Batch, expect_apart, stride_of
from .rules import Declared, Layout, broadcast, expect, expect_between, expect_domain


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


INTERLEAVED = 8
"""Elements of an axis that is too short to copy along."""


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

    def rows(self, batch: Batch) -> int:
        return batch.strides[self.x]

    def apply(self, a: Array) -> Array:
        return (_interleaved(a) if _interleaves(a, self.shape) else a).reshape(self.shape)


@dataclass(frozen=True)
class Rescale(View):
    """The same ring elements, read at another scale: a product with a power of two that costs nothing."""

    elementwise = True
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

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        return stride_of(batch.types[self.y].shape, self.axes.index(axis), each)

    def turned(self) -> tuple[int, tuple[int, ...]] | None:
        return self.x, self.axes

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

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        size = batch.types[self.x].shape[axis]
        expect_apart(range(*self.index[axis].indices(size)) == range(size))
        return stride_of(batch.types[self.y].shape, axis, each)

    def apply(self, a: Array) -> Array:
        part: Array = a[self.index]
        return part


@dataclass(frozen=True)
class Broadcast(View):
    """Materialized in front, where an offset is least."""

    elementwise = True

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

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        expect_apart(self.widths[axis] == (0, 0))
        return stride_of(batch.types[self.y].shape, axis, each)

    def apply(self, a: Array) -> Array:
        found = np.zeros(self.shape_of(a.shape), a.dtype)
        found[tuple(slice(before, before + n) for (before, _), n in zip(self.widths, a.shape, strict=True))] = a
        return found


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

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        expect_apart(axis not in self.axes)
        return stride_of(batch.types[self.y].shape, axis, each)

    def apply(self, a: Array) -> Array:
        total: Array = a.sum(axis=self.axes, keepdims=True, dtype=np.uint64)
        return total


@dataclass(frozen=True)
class SumParts(LinearMap):
    """Sums of the parts of a vector, of so many elements each, one behind the other."""

    fresh = True

    sizes: tuple[int, ...]
    x: In
    y: Out

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expect(min(self.sizes, default=0) >= 1, f"no parts: {self.sizes}")
        expect(shape == (sum(self.sizes),), f"{shape} has not the elements of parts of {self.sizes}")
        return (len(self.sizes),)

    @cached_property
    def _last(self) -> Array:
        return np.cumsum(self.sizes) - 1

    def apply(self, a: Array) -> Array:
        sums: Array = a.cumsum(dtype=np.uint64)[self._last]
        sums[1:] -= sums[:-1].copy()
        return sums


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

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        expect_apart(axis < len(batch.types[self.x].shape) - 2)
        return stride_of(batch.types[self.y].shape, axis, each)

    def apply(self, a: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(a, self.kernel, axis=(-2, -1))
        kept = windows[..., :: self.stride[0], :: self.stride[1], :, :]
        total: Array = kept.sum(axis=(-2, -1), dtype=np.uint64)
        return total


@dataclass(frozen=True)
class Scale(LinearMap):
    """x times a whole number."""

    fresh = True
    elementwise = True

    factor: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return (replace(expect_domain(given.layout(self.x), Domain.WORDS), scale=None),)

    def demand(self, register: int, types: Types) -> int:
        """Where a factor ends in zeros, so does the product, whatever the highest bits of x are."""
        return max(1, types[self.y].bits - _zeros(self.factor))

    def most_bits(self, most: Mapping[int, int]) -> int:
        return min(64, super().most_bits(most) + _zeros(self.factor))

    def apply(self, a: Array) -> Array:
        y: Array = a * np.uint64(self.factor % (1 << 64))
        return y


def _zeros(factor: int) -> int:
    """With how many zeros a factor ends in binary."""
    return (factor & -factor).bit_length() - 1 if factor else 64


def _interleaves(a: Array, shape: tuple[int, ...]) -> bool:
    """Whether a short last axis is joined to the one before, which lies closer together."""
    if a.ndim < 2 or not shape or not 1 < a.shape[-1] <= INTERLEAVED:
        return False
    times, rest = divmod(shape[-1], a.shape[-1])
    return times > 1 and not rest and abs(a.strides[-1]) > abs(a.strides[-2])


def _interleaved(a: Array) -> Array:
    """A contiguous copy, made along the axis before the last."""
    out = np.empty(a.shape, a.dtype)
    for place in range(a.shape[-1]):
        out[..., place] = a[..., place]
    return out
