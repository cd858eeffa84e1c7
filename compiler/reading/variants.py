"""Whether a model compiled for another `batch` computes every row as before.

`batch` is a number like any other: a model may divide by it, unroll a loop over it or pad up to it. Two compilations
compute rows alike when their graphs are the same value by value, but for sizes that have grown with the batch. That a
slice that has grown takes all rows is seen at the results, whose rows are on one axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from compiler.graph import BATCH, Constant, Graph, TensorOp, Value, topological
from compiler.reading.batch_axis import row_axes

__all__ = ["computed_otherwise", "same_rows"]


def same_rows(one: Graph, other: Graph) -> bool:
    """Whether each row of the results comes from its row of the inputs alone, and in the same way in both graphs."""
    sizes = one.dims.get(BATCH, 0), other.dims.get(BATCH, 0)
    if not all(sizes):
        return False
    pairs = list(_pairs(one, other))
    if len(pairs) != len(one.values()) or len(pairs) != len(other.values()):
        return False
    places = [{value: i for i, value in enumerate(graph.values())} for graph in (one, other)]
    for a, b in pairs:
        if [places[0][arg] for arg in a.args] != [places[1][arg] for arg in b.args]:
            return False
        if (a.kind, a.visibility, a.range, a.declared) != (b.kind, b.visibility, b.range, b.declared):
            return False
        if not _grown(a.shape, b.shape, sizes) or not _same_op(a.op, b.op, sizes):
            return False
    rows = [row_axes(output.value for output in graph.outputs) for graph in (one, other)]
    return rows[0] == rows[1] and None not in rows[0]


def computed_otherwise(one: Value, other: Value, sizes: tuple[int, int]) -> Value | None:
    """The first value on the way to `one` that is not computed alike on the way to `other`, where the batch has another
    size: but for sizes that have grown with it. None where all are."""
    orders = topological([one]), topological([other])
    places = [{value: i for i, value in enumerate(order)} for order in orders]
    for a, b in zip(*orders, strict=False):
        if [places[0][arg] for arg in a.args] != [places[1][arg] for arg in b.args] or not _same_op(a.op, b.op, sizes):
            return a
    return None if len(orders[0]) == len(orders[1]) else one


def _pairs(one: Graph, other: Graph) -> Iterator[tuple[Value, Value]]:
    return zip(one.values(), other.values(), strict=False)


def _same_op(a: TensorOp, b: TensorOp, sizes: tuple[int, int]) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, Constant) and isinstance(b, Constant):
        return a == b or _same_number(a, b)
    return all(
        _grown(getattr(a, f.name), getattr(b, f.name), sizes)
        if f.name in a.sizes
        else getattr(a, f.name) == getattr(b, f.name)
        for f in fields(a)
    )


def _same_number(a: Constant, b: Constant) -> bool:
    """Whether all elements of both constants are one number."""
    both = np.concatenate([a.array.ravel(), b.array.ravel()])
    return bool(np.all(both == both[0])) if both.size else True


def _grown(a: tuple[int, ...], b: tuple[int, ...], sizes: tuple[int, int]) -> bool:
    """Whether each size of `b` is that of `a`, or as many times it as the batch has grown."""
    return len(a) == len(b) and all(n == m or n * sizes[1] == m * sizes[0] for n, m in zip(a, b, strict=True))
