"""The float64 twin of private training: the same loss, gradients and optimizer on the same batches, without rounding.

Which rows a batch has, rates and epochs are the caller's. A twin is the measure of private training (`reference_fit`),
never a part of it: nothing here is secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from compiler.graph import Array, Clipping, Leaf, Param, Training, Value, apply, constant
from compiler.ops import Mul
from compiler.reading.reference import evaluate_values, provided
from compiler.training.clipping import clipped
from compiler.training.optimizers import Optimizer, State
from compiler.training.pace import rate_at
from compiler.training.reverse import gradients, trained

Arrays = Mapping[str, Array]


@dataclass
class Twin:
    """A model in training. params: the parameters by key, trained and not; step: how many steps are done.

    frozen: parameters that stay. privacy: gradients of rows are clipped, and added up without noise. Raises
    NotTrainable as `reverse.gradients` does.
    """

    loss: Value
    optimizer: Optimizer
    params: dict[str, Array]
    frozen: Iterable[Value] = ()
    privacy: Clipping | None = None
    step: int = 0
    states: dict[Value, State] = field(default_factory=dict)

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

        def leaf(op: Leaf) -> Array:
            return provided(op, batch, self.params)

        loss, *found = evaluate_values([self.loss, *self.gradients], leaf)
        self.step += 1
        for value, gradient in zip(self.trained, found, strict=True):
            assert isinstance(value.op, Param)
            at = self.params[value.op.key], value.op.index_path
            state = self.states.get(value, {})
            moved, self.states[value] = self.optimizer.update(at[0][at[1]], gradient, state, lr, self.step)
            at[0][at[1]] = moved
        return float(loss)


def follow(training: Training, batches: Iterable[Arrays], params: Arrays, steps: int) -> tuple[Array, dict[str, Array]]:
    """The loss of every step, and the parameters after the last one. steps: those of an epoch."""
    twin = Twin(training.loss, training.optimizer, dict(params), training.frozen, training.privacy)
    losses = [
        twin.train(batch, rate_at(training.rate, training.clock, done // steps, done))
        for done, batch in enumerate(batches)
    ]
    return np.array(losses), twin.params
