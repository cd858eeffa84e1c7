"""What to say when the grammar cannot go on: the words for a syntax error, in the user's terms.

Each rule looks at the place of trouble and either says something fitting or passes. The first that speaks is heard;
the last one always does, with what the grammar would have taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from lark import Token

from dsl import grammar
from dsl.ast import Span
from dsl.errors import Diagnostic, closest
from dsl.habits import WORDS
from dsl.scan import STARTERS, behind, same_line, span_of

__all__ = ["Trouble", "complain"]


@dataclass(frozen=True)
class Trouble:
    """Where the parser stood when it could not go on.

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


# How each statement is written, for the help line.
FORMS = {
    "MODEL": "model NAME",
    "ROLE": "role alice, bob, hospital[5]",
    "DIM": "dim NAME = SIZE",
    "PRECISION": "precision fixed(bits=64, frac=16)",
    "CONST": "const NAME = NUMBER",
    "INPUT": "input NAME : [SIZES] from ROLE in [LO, HI]",
    "PARAM": "param NAME : [SIZES] from ROLE in [LO, HI]",
    "WEIGHTS": "weights from ROLE in [LO, HI]",
    "LAYER": "layer NAME = LAYER(…)",
    "DEF": "def NAME(x, a, b=1) { … return EXPR }",
    "RETURN": "return EXPR",
    "FOR": "for i in 0..4 { … }",
    "OUTPUT": "output NAME = EXPR to ROLE",
    "TRAIN": "train { … }",
}

OPERANDS = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE", "LPAR", "LSQB", "MINUS", "NOT"})
CLOSING = frozenset({"RPAR", "RSQB"})
INFIX = frozenset({"OR", "AND", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "AT", "POWER", "PIPE"})
POSTFIX = frozenset({"LPAR", "LSQB", "DOT"})
MAX_END = 30  # tokens of one end of a range in a message
ATOMS = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE"})


def complain(trouble: Trouble) -> Diagnostic:
    """The diagnostic for a place at which the parser could not go on."""
    complaint = next(filter(None, (rule(trouble) for rule in RULES)))
    return Diagnostic.at(
        complaint.place, complaint.message, file=trouble.file, help=complaint.help, notes=complaint.notes
    )


# Statements out of place ---------------------------------------------------------------------------------------------


def _no_model(trouble: Trouble) -> Complaint | None:
    if trouble.at or trouble.expected != {"MODEL"}:
        return None
    if str(trouble.found) in WORDS:
        return Complaint(
            span_of(trouble.found), f"`{trouble.found}` is no statement of this language", WORDS[trouble.found]
        )
    later = [token for token in trouble.tokens if token.type == "MODEL"]
    misspelt = trouble.found.type == "NAME" and closest(str(trouble.found), {"model"})
    help = "move the `model` line above everything else" if later else "write `model` and a name as the first line"
    return Complaint(
        span_of(trouble.found),
        f"a file starts with `model NAME`, found {_shown(trouble.found)}",
        "did you mean `model`?" if misspelt else help,
        tuple((span_of(token), "the model is named here") for token in later[:1]),
    )


def _misplaced(trouble: Trouble) -> Complaint | None:
    found = trouble.found
    if found.type not in STARTERS or not trouble.complete:
        return None
    place = span_of(found)
    if trouble.tokens[trouble.at + 1].type == "EQUAL":
        return _reserved(found)
    if found.type == "MODEL":
        return Complaint(place, "a file holds one model, and this is another", "put it into a file of its own")
    if trouble.expected & {"RBRACE"} and not trouble.expected & {"LAYER", "INPUT"} and trouble.block is not None:
        return _after_return(trouble)
    if found.type == "RETURN":
        where = "at the end of a `def`"
        return Complaint(place, f"`return` stands only {where}", "a result leaves the model by `output EXPR to ROLE`")
    if trouble.block is None:
        return None
    return Complaint(
        place,
        f"`{found}` cannot stand inside a `{trouble.block}` block",
        {
            "TRAIN": "a `train` block holds inputs, values and outputs",
            "FOR": "the body of a `for` holds values, layers and loops",
            "DEF": "the body of a `def` holds values, layers and loops",
        }[trouble.block.type],
        _elsewhere(trouble, trouble.block, "the block starts here"),
    )


def _after_return(trouble: Trouble) -> Complaint | None:
    if trouble.block is None or trouble.block.type != "DEF" or not trouble.fresh or trouble.found.type == "$END":
        return None
    if "RBRACE" not in trouble.expected or "LAYER" in trouble.expected:
        return None
    return Complaint(span_of(trouble.found), "nothing follows the `return` of a `def`", "put this above the `return`")


def _no_return(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "RBRACE" or "RETURN" not in trouble.expected or trouble.block is None:
        return None
    name = trouble.tokens[trouble.tokens.index(trouble.block) + 1]
    return Complaint(
        span_of(trouble.found),
        f"the def `{name}` returns nothing: expected `return EXPR` before this `}}`",
        "its last statement is `return EXPR`",
        _elsewhere(trouble, trouble.block, "the def starts here"),
    )


# Words ---------------------------------------------------------------------------------------------------------------


def _public(trouble: Trouble) -> Complaint | None:
    found = trouble.found
    if found.type != "PUBLIC" or trouble.tokens[trouble.at + 1].type == "EQUAL":
        return None
    help = "it is written `from ROLE public in [LO, HI]`"
    return Complaint(span_of(found), "`public` stands directly behind the role", help)


def _keyword_as_name(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    if before.type in STARTERS and found.type == "EQUAL" and "NAME" in trouble.expected:
        return _reserved(before)
    if _is_keyword(found) and trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)].type == "EQUAL":
        return _reserved(found)
    if not _is_keyword(found) or "NAME" not in trouble.expected or not same_line(before, found):
        return None
    if trouble.expected <= {"NAME", "FROM", "RPAR"}:
        return _reserved(found)
    if found.type in STARTERS and not trouble.complete and trouble.expected >= OPERANDS:
        return _reserved(found)
    return None


def _reserved(token: Token) -> Complaint:
    help = {
        "DIM": "an argument that names an axis is called `axis`; for a name of your own, choose `dim_` for example",
    }.get(token.type, f"choose another name, `{token}_` for example")
    return Complaint(span_of(token), f"`{token}` is a keyword, and cannot be a name", help)


def _bare(trouble: Trouble) -> Complaint | None:
    """A statement that starts with a name, and no `=` behind it."""
    if trouble.expected != {"EQUAL"} or trouble.before.type != "NAME" or trouble.at < 2:
        return None
    name, found, earlier = trouble.before, trouble.found, trouble.tokens[trouble.at - 2]
    if earlier.type in STARTERS:
        return None
    if same_line(earlier, name) and earlier.type in ATOMS | {"RPAR", "RSQB"}:
        return _side_by_side(trouble, earlier, name)
    if str(name) in WORDS:
        return Complaint(span_of(name), f"`{name}` is no statement of this language", WORDS[str(name)])
    keyword = closest(str(name), {each.lower() for each in STARTERS})
    if keyword is not None and found.type == "NAME" and same_line(name, found):
        return Complaint(span_of(name), f"`{name}` starts no statement", f"did you mean `{keyword}`?")
    if found.type in INFIX and trouble.tokens[trouble.at + 1].type == "EQUAL":
        return Complaint(
            span_of(found), f"there is no `{found}=`", f"write `{name} = {name} {found} …`: a name can be bound again"
        )
    following = trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)]
    if found.type == "COLON" and following.type == "EQUAL" and found.end_pos == following.start_pos:
        return Complaint(span_of(found).to(span_of(following)), "there is no `:=`", f"write `{name} = …`")
    if found == "==":
        return Complaint(span_of(found), "`==` compares, and starts no value", f"to bind the name, write `{name} = …`")
    if found.type == "COLON":
        help = f"write `input {name} : …` or `param {name} : …`"
        return Complaint(span_of(name), f"expected `=` after `{name}`, found `:`", help)
    place = behind(name) if trouble.fresh else span_of(found)
    return Complaint(
        place,
        f"expected `=` after `{name}`, found {_shown(found)}",
        "a value is bound to a name, `NAME = EXPR`, and shown by `output NAME to ROLE`",
    )


def _type_left_out(trouble: Trouble) -> Complaint | None:
    if trouble.expected != {"NAME", "LSQB"} or trouble.found.type == "NAME":
        return None
    return Complaint(
        behind(trouble.before) if trouble.fresh else span_of(trouble.found),
        f"expected a type, found {_shown(trouble.found)}",
        "a type is its sizes in square brackets: `[batch, 10]`, `int[batch]`, or `[]` for one number",
    )


# Numbers and operators -----------------------------------------------------------------------------------------------


def _number(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    after = trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)]
    if found.type == "DOT" and after.type == "NUMBER" and found.end_pos == after.start_pos:
        place = span_of(found).to(span_of(after))
        return Complaint(place, f"`.{after}` lacks a digit before the point", f"write `0.{after}`")
    dotted = trouble.tokens[trouble.at - 2] if trouble.at > 1 else before
    if before.type == "DOT" and dotted.type == "NUMBER" and dotted.end_pos == before.start_pos:
        place = span_of(dotted).to(span_of(before))
        if found.type == "NUMBER" and found.start_pos == before.end_pos:
            return Complaint(place.to(span_of(found)), f"`{dotted}.{found}` is no number", "a number has one point")
        return Complaint(place, f"`{dotted}.` lacks a digit behind the point", f"write `{dotted}.0`")
    if before.type == "NAME" and dotted.type == "NUMBER" and dotted.end_pos == before.start_pos:
        return _glued(dotted, before)
    return None


def _glued(number: Token, name: Token) -> Complaint:
    """A name directly behind a number: `3abc`, `0x10`, `1_000`."""
    place, text = span_of(number).to(span_of(name)), f"{number}{name}"
    if re.fullmatch(r"\d[\d_]*|0[xXbBoO]\w+", text):
        return Complaint(place, f"`{text}` is no number", "a number is written like `1000`, `0.5` or `1e-3`")
    help = f"a name starts with a letter; to multiply, write `{number} * {name}`"
    return Complaint(place, f"`{text}` is neither a number nor a name", help)


def _equal_sign(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "EQUAL" or trouble.fresh:
        return None
    if not trouble.expected & INFIX and not trouble.expected >= OPERANDS:
        return None
    after = trouble.tokens[trouble.at + 1] if trouble.at + 1 < len(trouble.tokens) else trouble.found
    if after.type == "EQUAL":
        return None
    return Complaint(span_of(trouble.found), "`=` cannot stand inside an expression", "to compare, write `==`")


def _chain(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "COMPARE" or not trouble.expected & {"PLUS"}:
        return None
    return Complaint(
        span_of(trouble.found), "comparisons cannot be chained", "write `a < b and b < c`, or put one into brackets"
    )


def _missing_operator(trouble: Trouble) -> Complaint | None:
    if trouble.found.type not in ATOMS or not trouble.expected & {"PLUS"} or trouble.fresh:
        return None
    return _side_by_side(trouble, trouble.before, trouble.found)


def _side_by_side(trouble: Trouble, left: Token, right: Token) -> Complaint:
    foreign = next((each for each in (left, right) if str(each) in WORDS), None)
    if foreign is not None:
        return Complaint(span_of(foreign), f"`{foreign}` is no word of this language", WORDS[foreign])
    if left.type == "NUMBER" and right.type == "NAME" and left.end_pos == right.start_pos:
        return _glued(left, right)
    if trouble.tokens[trouble.start].type == "ROLE":
        return Complaint(span_of(right), f"expected a comma before {_shown(right)}", "write `role alice, bob`")
    if left.type == "NUMBER":
        help = f"to multiply, write `{left} * {right}`"
    elif "COMMA" in trouble.expected:
        help = "put a comma or an operator between them"
    else:
        help = "put an operator between them"
    message = f"two values stand side by side: expected an operator before {_shown(right)}"
    if "COMMA" in trouble.expected:
        message = f"expected a comma or an operator before {_shown(right)}"
    return Complaint(span_of(right), message, help)


def _comment(trouble: Trouble) -> Complaint | None:
    """`//`, with the parser at the first or at the second of them."""
    for first, second in pairwise(trouble.tokens[trouble.at - 1 : trouble.at + 2]):
        if first.type == second.type == "SLASH" and first.end_pos == second.start_pos:
            return Complaint(span_of(first).to(span_of(second)), "there is no `//`", "a comment starts with `#`")
    return None


def _signless(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    if not OPERANDS - {"NOT"} <= trouble.expected:
        return None
    if found.type == "PLUS":
        return Complaint(span_of(found), "`+` needs a value on its left", "a number carries no `+`: delete it")
    if found.type == "EQUAL" and before.type in {"EQUAL", "COMPARE"}:
        return Complaint(span_of(found), "one `=` too many", "a value is bound by `=` and compared by `==`")
    if found.type == "NOT":
        return Complaint(span_of(found), "`not` binds looser than this operator", "write `(not x)` in brackets")
    if found.type == "LBRACE":
        return Complaint(span_of(found), "expected a value, found `{`", "a list is written `[a, b]`")
    if found.type == "RSQB" and before.type == "LSQB" and trouble.tokens[trouble.at - 2].type == "IN":
        return Complaint(span_of(found), "expected the two ends of the range", "a range is written `in [lo, hi]`")
    if found.type == "RSQB" and before.type == "LSQB":
        return Complaint(span_of(found), "expected an index between the brackets", "all of an axis is `[:]`")
    if found.type in CLOSING and before.type == "COMMA":
        return Complaint(span_of(before), f"expected a value between this comma and `{found}`", "delete the comma")
    return None


def _range(trouble: Trouble) -> Complaint | None:
    """`in [0 1]`, `in [0..1]`, `in [0]`: no comma behind the first end of a range."""
    opening = _range_opening(trouble)
    if opening is None or "COMMA" not in trouble.expected:
        return None
    found, tokens = trouble.found, trouble.tokens
    lo, form = tokens[opening + 1 : trouble.at], "a range is written `in [lo, hi]`"
    if found.type == "RSQB":
        middle = next((token for token in lo[1:] if token.type == "MINUS"), None)
        help = form if middle is None else f"{form}; without a comma before it, `-` subtracts"
        return Complaint(span_of(found), "a range has two ends, found one", help)
    end = next((at for at in range(trouble.at, len(tokens)) if tokens[at].type == "RSQB"), trouble.at)
    hi = tokens[trouble.at + (found.type in ("RANGE", "COLON", "TO")) : end]
    if 0 < len(hi) <= MAX_END and same_line(found, tokens[end]):
        form = f"write `in [{''.join(lo)}, {''.join(hi)}]`"
    return Complaint(span_of(found), f"expected a comma between the two ends of a range, found {_shown(found)}", form)


def _range_opening(trouble: Trouble) -> int | None:
    """Where the range starts in whose first end the parser stands: at its `[`."""
    depth = 0
    for at in range(trouble.at - 1, max(trouble.at - 1 - MAX_END, 0), -1):
        kind = trouble.tokens[at].type
        depth += (kind in ("RPAR", "RSQB")) - (kind in ("LPAR", "LSQB"))
        if depth < 0:
            return at if kind == "LSQB" and trouble.tokens[at - 1].type == "IN" else None
        if depth == 0 and kind == "COMMA":
            return None
    return None


def _brackets(trouble: Trouble) -> Complaint | None:
    found, place = trouble.found, span_of(trouble.found)
    if found.type == "COMMA" and {"RPAR", "PLUS"} <= trouble.expected:
        return Complaint(place, "expected `)`, found `,`", "a list is written in square brackets: `[a, b]`")
    if trouble.before.type == "IN" and trouble.expected == {"LSQB"}:
        return Complaint(place, f"expected `[`, found {_shown(found)}", "a range is written `in [lo, hi]`")
    return None


# What is left --------------------------------------------------------------------------------------------------------


def _expected(trouble: Trouble) -> Complaint:
    found, start = trouble.found, trouble.tokens[trouble.start]
    place = behind(trouble.before) if trouble.fresh and not trouble.complete else span_of(found)
    shown = _shown(found)
    if trouble.fresh and found.type == "NAME":
        shown = f"the next statement, {shown}"
    help = None
    if start.type in FORMS:
        help = f"it is written `{FORMS[start.type]}`"
    elif OPERANDS - {"NOT"} <= trouble.expected:
        help = f"put a value behind {_shown(trouble.before)}"
    wanted = "the name of a role" if trouble.before.type in ("FROM", "TO") else _described(trouble.expected)
    return Complaint(place, f"expected {wanted}, found {shown}", help)


def _described(expected: frozenset[str]) -> str:
    """What the grammar would have taken, in a person's words."""
    if OPERANDS - {"NOT"} <= expected:
        closing = sorted(f"`{_sign(each)}`" for each in expected & CLOSING)
        return " or ".join(["a value", *closing])
    left = set(expected - {"EQUAL"} if "TO" in expected else expected)
    words = []
    if {"PLUS", "STAR"} <= left:
        left -= INFIX | POSTFIX
        words.append("an operator")
    if left & {"$END", "LAYER"}:
        left -= STARTERS | {"$END", "NAME"}
        words.append("the next statement")
    if "NAME" in left:
        left.remove("NAME")
        words.append("a name")
    signs = [PHRASES.get(each, f"`{_sign(each)}`") for each in sorted(left)]
    if signs and words[:1] == ["an operator"]:
        del words[0]  # the sign that must come is what the author needs; an operator may always come
    *most, last = words + signs
    return f"{', '.join(most)} or {last}" if most else last


PHRASES = {
    "FROM": "`from` and the role that provides it",
    "TO": "`to` and the role that learns it",
}


def _sign(kind: str) -> str:
    patterns = {terminal.name: terminal.pattern for terminal in grammar.parser().terminals}
    return "the end" if kind == "$END" else str(patterns[kind].value)


def _shown(token: Token) -> str:
    if token.type == "$END":
        return "the end of the file"
    if _is_keyword(token):
        return f"the keyword `{token}`"
    return f"`{token}`"


def _is_keyword(token: Token) -> bool:
    return token.type != "NAME" and str(token) in grammar.keywords()


def _elsewhere(trouble: Trouble, token: Token, label: str) -> tuple[tuple[Span, str], ...]:
    """A note at `token`, unless the caret's own line shows it."""
    return () if token.line == trouble.found.line else ((span_of(token), label),)


RULES: tuple[Callable[[Trouble], Complaint | None], ...] = (
    _no_model,
    _number,
    _public,
    _keyword_as_name,
    _misplaced,
    _after_return,
    _no_return,
    _type_left_out,
    _comment,
    _bare,
    _signless,
    _equal_sign,
    _chain,
    _range,
    _missing_operator,
    _brackets,
    _expected,
)
