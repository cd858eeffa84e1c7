"""Nodes of the syntax tree for what was imported. They have no place in a source: the text is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compiler.graph import Array, Kind
from compiler.importers.sizes import Size
from compiler.importers.terms import Call, Formal, Indexed, Layer, Term
from dsl import ast, printer
from dsl.ast import Operator, Span

NOWHERE = Span(0, 0, 1, 1, 1, 1)
BINARY = {each.value: each for each in Operator if each not in (Operator.NEG, Operator.NOT)}
LAST_AXIS = -1
POSITIONAL = {
    "forest": ("trees",),
    "lstm": ("size",),
    "gru": ("size",),
    "dense": ("units",),
    "conv1d": ("out",),
    "conv2d": ("out",),
    "conv_transpose2d": ("out",),
    "embedding": ("count", "size"),
}
"""The arguments of layers that are written without their names."""
LISTED_ALONE = ("shape", "widths", "k", "n", "axes", "bound")
"""Arguments of functions that follow the value without their names."""

SizeOf = Callable[[Size], ast.Expression]


# -- statements --------------------------------------------------------------------------------------------------------


def model(title: str, statements: Sequence[ast.Statement]) -> ast.Model:
    return ast.Model(NOWHERE, name(title), tuple(statements), "", "")


def role(*names: str) -> ast.Role:
    return ast.Role(NOWHERE, tuple(ref(each) for each in dict.fromkeys(names)))


def dim(title: str, default: int) -> ast.Dim:
    return ast.Dim(NOWHERE, name(title), number(default))


def input(title: str, kind: Kind, sizes: Sequence[ast.Expression], owner: str, limits: ast.Range | None) -> ast.Input:
    return ast.Input(NOWHERE, name(title), type_of(kind, sizes), ref(owner), False, limits)


def param(title: str, sizes: Sequence[ast.Expression], owner: str, bound: float) -> ast.Param:
    limits = span((-bound, bound))
    return ast.Param(NOWHERE, name(title), type_of(Kind.FIXED, sizes), ref(owner), False, limits)


def const(title: str, value: ast.Expression) -> ast.Const:
    return ast.Const(NOWHERE, name(title), value)


def weights(owner: str, names: Sequence[str], bound: float) -> ast.Weights:
    return ast.Weights(NOWHERE, tuple(map(name, names)), ref(owner), False, span((-bound, bound)))


def value(title: str, expression: ast.Expression) -> ast.Value:
    return ast.Value(NOWHERE, name(title), expression, None)


def output(title: str, expression: ast.Expression, receiver: str) -> ast.Output:
    plain = isinstance(expression, ast.Name) and expression.id == title
    return ast.Output(NOWHERE, None if plain else name(title), expression, (ref(receiver),), None)


def layer(title: str, form: Layer, size_of: SizeOf) -> ast.Layer:
    positional = POSITIONAL.get(form.kind, ())
    given = dict(form.options)
    arguments = [ast.Argument(NOWHERE, None, option(given.pop(key), size_of)) for key in positional]
    arguments += [ast.Argument(NOWHERE, name(key), option(each, size_of)) for key, each in given.items()]
    return ast.Layer(NOWHERE, ref(title), ast.Call(NOWHERE, name(form.kind), tuple(arguments)))


def definition(title: str, arguments: Sequence[str], body: Sequence[ast.Statement], result: ast.Expression) -> ast.Def:
    formals = tuple(ast.Formal(NOWHERE, name(each), None) for each in arguments)
    inside = tuple(each for each in body if isinstance(each, ast.Layer | ast.Value))
    return ast.Def(NOWHERE, name(title), formals, inside, result)


def instance(title: str, block: str, arguments: Sequence[Any], size_of: SizeOf) -> ast.Layer:
    given = tuple(ast.Argument(NOWHERE, None, option(each, size_of)) for each in arguments)
    return ast.Layer(NOWHERE, ref(title), ast.Call(NOWHERE, name(block), given))


def type_of(kind: Kind, sizes: Sequence[ast.Expression]) -> ast.Type:
    return ast.Type(NOWHERE, kind.value, tuple(sizes))


def span(limits: tuple[float, float] | None) -> ast.Range | None:
    return None if limits is None else ast.Range(NOWHERE, number(short(limits[0])), number(short(limits[1])))


def places(last: ast.Expression) -> ast.Range:
    """The range of an index."""
    return ast.Range(NOWHERE, number(0), last)


def short(value: float) -> float | int:
    return int(value) if value == int(value) else value


def ref(title: str) -> ast.Ref:
    return ast.Ref(NOWHERE, name(title), None)


# -- expressions -------------------------------------------------------------------------------------------------------


def name(title: str) -> ast.Name:
    return ast.Name(NOWHERE, title)


def number(value: float | int | bool) -> ast.Expression:
    """A literal; below 0 behind a sign, and a truth value as a comparison would give it."""
    if isinstance(value, bool):
        return ast.Boolean(NOWHERE, value)
    literal = ast.Number(NOWHERE, abs(value))
    return ast.Unary(NOWHERE, Operator.NEG, literal) if value < 0 else literal


def size(factor: int, dims: Sequence[str], rest: int) -> ast.Expression:
    """`batch * 12 + 1`."""
    if not factor:
        return number(rest)
    made: ast.Expression = name(dims[0])
    for each in dims[1:]:
        made = binary(Operator.MUL, made, name(each))
    made = made if factor == 1 else binary(Operator.MUL, made, number(factor))
    if not rest:
        return made
    return binary(Operator.SUB if rest < 0 else Operator.ADD, made, number(abs(rest)))


def table(array: Array) -> ast.Expression:
    """A number, or lists of them."""
    if array.ndim == 0:
        return number(array.item())
    return ast.List(NOWHERE, tuple(table(np.asarray(each)) for each in array))


def binary(operator: Operator, left: ast.Expression, right: ast.Expression) -> ast.Binary:
    return ast.Binary(NOWHERE, operator, left, right, NOWHERE)


def applied(x: ast.Expression, layer: str) -> ast.Expression:
    return ast.Pipe(NOWHERE, x, name(layer))


def tied(x: ast.Expression, embedding: str) -> ast.Expression:
    """A product with the weight of a layer."""
    weight = ast.Attribute(NOWHERE, name(embedding), name("weight"))
    turned = ast.Call(NOWHERE, name("transpose"), (ast.Argument(NOWHERE, None, weight),))
    return binary(Operator.MATMUL, x, turned)


def expression(term: Term, args: Sequence[ast.Expression], size_of: SizeOf) -> ast.Expression:
    """A function, operator or index on its arguments as they are written."""
    match term.form:
        case Indexed(items=items):
            subscripts = tuple(subscript(each, size_of) for each in items)
            return ast.Index(NOWHERE, args[0], subscripts)
        case Call(name="neg"):
            return ast.Unary(NOWHERE, Operator.NEG, args[0])
        case Call(name="not"):
            return ast.Unary(NOWHERE, Operator.NOT, args[0])
        case Call(name=symbol) if symbol in BINARY:
            left, right = _whole_literals(term, args)
            return binary(BINARY[symbol], left, right)
        case Call(name=function, options=options):
            return _called(function, args, options, size_of)
    raise TypeError(f"{type(term.form).__name__} is no expression of its own")


def _called(
    function: str, args: Sequence[ast.Expression], options: Sequence[tuple[str, Any]], size_of: SizeOf
) -> ast.Expression:
    given = []
    for place, (key, each) in enumerate(options):
        bare = key in LISTED_ALONE and place == 0 and function not in ("transpose",)
        given.append(ast.Argument(NOWHERE, None if bare else name(key), option(each, size_of)))
    if len(args) == 1 and isinstance(args[0], ast.Pipe):
        called = ast.Call(NOWHERE, name(function), tuple(given)) if given else name(function)
        return ast.Pipe(NOWHERE, args[0], called)
    values = [ast.Argument(NOWHERE, None, each) for each in args]
    return ast.Call(NOWHERE, name(function), (*values, *given))


def _whole_literals(term: Term, args: Sequence[ast.Expression]) -> list[ast.Expression]:
    """`2` for `2.0` beside a real number: a whole literal takes the type of its neighbour."""
    found = list(args)
    for place, other in ((0, 1), (1, 0)):
        each = args[place]
        literal = each.operand if isinstance(each, ast.Unary) else each
        neighbour = term.args[other]
        real = neighbour.kind is Kind.FIXED and not neighbour.is_public
        if real and isinstance(literal, ast.Number) and literal.value == int(literal.value):
            whole = int(literal.value)
            found[place] = number(-whole if isinstance(each, ast.Unary) else whole)
    return found


def option(given: Any, size_of: SizeOf) -> ast.Expression:
    if isinstance(given, tuple):
        return ast.List(NOWHERE, tuple(option(each, size_of) for each in given))
    if isinstance(given, Size):
        return size_of(given)
    if isinstance(given, Formal):
        return name(given.name)
    if isinstance(given, str):
        return ast.String(NOWHERE, given)
    return number(given)


def subscript(item: Any, size_of: SizeOf) -> ast.Subscript:
    if item is ...:
        return ast.Dots(NOWHERE)
    if isinstance(item, slice):
        ends = [None if end is None else option(end, size_of) for end in (item.start, item.stop, item.step)]
        return ast.Slice(NOWHERE, *ends)
    return option(item, size_of)


# -- how long and how deep ---------------------------------------------------------------------------------------------


def width(expression: ast.Expression) -> int:
    """The length of the text."""
    return len(printer.expression(expression))


def is_compound(expression: ast.Expression) -> bool:
    """Whether it is more than a name or a literal."""
    if isinstance(expression, ast.Unary):
        return is_compound(expression.operand)
    return not isinstance(expression, ast.Name | ast.Number | ast.Boolean | ast.String | ast.List)
