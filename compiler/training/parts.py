"""What all procedures of training are made of: parameters as states, and a graph with leaves of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.graph import (
    Graph,
    Input,
    Output,
    Param,
    State,
    Training,
    Value,
    apply,
    bounds,
    declare,
    rebuild,
    rewrite,
    stamp,
    topological,
)
from compiler.graph.interval import Interval
from compiler.ops.losses import Loss
from compiler.passes.pool_first import pool_first
from compiler.passes.subexpressions import common_subexpressions
from compiler.training.limits import Guards, Orientation, known, reach

__all__ = ["WEIGHT_LIMIT", "Trained", "combined", "moved", "present", "provided", "written_out"]

WEIGHT_LIMIT = 8.0
"""The largest magnitude of a parameter that its owner provides for training, where it declares none."""

INITIAL = Interval(-WEIGHT_LIMIT, WEIGHT_LIMIT)

MOST_STATISTIC = 2.0**10
"""The largest magnitude of a running statistic that its owner provides."""

RUNNING_MEAN = "running_mean"


@dataclass(frozen=True)
class Trained:
    """A parameter that is trained, as its owner provides it, and the state that it is afterwards. statistic: it follows
    what batches say, and no gradient."""

    leaf: Value
    state: State
    statistic: bool = False

    def read(self, stage: str) -> Value:
        """The state, as a procedure reads it."""
        return apply(replace(self.state, stage=stage), span=self.leaf.span, name=self.leaf.name)

    def limited(self, guards: Guards, stage: str, used: Orientation | None) -> Value:
        """The state as a procedure computes with it."""
        if self.statistic:
            return self.read(stage)
        return guards.parameter(self.read(stage), self.state.key, used)

    def holding(self, left: Value) -> Trained:
        """With a state that holds what is provided and what a step leaves."""
        given = provided(self.leaf, self.statistic)
        if self.statistic:
            declared = left.declared or left.range
            return replace(self, state=replace(self.state, lo=declared.lo, hi=declared.hi))
        largest = max(given.range.magnitude, reach(left))
        both = {(n.order, n.axes): max(n.bound, bounds.norm(given, n.order, n.axes)) for n in known(left)}
        norms = tuple(bounds.Norm(order, axes, bound) for (order, axes), bound in both.items())
        return replace(self, state=replace(self.state, lo=-largest, hi=largest, known=norms))


def provided(leaf: Value, statistic: bool = False) -> Value:
    """The parameter under the range in which it is trained, where its author declared none."""
    if leaf.declared is not None:
        return leaf
    if not statistic:
        return declare(leaf, INITIAL)
    is_mean = isinstance(leaf.op, Param) and leaf.op.key.endswith(RUNNING_MEAN)
    return declare(leaf, Interval(-MOST_STATISTIC if is_mean else 0.0, MOST_STATISTIC))


def moved(graph: Graph, stage: str, states: Mapping[Value, Value]) -> Graph:
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


def combined(graph: Graph, loss: Value, values: Sequence[Value]) -> Graph:
    """The graph of a loss and of what else is computed with it, each thing once."""
    outputs = [Output(f"value {place}", value, ()) for place, value in enumerate((loss, *values))]
    return pool_first(common_subexpressions(replace(graph, outputs=tuple(outputs))))


def present(training: Training, told: Sequence[Output]) -> tuple[str, ...]:
    """The roles that have a part in a step: whoever gives something, and whoever is told something, of an epoch too."""
    give = [leaf.op.role for leaf in topological([training.loss]) if isinstance(leaf.op, Input)]
    roles = [*(output.roles for output in told), *(measure.roles for measure in training.metrics)]
    return tuple(dict.fromkeys([*give, *(role for each in roles for role in each)]))


def written_out(value: Value) -> Value:
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
