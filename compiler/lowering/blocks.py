"""The statements that a file, a `def` and a loop have in common: values, layers and loops.

A loop shares the scope around it and is unrolled here; a `def`'s body is run once for each use, in a scope of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.graph import OpError, Value, apply, declare
from compiler.lowering import calls
from compiler.lowering.context import Context
from compiler.lowering.definitions import Definition, check_body
from compiler.lowering.layers import BlockInstance, Home, Instance, InstanceArray, LayerInstance, Provider
from compiler.lowering.numbers import whole
from compiler.lowering.problems import POISON, Poison, Problem
from compiler.lowering.readings import interval_at, operand, tensor, whole_at
from compiler.lowering.scope import Binding, Category, Scope
from compiler.ops import FUNCTIONS, LAYERS, Layer, Reshape
from compiler.ops.signatures import form_of
from dsl import ast
from dsl.errors import did_you_mean

__all__ = ["Frame", "named", "run", "run_body"]


@dataclass(frozen=True)
class Frame:
    """Where statements run: the names, where layers live (nowhere in a `def` without layers), how deep in loops."""

    scope: Scope
    home: Home | None
    loops: int = 0


def run_body(context: Context, body: tuple[ast.Block, ...], scope: Scope, home: Home | None) -> None:
    """Run the body of a `def` in a scope of its own."""
    for statement in body:
        run(context, statement, Frame(scope, home))


def run(context: Context, statement: ast.Block, frame: Frame) -> None:
    """Run one statement; errors are reported, and what they leave without a meaning is bound to POISON."""
    context.step(statement.span)
    try:
        match statement:
            case ast.Value():
                bind_value(context, statement.name, statement.value, statement.range, frame.scope)
            case ast.Layer():
                _layer(context, statement, frame)
            case ast.For():
                _loop(context, statement, frame)
    except Problem as problem:
        context.reporter.error(problem)


# -- values ------------------------------------------------------------------------------------------------------------


def bind_value(
    context: Context, name: ast.Name, expression: ast.Expression, limits: ast.Range | None, scope: Scope
) -> object:
    """`name = expression in limits`: the meaning bound. Raises Problem when the name is taken."""
    meaning = _value(context, name, expression, limits, scope)
    scope.bind(name, Category.VALUE, meaning)
    context.declare(name.span, "value", name.id)
    return meaning


def _value(
    context: Context, name: ast.Name, expression: ast.Expression, limits: ast.Range | None, scope: Scope
) -> object:
    meaning = context.evaluate(expression, scope)
    promise = interval_at(context, limits, scope)
    if meaning is POISON:
        return POISON
    try:
        value = operand(meaning, expression.span)
        if promise is None or limits is None:
            return named(value, name.id) if isinstance(value, Value) else value
        made = context.made(
            expression.span,
            limits.span,
            lambda: declare(_separate(tensor(value)), promise, name.id, limits.measured),
        )
        return made if isinstance(value, Value) else value
    except Problem as problem:
        context.reporter.error(problem)
        return POISON


def named(value: Value, name: str) -> Value:
    """The value under its first name, for prints and messages."""
    return value if value.name is not None or value.is_constant else replace(value, name=name)


def _separate(value: Value) -> Value:
    """A value of its own for a promise about one that has a name: the promise holds for the new name."""
    return value if value.name is None else apply(Reshape(value.shape), value)


# -- layers ------------------------------------------------------------------------------------------------------------


def _layer(context: Context, statement: ast.Layer, frame: Frame) -> None:
    target = statement.target
    name = target.name.id
    index = None
    if target.index is not None:
        index = whole_at(context, target.index, frame.scope, "the index of a layer")
        if index is not None and index < 0:
            message = f"the index of a layer is a whole number of at least 0, found {index}"
            context.reporter.error(Problem(target.index.span, message, "count from 0, as `block[0]`"))
            index = None
    instance: Instance | Poison = POISON
    try:
        instance = _instance(context, statement, index, frame)
    except Problem as problem:
        context.reporter.error(problem)
    if target.index is None:
        frame.scope.bind(target.name, Category.LAYER, instance)
    else:
        _bind_item(target, index, instance, frame.scope)
    context.declare(target.span, "layer", name if index is None else f"{name}[{index}]")


def _bind_item(target: ast.Ref, index: int | None, instance: Instance | Poison, scope: Scope) -> None:
    name = target.name
    binding = scope.names.get(name.id)
    if binding is None or not isinstance(binding.meaning, InstanceArray):
        unread = scope.unread is not None and scope.unread.may_bind(name.id)
        binding = scope.bind(name, Category.LAYER, InstanceArray(name.id, broken=unread))
    array = binding.meaning
    if array is POISON:
        return
    assert isinstance(array, InstanceArray)
    if index is None:
        array.broken = True
    elif index in array.items:
        raise Problem(
            target.span,
            f"`{name.id}[{index}]` is already a layer",
            "give each layer its own index",
            (binding.span, "it was declared here"),
        )
    else:
        array.items[index] = instance


def _instance(context: Context, statement: ast.Layer, index: int | None, frame: Frame) -> Instance | Poison:
    """The layer that the statement declares, the same one at every use of the same instance of a `def`."""
    target, home = statement.target, frame.home
    name = target.name.id
    if name in FUNCTIONS:
        raise Problem(
            target.name.span, f"`{name}` is a built-in function: a layer cannot take its name", "choose another name"
        )
    if frame.loops and target.index is None:
        raise Problem(
            target.span, f"a layer inside a loop needs an index, found `{name}`", f"write `layer {name}[i] = …`"
        )
    kind = _kind(context, statement.value, frame.scope)
    arguments = statement.value.arguments if isinstance(statement.value, ast.Call) else ()
    given = calls.arguments_of(context, arguments, frame.scope)
    failed = kind is None or any(each.meaning is POISON for each in given)
    if kind is None or failed or (target.index is not None and index is None):
        return POISON
    assert home is not None, "the body of a `def` with layers runs in an instance"
    part = name if index is None else f"{name}.{index}"
    path = f"{home.path}.{part}" if home.path else part
    made = _made(context, statement, kind, given, path, home.provide(name))
    before = home.layers.setdefault((name, index), made)
    if not _alike(before, made):
        raise Problem(
            target.span,
            f"the layer `{path}` is declared again with other arguments",
            "a layer that is applied twice shares its parameters; declare another one for other arguments",
        )
    return before


def _kind(context: Context, expression: ast.Expression, scope: Scope) -> Layer | Definition | None:
    """What the layer statement instantiates; None where an earlier error left nothing."""
    callee = expression.function if isinstance(expression, ast.Call) else expression
    if not isinstance(callee, ast.Name):
        raise Problem(callee.span, "expected a kind of layer or a def", "for example `layer f = dense(10)`")
    name = callee.id
    binding = scope.find(name)
    if name in LAYERS:
        pass  # a kind of layer wins over a value of its name
    elif binding is None and name in FUNCTIONS:
        raise Problem(callee.span, f"`{name}` is a function, which owns no parameters", f"apply it: `x |> {name}`")
    elif binding is None:
        raise scope.unknown(callee, functions=LAYERS)
    elif binding.meaning is POISON:
        return None
    elif binding.category is not Category.DEF:
        raise Problem(
            callee.span,
            f"`{name}` is {binding.category.value}, not a kind of layer or a def",
            did_you_mean(name, LAYERS) or "for example `layer f = dense(10)`",
            (binding.span, "it was declared here"),
        )
    if not isinstance(expression, ast.Call):
        raise Problem(callee.span, f"`{name}` is missing its arguments", f"write `{name}(…)` or `{name}()`")
    if name in LAYERS:
        return LAYERS[name]
    definition = scope.lookup(callee).meaning
    if not isinstance(definition, Definition):
        return None
    if not definition.has_layers:
        raise Problem(
            callee.span,
            f"the def `{name}` has no layers",
            f"call it like a function: `x |> {name}`",
            (definition.node.name.span, "it was declared here"),
        )
    return definition


def _made(
    context: Context,
    statement: ast.Layer,
    kind: Layer | Definition,
    given: list[calls.Argument],
    path: str,
    provider: Provider,
) -> Instance:
    place, callee = statement.target.span, statement.value.span
    if isinstance(statement.value, ast.Call):
        callee = statement.value.function.span
    if isinstance(kind, Definition):
        bound = calls.take(kind, given, {}, first=1)
        return BlockInstance(path, place, kind, bound, Home(path, lambda _: provider))
    positional, named_options, places = calls.options(kind, given)
    try:
        config = kind.configure(positional, named_options)
    except OpError as error:
        place = callee if error.arg is None else places.get(error.arg, callee)
        raise Problem(place, error.message, error.help or form_of(kind.name, kind.parameters)) from None
    return LayerInstance(path, place, kind, config, {str(key): span for key, span in places.items()}, provider)


def _alike(one: Instance, other: Instance) -> bool:
    if isinstance(one, LayerInstance) and isinstance(other, LayerInstance):
        return one.kind is other.kind and one.config == other.config
    return isinstance(one, BlockInstance) and isinstance(other, BlockInstance) and one.definition is other.definition


# -- loops -------------------------------------------------------------------------------------------------------------


def _loop(context: Context, statement: ast.For, frame: Frame) -> None:
    start = whole_at(context, statement.start, frame.scope, "the start of a loop")
    stop = whole_at(context, statement.stop, frame.scope, "the end of a loop")
    if start is None or stop is None:
        frame.scope.bind(statement.name, Category.INDEX, POISON)
        _poison(statement.body, frame.scope)
        frame.scope.unbind(statement.name)
        return
    if start >= stop:
        if isinstance(statement.start, ast.Number) and isinstance(statement.stop, ast.Number):
            help = "a loop stops before its second number: `0..4` is 0, 1, 2, 3"
            context.reporter.warn(statement.start.span.to(statement.stop.span), "this loop has no iterations", help)
        check_body(statement.body, {statement.name.id}, frame.scope, context.reporter)
    ahead = max(stop - start, 0) * (1 + _least(statement.body, frame.scope))
    place = statement.start.span.to(statement.stop.span)
    context.step(place, max(ahead, 1))
    inside = replace(frame, loops=frame.loops + 1)
    for turn in range(start, stop):
        context.step(place)
        frame.scope.bind(statement.name, Category.INDEX, turn)
        for each in statement.body:
            run(context, each, inside)
        frame.scope.unbind(statement.name)


def _least(body: tuple[ast.Block, ...], scope: Scope) -> int:
    """How many statements one turn runs at least: a loop inside counts where its ends are known before it runs."""
    total = 0
    for statement in body:
        total += 1
        if isinstance(statement, ast.For):
            start, stop = _known(statement.start, scope), _known(statement.stop, scope)
            if start is not None and stop is not None and stop > start:
                total += (stop - start) * (1 + _least(statement.body, scope))
    return total


def _known(expression: ast.Expression, scope: Scope) -> int | None:
    """The whole number that a literal, a const or a dim is."""
    if isinstance(expression, ast.Number):
        return whole(expression.value)
    binding = scope.find(expression.id) if isinstance(expression, ast.Name) else None
    return (
        whole(binding.meaning) if binding is not None and binding.category in (Category.CONST, Category.DIM) else None
    )


def _poison(body: tuple[ast.Block, ...], scope: Scope) -> None:
    """Bind what the body of a loop would have bound, so that its uses below are not errors of their own."""
    for statement in body:
        if isinstance(statement, ast.For):
            _poison(statement.body, scope)
        elif isinstance(statement, ast.Layer):
            scope.names.setdefault(
                statement.target.name.id,
                Binding(statement.target.name.id, Category.LAYER, POISON, statement.target.name.span),
            )
        else:
            scope.bind(statement.name, Category.VALUE, POISON)
