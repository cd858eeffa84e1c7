"""Which axis of a value is the rows of the dim `batch`, and where rows meet.

A result that has its rows on an axis, each computed from the same row of the inputs alone, can be computed for any
number of rows: batch by batch, the last one filled up. One in which rows meet (a mean over the batch) cannot, and
`run_batches` has to refuse it. What an op does to rows is said here for each family; an op that is not known counts as
one in which they meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from compiler.graph import Constant, Input, Shape, TensorOp, Value, topological
from compiler.ops.activations import Smooth, Softmax
from compiler.ops.elementwise import Binary, Comparison, Div, Logic, Mul, ToFixed, ToInt, Unary, Where
from compiler.ops.linear import Conv2d, MatMul
from compiler.ops.pooling import Pool2d
from compiler.ops.reductions import ArgMax, Reduction
from compiler.ops.shapes import BroadcastTo, Concat, Pad, Reshape, Slice, Transpose

__all__ = ["BATCH", "row_axes"]

BATCH = "batch"
ELEMENTWISE = (Binary, Unary, Smooth, Mul, Div, Where, Comparison, Logic, ToInt, ToFixed)

NONE = -1  # depends on no rows
MEET = -2  # an element depends on several rows, or the rows are on no one axis


def row_axes(values: Iterable[Value]) -> list[int | None]:
    """For each value the axis of its rows; None where rows meet, and where it depends on none."""
    wanted = list(values)
    axes: dict[Value, int] = {}
    for value in topological(wanted):
        axes[value] = _axis(value, [axes[arg] for arg in value.args])
    return [axes[value] if axes[value] >= 0 else None for value in wanted]


def _axis(value: Value, rows: Sequence[int]) -> int:
    op, args = value.op, value.args
    if isinstance(op, Input):
        return op.dims.index(BATCH) if BATCH in op.dims else NONE
    if all(axis == NONE for axis in rows):
        return NONE
    if MEET in rows:
        return MEET
    if isinstance(op, ELEMENTWISE):
        return _aligned(args, rows, value.shape)
    if isinstance(op, MatMul):
        return _matmul(args, rows, len(value.shape))
    if isinstance(op, Concat):
        found = _aligned(args, rows, value.shape)
        return MEET if found == op.axis else found
    if isinstance(op, Conv2d):
        return 0 if tuple(rows) == (0, NONE) else MEET
    return _unary(op, args[0].shape, rows[0], value.shape) if len(args) == 1 else MEET


def _unary(op: TensorOp, shape: Shape, axis: int, result: Shape) -> int:
    """The axis of the rows behind an op on one value."""
    if isinstance(op, Softmax):
        return MEET if op.axis == axis else axis
    if isinstance(op, Pool2d):
        return axis if axis < 2 else MEET
    if isinstance(op, (Reduction, ArgMax)):
        gone = op.axes if isinstance(op, Reduction) else (op.axis,)
        kept = isinstance(op, Reduction) and op.keepdims
        return MEET if axis in gone else axis - (0 if kept else sum(each < axis for each in gone))
    if isinstance(op, Transpose):
        return op.axes.index(axis)
    if isinstance(op, Slice):
        whole = (op.starts[axis], op.steps[axis], op.counts[axis]) == (0, 1, shape[axis])
        return axis if whole else MEET
    if isinstance(op, Pad):
        return axis if op.widths[axis] == (0, 0) else MEET
    if isinstance(op, BroadcastTo):
        moved = axis + len(result) - len(shape)
        return moved if result[moved] == shape[axis] else MEET
    return _reshaped(shape, axis, result) if isinstance(op, Reshape) else MEET


def _reshaped(shape: Shape, axis: int, result: Shape) -> int:
    """The axis of `result` with as many elements before it and behind it; of several (a batch of 1) the nearest."""
    before, size = math.prod(shape[:axis]), shape[axis]
    fitting = [i for i, n in enumerate(result) if n == size and math.prod(result[:i]) == before]
    return min(fitting, key=lambda i: abs(i - axis), default=MEET)


def _aligned(args: Sequence[Value], rows: Sequence[int], result: Shape) -> int:
    """The rows' axis in `result`, to which the arguments are broadcast."""
    pairs = list(zip(args, rows, strict=True))
    axis, *others = {known + len(result) - arg.rank for arg, known in pairs if known != NONE}
    if others or any(arg.shape[known] != result[axis] for arg, known in pairs if known != NONE):
        return MEET
    free = [arg for arg, known in pairs if known == NONE]
    return axis if all(_uniform(arg, axis - len(result) + arg.rank) for arg in free) else MEET


def _uniform(value: Value, axis: int) -> bool:
    """Whether every row along `axis` gets the same of a value that depends on no rows. axis < 0: it has no such."""
    if axis < 0 or value.shape[axis] == 1:
        return True
    if isinstance(value.op, Constant):
        array = value.array
        return bool(np.all(array == array.take([0], axis=axis)))
    if isinstance(value.op, BroadcastTo):
        return _uniform(value.args[0], axis - value.rank + value.args[0].rank)
    return False


def _matmul(args: Sequence[Value], rows: Sequence[int], rank: int) -> int:
    """Rows of the left matrices, columns of the right ones, or products side by side."""
    lead = rank - sum(arg.rank > 1 for arg in args)  # axes along which there are several products
    left, right = args
    places = []
    for arg, axis, summed, end in ((left, rows[0], -1, lead), (right, rows[1], -2 if right.rank > 1 else -1, rank - 1)):
        if axis == NONE:
            continue
        if axis == arg.rank + summed:
            return MEET
        places.append(end if axis >= arg.rank - 2 else axis - (arg.rank - 2) + lead)
    place = places[0]
    if len(places) == 2:
        return place if places[0] == places[1] < lead else MEET
    free = right if rows[1] == NONE else left
    return place if place >= lead or _uniform(free, place - lead + max(free.rank - 2, 0)) else MEET
