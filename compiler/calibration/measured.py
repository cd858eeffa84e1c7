"""The ranges that values take on samples: the float64 meaning of the model, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from compiler.calibration.places import results
from compiler.graph import BATCH, Array, Graph, Value
from compiler.graph.interval import Interval
from compiler.reading.reference import evaluate_values, leaf_values
from dsl.ast import Span

MOST_ELEMENTS = 2**25
"""Of all values of one pass over some rows: 256 MiB, if none could be dropped early."""


def measured(
    graph: Graph, larger: Callable[[int], Graph | None], inputs: Mapping[str, Array], params: Mapping[str, Array]
) -> dict[Span, Interval]:
    """What the expressions of the source give, on all rows of `inputs`.

    larger: the model for another `batch`, None where that is another model.
    """
    axes = {leaf.op.key: leaf.op.dims.index(BATCH) for leaf in graph.inputs if BATCH in leaf.op.dims}  # type: ignore[attr-defined]
    count = max((inputs[name].shape[axis] for name, axis in axes.items()), default=1)
    size = graph.dims.get(BATCH, 1)
    wanted = min(count, size * MOST_ELEMENTS // max(1, sum(value.size for value in graph.values())))
    if axes and wanted > size and (found := larger(wanted)) is not None:
        graph, size = found, wanted
    spans = {value: span for span, values in results(graph).items() for value in values}
    ranges: dict[Span, Interval] = {}

    def seen(value: Value, array: Array) -> None:
        if value in spans:
            here = Interval(float(array.min()), float(array.max()))
            ranges[spans[value]] = ranges.get(spans[value], here).hull(here)

    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count  # the last pass goes on at the front
        part = {name: np.take(a, rows, axes[name]) if name in axes else a for name, a in inputs.items()}
        evaluate_values(
            [output.value for output in graph.outputs], leaf_values(graph, part, params), graph.precision, seen
        )
    return ranges
