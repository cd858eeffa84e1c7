"""The promises of a source, and how each is known to hold: what the plan states to everybody.

A promise counts as proved only if it follows from what is checked (the contracts of inputs and parameters) and from
promises that are proved themselves. The compiler knows of weights their ranges alone; a promise that these do not prove
may still follow from the real weights, which their owner's client looks at when they are provided
(`compiler.calibration.promises`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.graph import Graph, Leaf, Param, Value, topological
from compiler.graph.interval import Interval
from compiler.ops.shapes import Concat, Move
from mpc_runtime.plan import Claim

__all__ = ["claims", "made_by_parties", "of_trained_weights"]


def claims(graph: Graph) -> tuple[Claim, ...]:
    """The promises about what the parties compute, in the order of the graph; one that is made twice is told once.

    graph: as the author wrote it, before the passes.
    """
    return tuple(dict.fromkeys(claim for _, claim, _ in _claimed(graph)))


def of_trained_weights(graph: Graph) -> list[Value]:
    """Values whose promises depend on parameters that are trained: who wrote them cannot know what these become."""
    trained = _trained(graph)
    return [value for value, claim, params in _claimed(graph) if claim.known != "compiled" and params & trained.keys()]


def _trained(graph: Graph) -> dict[Value, Value]:
    """Parameters that are trained, within what training keeps of them: whatever they are at first, a norm of each is
    limited, and what would break that limit is told to nobody."""
    if graph.training is None:
        return {}
    most = max(graph.training.limits.weights, graph.training.limits.inputs)
    trained = {leaf for leaf in graph.params if leaf.is_secret} - set(graph.training.frozen)
    return {leaf: replace(leaf, range=Interval(-most, most), norms=()) for leaf in trained}


def _claimed(graph: Graph) -> Iterator[tuple[Value, Claim, frozenset[Value]]]:
    """Each promise with the value that it is about, and the parameters on which that depends."""
    proved: dict[Value, Value] = {}  # with the range that follows from what is checked
    params: dict[Value, frozenset[Value]] = {}
    trained = _trained(graph)
    for value in graph.values():
        params[value] = frozenset().union(*(params[arg] for arg in value.args))
        if isinstance(value.op, Param):
            params[value] |= {value}
        if isinstance(value.op, Leaf):
            proved[value] = trained.get(value, value)
            continue
        args = tuple(proved[arg] for arg in value.args)
        proved[value] = here = replace(value, args=args, range=value.op.interval(*args))
        promise = value.declared
        if promise is None or not made_by_parties(value):
            continue
        line = value.span.line if value.span is not None else 0
        claim = Claim(value.name or value.op.name, line, promise.lo, promise.hi, "claimed")
        owners = sorted({param.op.role for param in params[value] if isinstance(param.op, Param)})
        if promise.contains(here.range):
            claim = replace(claim, known="compiled")
        elif value.measured:
            claim = replace(claim, known="measured")
        elif len(owners) == 1 and graph.training is None:  # weights that are trained do not stay as they are
            claim = replace(claim, known="provided", owner=owners[0])
        yield value, claim, params[value]


def made_by_parties(value: Value) -> bool:
    """Whether a value is none that one role's client computes, and checks, before it shares."""
    return len(value.owners) != 1 or all(isinstance(each.op, Leaf | Move | Concat) for each in topological([value]))
