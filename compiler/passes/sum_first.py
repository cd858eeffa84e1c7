"""The sum over an image of what max-pooling passes back is the sum of what has reached it: each element goes to one
place. So the gradient of a bias before a 2x2 pool adds up a quarter of the elements.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import Graph, Value, apply, rebuild, rewrite
from compiler.ops.pooling import MaxPool2dGradient
from compiler.ops.sums import Sum

IMAGE = {2, 3}
"""The axes of an image [n, c, h, w]."""


def sum_first(graph: Graph) -> Graph:
    return rewrite(graph, _summed)


def _summed(value: Value, args: tuple[Value, ...]) -> Value:
    if isinstance(value.op, Sum) and set(value.op.axes) >= IMAGE and isinstance(args[0].op, MaxPool2dGradient):
        _, reaching = args[0].args
        made = apply(value.op, reaching, span=value.span, name=value.name, declared=value.declared)
        return replace(made, part=value.part)
    return rebuild(value, args)
