"""The embedding API's sessions: all roles of a plan on this machine (`launch`), or one role of a cluster (`connect`).

A session shares nothing before all of it has been checked (`given.py`). Reading files is `values.py`'s, one role's talk
with the parties `client.py`'s, the servers of a local session `processes.py`'s, who is to blame `failures.py`'s.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .batches import Batches
from .client import Answer, Prepare, RoleClient
from .cluster import key_path, load_cluster, load_key
from .errors import Error, InputError, PeerError
from .failures import best_witness
from .given import Given
from .limits import TIMEOUT_SECONDS, WAIT_SECONDS, WINDOW_BYTES, check_seconds
from .plan import CHECK_PREFIX, Plan, Tensor
from .processes import Processes, SeenBy
from .stats import Stats, run_stats
from .values import parameters

__all__ = ["Session", "connect_plan", "launch_plan"]

Array = np.ndarray
BATCHES_AHEAD = 2  # one is computed while the next is encoded, shared and sent


class Session:
    """Parameters once, then runs. Not for several threads at once. Close it, or use it in a `with`."""

    def __init__(
        self, plan: Plan, clients: Mapping[str, RoleClient], prepare: Prepare, processes: Processes | None = None
    ) -> None:
        self.plan = plan
        self.stats = Stats()
        """What the last `run` or `run_batches` did."""
        self.on_batch: Callable[[int, int], None] = lambda done, total: None
        """Called by `run_batches` after each run: how many are done, of how many."""
        self._clients = dict(clients)
        self._processes = processes
        self._given = Given(plan, tuple(clients), prepare, stacked=processes is not None)
        self._params: dict[str, dict[str, Array]] = {role: {} for role in clients}
        elsewhere = processes is None  # parameters of a cluster may have been provided by another process
        self._provided = elsewhere or not self._given.tensors("setup")
        self._ended = ""

    # -- what users call ------------------------------------------------------------------------------------------

    def provide(
        self,
        weights: str | Path | Mapping[str, Any],
        *,
        strict: bool = True,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """Gives the parameters of this session's roles to the parties: a file (`.safetensors .npz`) or name -> array.

        rename: {"0": "conv1"} reads `0.weight` as `conv1.weight`. strict: a name that the plan does not have is an
        error. Giving them again replaces them. Raises InputError with every missing, unknown, wrongly shaped or wrong
        value.
        """
        self._check_open()
        tensors = self._given.tensors("setup")
        given = parameters(weights, rename or {}, [t.name for t in tensors], strict=strict)
        checked = self._given.check(tensors, given, "parameter")
        encoded = self._given.encode("setup", checked, self._params)
        with self._blaming():
            numbers = {role: self._clients[role].submit("setup", feeds) for role, feeds in encoded.items()}
            for role, number in numbers.items():
                self._clients[role].wait_held(number)
        self._params = checked
        self._provided = True

    def run(self, **inputs: Any) -> dict[str, Array]:
        """One batch: input name -> array of the declared shape; output name -> float64, int64 or bool array.

        An array role's input is passed stacked along a new first axis (by `connect`ed roles: each its own). Raises
        InputError before anything is shared (the session goes on), PeerError when a machine is gone.
        """
        self._check_ready()
        began = time.perf_counter()
        encoded = self._encoded(self._given.tensors("run"), inputs)
        with self._blaming():
            answers = self._wait(self._submit(encoded))
        self.stats = self._stats(answers, time.perf_counter() - began)
        return self._results(answers)

    def run_batches(self, **inputs: Any) -> dict[str, Array]:
        """As `run`, with any number of rows along the dim `batch`: as many runs as are needed, the last one filled up
        by repeating its last row, and the results cut to the rows given."""
        self._check_ready()
        began = time.perf_counter()
        tensors = self._given.tensors("run")
        results = tuple(r for r in self.plan.results if not r.name.startswith(CHECK_PREFIX))
        batches = Batches(self.plan, tensors, results, inputs, self._given.stacked)
        self._given.check(batches.tensors(tensors), inputs, "input")
        waiting: deque[dict[str, str]] = deque()
        done: list[dict[str, Array]] = []
        total = Stats()
        for batch in batches:
            try:
                encoded = self._encoded(tensors, batch)
            except InputError:  # of a prepared value: what has been submitted is still computed
                with self._blaming():
                    while waiting:
                        self._wait(waiting.popleft())
                raise
            with self._blaming():
                waiting.append(self._submit(encoded))
                while len(waiting) >= BATCHES_AHEAD:
                    total = self._finish(waiting.popleft(), done, total)
                    self.on_batch(len(done), batches.runs)
        with self._blaming():
            while waiting:
                total = self._finish(waiting.popleft(), done, total)
                self.on_batch(len(done), batches.runs)
        self.stats = replace(total, seconds=time.perf_counter() - began)
        return batches.join(done)

    @property
    def pids(self) -> dict[str, int]:
        """The processes of a local session by name, for monitoring."""
        return dict(self._processes.pids()) if self._processes else {}

    def close(self) -> None:
        """Ends the session; a local session's processes end with it."""
        self._ended = self._ended or "the session is closed"
        for client in self._clients.values():
            client.close()
        self._clients = {}
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- runs -----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._ended:
            raise Error(self._ended)

    def _check_ready(self) -> None:
        self._check_open()
        if not self._provided:
            names = ", ".join(t.name for t in self._given.tensors("setup"))
            raise InputError(f"the parameters have not been provided: call provide first, with {names}")

    def _encoded(self, tensors: Sequence[Tensor], inputs: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
        return self._given.encode("run", self._given.check(tensors, inputs, "input"), self._params)

    def _submit(self, encoded: Mapping[str, Mapping[str, Array]]) -> dict[str, str]:
        return {role: self._clients[role].submit("run", feeds) for role, feeds in encoded.items()}

    def _wait(self, numbers: Mapping[str, str]) -> list[Answer]:
        return [self._clients[role].wait_answer(number) for role, number in numbers.items()]

    def _finish(self, numbers: Mapping[str, str], done: list[dict[str, Array]], total: Stats) -> Stats:
        answers = self._wait(numbers)
        done.append(self._results(answers))
        return total.plus(self._stats(answers, 0.0))

    def _results(self, answers: Sequence[Answer]) -> dict[str, Array]:
        got = {name: value for answer in answers for name, value in answer.results.items()}
        broken = [n.removeprefix(CHECK_PREFIX) for n, v in got.items() if n.startswith(CHECK_PREFIX) and not v]
        if broken:
            raise InputError("the values of this run break what the model promises: " + "; ".join(broken))
        return {r.name: got[r.name] for r in self.plan.results if r.name in got and not r.name.startswith(CHECK_PREFIX)}

    def _stats(self, answers: Sequence[Answer], seconds: float) -> Stats:
        if not answers:
            raise InputError("this role has no part in a run of this plan: it neither feeds it nor learns from it")
        return run_stats(self.plan, answers[0].reports, sum(a.client_bytes for a in answers), seconds)

    # -- failures -------------------------------------------------------------------------------------------------

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Turns the loss of a machine into one error that says who died, how, and at which op; and ends the session."""
        try:
            yield
        except PeerError as error:
            best = best_witness(error, self._clients.values(), self._processes)
            self._ended = f"the session has ended: {best}"
            self.close()
            raise best from None
        except KeyboardInterrupt:
            self._ended = "the session has ended: it was interrupted"
            self.close()
            raise


def launch_plan(
    plan: Plan,
    prepare: Prepare,
    *,
    timeout: float = TIMEOUT_SECONDS,
    window: int = WINDOW_BYTES,
    seen_by: SeenBy = lambda _, addresses: addresses,
) -> Session:
    """Starts a dealer and both parties as processes on this machine, and a session that plays all roles of the plan.

    timeout: seconds that a machine may take to answer (ten times as many while it computes). window: bytes of material
    that the dealer may be ahead of each party. seen_by: as of `Processes`. Raises PeerError when a process does not
    start.
    """
    check_seconds(timeout=timeout)
    roles = list(plan.roles)
    processes = Processes(plan, roles, timeout, window, seen_by)
    clients: dict[str, RoleClient] = {}
    try:
        for role in roles:
            clients[role] = RoleClient(
                plan,
                role,
                processes.role_keys[role],
                processes.addresses,
                processes.server_keys,
                timeout,
                processes.check,
            )
    except BaseException:
        for client in clients.values():
            client.close()
        processes.close()
        raise
    return Session(plan, clients, prepare, processes)


def connect_plan(
    cluster: str | Path,
    plan: Plan,
    prepare: Prepare,
    *,
    role: str,
    key: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    wait: float = WAIT_SECONDS,
) -> Session:
    """A session for one role of servers that are running: those of a cluster.toml. key: the role's secret key file
    (`ROLE.key` beside the cluster.toml if none is given). wait: seconds that the other roles of a run may take."""
    if role not in plan.roles:
        raise InputError(f"the plan has no role {role!r}; it has {', '.join(plan.roles)}")
    check_seconds(timeout=timeout, wait=wait)
    machines = load_cluster(cluster)
    keys = load_key(key if key is not None else key_path(machines.path, role))
    machines.check_key(role, keys)
    client = RoleClient(plan, role, keys, machines.addresses, machines.server_keys, timeout, wait=wait)
    return Session(plan, {role: client}, prepare)
