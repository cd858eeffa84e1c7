"""What sorts, counts and cuts, powers, and functions of several tensors: meanings on boxes, and calls of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.fuzz import meaning as m
from tests.fuzz.boxes import Array, Box, Outside, fixed, number, one_step, point, promoted, smooth, stored
from tests.fuzz.building import Builder, Value

# -- meanings ----------------------------------------------------------------------------------------------------------


def cut(function: Callable[[Array], Array]) -> Callable[[m.Format, Box], Box]:
    """The meaning of floor and its like: of the stored number, whole, never falling."""
    return lambda f, a: Box("int", function(stored(f, a).lo), function(stored(f, a).hi))


def running(f: m.Format, a: Box, axis: int) -> Box:
    return stored(f, Box(number(a).kind, a.lo.cumsum(axis=axis), a.hi.cumsum(axis=axis)))


def ordered(f: m.Format, a: Box, axis: int, count: int, descending: bool) -> Box:
    """The k-th smallest never falls in any element."""
    (a,) = promoted(f, a)
    sign = -1 if descending else 1
    ends = (np.sort(sign * end, axis=axis) * sign for end in (a.lo, a.hi))
    return Box(a.kind, *(np.take(end, range(count), axis=axis) for end in ends))


def places(f: m.Format, a: Box, axis: int, count: int, descending: bool) -> Box:
    """For each rank the first and the last index that may have it; of equals, the first comes first."""
    (a,) = promoted(f, m.neg(f, a) if descending else a)
    lo, hi = (np.moveaxis(end, axis, -1) for end in (a.lo, a.hi))
    n = lo.shape[-1]
    earlier = np.tril(np.ones((n, n), bool), -1)  # [i, j]: j stands before i
    surely = (hi[..., None, :] < lo[..., :, None]) | (earlier & (hi[..., None, :] <= lo[..., :, None]))
    perhaps = (lo[..., None, :] < hi[..., :, None]) | (earlier & (lo[..., None, :] <= hi[..., :, None]))
    least, most = (each.sum(axis=-1) - np.diagonal(each, axis1=-2, axis2=-1) for each in (surely, perhaps))
    ranks = np.arange(count)[:, None]
    possible = (least[..., None, :] <= ranks) & (ranks <= most[..., None, :])
    first, last = possible.argmax(axis=-1), n - 1 - possible[..., ::-1].argmax(axis=-1)
    return Box("int", *(np.moveaxis(end.astype(np.float64), -1, axis) for end in (first, last)))


def raised(f: m.Format, a: Box, b: Box) -> Box:
    """x ** y of positive x: extreme at the corners."""
    a, b = stored(f, fixed(f, a)), stored(f, fixed(f, b))
    if not (a.lo > 0).all():
        raise Outside
    with np.errstate(all="ignore"):
        corners = [x**y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return smooth(f, np.minimum.reduce(corners), np.maximum.reduce(corners))


def prelu_of(f: m.Format, a: Box, slope: Box) -> Box:
    """The number itself above 0, and the product below."""
    a, slope = stored(f, fixed(f, a)), stored(f, fixed(f, slope))
    below = [np.minimum(x, 0) * s for x in (a.lo, a.hi) for s in (slope.lo, slope.hi)]
    above = [np.maximum(x, 0) for x in (a.lo, a.hi)]
    lo = np.where(a.lo > 0, above[0], np.minimum.reduce(below))
    hi = np.where(
        a.hi <= 0, np.maximum.reduce(below), np.where(a.lo > 0, above[1], np.maximum.reduce([*below, above[1]]))
    )
    return one_step(f, Box("fixed", lo, hi))


# -- calls -------------------------------------------------------------------------------------------------------------


def _tensor(value: Value) -> bool:
    return value.shape != ()


def _fits(*values: Value) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(*(value.shape for value in values)))) <= 2000
    except ValueError:
        return False


def whole(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.kind != "bit")
    name, function = b.pick([("floor", np.floor), ("ceil", np.ceil), ("round", np.rint)])
    return None if x is None else b.make(f"{name}({{0}})", cut(function), x)


def cumsum(b: Builder) -> Value | None:
    x = b.operand(_tensor)
    if x is None:
        return None
    axis = b.whole(0, len(x.shape) - 1)
    return b.make(f"cumsum({{0}}, axis={axis})", partial(running, axis=axis), x)


def order(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != () and max(value.shape) <= 20)
    if x is None:
        return None
    by_rank = b.chance(2)
    name, meaning = ("arg", places) if by_rank else ("", ordered)
    if b.chance(2):
        axis, descending = b.whole(0, len(x.shape) - 1), b.chance(2)
        form = f"{name}sort({{0}}, axis={axis}{', descending=true' * descending})"
        return b.make(form, partial(meaning, axis=axis, count=x.shape[axis], descending=descending), x)
    k = b.whole(1, x.shape[-1])
    return b.make(f"{name}topk({{0}}, {k})", partial(meaning, axis=-1, count=k, descending=True), x)


def fraction(b: Builder) -> Value | None:
    """A power of a positive number; of one number with a value as its exponent; and of two values."""
    x = b.operand(lambda value: bool((value.box.lo > 0).all()))
    if x is None:
        return None
    p = b.pick([2.5, 0.3, -1.5, -2.0, 7.25, -0.75, 1.0 / 3])
    form = b.whole(0, 2)
    if form == 0:
        written = f"pow({{0}}, {p})" if p > 0 else f"{{0}} ** -{-p}"
        return b.make(written, lambda f, a: raised(f, a, point("fixed", p)), x)
    if form == 1:
        base = b.pick([2.0, 0.3, 1.0, 1.7])
        y = b.operand(lambda value: bool((np.abs(value.box.middle) < 12).all()))
        exact = (
            m.monotone(lambda v: base**v) if base >= 1 else lambda f, a: m.monotone(lambda v: base**-v)(f, m.neg(f, a))
        )
        return None if y is None else b.make(f"{base} ** {{0}}", exact, y)
    y = b.operand(lambda value: _fits(x, value) and bool(value.owners))  # a table of exponents wants more of its base
    if y is None:
        return None
    return b.make("{0} ** clip({1}, -2.0, 2.5)", lambda f, u, v: raised(f, u, m.clip(f, v, -2.0, 2.5)), x, y)


def several(b: Builder) -> Value | None:
    x = b.operand()
    y = None if x is None else b.operand(lambda value: _fits(x, value))
    if x is None or y is None:
        return None
    z = b.literal() if b.chance(2) else b.operand(lambda value: _fits(x, y, value))
    if z is None:
        return None
    name, function = b.pick([("minimum", np.minimum), ("maximum", np.maximum)])
    exact = m.each_end(lambda p, q, r: function(function(p, q), r))
    return b.make(f"{name}({{0}}, {{1}}, {{2}})", exact, x, y, z)


def prelu(b: Builder) -> Value | None:
    x = b.operand(_tensor)
    slope = None if x is None else b.operand(lambda v: v.kind != "bit" and _fits(x, v) and _spread(x, v) == x.shape)
    return None if x is None or slope is None else b.make("prelu({0}, {1})", prelu_of, x, slope)


def _spread(x: Value, y: Value) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(x.shape, y.shape))


def einsum(b: Builder) -> Value | None:
    x = b.operand(lambda value: len(value.shape) == 2)
    y = None if x is None else b.operand(lambda value: len(value.shape) == 2 and value.shape[1] == x.shape[1])
    if x is None or y is None or x.shape[0] * y.shape[0] > 2000:
        return None
    equation = b.pick(["ij,kj->ik", "ij,kj->ki"])
    form = f'einsum({{0}}, {{1}}, equation="{equation}")'
    return b.make(form, lambda f, p, q: m.bilinear(f, p, q, partial(np.einsum, equation)), x, y)


def resize2d(b: Builder) -> Value | None:
    x = b.operand(lambda value: len(value.shape) == 4)
    if x is None:
        return None
    up = b.whole(1, 2), b.whole(1, 3)
    size = [x.shape[2] * up[0], x.shape[3] * up[1]]
    return b.make(f"resize2d({{0}}, {size})", m.moved(lambda end: end.repeat(up[0], axis=2).repeat(up[1], axis=3)), x)


def adaptive(b: Builder) -> Value | None:
    """Means of windows of one size, of images and along one axis."""
    x = b.operand(lambda value: len(value.shape) in (3, 4))
    if x is None:
        return None
    sizes = [b.pick([n for n in range(1, side + 1) if side % n == 0]) for side in x.shape[2:]]
    k = tuple(side // size for side, size in zip(x.shape[2:], sizes, strict=True))
    if len(k) == 2:
        return b.make(f"adaptive_avgpool2d({{0}}, {sizes})", lambda f, a: m.avgpool(f, a, k, k, (0, 0)), x)

    def along(f: m.Format, a: Box) -> Box:
        image = m.moved(lambda end: end[:, :, None])(f, a)
        return m.moved(lambda end: end[:, :, 0])(f, m.avgpool(f, image, (1, k[0]), (1, k[0]), (0, 0)))

    return b.make(f"adaptive_avgpool1d({{0}}, {sizes[0]})", along, x)
