"""Two parties with stored material that are killed at random moments, clients that go on, and what they must never do.

    with Deployment(folder, runs=200, setups=3) as deployment:
        deployment.kill("p0")
    deployment.check()

A party that has ended, killed or because the other one was, is started again at once, as a service manager does it.

Each party writes down, before anything of an execution leaves it, which record it uses, the hash of its key, and the
hash of each message that it sends: a journal that a kill does not lose. `check` reads both: no record, key or message
twice.
The journals are written by the processes themselves (`python -m tests.kills FOLDER NUMBER`), which are those of
`mpcc party --material`, with a pen at the place where a message leaves.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpc_runtime import MaterialError, PeerError
from mpc_runtime.deployment.cluster import load_cluster, write_cluster
from mpc_runtime.deployment.keys import key_path, load_key
from mpc_runtime.program import connect
from mpc_runtime.servers.executions import Executions
from mpc_runtime.servers.process import run
from mpc_runtime.store.deal import deal
from mpc_runtime.store.report import status
from mpc_runtime.transport.channel import Buffer, as_bytes
from mpc_runtime.transport.records import PeerChannel
from tests.mpc_runtime.store.stored import PARTIES, PLAN, PROGRAM, expected
from tests.terminal import free_port
from tests.waiting import holds

TOP = Path(__file__).parents[1]
GLANCE_SECONDS = 0.02
READY_SECONDS = 60.0
TIMEOUT = 10.0
CLIENT_TIMEOUT = 3.0  # a hello to a party that is killed is lost, and nobody answers it
SPARE_BYTES = 12  # a shorter message may well be sent twice


class Deployment:
    """Two parties of `PLAN` in a folder."""

    def __init__(self, folder: Path, runs: int, setups: int) -> None:
        self.folder = folder
        self.cluster = folder / "cluster.toml"
        self.weights = np.random.default_rng(5).uniform(-1, 1, (4, 4))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._manager = threading.Thread(target=self._manage)
        write_cluster(self.cluster, PLAN.roles, free_port())
        deal(PLAN, folder / "material", runs, setups)
        PLAN.save(folder / "plan")

    def __enter__(self) -> Deployment:
        self._manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._manager.join()
        for child in self._children.values():
            child.kill()
            child.wait()

    def kill(self, name: str) -> None:
        """As the system kills: at once."""
        self._children[name].kill()

    def _manage(self) -> None:
        while not self._over.wait(GLANCE_SECONDS):
            for i, name in enumerate(PARTIES):
                if name not in self._children or self._children[name].poll() is not None:
                    self._children[name] = self._started(i, name)

    def _started(self, number: int, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.err").open("ab") as errors:
            command = [sys.executable, "-m", "tests.kills", str(self.folder), str(number)]
            return subprocess.Popen(command, cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)}, stderr=errors)

    # -- clients ------------------------------------------------------------------------------------------------------

    def provide(self) -> None:
        with self.session("modeller") as session:
            session.provide({"w": self.weights})

    def session(self, role: str) -> Any:
        """A session of a role, once both parties are there."""
        found: list[Any] = []
        last: list[PeerError] = []

        def connected() -> bool:
            try:
                found.append(connect(self.cluster, PROGRAM, role=role, timeout=CLIENT_TIMEOUT))
            except PeerError as error:
                last[:] = [error]
            return bool(found)

        assert holds(connected), f"no party answers: {last}"
        return found[0]

    def ask(self, session: Any, x: np.ndarray) -> bool:
        """One query: whether it was answered, which it must be rightly. A typed error is no answer."""
        try:
            y = session.run(x=x)["y"]
        except (PeerError, MaterialError):
            return False
        assert np.allclose(y, expected(x, self.weights), atol=0.01), "a wrong answer"
        return True

    # -- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> Counter[str]:
        """AssertionError where a record, a key or a message was used twice; counts of what was used."""
        stores = {name: self.folder / "material" / name for name in PARTIES}
        return checked(self.folder, stores)


def checked(folder: Path, stores: Mapping[str, Path]) -> Counter[str]:
    """AssertionError where the journals in a folder have a record, a key or a message twice, or one that the party's
    ledger still has; counts of what was used."""
    counts: Counter[str] = Counter()
    for i, name in enumerate(PARTIES):
        entries = [Entry.of(line) for line in (folder / f"{name}.journal").read_text().splitlines()]
        for what in ("record", "key", "message"):
            values = [entry.value for entry in entries if entry.what == what]
            twice = [value for value, n in Counter(values).items() if n > 1]
            assert not twice, f"{name} used a {what} twice: {twice[:3]}"
            counts[f"{name} {what}s"] = len(values)
        used = [int(entry.value) for entry in entries if entry.what == "record"]
        assert used == sorted(used), f"{name} went back"
        found = status(stores[name])
        assert found.party == i and max(used, default=-1) < found.next, f"{name} used what its ledger still has"
        counts[f"{name} ledger"] = found.next
    return counts


@dataclass(frozen=True)
class Entry:
    """A line of a journal."""

    what: str
    value: str

    @staticmethod
    def of(line: str) -> Entry:
        what, value = line.split()
        return Entry(what, value)


def journal(executions: type[Executions], channel: type[PeerChannel], path: str | Path) -> None:
    """Has these classes write down what they use."""
    pen = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(what: str, value: str) -> None:
        os.write(pen, f"{what} {value}\n".encode())

    keys, send = executions.keys, channel.send

    def noted_keys(self: Executions, procedure: Any, index: int) -> Any:
        found = keys(self, procedure, index)
        write("record", str(index))
        write("key", hashlib.sha256(found.material).hexdigest())
        return found

    def noted_send(self: PeerChannel, buffer: Buffer) -> None:
        view = as_bytes(buffer)
        if view.nbytes >= SPARE_BYTES:
            write("message", hashlib.sha256(view).hexdigest())
        send(self, buffer)

    executions.keys = noted_keys  # type: ignore[method-assign]
    channel.send = noted_send  # type: ignore[method-assign]


def main(folder: Path, number: int) -> None:
    """A party, with a pen."""
    from dataclasses import replace

    from mpc_runtime.plan_file import load

    name = PARTIES[number]
    journal(Executions, PeerChannel, folder / f"{name}.journal")
    cluster = load_cluster(folder / "cluster.toml")
    config = cluster.machine(name, load_key(key_path(cluster.path, name)), TIMEOUT, 1 << 20, READY_SECONDS)
    config = replace(config, material=str(folder / "material" / name))
    run(load(folder / "plan"), config, lambda own, clients: cluster.addresses)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except (PeerError, MaterialError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
