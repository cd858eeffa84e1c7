"""Which axis of a value is the rows of the dim `batch`, and where rows meet.

A result that has its rows on an axis, each computed from the same row of the inputs alone, can be computed for any
number of rows: batch by batch, the last one filled up. One in which rows meet (a mean over the batch) cannot, and
`run_batches` has to refuse it. What an op does to rows it says itself (`TensorOp.rows`).
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.graph import NO_ROWS, ROWS_MEET, Value, topological

__all__ = ["places", "row_axes"]


def row_axes(values: Iterable[Value]) -> list[int | None]:
    """For each value the axis of its rows; None where rows meet, and where it depends on none."""
    wanted = list(values)
    axes = places(wanted)
    return [axes[value] if axes[value] >= 0 else None for value in wanted]


def places(values: Iterable[Value]) -> dict[Value, int]:
    """The axis of the rows of each value and of all below it; NO_ROWS or ROWS_MEET where there is none."""
    axes: dict[Value, int] = {}
    for value in topological(values):
        axes[value] = _axis(value, [axes[arg] for arg in value.args])
    return axes


def _axis(value: Value, axes: list[int]) -> int:
    if axes and all(axis == NO_ROWS for axis in axes):
        return NO_ROWS
    return ROWS_MEET if ROWS_MEET in axes else value.op.rows(value.args, axes, value.shape)
