"""`calibrate`: the source of a model with ranges that its weights, and samples of its inputs, have shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compiler.calibration import edit
from compiler.calibration.boxes import bounds, with_rounding
from compiler.calibration.choose import Range, chosen, guarded, rounded
from compiler.calibration.measured import measured
from compiler.calibration.places import places, results
from compiler.graph import Array, Graph, Owned, Param, Value
from compiler.graph.interval import Interval, hull
from compiler.lowering.model import lower
from compiler.reading.reference import evaluate_values, leaf_values
from compiler.reading.variants import same_rows
from dsl import ast, parse
from dsl.errors import SourceErrors
from dsl.layout import layout

Owner = ast.Param | ast.Weights
PROBE = 2.0**29
"""Ends of ranges by which the values are found that a statement's range bounds: no author writes them."""


@dataclass(frozen=True)
class Written:
    """A range that was written: the line of the old text, what it is of, and how it is known."""

    line: int
    what: str
    range: Interval
    kind: str


@dataclass(frozen=True)
class Calibrated:
    source: str
    written: tuple[Written, ...]


def calibrate(
    text: str,
    filename: str,
    dims: Mapping[str, int],
    params: Mapping[str, Array],
    inputs: Mapping[str, Array] | None = None,
    guard: float = 2.0,
) -> Calibrated:
    """The text with the ranges of these weights, and of values: proved, or measured on `inputs` with a guard.

    Raises SourceErrors for a text that does not compile.
    """
    tree = parse(text, filename)
    graph = lower(tree, dims)[0]
    owned, leaves = _provided(tree, graph, dims, params)
    proved = bounds(graph, params)
    found = places(tree)
    at = {span: values for span, values in results(graph).items() if span in found}
    boxes = {span: with_rounding(hull(proved[value] for value in values)) for span, values in at.items()}
    seen = {}
    if inputs is not None:
        on_samples = measured(graph, _larger(tree, graph, dims), inputs, params)
        seen = {span: guarded(range_, guard) for span, range_ in on_samples.items()}
    ranges = chosen(graph, at, boxes, seen, leaves)
    source = edit.edited(
        tree,
        found,
        ranges,
        {owner: edit.text(Range(range_, measured=False)) for owner, range_ in owned.items()},
    )
    if layout(text) == text:  # in which case it stays so, line by line
        source = layout(source)
    written = [Written(owner.span.line, _owner(owner), range_, "the weights") for owner, range_ in owned.items()]
    for span, range_ in ranges.items():
        what = " ".join(text[span.start : span.end].split())
        written.append(Written(span.end_line, what, range_.interval, "measured" if range_.measured else "proved"))
    return Calibrated(source, tuple(sorted(written, key=lambda each: each.line)))


def _owner(owner: Owner) -> str:
    if isinstance(owner, ast.Param):
        return owner.name.id
    return " ".join(["weights", ", ".join(name.id for name in owner.names)]).strip()


def _larger(tree: ast.Model, graph: Graph, dims: Mapping[str, int]) -> Callable[[int], Graph | None]:
    def larger(batch: int) -> Graph | None:
        try:
            found = lower(tree, {**dims, "batch": batch})[0]
        except SourceErrors:
            return None
        return found if same_rows(graph, found) else None

    return larger


# -- what roles provide ------------------------------------------------------------------------------------------------


def _provided(
    tree: ast.Model, graph: Graph, dims: Mapping[str, int], params: Mapping[str, Array]
) -> tuple[dict[Owner, Interval], dict[Value, Interval]]:
    """The ranges of `param` and `weights` statements whose parameters are given, where they are not that narrow
    already; and of the graph's values that such a statement bounds."""
    statements = [s for s in tree.statements if isinstance(s, ast.Param | ast.Weights)]
    probed = {PROBE + place: statement for place, statement in enumerate(statements)}
    texts = {statement: edit.text(Range(Interval(-end, end), measured=False)) for end, statement in probed.items()}
    probe = lower(parse(edit.edited(tree, {}, {}, texts), tree.filename), dims)[0]
    bounded: dict[Owner, list[tuple[Value, Interval]]] = {}
    for value, twin in zip(graph.values(), probe.values(), strict=True):
        owner = probed.get(twin.declared.hi) if twin.declared is not None else None
        if owner is not None and (exact := _extent(graph, value, params)) is not None:
            bounded.setdefault(owner, []).append((value, exact))
    owned: dict[Owner, Interval] = {}
    leaves: dict[Value, Interval] = {}
    for owner, values in bounded.items():
        range_ = rounded(hull(extent for _, extent in values))
        before = hull(value.declared or value.range for value, _ in values)
        if range_ != before:
            owned[owner] = range_
        leaves |= {value: range_ for value, _ in values}
    return owned, leaves


def _extent(graph: Graph, value: Value, params: Mapping[str, Array]) -> Interval | None:
    """The range of a value that depends on given parameters alone; None of another."""
    below = _leaves(value)
    if not below or not all(isinstance(op, Param) and op.key in params for op in below):
        return None
    (array,) = evaluate_values([value], leaf_values(graph, {}, params))
    return Interval(float(array.min()), float(array.max()))


def _leaves(value: Value) -> list[Owned]:
    pending, found = [value], []
    while pending:
        each = pending.pop()
        if isinstance(each.op, Owned):
            found.append(each.op)
        pending += each.args
    return found
