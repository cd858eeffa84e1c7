"""Rules about numbers, operators, ranges and brackets.

Each looks at the place of trouble and either says something fitting or passes; `complaints.py` has their order.
"""

from __future__ import annotations

import re
from itertools import pairwise

from lark import Token

from dsl.habits import WORDS
from dsl.scan import MEASURED, same_line, span_of
from dsl.trouble import ATOMS, CLOSING, INFIX, OPERANDS, Complaint, Trouble, shown

MAX_END = 30  # tokens of one end of a range in a message


def number(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    after = trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)]
    if found.type == "DOT" and after.type == "NUMBER" and found.end_pos == after.start_pos:
        place = span_of(found).to(span_of(after))
        return Complaint(place, f"`.{after}` lacks a digit before the point", f"write `0.{after}`")
    dotted = trouble.tokens[trouble.at - 2] if trouble.at > 1 else before
    if before.type == "DOT" and dotted.type == "NUMBER" and dotted.end_pos == before.start_pos:
        place = span_of(dotted).to(span_of(before))
        if found.type == "NUMBER" and found.start_pos == before.end_pos:
            return Complaint(place.to(span_of(found)), f"`{dotted}.{found}` is not a number", "a number has one point")
        return Complaint(place, f"`{dotted}.` lacks a digit after the point", f"write `{dotted}.0`")
    if before.type == "NAME" and dotted.type == "NUMBER" and dotted.end_pos == before.start_pos:
        return _glued(dotted, before)
    return None


def _glued(number: Token, name: Token) -> Complaint:
    """A name directly after a number: `3abc`, `0x10`, `1_000`."""
    place, text = span_of(number).to(span_of(name)), f"{number}{name}"
    if re.fullmatch(r"\d[\d_]*|0[xXbBoO]\w+", text):
        return Complaint(place, f"`{text}` is not a number", "a number is written like `1000`, `0.5` or `1e-3`")
    help = f"a name starts with a letter; to multiply, write `{number} * {name}`"
    return Complaint(place, f"`{text}` is neither a number nor a name", help)


def equal_sign(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "EQUAL" or trouble.fresh:
        return None
    if not trouble.expected & INFIX and not trouble.expected >= OPERANDS:
        return None
    after = trouble.tokens[trouble.at + 1] if trouble.at + 1 < len(trouble.tokens) else trouble.found
    if after.type == "EQUAL":
        return None
    return Complaint(span_of(trouble.found), "`=` is not allowed inside an expression", "to compare, write `==`")


def chain(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "COMPARE" or not trouble.expected & {"PLUS"}:
        return None
    return Complaint(
        span_of(trouble.found), "comparisons cannot be chained", "write `a < b and b < c`, or put one in brackets"
    )


def missing_operator(trouble: Trouble) -> Complaint | None:
    if trouble.found.type not in ATOMS or not trouble.expected & {"PLUS"} or trouble.fresh:
        return None
    return side_by_side(trouble, trouble.before, trouble.found)


def side_by_side(trouble: Trouble, left: Token, right: Token) -> Complaint:
    foreign = next((each for each in (left, right) if str(each) in WORDS), None)
    if foreign is not None:
        return Complaint(span_of(foreign), f"`{foreign}` is not a word of this language", WORDS[foreign])
    if left.type == "NUMBER" and right.type == "NAME" and left.end_pos == right.start_pos:
        return _glued(left, right)
    if trouble.tokens[trouble.start].type == "ROLE":
        return Complaint(span_of(right), f"expected a comma before {shown(right)}", "write `role alice, bob`")
    if left.type == "NUMBER":
        help = f"to multiply, write `{left} * {right}`"
    elif "COMMA" in trouble.expected:
        help = "put a comma or an operator between them"
    else:
        help = "put an operator between them"
    message = f"expected an operator before {shown(right)}"
    if "COMMA" in trouble.expected:
        message = f"expected a comma or an operator before {shown(right)}"
    return Complaint(span_of(right), message, help)


def comment(trouble: Trouble) -> Complaint | None:
    """`//`, with the parser at the first or at the second of them."""
    for first, second in pairwise(trouble.tokens[trouble.at - 1 : trouble.at + 2]):
        if first.type == second.type == "SLASH" and first.end_pos == second.start_pos:
            return Complaint(span_of(first).to(span_of(second)), "there is no `//`", "a comment starts with `#`")
    return None


def signless(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    if not OPERANDS - {"NOT"} <= trouble.expected:
        return None
    if found.type == "PLUS":
        return Complaint(span_of(found), "`+` needs a value on its left", "a number has no `+` sign: delete it")
    if found.type == "EQUAL" and before.type in {"EQUAL", "COMPARE"}:
        return Complaint(span_of(found), "one `=` too many", "a value is bound by `=` and compared by `==`")
    if found.type == "NOT":
        return Complaint(span_of(found), "`not` binds less tightly than this operator", "write `(not x)` in brackets")
    if found.type == "LBRACE":
        return Complaint(span_of(found), "expected a value, found `{`", "a list is written `[a, b]`")
    if found.type == "RSQB" and before.type == "LSQB" and trouble.tokens[trouble.at - 2].type == "IN":
        return Complaint(span_of(found), "expected the two ends of the range", "a range is written `in [lo, hi]`")
    if found.type == "RSQB" and before.type == "LSQB":
        return Complaint(span_of(found), "expected an index between the brackets", "all of an axis is `[:]`")
    if found.type in CLOSING and before.type == "COMMA":
        return Complaint(span_of(before), f"expected a value between this comma and `{found}`", "delete the comma")
    return None


def range_ends(trouble: Trouble) -> Complaint | None:
    """`in [0 1]`, `in [0..1]`, `in [0]`: no comma after the first end of a range."""
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
    return Complaint(span_of(found), f"expected a comma between the two ends of a range, found {shown(found)}", form)


def _range_opening(trouble: Trouble) -> int | None:
    """Where the range starts whose first end the parser is in: at its `[`."""
    depth = 0
    for at in range(trouble.at - 1, max(trouble.at - 1 - MAX_END, 0), -1):
        kind = trouble.tokens[at].type
        depth += (kind in ("RPAR", "RSQB")) - (kind in ("LPAR", "LSQB"))
        if depth < 0:
            word = at - 2 if trouble.tokens[at - 1] == MEASURED else at - 1
            return at if kind == "LSQB" and trouble.tokens[word].type == "IN" else None
        if depth == 0 and kind == "COMMA":
            return None
    return None


def brackets(trouble: Trouble) -> Complaint | None:
    found, place = trouble.found, span_of(trouble.found)
    if found.type == "COMMA" and {"RPAR", "PLUS"} <= trouble.expected:
        return Complaint(place, "expected `)`, found `,`", "a list is written in square brackets: `[a, b]`")
    if trouble.before.type == "IN" and trouble.expected == {"LSQB", "NAME"}:
        return Complaint(place, f"expected `[`, found {shown(found)}", "a range is written `in [lo, hi]`")
    if trouble.expected == {"LSQB"} and trouble.tokens[trouble.at - 2].type == "IN":
        word = trouble.before
        return Complaint(span_of(word), f"expected `[`, found {shown(word)}", "a range is written `in [lo, hi]`")
    return None
