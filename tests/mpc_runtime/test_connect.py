"""Several machines of several roles, each with its own session, at servers that run by themselves."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.terminal import command, environment, free_port, mpcc, started
from tests.waiting import SECONDS

MODEL = """model meeting
role bank, bureau
input x : [3] from bank   in [-4, 4]
input y : [3] from bureau in [-4, 4]
param w : [3] from bureau in [-4, 4]
output z = x * y + w to bank, bureau
"""
W = np.array([1.0, -2.0, 0.5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("meeting")
    (folder / "meeting.ppml").write_text(MODEL)
    mpcc(folder, "init-cluster", "meeting.ppml", "--port", free_port())
    second = mpcc(folder, "keygen", "bank2").stdout.strip()
    toml = folder / "cluster.toml"
    toml.write_text(re.sub(r'("bank" = \["[^"]+")\]', lambda found: f'{found[1]}, "{second}"]', toml.read_text()))
    with started(folder, "meeting.ppml"):
        yield folder


def test_the_nth_submissions_of_all_roles_meet(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    rng = np.random.default_rng(0)
    xs, ys = rng.uniform(-4, 4, (2, 4, 3))
    found: dict[str, list[np.ndarray]] = {"bank": [], "bureau": []}

    def bank() -> None:
        with mpc.connect(cluster, program, role="bank") as session:
            found["bank"] += [session.run(x=x)["z"] for x in xs]

    def bureau() -> None:
        with mpc.connect(cluster, program, role="bureau", key=folder / "bureau.key") as session:
            session.provide({"w": W})
            found["bureau"] += [session.run(y=y)["z"] for y in ys]

    threads = [threading.Thread(target=role) for role in (bank, bureau)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert np.allclose(found["bank"], xs * ys + W, atol=1e-3)
    assert np.array_equal(found["bank"], found["bureau"])


def test_whoever_waits_for_others_in_vain_is_told_and_takes_its_inputs_back(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    with (
        mpc.connect(folder / "cluster.toml", program, role="bank", wait=0.5) as session,
        pytest.raises(mpc.PeerError, match=r"after 0.5 s no run has begun with our inputs: a submission of bureau"),
    ):
        session.run(x=np.ones(3))
    with mpc.connect(folder / "cluster.toml", program, role="bank") as bank, ThreadPoolExecutor() as pool:
        later = pool.submit(bank.run, x=np.full(3, 2.0))
        with mpc.connect(folder / "cluster.toml", program, role="bureau", key=folder / "bureau.key") as bureau:
            bureau.provide({"w": W})
            bureau.run(y=np.ones(3))
        assert np.allclose(later.result(60)["z"], 2 + W, atol=1e-3)  # not the ones of the first try


def test_machines_of_one_role_take_turns(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    answers: dict[str, list[np.ndarray]] = {"bank": [], "bank2": []}
    asked = {"bank": 1.0, "bank2": 2.0}

    def ask(name: str) -> None:
        with mpc.connect(cluster, program, role="bank", key=folder / f"{name}.key") as session:
            answers[name] += [session.run(x=np.full(3, asked[name]))["z"] for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    with mpc.connect(cluster, program, role="bureau") as session:
        session.provide({"w": -W})
        for _ in range(6):
            session.run(y=np.ones(3))
    for thread in threads:
        thread.join(SECONDS)
    for name, x in asked.items():
        assert np.allclose(answers[name], [x - W] * 3, atol=1e-3)


def test_a_client_that_is_killed_after_submitting_harms_nobody(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    np.save(folder / "x.npy", np.full(3, 3.0))
    words = command("submit", "meeting.ppml", "--role", "bank", "--input", "x=x.npy")
    with mpc.connect(cluster, program, role="bureau") as bureau:
        bureau.provide({"w": W})
        lost = subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = threading.Timer(SECONDS, lost.kill)
        deadline.start()
        assert lost.stderr is not None
        said = iter(lost.stderr.readline, b"")
        assert any(b"the run begins when bureau has submitted too" in line for line in said)
        lost.kill()
        deadline.cancel()
        lost.communicate()
        with mpc.connect(cluster, program, role="bank", key=folder / "bank2.key") as bank:
            found: dict[str, np.ndarray] = {}
            waiting = threading.Thread(target=lambda: found.update(bureau.run(y=np.ones(3))))
            waiting.start()
            assert np.allclose(bank.run(x=np.zeros(3))["z"], W, atol=1e-3)
            waiting.join(SECONDS)
    assert np.allclose(found["z"], W, atol=1e-3)


def test_a_role_that_does_not_exist_and_values_of_others(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    with pytest.raises(mpc.InputError, match="the plan has no role 'shop'; it has bank, bureau"):
        mpc.connect(folder / "cluster.toml", program, role="shop")
    with (
        mpc.connect(folder / "cluster.toml", program, role="bank") as session,
        pytest.raises(mpc.InputError, match="y: is an input of bureau, not of bank"),
    ):
        session.run(x=np.zeros(3), y=np.zeros(3))
