"""An expression of the graph as its author would write it: what messages call a value that has no name of its own.

Values with a name stand for themselves, moves of elements (a reshape, a broadcast) are left out, and a long text is
cut: it is for a person's eye, not for the parser.
"""

from __future__ import annotations

from compiler.graph import Constant, Value
from compiler.ops.elementwise import Square, ToFixed, ToInt
from compiler.ops.powers import Power
from compiler.ops.shapes import BroadcastTo, Reshape, Slice
from mpc_runtime.errors import number

__all__ = ["formula"]

LONGEST = 70  # characters of a formula in a message of one line
SPENT = 3  # of these for each op: an operator and its blanks, so that what is too long is not read to its end
SILENT = (Reshape, BroadcastTo, ToFixed, ToInt)  # what an author rarely writes

# How tightly the operators hold, loosest first; a call holds tightest.
TIGHTNESS = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "@": 6, "unary -": 7, "**": 8}
COMPARISON, POWER, TIGHTEST = 4, 8, 9


def formula(value: Value, longest: int = LONGEST) -> str:
    """`conv.weight * norm.scale`: the op that makes `value` and what goes into it, down to the names below it."""
    text, _ = _written(value, longest, below=False)
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _written(value: Value, room: int, below: bool = True) -> tuple[str, int]:
    """The text and how tightly it holds together; what would be longer than `room` is left out."""
    if below and value.name is not None:
        return value.name, TIGHTEST
    if isinstance(value.op, Constant):
        return (number(float(value.array)) if value.rank == 0 else "[…]"), TIGHTEST
    if not value.args:
        return value.name or value.op.name.lower(), TIGHTEST
    if room <= 0:
        return "…", TIGHTEST
    room -= SPENT
    if isinstance(value.op, SILENT):
        return _written(value.args[0], room)
    if isinstance(value.op, Slice):
        return f"{_bracketed(value.args[0], room, TIGHTEST)}[…]", TIGHTEST
    if isinstance(value.op, Square):
        return f"{_bracketed(value.args[0], room, TIGHTEST)} ** 2", POWER
    if isinstance(value.op, Power):
        return f"{_bracketed(value.args[0], room, TIGHTEST)} ** {number(value.op.exponent)}", POWER
    symbol = value.op.symbol or value.op.name.lower()
    sign = symbol.replace("`", "")
    if sign == symbol:  # a function
        arguments: list[str] = []
        for arg in value.args:
            arguments.append(_written(arg, room - sum(map(len, arguments)))[0])
        return f"{sign}({', '.join(arguments)})", TIGHTEST
    holds = TIGHTNESS.get(sign, COMPARISON)
    if len(value.args) == 1:
        return f"{sign.removeprefix('unary ')}{' ' * sign.isalpha()}{_bracketed(value.args[0], room, holds)}", holds
    left = _bracketed(value.args[0], room, holds)
    return f"{left} {sign} {_bracketed(value.args[1], room - len(left), holds + 1)}", holds


def _bracketed(value: Value, room: int, holds: int) -> str:
    text, inside = _written(value, room)
    return text if inside >= holds else f"({text})"
