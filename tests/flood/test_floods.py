"""A computing party's memory stays flat under every flood, and what it computes meanwhile is right."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.deployment import local
from mpc_runtime.encoding.sharing import payload_sizes
from mpc_runtime.limits import WINDOW_BYTES
from mpc_runtime.program import prepare_feed
from mpc_runtime.session import Session
from mpc_runtime.sessions.connections import Connections
from mpc_runtime.sessions.deployed import launched
from mpc_runtime.sessions.turns import Turns
from mpc_runtime.sessions.variants import Variants
from mpc_runtime.transport.address import clients_of
from mpc_runtime.transport.identity import KeyPair
from tests.flood.floods import FLOODS, Target, Watch
from tests.waiting import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

MODEL = """model flooded
role a, c
input x : [50000] from a in [-100, 100]
param w : [50000] from c in [-100, 100]
output y = x * w to a
"""
PROGRAM = mpc.compile(text=MODEL)
W = np.random.default_rng(0).uniform(-9, 9, 50000)
FLAT = 1.05
PAUSE_SECONDS = 0.1
"""Between runs: without it, they would take most of two cores for as long as a flood lasts."""


@pytest.fixture(scope="module")
def flooded() -> Iterator[tuple[Session, Target]]:
    """A session, and its p1 as what floods see of it."""
    pairs: list[KeyPair] = []
    generate = KeyPair.generate

    def kept() -> KeyPair:
        pairs.append(generate())
        return pairs[-1]

    turns = Turns()
    with patch.object(local.KeyPair, "generate", kept):
        base = launched(PROGRAM.plan, prepare_feed, 20.0, WINDOW_BYTES, lambda _, addresses: addresses, turns.check)
    processes = base.processes
    assert processes is not None
    with Session(Connections(turns, Variants(base))) as session:
        peer = next(pair for pair in pairs if pair.public == processes.server_keys["p0"])
        target = Target(
            processes.addresses[clients_of("p1")],
            processes.addresses["p1"],
            processes.server_keys["p1"],
            PROGRAM.plan,
            processes.role_keys["c"],
            peer,
            payload_sizes(PROGRAM.plan.feeds_of("c", "setup"))[1],
        )
        session.provide({"w": W})
        yield session, target


class Runs:
    """Runs one after the other, beside a flood; the first that is wrong is the last."""

    def __init__(self, session: Session) -> None:
        self.done = 0
        self.wrong: BaseException | None = None
        self._session = session
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        random = np.random.default_rng(1)
        try:
            while not self._stop.is_set():
                x = random.uniform(-9, 9, 50000)
                assert np.allclose(self._session.run(x=x)["y"], x * W, atol=1e-2)
                self.done += 1
                self._stop.wait(PAUSE_SECONDS)
        except BaseException as error:
            self.wrong = error

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("flood", FLOODS)
def test_memory_stays_flat_and_runs_go_on(flooded: tuple[Session, Target], flood: str) -> None:
    """After the same flood twice, so that what may be held is held, and what the allocator keeps it has."""
    session, target = flooded
    watch, runs = Watch(session.pids["p1"]), Runs(session)
    try:
        for _ in range(2):
            FLOODS[flood](target)
        until(lambda: runs.done > 2 or runs.wrong)
        warm, done = watch.most(), runs.done
        for _ in range(2):
            FLOODS[flood](target)
        until(lambda: runs.done > done + 2 or runs.wrong)
        most = watch.most()
    finally:
        runs.close()
        watch.close()
    assert runs.wrong is None
    assert most <= FLAT * warm, f"{warm >> 20} MB before, {most >> 20} MB at most under the flood"
