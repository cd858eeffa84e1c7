"""Collecting what is wrong with a model: every independent error once, in one list.

Lowering raises `Problem` where it finds an error; the nearest expression or statement reports it here and goes on with
`POISON` in the value's place, which everything passes on in silence, so that one mistake gives one message. A `def` or
a loop meets the same mistake at every turn: the first message of a place is kept. Formatting is `dsl.errors`' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dsl.ast import Span
from dsl.errors import Diagnostic, Severity

__all__ = ["POISON", "Note", "Poison", "Problem", "Reporter"]

Note = tuple[Span, str]

MAX_DIAGNOSTICS = 100  # errors, and warnings: more at once are not read
MAX_TRACE = 3  # uses of `def`s, the innermost first, that a message shows


class Poison:
    """What replaces a value that could not be made, which was reported."""

    def __repr__(self) -> str:
        return "POISON"


POISON = Poison()


class Problem(Exception):
    """An error of the model at `span`, with what to do (`help`) and second places (`notes`)."""

    def __init__(self, span: Span, message: str, help: str | None = None, *notes: Note) -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.help = help
        self.notes = notes


@dataclass
class Reporter:
    """The diagnostics of one file. `trace` is the uses of `def`s that are being expanded, outermost first."""

    file: str
    errors: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)
    trace: list[Note] = field(default_factory=list)
    _places: set[tuple[Severity, Span]] = field(default_factory=set)

    def error(self, problem: Problem) -> None:
        """Keep the problem, unless its place has one already or there are too many."""
        if self._is_new("error", problem.span) and len(self.errors) < MAX_DIAGNOSTICS:
            notes = (*problem.notes, *reversed(self.trace[-MAX_TRACE:]))
            self.errors.append(
                Diagnostic.at(problem.span, problem.message, file=self.file, help=problem.help, notes=notes)
            )

    def warn(self, span: Span, message: str, help: str | None = None) -> None:
        """Keep the warning, unless its place has one already or there are too many."""
        if self._is_new("warning", span) and len(self.warnings) < MAX_DIAGNOSTICS:
            self.warnings.append(Diagnostic.at(span, message, file=self.file, help=help, severity="warning"))

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Report a Problem that is raised inside, and go on behind the block."""
        try:
            yield
        except Problem as problem:
            self.error(problem)

    @contextmanager
    def expanding(self, span: Span, label: str) -> Iterator[None]:
        """Errors found inside name this place as well."""
        self.trace.append((span, label))
        try:
            yield
        finally:
            self.trace.pop()

    def _is_new(self, severity: Severity, span: Span) -> bool:
        known = (severity, span) in self._places
        self._places.add((severity, span))
        return not known
