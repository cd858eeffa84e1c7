"""Models with a `train` block, and their training in one process: the gates' clear meaning of every procedure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpc_runtime.encoding.fixed_point import decode
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.plan import Plan
from mpc_runtime.procedure import EVALUATE, FINISH, METRICS, RUN, SETUP, TRAIN_STEP
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.inputs import Given
from mpc_runtime.sessions.training import clock_of
from tests.loaded import loaded

Array = np.ndarray

LOGISTIC = """model churn
role shop, bank
dim batch = 16
input visits : [batch, 3] from shop in [-4, 4]
input debts : [batch, 2] from bank in [-4, 4]
layer fc = dense(1)
weights from bank in [-1, 1]
score = concat(visits, debts, axis=1) |> fc
output risk = sigmoid(score) to shop
train {
    input left : [batch, 1] from shop in [0, 1]
    loss = binary_cross_entropy_with_logits(score, left)
    optimizer = sgd(lr=0.5, momentum=0.75)
    output loss to shop
    output weights to bank
}
"""

IMAGES = """model images
role client, modeller
dim batch = 16
input x : [batch, 1, 12, 12] from client in [0, 1]
layer conv1 = conv2d(8, kernel=3)
layer conv2 = conv2d(8, kernel=3)
layer fc = dense(4)
weights from modeller in [-1, 1]
y = x |> conv1 |> relu |> maxpool2d(2) |> conv2 |> relu |> flatten |> fc
output shown = y to client
train {
    input target : [batch, 4] from client in [-4, 4]
    loss = mse(y, target)
    optimizer = sgd(lr=0.01)
    output weights to modeller
}
"""


def people(rows: int, seed: int = 1) -> dict[str, Array]:
    """Inputs of LOGISTIC that can be learnt."""
    rng = np.random.default_rng(seed)
    both = rng.normal(0, 1, (rows, 5)).clip(-4, 4)
    left = (both @ [1.0, -1.0, 0.5, 2.0, 0.0] > 0.2).astype(float)[:, None]
    return {"visits": both[:, :3], "debts": both[:, 3:], "left": left}


class Simulated:
    """The procedures of a plan on plain ring elements, under fresh keys each."""

    def __init__(self, plan: Plan, weights: Mapping[str, Any]) -> None:
        self.plan = loaded(plan)
        self._given = Given(plan, plan.roles, prepare_feed, stacked=True)
        self._simulator = Simulator(self.plan)
        self.steps = 0
        self.checks: dict[str, bool] = {}
        """What the last procedure found."""
        self._execute(SETUP, weights)

    @property
    def values(self) -> Mapping[int, Array]:
        """The plain values of the registers, as the last procedure has left them."""
        return self._simulator.values

    def train(self, epoch: int = 0, **batch: Any) -> dict[str, Array]:
        self.steps += 1
        now = {"epoch": epoch, "step": self.steps - 1, "carry": 0}
        return self._execute(TRAIN_STEP, {**batch, **clock_of(self.plan, self.plan.roles, TRAIN_STEP, **now)})

    def measure(self, batches: Sequence[Mapping[str, Any]], rows: int, validation: bool = True) -> dict[str, float]:
        """The metrics of so many validation rows in batches, or of a step on each of the batches."""
        for place, batch in enumerate(batches):
            size = min(rows - place * dict(self.plan.dims)["batch"], dict(self.plan.dims)["batch"])
            stage, now = (EVALUATE, {"rows": size}) if validation else (TRAIN_STEP, {"epoch": 0, "step": self.steps})
            self.steps += not validation
            clock = clock_of(self.plan, self.plan.roles, stage, **now, carry=int(place > 0))
            self._execute(stage, {**batch, **clock})
        told = self._execute(METRICS, {})
        count = rows if validation else len(batches)
        return {
            m.name: float(told[m.result]) * m.share / count for m in self.plan.metrics if m.validation == validation
        }

    def run(self, **batch: Any) -> dict[str, Array]:
        return self._execute(RUN, batch)

    def finish(self) -> dict[str, Array]:
        return {name.removeprefix("weights."): array for name, array in self._execute(FINISH, {}).items()}

    def _execute(self, stage: str, values: Mapping[str, Any]) -> dict[str, Array]:
        what = "parameter" if stage == SETUP else "input"
        checked = self._given.check(self._given.tensors(stage), values, what, stage)
        encoded = self._given.encode(
            stage, checked, {role: {} for role in self.plan.roles} if stage != SETUP else checked
        )
        feeds = {name: feed for own in encoded.values() for name, feed in own.items()}
        words = self._simulator.execute(stage, (os.urandom(16), os.urandom(16)), feeds)
        results = {r.name: r for r in self.plan.results}
        decoded = {
            name: decode(w, results[name].bits, results[name].scale, results[name].kind) for name, w in words.items()
        }
        found = [pair for name, told in decoded.items() if results[name].promises for pair in results[name].kept(told)]
        self.checks = {str(promise): kept for promise, kept in found}
        return {name: told for name, told in decoded.items() if not results[name].promises}
