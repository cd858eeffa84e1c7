"""What the functions of the language mean, in NumPy, on boxes: written from LANGUAGE.md, with nothing of the compiler.

Each function takes the number format, the operands' boxes and what else stands in the call, and returns the box of the
result. `Outside` says that the operands have no meaning, or the result no place in the format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.fuzz.boxes import (
    Array,
    Box,
    Format,
    Outside,
    admitted,
    fixed,
    number,
    one_step,
    point,
    promoted,
    quotient,
    smooth,
    stored,
)

# -- arithmetic --------------------------------------------------------------------------------------------------------


def kind_of(*boxes: Box) -> str:
    return "fixed" if any(box.kind == "fixed" for box in boxes) else "int"


def add(f: Format, a: Box, b: Box) -> Box:
    return stored(f, Box(kind_of(a, b), a.lo + b.lo, a.hi + b.hi))


def sub(f: Format, a: Box, b: Box) -> Box:
    return stored(f, Box(kind_of(a, b), a.lo - b.hi, a.hi - b.lo))


def neg(f: Format, a: Box) -> Box:
    return stored(f, Box(number(a).kind, -a.hi, -a.lo))


def _corners(a: Box, b: Box, op: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
    found = [op(x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return np.minimum.reduce(found), np.maximum.reduce(found)


def mul(f: Format, a: Box, b: Box) -> Box:
    return one_step(f, Box(kind_of(a, b), *_corners(a, b, np.multiply)))


def square(f: Format, a: Box) -> Box:
    low = np.where((a.lo <= 0) & (a.hi >= 0), 0.0, np.minimum(a.lo**2, a.hi**2))
    return one_step(f, Box(number(a).kind, low, np.maximum(a.lo**2, a.hi**2)))


def div(f: Format, a: Box, b: Box) -> Box:
    """Of two values of a run."""
    a, b = fixed(f, a), fixed(f, b)
    if ((b.lo <= 0) & (b.hi >= 0)).any():
        raise Outside
    return quotient(f, *_corners(a, b, np.divide))


def div_constant(f: Format, a: Box, b: Box) -> Box:
    """By a number of the text, which is a product with its inverse."""
    return one_step(f, Box("fixed", *_corners(a, b, np.divide)))


def reciprocal(f: Format, a: Box) -> Box:
    return div(f, point("int", 1.0), a)


def power(f: Format, a: Box, n: int) -> Box:
    """Squares and products; below 0 the inverse of the power of the number as it is stored."""
    if n == -1:
        return reciprocal(f, a)
    if n < 0:
        a = stored(f, fixed(f, a))
        if ((a.lo <= 0) & (a.hi >= 0)).any():
            raise Outside
        ends = a.lo ** float(n), a.hi ** float(n)
        return smooth(f, np.minimum(*ends), np.maximum(*ends))
    if n == 0:
        return point(number(a).kind, np.ones(a.shape))
    out = number(a)
    for bit in f"{n:b}"[1:]:
        out = admitted(f, square(f, out))
        out = admitted(f, mul(f, out, a)) if bit == "1" else out
    return out


def matmul(f: Format, a: Box, b: Box) -> Box:
    return bilinear(f, a, b, np.matmul)


def bilinear(f: Format, a: Box, b: Box, op: Callable[[Array, Array], Array]) -> Box:
    middle = op(a.middle, b.middle)
    far = op(np.abs(a.middle), b.radius) + op(a.radius, np.abs(b.middle)) + op(a.radius, b.radius)
    far = far + 2.0**-50 * op(a.magnitude, b.magnitude)
    lo, hi = middle - far, middle + far
    if kind_of(a, b) == "int":
        return Box("int", np.rint(lo), np.rint(hi))
    return one_step(f, Box("fixed", lo, hi))


# -- smooth functions --------------------------------------------------------------------------------------------------


def logistic(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small)


erf = np.vectorize(math.erf, otypes=[np.float64])


def monotone(function: Callable[[Array], Array]) -> Callable[[Format, Box], Box]:
    """The meaning of a smooth function that never falls."""

    def meaning(f: Format, a: Box) -> Box:
        a = stored(f, fixed(f, a))
        with np.errstate(all="ignore"):
            lo, hi = function(a.lo), function(a.hi)
        if not (np.isfinite(lo) & np.isfinite(hi)).all():
            raise Outside
        return smooth(f, lo, hi)

    return meaning


def rsqrt(f: Format, a: Box) -> Box:
    a = stored(f, fixed(f, a))
    if not (a.lo > 0).all():
        raise Outside
    return smooth(f, a.hi**-0.5, a.lo**-0.5)


def softmax(f: Format, a: Box, axis: int) -> Box:
    a = stored(f, fixed(f, a))
    top = a.hi.max(axis=axis, keepdims=True)
    small, large = np.exp(a.lo - top), np.exp(a.hi - top)
    rest = 1.0 - np.eye(a.shape[axis])  # a total minus the element would cancel
    others_large, others_small = (np.moveaxis(np.moveaxis(x, axis, -1) @ rest, -1, axis) for x in (large, small))
    with np.errstate(all="ignore"):
        lo, hi = small / (small + others_large), large / (large + others_small)
    return smooth(f, np.nan_to_num(lo, nan=0.0), np.nan_to_num(hi, nan=1.0))


def log_softmax(f: Format, a: Box, axis: int) -> Box:
    """It rises with the element and falls with every other."""
    a = stored(f, fixed(f, a))
    lo, hi = (np.moveaxis(end, axis, -1) for end in (a.lo, a.hi))
    itself = np.eye(lo.shape[-1], dtype=bool)

    def at(own: Array, others: Array) -> Array:
        terms = np.where(itself, own[..., :, None], others[..., None, :])
        return np.moveaxis(own - np.logaddexp.reduce(terms, axis=-1), -1, axis)

    return smooth(f, at(lo, hi), at(hi, lo))


def falls_then_rises(function: Callable[[Array], Array], place: float) -> Callable[[Format, Box], Box]:
    """The meaning of a smooth function that is least at `place`."""

    def meaning(f: Format, a: Box) -> Box:
        a = stored(f, fixed(f, a))
        ends = function(a.lo), function(a.hi), function(np.clip(place, a.lo, a.hi))
        return smooth(f, np.minimum.reduce(ends), np.maximum.reduce(ends))

    return meaning


# -- choices and comparisons -------------------------------------------------------------------------------------------


def each_end(function: Callable[..., Array]) -> Callable[..., Box]:
    """The meaning of a choice: exact, and never falling in any operand."""

    def meaning(f: Format, *boxes: Box) -> Box:
        boxes = tuple(promoted(f, *boxes))
        return Box(boxes[0].kind, function(*(box.lo for box in boxes)), function(*(box.hi for box in boxes)))

    return meaning


def clip(f: Format, a: Box, lo: float, hi: float) -> Box:
    kind = "int" if isinstance(lo, int) and isinstance(hi, int) else "fixed"
    a, low, high = promoted(f, a, point(kind, lo), point(kind, hi))
    return Box(a.kind, np.clip(a.lo, low.lo, high.lo), np.clip(a.hi, low.hi, high.hi))


def absolute(f: Format, a: Box) -> Box:
    (a,) = promoted(f, a)
    crosses = (a.lo <= 0) & (a.hi >= 0)
    return Box(a.kind, np.where(crosses, 0.0, np.minimum(np.abs(a.lo), np.abs(a.hi))), a.magnitude)


def leaky_relu(f: Format, a: Box, slope: float) -> Box:
    a = stored(f, fixed(f, a))
    ends = [np.where(x > 0, x, slope * x) for x in (a.lo, a.hi)]
    crosses = (a.lo <= 0) & (a.hi >= 0)
    ends.append(np.where(crosses, 0.0, ends[0]))
    return one_step(f, Box("fixed", np.minimum.reduce(ends), np.maximum.reduce(ends)))


def where(f: Format, bit: Box, a: Box, b: Box) -> Box:
    if a.kind != "bit" or b.kind != "bit":
        a, b = promoted(f, a, b)
    lo = np.where(bit.lo > 0, a.lo, np.where(bit.hi < 1, b.lo, np.minimum(a.lo, b.lo)))
    hi = np.where(bit.lo > 0, a.hi, np.where(bit.hi < 1, b.hi, np.maximum(a.hi, b.hi)))
    return Box(a.kind, lo, hi)


def _bits(certain: Array, possible: Array) -> Box:
    return Box("bit", np.asarray(certain, np.float64), np.asarray(possible, np.float64))


def compare(f: Format, a: Box, b: Box, sign: str) -> Box:
    a, b = promoted(f, a, b)
    if sign in ("<", "<="):
        a, b, sign = b, a, sign.replace("<", ">")
    if sign == ">":
        return _bits(a.lo > b.hi, a.hi > b.lo)
    if sign == ">=":
        return _bits(a.lo >= b.hi, a.hi >= b.lo)
    points = (a.lo == a.hi) & (b.lo == b.hi)
    equal = _bits(points & (a.lo == b.lo), (a.lo <= b.hi) & (b.lo <= a.hi))
    return equal if sign == "==" else inverted(f, equal)


def inverted(f: Format, a: Box) -> Box:
    return Box("bit", 1 - a.hi, 1 - a.lo)


def both(f: Format, a: Box, b: Box) -> Box:
    return Box("bit", np.minimum(a.lo, b.lo), np.minimum(a.hi, b.hi))


def either(f: Format, a: Box, b: Box) -> Box:
    return Box("bit", np.maximum(a.lo, b.lo), np.maximum(a.hi, b.hi))


# -- reductions and windows --------------------------------------------------------------------------------------------

Axes = tuple[int, ...] | None


def total(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    ends = (end.sum(axis=axis, keepdims=keepdims) for end in (a.lo, a.hi))
    return stored(f, Box(number(a).kind, *map(np.asarray, ends)))


def mean(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    fixed(f, a)
    ends = (end.mean(axis=axis, keepdims=keepdims) for end in (a.lo, a.hi))
    return one_step(f, Box("fixed", *map(np.asarray, ends)))


def variance(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    """Its root is a norm, which the radius of the box moves by its own at most."""
    a = stored(f, fixed(f, a))
    middle = np.asarray(a.middle.std(axis=axis, keepdims=keepdims))
    moved = np.asarray(np.sqrt((a.radius**2).mean(axis=axis, keepdims=keepdims)))
    return smooth(f, np.maximum(middle - moved, 0.0) ** 2, (middle + moved) ** 2)


def clip_norm(f: Format, a: Box, bound: float, axis: int) -> Box:
    a = stored(f, fixed(f, a))
    middle, moved = (np.linalg.norm(each, axis=axis, keepdims=True) for each in (a.middle, a.radius))
    factors = [bound / np.maximum(norm, bound) for norm in (middle - moved, middle + moved)]
    ends = [end * factor for end in (a.lo, a.hi) for factor in factors]
    return smooth(f, np.minimum.reduce(ends), np.maximum.reduce(ends))


def layernorm(f: Format, a: Box, eps: float) -> Box:
    """Without weight and bias."""
    a = stored(f, fixed(f, a))
    lo, hi = (end.mean(axis=-1, keepdims=True) for end in (a.lo, a.hi))
    deviation = a.middle.std(axis=-1, keepdims=True)
    moved = np.sqrt((a.radius**2).mean(axis=-1, keepdims=True))
    roots = [np.sqrt(np.maximum(each, 0.0) ** 2 + eps) for each in (deviation - moved, deviation + moved)]
    ends = [distance / root for distance in (a.lo - hi, a.hi - lo) for root in roots]
    return smooth(f, np.minimum.reduce(ends), np.maximum.reduce(ends))


def some(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    return Box("bit", *(np.asarray(end.max(axis=axis, keepdims=keepdims)) for end in (a.lo, a.hi)))


def every(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    return Box("bit", *(np.asarray(end.min(axis=axis, keepdims=keepdims)) for end in (a.lo, a.hi)))


def largest(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    (a,) = promoted(f, a)
    ends = (end.max(axis=axis, keepdims=keepdims) for end in (a.lo, a.hi))
    return Box(a.kind, *map(np.asarray, ends))


def smallest(f: Format, a: Box, axis: Axes, keepdims: bool) -> Box:
    return neg(f, largest(f, neg(f, a), axis, keepdims))


def argmax(f: Format, a: Box, axis: int | None) -> Box:
    """The first of equals: what lies before must be able to be smaller, what lies behind no larger."""
    (a,) = promoted(f, a)
    lo, hi = (end.reshape(-1) if axis is None else np.moveaxis(end, axis, -1) for end in (a.lo, a.hi))
    n = lo.shape[-1]
    before = np.tril(np.ones((n, n), bool), -1)
    beaten = np.where(before, hi[..., :, None] > lo[..., None, :], hi[..., :, None] >= lo[..., None, :])
    possible = (beaten | np.eye(n, dtype=bool)).all(axis=-1)
    first = possible.argmax(axis=-1)
    last = n - 1 - possible[..., ::-1].argmax(axis=-1)
    return Box("int", np.asarray(first, np.float64), np.asarray(last, np.float64))


def argmin(f: Format, a: Box, axis: int | None) -> Box:
    return argmax(f, neg(f, a), axis)


def one_hot(f: Format, a: Box, n: int) -> Box:
    lo, hi, places = a.lo[..., None], a.hi[..., None], np.arange(n)
    return _bits((lo == places) & (hi == places), (lo <= places) & (places <= hi))


def gather(f: Format, a: Box, i: Box, axis: int) -> Box:
    """Whatever an index may choose; 0 outside."""
    if a.kind == "fixed":
        a = stored(f, a)
    n = a.shape[axis]
    lo, hi = (np.moveaxis(end, axis, -1) for end in (a.lo, a.hi))
    flat_lo, flat_hi = i.lo.reshape(-1), i.hi.reshape(-1)
    ends = []
    for low, high in zip(flat_lo, flat_hi, strict=True):
        chosen = np.arange(max(0, int(low)), min(n - 1, int(high)) + 1)
        outside = [np.zeros(lo.shape[:-1])] if low < 0 or high > n - 1 else []
        columns = [[end[..., k] for k in chosen] + outside for end in (lo, hi)]
        ends.append((np.minimum.reduce(columns[0]), np.maximum.reduce(columns[1])))
    shape = (*a.shape[:axis], *i.shape, *a.shape[axis + 1 :])

    def placed(which: int) -> Array:
        rows = np.stack([pair[which] for pair in ends]).reshape((*i.shape, *lo.shape[:-1]))
        rank = i.lo.ndim
        order = (*range(rank, rank + axis), *range(rank), *range(rank + axis, rows.ndim))
        return rows.transpose(order).reshape(shape)

    return Box(a.kind, placed(0), placed(1))


Pair = tuple[int, int]


def _windows(x: Array, k: Pair, stride: Pair, padding: Pair, outside: float) -> list[Array]:
    """For each place of the window the elements that stand there, an image for each."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=outside)
    high, wide = ((x.shape[2 + i] - k[i]) // stride[i] + 1 for i in (0, 1))
    return [
        x[:, :, i : i + stride[0] * (high - 1) + 1 : stride[0], j : j + stride[1] * (wide - 1) + 1 : stride[1]]
        for i in range(k[0])
        for j in range(k[1])
    ]


def maxpool(f: Format, a: Box, k: Pair, stride: Pair, padding: Pair) -> Box:
    (a,) = promoted(f, a)
    ends = (np.maximum.reduce(_windows(end, k, stride, padding, -np.inf)) for end in (a.lo, a.hi))
    return Box(a.kind, *ends)


def avgpool(f: Format, a: Box, k: Pair, stride: Pair, padding: Pair) -> Box:
    fixed(f, a)
    ends = (sum(_windows(end, k, stride, padding, 0.0)) / (k[0] * k[1]) for end in (a.lo, a.hi))
    return one_step(f, Box("fixed", *map(np.asarray, ends)))


def conv2d(f: Format, x: Box, weight: Box, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Box:
    """PyTorch's, without bias."""

    def op(image: Array, kernel: Array) -> Array:
        outs, depth, kh, kw = kernel.shape
        reach = dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1
        places = _windows(image, reach, stride, padding, 0.0)
        parts = []
        for g in range(groups):
            own = kernel[g * (outs // groups) : (g + 1) * (outs // groups)]
            chosen = [
                np.einsum(
                    "nchw,oc->nohw",
                    places[i * dilation[0] * reach[1] + j * dilation[1]][:, g * depth : (g + 1) * depth],
                    own[:, :, i, j],
                )
                for i in range(kh)
                for j in range(kw)
            ]
            parts.append(sum(chosen))
        return np.concatenate(parts, axis=1)

    return bilinear(f, x, weight, op)


def conv_transpose2d(f: Format, x: Box, weight: Box, stride: Pair) -> Box:
    """A kernel added for each pixel, without bias, padding and groups."""

    def op(image: Array, kernel: Array) -> Array:
        (n, _, h, w), (_, outs, kh, kw) = image.shape, kernel.shape
        out = np.zeros((n, outs, (h - 1) * stride[0] + kh, (w - 1) * stride[1] + kw))
        for i, j in np.ndindex(h, w):
            place = out[:, :, i * stride[0] : i * stride[0] + kh, j * stride[1] : j * stride[1] + kw]
            place += np.einsum("nc,cohw->nohw", image[:, :, i, j], kernel)
        return out

    return bilinear(f, x, weight, op)


# -- what only moves elements ------------------------------------------------------------------------------------------


def moved(function: Callable[[Array], Array]) -> Callable[[Format, Box], Box]:
    return lambda f, a: Box(a.kind, function(a.lo), function(a.hi))


def joined(f: Format, boxes: Sequence[Box], axis: int) -> Box:
    if not all(box.kind == "bit" for box in boxes):
        boxes = promoted(f, *boxes)
    ends = (np.concatenate([getattr(box, end) for box in boxes], axis=axis) for end in ("lo", "hi"))
    return Box(boxes[0].kind, *ends)


def pad(f: Format, a: Box, widths: tuple[Pair, ...], value: float) -> Box:
    around = point("int" if isinstance(value, int) else "fixed", value)
    if a.kind != "bit" or around.kind != "int":
        a, around = promoted(f, a, around)
    lo, hi = (np.pad(getattr(a, end), widths, constant_values=getattr(around, end)) for end in ("lo", "hi"))
    return Box(a.kind, lo, hi)
