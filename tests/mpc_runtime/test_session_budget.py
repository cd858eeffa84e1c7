"""Budgets in sessions: charged before anything runs, by owner and dataset, and kept beyond the session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc

TEXT = """model budgets
role a, b, reader
input x : [8] from a in [0, 1]
input y : [8] from b in [0, 1]
input v : bit[8] from b with randomized_response(epsilon=0.25)
budget x = dp(epsilon=2)
output r = sum(x * y) to reader with laplace(epsilon=0.5)
output s = sum(v) to reader
"""
PROGRAM = mpc.compile(text=TEXT)
BARE = mpc.compile(text="model bare\nrole a, reader\ninput x : [8] from a in [0, 1]\noutput r = sum(x) to reader")
GIVEN = {"x": np.ones(8), "y": np.arange(8) / 8, "v": np.ones(8, bool)}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mpc.Session]:
    with mpc.launch(PROGRAM, data_dir=tmp_path_factory.mktemp("data")) as found:
        yield found


def epsilons(session: mpc.Session) -> dict[str, float]:
    assert session.privacy is not None
    return {each.role: each.epsilon for each in session.privacy.datasets}


def test_the_budget_of_the_plan_holds_and_the_session_goes_on(session: mpc.Session) -> None:
    for _ in range(4):
        assert session.run(GIVEN, dataset={"a": "one", "b": "free"})["r"].shape == ()
    with pytest.raises(mpc.BudgetError, match=r"the dataset 'one' of a has spent epsilon 2 of its budget of epsilon 2"):
        session.run(GIVEN, dataset={"a": "one", "b": "free"})
    assert epsilons(session) == {"a": 2.0, "b": 4 * 0.75}, "what b gave with it was not released"
    plain = PROGRAM.reference(GIVEN)["r"]
    for _ in range(3):  # no submission of the run that was refused meets another one
        other = {**GIVEN, "y": np.zeros(8)}
        assert abs(session.run(GIVEN, dataset="two")["r"] - plain) < 45 * 2
        with pytest.raises(mpc.BudgetError):
            session.run(other, dataset={"a": "one"})


def test_an_owner_states_limits_that_only_narrow(session: mpc.Session) -> None:
    assert session.limit("three", 0.75, role="b").datasets[0].limits[0].epsilon == 0.75
    session.limit("three", 50, role="b")
    session.run(GIVEN, dataset="three")
    with pytest.raises(mpc.BudgetError, match=r"the dataset 'three' of b has spent epsilon 0.75 of its budget"):
        session.run(GIVEN, dataset="three")
    assert session.spent("three", role="a").epsilon == 0.5


SLOW = """import time
from mpc_runtime.servers.executions import Executions
begin = Executions.begin
def begun(executions):
    begin(executions)
    control = executions.channel.control
    def slow():
        time.sleep(0.05 * executions.number)
        return control()
    executions.channel.control = slow
Executions.begin = begun
"""


def test_what_was_withdrawn_is_given_back_by_both_parties_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a p1 that is slow to hear that p0 has dropped it."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    with mpc.launch(PROGRAM, data_dir=tmp_path / "data") as session:
        session.limit("few", 0, role="b")
        for _ in range(4):  # as often as a's budget would allow
            with pytest.raises(mpc.BudgetError, match="the dataset 'few' of b"):
                session.run(GIVEN, dataset={"a": "one", "b": "few"})
            assert session.spent("one", role="a").epsilon == 0


def test_asyncio_and_names_that_are_none(session: mpc.Session) -> None:
    for wrong, match in ((7, "dataset: expected a name"), ({"q": "x"}, "'q' gives nothing to a run"), ("", "a name")):
        with pytest.raises(mpc.InputError, match=match):
            session.run(GIVEN, dataset=wrong)  # type: ignore[arg-type]
    with pytest.raises(mpc.InputError, match="role: expected one of a, b, found None"):
        session.limit("three", 1.0)
    with pytest.raises(mpc.InputError, match="epsilon: expected a number from 0 to 64"):
        session.limit("three", 65, role="a")


def test_what_was_spent_outlives_servers_that_are_killed(tmp_path: Path) -> None:
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        session.run(GIVEN, dataset="one")
        for pid in session.pids.values():
            os.kill(pid, signal.SIGKILL)
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        assert session.spent("one", role="a").epsilon == 0.5
        session.limit("one", 0.6, role="a")
    with mpc.launch(BARE, data_dir=tmp_path) as session:  # another program, and the same dataset
        assert session.privacy is None
        assert session.run(x=np.ones(8))["r"] == 8, "nobody has named it"
        with pytest.raises(mpc.BudgetError, match="which a result without noise exceeds"):
            session.run(x=np.ones(8), dataset="one")
