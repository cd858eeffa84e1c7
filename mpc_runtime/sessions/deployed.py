"""One plan on its servers, as this process reaches it: a client for each of our roles, and the processes of ours.

Nothing is shared before all of it has been checked (`roles/inputs.py`). A deployment is used by one thread at a time;
whose turn it is, and what users see, are the session's business.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..analysis.releases import is_private
from ..analysis.rows import Apart
from ..deployment.cluster import load_cluster
from ..deployment.keys import key_path, load_key
from ..deployment.local import Processes, SeenBy
from ..errors import BudgetError, InputError, PeerError, RangeError
from ..execution.stats import Stats, run_stats
from ..limits import check_seconds, check_window
from ..plan import Plan
from ..privacy.ledger import Limit, Spent
from ..procedure import RUN, SETUP
from ..roles.client import Answer, Prepare, RoleClient
from ..roles.inputs import ByRole, Given
from ..store.report import check_stores
from ..transport.messages import Message

__all__ = ["Computed", "Deployment", "Submitted", "launched", "linked"]

Array = np.ndarray
T = TypeVar("T")
RETRY_SECONDS, RETRY_AT_MOST = 0.25, 2.0  # before a connection that was lost is made again


@dataclass(eq=False)
class Submitted:
    """What an execution of a procedure was given. rows: how many of its rows they are; None for all. datasets: role ->
    how it calls its data; training: role -> which step it is for; numbers: role -> the number by which it asks for its
    answer."""

    encoded: ByRole
    meeting: str | None
    run: int
    rows: int | None
    datasets: Mapping[str, str]
    stage: str
    training: Mapping[str, Mapping[str, Any]]
    numbers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Computed:
    """The results of one run, and what it took."""

    results: dict[str, Array]
    stats: Stats


class Deployment:
    """A plan, the clients of our roles, and in a local session the processes."""

    def __init__(
        self,
        plan: Plan,
        clients: Mapping[str, RoleClient],
        prepare: Prepare,
        processes: Processes | None = None,
        again: Callable[[str], RoleClient] | None = None,
        retries: int = 0,
    ) -> None:
        """again: connects a role anew. retries: how often in a row a call may do that, and submit what has no answer
        once more, when a server was lost."""
        self.plan = plan
        self.processes = processes
        self.given = Given(plan, tuple(clients), prepare, stacked=processes is not None)
        self.edition = 0
        """Of the parameters that the parties were given by us."""
        self._clients = dict(clients)
        self._acquaint()
        self._abandoned: deque[Submitted] = deque()
        self._unanswered: list[Submitted] = []
        self._again, self._retries = again, retries
        self._is_private = is_private(plan)

    @property
    def clients(self) -> list[RoleClient]:
        return list(self._clients.values())

    @property
    def apart(self) -> Apart | None:
        """As of our clients: where rows lie of which a run may be given fewer than it has."""
        return self.clients[0].apart

    def provide(self, encoded: ByRole, edition: int) -> None:
        """Shares parameters; returns when the parties hold them."""

        def attempt() -> None:
            numbers = {role: self._clients[role].submit(SETUP, feeds) for role, feeds in encoded.items()}
            for role, number in numbers.items():
                self._clients[role].wait_held(number)

        self._tried(attempt)
        self.edition = edition

    def submit(
        self,
        encoded: ByRole,
        meeting: str | None = None,
        run: int = 0,
        rows: int | None = None,
        datasets: Mapping[str, str] | None = None,
        stage: str = RUN,
        training: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Submitted:
        """Shares the inputs of a run, which may be one of those of a meeting. rows: as of `RoleClient.submit`; stage:
        the procedure, if it is no run; training: which step each role says that it is."""
        self._forget_abandoned()
        submitted = Submitted(encoded, meeting, run, rows, datasets or {}, stage, training or {})
        self._unanswered.append(submitted)
        self._tried(lambda: self._send(submitted))
        return submitted

    def wait(self, submitted: Submitted) -> Computed:
        """Waits for a run. Raises InputError when it broke what the model promises, BudgetError when a party does not
        take it."""
        try:
            answers = self._tried(lambda: self._answers(submitted))
        except BudgetError:
            self._withdraw(submitted)
            raise
        self._unanswered.remove(submitted)
        if not answers:
            step = "a run" if submitted.stage == RUN else "training"
            raise InputError(f"this role has no part in {step} of this plan: it neither feeds it nor learns from it")
        stats = run_stats(self.plan, submitted.stage, answers[0].reports, sum(a.client_bytes for a in answers), 0.0)
        return Computed(self._results(answers), stats)

    def _answers(self, submitted: Submitted) -> list[Answer]:
        joint = [(self._clients[role], number) for role, number in submitted.numbers.items()]
        return [
            client.wait_answer(number, [other for other in joint if other[0] is not client]) for client, number in joint
        ]

    def _acquaint(self) -> None:
        """What one role sends goes on while another waits."""
        for client in self.clients:
            client.beside = tuple(other for other in self.clients if other is not client)

    def _send(self, submitted: Submitted) -> None:
        if not submitted.numbers:
            which = submitted.meeting, submitted.run, submitted.rows
            submitted.numbers = {
                role: self._clients[role].submit(
                    submitted.stage, feeds, *which, submitted.datasets.get(role), submitted.training.get(role)
                )
                for role, feeds in submitted.encoded.items()
            }

    def _tried(self, attempt: Callable[[], T]) -> T:
        """What the attempt returns: the first, or one on connections that were made anew."""
        tries, lost = 0, False
        while True:
            try:
                if lost:
                    self._reconnect()
                lost = False
                return attempt()
            except PeerError:
                lost = lost or any(call.failure for client in self.clients for call in client.calls.values())
                if not lost or tries >= self._retries:
                    raise
            time.sleep(min(RETRY_SECONDS * 2**tries, RETRY_AT_MOST))
            tries += 1

    def _reconnect(self) -> None:
        """Connects anew, and submits what has no answer once more: new shares of the same values."""
        assert self._again is not None, "retries need a way to connect again"
        for role, client in list(self._clients.items()):
            client.close()
            self._clients[role] = self._again(role)
        self._acquaint()
        for submitted in self._unanswered:
            submitted.numbers = {}
            self._send(submitted)

    def abandon(self, submitted: Submitted) -> None:
        """Drops the results of this run. Any thread may call it at any time, as by a generator that is collected.

        In a local session the run is still made: were it withdrawn, which the parties learn from one role after the
        other, what one role submits next could meet what another had submitted for this run.
        """
        self._abandoned.append(submitted)

    def close(self) -> None:
        """Leaves the parties, and ends the processes. Closing again does nothing."""
        while self._clients:
            self._clients.popitem()[1].close()
        if self.processes is not None:
            self.processes.close()

    def spent(self, role: str, dataset: str, limit: Limit | None = None) -> list[Spent]:
        """What both parties' ledgers say of a dataset of a role of ours, after it has stated this limit."""
        return self._tried(lambda: self._clients[role].ask_spent(dataset, limit))

    def progress(self, role: str, said: Mapping[str, Any]) -> list[Message]:
        """How far both parties are with the training, as of `RoleClient.ask_training`, behind what was abandoned."""
        self._forget_abandoned(made=True)
        return self._tried(lambda: self._clients[role].ask_training(said))

    @property
    def patience(self) -> float:
        """Seconds that roles of other machines may take."""
        return self.clients[0].patience

    def name_of(self, role: str, data: Mapping[str, Array]) -> str:
        """As of `RoleClient.name_of`."""
        return self._clients[role].name_of(data)

    def _withdraw(self, submitted: Submitted) -> None:
        """Takes back what some of our roles have sent for a run that others were denied, before anything else is sent:
        it would meet that."""
        self._unanswered.remove(submitted)
        for role, number in submitted.numbers.items():
            self._clients[role].forget(number, withdraw=True)
        for role in submitted.numbers:
            self._clients[role].settle()

    def _forget_abandoned(self, made: bool = False) -> None:
        """made: wait for those that are made all the same."""
        while self._abandoned:
            submitted = self._abandoned.popleft()
            if made and self.processes is not None:
                with suppress(BudgetError):
                    self._answers(submitted)
            if self._is_private or submitted.datasets:  # it may have been denied
                self._withdraw(submitted)
                continue
            self._unanswered.remove(submitted)
            for role, number in submitted.numbers.items():
                self._clients[role].forget(number, withdraw=self.processes is None)

    def _results(self, answers: list[Answer]) -> dict[str, Array]:
        got = {name: value for answer in answers for name, value in answer.results.items()}
        told = [r for r in self.plan.results if r.name in got]
        broken = [promise for r in told if r.promises for promise, kept in r.kept(got[r.name]) if not kept]
        names = "; ".join(dict.fromkeys(map(str, broken)))
        if self.plan.trains and any(promise.norm for promise in broken):
            raise RangeError(names)
        if broken:
            raise InputError(f"the values of this run break what the model promises: {names}")
        return {r.name: got[r.name] for r in told if not r.promises}


def launched(
    plan: Plan,
    prepare: Prepare,
    timeout: float,
    window: int,
    seen_by: SeenBy,
    alive: Callable[[], None],
    material: Path | None = None,
    data: Path | None = None,
) -> Deployment:
    """Starts a dealer and both parties as processes on this machine, and connects all roles of the plan.

    material: the folder with both parties' stores, with which no dealer is started; MaterialError when they do not fit
    the plan. data: the folder of what the servers keep, and of the roles' keys. alive: called while waiting,
    then and later; may raise why that is in vain. The rest is as of `launch_plan`.
    """
    check_seconds(timeout=timeout)
    check_window(window)
    if material is not None:
        check_stores(material, plan)
    with ExitStack() as on_failure:
        processes = Processes(plan, plan.roles, timeout, window, seen_by, material, data=data)
        on_failure.callback(processes.close)

        def well() -> None:
            alive()
            processes.check()

        clients: dict[str, RoleClient] = {}
        for role in plan.roles:
            clients[role] = RoleClient(
                plan, role, processes.role_keys[role], processes.addresses, processes.server_keys, timeout, well
            )
            on_failure.callback(clients[role].close)
        on_failure.pop_all()
    return Deployment(plan, clients, prepare, processes)


def linked(
    cluster: str | Path,
    plan: Plan,
    prepare: Prepare,
    role: str,
    key: str | os.PathLike[str] | None,
    timeout: float,
    wait: float,
    alive: Callable[[], None],
    retries: int = 0,
) -> Deployment:
    """Connects one role to servers that are running. alive: as of `launched`. The rest is as of `connect_plan`."""
    if role not in plan.roles:
        raise InputError(f"the plan has no role {role!r}; it has {', '.join(plan.roles)}")
    check_seconds(timeout=timeout, wait=wait)
    if retries < 0:
        raise InputError(f"retries: expected a whole number from 0, found {retries!r}")
    machines = load_cluster(cluster)
    keys = load_key(key if key is not None else key_path(machines.path, role))
    machines.check_key(role, keys)
    where = machines.addresses, machines.server_keys

    def client(role: str) -> RoleClient:
        return RoleClient(plan, role, keys, *where, timeout, alive, wait, machines.origins)

    return Deployment(plan, {role: client(role)}, prepare, again=client, retries=retries)
