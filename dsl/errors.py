"""Source errors and warnings: what they hold, and the one place that turns them into text.

`Diagnostic` is a message with its place; `SourceErrors` carries all those of a file; `render` prints them in the
language reference's form. The module that finds an error decides what its message says.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from dsl.ast import Model, Span

__all__ = [
    "Diagnostic",
    "Severity",
    "SourceErrors",
    "SyntaxErrors",
    "Unread",
    "closest",
    "did_you_mean",
    "render",
    "with_source",
]

Severity = Literal["error", "warning"]

TAB_WIDTH = 4  # a tab is shown as this many blanks: a caret below it then stands at the same place everywhere
MAX_WIDTH = 110  # a longer source line is shown as the part around the caret, so that a terminal does not wrap it
CONTEXT = 30  # what such a part shows to the left of the caret
SIMILARITY = 0.6  # difflib's usual cutoff: `imgae` suggests `image`, `y` does not suggest `x`


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning. Lines and columns count from 1, in characters; `end_column` is one past the last one.

    `notes` are second places with what is to be said about each; `help` says what to do. `source` is the whole text,
    once it is known (`with_source`): `str()` then shows the line and its caret, as `render` does.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    help: str | None = None
    notes: tuple[tuple[Span, str], ...] = ()
    severity: Severity = "error"
    source: str | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return render([self], self.source)

    @classmethod
    def at(
        cls,
        span: Span,
        message: str,
        *,
        file: str,
        help: str | None = None,
        notes: Iterable[tuple[Span, str]] = (),
        severity: Severity = "error",
    ) -> Diagnostic:
        """The diagnostic whose caret covers `span`."""
        return cls(
            file,
            span.line,
            span.column,
            span.end_line,
            span.end_column,
            message,
            help,
            tuple(notes),
            severity,
        )


class SourceErrors(Exception):
    """Everything that is wrong with one source text, in the order of the text and without repetition.

    `str()` of it is the rendered text.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], source: str) -> None:
        unique = dict.fromkeys(with_source(diagnostics, source))
        self.diagnostics = tuple(sorted(unique, key=lambda each: (each.line, each.column)))
        self.source = source
        super().__init__(self.diagnostics, source)

    def __str__(self) -> str:
        return render(self.diagnostics, self.source)


@dataclass(frozen=True)
class Unread:
    """What statements that cannot be read may have said; an error that may follow from it is not reported.

    bound: the names that they may have bound; words: all that stands in their lines; anything: whether they may have
    bound other names too, as where a name is missing, or a brace, so that blocks begin and end elsewhere than it seems.
    """

    bound: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    anything: bool = False

    def may_bind(self, name: str) -> bool:
        """Whether a name that nothing else binds may have been bound there."""
        return self.anything or name in self.words


class SyntaxErrors(SourceErrors):
    """What is wrong with the grammar of a text, and what could still be read of it, for the later checks.

    `rest` is the statements without fault, None where nothing can be said of them; `unread` is about the others.
    """

    def __init__(
        self,
        diagnostics: Iterable[Diagnostic],
        source: str,
        rest: Model | None = None,
        unread: Unread | None = None,
    ) -> None:
        super().__init__(diagnostics, source)
        self.rest = rest
        self.unread = unread or Unread()


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was most likely meant to be, or None."""
    known = {each.lower(): each for each in sorted(candidates, reverse=True) if each != name}
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=SIMILARITY)
    return known[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """A help line with the closest candidate, or None where nothing is close."""
    found = closest(name, candidates)
    return f"did you mean `{found}`?" if found else None


def with_source(diagnostics: Iterable[Diagnostic], source: str) -> tuple[Diagnostic, ...]:
    """The diagnostics of this text, each of which then prints with its line."""
    return tuple(replace(each, source=source) for each in diagnostics)


def render(diagnostics: Iterable[Diagnostic], source: str | None) -> str:
    """The text for a person: each diagnostic with its line, caret, second places and help, one below the other.

    Without a source there are no lines to show, and each is its message and help.
    """
    lines = None if source is None else source.split("\n")
    return "\n".join(line for each in diagnostics for line in _render(each, lines))


def _render(diagnostic: Diagnostic, lines: list[str] | None) -> Iterator[str]:
    yield f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}: {diagnostic.severity}: {diagnostic.message}"
    if lines is not None:
        yield from _places(diagnostic, lines)
    if diagnostic.help is not None:
        first, *more = diagnostic.help.splitlines()
        yield f"      help: {first}"
        yield from (f"            {each}" for each in more)


def _places(diagnostic: Diagnostic, lines: list[str]) -> Iterator[str]:
    """The line with its caret, and the lines of second places."""
    line = _line(lines, diagnostic.line)
    last = diagnostic.end_column if diagnostic.end_line == diagnostic.line else len(_code(line)) + 1
    before, marked, shown = _window(line, diagnostic.column - 1, last - 1)
    yield f"{diagnostic.line:5} | {shown}".rstrip()
    yield f"      | {' ' * before}{'^' * marked}"
    for span, label in diagnostic.notes:
        second = _excerpt(_line(lines, span.line), span)
        blanks = max(before + marked - _width(second), 2)
        yield f"{span.line:5} | {second}{' ' * blanks}{label}"


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


def _code(line: str) -> str:
    """The line without a comment at its end; a `#` inside quotes does not start one."""
    quoted = False
    for place, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character == "#" and not quoted:
            return line[:place].rstrip()
    return line.rstrip()


def _window(line: str, start: int, end: int) -> tuple[int, int, str]:
    """How many columns are before the caret, how many it covers (at least one), and the line as it is shown."""
    prefix, rest = "", line
    if _width(line) > MAX_WIDTH:
        cut = max(start - CONTEXT, 0)
        prefix, rest = ("… " if cut else ""), line[cut:]
        start, end = start - cut, end - cut
    shown = prefix + _shorten(_display(rest), MAX_WIDTH)
    before = _width(prefix) + _width(rest[:start])
    marked = max(min(_width(rest[start:end]), MAX_WIDTH - before), 1)
    return before, marked, shown


def _excerpt(line: str, span: Span) -> str:
    """The line of a second place, cut behind its `=`: the name says enough. A caret further right keeps the line."""
    code = _code(line)
    head, equals, _ = code.partition(" = ")
    if equals and span.column <= len(head):
        return _display(head) + " = …"
    return _shorten(_display(code), MAX_WIDTH // 2)


def _shorten(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    text = text[: 2 * width]
    while _width(text) > width - 2:
        text = text[:-1]
    return text + " …"


def _display(text: str) -> str:
    """The text as a terminal can show it: tabs as blanks, control characters as a replacement character."""
    blanks = text.replace("\t", " " * TAB_WIDTH)
    return "".join("\ufffd" if unicodedata.category(each) == "Cc" else each for each in blanks)


def _width(text: str) -> int:
    """How many columns of a terminal the text fills: East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(_display(text))
    return sum(_columns(each) for each in _display(text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
