"""The embedding API's sessions: all roles of a plan on this machine (`launch`), or one role of a cluster (`connect`).

Any thread and any asyncio task may use a session: whoever does takes a turn (`sessions/connections.py`). What is shared
with the parties is `sessions/deployed.py`'s, the runs of many rows `sessions/rows.py`'s, reading files
`roles/files.py`'s.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from .analysis.releases import is_private
from .deployment.local import SeenBy
from .errors import InputError
from .execution.stats import Stats
from .limits import TIMEOUT_SECONDS, WAIT_SECONDS, WINDOW_BYTES
from .plan import Plan
from .roles.batches import BATCH
from .roles.client import Prepare
from .roles.files import parameters
from .roles.inputs import by_name, check_meeting
from .sessions.connections import Connections
from .sessions.deployed import Deployment, launched, linked
from .sessions.privacy import Datasets, Privacy, check_datasets, check_limit, told, told_all
from .sessions.progress import Report, shown
from .sessions.rows import Rows, keeping
from .sessions.turns import Turns, on_a_thread
from .sessions.variants import Variants
from .store.report import holds_parameters

__all__ = ["Session", "connect_plan", "launch_plan"]

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
        self._provided = provided or elsewhere or not deployment.given.tensors("setup")
        self._edition = 0  # of the parameters
        self._datasets: dict[str, str] = {}  # role -> how it has called its data last
        self._stats = Stats()
        self._runs = 0
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

    def run(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
        **named: Any,
    ) -> dict[str, Array]:
        """Compute one batch.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            meeting: A name on which the roles of the run have agreed, such as "2026-11". Their submissions with the
                same name make a run. Without one, submissions meet in their order, which needs each role to be one
                machine.
            dataset: How the owner calls its data: the parties' privacy ledgers count by that name what is released of
                it. A dict gives each role its own.
            named: Arrays of the declared shapes. In a local session, the input of an array role is stacked along a new
                first axis; in a connected one, each role passes its own.

        Returns:
            A float64, int64 or bool array for each output name.

        Raises:
            InputError: An input does not fit. Nothing has been shared, and the session remains usable.
            BudgetError: The release would exceed the budget of a dataset. Nothing has run.
            PeerError: A machine is gone.
        """
        given, met = by_name(inputs, named), check_meeting(meeting)
        with self._connections.turn():
            results, stats = self._run(given, met, self._named(dataset))
        self._remember(stats)
        return results

    def run_batches(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
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
            dataset: As of `run`; each run is a release.
            progress: Called after each run with the number of rows done and of all rows. By default, a terminal shows
                a progress bar.
            named: Arrays with any number of rows.

        Raises:
            Error: As `run`. After the first run, it carries the finished results as `partial` and `done_rows`.
            Interrupted: Ctrl-C, with the same two attributes.
        """
        began = time.perf_counter()
        rows = self._rows(by_name(inputs, named), check_meeting(meeting), self._named(dataset))
        parts: list[dict[str, Array]] = []
        with keeping(rows, parts), shown(progress) as report, closing(self._parts(rows)) as coming:
            for part in coming:
                parts.append(part)
                report(rows.done, rows.batches.rows)
        self._remember(replace(rows.stats, seconds=time.perf_counter() - began))
        return rows.batches.join(parts)

    def iter_batches(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
        **named: Any,
    ) -> Iterator[dict[str, Array]]:
        """Like `run_batches`, but yields the results of each run as they arrive. Runs of other calls are executed in
        between."""
        return self._parts(self._rows(by_name(inputs, named), check_meeting(meeting), self._named(dataset)))

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
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
        **named: Any,
    ) -> dict[str, Array]:
        """`run` for asyncio, in another thread. A cancelled task leaves the queue. If its run has already begun, the
        run is finished and its results are dropped."""
        given, met, datasets = by_name(inputs, named), check_meeting(meeting), self._named(dataset)
        results, stats = await self._connections.later(lambda: self._run(given, met, datasets))
        self._remember(stats)
        return results

    async def run_batches_async(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
        progress: Report | None = None,
        **named: Any,
    ) -> dict[str, Array]:
        """`run_batches` for asyncio; `progress` is called in the event loop's thread."""
        began = time.perf_counter()
        given, met, datasets = by_name(inputs, named), check_meeting(meeting), self._named(dataset)
        rows = await self._connections.later(lambda: self._cut(given, met, datasets))
        parts: list[dict[str, Array]] = []
        with keeping(rows, parts), shown(progress) as report:
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
    def privacy(self) -> Privacy | None:
        """What releases of this session's datasets have cost in all, by the parties' ledgers; None for a program
        without noise, answers at random and budgets."""
        if not is_private(self.plan):
            return None
        with self._connections.turn():
            return told_all(self._connections, self._base, self._datasets)

    def spent(self, dataset: str, *, role: str | None = None) -> Privacy:
        """What was released from a dataset of a role of this session, in all, by any program."""
        with self._connections.turn():
            return told(self._connections, self._base, role, dataset)

    def limit(self, dataset: str, epsilon: float, delta: float = 0.0, *, role: str | None = None) -> Privacy:
        """State what may be released from a dataset, in all, by any program. Limits are only added; the smallest holds.
        Raises InputError where a party keeps no ledger."""
        limit = check_limit(epsilon, delta)
        with self._connections.turn():
            return told(self._connections, self._base, role, dataset, limit)

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
        if self._base.given.tensors("setup"):
            state.append(f"parameters {'provided' if self._edition else 'not provided here'}")
        state.append("1 run" if self._runs == 1 else f"{self._runs} runs")
        if ending is not None:
            state.append(ending.message.splitlines()[0])
        return f"<Session {self.plan.name}: {'; '.join(state)}>"

    # -- within a turn --------------------------------------------------------------------------------------------

    def _provide(self, weights: str | Path | Mapping[str, Any], strict: bool, rename: Mapping[str, str]) -> None:
        given = self._base.given
        tensors = given.tensors("setup")
        named = parameters(weights, rename, [t.name for t in tensors], strict=strict)
        checked = given.check(tensors, named, "parameter")
        encoded = given.encode("setup", checked, self._params)
        with self._connections.exchange(self._base):
            self._base.provide(encoded, self._edition + 1)
        self._params = checked
        self._provided = True
        self._edition += 1

    def _named(self, dataset: Datasets) -> dict[str, str]:
        return check_datasets(dataset, self._base.given.owners)

    def _run(self, given: Inputs, meeting: str | None, datasets: Mapping[str, str]) -> tuple[dict[str, Array], Stats]:
        self._check_provided()
        began = time.perf_counter()
        tensors = self._base.given.tensors("run")
        encoded = self._base.given.encode("run", self._base.given.check(tensors, given, "input"), self._params)
        with self._connections.exchange(self._base):
            self._datasets |= datasets
            computed = self._base.wait(self._base.submit(encoded, meeting, datasets=datasets))
        self._runs += 1
        return computed.results, replace(computed.stats, seconds=time.perf_counter() - began)

    def _cut(self, given: Inputs, meeting: str | None, datasets: Mapping[str, str]) -> Rows:
        self._check_provided()
        self._datasets |= datasets
        deployment = self._base
        rows = Rows(deployment, given, self._edition, meeting, datasets)
        rows.check()
        deployment = self._variants.best(rows.batches.rows)
        if deployment is not self._base:
            rows = Rows(deployment, given, self._edition, meeting, datasets)
        if deployment.edition != self._edition:
            encoded = deployment.given.encode("setup", self._params, self._params)
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

    def _check_provided(self) -> None:
        if not self._provided:
            names = ", ".join(t.name for t in self._base.given.tensors("setup"))
            raise InputError(f"the parameters have not been provided: call provide first, with {names}")

    # -- turns ----------------------------------------------------------------------------------------------------

    def _rows(self, given: Inputs, meeting: str | None, datasets: Mapping[str, str]) -> Rows:
        with self._connections.turn():
            return self._cut(given, meeting, datasets)

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


def launch_plan(
    plan: Plan,
    prepare: Prepare,
    *,
    timeout: float = TIMEOUT_SECONDS,
    window: int = WINDOW_BYTES,
    seen_by: SeenBy = lambda _, addresses: addresses,
    variant: Variant | None = None,
    material: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
) -> Session:
    """Starts a dealer and both parties as processes on this machine, and a session that plays all roles of the plan.

    timeout: seconds that a machine may take to answer (ten times as many while it computes). window: bytes of material
    that the dealer may be ahead of each party. seen_by: as of `Processes`. variant: as `compile` of `Variants`.
    material: the folder of both parties' stores, which are for this plan only; then there is no dealer.
    data: the folder of what the servers keep beyond the session.
    Raises PeerError when a process does not start, MaterialError when the stores do not fit.
    """
    turns = Turns()
    kept = Path(data) if data is not None else None
    if material is not None:
        folder = Path(material)
        stored = launched(plan, prepare, timeout, window, seen_by, turns.check, folder, kept)
        return Session(Connections(turns, Variants(stored)), holds_parameters(folder, plan))

    def start(plan: Plan) -> Deployment:
        return launched(plan, prepare, timeout, window, seen_by, turns.check, None, kept)

    return Session(Connections(turns, Variants(start(plan), variant, start, turns.check)))


def connect_plan(
    cluster: str | Path,
    plan: Plan,
    prepare: Prepare,
    *,
    role: str,
    key: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    wait: float = WAIT_SECONDS,
    retries: int = 0,
    variant: Variant | None = None,
) -> Session:
    """A session for one role of servers that are running: those of a cluster.toml. key: the role's secret key file
    (`ROLE.key` beside the cluster.toml if none is given). wait: seconds that the other roles of a run may take.
    retries: how often in a row a call connects anew and submits again when a server was lost. variant: as `compile` of
    `Variants`."""
    turns = Turns(max(wait, WAIT_SECONDS))
    deployment = linked(cluster, plan, prepare, role, key, timeout, wait, turns.check, retries)
    return Session(Connections(turns, Variants(deployment, variant, None, turns.check)))
