"""Rules about statements and names: what is in the wrong place, lacks its `=`, or is a word of another language.

Each looks at the place of trouble and either says something fitting or passes; `complaints.py` has their order.
"""

from __future__ import annotations

from lark import Token

from dsl.errors import closest
from dsl.habits import WORDS
from dsl.scan import STARTERS, behind, same_line, span_of
from dsl.trouble import ATOMS, INFIX, OPERANDS, Complaint, Trouble, elsewhere, is_keyword, shown
from dsl.wrong_expressions import side_by_side


def no_model(trouble: Trouble) -> Complaint | None:
    if trouble.at or trouble.expected != {"MODEL"}:
        return None
    if str(trouble.found) in WORDS:
        return Complaint(
            span_of(trouble.found), f"`{trouble.found}` is not a statement of this language", WORDS[trouble.found]
        )
    later = [token for token in trouble.tokens if token.type == "MODEL"]
    misspelt = trouble.found.type == "NAME" and closest(str(trouble.found), {"model"})
    help = "move the `model` line above everything else" if later else "write `model` and a name as the first line"
    return Complaint(
        span_of(trouble.found),
        f"a file starts with `model NAME`, found {shown(trouble.found)}",
        "did you mean `model`?" if misspelt else help,
        tuple((span_of(token), "the model is named here") for token in later[:1]),
    )


def misplaced(trouble: Trouble) -> Complaint | None:
    found = trouble.found
    if found.type not in STARTERS or not trouble.complete:
        return None
    place = span_of(found)
    if trouble.tokens[trouble.at + 1].type == "EQUAL":
        return _reserved(found)
    if found.type == "MODEL":
        return Complaint(place, "a file holds one model, and this is another", "put it into a file of its own")
    if trouble.expected & {"RBRACE"} and not trouble.expected & {"LAYER", "INPUT"} and trouble.block is not None:
        return after_return(trouble)
    if found.type == "RETURN":
        where = "at the end of a `def`"
        return Complaint(
            place, f"`return` is allowed only {where}", "a result leaves the model through `output EXPR to ROLE`"
        )
    if trouble.block is None:
        return None
    return Complaint(
        place,
        f"`{found}` is not allowed inside a `{trouble.block}` block",
        {
            "TRAIN": "a `train` block holds inputs, values, `freeze`, metrics and outputs",
            "FOR": "the body of a `for` holds values, layers and loops",
            "DEF": "the body of a `def` holds values, layers and loops",
        }[trouble.block.type],
        elsewhere(trouble, trouble.block, "the block starts here"),
    )


def after_return(trouble: Trouble) -> Complaint | None:
    if trouble.block is None or trouble.block.type != "DEF" or not trouble.fresh or trouble.found.type == "$END":
        return None
    if "RBRACE" not in trouble.expected or "LAYER" in trouble.expected:
        return None
    return Complaint(
        span_of(trouble.found), "nothing may follow the `return` of a `def`", "put this above the `return`"
    )


def no_return(trouble: Trouble) -> Complaint | None:
    if trouble.found.type != "RBRACE" or "RETURN" not in trouble.expected or trouble.block is None:
        return None
    name = trouble.tokens[trouble.tokens.index(trouble.block) + 1]
    return Complaint(
        span_of(trouble.found),
        f"the def `{name}` returns nothing: expected `return EXPR` before this `}}`",
        "its last statement is `return EXPR`",
        elsewhere(trouble, trouble.block, "the def starts here"),
    )


def public(trouble: Trouble) -> Complaint | None:
    found = trouble.found
    if found.type != "PUBLIC" or trouble.tokens[trouble.at + 1].type == "EQUAL":
        return None
    help = "it is written `from ROLE public in [LO, HI]`"
    return Complaint(span_of(found), "`public` comes directly after the role", help)


def keyword_as_name(trouble: Trouble) -> Complaint | None:
    found, before = trouble.found, trouble.before
    if before.type in STARTERS and found.type == "EQUAL" and "NAME" in trouble.expected:
        return _reserved(before)
    if is_keyword(found) and trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)].type == "EQUAL":
        return _reserved(found)
    if not is_keyword(found) or "NAME" not in trouble.expected or not same_line(before, found):
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


def bare(trouble: Trouble) -> Complaint | None:
    """A statement that starts with a name, and no `=` after it."""
    if trouble.expected != {"EQUAL"} or trouble.before.type != "NAME" or trouble.at < 2:
        return None
    name, found, earlier = trouble.before, trouble.found, trouble.tokens[trouble.at - 2]
    if earlier.type in STARTERS:
        return None
    if same_line(earlier, name) and earlier.type in ATOMS | {"RPAR", "RSQB"}:
        return side_by_side(trouble, earlier, name)
    if str(name) in WORDS:
        return Complaint(span_of(name), f"`{name}` is not a statement of this language", WORDS[str(name)])
    keyword = closest(str(name), {each.lower() for each in STARTERS})
    if keyword is not None and found.type == "NAME" and same_line(name, found):
        return Complaint(span_of(name), f"`{name}` does not start a statement", f"did you mean `{keyword}`?")
    if found.type in INFIX and trouble.tokens[trouble.at + 1].type == "EQUAL":
        return Complaint(
            span_of(found), f"there is no `{found}=`", f"write `{name} = {name} {found} …`: a name can be bound again"
        )
    following = trouble.tokens[min(trouble.at + 1, len(trouble.tokens) - 1)]
    if found.type == "COLON" and following.type == "EQUAL" and found.end_pos == following.start_pos:
        return Complaint(span_of(found).to(span_of(following)), "there is no `:=`", f"write `{name} = …`")
    if found == "==":
        return Complaint(
            span_of(found), "`==` compares and does not bind a name", f"to bind the name, write `{name} = …`"
        )
    if found.type == "COLON":
        help = f"write `input {name} : …` or `param {name} : …`"
        return Complaint(span_of(name), f"expected `=` after `{name}`, found `:`", help)
    place = behind(name) if trouble.fresh else span_of(found)
    return Complaint(
        place,
        f"expected `=` after `{name}`, found {shown(found)}",
        "a value is bound to a name, `NAME = EXPR`, and shown by `output NAME to ROLE`",
    )


def type_left_out(trouble: Trouble) -> Complaint | None:
    if trouble.expected != {"NAME", "LSQB"} or trouble.found.type == "NAME" or trouble.before.type == "IN":
        return None
    return Complaint(
        behind(trouble.before) if trouble.fresh else span_of(trouble.found),
        f"expected a type, found {shown(trouble.found)}",
        "a type is its sizes in square brackets: `[batch, 10]`, `int[batch]`, or `[]` for one number",
    )
