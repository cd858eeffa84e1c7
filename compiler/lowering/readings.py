"""What a place in the program asks of an expression's meaning: an operand, a size, an index, a number, a range."""

from __future__ import annotations

import math

from compiler.graph import Input, Kind, Owned, Value, Visibility, topological
from compiler.graph.interval import Interval
from compiler.lowering.context import Context
from compiler.lowering.layers import BlockInstance, Group, InstanceArray, LayerInstance
from compiler.lowering.numbers import NUMBERS, Number, Table, as_constant, describe_number, real, whole
from compiler.lowering.problems import POISON, Note, Problem
from compiler.lowering.scope import Category, Scope, listing
from compiler.ops import FUNCTIONS
from dsl import ast
from dsl.ast import Span
from mpc_runtime.errors import number
from mpc_runtime.procedure import CLOCK

__all__ = [
    "Operand",
    "beside_the_clock",
    "contract_at",
    "described",
    "interval_at",
    "operand",
    "origin",
    "size_at",
    "tensor",
    "whole_at",
]

Operand = Number | Table | Value


def operand(meaning: object, span: Span) -> Operand:
    """A number, a table or a tensor. Raises Problem for a layer and for text."""
    if isinstance(meaning, (*NUMBERS, tuple, Value)):
        return meaning
    if isinstance(meaning, (LayerInstance, BlockInstance)):
        raise Problem(span, f"`{meaning.path}` is a layer, not a value", f"apply it: `x |> {meaning.path}`")
    if isinstance(meaning, Group):
        help = f"name one of them: `….{meaning.part}.weight`"
        raise Problem(span, f"`{meaning.part}` is several parameters, not a value", help)
    if isinstance(meaning, InstanceArray):
        raise Problem(span, f"`{meaning.name}` is several layers, not a value", f"apply one: `x |> {meaning.name}[0]`")
    raise Problem(span, "text is not a value", 'the only text is an option: `padding="same"`')


def tensor(value: Operand) -> Value:
    """The operand as a value of the graph. Raises OpError for numbers beyond what the graph holds."""
    return value if isinstance(value, Value) else as_constant(value)


def beside_the_clock(value: Value) -> Value | None:
    """What the value depends on that is neither a constant nor the epoch or the step of a training."""
    for each in topological([value]):
        if isinstance(each.op, Owned) and not (isinstance(each.op, Input) and each.op.key.startswith(CLOCK)):
            return each
    return None


def described(meaning: object) -> str:
    """What a meaning is, for "found …"."""
    if isinstance(meaning, NUMBERS):
        return describe_number(meaning)
    if isinstance(meaning, str):
        return f'"{meaning}"'
    if isinstance(meaning, tuple):
        return "a list"
    if isinstance(meaning, Value):
        kind = f"{meaning.kind.value}[{', '.join(map(str, meaning.shape))}]"
        if meaning.is_constant:
            return f"a table {kind}"
        word = "secret" if meaning.visibility is Visibility.SECRET else "public"
        return f"a {word} {kind} of {listing(sorted(meaning.owners))}"
    return "a layer"


def origin(value: object, expression: ast.Expression, scope: Scope) -> list[Note]:
    """Where a value that an expression only names was made."""
    binding = scope.find(expression.id) if isinstance(expression, ast.Name) else None
    if binding is None or not isinstance(value, Value) or value.is_constant:
        return []
    label = "the value was made here" if binding.category is Category.VALUE else "it was declared here"
    return [(binding.span, label)]


def whole_at(context: Context, expression: ast.Expression, scope: Scope, what: str) -> int | None:
    """The whole number that the expression is known to be; None, with the error reported, if it is not one.

    `what` is the word for it in messages: "a size", "an index".
    """
    meaning = context.evaluate(expression, scope)
    if meaning is POISON:
        return None
    found = whole(meaning)
    if found is None:
        context.reporter.error(_not_whole(meaning, expression, what))
    return found


def _not_whole(meaning: object, expression: ast.Expression, what: str) -> Problem:
    if isinstance(meaning, Value) and not meaning.is_constant:
        help = "use a number, a const, a dim or a loop index"
        if what == "an index" and FUNCTIONS["gather"].build is not None:
            help += "; `gather` selects by a tensor"
        return Problem(expression.span, f"{what} must be known at compile time, found {described(meaning)}", help)
    near = real(meaning)
    written = "write a number like `8`, a const, a dim, a loop index, or `+ - * /` of these"
    if near is not None and near == int(near):
        written = f"write `{int(near)}`, without point and exponent"
    return Problem(expression.span, f"{what} is a whole number, found {described(meaning)}", written)


def size_at(context: Context, expression: ast.Expression, scope: Scope) -> int | None:
    """A size of a tensor: a whole number of at least 1."""
    found = whole_at(context, expression, scope, "a size")
    if found is not None and found < 1:
        message = f"a size is a whole number of at least 1, found {found}"
        context.reporter.error(Problem(expression.span, message, "a tensor without elements is left out"))
        return None
    return found


def interval_at(context: Context, limits: ast.Range | None, scope: Scope) -> Interval | None:
    """The range `in [lo, hi]`; None without one and, with the error reported, for a wrong one."""
    if limits is None:
        return None
    lo, hi = (_end_at(context, each, scope) for each in (limits.lo, limits.hi))
    if lo is None or hi is None:
        return None
    if lo > hi:
        context.reporter.error(
            Problem(
                limits.span,
                f"a range goes from the lower to the higher end, found [{number(lo)}, {number(hi)}]",
                "swap the two",
            )
        )
        return None
    return Interval(lo, hi)


def contract_at(context: Context, limits: ast.Range | None, kind: Kind, scope: Scope) -> Interval | None:
    """The range of what an owner provides, which a number of its kind can hold; else as `interval_at`."""
    found = interval_at(context, limits, scope)
    if found is None or limits is None or context.precision is None:
        return found
    if kind is not Kind.BIT and not context.precision.format_range(kind).contains(found):
        message = f"this range is {found}, and {context.precision.holds(kind)}"
        help = "declare a narrower range, and let the owner scale the values down before providing them"
        context.reporter.error(Problem(limits.span, message, help))
        return None
    return found


def _end_at(context: Context, expression: ast.Expression, scope: Scope) -> float | None:
    meaning = context.evaluate(expression, scope)
    if meaning is POISON:
        return None
    found = None if isinstance(meaning, bool) else real(meaning)
    if found is not None and math.isfinite(found):
        return found
    message = f"the end of a range is a number known at compile time, found {described(meaning)}"
    context.reporter.error(Problem(expression.span, message, "use a number, a const or a dim"))
    return None
