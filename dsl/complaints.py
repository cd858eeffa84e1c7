"""The message of a syntax error, in the user's terms.

Each rule looks at the place where the grammar cannot go on, and makes a message or passes. The first message is used;
the last rule always makes one, from what the grammar would have accepted.
"""

from __future__ import annotations

from collections.abc import Callable

from dsl import grammar, wrong_expressions, wrong_statements
from dsl.errors import Diagnostic
from dsl.scan import STARTERS, behind, span_of
from dsl.trouble import CLOSING, INFIX, OPERANDS, POSTFIX, Complaint, Trouble, shown

__all__ = ["complain"]


def complain(trouble: Trouble) -> Diagnostic:
    """The diagnostic for a place at which the parser could not go on."""
    complaint = next(filter(None, (rule(trouble) for rule in RULES)))
    return Diagnostic.at(
        complaint.place, complaint.message, file=trouble.file, help=complaint.help, notes=complaint.notes
    )


def _expected(trouble: Trouble) -> Complaint:
    found, start = trouble.found, trouble.tokens[trouble.start]
    place = behind(trouble.before) if trouble.fresh and not trouble.complete else span_of(found)
    what = shown(found)
    if trouble.fresh and found.type == "NAME":
        what = f"the next statement, {what}"
    if start.type in FORMS:
        help = f"it is written `{FORMS[start.type]}`"
    elif OPERANDS - {"NOT"} <= trouble.expected:
        help = f"put a value after {shown(trouble.before)}"
    else:
        help = "complete it" if found.type == "$END" else f"take {shown(found)} out, or put what is expected before it"
    wanted = "the name of a role" if trouble.before.type in ("FROM", "TO") else _described(trouble.expected)
    return Complaint(place, f"expected {wanted}, found {what}", help)


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
    "FREEZE": "freeze LAYER, …",
    "METRIC": "metric accuracy to ROLE",
    "BUDGET": "budget NAME = dp(epsilon=3, delta=1e-5)",
}


RULES: tuple[Callable[[Trouble], Complaint | None], ...] = (
    wrong_statements.no_model,
    wrong_expressions.number,
    wrong_statements.public,
    wrong_statements.keyword_as_name,
    wrong_statements.misplaced,
    wrong_statements.after_return,
    wrong_statements.no_return,
    wrong_statements.type_left_out,
    wrong_expressions.comment,
    wrong_statements.bare,
    wrong_expressions.signless,
    wrong_expressions.equal_sign,
    wrong_expressions.chain,
    wrong_expressions.range_ends,
    wrong_expressions.missing_operator,
    wrong_expressions.brackets,
    _expected,
)
