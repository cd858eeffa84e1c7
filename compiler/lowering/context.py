"""What the parts of lowering share while they work on one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.graph import OpError, Precision, Value, stamp
from compiler.lowering.numbers import public
from compiler.lowering.problems import Note, Problem, Reporter
from compiler.lowering.scope import Scope
from dsl import ast
from dsl.ast import Node, Span

__all__ = ["Context", "Overgrown"]

MAX_STEPS = 20_000  # statements and uses of defs once unrolled: half a minute of compiling; real models have hundreds


MAX_CONSTANTS = 2**24  # elements of all constants that a model computes: 128 MiB


class Overgrown(Exception):
    """The model unrolls to more than anybody can have meant; the error is reported."""


@dataclass
class Context:
    """The diagnostics, the declarations to be used (with the word and the name for a warning), and what was used."""

    source: str
    reporter: Reporter
    meaning: Callable[[Context, ast.Expression, Scope], object]  # of an expression; POISON, reported, where it has none
    used: set[Span] = field(default_factory=set)
    declared: dict[Span, tuple[str, str]] = field(default_factory=dict)
    precision: Precision | None = field(
        default_factory=Precision
    )  # the file's number format; None where its statement is wrong
    trains: bool = False
    """Whether the file has a `train` block, so that what acts in training alone is kept apart."""
    dropouts: int = 0
    """How often `dropout` was used there."""
    steps: int = 0
    constants: int = 0  # elements

    def declare(self, span: Span, word: str, name: str) -> None:
        """Warn at the end unless something uses what is declared at `span`."""
        self.declared.setdefault(span, (word, name))

    def evaluate(self, expression: ast.Expression, scope: Scope) -> object:
        """What an expression means: the recursion of the language, for those that evaluation itself asks for parts."""
        return self.meaning(self, expression, scope)

    def text(self, node: Node) -> str:
        """What the author wrote there."""
        return self.source[node.span.start : node.span.end]

    def step(self, span: Span, ahead: int = 1) -> None:
        """Count one unrolled statement at `span`, the first of `ahead` that will follow at least."""
        self.steps += 1
        if self.steps + ahead - 1 > MAX_STEPS:
            message = f"the model unrolls to more than {MAX_STEPS} statements"
            self.reporter.error(Problem(span, message, "use fewer iterations, or whole tensors"))
            raise Overgrown

    def made(
        self,
        span: Span,
        blame: Span,
        make: Callable[[], Value],
        notes: Iterable[Note] = (),
        arguments: Mapping[Any, Span] | None = None,
        form: str | None = None,
    ) -> object:
        """What `make` makes of an expression at `span`: a tensor, or the number that a constant scalar is.

        An OpError becomes a Problem at the argument to blame, where `arguments` has its place, else at `blame`. Notes
        on the line of the error say nothing new and are dropped. form: what to do where the op does not say.
        """
        try:
            value = make()
        except OpError as error:
            place = (arguments or {}).get(error.arg, blame)
            kept = [note for note in notes if note[0].line != place.line]
            raise Problem(place, error.message, error.help or form, *kept) from None
        self._stamp(value, span)
        return public(value)

    def _stamp(self, value: Value, span: Span) -> None:
        """Give the values that were just made their place in the source, and count what they hold."""
        self.constants += sum(each.size for each in stamp(value, span) if each.is_constant)
        if self.constants > MAX_CONSTANTS:
            message = f"the constants of the model have more than {MAX_CONSTANTS} elements together"
            self.reporter.error(Problem(span, message, "let a role provide the large ones as a `param`"))
            raise Overgrown
