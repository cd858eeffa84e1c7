"""From text to tokens, with all that is wrong before grammar matters: stray characters and brackets without a partner.

Every problem is noted and repaired on the spot: a stray character becomes a space, and a bracket that is never closed
is closed where its statement ends. The parser can then go on and find the other errors.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from lark import Token, UnexpectedCharacters

from dsl import grammar
from dsl.ast import Span
from dsl.errors import Diagnostic
from dsl.habits import COMMENTS, HABITS

__all__ = [
    "BLOCKS",
    "ENDINGS",
    "MAX_PROBLEMS",
    "MAX_TEXT",
    "MEASURED",
    "SOFT",
    "STARTERS",
    "Scanned",
    "begins",
    "behind",
    "binds",
    "same_line",
    "scan",
    "span_of",
]

MEASURED = "measured"  # in front of a range
MAX_TEXT = 250_000  # characters: models of a thousand lines have 50,000, and reading this many takes a second
MAX_OPEN = 5000  # brackets open at once: only noise has that many, and each is repaired on its own
MAX_PROBLEMS = 20  # more than a screenful helps nobody, and each takes another pass over the text

SOFT = frozenset({"BUDGET", "FREEZE", "METRIC"})  # words that start a statement, and are names elsewhere
# The words that start a statement. A `NAME =` does too.
STARTERS = SOFT | frozenset(
    {
        "MODEL",
        "ROLE",
        "DIM",
        "PRECISION",
        "CONST",
        "INPUT",
        "PARAM",
        "WEIGHTS",
        "LAYER",
        "DEF",
        "RETURN",
        "FOR",
        "OUTPUT",
        "TRAIN",
    }
)
# The keywords that open a block, and the statements it holds besides values.
BLOCKS = {
    "DEF": frozenset({"LAYER", "FOR", "RETURN"}),
    "FOR": frozenset({"LAYER", "FOR"}),
    "TRAIN": frozenset({"INPUT", "OUTPUT", "FREEZE", "METRIC"}),
}
NAMING = STARTERS - {"RETURN", "PRECISION", "TRAIN"}  # behind these a `NAME =` still belongs to their statement

LOOP = "a loop is a statement: `for i in 0..4 { … }`"
ENDINGS = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE", "RPAR", "RSQB", "RBRACE"})  # of an expression

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # never part of a text

BRACKET = re.compile(r'#[^\n]*|"[^"\n]*"|(?P<open>[(\[{])|(?P<close>[)\]}])')

PARTNERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
CLOSERS = {closer: opener for opener, closer in PARTNERS.items()}


@dataclass
class Scanned:
    """Balanced tokens, what was wrong with the text, and where (statements there are not judged again).

    `cuts` is what the parser had to leave out. `unsure`: blocks may start or end in other places than they seem to.
    """

    tokens: list[Token]
    problems: list[Diagnostic] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)
    cuts: list[tuple[int, int]] = field(default_factory=list)
    unsure: bool = False


def span_of(token: Token) -> Span:
    """The place of one token."""
    places = (token.start_pos, token.end_pos, token.line, token.column, token.end_line, token.end_column)
    return Span(*(place or 0 for place in places))


def behind(token: Token) -> Span:
    """The place directly behind a token."""
    place = span_of(token)
    return Span(place.end, place.end, place.end_line, place.end_column, place.end_line, place.end_column + 1)


def same_line(left: Token, right: Token) -> bool:
    """Whether `right` starts in the line in which `left` ends."""
    return left.end_line == right.line


def begins(tokens: list[Token], at: int) -> bool:
    """Whether a statement starts with token `at`, outside of round and square brackets.

    Keywords and `NAME =` start one. So does a name at the start of a line, after what can end an expression: not a
    statement of the language, but meant as one (`imput x : …`, `x += 1`).
    """
    before = tokens[at - 1] if at else None
    kind = tokens[at].type
    if kind in STARTERS:
        if binds(tokens, at + 1) and before is not None and before.type in ("COMMA", "LPAR"):
            return False  # `dim=1` among arguments: the author takes a keyword for a name
        return not (kind == "WEIGHTS" and before is not None and before.type == "OUTPUT")
    if kind != "NAME":
        return False
    if before is not None and before.type in ENDINGS and not same_line(before, tokens[at]):
        return True
    return binds(tokens, at + 1) and (before is None or before.type not in NAMING | {"COMMA", "LPAR"})


def binds(tokens: list[Token], at: int) -> bool:
    """Whether token `at` is a `=`."""
    return at < len(tokens) and tokens[at].type == "EQUAL"


def scan(text: str, filename: str) -> Scanned:
    """The tokens of a text, repaired where necessary."""
    scanned = Scanned([])
    scanned.tokens = _tokens(text, filename, scanned)
    if len(scanned.problems) < MAX_PROBLEMS:
        scanned.tokens = _braced(scanned.tokens, filename, scanned)
        _Balance(filename, scanned).run()
    return scanned


# Characters ---------------------------------------------------------------------------------------------------------


def _tokens(text: str, filename: str, scanned: Scanned) -> list[Token]:
    """The tokens, after everything that is not one has been blanked out."""
    if text.startswith("\ufeff"):  # a byte order mark, as some editors write it
        text = " " + text[1:]
    if _is_no_text(text, filename, scanned):
        return []
    text = _without_comments(text, filename, scanned)
    while len(scanned.problems) < MAX_PROBLEMS:
        tokens, stray = _lex(text)
        if stray is None:
            return tokens
        at = cast(int, stray.pos_in_stream)
        start, end, message, help = _stray(text, at)
        column = stray.column - (at - start)
        place = Span(start, end, stray.line, column, stray.line, column + end - start)
        scanned.problems.append(Diagnostic.at(place, message, file=filename, help=help))
        scanned.repaired.append(start)
        text = text[:start] + _filler(text[start:end]) + text[end:]
    return []


def _is_no_text(text: str, filename: str, scanned: Scanned) -> bool:
    """Whether the text cannot be a model: too long, or with control characters. The first problem is reported, and
    nothing else."""
    if len(text) > MAX_TEXT:
        message = f"a model has at most {MAX_TEXT} characters, found {len(text)}"
        help = "let a role provide large tables as a `param`; `for` and `def` repeat statements"
        scanned.problems.append(Diagnostic.at(_place(text, 0, 1), message, file=filename, help=help))
        scanned.repaired.append(0)
        return True
    found = CONTROL.search(text)
    if found is not None:
        message = f"this is not text: found the control character U+{ord(found.group()):04X}"
        help = "is it a `.ppml` file?"
    else:
        found, message, help = _overfull(text), f"more than {MAX_OPEN} brackets are open here", "close them"
    if found is None:
        return False
    scanned.problems.append(Diagnostic.at(_place(text, found.start(), found.end()), message, file=filename, help=help))
    scanned.repaired.append(0)
    return True


def _overfull(text: str) -> re.Match[str] | None:
    """The bracket that is one too many to be open at once."""
    depth = 0
    for found in BRACKET.finditer(text):
        if found["open"]:
            depth += 1
            if depth > MAX_OPEN:
                return found
        elif found["close"]:
            depth = max(depth - 1, 0)
    return None


def _without_comments(text: str, filename: str, scanned: Scanned) -> str:
    """The text, with comments of other languages blanked out."""
    for found in list(COMMENTS.finditer(text)):
        foreign = next((name for name in ("text", "block", "line") if found[name] is not None), None)
        if foreign is None:
            continue
        if len(scanned.problems) == MAX_PROBLEMS:
            break
        start, end = found.span(foreign)
        sign = {"text": found["sign"], "block": "/* … */", "line": "//"}[foreign]
        first = end if "\n" not in text[start:end] else text.index("\n", start)
        message = f"there is no `{sign}`"
        help = "a comment starts with `#`" + ", in each of its lines" * ("\n" in text[start:end])
        scanned.problems.append(Diagnostic.at(_place(text, start, first), message, file=filename, help=help))
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def _place(text: str, start: int, end: int) -> Span:
    """The place of a piece of one line of the text."""
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return Span(start, end, line, column, line, column + end - start)


def _lex(text: str) -> tuple[list[Token], UnexpectedCharacters | None]:
    """The tokens, or the first place that is not one."""
    try:
        return grammar.tokens(text), None
    except UnexpectedCharacters as stray:
        return [], stray


def _filler(piece: str) -> str:
    """As many harmless characters: a name for a word, a string for a string, else spaces."""
    if piece[0].isalnum() or piece[0] == "_":
        return "_" * len(piece)
    if piece[0] in "\"'“" and len(piece) > 1:
        return '"' + " " * (len(piece) - 2) + '"'
    return " " * len(piece)


def _stray(text: str, at: int) -> tuple[int, int, str, str | None]:
    """Where a stray piece starts and ends, the message about it, and what to do."""
    for pattern, message, help in HABITS:
        found = re.compile(pattern).match(text, at)
        if found:
            return at, found.end(), message.format(found.group()), help
    if re.match(r"\w", text[at]):
        start = at
        while start and re.match(r"\w", text[start - 1]):
            start -= 1
        end = re.compile(r"\w+").match(text, start).end()  # type: ignore[union-attr]
        return start, end, f"`{text[start:end]}` is not a name", "a name consists of the letters a to z, digits and `_`"
    code = f"U+{ord(text[at]):04X}"
    if unicodedata.category(text[at]) in ("Zs", "Cf"):
        return at, at + 1, f"there is an invisible character here ({code})", "replace it with a space"
    return at, at + 1, f"`{text[at]}` ({code}) means nothing in this language", "take it out"


# Blocks of Python ---------------------------------------------------------------------------------------------------


def _braced(tokens: list[Token], filename: str, scanned: Scanned) -> list[Token]:
    """The tokens with braces for blocks that start with a colon and end with their indentation."""
    out: list[Token] = []
    blocks: list[int | None] = []  # of each block: the column of its keyword where a colon opened it, None for a brace
    header: Token | None = None
    depth = 0  # of brackets that are open
    for at, token in enumerate(tokens):
        if begins(tokens, at) and (depth <= 0 or token.type in STARTERS):
            depth = 0
            header = token if token.type in BLOCKS else None
            while blocks and not same_line(tokens[at - 1], token) and (token.column or 0) <= (blocks[-1] or 0):
                blocks.pop()
                out.append(Token.new_borrow_pos("RBRACE", "}", tokens[at - 1]))
        depth += (token.type in ("LPAR", "LSQB")) - (token.type in ("RPAR", "RSQB"))
        if token.type == "LBRACE":
            blocks.append(None)
            header = None
        elif token.type == "RBRACE" and blocks:
            blocks.pop()
        elif header is not None and token.type == "COLON" and depth == 0:
            message, help = f"expected `{{` after the header of this `{header}`, found `:`", "a block is `{ … }`"
            scanned.problems.append(Diagnostic.at(span_of(token), message, file=filename, help=help))
            scanned.repaired.append(token.start_pos or 0)
            scanned.unsure = True
            blocks.append(header.column or 0)
            header, token = None, Token.new_borrow_pos("LBRACE", "{", token)
        out.append(token)
    return out + [Token.new_borrow_pos("RBRACE", "}", tokens[-1]) for column in blocks if column is not None]


# Brackets -----------------------------------------------------------------------------------------------------------


@dataclass
class _Balance:
    """Walks over the tokens with a stack of open brackets, and repairs as it goes."""

    filename: str
    scanned: Scanned
    out: list[Token] = field(default_factory=list)
    open: list[tuple[Token, Token | None]] = field(default_factory=list)  # a bracket, and the keyword of its block
    missing: int = 0  # how many braces are never closed, in the whole text
    keyword: Token | None = None  # the statement that the walk is in
    bare: list[tuple[Token, int]] = field(default_factory=list)  # headers of blocks without `{`, and where they end
    waiting: Counter[str] = field(default_factory=Counter)  # the brackets open, by type
    lines: set[int] = field(default_factory=set)  # with a problem: a string left open eats brackets, one is enough

    def run(self) -> None:
        tokens = self.scanned.tokens
        kinds = [token.type for token in tokens]
        self.missing = kinds.count("LBRACE") - kinds.count("RBRACE")
        self.lines = {problem.line for problem in self.scanned.problems}
        for at, token in enumerate(tokens):
            if begins(tokens, at) and self._outside(tokens, at):
                self._statement(token)
            if token.type == "LBRACE" and self.missing > 0 and self._just_opened():
                self.missing -= 1
                self._problem(span_of(token), "this `{` is written twice", "delete one of the two", token)
                continue
            if token.type in PARTNERS:
                self._push(token)
            elif token.type in CLOSERS and not self._pop(token):
                continue
            self.out.append(token)
        for bracket in self._unclosed():
            self._close(bracket, "the file ends here" if tokens else None)
        self.scanned.tokens = self.out

    def _outside(self, tokens: list[Token], at: int) -> bool:
        """Whether a statement really starts here. Inside brackets a keyword does; a `NAME =` may be an argument."""
        if not self.open or self.open[-1][0].type == "LBRACE" or tokens[at].type in STARTERS:
            return True
        before = tokens[at - 1]
        return binds(tokens, at + 1) and before.type not in ("COMMA", "LPAR") and not same_line(before, tokens[at])

    def _statement(self, token: Token) -> None:
        """A statement starts: round and square brackets before it end here, and so may a block."""
        inside = self.open and self.open[-1][0].type != "LBRACE"
        if inside and token.type == "FOR" and same_line(self.out[-1], token):
            self._problem(span_of(token), "there is no `for` inside an expression", LOOP, token)
        for bracket in self._unclosed(("LPAR", "LSQB")):
            self._close(bracket, "the next statement starts here", token)
        while self.missing > 0 and self.open and (why := self._outsider(token)):
            self.missing -= 1
            self._close(self._taken(), why, token)
        if self.keyword is not None and self.keyword.type in BLOCKS:
            self.bare.append((self.keyword, len(self.out)))
        self.keyword = token

    def _outsider(self, token: Token) -> str:
        """Why the statement that starts here cannot belong to the innermost block; empty if it can."""
        keyword = self.open[-1][1]
        if keyword is not None and keyword.type == "DEF" and self.keyword is not None and self.keyword.type == "RETURN":
            return "nothing may follow the `return` of a `def`"
        if keyword is None or token.type not in STARTERS or token.type in BLOCKS[keyword.type]:
            return ""
        return f"`{token}` is not allowed inside the block"

    def _just_opened(self) -> bool:
        """Whether the token before is the brace of a block."""
        return bool(self.open) and self.open[-1][0] is self.out[-1] and self.open[-1][1] is not None

    def _push(self, token: Token) -> None:
        header = self.keyword if token.type == "LBRACE" else None
        if header is not None and header.type not in BLOCKS:
            header = None
        self.open.append((token, header))
        self.waiting[token.type] += 1
        if token.type == "LBRACE":
            self.keyword = None

    def _pop(self, closer: Token) -> bool:
        """Close the partner of `closer`, and first what stands open inside; False where it has no partner."""
        opener = CLOSERS[closer.type]
        if closer.type == "RBRACE" and self.keyword is not None and self.keyword.type in BLOCKS:
            self.bare.append((self.keyword, len(self.out)))
        if not self.waiting[opener]:
            return (closer.type == "RBRACE" and self._open_block()) or self._unopened(closer)
        if opener != "LBRACE" and self.open[-1][0].type == "LBRACE":
            return self._unopened(closer)
        while self.open[-1][0].type != opener:
            self._close(self._taken(), f"`{closer}` is here", closer)
        self._taken()
        if closer.type == "RBRACE":
            self.keyword = None
        return True

    def _open_block(self) -> bool:
        """Supply the `{` that a block's header lacks; False where there is no such header."""
        if not self.bare:
            return False
        keyword, end = self.bare.pop()
        last = self.out[end - 1]
        self._problem(behind(last), f"expected `{{` after the header of this `{keyword}`", "a block is `{ … }`", last)
        self.out.insert(end, Token.new_borrow_pos("LBRACE", "{", last))
        self.keyword = None
        return True

    def _unopened(self, closer: Token) -> bool:
        self._problem(
            span_of(closer), f"this `{closer}` closes nothing", "delete it, or open the bracket before it", closer
        )
        return False

    def _unclosed(self, kinds: tuple[str, ...] = tuple(PARTNERS)) -> Iterator[Token]:
        """The brackets open at the end of the stack, innermost first, as they are taken off it."""
        while self.open and self.open[-1][0].type in kinds:
            yield self._taken()

    def _taken(self) -> Token:
        """The innermost bracket, no longer open."""
        bracket, _ = self.open.pop()
        self.waiting[bracket.type] -= 1
        return bracket

    def _close(self, bracket: Token, label: str | None, at: Token | None = None) -> None:
        """Note that `bracket` is never closed, and close it."""
        closer = PARTNERS[bracket.type]
        sign = {"RPAR": ")", "RSQB": "]", "RBRACE": "}"}[closer]
        last = self.out[-1]
        second = behind(last) if at is None else span_of(at)
        notes = [(second, label)] if label and second.line != bracket.line else []
        self._problem(span_of(bracket), f"this `{bracket}` is never closed", f"close it with `{sign}`", bracket, notes)
        self.out.append(Token.new_borrow_pos(closer, sign, last))

    def _problem(
        self, place: Span, message: str, help: str, near: Token, notes: list[tuple[Span, str]] | None = None
    ) -> None:
        self.scanned.repaired.append(near.start_pos or 0)
        self.scanned.unsure |= near.type in ("LBRACE", "RBRACE") or "{" in message
        if place.line not in self.lines:
            self.lines.add(place.line)
            found = Diagnostic.at(place, message, file=self.filename, help=help, notes=notes or ())
            self.scanned.problems.append(found)
