"""What an expression means: a public number or table, a tensor of the graph, or a layer.

`evaluate` reports what is wrong with an expression at its place and answers POISON for it, so that the other parts of
the same expression are still checked. Calls and pipes are `calls`' business, names are `scope`'s, and the readings of
a meaning (an operand, a size, a number) are `readings`'.
"""

from __future__ import annotations

import math
from types import EllipsisType

from compiler.graph import Value
from compiler.lowering import calls
from compiler.lowering.context import Context
from compiler.lowering.foreign import counterpart
from compiler.lowering.layers import BlockInstance, Group, InstanceArray, LayerInstance, attribute, item
from compiler.lowering.numbers import (
    NUMBERS,
    NumberError,
    Table,
    arithmetic,
    entries,
    power,
    public,
)
from compiler.lowering.problems import POISON, Problem
from compiler.lowering.readings import described, operand, origin, tensor, whole_at
from compiler.lowering.scope import Category, Scope
from compiler.ops import FUNCTIONS, LAYERS, OPERATORS, index
from dsl import ast
from dsl.ast import Operator, Span

__all__ = ["evaluate"]

MAX_TABLE = 2**20  # numbers of a list with all that is in it: more than a text can hold, less than memory
LISTS = "tensors are joined without a list: `concat(a, b, axis=1)` or `stack(a, b)`; sizes and indices cannot be secret"
EXACT = frozenset(Operator) - {Operator.AND, Operator.OR, Operator.NOT, Operator.MATMUL, Operator.NEG, Operator.POW}


def evaluate(context: Context, expression: ast.Expression, scope: Scope) -> object:
    """The meaning of the expression; POISON, with the error reported, where it has none."""
    try:
        return public(_evaluate(context, expression, scope))
    except Problem as problem:
        context.reporter.error(problem)
        return POISON


def _evaluate(context: Context, expression: ast.Expression, scope: Scope) -> object:
    match expression:
        case ast.Number() | ast.Boolean() | ast.String():
            return expression.value
        case ast.Name():
            return _name(expression, scope)
        case ast.List():
            return _list(context, expression, scope)
        case ast.Unary():
            return _unary(context, expression, scope)
        case ast.Binary() | ast.Pipe():
            return _chain(context, expression, scope)
        case ast.Call():
            return calls.call(context, expression, scope)
        case ast.Index():
            return _index(context, expression, scope)
        case ast.Attribute():
            return _attribute(context, expression, scope)


def _name(name: ast.Name, scope: Scope) -> object:
    if scope.find(name.id) is None:
        if name.id in FUNCTIONS:
            usage = f"apply it: `{name.id}(x)` or `x |> {name.id}`"
            raise Problem(name.span, f"`{name.id}` is a function, not a value", usage)
        if name.id in LAYERS:
            usage = f"declare a layer, `layer f = {name.id}(…)`, and apply it: `x |> f`"
            raise Problem(name.span, f"`{name.id}` is a kind of layer, not a value", usage)
    binding = scope.lookup(name)
    if binding.category is Category.DEF:
        raise Problem(name.span, f"`{name.id}` is a def, not a value", f"use it: `{name.id}(…)`")
    if binding.category is Category.ROLE:
        usage = f"an input brings its values: `input x : […] from {name.id}`"
        raise Problem(name.span, f"`{name.id}` is a role, not a value", usage)
    return binding.meaning


def _list(context: Context, expression: ast.List, scope: Scope) -> object:
    items = [evaluate(context, each, scope) for each in expression.items]
    if any(each is POISON for each in items):
        return POISON
    rows: list[object] = []
    size = 0
    for each, place in zip(items, expression.items, strict=True):
        size += each.size if isinstance(each, Value) else math.prod(_shape(each))
        if size > MAX_TABLE:
            message = f"a table has at most {MAX_TABLE} numbers, found more"
            raise Problem(expression.span, message, "let a role provide it as a `param`")
        row = entries(each)
        if row is None and not isinstance(operand(each, place.span), NUMBERS):
            found = f"a list holds numbers known at compile time, found {described(each)}"
            raise Problem(place.span, found, LISTS)
        rows.append(each if row is None else row)
    table = tuple(rows)
    if len({_shape(row) for row in table}) > 1:
        raise Problem(expression.span, "the rows of a table must have the same length", "fill up the shorter rows")
    return table


def _shape(entry: object) -> tuple[int, ...]:
    return (len(entry), *(_shape(entry[0]) if entry else ())) if isinstance(entry, tuple) else ()


# -- operators ---------------------------------------------------------------------------------------------------------


def _unary(context: Context, expression: ast.Unary, scope: Scope) -> object:
    meaning = evaluate(context, expression.operand, scope)
    if meaning is POISON:
        return POISON
    value = operand(meaning, expression.operand.span)
    if expression.operator is Operator.NOT:
        if isinstance(value, bool):
            return not value
        return context.made(expression.span, expression.span, lambda: OPERATORS["not"](tensor(value)))
    if isinstance(value, NUMBERS):
        return arithmetic(Operator.SUB, 0, value)
    return context.made(expression.span, expression.span, lambda: OPERATORS["neg"](tensor(value)))


def _chain(context: Context, expression: ast.Binary | ast.Pipe, scope: Scope) -> object:
    """`a + b + c` and `x |> f |> g` from the left, without recursion: they may be long."""
    links: list[ast.Binary | ast.Pipe] = []
    left: ast.Expression = expression
    while isinstance(left, (ast.Binary, ast.Pipe)):
        links.append(left)
        left = left.left
    meaning = evaluate(context, left, scope)
    for link in reversed(links):
        flow, meaning = meaning, POISON
        with context.reporter.catching():
            if isinstance(link, ast.Pipe):
                meaning = public(calls.pipe(context, flow, link, scope))
            else:
                meaning = public(_binary(context, flow, link, scope))
    return meaning


def _binary(context: Context, left: object, link: ast.Binary, scope: Scope) -> object:
    right = evaluate(context, link.right, scope)
    if left is POISON or right is POISON:
        return POISON
    a, b, op = operand(left, link.left.span), operand(right, link.right.span), link.operator
    try:
        if isinstance(a, NUMBERS) and isinstance(b, NUMBERS):
            if op is Operator.POW:
                return power(a, b)
            if op in EXACT:
                return arithmetic(op, a, b)
    except NumberError as error:
        raise Problem(link.operator_span, error.message, error.help) from None
    notes = dict.fromkeys([*origin(a, link.left, scope), *origin(b, link.right, scope)])
    return context.made(link.span, link.operator_span, lambda: OPERATORS[op.value](tensor(a), tensor(b)), notes)


# -- indices and attributes --------------------------------------------------------------------------------------------

Subscript = int | slice | EllipsisType


def _index(context: Context, expression: ast.Index, scope: Scope) -> object:
    meaning = evaluate(context, expression.value, scope)
    subscripts = [_subscript(context, each, scope) for each in expression.subscripts]
    if meaning is POISON or any(each is None for each in subscripts):
        return POISON
    found = [each for each in subscripts if each is not None]
    place = expression.subscripts[0].span.to(expression.subscripts[-1].span)
    if isinstance(meaning, InstanceArray):
        if len(found) != 1 or not isinstance(found[0], int):
            raise Problem(place, "a layer has one index, a whole number", f"for example `{meaning.name}[0]`")
        return item(meaning, found[0], place)
    if isinstance(meaning, (LayerInstance, BlockInstance)):
        name = context.text(expression.value)
        raise Problem(expression.value.span, f"`{name}` is one layer, without an index", f"apply it: `x |> {name}`")
    value = operand(meaning, expression.value.span)
    if isinstance(value, tuple) and len(found) == 1 and isinstance(found[0], int):
        return _entry(value, found[0], place)
    notes = origin(value, expression.value, scope)
    return context.made(expression.span, place, lambda: index(tensor(value), found), notes)


def _entry(table: Table, position: int, place: Span) -> object:
    """An entry of a list: exact, unlike one of a tensor."""
    if not -len(table) <= position < len(table):
        last = len(table) - 1
        raise Problem(
            place, f"index {position} is out of range for a list of {len(table)}", f"use {-len(table)} to {last}"
        )
    return table[position]


def _subscript(context: Context, subscript: ast.Subscript, scope: Scope) -> Subscript | None:
    """The index for NumPy; None after an error."""
    if isinstance(subscript, ast.Dots):
        return Ellipsis
    if isinstance(subscript, ast.Slice):
        ends = (subscript.start, subscript.stop, subscript.step)
        found = [None if each is None else whole_at(context, each, scope, "an index") for each in ends]
        failed = any(each is not None and end is None for each, end in zip(ends, found, strict=True))
        return None if failed else slice(*found)
    return whole_at(context, subscript, scope, "an index")


def _attribute(context: Context, expression: ast.Attribute, scope: Scope) -> object:
    meaning = evaluate(context, expression.value, scope)
    if meaning is POISON:
        return POISON
    name, owner = expression.name, context.text(expression.value)
    if isinstance(meaning, (LayerInstance, BlockInstance, Group)):
        try:
            return attribute(context, meaning, name, owner)
        except Problem:
            if scope.unread is not None:  # the first application may be in a statement that cannot be read
                return POISON
            raise
    if isinstance(meaning, InstanceArray):
        first = f"{owner}[{min(meaning.items, default=0)}]"
        raise Problem(expression.value.span, f"`{owner}` is several layers", f"choose one: `{first}.{name.id}`")
    value = operand(meaning, expression.value.span)
    if name.id == "shape":
        return tensor(value).shape if not isinstance(value, NUMBERS) else ()
    meant = "transpose" if name.id == "T" else counterpart(name.id)
    help = f"its sizes are `{owner}.shape`"
    if meant in FUNCTIONS:
        help = f"write `{meant}({owner}{', …' * (len(FUNCTIONS[meant].parameters) > 1)})`"
    raise Problem(name.span, f"a value has no attribute `{name.id}`", help)
