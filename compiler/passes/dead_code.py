"""What no output needs goes. Values are reached from the outputs, so only preparations can be left over."""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import Graph, Prepared, Value, rebuild, rewrite


def dead_code(graph: Graph) -> Graph:
    """The graph with the preparations that are used, numbered anew in the order of their use."""
    used = [value.op.index for value in graph.values() if isinstance(value.op, Prepared)]
    place = {old: new for new, old in enumerate(dict.fromkeys(used))}

    def renumber(value: Value, args: tuple[Value, ...]) -> Value:
        if isinstance(value.op, Prepared):
            return replace(value, op=replace(value.op, index=place[value.op.index]))
        return rebuild(value, args)

    return replace(rewrite(graph, renumber), prepared=tuple(graph.prepared[old] for old in place))
