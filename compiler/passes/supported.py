"""Refuses what the language has and the expansion does not have yet, after `prepare` has moved out what it can."""

from __future__ import annotations

from compiler.graph import Graph, Leaf
from compiler.reading.report import report
from dsl.errors import Diagnostic


def unsupported(graph: Graph) -> list[Diagnostic]:
    """An error for each op that has only a plaintext meaning."""
    return [
        report(
            graph,
            value,
            f"`{value.op.symbol}` of a value that several roles share in is not supported yet",
            "it is supported on constants, and where everything below it comes from one role",
        )
        for value in graph.values()
        if not (value.op.private or isinstance(value.op, Leaf))
    ]
