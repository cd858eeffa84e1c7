"""Norms beside intervals: what is known of many elements of a value together.

An interval bounds each element alone, and n terms of a sum by n times the largest. A norm bounds them together: by
Hölder's inequality a product of a row and a column is at most |row|_2 |column|_2, and at most |row|_max |column|_1,
whatever their length. Bounds are float64 and rounded up: each is a little larger than it would have to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mpc_runtime.errors import number

if TYPE_CHECKING:
    from compiler.graph.interval import Interval
    from compiler.graph.kinds import Shape
    from compiler.graph.values import Value

UP = 1 + 2.0**-40
"""Far more than the roundings of the few operations behind one bound."""

GAIN = 1 - 2.0**-6
"""A norm that is not smaller than this part of what is known without it is not kept."""

MOST = 6
"""Norms kept of one value."""


@dataclass(frozen=True)
class Norm:
    """At every place along the other axes, the elements along `axes` have this L1 or L2 norm at most."""

    order: int
    axes: tuple[int, ...]
    bound: float

    def __str__(self) -> str:
        return f"L{self.order} over {list(self.axes)} <= {number(self.bound)}"


def norm(value: Value, order: int, axes: Iterable[int]) -> float:
    """The largest L1 or L2 norm of the elements along `axes`."""
    return l1(value, axes) if order == 1 else l2(value, axes)


def l2(value: Value, axes: Iterable[int]) -> float:
    """The largest L2 norm of the elements along `axes`."""
    axes = frozenset(axes)
    if value.is_constant:
        with np.errstate(over="ignore"):
            squares = np.square(value.array.astype(np.float64)).sum(axis=tuple(axes))
        return UP * math.sqrt(float(squares.max()))
    return _l2(value.norms, value.range.magnitude, value.shape, axes)


def l1(value: Value, axes: Iterable[int]) -> float:
    """The largest sum of the magnitudes of the elements along `axes`."""
    axes = frozenset(axes)
    if value.is_constant:
        with np.errstate(over="ignore"):
            return UP * float(np.abs(value.array.astype(np.float64)).sum(axis=tuple(axes)).max())
    return _l1(value.norms, value.range.magnitude, value.shape, axes)


def _l2(norms: Sequence[Norm], largest: float, shape: Shape, axes: frozenset[int]) -> float:
    found = [_times(largest, math.sqrt(_count(shape, axes)))]
    for n in norms:
        part = n.bound if n.order == 2 else min(n.bound, math.sqrt(_times(n.bound, largest)))
        found.append(_times(part, math.sqrt(_count(shape, axes - set(n.axes)))))
    return UP * min(found)


def _l1(norms: Sequence[Norm], largest: float, shape: Shape, axes: frozenset[int]) -> float:
    count = _count(shape, axes)
    found = [_times(largest, count), _times(_l2(norms, largest, shape, axes), math.sqrt(count))]
    found += [_times(n.bound, _count(shape, axes - set(n.axes))) for n in norms if n.order == 1]
    return UP * min(found)


@dataclass(frozen=True)
class Terms:
    """What a sum of products takes of one value: its L2 norm, its L1 norm and its largest magnitude, at most."""

    l2: float
    l1: float
    largest: float

    def product(self, other: Terms) -> float:
        """The largest magnitude of the sum of products with `other`'s terms (Hölder)."""
        pairs = ((self.l2, other.l2), (self.largest, other.l1), (self.l1, other.largest))
        return UP * min(_times(a, b) for a, b in pairs)


def terms(value: Value, axes: Iterable[int]) -> Terms:
    """The elements along `axes`."""
    axes = tuple(axes)
    return Terms(l2(value, axes), l1(value, axes), value.range.magnitude)


def window(value: Value, sizes: Shape) -> Terms:
    """Windows with these sizes along the last axes."""
    shape = (*value.shape[: value.rank - len(sizes)], *sizes)
    axes, largest = frozenset(range(value.rank - len(sizes), value.rank)), value.range.magnitude
    return Terms(_l2(value.norms, largest, shape, axes), _l1(value.norms, largest, shape, axes), largest)


def within(derived: Interval, bound: float) -> Interval:
    """The part of an interval within [-bound, bound]."""
    if math.isinf(bound):
        return derived
    return derived.clip(-bound, bound) if bound < derived.magnitude else derived


def useful(norms: Iterable[Norm], range_: Interval, shape: Shape) -> tuple[Norm, ...]:
    """Those that say more than the range and the ones before them, the tightest first."""
    largest, kept = range_.magnitude, list[Norm]()
    finite = [n for n in norms if math.isfinite(n.bound) and _count(shape, n.axes) > 1]
    for each in sorted(finite, key=lambda n: (n.bound, n.order, n.axes)):
        known = (_l1 if each.order == 1 else _l2)(kept, largest, shape, frozenset(each.axes))
        if each.bound < GAIN * known:
            kept.append(each)
    return tuple(kept[:MOST])


def rounded(norms: Iterable[Norm], error: float, shape: Shape) -> tuple[Norm, ...]:
    """The norms of what is up to `error` away, element by element."""
    if not error:
        return tuple(norms)
    return tuple(replace(n, bound=UP * (n.bound + error * _count(shape, n.axes) ** (1 / n.order))) for n in norms)


def scaled(norms: Iterable[Norm], factor: float) -> tuple[Norm, ...]:
    """The norms of elements up to `factor` times as large."""
    return tuple(replace(n, bound=UP * _times(n.bound, factor)) for n in norms) if math.isfinite(factor) else ()


def multiplied(a: Value, b: Value) -> tuple[Norm, ...]:
    """Of a product, element by element and broadcast: those of either, times the largest of the other."""
    if not (a.norms or b.norms):
        return ()
    shape = np.broadcast_shapes(a.shape, b.shape)
    return (*scaled(broadcast(a, shape), b.range.magnitude), *scaled(broadcast(b, shape), a.range.magnitude))


def squared(x: Value) -> tuple[Norm, ...]:
    """Of the squares: the sum of squares is an L1 norm."""
    sums = [Norm(1, n.axes, UP * n.bound * n.bound) for n in x.norms if n.order == 2]
    return (*scaled(x.norms, x.range.magnitude), *sums)


def added(a: Value, b: Value, *more: Value) -> tuple[Norm, ...]:
    """Of a sum or difference of a and b, broadcast to their shape and that of `more`: the triangle inequality."""
    if not (a.norms or b.norms):
        return ()
    shape = np.broadcast_shapes(*(each.shape for each in (a, b, *more)))
    wanted = {(n.order, n.axes) for each in (a, b) for n in broadcast(each, shape)}
    return tuple(
        Norm(order, axes, UP * (_spread(a, shape, order, axes) + _spread(b, shape, order, axes)))
        for order, axes in sorted(wanted)
    )


def _spread(value: Value, shape: Shape, order: int, axes: tuple[int, ...]) -> float:
    """A norm of `value` broadcast to `shape`, along axes of that shape."""
    lead = len(shape) - value.rank
    own = [axis - lead for axis in axes if axis >= lead]
    copies = _count(shape, [axis for axis in axes if axis < lead or value.shape[axis - lead] != shape[axis]])
    found = norm(value, order, own)
    return _times(found, float(copies) if order == 1 else math.sqrt(copies))


def broadcast(value: Value, shape: Shape) -> tuple[Norm, ...]:
    """The norms of `value` broadcast to `shape`: along axes where it is not copied."""
    lead = len(shape) - value.rank
    found = []
    for each in value.norms:
        axes = tuple(axis + lead for axis in each.axes if value.shape[axis] == shape[axis + lead])
        found.append(replace(each, axes=axes))
    return tuple(n for n in found if n.axes)


def permuted(norms: Iterable[Norm], order: Sequence[int]) -> tuple[Norm, ...]:
    """Axis i of the result is axis `order[i]`."""
    return tuple(replace(n, axes=tuple(sorted(order.index(axis) for axis in n.axes))) for n in norms)


def reshaped(norms: Iterable[Norm], old: Shape, new: Shape) -> tuple[Norm, ...]:
    """In another shape: groups of axes with the same elements change into each other as a whole."""
    groups = _groups(old, new)
    found = []
    for each in norms:
        whole = [after for before, after in groups if before and set(before) <= set(each.axes)]
        found.append(replace(each, axes=tuple(axis for after in whole for axis in after)))
    return tuple(n for n in found if n.axes)


def _groups(old: Shape, new: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The finest pairs (axes before, axes after), in order, that hold the same elements."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start, a, b = (i, j), 1, 1
        while a != b or (i, j) == start:
            if j == len(new) or (i < len(old) and a <= b):
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        groups.append((tuple(range(start[0], i)), tuple(range(start[1], j))))
    return groups


def joined(values: Sequence[Value], axis: int) -> tuple[Norm, ...]:
    """Of values one behind the other along an axis: added up where a norm is along it."""
    wanted = {(n.order, n.axes) for value in values for n in value.norms}
    return tuple(Norm(order, axes, _together(values, order, axes, axis in axes)) for order, axes in sorted(wanted))


def _together(values: Sequence[Value], order: int, axes: tuple[int, ...], along: bool) -> float:
    found = [norm(value, order, axes) for value in values]
    if not along:
        return max(found)
    return UP * (sum(found) if order == 1 else math.hypot(*found))


def _count(shape: Shape, axes: Iterable[int]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _times(a: float, b: float) -> float:
    """With 0 * inf = inf: what is not known stays so."""
    return math.inf if math.isinf(a) or math.isinf(b) else a * b
