"""Sessions on stored material: real parties without a dealer, across restarts, until it is used up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime import MaterialError, PeerError
from mpc_runtime.store.report import status, verify
from mpc_runtime.store.store import Store
from tests.kills import Deployment
from tests.mpc_runtime.store.stored import OTHER, PARTIES, PLAN, PROGRAM, dealt, expected
from tests.waiting import all_gone

W = np.random.default_rng(1).uniform(-1, 1, (4, 4))
X = np.random.default_rng(2).uniform(-8, 8, (30, 4))


def assert_right(session: mpc.Session, x: np.ndarray, w: np.ndarray) -> None:
    assert np.allclose(session.run(x=x)["y"], expected(x, w), atol=0.01)


def test_results_and_counts_are_those_of_online_dealing(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=20)
    with mpc.launch(PROGRAM, material=material) as session:
        assert set(session.pids) == {"p0", "p1"}
        session.provide({"w": W})
        for x in X[:4]:
            assert_right(session, x, W)
        counted, cost = session.stats, PROGRAM.cost
    for name in (
        "rounds",
        "online_bytes",
        "offline_bytes",
        "setup_online_bytes",
        "setup_offline_bytes",
        "client_bytes",
    ):
        assert getattr(counted, name) == getattr(cost, name), name


def test_a_restart_goes_on_without_provide(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=40)
    for start in range(3):
        with mpc.launch(PROGRAM, material=material) as session:
            if start == 0:
                session.provide({"w": W})
            assert_right(session, X[start], W)
    found = [status(material / name) for name in PARTIES]
    assert [each.setup for each in found] == [0, 0]
    assert [each.parameters for each in found] == [("modeller",)] * 2


def test_without_parameters_a_session_says_so(tmp_path: Path) -> None:
    with mpc.launch(PROGRAM, material=dealt(tmp_path)) as session, pytest.raises(mpc.InputError, match="call provide"):
        session.run(x=X[0])


def test_new_parameters_take_the_next_setup(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=6, setups=3)
    with mpc.launch(PROGRAM, material=material) as session:
        for w in (W, -W):
            session.provide({"w": w})
            assert_right(session, X[0], w)
    assert [status(material / name).setup for name in PARTIES] == [7, 7]
    with mpc.launch(PROGRAM, material=material) as session:
        assert_right(session, X[1], -W)


def test_the_same_parameters_are_opened_anew_when_runs_are_used_up_and_then_it_is_over(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=4, setups=2)
    with mpc.launch(PROGRAM, material=material) as session:
        session.provide({"w": W})
        for x in X[:8]:
            assert_right(session, x, W)
        with pytest.raises(
            MaterialError, match=r"used up: no record is left for run in .*; deal more with `mpcc deal`"
        ):
            session.run(x=X[8])
    found = status(material / "p0")
    assert found.next == found.records == 10 and sum(found.left.values()) == found.bytes == 0
    assert list((material / "p0").glob("records-*")) == []
    with mpc.launch(PROGRAM, material=material) as session, pytest.raises(MaterialError, match="used up"):
        session.run(x=X[9])


def test_stores_that_do_not_fit_are_refused_before_anything_starts(tmp_path: Path) -> None:
    material = dealt(tmp_path)
    with pytest.raises(MaterialError, match="no stored material here"):
        mpc.launch(PROGRAM, material=tmp_path)
    with pytest.raises(MaterialError, match="this material is for plan"):
        mpc.launch(OTHER, material=material)
    used = Store(material / "p1", PLAN, 1)
    with pytest.raises(MaterialError, match="another process uses this store"):
        mpc.launch(PROGRAM, material=material)
    used.close()


LATE = """import time
from mpc_runtime.transport.node import Node
farewell = Node.farewell
def late(self, peer, op, message, error=""):
    if error and self.hello.name == "p1":
        for link in self.links.values():
            link.end_streams()
        time.sleep(0.3)
    return farewell(self, peer, op, message, error)
Node.farewell = late
"""
"""For p1, whose word then reaches its clients behind p0's, that p1 is gone."""


@pytest.mark.parametrize("program", ["", LATE], ids=["as it comes", "p0 is heard first"])
def test_damage_that_appears_meanwhile_is_typed_at_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    if program:
        (tmp_path / "sitecustomize.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    material = dealt(tmp_path)
    with mpc.launch(PROGRAM, material=material) as session:
        session.provide({"w": W})
        assert_right(session, X[0], W)
        with next((material / "p1").glob("records-*")).open("r+b") as file:  # in its place: p1 may be reading
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        with pytest.raises(MaterialError, match=r"p1: .*the data are damaged at byte "):
            for x in X:
                assert_right(session, x, W)
        pids = session.pids.values()
    assert all_gone(pids)


def test_parameters_for_which_there_is_no_setup_are_refused_and_the_old_ones_go_on(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=20)
    with mpc.launch(PROGRAM, material=material) as session:
        session.provide({"w": W})
        assert_right(session, X[0], W)
        with pytest.raises(MaterialError, match="no record is left for setup"):
            session.provide({"w": -W})
    with mpc.launch(PROGRAM, material=material) as session:
        assert_right(session, X[1], W)


@pytest.mark.parametrize("party", PARTIES)
def test_a_kill_in_a_run_burns_its_record_at_both(tmp_path: Path, party: str) -> None:
    material = dealt(tmp_path, runs=40)
    with mpc.launch(PROGRAM, material=material) as session:
        session.provide({"w": W})
        assert_right(session, X[0], W)
        os.kill(session.pids[party], signal.SIGKILL)
        with pytest.raises(PeerError, match=f"{party} was killed by SIGKILL"):
            session.run(x=X[1])
    stands = max(status(material / name).next for name in PARTIES)
    with mpc.launch(PROGRAM, material=material) as session:
        assert_right(session, X[1], W)
    assert all(status(material / name).next > stands for name in PARTIES)


@pytest.mark.slow
def test_random_kills(tmp_path: Path) -> None:
    """A few of `python -m tests.fuzz.kills`: both parties, before and within runs; clients that go on are answered."""
    x = X[0]
    with Deployment(tmp_path, runs=200, setups=4) as deployment:
        deployment.provide()
        for party in PARTIES:
            answered = 0
            while answered < 2:
                with deployment.session("client") as session:
                    while answered < 2 and deployment.ask(session, x):
                        answered += 1
            deployment.kill(party)
    counts = deployment.check()
    assert counts["p0 records"] >= 4 and counts["p1 messages"] > 0


def test_what_was_kept_and_is_damaged_has_to_be_provided_again(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=20, setups=2)
    with mpc.launch(PROGRAM, material=material) as session:
        session.provide({"w": W})
        assert_right(session, X[0], W)
    for file in (material / "p1").glob("kept-*"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert len(verify(material / "p1")) == 2
    with mpc.launch(PROGRAM, material=material) as session:
        with pytest.raises(mpc.InputError, match="call provide"):
            session.run(x=X[0])
        session.provide({"w": -W})
        assert_right(session, X[1], -W)
