"""Common subexpressions: the same op on the same arguments is computed, and opened, once.

Expressions under different promises (`in [lo, hi]`) stay apart: each promise is checked on its own value.
"""

from __future__ import annotations

from compiler.graph import Graph, Input, Param, Value, rebuild, rewrite


def common_subexpressions(graph: Graph) -> Graph:
    known: dict[object, Value] = {}
    number: dict[Value, int] = {}

    def once(value: Value, args: tuple[Value, ...]) -> Value:
        if isinstance(value.op, Input | Param):
            return value  # leaves keep their identity: `graph.inputs` lists them
        places = [number[arg] for arg in args]
        if value.op.commutative:
            places.sort()
        key = (value.op, tuple(places), value.declared)
        if key not in known:
            known[key] = rebuild(value, args)
        return known[key]

    def numbered(value: Value, args: tuple[Value, ...]) -> Value:
        found = once(value, args)
        number.setdefault(found, len(number))
        return found

    return rewrite(graph, numbered)
