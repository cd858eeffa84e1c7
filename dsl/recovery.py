"""The parse itself, and what happens where the grammar cannot go on.

The statement at fault is reported once (`complaints.py` finds the words) and taken out of the tokens, and the parse
goes on: one error neither hides another nor causes one. A stub replaces a block's header or a `return`, so that what is
around it keeps its place. The tree is built once, from the tokens that are left.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from string import digits

from lark import Token, Tree

from dsl import grammar
from dsl.ast import Model, Span, Statement
from dsl.complaints import complain
from dsl.errors import Unread
from dsl.scan import BLOCKS, MAX_PROBLEMS, Scanned, begins, binds, same_line
from dsl.trouble import Trouble

__all__ = ["derive", "without_faults"]

MAX_ATTEMPTS = 3 * MAX_PROBLEMS  # more than there are problems: repaired statements are taken out silently
MAX_LOOKED_AT = 1_000_000  # tokens in all attempts together: a second or two; a huge file shows fewer errors at a time

BRACES = frozenset("{}")
WORD = re.compile(r"\w+")

# What replaces a statement that others around it need.
STUBS = {
    "MODEL": "model _",
    "DEF": "def _() {",
    "FOR": "for _ in 0..0 {",
    "TRAIN": "train {",
    "RETURN": "return _",
}


def derive(scanned: Scanned, filename: str) -> Tree[Token] | None:
    """The parse tree of what could be parsed, None if there are too many problems; adds the problems to `scanned`."""
    tokens = scanned.tokens
    walk = _Walk()
    for _ in range(max(min(MAX_ATTEMPTS, MAX_LOOKED_AT // max(len(tokens), 1)), 1)):
        if len(scanned.problems) >= MAX_PROBLEMS:
            return None
        stuck = walk.stuck(tokens)
        if stuck is None:
            return _tree(tokens)
        starts = _starts(tokens)
        trouble = _trouble(tokens, starts, stuck, walk, filename)
        start, end, stub = _cut(trouble, starts)
        scanned.cuts.append((_position(trouble.tokens[start]), _position(trouble.tokens[end]) + (start == end)))
        scanned.unsure |= trouble.at == 0
        if not _repaired(trouble, start, end, scanned.repaired):
            scanned.problems.append(complain(trouble))
        rest = tokens[end:] if trouble.at else _without_model(tokens[end:])
        tokens = tokens[:start] + _stub(stub, trouble.tokens[start]) + rest
        walk.forget(start)
    return None


def without_faults(model: Model, scanned: Scanned, refused: list[Span]) -> tuple[Model, Unread]:
    """The statements without faults, and what the others may have said."""
    faults = [*scanned.cuts, *((at, at + 1) for at in scanned.repaired), *((each.start, each.end) for each in refused)]
    text = model.source
    anything = any(not BRACES.isdisjoint(text[start:end]) for start, end in faults)
    apart = _merged(faults)
    firsts = [start for start, _ in apart]
    whole: list[Statement] = []
    behind = -1  # the end of the statement above, where that one is at fault
    for statement in model.statements:
        span = statement.span
        before = bisect_right(firsts, span.end)
        if span.start <= behind or (before and apart[before - 1][1] >= span.start):
            faults.append((span.start, span.end))
            behind = span.end
            while whole and whole[-1].span.end_line == span.line:  # a statement that a fault has cut in two
                faults.append((whole[-1].span.start, span.start))
                span = whole.pop().span
        else:
            whole.append(statement)
    tokens = sorted(scanned.tokens, key=_position)
    places = [_position(token) for token in tokens]
    parts = [tokens[bisect_left(places, start) : bisect_left(places, end)] for start, end in dict.fromkeys(faults)]
    bound = frozenset(name for part in parts for name in _bound(part))
    words = frozenset(word for start, end in _merged(faults) for word in _words(text, start, end))
    anything = anything or any(map(_lacks_a_name, parts))
    return replace(model, statements=tuple(whole)), Unread(bound, words, anything)


def _lacks_a_name(words: list[Token]) -> bool:
    """Whether a name may be missing among these tokens: in a `role`, or before a `=` or `:` of a line of its own."""
    for before, word in zip([None, *words], words, strict=False):
        if word.type == "ROLE":
            return True
        if word.type in ("EQUAL", "COLON") and (
            before is None or before.type not in ("NAME", "RSQB") or not same_line(before, word)
        ):
            return True
    return False


def _words(text: str, start: int, end: int) -> Iterator[str]:
    """What may be a name in the lines of this place. A blank too many may be in it, or one too few beside it, and a
    number behind it may be an index."""
    last = start + len(text[start:end].rstrip())  # what is behind it belongs to the next statement
    first, behind = text.rfind("\n", 0, start) + 1, text.find("\n", last)
    words = WORD.findall(text[first : behind if behind >= 0 else len(text)])
    for word in words:
        yield from (word, word.rstrip(digits))
        for keyword in grammar.keywords():
            yield from (word.removeprefix(keyword), word.removesuffix(keyword))
    for one, other in pairwise(words):
        yield from (one + other, f"{one}_{other}")


def _merged(faults: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places that the faults cover, in order; places that touch become one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(faults):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _bound(words: list[Token]) -> Iterator[str]:
    """The names among these tokens that may have been bound there: those before a `=` or `:`.

    Without such a sign, any name but a role's may have been.
    """
    head = next((at for at, token in enumerate(words) if token.type in ("EQUAL", "COLON")), len(words))
    for at, word in enumerate(words):
        before = words[at - 1].type if at else None
        follows = words[at + 1].type if at + 1 < len(words) else None
        if (at < head and before not in ("FROM", "TO")) or follows in ("EQUAL", "COLON") or before == "LAYER":
            yield str(word)


def _position(token: Token) -> int:
    return token.start_pos or 0


def _tree(tokens: list[Token]) -> Tree[Token]:
    """The parse tree of tokens that the grammar takes."""
    parsing = grammar.parser().parse_interactive()
    for token in tokens:
        parsing.feed_token(token)
    tree: Tree[Token] = parsing.feed_eof(tokens[-1] if tokens else None)  # type: ignore[no-untyped-call]
    return tree


class _Walk:
    """The automaton's way through the tokens, resumed near the place of a change instead of at the start."""

    EVERY = 64  # tokens from one place at which it can be resumed to the next
    DEEP = 1000  # a longer stack is not worth a copy

    def __init__(self) -> None:
        self._resumable = [(0, grammar.Automaton())]

    def stuck(self, tokens: list[Token]) -> int | None:
        """The index of the first token that the grammar cannot take, their number if it wants more; None for none."""
        at, automaton = self._behind(tokens, len(tokens))
        if at < len(tokens):
            return at
        return None if automaton.takes("$END") else at

    def expected(self, tokens: list[Token], at: int) -> frozenset[str]:
        """The types that the grammar takes in the place of token `at`, which is no later than where it is stuck."""
        return self._behind(tokens, at)[1].accepts()

    def forget(self, start: int) -> None:
        """The tokens from `start` on are others now."""
        while self._resumable[-1][0] > start:
            self._resumable.pop()

    def _behind(self, tokens: list[Token], end: int) -> tuple[int, grammar.Automaton]:
        """How many of the first `end` tokens the grammar takes, and the automaton there."""
        place = bisect_right(self._resumable, end, key=lambda each: each[0]) - 1
        at, automaton = self._resumable[place]
        automaton = automaton.copy()
        while at < end and automaton.take(tokens[at].type):
            at += 1
            if at >= self._resumable[-1][0] + self.EVERY and automaton.depth < self.DEEP:
                self._resumable.append((at, automaton.copy()))
        return at, automaton


# Which statement is at fault -----------------------------------------------------------------------------------------


def _trouble(tokens: list[Token], starts: list[int], stuck: int, walk: _Walk, filename: str) -> Trouble:
    """Where the parser stands, in terms of statements."""
    at = stuck
    rebinds = binds(tokens, stuck) and stuck - 1 in starts and tokens[stuck - 1].type == "NAME"
    if rebinds and stuck > 1 and not same_line(*tokens[stuck - 2 : stuck]):
        at = stuck - 1  # a `NAME =` in a line of its own: the statement above it is incomplete
    ended = [*tokens, _end(tokens)]
    fresh = at in starts or ended[at].type == "$END"
    expected = walk.expected(tokens, at)
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


def _cut(trouble: Trouble, starts: list[int]) -> tuple[int, int, str | None]:
    """Which tokens are taken out, and the statement whose stub replaces them."""
    tokens, at, start = trouble.tokens, trouble.at, trouble.start
    last = len(tokens) - 1
    if at == 0:
        if trouble.found.type == "NAME" and not binds(tokens, 1):  # `modle lenet`, or the name alone
            return 0, min(_starts(tokens[1:-1]) or [len(tokens) - 2]) + 1, "MODEL"
        return 0, min(starts or [last]), "MODEL"
    if trouble.found.type == "RBRACE" and "RETURN" in trouble.expected:
        return at, at, "RETURN"
    end = next((each for each in starts if each > at), last)
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


def _repaired(trouble: Trouble, start: int, end: int, repaired: list[int]) -> bool:
    """Whether the scanner repaired something in these tokens, so that what the parser says about them may be wrong."""
    tokens = trouble.tokens
    first = tokens[start].start_pos or 0
    behind = tokens[end].start_pos or 0
    if tokens[end].type == "$END":
        behind += 1
    return any(first <= each < behind for each in repaired)
