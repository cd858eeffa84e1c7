"""Images of another size, and borders that repeat what they meet: compositions of moves and products with constants."""

from __future__ import annotations

import numpy as np

from compiler.graph import Array, OpError, Value, apply, constant, expect_constant
from compiler.ops import build
from compiler.ops.indexing import index
from compiler.ops.linear import MatMul
from compiler.ops.rules import show

Pair = tuple[int, int]


def pad(x: Value, widths: tuple[Pair, ...], value: float = 0, mode: str = "constant") -> Value:
    """NumPy's modes: `value`, the elements behind the border, or the one at it."""
    if mode == "constant":
        return build.pad(x, widths, value)
    if len(widths) != x.rank or any(width < 0 for pair in widths for width in pair):
        return build.pad(x, widths)  # refused there
    for axis, (before, after) in enumerate(widths):
        n = x.shape[axis]
        if mode == "reflect" and max(before, after) >= n:
            message = f"pad by reflection expects less than the size of its axis, found {max(before, after)} for {n}"
            raise OpError(message, 'use `mode="edge"`, or less', "widths")
        firsts, lasts = _reflected(x, axis, before, after) if mode == "reflect" else _edges(x, axis, before, after)
        x = build.concat(*firsts, x, *lasts, axis=axis)
    return x


def _reflected(x: Value, axis: int, before: int, after: int) -> tuple[list[Value], list[Value]]:
    n, around = x.shape[axis], (slice(None),) * axis
    first = [index(x, (*around, slice(before, 0, -1)))] if before else []
    stop = n - 2 - after
    return first, [index(x, (*around, slice(n - 2, stop if stop >= 0 else None, -1)))] if after else []


def _edges(x: Value, axis: int, before: int, after: int) -> tuple[list[Value], list[Value]]:
    found = []
    for place, width in ((0, before), (x.shape[axis] - 1, after)):
        one = index(x, (*(slice(None),) * axis, slice(place, place + 1)))
        shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
        found.append([build.broadcast_to(one, shape)] if width else [])
    return found[0], found[1]


def resize2d(x: Value, size: Pair, mode: str = "nearest", align_corners: bool = False) -> Value:
    """PyTorch's `interpolate` of [n, c, h, w] to another height and width."""
    if x.rank != 4:
        message = f"resize2d expects [batch, channels, height, width], found {show(x.shape)}"
        raise OpError(message, "`reshape` or `unsqueeze` makes four axes", 0)
    if min(size) < 1:
        raise OpError(f"`size` of resize2d expects at least 1, found {show(size)}", arg="size")
    if mode == "nearest" and align_corners:
        raise OpError("`align_corners` of resize2d is for bilinear resizing", arg="align_corners")
    for axis, wanted in zip((2, 3), size, strict=True):
        x = _nearest(x, axis, wanted) if mode == "nearest" else _between(x, axis, wanted, align_corners)
    return x


def _nearest(x: Value, axis: int, size: int) -> Value:
    """The element at floor(i n / size)."""
    n = x.shape[axis]
    if size % n:
        return build.gather(x, constant(np.arange(size) * n // size), axis)
    apart = build.unsqueeze(x, axis + 1)
    shape = (*x.shape[: axis + 1], size // n, *x.shape[axis + 1 :])
    return build.reshape(build.broadcast_to(apart, shape), (*x.shape[:axis], size, *x.shape[axis + 1 :]))


def _between(x: Value, axis: int, size: int, align_corners: bool) -> Value:
    """Along an axis, a product with weights [size, n]: two neighbours each."""
    x = build.to_fixed(x)
    if x.shape[axis] == size:
        return x
    expect_constant((size, x.shape[axis]))
    weights = constant(_weights(x.shape[axis], size, align_corners))
    return apply(MatMul(), weights, x) if axis == 2 else apply(MatMul(), x, build.transpose(weights))


def _weights(n: int, size: int, align_corners: bool) -> Array:
    """Pixels are squares: their middles lie at i + 1/2, or, with corners aligned, the outermost on each other."""
    if align_corners:
        places = np.arange(size) * ((n - 1) / max(1, size - 1))
    else:
        places = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, None)
    low = np.minimum(places.astype(np.int64), n - 1)
    part = places - low
    weights = np.zeros((size, n))
    np.add.at(weights, (np.arange(size), low), 1 - part)
    np.add.at(weights, (np.arange(size), np.minimum(low + 1, n - 1)), part)
    return weights
