"""A cluster.toml that changes while a server runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpc_runtime.deployment.cluster import Cluster, load_cluster, write_cluster
from mpc_runtime.deployment.revisions import Revisions
from mpc_runtime.errors import InputError
from mpc_runtime.servers.members import Members
from mpc_runtime.transport.identity import KeyPair, fingerprint
from tests.waiting import until

PACE = 0.02


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    path = tmp_path / "cluster.toml"
    write_cluster(path, ["client"], 7300)
    before = signal.getsignal(signal.SIGHUP)
    yield load_cluster(path)
    signal.signal(signal.SIGHUP, before)


def changed(cluster: Cluster, old: str, new: str) -> None:
    """As editors do it: a new file takes the place of the old one."""
    beside = cluster.path.with_suffix(".new")
    beside.write_text(cluster.path.read_text().replace(old, new))
    beside.replace(cluster.path)


def test_keys_that_come_and_go(cluster: Cluster) -> None:
    taken: list[Members] = []
    said: list[str] = []
    old, new = cluster.roles["client"][0], KeyPair.generate().public
    with Revisions(cluster, said.append, PACE).watching(taken.append):
        changed(cluster, f'"{old}"', f'"{old}", "{new}"')
        until(lambda: len(said) == 1)
        assert taken[-1].keys() == {old, new}
        assert said[-1].endswith(f"was read again: new client, key {fingerprint(new)[:9]}")
        changed(cluster, f'"{old}", ', "")
        until(lambda: len(said) == 2)
        assert taken[-1].keys() == {new}
        assert said[-1].endswith(f"revoked client, key {fingerprint(old)[:9]}")


def test_a_file_with_a_mistake_changes_nothing(cluster: Cluster) -> None:
    taken: list[Members] = []
    said: list[str] = []
    with Revisions(cluster, said.append, PACE).watching(taken.append):
        changed(cluster, "[roles]", "[rolls]")
        until(lambda: said)
        assert "is not used, the keys of before hold: " in said[0] and "unknown table [rolls]" in said[0]
        cluster.path.unlink()
        until(lambda: len(said) == 2)
        assert "cannot be read" in said[1]
    assert not taken


def test_a_change_of_servers_waits_for_a_restart(cluster: Cluster) -> None:
    taken: list[Members] = []
    said: list[str] = []
    with Revisions(cluster, said.append, PACE).watching(taken.append):
        changed(cluster, "127.0.0.1:7304", "127.0.0.1:7305")
        until(lambda: said)
        changed(cluster, cluster.server_keys["p1"], KeyPair.generate().public)
        until(lambda: len(said) == 2)
    takes = "takes effect when this server is restarted"
    assert said[0].endswith(f"a change of the address of p1.clients {takes}")
    assert said[1].endswith(f"a change of the address of p1.clients and the key of p1 {takes}")
    assert not taken


def test_on_sighup_it_is_read_at_once(cluster: Cluster) -> None:
    taken = threading.Event()
    said: list[str] = []
    with Revisions(cluster, said.append, pace=3600).watching(lambda _: taken.set()):
        changed(cluster, "[roles]", f'[roles]\nmodeller = ["{KeyPair.generate().public}"]')
        os.kill(os.getpid(), signal.SIGHUP)
        until(taken.is_set)
    assert said


def test_keys_that_cannot_be_taken_are_reported(cluster: Cluster) -> None:
    said: list[str] = []

    def fail(_: Members) -> None:
        raise InputError("no room")

    revisions = Revisions(cluster, said.append)
    changed(cluster, "[roles]", f'[roles]\nmodeller = ["{KeyPair.generate().public}"]')
    revisions.reload(fail)
    assert "is not used" in said[0] and "no room" in said[0]
    revisions.reload(lambda _: None)  # it is tried again
    assert "was read again" in said[1]
