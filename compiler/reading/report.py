"""Diagnostics about values of a graph, at the places that made them."""

from __future__ import annotations

from compiler.graph import Graph, Value
from dsl.ast import Span
from dsl.errors import Diagnostic, Severity

START = Span(0, 0, 1, 1, 1, 1)  # for a value that no source line made


def report(
    graph: Graph, value: Value, message: str, help: str | None = None, severity: Severity = "error"
) -> Diagnostic:
    return Diagnostic.at(value.span or START, message, file=graph.filename, help=help, severity=severity)


def called(value: Value) -> str:
    """How a message calls a value: by its name in the source, or as what it is."""
    return f"`{value.name}`" if value.name else "this value"
