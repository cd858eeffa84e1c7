"""Refuses what the language has and the expansion does not have yet, after `prepare` has moved out what it can."""

from __future__ import annotations

from compiler.graph import Graph
from compiler.ops.activations import Log, Rsqrt, Sqrt
from compiler.passes.report import report
from dsl.errors import Diagnostic

PLAINTEXT_ONLY = (Sqrt, Rsqrt, Log)


def unsupported(graph: Graph) -> list[Diagnostic]:
    """An error for each op that has only a plaintext meaning."""
    return [
        report(
            graph,
            value,
            f"`{value.op.symbol}` of a value that several roles have made is not supported yet",
            "of constants, and of values that one role alone provides, it is",
        )
        for value in graph.values()
        if isinstance(value.op, PLAINTEXT_ONLY)
    ]
