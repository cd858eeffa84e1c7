"""A place at which the grammar cannot go on, and what can be said of it: the words of the rules about syntax errors."""

from __future__ import annotations

from dataclasses import dataclass

from lark import Token

from dsl import grammar
from dsl.ast import Span
from dsl.scan import span_of

__all__ = [
    "ATOMS",
    "CLOSING",
    "INFIX",
    "OPERANDS",
    "POSTFIX",
    "Complaint",
    "Trouble",
    "elsewhere",
    "is_keyword",
    "shown",
]

OPERANDS = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE", "LPAR", "LSQB", "MINUS", "NOT"})
CLOSING = frozenset({"RPAR", "RSQB"})
INFIX = frozenset({"OR", "AND", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "AT", "POWER", "PIPE"})
POSTFIX = frozenset({"LPAR", "LSQB", "DOT"})
ATOMS = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE"})


@dataclass(frozen=True)
class Trouble:
    """Where the parser was when it could not go on.

    `tokens[at]` is the token it could not take (the end of the file has the type `$END`), `expected` the types it
    would have taken, `start` the index of the first token of the statement it was in, `fresh` whether `tokens[at]`
    starts another statement or closes a block, `block` the keyword of the block around, `first` the file's `model`.
    """

    tokens: list[Token]
    at: int
    expected: frozenset[str]
    start: int
    fresh: bool
    block: Token | None
    file: str

    @property
    def found(self) -> Token:
        return self.tokens[self.at]

    @property
    def before(self) -> Token:
        return self.tokens[self.at - 1]

    @property
    def complete(self) -> bool:
        """Whether the statement could have ended before `found`."""
        return bool(self.expected & {"$END", "RBRACE", "RETURN"})


@dataclass(frozen=True)
class Complaint:
    """What a rule has to say."""

    place: Span
    message: str
    help: str | None = None
    notes: tuple[tuple[Span, str], ...] = ()


def shown(token: Token) -> str:
    """A token in a message."""
    if token.type == "$END":
        return "the end of the file"
    if is_keyword(token):
        return f"the keyword `{token}`"
    return f"`{token}`"


def is_keyword(token: Token) -> bool:
    """Whether the token is a word that the language keeps for itself."""
    return token.type != "NAME" and str(token) in grammar.keywords()


def elsewhere(trouble: Trouble, token: Token, label: str) -> tuple[tuple[Span, str], ...]:
    """A note at `token`, unless the caret's own line shows it."""
    return () if token.line == trouble.found.line else ((span_of(token), label),)
