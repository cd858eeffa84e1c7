"""Which values get a range: those that the compiler, told of the ranges written so far, would think twice as large.

A range moves on: of a ReLU, a pooling or a sum behind a value with a range, the compiler derives as much by itself. So
the values are taken in their order, and few need one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.graph import Graph, Owned, Value, apply
from compiler.graph.interval import Interval
from dsl.ast import Span

GAIN = 2.0
"""A range is written where it is so many times narrower than what is known without it: a bit of every comparison."""

LEAST = 2.0**-8
"""No range is written that is narrower: what is computed from such numbers is cheap already."""


@dataclass(frozen=True)
class Range:
    """A range for the source. measured: on samples, so that nobody tries to prove it."""

    interval: Interval
    measured: bool


def rounded(interval: Interval) -> Interval:
    """Outward to powers of two."""
    return Interval(-_power(-interval.lo), _power(interval.hi))


def _power(end: float) -> float:
    """The end, which points outward when it is positive, at a power of two that is not further inside."""
    if end == 0 or math.isinf(end):
        return end
    exponent = math.log2(abs(end))
    return math.copysign(2.0 ** (math.ceil(exponent) if end > 0 else math.floor(exponent)), end)


def guarded(seen: Interval, guard: float) -> Interval:
    """Both ends moved out by what makes the largest magnitude `guard` times as large."""
    return seen.widened((guard - 1) * seen.magnitude)


def chosen(
    graph: Graph,
    places: Mapping[Span, list[Value]],
    proved: Mapping[Span, Interval],
    seen: Mapping[Span, Interval],
    leaves: Mapping[Value, Interval],
) -> dict[Span, Range]:
    """The ranges for the expressions at `places`.

    proved, seen: what was proved of each, and what samples (with their guard) gave. leaves: the ranges of what roles
    provide, where they are not those of the graph.
    """
    spans = {value: span for span, values in places.items() for value in values}
    candidates = {span: _candidate(proved[span], seen.get(span)) for span in places}
    found: dict[Span, Range] = {}
    before = -1
    while before != len(found):
        before = len(found)
        derived: dict[Value, Value] = {}
        for value in graph.values():
            derived[value] = here = _derived(graph, value, derived, leaves, found.get(spans.get(value)))  # type: ignore[arg-type]
            span = spans.get(value)
            if span is None or span in found or not candidates[span].interval.is_finite:
                continue
            if candidates[span].interval.magnitude * GAIN <= here.range.magnitude:
                found[span] = candidates[span]
                derived[value] = _promised(here, found[span])
    return found


def _candidate(proved: Interval, seen: Interval | None) -> Range:
    """What is proved, or what was seen, where that is narrower by the factor that counts."""
    proved = _widened(rounded(proved))
    if seen is None:
        return Range(proved, measured=False)
    within = _widened(rounded(seen))
    within = within.intersect(proved) or within
    narrower = within.magnitude * GAIN <= proved.magnitude
    return Range(within, measured=True) if narrower else Range(proved, measured=False)


def _widened(interval: Interval) -> Interval:
    return interval if interval.magnitude >= LEAST else interval.hull(Interval(-LEAST if interval.lo < 0 else 0, LEAST))


def _derived(
    graph: Graph,
    value: Value,
    derived: Mapping[Value, Value],
    leaves: Mapping[Value, Interval],
    promise: Range | None,
) -> Value:
    """The value as the compiler would have it, with the ranges found so far."""
    whole = graph.precision.format_range(value.kind)
    if value.is_constant:
        return value
    if isinstance(value.op, Owned):
        range_ = leaves.get(value, value.range)
        return replace(value, range=range_.intersect(whole) or whole)
    here = apply(value.op, *(derived[arg] for arg in value.args))
    if here.is_constant:
        return here
    if value in leaves:
        return _within(here, leaves[value])
    if promise is not None:
        return _promised(here, promise)
    return _within(here, value.declared) if value.declared is not None else here


def _promised(value: Value, promise: Range) -> Value:
    return _within(value, promise.interval)


def _within(value: Value, promise: Interval) -> Value:
    return replace(value, range=value.range.intersect(promise) or promise)
