"""The promises of a source, and how each is known to hold: what the plan states to everybody.

A promise counts as proved only if it follows from what is checked (the contracts of inputs and parameters) and from
promises that are proved themselves. The compiler knows of weights their ranges alone; a promise that these do not prove
may still follow from the real weights, which their owner's client looks at when they are provided
(`compiler.calibration.promises`).
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import Graph, Leaf, Param, Value, topological
from compiler.ops.shapes import Concat, Move
from mpc_runtime.plan import Claim

__all__ = ["claims", "made_by_parties"]


def claims(graph: Graph) -> tuple[Claim, ...]:
    """The promises about what the parties compute, in the order of the graph; one that is made twice is told once.

    graph: as the author wrote it, before the passes.
    """
    proved: dict[Value, Value] = {}  # with the range that follows from what is checked
    owners: dict[Value, frozenset[str]] = {}  # of the parameters that a value depends on
    found: dict[Claim, None] = {}
    for value in graph.values():
        owners[value] = frozenset().union(*(owners[arg] for arg in value.args))
        if isinstance(value.op, Param):
            owners[value] |= {value.op.role}
        if isinstance(value.op, Leaf):
            proved[value] = value
            continue
        args = tuple(proved[arg] for arg in value.args)
        proved[value] = here = replace(value, args=args, range=value.op.interval(*args))
        promise = value.declared
        if promise is None or not made_by_parties(value):
            continue
        line = value.span.line if value.span is not None else 0
        claim = Claim(value.name or value.op.name, line, promise.lo, promise.hi, "claimed")
        if promise.contains(here.range):
            claim = replace(claim, known="compiled")
        elif value.measured:
            claim = replace(claim, known="measured")
        elif len(owners[value]) == 1 and graph.training is None:  # weights that are trained do not stay as they are
            claim = replace(claim, known="provided", owner=next(iter(owners[value])))
        found[claim] = None
    return tuple(found)


def made_by_parties(value: Value) -> bool:
    """Whether a value is none that one role's client computes, and checks, before it shares."""
    return len(value.owners) != 1 or all(isinstance(each.op, Leaf | Move | Concat) for each in topological([value]))
