"""The canonical layout of a `.ppml` text: what `mpcc format` writes.

One statement a line, four blanks for each block, one blank between words and none inside brackets, no more than one
empty line in a row. Statements of a kind that follow each other have their `=` in one column, and inputs and parameters
their `:`, `from` and `in`. A block of one statement may stay in one line.

Line breaks within a statement are the author's. What follows one is put in its place: `|>` below the first one, another
operator below the `=`, what is in a bracket behind it. Comments keep their words. Those behind a statement keep their
column where there is room.

The tokens stay as they are, and with them the meaning; that is checked before anything is returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dsl import ast, grammar
from dsl.parser import parse
from dsl.scan import ENDINGS, MAX_TEXT, MEASURED

__all__ = ["layout"]

INDENT = 4
AS_LONG_AS_ROLE = 2  # blanks behind `dim`
BEFORE_COMMENT = 2  # blanks, at least
WIDEST = 16  # blanks that put a word in its column; with more between them, words are not read together

GAP = re.compile(r"#[^\n]*|\n")
COMMENT = "#"  # a piece that is one; the kinds of the others are the grammar's
OPERATORS = frozenset({"OR", "AND", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "AT", "POWER", "PIPE"})
OPENERS, CLOSERS = frozenset({"LPAR", "LSQB"}), frozenset({"RPAR", "RSQB"})
TIGHT = frozenset({"DOT", "RANGE"})  # no blanks on either side

KINDS: Mapping[type[ast.Node], str] = {
    **{
        each: each.__name__ for each in (ast.Role, ast.Dim, ast.Precision, ast.Const, ast.Weights, ast.Layer, ast.Value)
    },
    **{each: each.__name__ for each in (ast.Output, ast.OutputWeights, ast.Def, ast.For, ast.Train, ast.Budget)},
    **{each: each.__name__ for each in (ast.Freeze, ast.Metric)},
    ast.Input: "Given",
    ast.Param: "Given",
}
"""What a statement is; those of one kind that follow each other share their columns."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Given": ("COLON", "FROM", "IN"),
    **dict.fromkeys(("Dim", "Const", "Layer", "Value", "Output", "Budget"), ("EQUAL",)),
}
"""What stands in columns, from the left."""


def layout(text: str, filename: str = "<text>") -> str:
    """The text in canonical layout; laid out again, it stays the same. `filename` is what messages call it.

    Raises SyntaxErrors. A text with the line ends of Windows keeps them.
    """
    model = parse(text, filename)
    pieces = _pieces(text)
    lines = _lines(pieces, model)
    _align(lines)
    _place(lines)
    _put_comments(lines)
    found = "".join(f"{line}\n" for line in _printed(lines))
    assert _said(_pieces(found)) == _said(pieces), "a layout says what the text says"
    if len(found) > MAX_TEXT:
        return text  # as it is, it can be read
    return found.replace("\n", "\r\n") if re.match(r"[^\n]*\r\n", text) else found


# What there is ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A token or a comment. breaks: the line breaks before it; start, column: its place in the text, from 0."""

    kind: str
    text: str
    breaks: int
    start: int
    column: int


def _pieces(text: str) -> list[Piece]:
    text = re.sub("^\ufeff", " ", text)  # a byte order mark
    found: list[Piece] = []
    ends = [(cast(int, token.start_pos), cast(int, token.end_pos), token) for token in grammar.tokens(text)]
    end = 0
    for start, after, token in [*ends, (len(text), len(text), None)]:
        breaks = 0
        for each in GAP.finditer(text, end, start):
            if each[0] == "\n":
                breaks += 1
            else:
                found.append(Piece(COMMENT, each[0].rstrip(), breaks, each.start(), _column(text, each.start())))
                breaks = 0
        if token is not None:
            found.append(Piece(token.type, str(token), breaks, start, _column(text, start)))
        end = after
    return found


def _column(text: str, place: int) -> int:
    return place - text.rfind("\n", 0, place) - 1


def _said(pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    return [(each.kind, each.text) for each in pieces]


def _statements(pieces: Sequence[Piece], model: ast.Model) -> dict[int, str]:
    """Where statements start, and of what kind they are."""
    found = {each.span.start: KINDS[type(each)] for each in ast.walk(model) if type(each) in KINDS}
    return found | {each.start: each.kind for each in pieces if each.kind in ("MODEL", "RETURN")}


def _kept_blocks(pieces: Sequence[Piece], starts: Mapping[int, str]) -> dict[int, int]:
    """The places of the braces of blocks that stay in one line, as the author wrote them: of one statement at most."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for place, piece in enumerate(pieces):
        if piece.kind == "LBRACE":
            opened.append(place)
        elif piece.kind == "RBRACE":
            start = opened.pop()
            inside = pieces[start + 1 : place + 1]
            broken = any(each.breaks or each.kind in (COMMENT, "LBRACE") for each in inside)
            if not broken and sum(each.start in starts for each in inside) <= 1:
                found[start] = place
    return found


# Lines --------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Word:
    """A token in its line. inside: the bracket around it; gap: blanks before it; unary: whether it is a sign.

    behind: the kind of the token before it.
    """

    kind: str
    text: str
    inside: Word | None = None
    gap: int = 0
    unary: bool = False
    behind: str = ""
    column: int = 0


@dataclass(eq=False)
class Line:
    """kind: of the statement that starts here, "" where one goes on, "#" for a comment alone; depth: blocks around it.

    apart: an empty line is above it. comment: the last thing in the line. column: that of the comment, where it stands
    behind code, or below such a one. inside: the bracket around what starts the line.
    """

    kind: str
    depth: int
    apart: bool = False
    inside: Word | None = None
    words: list[Word] = field(default_factory=list)
    comment: str = ""
    column: int | None = None
    indent: int = 0

    @property
    def width(self) -> int:
        """Without its comment."""
        return self.words[-1].column + len(self.words[-1].text) if self.words else 0


def _lines(pieces: Sequence[Piece], model: ast.Model) -> list[Line]:
    starts = _statements(pieces, model)
    kept = _kept_blocks(pieces, starts)
    alone = starts.keys() - {pieces[place].start for first, last in kept.items() for place in range(first, last)}
    braces = {*kept, *kept.values()}
    lines: list[Line] = []
    around: list[Word] = []  # brackets that are open
    before: Word | None = None
    depth, kind = 0, ""
    for place, (piece, between) in enumerate(zip(pieces, _between(pieces, starts), strict=True)):
        inside = around[-1] if around else None
        first = not lines or (bool(lines[-1].words) and lines[-1].words[-1].kind == "LBRACE")
        apart = between and piece.breaks > 1 and not first
        if piece.kind == COMMENT:
            _add_comment(lines, piece, Line(COMMENT * between, depth, apart, inside))
            continue
        closes = piece.kind == "RBRACE" and place not in braces
        depth -= closes
        kind = starts.get(piece.start, kind)
        if piece.start in alone or closes or piece.breaks:
            head = kind if piece.start in alone else piece.kind * closes
            lines.append(Line(head, depth, apart and not closes, inside))
        word = Word(piece.kind, piece.text, inside, behind=before.kind if before is not None else "")
        if piece.kind in CLOSERS:
            word.inside = around.pop().inside
        word.unary = piece.kind == "MINUS" and (before is None or before.kind not in ENDINGS)
        word.gap = _gap(before, word, kind) if lines[-1].words and before is not None else 0
        lines[-1].words.append(word)
        around += [word] * (piece.kind in OPENERS)
        depth += piece.kind == "LBRACE" and place not in braces
        before = word
    return lines


def _between(pieces: Sequence[Piece], starts: Mapping[int, str]) -> list[bool]:
    """Of each piece, whether the next token begins a statement, or ends a block or the text."""
    found, between = [], True
    for piece in reversed(pieces):
        if piece.kind != COMMENT:
            between = piece.start in starts or piece.kind == "RBRACE"
        found.append(between)
    return found[::-1]


def _add_comment(lines: list[Line], piece: Piece, alone: Line) -> None:
    """Behind the words before it, or in a line of its own, which may go on with what stands behind words above."""
    if lines and not piece.breaks:
        lines[-1].comment, lines[-1].column = piece.text, piece.column
        return
    alone.comment = piece.text
    if lines and piece.breaks == 1 and lines[-1].column == piece.column:
        alone.column = piece.column
    lines.append(alone)


def _gap(before: Word, word: Word, kind: str) -> int:
    """How many blanks are between two words. kind: of their statement."""
    bracket = "" if word.inside is None else word.inside.kind
    if word.kind in CLOSERS or word.kind == "COMMA" or before.kind in OPENERS or before.unary:
        return 0
    if before.kind == "COMMA":
        return 1
    if TIGHT & {before.kind, word.kind}:
        return 0
    if "COLON" in (before.kind, word.kind) and bracket == "LSQB":
        return 0
    if "EQUAL" in (before.kind, word.kind) and bracket == "LPAR":
        return 0
    if word.kind in OPENERS and before.kind in ENDINGS:
        return int(kind == "Value" and word.inside is None and before.text == MEASURED and before.behind == "IN")
    return AS_LONG_AS_ROLE if before.kind == "DIM" else 1


# Columns ------------------------------------------------------------------------------------------------------------


def _align(lines: Iterable[Line]) -> None:
    """Widens gaps, so that what stands in columns does."""
    heads: list[Line] = []
    for line in [*lines, Line("", -1, apart=True)]:
        if (not line.kind and not line.apart) or (line.kind == COMMENT and line.column is not None):
            continue  # a statement, or what is said of one, goes on
        if heads and (line.apart or (line.kind, line.depth) != (heads[-1].kind, heads[-1].depth)):
            _align_column(heads, 0)
            heads = []
        heads.append(line)


def _align_column(heads: Sequence[Line], column: int) -> None:
    """Aligns one column, and those to the right of it, in lines of a kind that follow each other."""
    run: list[tuple[Line, Word, int]] = []
    for line in [*heads, None]:
        found = None if line is None else _in_column(line, column)
        places = [place for _, _, place in run] + ([] if found is None else [found[1]])
        if run and (found is None or max(places) - min(places) > WIDEST):
            widest = max(place for _, _, place in run)
            for _, word, place in run:
                word.gap += widest - place
            _align_column([each for each, _, _ in run], column + 1)
            run = []
        if line is not None and found is not None:
            run.append((line, *found))


def _in_column(line: Line, column: int) -> tuple[Word, int] | None:
    """The word that stands in a column, and where it is without being moved."""
    kinds = COLUMNS.get(line.kind, ())
    if column >= len(kinds):
        return None
    at = 0
    wanted = iter(kinds[: column + 1])
    kind = next(wanted)
    for word in line.words:
        at += word.gap
        if word.kind == kind and word.inside is None:
            kind = next(wanted, "")
            if not kind:
                return word, at
        at += len(word.text)
    return None


# Places -------------------------------------------------------------------------------------------------------------


def _place(lines: Sequence[Line]) -> None:
    """Gives every line its indentation, and every word its column."""
    statement: list[Line] = []
    homes: dict[int, Line] = {}
    for line in lines:
        if line.kind:
            statement = []
        line.indent = _continued(line, statement, homes) if statement else INDENT * line.depth
        at = line.indent
        for word in line.words:
            word.column = at = at + word.gap
            at += len(word.text)
            homes[id(word)] = line
        statement.append(line)


def _continued(line: Line, above: Sequence[Line], homes: Mapping[int, Line]) -> int:
    """The indentation of a line in the middle of a statement, below the lines `above`."""
    first = line.words[0] if line.words else None
    around = line.inside
    if around is not None and first is not None and first.kind in CLOSERS:
        return homes[id(around)].indent
    if first is not None and first.kind == "PIPE":
        for word in (word for each in above for word in each.words):
            if word.kind == "PIPE" and word.inside is around:
                return word.column
    elif first is not None and first.kind in OPERATORS and not first.unary and around is None:
        for word in above[0].words:
            if word.kind == "EQUAL" and word.inside is None:
                return word.column
    if around is None:
        return above[0].indent + INDENT
    home = homes[id(around)]
    return home.indent + INDENT if home.words[-1] is around else around.column + 1


def _put_comments(lines: Sequence[Line]) -> None:
    """Comments that stood in one column in lines that follow each other still do, further right where code needs it."""
    run: list[Line] = []
    for line in [*lines, Line("", 0)]:
        if run and line.column != run[-1].column:
            column = max(run[0].column or 0, *(each.width + BEFORE_COMMENT for each in run if each.words))
            for each in run:
                each.column = column
            run = []
        if line.column is not None:
            run.append(line)


def _printed(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        if line.apart:
            yield ""
        text = " " * line.indent * bool(line.words) + "".join(" " * word.gap + word.text for word in line.words)
        if line.comment:
            text = text.ljust(line.indent if line.column is None else line.column) + line.comment
        yield text
