"""The parse itself, and what happens where the grammar cannot go on.

The statement in trouble is judged once (`complaints.py` finds the words), taken out of the tokens, and the parse starts
again: an error hides no other one and causes none. Of a block's header or a `return` a stub stays, so that what stands
around it keeps its place. Starting again costs a few milliseconds per error, and no cleverness.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lark import Token, Tree, UnexpectedToken

from dsl import grammar
from dsl.ast import Model, Span, Statement
from dsl.complaints import Trouble, complain
from dsl.scan import BLOCKS, MAX_PROBLEMS, Scanned, begins, binds, same_line

__all__ = ["derive", "without_faults"]

MAX_ATTEMPTS = 3 * MAX_PROBLEMS  # a statement that the scanner mended is taken out without a word, so more than those

# What stays of a statement that others around it need.
STUBS = {
    "MODEL": "model _",
    "DEF": "def _() {",
    "FOR": "for _ in 0..0 {",
    "TRAIN": "train {",
    "RETURN": "return _",
}


def derive(scanned: Scanned, filename: str) -> Tree[Token] | None:
    """The parse tree of all that could be parsed, or None with too many problems; `scanned` gains the problems."""
    tokens = scanned.tokens
    for _ in range(MAX_ATTEMPTS):
        if len(scanned.problems) >= MAX_PROBLEMS:
            return None
        tree, stuck = _parse(tokens)
        if tree is not None:
            return tree
        trouble = _trouble(tokens, stuck, filename)
        start, end, stub = _cut(trouble)
        scanned.cuts.append((_position(trouble.tokens[start]), _position(trouble.tokens[end]) + (start == end)))
        scanned.unsure |= trouble.at == 0
        if not _mended(trouble, start, end, scanned.mended):
            scanned.problems.append(complain(trouble))
        rest = tokens[end:] if trouble.at else _without_model(tokens[end:])
        tokens = tokens[:start] + _stub(stub, trouble.tokens[start]) + rest
    return None


def without_faults(model: Model, scanned: Scanned, refused: list[Span]) -> tuple[Model, frozenset[str]]:
    """The statements that nothing was wrong with, and what the others may have bound."""
    faults = [*scanned.cuts, *((at, at + 1) for at in scanned.mended), *((each.start, each.end) for each in refused)]
    whole: list[Statement] = []
    for statement in model.statements:
        span = statement.span
        if any(start <= span.end and span.start <= end for start, end in faults):
            faults.append((span.start, span.end))
        else:
            whole.append(statement)
    lost = frozenset(name for start, end in faults for name in _bound(scanned.tokens, start, end))
    return replace(model, statements=tuple(whole)), lost


def _bound(tokens: list[Token], start: int, end: int) -> Iterator[str]:
    """The names from one place of the text to another that may have been bound there: those before a `=` or `:`.

    Without such a sign it may have been any name, but for the roles.
    """
    words = [token for token in tokens if start <= _position(token) < end]
    signs = [at for at, token in enumerate(words) if token.type in ("EQUAL", "COLON")]
    head = signs[0] if signs else len(words)
    for at, word in enumerate(words):
        before = words[at - 1].type if at else None
        if (at < head and before not in ("FROM", "TO")) or at + 1 in signs or before == "LAYER":
            yield str(word)


def _position(token: Token) -> int:
    return token.start_pos or 0


def _parse(tokens: list[Token]) -> tuple[Tree[Token] | None, int]:
    """The parse tree, or None and the index of the first token that the grammar cannot take."""
    parsing = grammar.parser().parse_interactive()
    at = 0
    try:
        for at, token in enumerate(tokens):  # noqa: B007
            parsing.feed_token(token)
        at = len(tokens)
        tree: Any = parsing.feed_eof(tokens[-1] if tokens else None)  # type: ignore[no-untyped-call]
    except UnexpectedToken:
        return None, at
    return tree, at


def _expected(tokens: list[Token]) -> frozenset[str]:
    """The types that the grammar takes behind these tokens."""
    parsing = grammar.parser().parse_interactive()
    for token in tokens:
        parsing.feed_token(token)
    return frozenset(parsing.accepts())  # type: ignore[no-untyped-call]


# Whose trouble it is -------------------------------------------------------------------------------------------------


def _trouble(tokens: list[Token], stuck: int, filename: str) -> Trouble:
    """Where the parser stands, in terms of statements."""
    starts = _starts(tokens)
    at = stuck
    rebinds = binds(tokens, stuck) and stuck - 1 in starts and tokens[stuck - 1].type == "NAME"
    if rebinds and stuck > 1 and not same_line(*tokens[stuck - 2 : stuck]):
        at = stuck - 1  # a `NAME =` in a line of its own: the statement above it is the one that lacks something
    ended = [*tokens, _end(tokens)]
    fresh = at in starts or ended[at].type == "$END"
    expected = _expected(tokens[:at])
    trouble = Trouble(ended, at, expected, at, fresh, _block(tokens[:at]), filename)
    if fresh and trouble.complete and ended[at].type not in ("RBRACE", "$END"):
        return trouble
    earlier = [each for each in starts if each < at]
    if rebinds and earlier[-1] == stuck - 1 and len(earlier) > 1:
        del earlier[-1]  # `y = x = 3` is one statement
    start = earlier[-1] if earlier else 0
    if expected == {"EQUAL"} and at > 1 and not same_line(*tokens[at - 2 : at]):
        start = at - 1  # a line that starts with a name and does not go on with `=`
    return Trouble(ended, at, expected, start, fresh, trouble.block, filename)


def _starts(tokens: list[Token]) -> list[int]:
    """Where statements start, outside of brackets; a block's `}` counts, and so does what follows its braces."""
    starts: list[int] = []
    blocks: list[bool] = []  # for each brace open: whether it opens a block
    depth = 0
    header = braced = False
    for at, token in enumerate(tokens):
        closes = token.type == "RBRACE" and blocks[-1:] == [True]
        if depth == 0 and (closes or braced or begins(tokens, at)):
            starts.append(at)
            header = token.type in BLOCKS
        braced = closes
        if token.type == "LBRACE":
            blocks.append(header)
            braced, header = header, False
            depth += not braced
        elif token.type == "RBRACE" and blocks:
            depth -= not blocks.pop()
        else:
            depth += (token.type in ("LPAR", "LSQB")) - (token.type in ("RPAR", "RSQB"))
    return starts


def _block(tokens: list[Token]) -> Token | None:
    """The keyword of the block that is open behind these tokens."""
    opened: list[Token | None] = []
    keyword: Token | None = None
    for token in tokens:
        if token.type in BLOCKS:
            keyword = token
        elif token.type == "LBRACE":
            opened.append(keyword)
        elif token.type == "RBRACE" and opened:
            opened.pop()
    return opened[-1] if opened else None


def _end(tokens: list[Token]) -> Token:
    """The end of the file as a token, directly behind the last one."""
    if not tokens:
        return Token("$END", "", 0, 1, 1, 1, 1, 0)
    last = tokens[-1]
    return Token("$END", "", last.end_pos, last.end_line, last.end_column, last.end_line, last.end_column, last.end_pos)


# What is taken out ---------------------------------------------------------------------------------------------------


def _cut(trouble: Trouble) -> tuple[int, int, str | None]:
    """Which tokens go, and of which statement a stub comes instead."""
    tokens, at, start = trouble.tokens, trouble.at, trouble.start
    last = len(tokens) - 1
    if at == 0:
        if trouble.found.type == "NAME" and not binds(tokens, 1):  # `modle lenet`, or the name alone
            return 0, min(_starts(tokens[1:-1]) or [len(tokens) - 2]) + 1, "MODEL"
        return 0, min(_starts(tokens[:-1]) or [len(tokens) - 1]), "MODEL"
    if trouble.found.type == "RBRACE" and "RETURN" in trouble.expected:
        return at, at, "RETURN"
    following = [each for each in _starts(tokens[:last]) if each > at]
    end = following[0] if following else last
    if start == at:  # a statement out of place: all of it goes, with its block
        return start, _past_block(tokens, start, end), None
    if trouble.fresh and (trouble.found.type in ("RBRACE", "$END") or not same_line(trouble.before, trouble.found)):
        end = at
    kind = tokens[start].type
    stays = kind in ("MODEL", "RETURN") or (kind in BLOCKS and _depth(tokens[start:end]) > 0)
    return start, end, kind if stays else None


def _past_block(tokens: list[Token], start: int, end: int) -> int:
    """The end of the statement from `start` to `end`, with the block that it opens."""
    depth = _depth(tokens[start:end])
    while depth > 0 and end < len(tokens) - 1:
        depth += _depth(tokens[end : end + 1])
        end += 1
    return end


def _depth(tokens: list[Token]) -> int:
    """How many braces stay open behind these tokens."""
    return sum((token.type == "LBRACE") - (token.type == "RBRACE") for token in tokens)


def _without_model(tokens: list[Token]) -> list[Token]:
    """The tokens without the first `model NAME` among them."""
    at = next((at for at, token in enumerate(tokens) if token.type == "MODEL"), len(tokens))
    return tokens[:at] + tokens[at + 2 :]


def _stub(kind: str | None, near: Token) -> list[Token]:
    if kind is None:
        return []
    return [Token.new_borrow_pos(each.type, str(each), near) for each in grammar.tokens(STUBS[kind])]


def _mended(trouble: Trouble, start: int, end: int, mended: list[int]) -> bool:
    """Whether the scanner mended something in these tokens, so that what the parser says of them may be wrong."""
    tokens = trouble.tokens
    first = tokens[start].start_pos or 0
    behind = tokens[end].start_pos or 0
    if tokens[end].type == "$END":
        behind += 1
    return any(first <= each < behind for each in mended)
