"""NumPy's basic indexing, as a slice and a reshape."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

from compiler.graph import OpError, Shape, Value, apply
from compiler.ops.build import reshape
from compiler.ops.rules import show
from compiler.ops.shapes import Slice

Index = int | slice | EllipsisType | None


def index(x: Value, items: Sequence[Index]) -> Value:
    """NumPy's basic indexing `x[items]`: whole numbers, slices, `...` and None (a new axis)."""
    items = _filled(x, items)
    starts, steps, counts = [], [], []
    shape: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        start, step, count = _positions(item, axis, x.shape)
        starts.append(start)
        steps.append(step)
        counts.append(count)
        if isinstance(item, slice):
            shape.append(count)
        axis += 1
    op = Slice(tuple(starts), tuple(steps), tuple(counts))
    whole = op == Slice((0,) * x.rank, (1,) * x.rank, x.shape)
    return reshape(x if whole else apply(op, x), shape)


def _filled(x: Value, items: Sequence[Index]) -> list[Index]:
    """`items` with `...` spelled out, so that every axis of x has its own."""
    given = sum(item is not None and item is not Ellipsis for item in items)
    if given > x.rank:
        raise OpError(
            f"expected at most {x.rank} indices for {show(x.shape)}, found {given}", "give one for each axis", 0
        )
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        several = "expected at most one `...` among the indices, found more"
        raise OpError(several, "write `:` for an axis that is taken whole", 0)
    rest: list[Index] = [slice(None)] * (x.rank - given)
    if not places:
        return [*items, *rest]
    return [*items[: places[0]], *rest, *items[places[0] + 1 :]]


def _positions(item: Index, axis: int, shape: Shape) -> tuple[int, int, int]:
    """(start, step, count) along one axis."""
    size = shape[axis]
    if isinstance(item, slice):
        if item.step == 0:
            raise OpError("a slice cannot step by 0", "leave the step out, or give another", 0)
        start, stop, step = item.indices(size)
        count = len(range(start, stop, step))
        if count == 0:
            message = f"the slice of axis {axis} of {show(shape)} is empty"
            raise OpError(message, f"its places are 0 to {size - 1}, and a slice ends before its end", 0)
        return start, (step if count > 1 else 1), count
    assert isinstance(item, int)
    if not -size <= item < size:
        raise OpError(
            f"index {item} is out of range for axis {axis} of {show(shape)}",
            "use 0" if size == 1 else f"use {-size} to {size - 1}",
            0,
        )
    return item % size, 1, 1
