"""Several machines of several roles, each with its own session, at servers that run by themselves."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
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


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    """Servers at which each role is one machine."""
    (tmp_path / "meeting.ppml").write_text(MODEL)
    mpcc(tmp_path, "init-cluster", "meeting.ppml", "--port", free_port())
    with started(tmp_path, "meeting.ppml"):
        yield tmp_path


def test_the_nth_submissions_of_all_roles_meet(alone: Path) -> None:
    folder = alone
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
        pytest.raises(
            mpc.PeerError,
            match=r"after 0.5 s no run has begun with our inputs: .* bureau for the same run",
        ),
    ):
        session.run(x=np.ones(3), meeting="one")
    with mpc.connect(folder / "cluster.toml", program, role="bank") as bank, ThreadPoolExecutor() as pool:
        later = pool.submit(bank.run, {"x": np.full(3, 2.0)}, meeting="one")
        with mpc.connect(folder / "cluster.toml", program, role="bureau", key=folder / "bureau.key") as bureau:
            bureau.provide({"w": W})
            bureau.run(y=np.ones(3), meeting="one")
        assert np.allclose(later.result(60)["z"], 2 + W, atol=1e-3)  # not the ones of the first try


def test_machines_of_one_role_meet_whom_they_have_agreed_to_meet(folder: Path) -> None:
    """Whatever the order in which they come."""
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    asked = {"bank": 1.0, "bank2": 2.0}
    answered = {"bank": 3.0, "bank2": 4.0}
    answers: dict[str, list[np.ndarray]] = {"bank": [], "bank2": []}

    def ask(name: str) -> None:
        with mpc.connect(cluster, program, role="bank", key=folder / f"{name}.key") as session:
            answers[name] += [session.run(x=np.full(3, asked[name]), meeting=f"{name} {i}")["z"] for i in range(3)]

    threads = [threading.Thread(target=ask, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    with mpc.connect(cluster, program, role="bureau") as session:
        session.provide({"w": -W})
        for i, name in ((0, "bank2"), (0, "bank"), (1, "bank"), (2, "bank"), (1, "bank2"), (2, "bank2")):
            session.run(y=np.full(3, answered[name]), meeting=f"{name} {i}")
    for thread in threads:
        thread.join(SECONDS)
    for name, x in asked.items():
        assert np.allclose(answers[name], [x * answered[name] - W] * 3, atol=1e-3)


def test_without_a_meeting_a_role_of_two_machines_is_refused(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    for role, values, other in (("bank", {"x": np.ones(3)}, "bureau"), ("bureau", {"y": np.ones(3)}, "bank")):
        with (
            mpc.connect(folder / "cluster.toml", program, role=role) as session,
            pytest.raises(mpc.PeerError, match="2 machines may speak for bank") as raised,
        ):
            session.run(values)
        assert f"agree on a name with {other}, and give it as run(..., meeting=NAME)" in str(raised.value)


def test_of_two_submissions_for_one_meeting_one_is_told_and_the_other_runs(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    with (
        mpc.connect(cluster, program, role="bank") as first,
        mpc.connect(cluster, program, role="bank", key=folder / "bank2.key") as second,
        mpc.connect(cluster, program, role="bureau") as bureau,
    ):
        bureau.provide({"w": W})

        def ask(session: mpc.Session) -> object:
            try:
                return session.run(x=np.ones(3), meeting="twice")["z"]
            except mpc.PeerError as error:
                return str(error)

        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(ask, session) for session in (first, second)]
            told = next(iter(wait(asked, timeout=SECONDS, return_when=FIRST_COMPLETED).done)).result()
            assert isinstance(told, str) and "another submission of bank waits for the same meeting" in told
            answer = bureau.run(y=np.ones(3), meeting="twice")["z"]
            kept = [found for each in asked if not isinstance(found := each.result(SECONDS), str)]
            assert len(kept) == 1 and np.array_equal(kept[0], answer)


def test_a_name_that_is_none(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    with mpc.connect(folder / "cluster.toml", program, role="bank") as session:
        for name in ("", "x" * 257, "a\nb", 7):
            with pytest.raises(mpc.InputError, match="meeting: expected a name of at most 256 characters"):
                session.run(x=np.ones(3), meeting=name)


def test_a_client_that_is_killed_after_submitting_harms_nobody(folder: Path) -> None:
    program = mpc.compile(folder / "meeting.ppml")
    cluster = folder / "cluster.toml"
    np.save(folder / "x.npy", np.full(3, 3.0))
    words = command("submit", "meeting.ppml", "--role", "bank", "--input", "x=x.npy", "--meeting", "m")
    with mpc.connect(cluster, program, role="bureau") as bureau:
        bureau.provide({"w": W})
        lost = subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = threading.Timer(SECONDS, lost.kill)
        deadline.start()
        assert lost.stderr is not None
        said = iter(lost.stderr.readline, b"")
        assert any(b"the run begins when bureau has submitted too for m" in line for line in said)
        lost.kill()
        deadline.cancel()
        lost.communicate()
        with mpc.connect(cluster, program, role="bank", key=folder / "bank2.key") as bank:
            found: dict[str, np.ndarray] = {}
            waiting = threading.Thread(target=lambda: found.update(bureau.run(y=np.ones(3), meeting="m")))
            waiting.start()
            assert np.allclose(bank.run(x=np.zeros(3), meeting="m")["z"], W, atol=1e-3)
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
