"""The embedding API's sessions: all roles of a plan on this machine (`launch`), or one role of a cluster (`connect`).

Any thread and any asyncio task may use a session: whoever does takes a turn (`sessions/connections.py`). What is done
in a turn is `sessions/work.py`'s, the runs of many rows `sessions/rows.py`'s, the steps of a training
`sessions/training.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .analysis.releases import is_private
from .errors import amount
from .execution.stats import Stats
from .procedure import FINISH, RUN, SETUP, TRAIN_STEP
from .roles.batches import BATCH
from .roles.inputs import by_name, check_meeting
from .sessions.connections import Connections
from .sessions.history import Epoch, History
from .sessions.privacy import Datasets, Privacy, check_limit, told, told_all
from .sessions.progress import Report, check_called, check_report, shown
from .sessions.resuming import CHECK_EVERY, Options, check_options
from .sessions.rows import keeping
from .sessions.training import WEIGHTS, expect_training
from .sessions.turns import on_a_thread
from .sessions.work import Prove, Work

__all__ = ["Session"]

Array = np.ndarray
Inputs = Mapping[str, Any]


class Session:
    """Provide the parameters once, then run.

    Threads and asyncio tasks may share a session; their runs queue in the order of the calls. Use it in a `with`
    statement, or close it. Its processes also end when the last reference to it is gone. An error that names another
    machine, or Ctrl-C during a run, ends the session, and every later call raises an error that says so. A fork of this
    process cannot use it.
    """

    def __init__(self, connections: Connections, provided: bool = False, prove: Prove = lambda params: None) -> None:
        deployment = connections.variants.base
        self.plan = deployment.plan
        self._base = deployment
        self._connections = connections
        self._variants = connections.variants
        self._work = Work(connections, provided, prove)

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
            self._work.provide(weights, strict, rename or {})

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
            results, stats = self._work.execute(RUN, given, met, self._work.named(dataset))
        self._work.remember(stats)
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
        check_report(progress)
        began = time.perf_counter()
        rows = self._work.rows(by_name(inputs, named), check_meeting(meeting), self._work.named(dataset))
        parts: list[dict[str, Array]] = []
        with keeping(rows, parts), shown(progress) as report, closing(self._work.parts(rows)) as coming:
            for part in coming:
                parts.append(part)
                report(rows.done, rows.batches.rows)
        self._work.remember(replace(rows.stats, seconds=time.perf_counter() - began))
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
        return self._work.parts(
            self._work.rows(by_name(inputs, named), check_meeting(meeting), self._work.named(dataset))
        )

    def train(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        meeting: str | None = None,
        dataset: Datasets = None,
        **named: Any,
    ) -> dict[str, Array]:
        """One step of training on one batch, as the model's `train` block says.

        The parameters change and stay with the parties as shares; `run` predicts with them from then on.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            meeting: As of `run`; steps are met by steps.
            dataset: As of `run`. Without `privacy` in the model, what is learnt reaches whoever sees predictions or
                weights, with nothing to hide one person: a dataset with a limit is refused.
            named: The model's inputs that the loss depends on, and those of the `train` block.

        Returns:
            What the block sends at every step: an array for each output name.

        Raises:
            InputError: An input does not fit, or the model has no `train` block, or it trains under `privacy`, where
                `fit` draws the rows. Nothing has been shared.
            BudgetError: A dataset has a limit. Nothing has been computed.
            PeerError: A machine is gone.
        """
        expect_training(self.plan)
        given, met, datasets = by_name(inputs, named), check_meeting(meeting), self._work.named(dataset, TRAIN_STEP)
        with self._connections.turn():
            results, stats = self._work.execute(TRAIN_STEP, given, met, datasets)
        self._work.remember(stats)
        return results

    def fit(
        self,
        inputs: Inputs | None = None,
        /,
        *,
        epochs: int = 1,
        seed: int | None = None,
        validation: Inputs | None = None,
        patience: int | None = None,
        ids: Any = None,
        ids_key: str | None = None,
        checkpoint: str | None = None,
        check_every: int = CHECK_EVERY,
        resume: bool = False,
        on_epoch: Callable[[Epoch], object] | None = None,
        progress: Report | None = None,
        meeting: str | None = None,
        dataset: Datasets = None,
        **named: Any,
    ) -> History:
        """Train on any number of rows along the dim `batch`: in every epoch on all of them, in a random order.

        Rows that fill no batch are left out of an epoch. Every batch is shared anew. Where the model trains under
        `privacy`, every step draws its rows from all, and `epsilon` of what is returned tells what that costs.

        Args:
            inputs: Arrays by name, for names that cannot be keywords.
            epochs: How often all rows are used.
            seed: Decides the order. Everybody may know it; roles of different machines have to give the same one.
                Refused under `privacy`.
            validation: Arrays by name, of rows that are not learnt from. Behind each epoch, what the block's `metric`
                statements say is told of them too.
            patience: Ends the training when the first metric of the block, of validation rows where there are some, was
                no better than before for so many epochs of this call; one that goes on from a checkpoint counts anew.
            ids: What each row is called, texts or whole numbers, or a dict of such lists by role. Refused where roles
                bring other rows, or the same in another order; no id leaves the machine.
            ids_key: A text that all roles know and no server does, with which roles of different machines compare ids.
            checkpoint: A name under which the parties keep what they have, in shares, in their data folders.
            check_every: Steps between checkpoints; roles of different machines have to give the same.
            resume: Go on from the last checkpoint of this name, if there is one, with the same rows and as if nothing
                had happened; `provide` comes first all the same. Without it, checkpoints of the name are replaced.
            on_epoch: Called after each epoch with what was seen of it; `print` shows it.
            progress: Called after each step with the number of steps made and of all. By default, a terminal shows a
                progress bar.
            meeting: As of `run`; the steps are numbered within it.
            dataset: As of `train`.
            named: As of `train`, with any number of rows, as many in each.

        Roles of different machines have to say the same of all these options but the last four. One that gives no rows
        of its own waits for the others to begin, and learns from them what it does not say itself.

        Returns:
            What the model's `train` block sent at every step and behind each epoch.

        Raises:
            Error: As `train`. The steps before it have been made.
        """
        expect_training(self.plan)
        check_called("on_epoch", on_epoch, "epoch")
        check_report(progress)
        began = time.perf_counter()
        given, datasets = by_name(inputs, named), self._work.named(dataset, TRAIN_STEP)
        met = check_meeting(meeting)
        rows = None if validation is None else by_name(validation, {})
        options = Options(epochs, seed, met, datasets, checkpoint, check_every, resume, rows, patience, ids, ids_key)
        fitting = self._work.fitting(given, check_options(options))
        try:
            with shown(progress, "steps") as report, closing(self._work.steps(fitting)) as coming:
                for epoch in coming:
                    report(fitting.done, fitting.total)
                    if epoch is not None and on_epoch is not None:
                        on_epoch(epoch)
        finally:
            self._work.remember(replace(fitting.stats, seconds=time.perf_counter() - began))
        return fitting.history

    def finish(self, *, meeting: str | None = None) -> dict[str, Array]:
        """Release the trained parameters to the roles that `output weights` names.

        They stay with the parties too: `run` predicts with them, and `train` goes on from them.

        Returns:
            Arrays by the names of the parameters; empty where the model releases nothing to this session's roles.
        """
        expect_training(self.plan)
        if not self._work.receives(FINISH):
            return {}
        met = check_meeting(meeting)
        with self._connections.turn():
            results, stats = self._work.execute(FINISH, {}, met, {})
        self._work.remember(stats)
        return {name.removeprefix(WEIGHTS): array for name, array in results.items()}

    async def provide_async(
        self,
        weights: str | Path | Mapping[str, Any],
        *,
        strict: bool = True,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """`provide` for asyncio."""
        await self._connections.later(lambda: self._work.provide(weights, strict, rename or {}))

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
        given, met, datasets = by_name(inputs, named), check_meeting(meeting), self._work.named(dataset)
        results, stats = await self._connections.later(lambda: self._work.execute(RUN, given, met, datasets))
        self._work.remember(stats)
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
        check_report(progress)
        began = time.perf_counter()
        given, met, datasets = by_name(inputs, named), check_meeting(meeting), self._work.named(dataset)
        rows = await self._connections.later(lambda: self._work.cut(given, met, datasets))
        parts: list[dict[str, Array]] = []
        with keeping(rows, parts), shown(progress) as report:
            async with aclosing(self._work.parts_async(rows)) as coming:
                async for part in coming:
                    parts.append(part)
                    report(rows.done, rows.batches.rows)
        self._work.remember(replace(rows.stats, seconds=time.perf_counter() - began))
        return rows.batches.join(parts)

    @property
    def stats(self) -> Stats:
        """Of the last call of this thread or asyncio task, or of the last call of all if it has made none."""
        return self._work.stats

    @property
    def privacy(self) -> Privacy | None:
        """What releases of this session's datasets have cost in all, by the parties' ledgers; None for a program
        without noise, answers at random and budgets. With private training, also what the last `fit` costs."""
        if not is_private(self.plan):
            return None
        with self._connections.turn():
            found = told_all(self._connections, self._base, self._work.datasets)
        fitted = self._work.fitted
        return found if fitted is None else replace(found, training=fitted.epsilon)

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
        if self._base.given.tensors(SETUP):
            state.append(f"parameters {'provided' if self._work.edition else 'not provided here'}")
        state.append(amount(self._work.runs, "run"))
        if ending is not None:
            state.append(ending.message.splitlines()[0])
        return f"<Session {self.plan.name}: {'; '.join(state)}>"
