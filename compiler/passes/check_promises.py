"""`checked=True`: the author's promises `x = EXPR in [lo, hi]` are checked in every run, and a broken one is an error.

Each promise becomes one bit, revealed to everybody who gets a result: whether all elements of the value, computed
without the promise, lie within it. It costs two comparisons an element and reveals that bit, so it must be asked for.
`compiler.passes.guards` makes sure that the value is in the format when it is compared.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from compiler.graph import Graph, Kind, Leaf, Output, Precision, Value, apply, constant
from compiler.graph.interval import Interval
from compiler.ops import And, GreaterEqual, LessEqual, ToInt
from compiler.passes.guards import all_hold
from mpc_runtime.plan import Promise

ROUNDING = 2.0**-10
"""Part of a promise (of at least 1) by which rounding may exceed it; registers have that much room."""


def with_checks(graph: Graph) -> Graph:
    """The graph with an output for each promise."""
    roles = tuple(dict.fromkeys(role for output in graph.outputs for role in output.roles))
    computed = [v for v in graph.values() if not isinstance(v.op, Leaf) and not v.is_constant]
    promised = [v for v in computed if v.declared is not None]
    outputs = [_check(value, roles, place, graph.precision) for place, value in enumerate(promised)]
    return replace(graph, outputs=(*graph.outputs, *outputs))


def _check(value: Value, roles: tuple[str, ...], place: int, precision: Precision) -> Output:
    assert value.declared is not None
    line = value.span.line if value.span else 0
    promise = Promise(value.name or "value", line, value.declared.lo, value.declared.hi, place)
    kept = replace(_kept(value, precision), span=value.span)
    return Output(f"checked: {promise}", kept, roles, value.span, (promise,))


def _kept(value: Value, precision: Precision) -> Value:
    """One bit: all elements lie within the promise."""
    assert value.declared is not None
    free = replace(value, range=value.op.interval(*value.args), declared=None)
    free = apply(ToInt(), free, span=value.span) if free.kind is Kind.BIT else free
    lo, hi = _ends(value.declared, free.kind, precision)
    inside = apply(
        And(),
        apply(GreaterEqual(), free, lo, span=value.span),
        apply(LessEqual(), free, hi, span=value.span),
        span=value.span,
    )
    return all_hold(inside)


def _ends(promise: Interval, kind: Kind, precision: Precision) -> tuple[Value, Value]:
    """The promise's ends as constants of the value's kind; what no value can hold, none leaves."""
    whole = precision.format_range(kind)
    if kind is Kind.INT:
        inside = Interval(*(min(max(end, whole.lo), whole.hi) for end in (promise.lo, promise.hi)))
        return constant(np.int64(math.ceil(inside.lo))), constant(np.int64(math.floor(inside.hi)))
    bounds = _widened(promise)
    lo, hi = (min(max(end, whole.lo), whole.hi) for end in (bounds.lo, bounds.hi))
    return constant(np.float64(lo)), constant(np.float64(hi))


def _widened(promise: Interval) -> Interval:
    return promise.widened(ROUNDING * max(1.0, promise.magnitude))
