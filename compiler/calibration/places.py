"""Where a range can be written: the expressions whose results are values of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.graph import Graph, Kind, Owned, Value
from dsl import ast
from dsl.ast import Span


@dataclass(frozen=True)
class Place:
    """An expression, and the statement that it is a part of; of a `def` it is the expression that is returned.

    whole: the statement is `NAME = EXPRESSION`, so that a range can stand behind it; other expressions get a name.
    """

    expression: ast.Expression
    statement: ast.Value | ast.Output | ast.Def

    @property
    def whole(self) -> bool:
        return isinstance(self.statement, ast.Value) and self.expression is self.statement.value


def places(model: ast.Model) -> dict[Span, Place]:
    """Every expression of a value, an output or a result of a `def`, by its span."""
    return {
        part.span: Place(part, statement)
        for statement, expression in _expressions(model.statements)
        for part in ast.walk(expression)
        if isinstance(part, ast.Unary | ast.Binary | ast.Pipe | ast.Call | ast.Index)
    }


def _expressions(
    statements: tuple[ast.Statement, ...],
) -> Iterator[tuple[ast.Value | ast.Output | ast.Def, ast.Expression]]:
    for statement in statements:
        match statement:
            case ast.Value() | ast.Output():
                yield statement, statement.value
            case ast.For():
                yield from _expressions(statement.body)
            case ast.Def():
                yield from _expressions(statement.body)
                yield statement, statement.result


def results(graph: Graph) -> dict[Span, list[Value]]:
    """What an expression computes, at each of its uses: the values made there that something else reads."""
    read: set[Value] = {output.value for output in graph.outputs}
    for value in graph.values():
        read.update(arg for arg in value.args if arg.span != value.span)
    found: dict[Span, list[Value]] = {}
    for value in graph.values():
        made = value.kind is not Kind.BIT and not value.is_constant and not isinstance(value.op, Owned)
        if value in read and made and value.span is not None:
            found.setdefault(value.span, []).append(value)
    return found
