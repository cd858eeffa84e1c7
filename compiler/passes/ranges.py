"""Range check: every value's range fits its number format afterwards, and what that rests on is said.

Ranges were derived while the graph was made. Where a derived range leaves the format, or is not known at all, the value
may overflow: a warning names it, with the margin, and the range is cut to the format. What follows from such a value is
then not blamed again: a second, honest range is carried along, unknown from the unproved value on until an op bounds it
(a sigmoid, a clip, a promise). A range wholly outside the format is a certain overflow, and an error.
"""

from __future__ import annotations

import math
from dataclasses import replace

from compiler.graph import INT_LIMIT, Graph, Kind, Owned, Prepared, Value, topological
from compiler.graph.interval import UNKNOWN, Interval
from compiler.ops.activations import Reciprocal
from compiler.ops.elementwise import Div
from compiler.reading.report import called, report
from dsl.ast import Span
from dsl.errors import Diagnostic


def check_ranges(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with ranges inside the format, and the warnings and errors about them."""
    new: dict[Value, Value] = {}  # with the final range
    honest: dict[Value, Value] = {}  # with the range that is proved, UNKNOWN where nothing is
    diagnostics: list[Diagnostic] = []
    undeclared: list[Value] = []
    for value in graph.values():
        args = tuple(new[arg] for arg in value.args)
        if value.is_constant:
            new[value] = honest[value] = value
            continue
        whole = graph.precision.format_range(value.kind)
        proved = _derived(value, tuple(honest[arg] for arg in value.args))
        final = proved if whole.contains(proved) else _cut(_derived(value, args), whole)
        new[value] = replace(value, args=args, range=final)
        if whole.contains(proved):
            honest[value] = new[value]
            continue
        honest[value] = replace(new[value], range=UNKNOWN)
        causes = _undeclared_below(graph, value)
        if causes:
            undeclared += causes
        elif proved.intersect(whole) is None:
            diagnostics.append(_certain(graph, value, proved))
        elif all(honest[arg].range.is_finite for arg in value.args):
            diagnostics.append(_overflow(graph, value, proved))
    diagnostics += _undeclared(graph, undeclared)
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, outputs=outputs), diagnostics


def _derived(value: Value, args: tuple[Value, ...]) -> Interval:
    """The range of `value` from the ranges of `args` and the author's promise."""
    if isinstance(value.op, Owned):
        return value.range
    derived = value.op.interval(*args)
    return derived if value.declared is None else (derived.intersect(value.declared) or value.declared)


def _undeclared_below(graph: Graph, value: Value) -> list[Value]:
    """The leaves without a range that leave `value`, a leaf itself, without one."""
    below = topological([graph.prepared[value.op.index].value]) if isinstance(value.op, Prepared) else [value]
    return [leaf for leaf in below if isinstance(leaf.op, Owned) and not leaf.range.is_finite]


def _cut(derived: Interval, whole: Interval) -> Interval:
    return derived.intersect(whole) or whole


def _certain(graph: Graph, value: Value, proved: Interval) -> Diagnostic:
    return report(
        graph,
        value,
        f"{called(value)} overflows: it always lies in {proved}, and {graph.precision.holds(value.kind)}",
        "scale the values down, or correct the declared ranges",
    )


def _overflow(graph: Graph, value: Value, proved: Interval) -> Diagnostic:
    holds = graph.precision.holds(value.kind)
    if proved.is_finite:
        limit = INT_LIMIT if value.kind is Kind.INT else graph.precision.limit
        bits = math.ceil(math.log2(proved.magnitude / limit) or 1)
        return report(
            graph,
            value,
            f"the range of {called(value)} is not proved: it may reach {proved}, and {holds} ({bits} bits too few)",
            "declare what you know of it: `x = … in [lo, hi]`, or narrow the ranges that it is made of",
            "warning",
        )
    if isinstance(value.op, Div | Reciprocal):
        divisor = value.args[-1].range
        return report(
            graph,
            value,
            f"the range of {called(value)} is not proved: its divisor lies in {divisor}, so it may be 0",
            "declare a divisor without 0: `d = … in [0.01, 10]`",
            "warning",
        )
    return report(
        graph,
        value,
        f"the range of {called(value)} is not proved, and {holds}",
        "declare what you know of it: `x = … in [lo, hi]`",
        "warning",
    )


def _undeclared(graph: Graph, leaves: list[Value]) -> list[Diagnostic]:
    """One warning a statement, naming its leaves."""
    statements: dict[Span | None, list[Value]] = {}
    for leaf in dict.fromkeys(leaves):
        statements.setdefault(leaf.span, []).append(leaf)
    return [
        report(
            graph,
            group[0],
            f"the range of {_names(group)} is not declared: {graph.precision.holds(group[0].kind)},"
            " and comparisons are as wide as that",
            "declare it: `… in [lo, hi]`",
            "warning",
        )
        for group in statements.values()
    ]


def _names(leaves: list[Value]) -> str:
    names = list(dict.fromkeys(called(leaf) for leaf in leaves))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
