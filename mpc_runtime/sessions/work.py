"""What a session does when it is its turn, and what it knows of what it has done.

What users see is `session.py`'s, turns are `connections.py`'s, and what is shared with the parties is `deployed.py`'s.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, PeerError
from ..execution.stats import Stats
from ..procedure import RUN, SETUP, TRAIN_STEP
from ..roles.coins import coins
from ..roles.epochs import fresh_seed
from ..roles.files import parameters
from ..roles.inputs import ByRole
from ..transport.messages import Message
from .connections import Connections
from .drawing import expect_fit
from .history import Epoch, History
from .privacy import Datasets, check_datasets
from .resuming import Options
from .rows import Rows
from .training import POLL_SECONDS, Fitting, clock_of, counted, expect_training, listens

__all__ = ["Prove", "Work"]

Array = np.ndarray
Inputs = Mapping[str, Any]
Prove = Callable[[ByRole], None]
"""Looks at parameters before they are shared; InputError when they break what the model promises."""

_LAST: ContextVar[Mapping[Work, Stats] | None] = ContextVar("mpc-stats", default=None)
"""What the last call of each session made by this thread, or by this asyncio task, did."""


class Work:
    """Of one session, whose connections end with it. provided: whether the parties have the parameters already."""

    def __init__(self, connections: Connections, provided: bool, prove: Prove) -> None:
        deployment = connections.variants.base
        self.runs = 0
        self.edition = 0
        """Of the parameters."""
        self.datasets: dict[str, str] = {}
        """Role -> how it has called its data last."""
        self.fitted: History | None = None
        """Of the last call of `fit`."""
        self._base = deployment
        self._connections, self._prove = connections, prove
        self._variants = connections.variants
        self._params: dict[str, dict[str, Array]] = {role: {} for role in deployment.given.roles}
        elsewhere = deployment.processes is None  # parameters of a cluster may have been provided by another process
        self._provided = provided or elsewhere or not deployment.given.tensors(SETUP)
        self._stats = Stats()
        self._steps = 0  # of training
        self._counted = not elsewhere  # whether so many were made; else the parties know
        finalizer = weakref.finalize(self, connections.release)
        finalizer.atexit = False  # a thread may be within a call; the processes end by themselves

    # -- within a turn --------------------------------------------------------------------------------------------

    def provide(self, weights: str | Path | Mapping[str, Any], strict: bool, rename: Mapping[str, str]) -> None:
        given = self._base.given
        tensors = given.tensors(SETUP)
        named = parameters(weights, rename, [t.name for t in tensors], strict=strict)
        checked = given.check(tensors, named, "parameter")
        self._prove(checked)
        encoded = given.encode(SETUP, checked, self._params)
        with self._connections.exchange(self._base):
            self._base.provide(encoded, self.edition + 1)
        self._params = checked
        self._provided = True
        self.edition += 1
        self._steps, self._counted = 0, True

    def execute(
        self, stage: str, given: Inputs, meeting: str | None, datasets: Mapping[str, str]
    ) -> tuple[dict[str, Array], Stats]:
        """A run, or a procedure of training."""
        if stage != RUN:
            expect_training(self._base.plan)
        if stage == TRAIN_STEP:
            expect_fit(self._base.plan)
        self._check_provided()
        began = time.perf_counter()
        training, last = None, self._steps
        if stage == TRAIN_STEP:
            step = self._steps if self._counted else self._position()
            clock = clock_of(self._base.plan, self._base.given.roles, stage, epoch=0, step=step, carry=0)
            given = {**given, **clock, **coins(self._base.plan, self._base.given.roles, fresh_seed(), step)}
            last = step + 1
            training = {role: {"step": step} for role in self._base.given.roles}
        checked = self._base.given.check(self._base.given.tensors(stage), given, "input", stage)
        encoded = self._base.given.encode(stage, checked, self._params)
        with self._connections.exchange(self._base), counted(last):
            self.datasets |= datasets
            self._steps, self._counted = last, self._counted and stage != TRAIN_STEP
            submitted = self._base.submit(encoded, meeting, datasets=datasets, stage=stage, training=training)
            computed = self._base.wait(submitted)
        self.runs += stage == RUN
        self._counted = self._counted or stage == TRAIN_STEP
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

    def fitting(self, given: Inputs, options: Options) -> Fitting:
        """The steps of a call of `fit`, none of them made."""
        with self._connections.turn():
            self._check_provided()
            self.datasets |= options.datasets
            told = self._told({"name": options.checkpoint} if options.checkpoint is not None else {})
        announced = self._announced(options.meeting)
        fitting = Fitting(self._base, given, options, self._params, self.edition, told, announced)
        self.fitted = fitting.history
        return fitting

    def _announced(self, meeting: str | None) -> Mapping[str, Any] | None:
        """What other roles have said of the training that they have begun, where ours have to know that."""
        if not listens(self._base.plan, self._base.given.roles):
            return None
        until = time.monotonic() + self._base.patience
        asked = {} if meeting is None else {"meeting": meeting}
        while True:
            with self._connections.turn():
                found: Mapping[str, Any] | None = next(iter(self._told(asked).values()))[0].body["fit"]
            if found is not None:
                return found
            if time.monotonic() > until:
                raise PeerError(f"after {self._base.patience:g} s no role that has rows has begun to train", "p0")
            time.sleep(POLL_SECONDS)

    def _told(self, asked: Mapping[str, Any]) -> dict[str, list[Message]]:
        """By role of ours that has a part in a step, what both parties say of the training."""
        roles = [role for role in self._base.plan.roles_of(TRAIN_STEP) if role in self._base.given.roles]
        if not roles:
            raise InputError("this role has no part in training of this plan: it neither feeds it nor learns from it")
        with self._connections.exchange(self._base):
            return {role: self._base.progress(role, asked) for role in roles}

    def _position(self) -> int:
        """How many steps were made, by the parties' word."""
        return int(next(iter(self._told({}).values()))[0].body["step"])

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
        """Makes the steps of a fitting, and what follows them; after each the epoch that it completes, if it does."""
        try:
            while True:
                with self._connections.turn(), self._connections.exchange(self._base):
                    self._counted = False  # some are made ahead
                    busy, epoch = fitting.advance(self.edition)
                    self._steps, self._counted = fitting.position, not busy
                if not busy:
                    return
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
