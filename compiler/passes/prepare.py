"""What depends on one role alone is computed by that role's client, in float64, before it shares.

Every maximal expression over leaves of a single role becomes a `Prepared` leaf: exact, and without a protocol. Pure
moves of one leaf (a reshape, a slice) stay where they are, since they cost nothing and the leaf may be shared for other
uses; so does a final broadcast or padding, which would only make the client send more.
"""

from __future__ import annotations

import math
from dataclasses import replace

from compiler.graph import Graph, Input, Leaf, Preparation, Prepared, Value, apply, rebuild, topological
from compiler.ops.linear import l1_norm
from compiler.ops.shapes import BroadcastTo, Concat, Move, Pad
from compiler.reading.formula import formula
from mpc_runtime.procedure import SETUP


def prepare(graph: Graph) -> Graph:
    """`graph` with its single-owner expressions in `graph.prepared`; a graph is prepared once."""
    preparations: list[Preparation] = list(graph.prepared)
    new: dict[Value, Value] = {}
    for value in _needed(graph):
        if _is_prepared(value):
            new[value] = _leaf(value, len(preparations))
            preparations.append(_preparation(value))
        else:
            new[value] = rebuild(value, tuple(new[arg] for arg in value.args))
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, outputs=outputs, prepared=tuple(preparations))


def _needed(graph: Graph) -> list[Value]:
    """The values that the compute parties still need: the walk from the outputs stops at what a client prepares."""
    order: dict[Value, None] = {}
    stack = [output.value for output in reversed(graph.outputs)]
    while stack:
        value = stack.pop()
        if value in order:
            continue
        waiting = [] if _is_prepared(value) else [arg for arg in value.args if arg not in order]
        if waiting:
            stack.append(value)
            stack.extend(reversed(waiting))
        else:
            order[value] = None
    return list(order)


def _is_prepared(value: Value) -> bool:
    """Whether a client computes `value`, given that another op needs it."""
    if isinstance(value.op, Leaf | BroadcastTo | Pad) or len(value.owners) != 1:
        return False
    return any(not isinstance(below.op, Leaf | Move | Concat) for below in topological([value]))


def _leaf(value: Value, index: int) -> Value:
    """The leaf in the place of `value`: its contract is the author's promise, its range what was derived."""
    (role,) = value.owners
    norms = {axis: l1_norm(value, axis) for axis in range(value.rank)}
    outputs = min(norms, key=lambda axis: norms[axis], default=0)
    op = Prepared(value.kind, value.shape, role, not value.is_secret, index, norms.get(outputs, math.inf), outputs)
    leaf = apply(op, span=value.span, name=_name(value))
    return replace(leaf, range=value.range, declared=value.declared, norms=value.norms)


def _preparation(value: Value) -> Preparation:
    (role,) = value.owners
    stages = (below.op.stage for below in topological([value]) if isinstance(below.op, Input))
    return Preparation(role, value, _name(value), next(stages, SETUP))


def _name(value: Value) -> str:
    """The author's name for the value, or else the author's expression."""
    return value.name or formula(value)
