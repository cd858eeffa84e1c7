"""What a session does when it is its turn, and what it knows of what it has done.

What users see is `session.py`'s, turns are `connections.py`'s, and what is shared with the parties is `deployed.py`'s.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Generator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..execution.stats import Stats
from ..procedure import RUN, SETUP, TRAIN_STEP
from ..roles.files import parameters
from .connections import Connections
from .privacy import Datasets, check_datasets
from .rows import Rows
from .training import Epoch, Fitting, clock_of, counted, expect_training

__all__ = ["Work"]

Array = np.ndarray
Inputs = Mapping[str, Any]

_LAST: ContextVar[Mapping[Work, Stats] | None] = ContextVar("mpc-stats", default=None)
"""What the last call of each session made by this thread, or by this asyncio task, did."""


class Work:
    """Of one session, whose connections end with it. provided: whether the parties have the parameters already."""

    def __init__(self, connections: Connections, provided: bool) -> None:
        deployment = connections.variants.base
        self.runs = 0
        self.edition = 0
        """Of the parameters."""
        self.datasets: dict[str, str] = {}
        """Role -> how it has called its data last."""
        self._base = deployment
        self._connections = connections
        self._variants = connections.variants
        self._params: dict[str, dict[str, Array]] = {role: {} for role in deployment.given.roles}
        elsewhere = deployment.processes is None  # parameters of a cluster may have been provided by another process
        self._provided = provided or elsewhere or not deployment.given.tensors(SETUP)
        self._stats = Stats()
        self._steps = 0  # of training, since the parameters were provided
        finalizer = weakref.finalize(self, connections.release)
        finalizer.atexit = False  # a thread may be within a call; the processes end by themselves

    # -- within a turn --------------------------------------------------------------------------------------------

    def provide(self, weights: str | Path | Mapping[str, Any], strict: bool, rename: Mapping[str, str]) -> None:
        given = self._base.given
        tensors = given.tensors(SETUP)
        named = parameters(weights, rename, [t.name for t in tensors], strict=strict)
        checked = given.check(tensors, named, "parameter")
        encoded = given.encode(SETUP, checked, self._params)
        with self._connections.exchange(self._base):
            self._base.provide(encoded, self.edition + 1)
        self._params = checked
        self._provided = True
        self.edition += 1
        self._steps = 0

    def execute(
        self, stage: str, given: Inputs, meeting: str | None, datasets: Mapping[str, str]
    ) -> tuple[dict[str, Array], Stats]:
        """A run, or a procedure of training."""
        if stage != RUN:
            expect_training(self._base.plan)
        self._check_provided()
        began = time.perf_counter()
        if stage == TRAIN_STEP:
            given = {**given, **clock_of(self._base.plan, self._base.given.roles, 0, self._steps)}
        checked = self._base.given.check(self._base.given.tensors(stage), given, "input", stage)
        encoded = self._base.given.encode(stage, checked, self._params)
        with self._connections.exchange(self._base), counted(self._steps + (stage == TRAIN_STEP)):
            self.datasets |= datasets
            computed = self._base.wait(self._base.submit(encoded, meeting, datasets=datasets, stage=stage))
        self.runs += stage == RUN
        self._steps += stage == TRAIN_STEP
        return computed.results, replace(computed.stats, seconds=time.perf_counter() - began)

    def cut(self, given: Inputs, meeting: str | None, datasets: Mapping[str, str]) -> Rows:
        """Rows, where they are best computed, which is ready for them."""
        self._check_provided()
        self.datasets |= datasets
        deployment = self._base
        rows = Rows(deployment, given, self.edition, meeting, datasets)
        rows.check()
        deployment = self._variants.best(rows.batches.rows)
        if deployment is not self._base:
            rows = Rows(deployment, given, self.edition, meeting, datasets)
        if deployment.edition != self.edition:
            encoded = deployment.given.encode(SETUP, self._params, self._params)
            with self._connections.exchange(deployment):
                deployment.provide(encoded, self.edition)
        self._variants.use(rows, deployment)
        return rows

    def fitting(
        self,
        given: Inputs,
        epochs: int,
        seed: int | None,
        meeting: str | None,
        datasets: Mapping[str, str],
    ) -> Fitting:
        """The steps of a call of `fit`, none of them made."""
        self._check_provided()
        self.datasets |= datasets
        return Fitting(self._base, given, epochs, seed, self.edition, meeting, datasets, self._steps)

    def _step(self, rows: Rows) -> dict[str, Array] | None:
        rows.check_edition(self.edition)
        with self._connections.exchange(rows.deployment), counted(self._steps):
            part = rows.step(self._params)
        self.runs += part is not None
        return part

    def _check_provided(self) -> None:
        if not self._provided:
            names = ", ".join(t.name for t in self._base.given.tensors(SETUP))
            raise InputError(f"the parameters have not been provided: call provide first, with {names}")

    # -- turns ----------------------------------------------------------------------------------------------------

    def rows(self, given: Inputs, meeting: str | None, datasets: Mapping[str, str]) -> Rows:
        with self._connections.turn():
            return self.cut(given, meeting, datasets)

    def parts(self, rows: Rows) -> Generator[dict[str, Array], None, None]:
        try:
            while True:
                with self._connections.turn():
                    part = self._step(rows)
                if part is None:
                    return
                self.remember(rows.stats)
                yield part
        finally:
            rows.abandon()

    async def parts_async(self, rows: Rows) -> AsyncGenerator[dict[str, Array], None]:
        try:
            while (part := await self._connections.later(lambda: self._step(rows))) is not None:
                self.remember(rows.stats)
                yield part
        finally:
            rows.abandon()

    def steps(self, fitting: Fitting) -> Generator[Epoch | None, None, None]:
        """Makes the steps of a fitting; after each the epoch that it completes, if it does."""
        try:
            while fitting.done < fitting.total:
                with self._connections.turn(), self._connections.exchange(self._base):
                    epoch = fitting.step(self.edition, self._params)
                self._steps += 1
                yield epoch
        finally:
            fitting.abandon()

    # -- what is known --------------------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """Of the last call of this thread or asyncio task, or of the last call of all if it has made none."""
        return (_LAST.get() or {}).get(self, self._stats)

    def remember(self, stats: Stats) -> None:
        self._stats = stats
        _LAST.set(weakref.WeakKeyDictionary({**(_LAST.get() or {}), self: stats}))

    def named(self, dataset: Datasets, stage: str = RUN) -> dict[str, str]:
        """Role -> how it calls its data. InputError when that is not what was given."""
        return check_datasets(dataset, self._base.given.owners(stage))

    def receives(self, stage: str) -> bool:
        """Whether a role of this session is sent anything by a procedure."""
        plan = self._base.plan
        return stage in {p.name for p in plan.procedures} and any(
            plan.results_of(role, stage) for role in self._base.given.roles
        )
