"""Ranges of what is stored: the ranges of the exact values, and what rounding adds to them.

A truncation adds up to one step, an encoded leaf half a step, a smooth function 2^-12 of its result (LANGUAGE.md,
"Types and numbers"). Later ops multiply that up, so it is carried through their range rules; only the widths of
registers and comparisons use it, not what the author is shown. PROTOCOLS section 2b, "range analysis adds that ulp".
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import Graph, Kind, Owned, Rounding, Value
from compiler.graph.bounds import Norm, rounded, useful
from compiler.graph.interval import Interval

SMOOTH_ERROR = 2.0**-12
"""Of max(1, |result|): the contract of smooth functions."""

CONSTANT_ERROR = 2
"""Steps that a product with a constant may be off: its truncation and the constant's encoding."""


def with_rounding(graph: Graph) -> Graph:
    """The graph with every range wide enough for the stored numbers, inside the format."""
    new: dict[Value, Value] = {}
    for value in graph.values():
        if value.is_constant:
            new[value] = value
            continue
        args = tuple(new[a] for a in value.args)
        range_ = _stored(graph, value, args)
        new[value] = replace(value, args=args, range=range_, norms=_norms(graph, value, args, range_))
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, outputs=outputs)


def _stored(graph: Graph, value: Value, args: tuple[Value, ...]) -> Interval:
    step = graph.precision.step
    whole = graph.precision.format_range(value.kind)
    if isinstance(value.op, Owned):
        return _inside(value.range.widened(step / 2), whole) if value.kind is Kind.FIXED else value.range
    derived = value.op.interval(*args)
    if value.declared is not None:
        fixed = value.kind is Kind.FIXED
        slack = max(step * CONSTANT_ERROR, SMOOTH_ERROR * value.declared.magnitude) if fixed else 0.0
        derived = derived.intersect(value.declared.widened(slack)) or value.declared
    if value.kind is Kind.FIXED:
        derived = derived.widened(_error(value, derived, step))
    return _inside(derived, whole)


def _norms(graph: Graph, value: Value, args: tuple[Value, ...], range_: Interval) -> tuple[Norm, ...]:
    """As the ranges: those of the exact values, and what rounding adds to each element."""
    if isinstance(value.op, Owned):
        error = graph.precision.step / 2 if value.kind is Kind.FIXED else 0.0
        return rounded(value.norms, error, value.shape)
    norms = value.op.norms(*args)
    if value.kind is Kind.FIXED:
        norms = rounded(norms, _error(value, range_, graph.precision.step), value.shape)
    return useful(norms, range_, value.shape)


def _error(value: Value, derived: Interval, step: float) -> float:
    if value.op.rounding is Rounding.NONE:
        return 0.0
    if value.op.rounding is Rounding.STEPS:
        return step * CONSTANT_ERROR
    return SMOOTH_ERROR * max(1.0, derived.magnitude) if derived.is_finite else 0.0


def _inside(range_: Interval, whole: Interval) -> Interval:
    return range_.intersect(whole) or whole
