"""Services of many plans, as processes: deployed, killed in every way, started again, and right all the time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.servers.catalogue import Catalogue
from tests.services import NAMES, Services, services
from tests.terminal import command, environment, mpcc
from tests.waiting import all_gone, holds, until

MODEL = """model scaled
dim batch = 2
role client, modeller
input x : [batch, 3] from client   in [-4, 4]
param w : [3]        from modeller in [-4, 4]
output y = x * w to client
"""
OTHER = """model doubled
role client
input x : [3] from client in [-4, 4]
output y = x + x to client
"""
W = np.array([1.0, -2.0, 0.5])
X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]])
RETRIES = 40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("services"), MODEL, "scaled") as running:
        with connected(running, "modeller") as session:
            session.provide({"w": W})
        yield running


def connected(running: Services, role: str, plan: str = "scaled", retries: int = RETRIES) -> mpc.Session:
    program = mpc.load(running.folder / f"{plan}.plan")
    return mpc.connect(running.cluster, program, role=role, retries=retries)


def answers(running: Services) -> bool:
    with connected(running, "client") as session:
        return bool(np.allclose(session.run(x=X)["y"], X * W, atol=1e-3))


@pytest.mark.parametrize("name", NAMES)
def test_a_service_that_is_killed_comes_back_and_nobody_provides_twice(running: Services, name: str) -> None:
    with connected(running, "client") as session:
        assert np.allclose(session.run(x=X)["y"], X * W, atol=1e-3)
        children = running.children(name)
        running.kill(name)
        assert all_gone(children)
        running.start(name)
        assert np.allclose(session.run(x=X)["y"], X * W, atol=1e-3)  # on new connections, with the parameters stored
    for other in NAMES:
        if other != name:
            told = holds(lambda other=other: f"{name} is gone" in running.said(other))  # type: ignore[misc]
            assert told, running.said(other)


def test_the_process_of_a_plan_that_is_killed_is_started_again(running: Services) -> None:
    assert answers(running)
    for name in NAMES:
        (child,) = running.children(name)
        os.kill(child, signal.SIGKILL)
        assert answers(running)
        until(lambda: running.children(name) not in ([], [child]))  # noqa: B023
    assert "the process of scaled was ended by SIGKILL; it is started again" in running.said("p0")


def test_without_retries_a_client_is_told_that_nothing_was_computed(running: Services) -> None:
    """p1 is stopped within the run, so that p0 notices in the middle of it."""
    with connected(running, "client", retries=0) as session:
        session.run(x=X)
        (child,) = running.children("dealer")
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(mpc.PeerError) as error:
            for _ in range(1000):  # what has been dealt ahead is used first
                session.run(x=X)
        os.kill(child, signal.SIGKILL)
    assert error.value.peer == "dealer"
    assert "nothing was computed" in str(error.value)
    assert answers(running)


def test_a_second_plan_is_offered_approved_served_and_removed_beside_the_first(running: Services) -> None:
    folder = running.folder
    (folder / "doubled.ppml").write_text(OTHER)
    mpcc(folder, "compile", "doubled.ppml", "-o", "offered.plan")
    plan = folder / "offered.plan"
    refused = mpcc(folder, "deploy", "doubled.ppml", "--name", "doubled", "--role", "modeller")
    assert "modeller may not deploy" in refused.stderr
    offered = mpcc(folder, "deploy", "doubled.ppml", "--name", "doubled")  # the client, who alone may
    assert offered.returncode == 0, offered.stderr
    words = command("approve", "doubled", "--data", "p0.data")
    denied = subprocess.run(words, input="n\n", cwd=folder, env=environment(), text=True, capture_output=True)
    assert (denied.returncode, denied.stderr) == (1, "doubled is not approved\n")
    assert "doubled" not in Catalogue(folder / "p0.data").deployed()  # an offer runs nothing
    for name in NAMES:
        shown = mpcc(folder, "approve", "doubled", "--data", f"{name}.data", "--yes")
        assert "plan " + mpc.load(plan).plan.hash in shown.stdout and "to client" in shown.stdout, shown.stderr
    until(lambda: all("serves doubled" in running.said(name) for name in NAMES))
    fetched = mpcc(folder, "fetch", "doubled", "--role", "client")
    assert fetched.returncode == 0, fetched.stderr
    with connected(running, "client", "doubled") as session:
        assert np.allclose(session.run(x=X[0])["y"], 2 * X[0], atol=1e-3)
        for name in NAMES:
            Catalogue(folder / f"{name}.data").remove("doubled")
        until(lambda: all("serves doubled" in running.said(n) and "no more" in running.said(n) for n in NAMES))
    until(lambda: "does not serve plan" in said_of_doubled(running))  # its process may still be ending
    assert answers(running)


def said_of_doubled(running: Services) -> str:
    """What a client that comes for the plan is told."""
    with pytest.raises(mpc.PeerError) as error:
        connected(running, "client", "doubled", retries=0)
    return str(error.value)


def test_stopping_is_no_accident(running: Services) -> None:
    assert answers(running)
    for name in NAMES:
        assert running.stop(name) == 0
        running.start(name)
    assert answers(running)
    running.processes["p0"].send_signal(signal.SIGINT)
    assert running.processes["p0"].wait() == 130, "as every command that Ctrl-C ends"
    running.start("p0")
    assert answers(running)
