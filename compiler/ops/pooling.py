"""Pooling over windows of an image [n, c, h, w], with PyTorch's sizes and padding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compiler.graph import (
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    NoGradient,
    OpError,
    Rounding,
    Shape,
    Value,
    apply,
    bounds,
    constant,
    expect_constant,
    expect_tensor,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.elementwise import Mul
from compiler.ops.families import Ordinary
from compiler.ops.linear import ZERO, Conv2d
from compiler.ops.rules import NUMBERS, TWICE, expect_count, expect_kind, show
from compiler.ops.shapes import whole
from compiler.ops.tournament import back_through


@dataclass(frozen=True)
class Pool2d(Ordinary, abstract=True):
    """`kernel`, `stride` and `padding` (both sides alike) are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    symbol: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = NUMBERS
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        x = args[0]
        if x.rank != 4:
            raise OpError(
                f"{self.symbol} expects [batch, channels, height, width], found {show(x.shape)}",
                "`reshape` or `unsqueeze` makes four axes",
                0,
            )
        for name, pair, least in (("k", self.kernel, 1), ("stride", self.stride, 1), ("padding", self.padding, 0)):
            if min(pair) < least:
                raise OpError(f"`{name}` of {self.symbol} expects at least {least}, found {show(pair)}", arg=name)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel, strict=True)):
            raise OpError(
                f"{self.symbol} expects at most half the window as padding,"
                f" found padding {show(self.padding)} for a window {show(self.kernel)}",
                arg="padding",
            )
        shape = (*x.shape[:2], *self.output_size(x.shape))
        (expect_constant if x.is_constant else expect_tensor)((*shape, *self.kernel))  # all windows' elements
        return expect_kind(self.symbol, args, self.kinds), shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0] if axes[0] < 2 else ROWS_MEET

    @property
    def overlap(self) -> int:
        """How many windows an element may lie in."""
        return math.prod(-(-k // step) for k, step in zip(self.kernel, self.stride, strict=True))

    def output_size(self, shape: Shape) -> tuple[int, int]:
        """(oh, ow): whole windows only, as PyTorch without ceil_mode."""
        found = []
        for axis in (0, 1):
            size = shape[2 + axis] + 2 * self.padding[axis]
            if size < self.kernel[axis]:
                raise OpError(
                    f"{self.symbol}'s window {show(self.kernel)} is larger than the image {show(shape[2:])}",
                    "use a smaller window",
                    0,
                )
            found.append((size - self.kernel[axis]) // self.stride[axis] + 1)
        return found[0], found[1]

    def windows(self, x: Array, outside: Any) -> Array:
        """A view [n, c, oh, ow, kh, kw] of x, padded with `outside`."""
        vertical, horizontal = self.padding
        x = np.pad(x, ((0, 0), (0, 0), (vertical, vertical), (horizontal, horizontal)), constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(x, self.kernel, axis=(2, 3))
        return windows[:, :, :: self.stride[0], :: self.stride[1]]


def _of_windows(norms: Iterable[Norm]) -> tuple[Norm, ...]:
    """The norms along all of an image, or not along it, carried over to what is in its windows, or back."""
    return tuple(norm for norm in norms if {2, 3} <= set(norm.axes))


@dataclass(frozen=True)
class MaxPool2d(Pool2d):
    """The largest of each window; padding never wins."""

    symbol: ClassVar[str] = "maxpool2d"
    compares: ClassVar[bool] = True

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return _of_windows(args[0].norms) if self.overlap == 1 else ()

    def evaluate(self, *arrays: Array) -> Array:
        outside = -math.inf if arrays[0].dtype == np.float64 else np.iinfo(np.int64).min
        result: Array = self.windows(arrays[0], outside).max(axis=(-2, -1))
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        back = MaxPool2dGradient(self.kernel, self.stride, self.padding)
        return (apply(back, args[0], whole(gradient, result.shape)),)


@dataclass(frozen=True)
class MaxPool2dGradient(Pool2d):
    """Of an image and a gradient of its pooling: each goes to the largest of its window. One of equals gets all."""

    symbol: ClassVar[str] = "the gradient of maxpool2d"
    compares: ClassVar[bool] = True

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        _, shape = super().infer(args[0])
        if args[1].shape != shape:
            raise OpError(f"{self.symbol} expects {show(shape)}, found {show(args[1].shape)}", arg=1)
        return expect_kind(self.symbol, args[1:], (Kind.FIXED,)), args[0].shape

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0] if axes[0] == axes[1] and axes[0] < 2 else ROWS_MEET

    def interval(self, *args: Value) -> Interval:
        return args[1].range.hull(ZERO).times(self.overlap)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """Where windows do not overlap, elements only move within theirs: along both axes of the image or neither."""
        return _of_windows(args[1].norms) if self.overlap == 1 else ()

    def evaluate(self, *arrays: Array) -> Array:
        x, gradient = arrays
        outside = -math.inf if x.dtype == np.float64 else np.iinfo(np.int64).min
        windows = self.windows(x, outside)
        rows = list(np.moveaxis(windows.max(axis=-1), -1, 0))
        result = np.zeros((*x.shape[:2], *(n + 2 * pad for n, pad in zip(x.shape[2:], self.padding, strict=True))))
        oh, ow = gradient.shape[2:]
        for i, of_row in enumerate(back_through(rows, gradient)):
            for j, found in enumerate(back_through(list(np.moveaxis(windows[..., i, :], -1, 0)), of_row)):
                (down, across) = self.stride
                result[:, :, i : i + down * oh : down, j : j + across * ow : across] += found
        (vertical, horizontal), (h, w) = self.padding, x.shape[2:]
        return result[:, :, vertical : vertical + h, horizontal : horizontal + w]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (None, NoGradient(TWICE))


@dataclass(frozen=True)
class AvgPool2d(Pool2d):
    """The mean of each window; zeros of the padding count unless told otherwise (as in PyTorch)."""

    counts_padding: bool = True
    symbol: ClassVar[str] = "avgpool2d"
    compares: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = (Kind.FIXED,)

    def interval(self, *args: Value) -> Interval:
        return args[0].range.hull(ZERO) if any(self.padding) else args[0].range

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """A mean of k numbers is at most their norm over the root of k, or their sum over k."""
        count = math.prod(self.kernel)
        scaled = (bounds.scaled((n,), count ** (-1 / n.order)) for n in _of_windows(args[0].norms))
        return tuple(n for each in scaled for n in each) if self.overlap == 1 else ()

    def evaluate(self, *arrays: Array) -> Array:
        result: Array = self.windows(arrays[0], 0).sum(axis=(-2, -1)) / self.counts(arrays[0].shape)
        return result

    def counts(self, shape: Shape) -> Array:
        """By what each window's sum over an image of this shape is divided: [], or [oh, ow]."""
        if self.counts_padding:
            return np.array(math.prod(self.kernel))
        found: Array = self.windows(np.ones((1, 1, *shape[2:])), 0).sum(axis=(-2, -1))[0, 0]
        return found

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        channels, (vertical, horizontal) = args[0].shape[1], self.padding
        sides = (vertical, vertical, horizontal, horizontal)
        each, reaching = 1 / self.counts(args[0].shape), whole(gradient, result.shape)
        if each.shape:
            reaching, each = apply(Mul(), reaching, constant(each)), np.array(1.0)
        share = constant(np.full((channels, 1, *self.kernel), each))
        pooling = Conv2d(self.stride, sides, groups=channels)
        return (pooling.along_input(share, reaching, args[0].shape),)
