"""What keys may do at servers that run by themselves, and a cluster.toml that changes while they do."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.deployment.cluster import load_cluster
from tests.terminal import free_port, mpcc, started
from tests.waiting import SECONDS, until

MODEL = """model meeting
role bank, bureau
input x : [3] from bank   in [-4, 4]
input y : [3] from bureau in [-4, 4]
param w : [3] from bureau in [-4, 4]
output z = x * y + w to bank, bureau
"""
W = np.array([1.0, -2.0, 0.5])
MEMBERS = """
[roles]
bureau = ["{bureau}"]

[[roles.bank]]
key = "{bank}"
name = "main branch"

[[roles.bank]]
key = "{feeder}"
name = "feeder"
may = ["submit"]

[[roles.bank]]
key = "{reader}"
name = "reader"
may = ["receive", "deploy"]

[[roles.bank]]
key = "{few}"
name = "branch with few"
queries = 2
queries_per_minute = 2
"""


class Servers:
    """Of one deployment, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = mpc.compile(folder / "meeting.ppml")
        self.cluster = folder / "cluster.toml"

    def connect(self, role: str, key: str, **options: float) -> mpc.Session:
        return mpc.connect(self.cluster, self.program, role=role, key=self.folder / f"{key}.key", **options)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("rights")
    (folder / "meeting.ppml").write_text(MODEL)
    mpcc(folder, "init-cluster", "meeting.ppml", "--port", free_port())
    keys = {name: mpcc(folder, "keygen", name).stdout.strip() for name in ("feeder", "reader", "few", "later")}
    known = load_cluster(folder / "cluster.toml").roles
    keys |= {role: known[role][0] for role in ("bank", "bureau")}
    text = (folder / "cluster.toml").read_text()
    (folder / "cluster.toml").write_text(text[: text.index("[roles]")] + MEMBERS.format(**keys).lstrip())
    found = Servers(folder)
    with started(folder, "meeting.ppml"):
        with found.connect("bureau", "bureau") as bureau:
            bureau.provide({"w": W})
        yield found


def run_both(servers: Servers, bank: mpc.Session, name: str) -> dict[str, np.ndarray]:
    """A run of the bureau and this one; what the latter gets."""
    with servers.connect("bureau", "bureau") as bureau, ThreadPoolExecutor() as pool:
        theirs = pool.submit(bureau.run, {"y": np.ones(3)}, meeting=name)
        ours = bank.run(x=np.full(3, 2.0), meeting=name)
        assert np.allclose(theirs.result(SECONDS)["z"], 2 + W, atol=1e-3)
        return ours


def test_who_may_not_receive_is_sent_nothing_and_the_others_are(servers: Servers) -> None:
    with servers.connect("bank", "feeder") as feeder:
        assert run_both(servers, feeder, "fed") == {}
    with servers.connect("bank", "bank") as bank:
        assert np.allclose(run_both(servers, bank, "whole")["z"], 2 + W, atol=1e-3)


def test_who_may_not_submit_is_refused_by_name_and_others_lose_nothing(servers: Servers) -> None:
    with servers.connect("bank", "bank") as bank, ThreadPoolExecutor() as pool:
        waiting = pool.submit(bank.run, {"x": np.full(3, 2.0)}, meeting="refused")
        with (
            servers.connect("bank", "reader") as reader,
            pytest.raises(mpc.PeerError, match=r"reader \(bank\) may not submit inputs: p[01]'s cluster.toml"),
        ):
            reader.run(x=np.zeros(3), meeting="refused")
        with servers.connect("bureau", "bureau") as bureau:
            bureau.run(y=np.ones(3), meeting="refused")
        assert np.allclose(waiting.result(SECONDS)["z"], 2 + W, atol=1e-3)


def test_who_has_made_its_queries_is_refused(servers: Servers) -> None:
    with servers.connect("bank", "few") as few:
        for i in range(2):
            assert np.allclose(run_both(servers, few, f"few {i}")["z"], 2 + W, atol=1e-3)
        with pytest.raises(
            mpc.PeerError, match=r"branch with few \(bank\) has made 2 queries, as many as it may \[p[01]\]"
        ):
            few.run(x=np.ones(3), meeting="one too many")


def test_keys_come_and_go_while_the_servers_run(servers: Servers) -> None:
    """A revoked key loses its session and what it has submitted, whoever waited for it is told, and goes on."""
    later = servers.folder / "later.key"
    before = servers.cluster.read_text()
    with (
        servers.connect("bank", "bank") as bank,
        servers.connect("bureau", "bureau") as bureau,
        ThreadPoolExecutor() as pool,
    ):
        told: list[str] = []
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: told.append(str(message))
            warnings.simplefilter("always")
            ours = pool.submit(bank.run, {"x": np.ones(3)}, meeting="revoked")
            theirs = pool.submit(bureau.run, {"y": np.ones(3)}, meeting="revoked")
            assert np.allclose(ours.result(SECONDS)["z"], theirs.result(SECONDS)["z"])
            theirs = pool.submit(bureau.run, {"y": np.ones(3)}, meeting="other")
            ours = pool.submit(bank.run, {"x": np.ones(3)}, meeting="alone")
            text = before.replace(public(servers, "bank"), public_of(later)).replace("main branch", "new branch")
            servers.cluster.write_text(text)
            with pytest.raises(mpc.PeerError, match="was changed or revoked"):
                ours.result(SECONDS)
            for name in ("p0", "p1"):
                until(lambda name=name: "new new branch" in servers.log(name))
                assert "revoked main branch" in servers.log(name)
            with servers.connect("bank", "later") as new:
                assert np.allclose(new.run(x=np.full(3, 3.0), meeting="other")["z"], 3 + W, atol=1e-3)
            assert np.allclose(theirs.result(SECONDS)["z"], 3 + W, atol=1e-3)
    with pytest.raises(mpc.InputError, match="which the file does not list"):
        servers.connect("bank", "bank")
    assert "refused keys" not in servers.log("p0")


THREE = """model three
role a, b, c
input x : [2] from a in [-4, 4]
input y : [2] from b in [-4, 4]
input z : [2] from c in [-4, 4]
output s = x + y + z to a, b, c
"""


def test_whoever_waits_for_a_submission_that_is_withdrawn_is_told(tmp_path: Path) -> None:
    (tmp_path / "three.ppml").write_text(THREE)
    mpcc(tmp_path, "init-cluster", "three.ppml", "--port", free_port())
    program, cluster = mpc.compile(tmp_path / "three.ppml"), tmp_path / "cluster.toml"
    told: list[str] = []

    def ask(role: str, **inputs: np.ndarray) -> np.ndarray:
        with mpc.connect(cluster, program, role=role) as session:
            return session.run(inputs, meeting="m")["s"]

    with started(tmp_path, "three.ppml"), warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.showwarning = lambda message, *_: told.append(str(message))
        warnings.simplefilter("always")
        waiting = []
        for role, name in (("a", "x"), ("b", "y")):  # of two, one is told that there is another, so that one is there
            both = [pool.submit(ask, role, **{name: np.ones(2)}) for _ in range(2)]
            first = wait(both, SECONDS, FIRST_COMPLETED).done.pop()
            assert "waits for the same meeting" in str(first.exception())
            waiting += [each for each in both if each is not first]
        old = (tmp_path / "a.key").rename(tmp_path / "old.key")
        new = mpcc(tmp_path, "keygen", "a").stdout.strip()
        cluster.write_text(cluster.read_text().replace(public_of(old), new))
        assert "was changed or revoked" in str(waiting[0].exception(SECONDS))
        until(lambda: told)
        assert re.match("p0: a submission of a was withdrawn: what its key may do at p[01] was", told[0])
        theirs = pool.submit(ask, "a", x=np.zeros(2))
        for found in (ask("c", z=np.ones(2)), theirs.result(SECONDS), waiting[1].result(SECONDS)):
            assert np.allclose(found, 2, atol=1e-3)


def public(servers: Servers, name: str) -> str:
    return public_of(servers.folder / f"{name}.key")


def public_of(path: Path) -> str:
    from mpc_runtime.deployment.keys import load_key

    return load_key(path).public
