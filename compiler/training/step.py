"""The procedures of a model with a `train` block, as results of one graph.

    setup        takes the parameters and keeps them, and zeros for what the optimizer remembers, as states
    run          predicts with the states
    train_step   forward, back, update: from the states and a batch to the states that replace them
    evaluate     forward, of a batch of validation rows: adds to the sums behind their metrics
    metrics      tells the sums of an epoch
    check        tells what checks have found
    rescale      multiplies what momentums remember, where training goes on at another rate
    finish       releases the parameters

A parameter that is trained is a state, which no role knows, so that no client prepares anything from it. Each procedure
has leaves of its own: what one opens is never read by another. Values of frozen and public parameters stay as they are,
and are opened in `setup`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.graph import (
    BACKWARD,
    BATCH,
    FORWARD,
    METRIC,
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
    stamp,
    topological,
)
from compiler.graph.interval import Interval
from compiler.ops import Add, Mul, Stored, Sub
from compiler.reading.report import report
from compiler.training.clipping import learnt
from compiler.training.limits import (
    Guards,
    Orientation,
    Remembered,
    orientations,
    verdict,
    with_verdict,
)
from compiler.training.metrics import Added, described, of_steps
from compiler.training.modes import Inside, inside, outside, speaker
from compiler.training.optimizers import Adam
from compiler.training.pace import coarse, decay_of, pace_of
from compiler.training.parts import Trained, combined, moved, present, provided, written_out
from compiler.training.readings import Reading
from compiler.training.reverse import NotTrainable, trained
from compiler.training.updates import MEAN_LIMIT, Memory, Updates, rescaled
from dsl.errors import Diagnostic, SourceErrors
from mpc_runtime.errors import number
from mpc_runtime.plan import Privacy
from mpc_runtime.procedure import RUN, SETUP, TRAIN_STEP

__all__ = ["with_training"]


FOLLOWS = 0.1
"""By this part of the difference a running statistic follows that of a batch, as PyTorch's."""

ROUNDED = 16
"""Steps of the format by which rounding may lift a running statistic above what batches have: one a batch, of which the
next ones leave nine tenths each."""


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
    return whole, list(_warnings(graph, training, whole))


def _warnings(graph: Graph, training: Training, whole: Graph) -> Iterator[Diagnostic]:
    if isinstance(training.optimizer, Adam):
        most = number(MEAN_LIMIT)
        message = f"that the gradients of a mean loss stay within [-{most}, {most}] in training is not checked"
        help = "with a rate at which the loss falls they do; compare some steps with `program.reference_fit`"
        yield Diagnostic.at(training.span, message, file=graph.filename, help=help, severity="warning")
    if (rate := coarse(training.optimizer, training.rate, training.clock, graph.precision.frac)) is not None:
        yield report(graph, training.rate, rate.message, rate.help, "warning")
    validated = {metric.name for metric in whole.metrics if metric.validation}
    for measure in training.metrics:
        if measure.name not in validated:
            message = f"`{measure.name}` is not told of validation rows: the loss is no sum of means over rows"
            help = "write it as one: `mean(…)` of what a row brings, times numbers, and what depends on no row"
            yield Diagnostic.at(measure.span, message, file=graph.filename, help=help, severity="warning")


def _expect_unlimited(graph: Graph, training: Training) -> None:
    """Raises SourceErrors for what a person's answers may not be used for step by step: what has a budget, what is
    answered at random each time anew, and what would be told with noise at every step."""
    budgets = {(budget.source, budget.role) for budget in graph.budgets}
    found = []
    for leaf in topological([training.loss, *(output.value for output in training.outputs)]):
        if not isinstance(leaf.op, Input):
            continue
        if (leaf.op.key, leaf.op.role) in budgets and training.privacy is None:
            message = f"training reads `{leaf.op.key}`, which has a budget, without `privacy`"
            help = "write `privacy = dp(clip=1.0, noise=1.1, delta=1e-5)`, or remove the budget"
            found.append(Diagnostic.at(training.span, message, file=graph.filename, help=help))
        elif leaf.op.flipped:
            message = f"`{leaf.op.key}` is answered at random, at every step anew: many answers tell the truth"
            found.append(report(graph, leaf, message, "train on what was answered once"))
    for output in training.outputs:
        if output.release is not None:
            message = f"the output `{output.name}` of every step cannot have noise yet"
            found.append(report(graph, output.value, message, "release it from the model itself"))
    if found:
        raise SourceErrors(found, graph.source)


def _with_procedures(model: Graph, training: Training) -> Graph:
    _expect_unlimited(model, training)
    within, graph = inside(model), outside(model)
    training = within.training
    leaves = [*trained(training.loss, training.frozen), *within.statistics]
    changed = [_trained(graph, leaf, leaf in within.statistics) for leaf in leaves]
    used = orientations([training.loss], (each.leaf for each in changed))
    step = _step(graph, within, changed, used)
    left = {output.keeps.key: output.value for output in step.left if output.keeps is not None}
    changed = [each.holding(left[each.state.key]) for each in changed]
    step = _step(graph, within, changed, used)  # from the states as large as a step leaves them
    assert all(_holds(output) for output in step.left), "a state is as large as what is left as it"
    given = {each.leaf: provided(each.leaf, each.statistic) for each in changed}
    setup = [
        Output(each.state.key, given[each.leaf], (), each.leaf.span, stage=SETUP, keeps=each.state) for each in changed
    ]
    parameters = {each.state for each in changed}
    assert graph.training is not None
    reading = Reading(graph.training, changed, used, step.remembered, graph.precision)
    validation, summed = reading.evaluate(graph)
    kept = {output.keeps.key: output for output in (*validation, *step.left) if output.keeps is not None}
    zeros = [
        Output(output.name, _zero(output.keeps), (), output.span, stage=SETUP, keeps=output.keeps)
        for output in kept.values()
        if output.keeps is not None and output.keeps not in parameters
    ]
    params = tuple(given.get(leaf, leaf) for leaf in graph.params)
    told = [*reading.run(graph), *step.told, *step.left, *validation, *reading.check(step.told)]
    if training.rate.is_constant:
        told += rescaled(speaker(training), [output.keeps for output in step.left if output.keeps is not None])
    sums = (*step.summed, *summed)
    outputs = (*setup, *zeros, *told, *reading.metrics(graph, sums), *reading.finish())
    metrics, coins = described(graph, sums), within.coins
    return replace(graph, params=params, outputs=outputs, metrics=metrics, coins=coins, privacy=step.privacy)


def _holds(output: Output) -> bool:
    state, value = output.keeps, output.value
    return state is not None and Interval(state.lo, state.hi).contains(value.range)


def _zero(state: State) -> Value:
    return constant(state.kind.dtype.type(0))


def _trained(graph: Graph, leaf: Value, statistic: bool) -> Trained:
    op = leaf.op
    assert isinstance(op, Param)
    largest = graph.precision.limit - graph.precision.step  # until it is known what a step leaves
    key = op.key + "".join(f"[{i}]" for i in op.index_path)
    return Trained(leaf, State(Kind.FIXED, leaf.shape, key, RUN, graph.precision.frac, -largest, largest), statistic)


# -- a step ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """What a step tells roles, the states that it leaves, what it checks, what it adds to metrics, and what hides
    single rows."""

    told: list[Output]
    left: list[Output]
    remembered: Remembered | None
    summed: list[Added]
    privacy: Privacy | None


def _step(graph: Graph, within: Inside, changed: list[Trained], used: Mapping[Value, Orientation]) -> _Step:
    """What is equal is made one before the gradients are built, so that both directions share it."""
    training = within.training
    told = [replace(output, stage=TRAIN_STEP) for output in training.outputs]
    sums = of_steps(training, graph.precision.frac)
    values = [*(output.value for output in told), *(each.value for each in sums), *within.statistics.values()]
    forward = combined(graph, training.loss, values)
    guards = Guards(training.limits, graph.precision)
    states = {each.leaf: each.limited(guards, TRAIN_STEP, used.get(each.leaf)) for each in changed}
    keys = {states[each.leaf]: each.state.key for each in changed}
    outputs = moved(forward, TRAIN_STEP, states).outputs
    root, *values = guards.factors([output.value for output in outputs], keys)
    early, updates = len(guards.checks), _updates(graph, training)
    values = [written_out(value) for value in values]
    told = [replace(output, value=value) for output, value in zip(told, values, strict=False)]
    sums = [replace(each, value=value) for each, value in zip(sums, values[len(told) :], strict=False)]
    statistics = dict(zip(within.statistics, values[len(told) + len(sums) :], strict=True))
    mark([root, *(output.value for output in told)], FORWARD)
    left = [each.left(speaker(training), TRAIN_STEP, graph.precision) for each in sums]
    mark([output.value for output in left], METRIC)
    learning = [each for each in changed if not each.statistic]
    wanted, seed = tuple(states[each.leaf] for each in learning), updates.pace.seed
    found, privacy = learnt(graph, training, root, wanted, seed, lambda at, signal: guards.signal(at, signal, keys))
    mark(found, BACKWARD)
    for each, gradient in zip(learning, found, strict=True):
        left += _updated(updates, each, states[each.leaf], gradient)
    left += [_followed(each, states[each.leaf], statistics[each.leaf]) for each in changed if each.statistic]
    remembered = Remembered.of(guards.checks, early, graph.precision) if guards.checks else None
    if remembered is not None:
        found_kept = verdict(remembered, guards.checks, early, TRAIN_STEP)
        told = with_verdict(told, found_kept, present(training, told), TRAIN_STEP)
        left += remembered.left(found_kept)
    for output in left:
        if output.span is not None:
            stamp(output.value, output.span)
    mark([output.value for output in (*told, *left)], UPDATE)
    return _Step(told, left, remembered, sums, privacy)


def _followed(each: Trained, before: Value, batch: Value) -> Output:
    """A running statistic behind a batch."""
    frac = each.state.frac
    more = apply(Stored(frac), apply(Mul(), apply(Sub(), batch, before), constant(FOLLOWS)))
    most = max(provided(each.leaf, True).range.magnitude, batch.range.magnitude + ROUNDED * 2.0**-frac)
    least = 0.0 if batch.range.lo >= 0 else -most
    value = declare(apply(Add(), before, more), Interval(least, most))
    return Output(each.state.key, value, (), each.leaf.span, stage=TRAIN_STEP, keeps=each.state)


def _updates(graph: Graph, training: Training) -> Updates:
    """The optimizer at the pace of its learning rate. Raises SourceErrors for a rate that training cannot follow."""
    optimizer, batch = training.optimizer, graph.dims.get(BATCH, 1)
    frac = graph.precision.frac
    try:
        pace, shrinks = pace_of(optimizer, training.rate, training.clock, batch, frac), None
        if isinstance(optimizer, Adam) and optimizer.decoupled and optimizer.weight_decay and training.clock:
            shrinks = decay_of(training.rate, training.clock, optimizer.weight_decay, frac)
    except OpError as error:
        place = training.rate.span or training.span
        found = Diagnostic.at(place, error.message, file=graph.filename, help=error.help)
        raise SourceErrors([found], graph.source) from None
    return Updates(optimizer, graph.precision, pace, shrinks)


def _updated(updates: Updates, each: Trained, parameter: Value, gradient: Value) -> list[Output]:
    """The states of a parameter and of what is remembered of it, after the step."""
    gradient = updates.gradient(parameter, gradient)
    remembered = {kept.name: _memory(each.state, kept) for kept in updates.memories(gradient)}
    kept = {name: apply(replace(state, stage=TRAIN_STEP)) for name, state in remembered.items()}
    found = updates.update(parameter, gradient, kept)
    named = {each.state: found.parameter} | {remembered[name]: value for name, value in found.kept.items()}
    return [
        Output(state.key, value, (), each.leaf.span, stage=TRAIN_STEP, keeps=state) for state, value in named.items()
    ]


def _memory(parameter: State, kept: Memory) -> State:
    key = f"{parameter.key} ({kept.name})"
    return replace(parameter, key=key, frac=kept.frac, lo=kept.lo, hi=kept.hi, known=kept.known, unit=kept.unit)
