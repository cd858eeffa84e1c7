"""Products of matrices and convolutions: everything that is bilinear in two tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    NO_ROWS,
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    OpError,
    Param,
    Prepared,
    Rounding,
    Shape,
    Value,
    apply,
    bounds,
    expect_constant,
    expect_tensor,
)
from compiler.graph.bounds import Norm
from compiler.graph.interval import Interval
from compiler.ops.elementwise import Mul
from compiler.ops.families import Ordinary
from compiler.ops.rules import NUMBERS, broadcast_shapes, expect_count, expect_kind, linear_form, show
from compiler.ops.shapes import Reshape, Slice, Spread, Transpose, part, uniform, whole
from mpc_runtime.errors import amount

ZERO = Interval(0, 0)


@dataclass(frozen=True)
class MatMul(Ordinary):
    """NumPy's `@`: vectors, matrices and broadcast batches of them; an int times a fixed is a fixed."""

    symbol: ClassVar[str] = "`@`"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        kind = _product_kind(self.symbol, args)
        a, b = args
        for index, arg in enumerate(args):
            if arg.rank == 0:
                raise OpError("`@` expects vectors or matrices, found a scalar", "write `*` for a scalar", index)
        inner = b.shape[-2] if b.rank > 1 else b.shape[0]
        if a.shape[-1] != inner:
            raise OpError(
                f"`@` expects as many columns on the left as rows on the right, found {show(a.shape)} @ {show(b.shape)}"
                f" ({a.shape[-1]} and {inner})",
                _transpose_help(a.shape, b.shape),
                1,
            )
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if batch is None:
            raise OpError(
                f"`@` expects batches that broadcast, found {show(a.shape)} @ {show(b.shape)}",
                "all axes but the last two must be equal or 1",
                1,
            )
        rows = a.shape[-2:-1] if a.rank > 1 else ()
        columns = b.shape[-1:] if b.rank > 1 else ()
        return kind, (*batch, *rows, *columns)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        lead = len(shape) - sum(arg.rank > 1 for arg in args)  # axes along which there are several products
        left, right = args
        ends = ((left, axes[0], -1, lead), (right, axes[1], -2 if right.rank > 1 else -1, len(shape) - 1))
        places = []
        for arg, axis, summed, end in ends:
            if axis == NO_ROWS:
                continue
            if axis == arg.rank + summed:
                return ROWS_MEET
            places.append(end if axis >= arg.rank - 2 else axis - (arg.rank - 2) + lead)
        place = places[0]
        if len(places) == 2:
            return place if places[0] == places[1] < lead else ROWS_MEET
        free = right if axes[1] == NO_ROWS else left
        return place if place >= lead or uniform(free, place - lead + max(free.rank - 2, 0)) else ROWS_MEET

    def interval(self, *args: Value) -> Interval:
        a, b = args
        box = self._box(a, b)
        if not (a.norms or b.norms):
            return box
        row, column = bounds.terms(a, (a.rank - 1,)), bounds.terms(b, (max(b.rank - 2, 0),))
        return bounds.within(box, row.product(column))

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """A row of the result is a sum of rows of b: as long as those, times |row of a|_1; or |row of a|_2 |b|_2."""
        a, b = args
        if not (a.norms or b.norms):
            return ()
        rows, columns = (a.rank - 1,), (max(b.rank - 2, 0),)
        rank = len(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) + (a.rank > 1) + (b.rank > 1)
        found = []
        if b.rank > 1:
            known = (
                bounds.l1(a, rows) * bounds.l2(b, (b.rank - 1,)),
                bounds.l2(a, rows) * bounds.l2(b, (-2 % b.rank, -1 % b.rank)),
            )
            found.append(Norm(2, (rank - 1,), bounds.UP * min(known)))
        if a.rank > 1:
            known = (
                bounds.l1(b, columns) * bounds.l2(a, (a.rank - 2,)),
                bounds.l2(b, columns) * bounds.l2(a, (-2 % a.rank, -1 % a.rank)),
            )
            found.append(Norm(2, (rank - 1 - (b.rank > 1),), bounds.UP * min(known)))
        return tuple(found)

    def _box(self, a: Value, b: Value) -> Interval:
        """When every element lies anywhere in its range."""
        if b.is_constant:
            return linear_form(b.array, (-2 if b.rank > 1 else 0,), a.range)
        if a.is_constant:
            return linear_form(a.array, (-1,), b.range)
        widest = (a.range * b.range).times(a.shape[-1])
        return _narrower(_narrower(widest, b, b.rank - 1, a.range), a, a.rank - 2, b.range)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.matmul(*arrays))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """Along a: gradient @ b^T, along b: a^T @ gradient, with vectors as matrices.

        A matrix b that meets a stack a meets its rows, all of them in one product.
        """
        a, b = args
        gradient = whole(gradient, result.shape)
        rows = _shaped(a, (1, *a.shape)) if a.rank == 1 else a
        columns = _shaped(b, (*b.shape, 1)) if b.rank == 1 else b
        stack = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
        gradient = _shaped(gradient, (*stack, rows.shape[-2], columns.shape[-1]))
        left, below, right = rows, gradient, columns
        if right.rank == 2:
            left, below = (_shaped(x, (-1, x.shape[-1])) for x in (left, below))
        for_a = apply(MatMul(), gradient, _swapped(right))
        for_b = apply(MatMul(), _swapped(left), below)
        if a.rank == 1:
            for_a = _shaped(for_a, (*for_a.shape[:-2], a.size))
        return for_a, _shaped(for_b, for_b.shape[:-1]) if b.rank == 1 else for_b


def _narrower(widest: Interval, weight: Value, outputs: int, x: Interval) -> Interval:
    """What is left of a range when the magnitudes of an output's weights, along this axis, sum to at most a number."""
    norm = l1_norm(weight, outputs) if weight.rank > 1 else math.inf
    if math.isinf(norm):
        return widest
    found = Interval(-norm, norm) * Interval(-x.magnitude, x.magnitude)
    return widest.intersect(found) or widest


def l1_norm(weight: Value, outputs: int) -> float:
    """The largest sum of magnitudes along all axes but this one, as far as contracts on parameters say."""
    op = weight.op
    match op:
        case Param() | Prepared() if 0 <= outputs == op.outputs and getattr(op, "groups", 1) == 1:
            return op.l1
        case Transpose():
            return l1_norm(weight.args[0], op.axes[outputs])
        case Reshape() if outputs == 0 and weight.args[0].shape[:1] == weight.shape[:1]:
            return l1_norm(weight.args[0], 0)
        case Slice():
            return l1_norm(weight.args[0], outputs)
        case Mul():
            norms = [
                l1_norm(one, outputs) * other.range.magnitude
                for one, other in (weight.args, weight.args[::-1])
                if one.shape == weight.shape
            ]
            return min((norm for norm in norms if not math.isnan(norm)), default=math.inf)
    return math.inf


def _shaped(x: Value, shape: Shape) -> Value:
    """One size may be -1, for what is left."""
    sizes = tuple(x.size // -int(np.prod(shape)) if size == -1 else size for size in shape)
    return x if sizes == x.shape else apply(Reshape(sizes), x)


def _swapped(x: Value) -> Value:
    """Matrices, transposed."""
    return apply(Transpose((*range(x.rank - 2), x.rank - 1, x.rank - 2)), x)


def _product_kind(name: str, args: tuple[Value, ...]) -> Kind:
    kinds = {expect_kind(name, (arg,), NUMBERS) for arg in args}
    return Kind.FIXED if Kind.FIXED in kinds else Kind.INT


def _transpose_help(a: Shape, b: Shape) -> str:
    if len(b) == 2 and a[-1] == b[-1]:
        return "`transpose` swaps the axes of the right one"
    return "the last axis of the left one meets the second last of the right one"


@dataclass(frozen=True)
class Conv2d(Ordinary):
    """PyTorch's conv2d without bias: x [n, c, h, w] and weight [o, c / groups, kh, kw] give [n, o, oh, ow].

    `stride` and `dilation` are (vertical, horizontal), `padding` is zeros at (top, bottom, left, right).
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    symbol: ClassVar[str] = "conv2d"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        kind = _product_kind(self.symbol, args)
        x, weight = args
        if x.rank != 4:
            raise OpError(
                f"conv2d expects [batch, channels, height, width], found {show(x.shape)}",
                "`reshape` or `unsqueeze` makes four axes",
                0,
            )
        if weight.rank != 4:
            raise OpError(f"conv2d expects a weight [out, in / groups, kh, kw], found {show(weight.shape)}", arg=1)
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise OpError("conv2d expects stride, dilation and groups of at least 1 and no negative padding")
        channels, outs = x.shape[1], weight.shape[0]
        if channels % self.groups or outs % self.groups:
            raise OpError(
                f"conv2d expects channels that are multiples of {self.groups} groups,"
                f" found {channels} in and {outs} out",
                "choose groups that divide both",
            )
        if weight.shape[1] * self.groups != channels:
            raise OpError(
                f"conv2d expects {amount(weight.shape[1] * self.groups, 'channel')} for the weight {show(weight.shape)}"
                f" in {amount(self.groups, 'group')}, found {channels}",
                arg=0,
            )
        height, width = self.output_size(x.shape[2:], weight.shape[2:])
        top, bottom, left, right = self.padding
        expect_tensor((*x.shape[:2], x.shape[2] + top + bottom, x.shape[3] + left + right))
        if x.is_constant and weight.is_constant:
            expect_constant((x.shape[0], channels, height, width, *weight.shape[2:]))  # the windows, when it is folded
        return kind, (x.shape[0], outs, height, width)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return 0 if tuple(axes) == (0, NO_ROWS) else ROWS_MEET

    def output_size(self, size: Shape, kernel: Shape) -> tuple[int, int]:
        """(oh, ow) for an image of `size` (h, w) and a kernel (kh, kw)."""
        top, bottom, left, right = self.padding
        found = []
        for axis, pad in ((0, top + bottom), (1, left + right)):
            reach = self.dilation[axis] * (kernel[axis] - 1) + 1
            if size[axis] + pad < reach:
                raise OpError(
                    f"conv2d's kernel covers {reach} in {('height', 'width')[axis]},"
                    f" found {size[axis]}{f' with padding {pad}' * (pad > 0)}",
                    "use a smaller kernel or more padding; `conv2d(out, kernel)` takes no input channels",
                    0,
                )
            found.append((size[axis] + pad - reach) // self.stride[axis] + 1)
        return found[0], found[1]

    def interval(self, *args: Value) -> Interval:
        x, weight = args
        pixels = x.range.hull(ZERO) if any(self.padding) else x.range
        if weight.is_constant:
            box = linear_form(weight.array, (1, 2, 3), pixels)
        else:
            widest = (pixels * weight.range).times(int(np.prod(weight.shape[1:], dtype=np.int64)))
            box = _narrower(widest, weight, 0, pixels)
        if not (x.norms or weight.norms):
            return box
        kernel = bounds.terms(weight, (1, 2, 3))
        return bounds.within(box, bounds.window(x, weight.shape[1:]).product(kernel))

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """One channel is a sum of moved images, each times an element of its kernel; one image is at every place a
        product of a window and all kernels, and each pixel lies in so many windows."""
        x, weight = args
        if not (x.norms or weight.norms):
            return ()
        height, width = self.output_size(x.shape[2:], weight.shape[2:])
        channel = bounds.l1(weight, (1, 2, 3)) * bounds.l2(x, (0, 2, 3))
        kernels = bounds.l2(weight, (0, 1, 2, 3))
        place = bounds.window(x, weight.shape[1:]).l2 * kernels
        overlap = math.prod(min(pair) for pair in zip(weight.shape[2:], (height, width), strict=True))
        image = min(place * math.sqrt(height * width), bounds.l2(x, (1, 2, 3)) * kernels * math.sqrt(overlap))
        return Norm(2, (0, 2, 3), bounds.UP * channel), Norm(2, (1,), place), Norm(2, (1, 2, 3), bounds.UP * image)

    def evaluate(self, *arrays: Array) -> Array:
        x, weight = arrays
        top, bottom, left, right = self.padding
        outs, depth, kh, kw = weight.shape
        oh, ow = self.output_size(x.shape[2:], (kh, kw))
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        reach = (self.dilation[0] * (kh - 1) + 1, self.dilation[1] * (kw - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
        windows = windows[:, :, :: self.stride[0], :: self.stride[1], :: self.dilation[0], :: self.dilation[1]]
        n, groups = x.shape[0], self.groups
        columns = windows.reshape(n, groups, depth, oh, ow, kh, kw).transpose(1, 0, 3, 4, 2, 5, 6)
        columns = columns.reshape(groups, n * oh * ow, depth * kh * kw)
        kernels = weight.reshape(groups, outs // groups, depth * kh * kw).swapaxes(1, 2)
        products: Array = np.matmul(columns, kernels)
        images = products.reshape(groups, n, oh, ow, outs // groups).transpose(1, 0, 4, 2, 3)
        result: Array = images.reshape(n, outs, oh, ow)
        return result

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        x, weight = args
        gradient = whole(gradient, result.shape)
        return self.along_input(weight, gradient, x.shape), self._along_weight(x, gradient, weight.shape)

    def along_input(self, weight: Value, gradient: Value, shape: Shape) -> Value:
        """What reaches an input of `shape`: the gradient, apart by the stride, under the kernel turned around."""
        groups, (outs, depth, *kernel) = self.groups, weight.shape
        kernels = apply(Reshape((groups, outs // groups, depth, *kernel)), weight)
        kernels = apply(Transpose((0, 2, 1, 3, 4)), kernels)
        kernels = apply(Reshape((groups * depth, outs // groups, *kernel)), kernels)
        turned = Slice((0, 0, kernel[0] - 1, kernel[1] - 1), (1, 1, -1, -1), kernels.shape)
        apart = (*gradient.shape[:2], *(s * (n - 1) + 1 for s, n in zip(self.stride, gradient.shape[2:], strict=True)))
        sides, starts = [], []
        for axis in (0, 1):
            reach = self.dilation[axis] * (kernel[axis] - 1)
            first = reach - self.padding[2 * axis]
            last = shape[2 + axis] - apart[2 + axis] - first + reach
            sides += [side if side >= 0 else reach for side in (first, last)]
            starts.append(max(0, sides[-2] - first))
        transposed = Conv2d((1, 1), (sides[0], sides[1], sides[2], sides[3]), self.dilation, groups)
        spread = apply(Spread(apart, (0, 0, 0, 0), (1, 1, *self.stride)), gradient)
        return part(apply(transposed, spread, apply(turned, kernels)), (0, 0, *starts), shape)

    def _along_weight(self, x: Value, gradient: Value, shape: Shape) -> Value:
        """What reaches a weight of `shape`: a convolution of the input with the gradient as its kernel.

        Examples are what channels were, and stride and dilation change places.
        """
        groups, n = self.groups, x.shape[0]
        depth, outs = x.shape[1] // groups, gradient.shape[1]
        images = apply(Reshape((n, groups, depth, *x.shape[2:])), x)
        images = apply(Transpose((2, 1, 0, 3, 4)), images)
        images = apply(Reshape((depth, groups * n, *x.shape[2:])), images)
        kernels = apply(Transpose((1, 0, 2, 3)), gradient)
        found = apply(Conv2d(self.dilation, self.padding, self.stride, groups), images, kernels)
        return apply(Transpose((1, 0, 2, 3)), part(found, (0, 0, 0, 0), (depth, outs, *shape[2:])))
