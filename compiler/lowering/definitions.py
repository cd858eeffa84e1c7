"""`def`s: what a use needs to know of one, and the names in its body checked where it stands.

A body is expanded at each use; a name that it cannot know would be reported there, or never when nothing uses the
`def`. So the names are checked once at the definition, shapes and kinds at the uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.lowering.problems import Problem, Reporter
from compiler.lowering.scope import Binding, Scope
from compiler.ops import FUNCTIONS, LAYERS
from dsl import ast
from dsl.ast import Span
from dsl.errors import Unread

if TYPE_CHECKING:
    from compiler.lowering.context import Context
    from compiler.lowering.layers import Home

__all__ = ["Definition", "check_body", "check_names", "define"]


@dataclass(frozen=True)
class Definition:
    """A `def`, with what it sees of the file and the names of the file that it does not see.

    run: runs the statements of its body, whose layers live in the home of the instance.
    """

    node: ast.Def
    outer: Mapping[str, Binding]
    places: Mapping[str, Span]
    has_layers: bool
    unread: Unread | None
    run: Callable[[Context, tuple[ast.Block, ...], Scope, Home | None], None]

    @property
    def name(self) -> str:
        return self.node.name.id

    def scope(self, used: set[Span]) -> Scope:
        """A fresh scope for one use."""
        hidden = frozenset(self.places) - self.outer.keys()
        return Scope(
            outer=self.outer, later=self.places, hidden=hidden, used=used, itself=self.name, unread=self.unread
        )


def define(
    node: ast.Def,
    scope: Scope,
    places: Mapping[str, Span],
    run: Callable[[Context, tuple[ast.Block, ...], Scope, Home | None], None],
) -> Definition:
    """The definition of `node`, in `scope`; `places` is where the file declares its names."""
    has_layers = any(isinstance(each, ast.Layer) for each in ast.walk(node))
    return Definition(node, scope.seen_by_def(), places, has_layers, scope.unread, run)


def check_names(definition: Definition, reporter: Reporter) -> None:
    """Report the names in the body that nothing at the definition declares."""
    scope = definition.scope(set())
    local: set[str] = set()
    for formal in definition.node.formals:
        if formal.name.id in local:
            message = f"the parameter `{formal.name.id}` is listed twice"
            reporter.error(Problem(formal.name.span, message, "choose another name"))
        if formal.default is not None:
            _check_expression(formal.default, local, scope, reporter)
        local.add(formal.name.id)
    check_body(definition.node.body, local, scope, reporter)
    _check_expression(definition.node.result, local, scope, reporter)


def check_body(body: tuple[ast.Block, ...], local: set[str], scope: Scope, reporter: Reporter) -> None:
    """Report the names that neither `scope` nor `local` knows in a body that is not run; `local` gains its own."""
    for statement in body:
        if isinstance(statement, ast.For):
            _check_expression(statement.start, local, scope, reporter)
            _check_expression(statement.stop, local, scope, reporter)
            inside = local | {statement.name.id}
            check_body(statement.body, inside, scope, reporter)
            local |= inside - {statement.name.id}
        elif isinstance(statement, ast.Layer):
            if statement.target.index is not None:
                _check_expression(statement.target.index, local, scope, reporter)
            _check_expression(statement.value, local, scope, reporter)
            local.add(statement.target.name.id)
        else:
            _check_expression(statement.value, local, scope, reporter)
            if statement.range is not None:
                _check_expression(statement.range.lo, local, scope, reporter)
                _check_expression(statement.range.hi, local, scope, reporter)
            local.add(statement.name.id)


def _check_expression(expression: ast.Expression, local: set[str], scope: Scope, reporter: Reporter) -> None:
    built_in = FUNCTIONS.keys() | LAYERS.keys()
    for name, called in _uses(expression):
        if name.id not in local and name.id not in built_in and scope.find(name.id) is None:
            reporter.error(scope.unknown(name, functions=[*local, *(built_in if called else ())]))


def _uses(node: ast.Node) -> Iterator[tuple[ast.Name, bool]]:
    """The names that an expression refers to (not those of arguments and attributes), and whether each is called."""
    pending = [(node, False)]
    while pending:
        each, called = pending.pop()
        if isinstance(each, ast.Name):
            yield each, called
        pending += reversed(list(_below(each)))


def _below(node: ast.Node) -> Iterator[tuple[ast.Node, bool]]:
    match node:
        case ast.Call():
            yield node.function, True
            yield from ((argument.value, False) for argument in node.arguments)
        case ast.Pipe():
            yield node.left, False
            yield node.right, True
        case ast.Attribute():
            yield node.value, False
        case _:
            yield from ((each, False) for each in ast.children(node))
