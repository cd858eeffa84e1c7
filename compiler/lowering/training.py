"""The `train` block: its inputs, values and outputs, the loss, the optimizer, and what stays as it is.

It sees the names above it, and what it binds is seen in it alone. What a step computes from all that is
`compiler.training`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction

from compiler.graph import (
    Clipping,
    Input,
    Kind,
    Measure,
    OpError,
    Output,
    Owned,
    Param,
    Training,
    Value,
    apply,
    constant,
    declare,
    rebuild,
    topological,
)
from compiler.graph.interval import Interval
from compiler.lowering import blocks, calls
from compiler.lowering.context import Context
from compiler.lowering.layers import BlockInstance, InstanceArray, LayerInstance, parameters
from compiler.lowering.private import clipping
from compiler.lowering.problems import POISON, Problem
from compiler.lowering.readings import beside_the_clock, described, operand
from compiler.lowering.roles import members, receivers
from compiler.lowering.scope import Binding, Category, Scope
from compiler.ops import FUNCTIONS, LOSSES, Concat, CrossEntropy
from compiler.ops.build import to_fixed
from compiler.ops.losses import classes_of
from compiler.ops.rules import typed
from compiler.ops.shapes import Move
from compiler.ops.signatures import bind, form_of
from compiler.training.limits import LARGEST_LIMIT, LEAST_LIMIT, NORMS, Limits
from compiler.training.metrics import KINDS, expect_measurable
from compiler.training.optimizers import OPTIMIZERS, Optimizer, OptimizerKind, expect_rate
from dsl import ast
from dsl.ast import Span
from dsl.errors import did_you_mean
from mpc_runtime.errors import number
from mpc_runtime.procedure import CLOCK, TRAIN_STEP

__all__ = ["Block", "lower_training"]

LOSS, OPTIMIZER = "loss", "optimizer"
MOST_EPOCHS, MOST_STEPS = 2**20, 2**29


@dataclass
class Block:
    """What the block has bound so far, and where."""

    span: Span
    inputs: list[Value] = field(default_factory=list)
    outputs: dict[str, Output] = field(default_factory=dict)
    weights_to: tuple[str, ...] = ()
    frozen: list[Value] = field(default_factory=list)
    loss: tuple[Value, Span] | None = None
    optimizer: tuple[Optimizer, Value] | None = None
    clock: tuple[Value, Value] | None = None
    limits: Limits = field(default_factory=Limits)
    privacy: Clipping | None = None
    metrics: dict[str, Measure] = field(default_factory=dict)
    failed: bool = False  # an error is reported, and what follows from it is not

    def training(self) -> Training | None:
        """What was bound, where that is complete."""
        if self.loss is None or self.optimizer is None:
            return None
        optimizer, rate = self.optimizer
        loss, *told = _with_classes([self.loss[0], *(output.value for output in self.outputs.values())], self.inputs)
        outputs = tuple(replace(o, value=value) for o, value in zip(self.outputs.values(), told, strict=True))
        inputs = tuple(self.inputs)
        return Training(
            loss,
            optimizer,
            rate,
            self.clock,
            inputs,
            outputs,
            self.weights_to,
            tuple(self.frozen),
            self.limits,
            self.span,
            tuple(self.metrics.values()),
            self.privacy,
        )


def lower_training(
    context: Context,
    statement: ast.Train,
    scope: Scope,
    place: Span,
    inputs: list[Value],
    leaf: Callable[[ast.Input, Scope, list[Value]], None],
    output: Callable[[ast.Output, Scope, dict[str, Output]], None],
) -> Block:
    """Run the block's statements. inputs: those of the file; leaf: binds an input and adds its leaves; output: adds a
    result. Errors are reported."""
    inside = replace(scope, names=dict(scope.names), functions={**FUNCTIONS, **LOSSES})
    block = Block(place)
    with context.reporter.catching():
        block.clock = _clock(context, statement, inside, inputs)
    for each in statement.body:
        before = len(context.reporter.errors)
        with context.reporter.catching():
            _statement(context, each, inside, block, leaf, output)
        block.failed |= len(context.reporter.errors) > before
    for name, missing in ((LOSS, block.loss), (OPTIMIZER, block.optimizer)):
        if missing is None and not block.failed:
            help = "write `loss = cross_entropy(logits, label)`" if name == LOSS else "write `optimizer = sgd(lr=0.1)`"
            context.reporter.error(Problem(place, f"this `train` block binds no `{name}`", help))
    with context.reporter.catching():
        _expect_classes(block)
    for measure in block.metrics.values():
        with context.reporter.catching():
            _expect_measurable(block, measure)
    return block


def _statement(
    context: Context,
    statement: ast.Input | ast.Value | ast.Output | ast.OutputWeights | ast.Freeze | ast.Metric,
    scope: Scope,
    block: Block,
    leaf: Callable[[ast.Input, Scope, list[Value]], None],
    output: Callable[[ast.Output, Scope, dict[str, Output]], None],
) -> None:
    match statement:
        case ast.Input():
            leaf(statement, scope, block.inputs)
        case ast.Value(name=ast.Name(id="optimizer")):
            block.optimizer = _optimizer(context, statement, scope)
        case ast.Value(name=ast.Name(id="limits")):
            block.limits = _limits(context, statement, scope) or block.limits
        case ast.Value(name=ast.Name(id="privacy")):
            block.privacy = clipping(context, statement, scope)
        case ast.Value():
            found = blocks.bind_value(context, statement.name, statement.value, statement.range, scope)
            if statement.name.id == LOSS:
                block.failed |= found is POISON
                block.loss = _loss(context, found, statement)
        case ast.Output():
            output(statement, scope, block.outputs)
        case ast.Freeze():
            for each in statement.names:
                with context.reporter.catching():
                    block.frozen += _parameters(each, scope)
        case ast.Metric(name=name):
            block.metrics[name.id] = _measure(context, statement, scope, block)
        case ast.OutputWeights():
            if block.weights_to:
                raise Problem(
                    statement.span, "a second `output weights`", "name all roles in one: `output weights to a, b`"
                )
            block.weights_to = receivers(context, statement.roles, scope)


def _loss(context: Context, found: object, statement: ast.Value) -> tuple[Value, Span] | None:
    place = statement.value.span
    context.used.add(statement.name.span)
    if found is POISON:
        return None
    value = operand(found, place)
    if not isinstance(value, Value) or value.is_constant:
        message = f"a loss is computed from the parameters, found {described(value)}"
        raise Problem(place, message, "is it made of the result of a layer with `weights`?")
    if value.shape != () or value.kind is not Kind.FIXED:
        help = "take the mean or the sum: `loss = mean(…)`" if value.shape else "a loss is a fixed number"
        raise Problem(place, f"the loss is expected to be fixed[], a scalar, found {typed(value)}", help)
    return value, place


def _measure(context: Context, statement: ast.Metric, scope: Scope, block: Block) -> Measure:
    name = statement.name
    if name.id not in KINDS:
        help = did_you_mean(name.id, KINDS) or f"the metrics are {' and '.join(f'`{kind}`' for kind in KINDS)}"
        raise Problem(name.span, f"`{name.id}` is not a metric", help)
    before = block.metrics.get(name.id)
    if before is not None:
        help = f"name all roles in one: `metric {name.id} to a, b`"
        raise Problem(name.span, f"a second `metric {name.id}`", help, (before.span, "the first one"))
    return Measure(name.id, receivers(context, statement.roles, scope), name.span)


def _expect_measurable(block: Block, measure: Measure) -> None:
    if block.loss is None:
        return
    try:
        expect_measurable(block.loss[0], measure.name)
    except OpError as error:
        raise Problem(measure.span, error.message, error.help) from None


def _with_classes(roots: list[Value], inputs: list[Value]) -> list[Value]:
    """The roots, with labels within the classes that they are compared with, whatever was declared: the client of their
    owner refuses what is no class. The inputs are changed in their place."""
    order = topological(roots)
    within = {label: Interval(0, most) for label, most in _classes(roots, inputs).items()}
    new = {label: declare(label, each) for label, each in within.items() if label.range.intersect(each) is not None}
    inputs[:] = [new.get(value, value) for value in inputs]
    for value in order if new else ():
        new.setdefault(value, rebuild(value, tuple(new.get(arg, arg) for arg in value.args)))
    return [new.get(root, root) for root in roots]


def _classes(roots: list[Value], inputs: list[Value]) -> dict[Value, int]:
    """The last class of each input that is a label."""
    found: dict[Value, int] = {}
    for value in topological(roots):
        labels = classes_of(value.args[1]) if isinstance(value.op, CrossEntropy) else []
        for leaf in (leaf for label in labels for leaf in _moved_from(label)):
            if leaf in inputs:
                found[leaf] = max(found.get(leaf, 0), value.args[1].shape[1] - 1)
    return found


def _moved_from(value: Value) -> Iterator[Value]:
    """The leaves whose elements those of the value are."""
    if not value.args:
        yield value
    elif isinstance(value.op, Move | Concat):
        for arg in value.args:
            yield from _moved_from(arg)


def _expect_classes(block: Block) -> None:
    """Raises Problem for a label whose range has no class."""
    for label, most in _classes([block.loss[0]], block.inputs).items() if block.loss is not None else ():
        if label.range.intersect(Interval(0, most)) is None:
            message = f"a label is a class from 0 to {most}, and `{label.name}` is declared in {label.range}"
            raise Problem(label.span or block.span, message, "correct its range, or leave it out")


def _parameters(name: ast.Name, scope: Scope) -> list[Value]:
    """Those of a layer, or of all of an array of layers, or a `param`. Raises Problem for anything else."""
    binding = scope.lookup(name)
    meaning = binding.meaning
    if meaning is POISON:
        return []
    if isinstance(meaning, LayerInstance | BlockInstance):
        return list(parameters(meaning))
    if isinstance(meaning, InstanceArray):
        layers = [each for each in meaning.items.values() if isinstance(each, LayerInstance | BlockInstance)]
        return [value for each in layers for value in parameters(each)]
    if isinstance(meaning, Value) and binding.category is Category.PARAM:
        return [value for value in topological([meaning]) if isinstance(value.op, Param)]
    message = f"`{name.id}` is {binding.category.value}, and only layers and params are frozen"
    raise Problem(name.span, message, "what is not trained needs no `freeze`", (binding.span, "it was declared here"))


# -- the optimizer -----------------------------------------------------------------------------------------------------


def _optimizer(context: Context, statement: ast.Value, scope: Scope) -> tuple[Optimizer, Value] | None:
    expression = statement.value
    kinds = ", ".join(f"`{name}(lr=…)`" for name in OPTIMIZERS)
    if not isinstance(expression, ast.Call) or not isinstance(expression.function, ast.Name):
        raise Problem(expression.span, "expected an optimizer", f"the optimizers are {kinds}")
    callee = expression.function
    kind = OPTIMIZERS.get(callee.id)
    if kind is None:
        help = did_you_mean(callee.id, OPTIMIZERS) or f"the optimizers are {kinds}"
        raise Problem(callee.span, f"`{callee.id}` is not an optimizer", help)
    given = calls.arguments_of(context, expression.arguments, scope)
    if any(each.meaning is POISON for each in given):
        return None
    return _configured(kind, callee, given)


def _limits(context: Context, statement: ast.Value, scope: Scope) -> Limits | None:
    """`norms(weights=8, …)`: None where an argument is not known, which is reported."""
    expression, help = statement.value, f"its form is `{NORMS}(weights=8, inputs=16, activations=256, signals=64)`"
    if not isinstance(expression, ast.Call) or not isinstance(expression.function, ast.Name):
        raise Problem(expression.span, "expected limits of norms", help)
    if expression.function.id != NORMS:
        raise Problem(expression.function.span, f"`{expression.function.id}` is no kind of limits", help)
    given = calls.arguments_of(context, expression.arguments, scope)
    if any(each.meaning is POISON for each in given):
        return None
    found: dict[str, float] = {}
    for each in given:
        value = operand(each.meaning, each.span)
        name = each.name.id if each.name is not None else ""
        if name not in {known.name for known in fields(Limits)} or name in found:
            raise Problem(each.span, "expected one of the four norms by its name", help)
        number_ = _number(value)
        if number_ is None:
            raise Problem(each.span, f"`{name}` expects a number, found {described(value)}", help)
        found[name] = number_
        if not LEAST_LIMIT <= found[name] <= LARGEST_LIMIT:
            range_ = f"from {number(LEAST_LIMIT)} to {number(LARGEST_LIMIT)}"
            raise Problem(each.span, f"`{name}` expects a number {range_}, found {number(found[name])}", help)
    return Limits(**found)


def _number(value: object) -> float | None:
    if isinstance(value, Value) and value.is_constant and not value.shape and value.kind is not Kind.BIT:
        return float(value.array)
    return float(value) if isinstance(value, int | float | Fraction) and not isinstance(value, bool) else None


def _configured(kind: OptimizerKind, callee: ast.Name, given: list[calls.Argument]) -> tuple[Optimizer, Value]:
    positional = [operand(each.meaning, each.span) for each in given if each.name is None]
    named = {each.name.id: operand(each.meaning, each.span) for each in given if each.name is not None}
    places: dict[int | str, Span] = {each.name.id: each.span for each in given if each.name is not None}
    for index, each in enumerate(each for each in given if each.name is None):
        places[index] = each.span
        if index < len(kind.parameters):
            places.setdefault(kind.parameters[index].name, each.span)
    try:
        options = bind(kind.name, kind.parameters, positional, named)[1]
        return kind.make(**{name: each for name, each in options.items() if name != "lr"}), _rate(options["lr"])
    except OpError as error:
        place = callee.span if error.arg is None else places.get(error.arg, callee.span)
        raise Problem(place, error.message, error.help or form_of(kind.name, kind.parameters)) from None


def _rate(lr: Value) -> Value:
    """A learning rate: a number, or what is computed from the epoch and the step alone."""
    if lr.shape != () or lr.kind is Kind.BIT:
        raise OpError(f"`lr` expects a number, found {described(lr)}", "a rate is one number for all parameters", "lr")
    if lr.is_constant:
        return constant(expect_rate(float(lr.array)))
    if (other := beside_the_clock(lr)) is not None:
        message = f"`lr` depends on the epoch and the step alone, found {described(other)}"
        raise OpError(message, "write an expression in `epoch` and `step`, or a number", "lr")
    return to_fixed(lr)


def _clock(context: Context, statement: ast.Train, scope: Scope, inputs: list[Value]) -> tuple[Value, Value] | None:
    """`epoch` and `step`, which the first role that gives the step something says in clear; bound unless the file has
    such names."""
    clock = (("epoch", MOST_EPOCHS), ("step", MOST_STEPS))
    ours = [word for word, _ in clock if scope.find(word) is None]
    for word in ours:  # also where nobody can be found who says it: that is an error of its own
        scope.names[word] = Binding(word, Category.VALUE, POISON, statement.span)
    own = [each for each in statement.body if isinstance(each, ast.Input)]
    roles = members(context, own[0].role, scope) if own else tuple(_role(value) for value in inputs[:1])
    if not roles:
        if scope.unread is None and not context.reporter.errors:  # the file has no input
            for word in ours:
                del scope.names[word]
        return None
    found = []
    for word, most in clock:
        op = Input(Kind.INT, (), roles[0], True, key=CLOCK + word, dims=(), stage=TRAIN_STEP)
        leaf = apply(op, name=word, declared=Interval(0, most))
        if word in ours:
            scope.names[word] = Binding(word, Category.VALUE, leaf, statement.span)
        found.append(leaf)
    return found[0], found[1]


def _role(value: Value) -> str:
    assert isinstance(value.op, Owned)
    return value.op.role
