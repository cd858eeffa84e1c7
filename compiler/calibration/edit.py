"""Ranges written into the text of a model, where the author's comments and layout stay as they are.

A range stands behind the expression of `NAME = EXPRESSION`. Any other expression gets a name, in a statement of its own
just before: `h = x |> conv |> relu` becomes `conv_out = x |> conv in [-4, 4]` and `h = conv_out |> relu`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.calibration.choose import Range
from compiler.calibration.places import Place
from dsl import ast
from dsl.ast import Span
from dsl.grammar import tokens


@dataclass(frozen=True)
class Edit:
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str


def text(range_: Range) -> str:
    """As the language writes it."""
    lo, hi = (number(end) for end in (range_.interval.lo, range_.interval.hi))
    return f"in {'measured ' if range_.measured else ''}[{lo}, {hi}]"


def number(end: float) -> str:
    return str(int(end)) if end == int(end) else repr(end)


def edited(
    model: ast.Model,
    places: Mapping[Span, Place],
    ranges: Mapping[Span, Range],
    owned: Mapping[ast.Param | ast.Weights, str],
) -> str:
    """The source with ranges behind the expressions at these spans, and (as text) of what roles provide."""
    names = {token.value for token in tokens(model.source) if token.type == "NAME"}
    edits = [_behind(statement, statement.span.end, text) for statement, text in owned.items()]
    by_statement: dict[int, list[Span]] = {}
    for span in ranges:
        by_statement.setdefault(places[span].statement.span.start, []).append(span)
    for spans in by_statement.values():
        edits += _statement(model, places, {span: ranges[span] for span in spans}, names)
    return _apply(model.source, 0, len(model.source), edits)


def _behind(statement: ast.Param | ast.Weights | ast.Value, end: int, text: str) -> Edit:
    """A range in the place of the one that is there, or at the end."""
    limits = statement.range
    return Edit(end, end, f" {text}") if limits is None else Edit(limits.span.start, limits.span.end, text)


def _statement(
    model: ast.Model, places: Mapping[Span, Place], ranges: Mapping[Span, Range], names: set[str]
) -> Iterator[Edit]:
    source = model.source
    inner = [span for span in ranges if not places[span].whole]
    named: list[Edit] = []  # of expressions that have got a name, innermost first
    lines = []
    for span in sorted(inner, key=lambda span: span.end - span.start):
        name = _name(places[span], names)
        lines.append(
            f"{name} = {_joined(_apply(source, span.start, span.end, _outermost(named, span)))} {text(ranges[span])}"
        )
        named.append(Edit(span.start, span.end, name))
    place = next(places[span] for span in ranges)
    start = _start(source, place)
    before = source[source.rfind("\n", 0, start) + 1 : start]
    between = " " if before.strip() else f"\n{before}"
    if lines:
        yield Edit(start, start, "".join(f"{line}{between}" for line in lines))
        for edit in _outermost(named, None):
            yield Edit(edit.start, edit.end, edit.new)
    for span, range_ in ranges.items():
        if places[span].whole and isinstance(place.statement, ast.Value):
            yield _behind(place.statement, place.statement.value.span.end, text(range_))


def _start(source: str, place: Place) -> int:
    """Where a statement can be put before: at the statement, or at the `return` of a `def`."""
    if not isinstance(place.statement, ast.Def):
        return place.statement.span.start
    end = place.statement.result.span.start
    starts = [t.start_pos for t in tokens(source) if t.value == "return" and t.start_pos is not None]
    return max(start for start in starts if start < end)


def _name(place: Place, names: set[str]) -> str:
    """A name that the file does not use: after the layer or function, else after the statement."""
    expression = place.expression
    callee: ast.Node | None = expression.right if isinstance(expression, ast.Pipe) else expression
    while isinstance(callee, ast.Call | ast.Index | ast.Attribute):
        callee = callee.function if isinstance(callee, ast.Call) else callee.value
    statement = place.statement
    own = statement.name.id if statement.name is not None else "value"
    base = f"{callee.id if isinstance(callee, ast.Name) else own}_out"
    name, count = base, 2
    while name in names:
        name, count = f"{base}{count}", count + 1
    names.add(name)
    return name


def _outermost(edits: list[Edit], within: Span | None) -> list[Edit]:
    """Those that no other one holds, inside a span that is not itself one of them."""
    inside = [e for e in edits if within is None or (within.start <= e.start and e.end <= within.end)]
    return [e for e in inside if not any(o is not e and o.start <= e.start and e.end <= o.end for o in inside)]


def _apply(source: str, start: int, end: int, edits: list[Edit]) -> str:
    """`source[start:end]` with the edits inside."""
    parts, at = [], start
    for edit in sorted(edits, key=lambda each: (each.start, each.end)):
        parts += [source[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, source[at:end]])


def _joined(text: str) -> str:
    """On one line, unless there are comments in it."""
    return text if "#" in text else " ".join(text.split())
