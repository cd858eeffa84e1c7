"""The float64 twin of private training: the same loss, gradients and optimizer on the same batches, without rounding.

Which rows a batch has, rates and epochs are the caller's. A twin is the measure of private training (`reference_fit`),
never a part of it: nothing here is secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.graph import BATCH, Array, Clipping, Graph, Leaf, Param, Training, Value, apply, constant
from compiler.ops import Mul
from compiler.reading.reference import evaluate_values, provided
from compiler.training.clipping import clipped
from compiler.training.metrics import of_rows, of_steps
from compiler.training.modes import inside, outside
from compiler.training.optimizers import Optimizer, State
from compiler.training.pace import rate_at
from compiler.training.reverse import gradients, trained
from mpc_runtime.procedure import ROWS

Arrays = Mapping[str, Array]
Validation = Sequence[tuple[Arrays, int]]


@dataclass
class Twin:
    """A model in training. params: the parameters by key, trained and not; step: how many steps are done.

    frozen: parameters that stay. privacy: gradients of rows are clipped, and added up without noise. beside: what else
    is computed in a step, of the parameters before it, and found in `seen` then. Raises NotTrainable as
    `reverse.gradients` does.
    """

    loss: Value
    optimizer: Optimizer
    params: dict[str, Array]
    frozen: Iterable[Value] = ()
    privacy: Clipping | None = None
    step: int = 0
    states: dict[Value, State] = field(default_factory=dict)
    beside: Sequence[Value] = ()
    seen: Sequence[Array] = ()

    def __post_init__(self) -> None:
        self.params = {key: np.array(array) for key, array in self.params.items()}
        self.trained = trained(self.loss, self.frozen)
        self.gradients = self._gradients()

    def _gradients(self) -> tuple[Value, ...]:
        private = self.privacy
        if private is None or private.counts is None:
            return gradients(self.loss, self.trained)
        sums = clipped(self.loss, self.trained, private.counts.size, private.counts, private.clip).sums
        return tuple(apply(Mul(), total, constant(1 / private.batch)) for total in sums)

    def train(self, batch: Arrays, lr: float) -> float:
        """One step on the inputs of a batch, by key; the loss before it."""

        loss, *found = self.evaluate([self.loss, *self.gradients, *self.beside], batch)
        found, self.seen = found[: len(self.gradients)], found[len(self.gradients) :]
        self.step += 1
        for value, gradient in zip(self.trained, found, strict=True):
            assert isinstance(value.op, Param)
            at = self.params[value.op.key], value.op.index_path
            state = self.states.get(value, {})
            moved, self.states[value] = self.optimizer.update(at[0][at[1]], gradient, state, lr, self.step)
            at[0][at[1]] = moved
        return float(loss)

    def follow(self, statistics: Mapping[Value, Array]) -> None:
        """Running statistics, by their leaves, take up what a batch says."""
        for leaf, batch in statistics.items():
            assert isinstance(leaf.op, Param)
            running = self.params[leaf.op.key]
            running[leaf.op.index_path] += 0.1 * (batch - running[leaf.op.index_path])

    def evaluate(self, values: Sequence[Value], batch: Arrays) -> list[Array]:
        """Values of the model as it stands."""

        def leaf(op: Leaf) -> Array:
            return provided(op, batch, self.params)

        return evaluate_values(values, leaf)


@dataclass
class Course:
    """Of a training: the loss of every step, the parameters after the last one, and the metrics of epochs by name."""

    losses: list[float]
    params: dict[str, Array]
    metrics: dict[str, list[float]]


def follow(
    graph: Graph,
    batches: Iterable[Arrays],
    params: Arrays,
    steps: int,
    coins: Callable[[int], Arrays],
    validation: Validation = (),
    is_over: Callable[[Mapping[str, list[float]]], bool] = lambda metrics: False,
) -> Course:
    """steps: those of an epoch; coins: by the number of a step what is drawn for it; validation: the batches of its
    rows, each with how many of them count; is_over: whether training ends early with these metrics."""
    within, plain = inside(graph), outside(graph).training
    training = within.training
    assert plain is not None, "the model has a `train` block"
    sums = of_steps(training, graph.precision.frac)
    beside = [*(each.value for each in sums), *within.statistics.values()]
    start = training.loss, training.optimizer, dict(params), training.frozen, training.privacy
    twin = Twin(*start, beside=beside)
    found = Course([], twin.params, {})
    seen = []
    for done, batch in enumerate(batches):
        batch = {**batch, **coins(done)}
        found.losses.append(twin.train(batch, rate_at(training.rate, training.clock, done // steps, done)))
        seen.append([float(each) for each in twin.seen[: len(sums)]])
        twin.follow(dict(zip(within.statistics, twin.seen[len(sums) :], strict=True)))
        if len(found.losses) % steps:
            continue
        for each, total in zip(sums, np.sum(seen, axis=0), strict=True):
            found.metrics.setdefault(each.name, []).append(float(total) * each.share / steps)
        seen = []
        _validate(twin, graph, plain, validation, found.metrics)
        if is_over(found.metrics):
            break
    return found


def _validate(
    twin: Twin, graph: Graph, training: Training, validation: Validation, metrics: dict[str, list[float]]
) -> None:
    """Adds what is told of validation rows."""
    sums = of_rows(training, graph.precision.frac, graph.dims.get(BATCH, 1)) if validation else []
    values, count = [each.value for each in sums], sum(rows for _, rows in validation)
    seen = [twin.evaluate(values, {**batch, ROWS: np.array(rows)}) for batch, rows in validation]
    for place, each in enumerate(sums):
        total = sum(float(found[place]) for found in seen)
        metrics.setdefault(each.name, []).append(total * each.share / count)
