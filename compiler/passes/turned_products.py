"""`transpose(transpose(a) @ b)` becomes `transpose(b) @ a`: the same product, laid out as what it is added to.

The gradient of a layer's weights is one: turned round, it would be added to the weights' momentum, and packed, element
by element from far apart.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import Graph, Value, apply, rebuild, rewrite
from compiler.ops.linear import MatMul
from compiler.ops.shapes import Transpose

TURNED = Transpose((1, 0))


def turned_products(graph: Graph) -> Graph:
    uses = graph.uses()
    alone: set[Value] = set()  # products of the new graph with a single use

    def turn(value: Value, args: tuple[Value, ...]) -> Value:
        if value.op == TURNED and args[0] in alone:
            first, second = args[0].args
            turned = apply(TURNED, second)
            made = apply(MatMul(), turned, *first.args, span=value.span, name=value.name, declared=value.declared)
            return replace(made, part=value.part)
        found = rebuild(value, args)
        if isinstance(value.op, MatMul) and found.args[0].op == TURNED and uses[value] == 1 and not value.declared:
            alone.add(found)
        return found

    return rewrite(graph, turn)
