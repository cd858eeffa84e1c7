"""The embedding API's sessions: all roles of a plan on this machine (`launch`), or one role of a cluster (`connect`).

Any thread and any asyncio task may use a session: whoever does takes a turn (`sessions/connections.py`). What is shared
with the parties is `sessions/deployed.py`'s, the runs of many rows `sessions/rows.py`'s, reading files
`roles/files.py`'s.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from .errors import Error, InputError, Interrupted
from .execution.stats import Stats
from .plan import Plan
from .procedure import FINISH, RUN, SETUP, TRAIN_STEP
from .roles.batches import BATCH
from .roles.files import parameters
from .roles.inputs import by_name, check_meeting
from .sessions.connections import Connections
from .sessions.progress import Report, shown
from .sessions.rows import Rows
from .sessions.training import WEIGHTS, Epoch, Fitting, History, clock_of, expect_training
from .sessions.turns import on_a_thread

__all__ = ["Session"]

Array = np.ndarray
T = TypeVar("T")
Inputs = Mapping[str, Any]
Variant = Callable[[int], Plan | None]

_LAST: ContextVar[Mapping[Session, Stats] | None] = ContextVar("mpc-stats", default=None)
"""What the last call of each session made by this thread, or by this asyncio task, did."""


class Session:
    """Provide the parameters once, then run.

    Threads and asyncio tasks may share a session; their runs queue in the order of the calls. Use it in a `with`
    statement, or close it. Its processes also end when the last reference to it is gone. An error that names another
    machine, or Ctrl-C during a run, ends the session, and every later call raises an error that says so. A fork of this
    process cannot use it.
    """

    def __init__(self, connections: Connections, provided: bool = False) -> None:
        deployment = connections.variants.base
        self.plan = deployment.plan
        self._base = deployment
        self._connections = connections
        self._variants = connections.variants
        self._params: dict[str, dict[str, Array]] = {role: {} for role in deployment.given.roles}
        elsewhere = deployment.processes is None  # parameters of a cluster may have been provided by another process
        self._provided = provided or elsewhere or not deployment.given.tensors(SETUP)
        self._edition = 0  # of the parameters
        self._stats = Stats()
        self._runs = 0
        self._steps = 0  # of training, since the parameters were provided
        finalizer = weakref.finalize(self, connections.release)
        finalizer.atexit = False  # a thread may be within a call; the processes end by themselves

    # -- what users call ------------------------------------------------------------------------------------------

    def provide(
        self,
        weights: str | Path | Mapping[str, Any],
        *,
        strict: bool = True,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """Provide the parameters of this session's roles to the parties, or replace them.

        Args:
            weights: A file (`.safetensors`, `.npz`, …), or arrays by name.
            strict: Whether a name that the plan does not have is an error.
            rename: `{"0": "conv1"}` reads `0.weight` as `conv1.weight`.

        Raises:
            InputError: Values are missing, unknown, of the wrong shape or out of range; the message lists all of them.
            PeerError: A machine is gone.
        """
        with self._connections.turn():
            self._provide(weights, strict, rename or {})

    def run(self, inputs: Inputs | None = None, /, *, meeting: str | None = None, **named: Any) -> dict[str, Array]:
        """Compute one batch.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            meeting: A name on which the roles of the run have agreed, such as "2026-11". Their submissions with the
                same name make a run. Without one, submissions meet in their order, which needs each role to be one
                machine.
            named: Arrays of the declared shapes. In a local session, the input of an array role is stacked along a new
                first axis; in a connected one, each role passes its own.

        Returns:
            A float64, int64 or bool array for each output name.

        Raises:
            InputError: An input does not fit. Nothing has been shared, and the session remains usable.
            PeerError: A machine is gone.
        """
        given, met = by_name(inputs, named), check_meeting(meeting)
        with self._connections.turn():
            results, stats = self._execute(RUN, given, met)
        self._remember(stats)
        return results

    def run_batches(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        progress: Report | None = None,
        **named: Any,
    ) -> dict[str, Array]:
        """Compute any number of rows along the dim `batch`, in as many runs as needed.

        The last run is filled up by repeating its last row; the results have the rows given. A local session chooses
        the batch size: where it saves time, it compiles the plan for another `batch` and starts servers for it, which
        it keeps.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            meeting: As of `run`; the runs are numbered within it, so that those of the same number meet.
            progress: Called after each run with the number of rows done and of all rows. By default, a terminal shows
                a progress bar.
            named: Arrays with any number of rows.

        Raises:
            Error: As `run`. After the first run, it carries the finished results as `partial` and `done_rows`.
            Interrupted: Ctrl-C, with the same two attributes.
        """
        began = time.perf_counter()
        rows = self._rows(by_name(inputs, named), check_meeting(meeting))
        parts: list[dict[str, Array]] = []
        with _keeping(rows, parts), shown(progress) as report, closing(self._parts(rows)) as coming:
            for part in coming:
                parts.append(part)
                report(rows.done, rows.batches.rows)
        self._remember(replace(rows.stats, seconds=time.perf_counter() - began))
        return rows.batches.join(parts)

    def iter_batches(
        self, inputs: Inputs | None = None, /, *, meeting: str | None = None, **named: Any
    ) -> Iterator[dict[str, Array]]:
        """Like `run_batches`, but yields the results of each run as they arrive. Runs of other calls are executed in
        between."""
        return self._parts(self._rows(by_name(inputs, named), check_meeting(meeting)))

    def train(self, inputs: Inputs | None = None, /, *, meeting: str | None = None, **named: Any) -> dict[str, Array]:
        """One step of training on one batch, as the model's `train` block says.

        The parameters change and stay with the parties as shares; `run` predicts with them from then on.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            meeting: As of `run`; steps are met by steps.
            named: The model's inputs that the loss depends on, and those of the `train` block.

        Returns:
            What the block sends at every step: an array for each output name.

        Raises:
            InputError: An input does not fit, or the model has no `train` block. Nothing has been shared.
            PeerError: A machine is gone.
        """
        given, met = by_name(inputs, named), check_meeting(meeting)
        with self._connections.turn():
            results, stats = self._execute(TRAIN_STEP, given, met)
        self._remember(stats)
        return results

    def fit(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        epochs: int = 1,
        seed: int | None = None,
        on_epoch: Callable[[Epoch], object] | None = None,
        progress: Report | None = None,
        meeting: str | None = None,
        **named: Any,
    ) -> History:
        """Train on any number of rows along the dim `batch`: in every epoch on all of them, in a random order.

        Rows that fill no batch are left out of an epoch. Every batch is shared anew.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            epochs: How often all rows are used.
            seed: Decides the order. Everybody may know it; roles of different machines have to give the same one.
            on_epoch: Called after each epoch with what was seen of it; `print` shows it.
            progress: Called after each step with the number of steps made and of all. By default, a terminal shows a
                progress bar.
            meeting: As of `run`; the steps are numbered within it.
            named: As of `train`, with any number of rows, as many in each.

        Returns:
            What the model's `train` block sent at every step.

        Raises:
            Error: As `train`. The steps before it have been made.
        """
        expect_training(self.plan)
        began = time.perf_counter()
        given, met = by_name(inputs, named), check_meeting(meeting)
        with self._connections.turn():
            self._check_provided()
            fitting = Fitting(self._base, given, epochs, seed, self._edition, met, self._steps)
        try:
            with shown(progress, "steps") as report:
                while fitting.done < fitting.total:
                    with self._connections.turn(), self._connections.exchange(self._base):
                        epoch = fitting.step(self._edition, self._params)
                    self._steps += 1
                    report(fitting.done, fitting.total)
                    if epoch is not None and on_epoch is not None:
                        on_epoch(epoch)
        finally:
            fitting.abandon()
            self._remember(replace(fitting.stats, seconds=time.perf_counter() - began))
        return fitting.history

    def finish(self, *, meeting: str | None = None) -> dict[str, Array]:
        """Release the trained parameters to the roles that `output weights` names.

        They stay with the parties too: `run` predicts with them, and `train` goes on from them.

        Returns:
            Arrays by the names of the parameters; empty where the model releases nothing to this session's roles.
        """
        expect_training(self.plan)
        if not self._receives(FINISH):
            return {}
        met = check_meeting(meeting)
        with self._connections.turn():
            results, stats = self._execute(FINISH, {}, met)
        self._remember(stats)
        return {name.removeprefix(WEIGHTS): array for name, array in results.items()}

    async def provide_async(
        self,
        weights: str | Path | Mapping[str, Any],
        *,
        strict: bool = True,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """`provide` for asyncio."""
        await self._connections.later(lambda: self._provide(weights, strict, rename or {}))

    async def run_async(
        self, inputs: Inputs | None = None, /, *, meeting: str | None = None, **named: Any
    ) -> dict[str, Array]:
        """`run` for asyncio, in another thread. A cancelled task leaves the queue. If its run has already begun, the
        run is finished and its results are dropped."""
        given, met = by_name(inputs, named), check_meeting(meeting)
        results, stats = await self._connections.later(lambda: self._execute(RUN, given, met))
        self._remember(stats)
        return results

    async def run_batches_async(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        progress: Report | None = None,
        **named: Any,
    ) -> dict[str, Array]:
        """`run_batches` for asyncio; `progress` is called in the event loop's thread."""
        began = time.perf_counter()
        given, met = by_name(inputs, named), check_meeting(meeting)
        rows = await self._connections.later(lambda: self._cut(given, met))
        parts: list[dict[str, Array]] = []
        with _keeping(rows, parts), shown(progress) as report:
            async with aclosing(self._parts_async(rows)) as coming:
                async for part in coming:
                    parts.append(part)
                    report(rows.done, rows.batches.rows)
        self._remember(replace(rows.stats, seconds=time.perf_counter() - began))
        return rows.batches.join(parts)

    @property
    def stats(self) -> Stats:
        """Of the last call of this thread or asyncio task, or of the last call of all if it has made none."""
        return (_LAST.get() or {}).get(self, self._stats)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of a local session by name, for monitoring; names of those for another batch contain its size."""
        found: dict[str, int] = {}
        for deployment in list(self._variants.all):
            if deployment.processes is not None:
                of = "" if deployment is self._base else f", batch {dict(deployment.plan.dims)[BATCH]}"
                found |= {f"{name}{of}": pid for name, pid in deployment.processes.pids().items()}
        return found

    def close(self) -> None:
        """End the session and, if it is local, its processes. Running and waiting calls of other threads end with an
        `Error`. Closing again has no effect."""
        self._connections.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.wrap_future(on_a_thread(self.close))

    def __repr__(self) -> str:
        ending = self._connections.ending
        where = "local" if self._base.processes is not None else "connected"
        roles = self._base.given.roles
        state = [f"{where}, {'role' if len(roles) == 1 else 'roles'} {', '.join(roles)}"]
        if self._base.given.tensors(SETUP):
            state.append(f"parameters {'provided' if self._edition else 'not provided here'}")
        state.append("1 run" if self._runs == 1 else f"{self._runs} runs")
        if ending is not None:
            state.append(ending.message.splitlines()[0])
        return f"<Session {self.plan.name}: {'; '.join(state)}>"

    # -- within a turn --------------------------------------------------------------------------------------------

    def _provide(self, weights: str | Path | Mapping[str, Any], strict: bool, rename: Mapping[str, str]) -> None:
        given = self._base.given
        tensors = given.tensors(SETUP)
        named = parameters(weights, rename, [t.name for t in tensors], strict=strict)
        checked = given.check(tensors, named, "parameter")
        encoded = given.encode(SETUP, checked, self._params)
        with self._connections.exchange(self._base):
            self._base.provide(encoded, self._edition + 1)
        self._params = checked
        self._provided = True
        self._edition += 1
        self._steps = 0

    def _execute(self, stage: str, given: Inputs, meeting: str | None) -> tuple[dict[str, Array], Stats]:
        """A run, or a procedure of training."""
        if stage != RUN:
            expect_training(self.plan)
        self._check_provided()
        began = time.perf_counter()
        if stage == TRAIN_STEP:
            given = {**given, **clock_of(self.plan, self._base.given.roles, 0, self._steps)}
        checked = self._base.given.check(self._base.given.tensors(stage), given, "input", stage)
        encoded = self._base.given.encode(stage, checked, self._params)
        with self._connections.exchange(self._base):
            computed = self._base.wait(self._base.submit(encoded, meeting, stage=stage))
        self._runs += stage == RUN
        self._steps += stage == TRAIN_STEP
        return computed.results, replace(computed.stats, seconds=time.perf_counter() - began)

    def _cut(self, given: Inputs, meeting: str | None) -> Rows:
        self._check_provided()
        deployment = self._base
        rows = Rows(deployment, given, self._edition, meeting)
        rows.check()
        deployment = self._variants.best(rows.batches.rows)
        if deployment is not self._base:
            rows = Rows(deployment, given, self._edition, meeting)
        if deployment.edition != self._edition:
            encoded = deployment.given.encode(SETUP, self._params, self._params)
            with self._connections.exchange(deployment):
                deployment.provide(encoded, self._edition)
        self._variants.use(rows, deployment)
        return rows

    def _step(self, rows: Rows) -> dict[str, Array] | None:
        rows.check_edition(self._edition)
        with self._connections.exchange(rows.deployment):
            part = rows.step(self._params)
        self._runs += part is not None
        return part

    def _receives(self, stage: str) -> bool:
        """Whether a role of this session is sent anything by a procedure."""
        names = {p.name for p in self.plan.procedures}
        return stage in names and any(self.plan.results_of(role, stage) for role in self._base.given.roles)

    def _check_provided(self) -> None:
        if not self._provided:
            names = ", ".join(t.name for t in self._base.given.tensors(SETUP))
            raise InputError(f"the parameters have not been provided: call provide first, with {names}")

    # -- turns ----------------------------------------------------------------------------------------------------

    def _rows(self, given: Inputs, meeting: str | None) -> Rows:
        with self._connections.turn():
            return self._cut(given, meeting)

    def _parts(self, rows: Rows) -> Generator[dict[str, Array], None, None]:
        try:
            while True:
                with self._connections.turn():
                    part = self._step(rows)
                if part is None:
                    return
                self._remember(rows.stats)
                yield part
        finally:
            rows.abandon()

    async def _parts_async(self, rows: Rows) -> AsyncGenerator[dict[str, Array], None]:
        try:
            while (part := await self._connections.later(lambda: self._step(rows))) is not None:
                self._remember(rows.stats)
                yield part
        finally:
            rows.abandon()

    def _remember(self, stats: Stats) -> None:
        self._stats = stats
        _LAST.set(weakref.WeakKeyDictionary({**(_LAST.get() or {}), self: stats}))


@contextmanager
def _keeping(rows: Rows, parts: list[dict[str, Array]]) -> Iterator[None]:
    """An error within carries the results of the rows that are done."""
    try:
        yield
    except Error as error:
        error.partial, error.done_rows = rows.batches.join(parts), rows.batches.count(len(parts))
        raise
    except KeyboardInterrupt:
        raise Interrupted(rows.batches.join(parts), rows.batches.count(len(parts))) from None
