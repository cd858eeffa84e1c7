"""What an editor tells of the name under the mouse: type, range, owner. How it is asked and answered is `lsp.py`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.cli.bounds import Bound, bounds
from compiler.graph import Value, Visibility
from compiler.graph.interval import Interval
from compiler.ops import FUNCTIONS, LAYERS
from dsl import ast, printer
from dsl.ast import Span
from mpc_runtime.errors import amount

if TYPE_CHECKING:
    from mpc_runtime.program import Program

BINDING = ast.Input | ast.Param | ast.Value | ast.Output


@dataclass(frozen=True)
class Hover:
    """Markdown, and what it is about."""

    text: str
    span: Span


def hover(program: Program, line: int, column: int) -> Hover | None:
    """What is known of the name at this place, counted from 1; None where there is none, or nothing is known of it."""
    tree = program.stages.tree
    found = _named(tree, line, column)
    if found is None:
        return None
    path, node = found
    rows = bounds(program, tighter=False)
    told = _value(tree, rows, path, node) or _layer(rows, path) or _other(program, path)
    return Hover(told, node.span) if told else None


def _named(tree: ast.Model, line: int, column: int) -> tuple[str, ast.Node] | None:
    """The name at a place, as values are called, and its node: `fc` or, with what is in front of it, `fc.weight`."""
    skipped = {id(each.name) for each in ast.walk(tree) if isinstance(each, ast.Argument) and each.name is not None}
    whole = {id(each.name): each for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in skipped and _covers(node.span, line, column):
            of = whole.get(id(node))
            text = node.id if of is None else printer.expression(of)
            return text.replace("[", ".").replace("]", ""), node
    return None


def _covers(span: Span, line: int, column: int) -> bool:
    return (span.line, span.column) <= (line, column) < (span.end_line, span.end_column)


def _value(tree: ast.Model, rows: Sequence[Bound], path: str, node: ast.Node) -> str:
    """Of the value that the name stands for here: the one bound here, or the last one above, in the same `def`."""
    line = node.span.line
    binds = any(isinstance(each, BINDING) and each.name is node for each in ast.walk(tree))
    scope = _scope(tree, line)
    same = [row for row in rows if row.value == path and _scope(tree, row.line) == scope]
    above = [row for row in same if row.line < line or (binds and row.line == line)]
    below = [row for row in same if row.line >= line]
    found = above[-1] if above else below[0] if below else None
    return "" if found is None else "\n\n".join(_told(found))


def _scope(tree: ast.Model, line: int) -> int:
    """Where the `def` around a line starts; 0 outside."""
    defs = (each.span for each in tree.statements if isinstance(each, ast.Def))
    return next((span.line for span in defs if span.line <= line <= span.end_line), 0)


def _told(row: Bound) -> Iterator[str]:
    value = row.values[0]
    yield f"`{row.value} : {_type(value)}`, {_visibility(value)}"
    yield f"range {Interval(row.lo, row.hi)}, {row.known}"
    if value.owners:
        yield f"from {', '.join(sorted(value.owners))}"
    if row.ring:
        compares = f", compares {row.compared}" if row.compared else ""
        yield f"in a ring of {amount(row.ring, 'bit')}{compares}"


def _type(value: Value) -> str:
    return f"{value.kind.value}[{', '.join(map(str, value.shape))}]"


def _visibility(value: Value) -> str:
    return {Visibility.SECRET: "secret", Visibility.PUBLIC: "public"}.get(value.visibility, "a constant")


def _layer(rows: Sequence[Bound], path: str) -> str:
    """The parameters of a layer."""
    mine = [row for row in rows if row.value.startswith(f"{path}.")]
    lines = [f"* `{row.value} : {_type(row.values[0])}` in {Interval(row.lo, row.hi)}, {row.known}" for row in mine]
    return "\n".join([f"layer `{path}`", "", *lines]) if lines else ""


def _other(program: Program, path: str) -> str:
    for registry in (FUNCTIONS, LAYERS):
        if path in registry:
            return f"`{registry[path].signature}`"
    dims = dict(program.plan.dims)
    if path in dims:
        return f"dim `{path}` = {dims[path]}"
    return f"role `{path}`" if path in {*program.plan.roles, *program.plan.array_role_of.values()} else ""
