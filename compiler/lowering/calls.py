"""Calls and pipes: a built-in function, a `def`, or a layer applied to arguments.

`x |> f(a)` is `f(x, a)`. A `def` without layers is expanded in place; one with layers through an instance of it, whose
statement has bound some of the parameters and whose application supplies the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from compiler.graph import BATCH, OpError, Value
from compiler.lowering.context import Context
from compiler.lowering.definitions import Definition
from compiler.lowering.layers import BlockInstance, Home, Instance, InstanceArray, LayerInstance
from compiler.lowering.numbers import flat, whole
from compiler.lowering.problems import POISON, Problem
from compiler.lowering.readings import operand, origin, tensor
from compiler.lowering.scope import Category, Scope
from compiler.ops import FUNCTIONS, LAYERS, LOSSES, Function, Layer, Parameter, Takes, build
from compiler.ops.rules import show
from compiler.ops.signatures import bind, form_of
from compiler.ops.signatures import places as places_of
from dsl import ast
from dsl.ast import Span
from dsl.errors import did_you_mean

__all__ = ["Argument", "arguments_of", "call", "options", "pipe", "take"]


@dataclass(frozen=True)
class Argument:
    """An evaluated argument: its name, if it has one, its meaning, and the expression it comes from."""

    name: ast.Name | None
    meaning: object
    expression: ast.Expression

    @property
    def span(self) -> Span:
        return self.expression.span


def call(context: Context, expression: ast.Call, scope: Scope) -> object:
    """`f(a, b)`. Raises Problem when that does not fit."""
    callee = expression.function
    target = _target(context, callee, scope)
    return _apply(context, target, callee, arguments_of(context, expression.arguments, scope), expression.span, scope)


def pipe(context: Context, flow: object, link: ast.Pipe, scope: Scope) -> object:
    """`flow |> f(a)`, with what flows in already evaluated. Raises Problem when that does not fit."""
    right = link.right
    callee, rest = (right.function, right.arguments) if isinstance(right, ast.Call) else (right, ())
    target = _target(context, callee, scope)
    given = [Argument(None, flow, link.left), *arguments_of(context, rest, scope)]
    return _apply(context, target, callee, given, link.span, scope)


def arguments_of(context: Context, arguments: Sequence[ast.Argument], scope: Scope) -> list[Argument]:
    """The arguments, evaluated in their order."""
    return [Argument(each.name, context.evaluate(each.value, scope), each.value) for each in arguments]


def _target(context: Context, callee: ast.Expression, scope: Scope) -> Function | Definition | Instance | None:
    """What is called; None where that failed and was reported. Raises Problem for what cannot be called."""
    if not isinstance(callee, ast.Name):
        meaning = context.evaluate(callee, scope)
        if meaning is POISON:
            return None
        return _callable(context, meaning, callee)
    if callee.id in scope.functions:
        return scope.functions[callee.id]
    binding = scope.find(callee.id)
    if binding is None and callee.id in LAYERS:
        raise Problem(
            callee.span,
            f"`{callee.id}` is a kind of layer, which owns parameters",
            f"declare a layer, `layer f = {callee.id}(…)`, and apply it: `x |> f`",
        )
    if binding is None:
        raise _only_in_training(callee) if callee.id in LOSSES else scope.unknown(callee, functions=scope.functions)
    binding = scope.lookup(callee)
    if binding.meaning is POISON:
        return None
    passed = isinstance(
        binding.meaning, (LayerInstance, BlockInstance, InstanceArray)
    )  # a def's argument may be a layer
    if binding.category not in (Category.LAYER, Category.DEF) and not passed:
        help = did_you_mean(callee.id, FUNCTIONS) or "a function, a def or a layer can be applied; `*` multiplies"
        message = f"`{callee.id}` is {binding.category.value}, not a function"
        raise Problem(callee.span, message, help, (binding.span, "it was declared here"))
    return _callable(context, binding.meaning, callee)


def _only_in_training(callee: ast.Name) -> Problem:
    help = "bind the loss there: `train { loss = … }`"
    return Problem(callee.span, f"`{callee.id}` is a loss, which only a `train` block has", help)


def _callable(context: Context, meaning: object, callee: ast.Expression) -> Definition | Instance:
    name = context.text(callee)
    if isinstance(meaning, Definition):
        if meaning.has_layers:
            raise Problem(
                callee.span,
                f"the def `{name}` has layers: an instance of it owns their parameters",
                f"declare one, `layer block = {name}(…)`, and apply it: `x |> block`",
                (meaning.node.name.span, "it was declared here"),
            )
        return meaning
    if isinstance(meaning, (LayerInstance, BlockInstance)):
        return meaning
    if isinstance(meaning, InstanceArray):
        first = min(meaning.items, default=0)
        raise Problem(callee.span, f"`{name}` is several layers", f"choose one: `{name}[{first}]`")
    help = "write the name of a function, or of a def or a layer that stands above"
    raise Problem(callee.span, f"`{name}` is not a function, a def or a layer", help)


def _apply(
    context: Context,
    target: Function | Definition | Instance | None,
    callee: ast.Expression,
    given: list[Argument],
    span: Span,
    scope: Scope,
) -> object:
    if isinstance(target, LayerInstance):
        return _apply_layer(context, target, callee, given, span, scope)
    if isinstance(target, BlockInstance):
        context.used.add(target.span)
        bound = take(target.definition, given, target.bound)
        return _expand(context, target.definition, bound, callee, target.home)
    if isinstance(target, Definition):
        return _expand(context, target, take(target, given, {}), callee, None)
    if target is None or any(each.meaning is POISON for each in given):
        return POISON
    return _apply_function(context, target, callee, given, span, scope)


# -- built-in functions and layers -------------------------------------------------------------------------------------


def _apply_function(
    context: Context, function: Function, callee: ast.Expression, given: list[Argument], span: Span, scope: Scope
) -> object:
    positional, named, places = options(function, given)
    form = form_of(function.name, function.parameters)
    try:
        values, rest = bind(function.name, function.parameters, positional, named)
    except OpError as error:
        place = callee.span if error.arg is None else places.get(error.arg, callee.span)
        raise Problem(place, error.message, error.help or form) from None
    places.pop(0, None)  # what does not fit in what flows in is said at the function
    notes = dict.fromkeys(note for each in given for note in origin(each.meaning, each.expression, scope))
    if function.name == "argmax" and rest.get("axis") is None:
        _warn_of_all_rows(context, callee, rest["x"], scope)
    make = partial(function.build, *values, **rest)
    if function.build is build.dropout and context.trains:
        make = partial(build.dropped, context.dropouts, *values, **rest)
        context.dropouts += 1
    return context.made(span, callee.span, make, notes, places, form)


def _warn_of_all_rows(context: Context, callee: ast.Expression, value: object, scope: Scope) -> None:
    """argmax without an axis is over the rows of `batch` too, which is seldom meant."""
    batch = scope.find(BATCH)
    if batch is not None and isinstance(value, Value) and value.rank > 1 and value.shape[0] == batch.meaning:
        message = f"argmax without an axis gives one place among all {value.size} elements of {show(value.shape)}"
        context.reporter.warn(callee.span, message, f"`argmax(axis={value.rank - 1})` gives one for each row")


def options(
    kind: Function | Layer, given: Sequence[Argument]
) -> tuple[list[object], dict[str, object], dict[int | str, Span]]:
    """Positional and named arguments as the ops take them, and the place of each by its position and name.

    Raises Problem for an argument that is a layer.
    """
    by_name = {parameter.name: parameter for parameter in kind.parameters}
    slots, several = places_of(kind.parameters)
    positional: list[object] = []
    named: dict[str, object] = {}
    places: dict[int | str, Span] = {}
    for position, each in enumerate(given):
        if each.name is not None:
            parameter = by_name.get(each.name.id)
            named[each.name.id] = _plain(each, parameter)
            places[each.name.id] = each.span if parameter is not None else each.name.span
            continue
        parameter = slots[position] if position < len(slots) else several
        positional.append(_plain(each, parameter))
        places[position] = each.span
        if parameter is not None:
            places.setdefault(parameter.name, each.span)
    return positional, named, places


def _plain(argument: Argument, parameter: Parameter | None) -> object:
    """The argument with exact quotients as what the parameter takes: whole numbers for sizes, float64 otherwise."""
    if isinstance(argument.meaning, str):
        return argument.meaning
    value = operand(argument.meaning, argument.span)
    if parameter is None or parameter.takes in (Takes.VALUE, Takes.VALUES, Takes.NUMBER):
        return flat(value)
    return _whole_numbers(value)


def _whole_numbers(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_whole_numbers(each) for each in value)
    number = whole(value)
    return flat(value) if number is None else number


def _apply_layer(
    context: Context, layer: LayerInstance, callee: ast.Expression, given: list[Argument], span: Span, scope: Scope
) -> object:
    context.used.add(layer.span)
    if len(given) != 1 or given[0].name is not None:
        extra = given[1].span if len(given) > 1 else callee.span
        name = context.text(callee)
        raise Problem(extra, f"a layer is applied to one value, found {len(given)} arguments", f"write `x |> {name}`")
    (flow,) = given
    if flow.meaning is POISON:
        layer.broken = layer.broken or not layer.parameters
        return POISON
    value = operand(flow.meaning, flow.span)
    return layer.apply(context, lambda: tensor(value), span, callee.span, origin(value, flow.expression, scope))


# -- defs --------------------------------------------------------------------------------------------------------------


def take(
    definition: Definition, given: Sequence[Argument], bound: Mapping[str, object], *, first: int = 0
) -> dict[str, object]:
    """`bound` and the arguments for the parameters from `first` on that it leaves, by name.

    Raises Problem for too many arguments, an unknown name, and one that is given twice.
    """
    formals = [formal.name.id for formal in definition.node.formals[first:] if formal.name.id not in bound]
    note = (definition.node.name.span, "it was declared here")
    usage = f"its form is `{form(definition)}`"
    found = dict(bound)
    positional = [each for each in given if each.name is None]
    if len(positional) > len(formals):
        many = f"at most {len(formals)} argument{'s' * (len(formals) != 1)} here"
        raise Problem(
            positional[len(formals)].span, f"`{definition.name}` takes {many}, found {len(positional)}", usage, note
        )
    found |= {name: each.meaning for name, each in zip(formals, positional, strict=False)}
    for each in given:
        if each.name is None:
            continue
        name = each.name.id
        if name in found:
            raise Problem(each.name.span, f"`{definition.name}` gets its argument `{name}` twice", usage, note)
        if name not in formals:
            close = did_you_mean(name, formals)
            help = f"{close} {usage}" if close else usage
            raise Problem(each.name.span, f"`{definition.name}` has no argument `{name}` here", help, note)
        found[name] = each.meaning
    return found


def form(definition: Definition) -> str:
    """`f(x, a, b=…)`, for messages."""
    formals = (each.name.id + ("=…" if each.default is not None else "") for each in definition.node.formals)
    return f"{definition.name}({', '.join(formals)})"


def _expand(
    context: Context, definition: Definition, bound: dict[str, object], callee: ast.Expression, home: Home | None
) -> object:
    context.step(callee.span)
    scope = definition.scope(context.used)
    for formal in definition.node.formals:
        if formal.name.id not in bound and formal.default is None:
            raise Problem(
                callee.span,
                f"`{definition.name}` is missing its argument `{formal.name.id}`",
                f"its form is `{form(definition)}`",
                (definition.node.name.span, "it was declared here"),
            )
    with context.reporter.expanding(callee.span, f"`{context.text(callee)}` is used here"):
        for formal in definition.node.formals:
            given = formal.name.id in bound
            default = formal.default
            meaning = bound[formal.name.id] if given or default is None else context.evaluate(default, scope)
            scope.bind(formal.name, Category.VALUE, meaning)
        definition.run(context, definition.node.body, scope, home)
        return context.evaluate(definition.node.result, scope)
