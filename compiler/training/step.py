"""The procedures of a model with a `train` block, as results of one graph.

    setup        takes the parameters and keeps them, and zeros for what the optimizer remembers, as states
    run          predicts with the states
    train_step   forward, back, update: from the states and a batch to the states that replace them
    finish       releases the parameters

A parameter that is trained is a state, which no role knows, so that no client prepares anything from it. Each procedure
has leaves of its own: what one opens is never read by another. Values of frozen and public parameters stay as they are,
and are opened in `setup`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from compiler.graph import (
    BACKWARD,
    BATCH,
    FORWARD,
    UPDATE,
    Graph,
    Input,
    Kind,
    OpError,
    Output,
    Param,
    State,
    Training,
    Value,
    apply,
    constant,
    declare,
    mark,
    rebuild,
    rewrite,
    stamp,
    topological,
)
from compiler.graph.interval import Interval
from compiler.ops.losses import Loss
from compiler.passes.pool_first import pool_first
from compiler.passes.subexpressions import common_subexpressions
from compiler.reading.report import report
from compiler.training.optimizers import Adam
from compiler.training.pace import decay_of, pace_of
from compiler.training.reverse import NotTrainable, gradients, trained
from compiler.training.updates import Memory, Updates
from dsl.errors import Diagnostic, SourceErrors
from mpc_runtime.errors import number
from mpc_runtime.procedure import FINISH, RUN, SETUP, TRAIN_STEP

__all__ = ["WEIGHT_LIMIT", "with_training"]

WEIGHT_LIMIT = 8.0
"""The largest magnitude of a parameter in training (TRAINING section 2: the norm of a unit's weights)."""

WEIGHTS = "weights."
"""Before the keys of parameters, in the names of what `finish` releases: no output of an author has a dot."""


def with_training(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with the results of all procedures, and warnings. Raises SourceErrors for what cannot be trained."""
    training = graph.training
    if training is None:
        return graph, []
    try:
        whole = _with_procedures(graph, training)
    except NotTrainable as error:
        found = [report(graph, blame.value, blame.message, blame.help) for blame in error.blames]
        raise SourceErrors(found, graph.source) from None
    message = (
        f"that parameters stay within [-{number(WEIGHT_LIMIT)}, {number(WEIGHT_LIMIT)}] in training is not checked"
    )
    help = "with a rate at which the loss falls they do; compare some steps with `program.reference_fit`"
    return whole, [Diagnostic.at(training.span, message, file=graph.filename, help=help, severity="warning")]


@dataclass(frozen=True)
class _Trained:
    """A parameter that is trained, as its owner provides it, and the state that it is afterwards."""

    leaf: Value
    state: State

    def read(self, stage: str) -> Value:
        """The state, as a procedure reads it."""
        return apply(replace(self.state, stage=stage), span=self.leaf.span, name=self.leaf.name)


def _expect_layers(graph: Graph, leaves: Iterable[Value]) -> None:
    """Raises SourceErrors for layers that are not trained yet: those whose statistics are of a batch."""
    found = []
    for path in dict.fromkeys(
        op.key.rpartition(".")[0] for op in (leaf.op for leaf in leaves) if isinstance(op, Param)
    ):
        if graph.layers.get(path) == "batchnorm":
            leaf = next(
                each for each in graph.params if isinstance(each.op, Param) and each.op.key.startswith(f"{path}.")
            )
            message = f"the batchnorm `{path}` cannot be trained yet: its statistics would be those of each batch"
            help = f"use `layernorm`, or provide it in clear: `weights {path} from … public`"
            found.append(report(graph, leaf, message, help))
    if found:
        raise SourceErrors(found, graph.source)


def _expect_unlimited(graph: Graph, training: Training) -> None:
    """Raises SourceErrors for what a person's answers may not be used for step by step: what has a budget, what is
    answered at random each time anew, and what would be told with noise at every step."""
    budgets = {(budget.source, budget.role) for budget in graph.budgets}
    found = []
    for leaf in topological([training.loss, *(output.value for output in training.outputs)]):
        if not isinstance(leaf.op, Input):
            continue
        if (leaf.op.key, leaf.op.role) in budgets:
            message = f"training reads `{leaf.op.key}`, which has a budget, and `privacy` is not supported yet"
            found.append(Diagnostic.at(training.span, message, file=graph.filename, help="remove the budget"))
        elif leaf.op.flipped:
            message = f"`{leaf.op.key}` is answered at random, at every step anew: many answers tell the truth"
            found.append(report(graph, leaf, message, "train on what was answered once"))
    for output in training.outputs:
        if output.release is not None:
            message = f"the output `{output.name}` of every step cannot have noise yet"
            found.append(report(graph, output.value, message, "release it from the model itself"))
    if found:
        raise SourceErrors(found, graph.source)


def _with_procedures(graph: Graph, training: Training) -> Graph:
    _expect_unlimited(graph, training)
    _expect_layers(graph, trained(training.loss, training.frozen))
    changed = [_trained(graph, leaf) for leaf in trained(training.loss, training.frozen)]
    leaves = {each.leaf: _provided(each.leaf) for each in changed}
    run = _moved(graph, RUN, {each.leaf: each.read(RUN) for each in changed})
    step = _step(graph, training, changed)
    setup = [
        Output(each.state.key, leaves[each.leaf], (), each.leaf.span, stage=SETUP, keeps=each.state) for each in changed
    ]
    zeros = [
        Output(output.name, constant(0.0), (), output.span, stage=SETUP, keeps=output.keeps)
        for output in step
        if output.keeps is not None and output.keeps not in {each.state for each in changed}
    ]
    finish = [
        Output(WEIGHTS + each.state.key, each.read(FINISH), training.weights_to, each.leaf.span, stage=FINISH)
        for each in changed
        if training.weights_to
    ]
    params = tuple(leaves.get(leaf, leaf) for leaf in graph.params)
    return replace(graph, params=params, outputs=(*setup, *zeros, *run.outputs, *step, *finish))


def _trained(graph: Graph, leaf: Value) -> _Trained:
    op = leaf.op
    assert isinstance(op, Param)
    largest = max(WEIGHT_LIMIT, leaf.declared.magnitude if leaf.declared is not None else 0.0)
    key = op.key + "".join(f"[{i}]" for i in op.index_path)
    return _Trained(leaf, State(Kind.FIXED, leaf.shape, key, RUN, graph.precision.frac, -largest, largest))


def _provided(leaf: Value) -> Value:
    """The parameter under the range in which it is trained, where its author declared none."""
    return leaf if leaf.declared is not None else declare(leaf, Interval(-WEIGHT_LIMIT, WEIGHT_LIMIT))


def _moved(graph: Graph, stage: str, states: Mapping[Value, Value]) -> Graph:
    """The graph with leaves of this procedure."""
    inputs: dict[Value, Value] = {}

    def leaf(value: Value, args: tuple[Value, ...]) -> Value:
        if value in states:
            return states[value]
        if not isinstance(value.op, Input) or value.op.stage == stage:
            return rebuild(value, args)
        if value not in inputs:
            op = replace(value.op, stage=stage)
            inputs[value] = apply(op, span=value.span, name=value.name, declared=value.declared)
        return inputs[value]

    return rewrite(graph, leaf)


# -- a step ------------------------------------------------------------------------------------------------------------


def _step(graph: Graph, training: Training, changed: list[_Trained]) -> list[Output]:
    """What a step tells roles, and the states that it leaves.

    What is equal is made one before the gradients are built, so that both directions share it.
    """
    loss = Output("loss", training.loss, ())
    told = [replace(output, stage=TRAIN_STEP) for output in training.outputs]
    whole = pool_first(common_subexpressions(replace(graph, outputs=(loss, *told))))
    states = {each.leaf: each.read(TRAIN_STEP) for each in changed}
    loss, *told = _moved(whole, TRAIN_STEP, states).outputs
    updates = _updates(graph, training)
    told = [replace(output, value=_written_out(output.value)) for output in told]
    mark([loss.value, *(output.value for output in told)], FORWARD)
    found = gradients(loss.value, tuple(states.values()), updates.pace.seed)
    mark(found, BACKWARD)
    left: list[Output] = []
    for each, gradient in zip(changed, found, strict=True):
        left += _updated(updates, each, states[each.leaf], gradient)
    for output in left:
        if output.span is not None:
            stamp(output.value, output.span)
    mark([output.value for output in left], UPDATE)
    return [*told, *left]


def _updates(graph: Graph, training: Training) -> Updates:
    """The optimizer at the pace of its learning rate. Raises SourceErrors for a rate that training cannot follow."""
    optimizer, batch = training.optimizer, graph.dims.get(BATCH, 1)
    try:
        pace, shrinks = pace_of(optimizer, training.rate, training.clock, batch), None
        if isinstance(optimizer, Adam) and optimizer.decoupled and optimizer.weight_decay and training.clock:
            shrinks = decay_of(training.rate, training.clock, optimizer.weight_decay)
    except OpError as error:
        raise SourceErrors([report(graph, training.rate, error.message, error.help)], graph.source) from None
    return Updates(optimizer, graph.precision, pace, shrinks)


def _updated(updates: Updates, each: _Trained, parameter: Value, gradient: Value) -> list[Output]:
    """The states of a parameter and of what is remembered of it, after the step."""
    gradient = updates.gradient(parameter, gradient)
    remembered = {memory.name: _memory(each.state, memory) for memory in updates.memories(gradient)}
    kept = {name: apply(replace(state, stage=TRAIN_STEP)) for name, state in remembered.items()}
    found = updates.update(parameter, gradient, kept)
    named = {each.state: found.parameter} | {remembered[name]: value for name, value in found.kept.items()}
    return [
        Output(state.key, value, (), each.leaf.span, stage=TRAIN_STEP, keeps=state) for state, value in named.items()
    ]


def _memory(parameter: State, memory: Memory) -> State:
    key = f"{parameter.key} ({memory.name})"
    return replace(parameter, key=key, frac=memory.frac, lo=memory.lo, hi=memory.hi)


def _written_out(value: Value) -> Value:
    """The value with its losses as ops that are computed privately."""

    def written(value: Value, args: tuple[Value, ...]) -> Value:
        if not isinstance(value.op, Loss):
            return rebuild(value, args)
        found = value.op.written_out(*args)
        if value.span is not None:
            stamp(found, value.span)
        return found

    return _mapped(value, written)


def _mapped(root: Value, rule: Callable[[Value, tuple[Value, ...]], Value]) -> Value:
    """`rule(value, new arguments)` in the place of each value below the root, and of itself."""
    new: dict[Value, Value] = {}
    for value in topological([root]):
        new[value] = rule(value, tuple(new[arg] for arg in value.args))
    return new[root]
