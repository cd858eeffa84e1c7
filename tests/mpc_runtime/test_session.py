"""Sessions through real processes: results, what is refused before anything is shared, and what happens when one
dies.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mpc_runtime.errors import Error, InputError, PeerError
from mpc_runtime.opening import launch_plan
from mpc_runtime.program import prepare_feed
from mpc_runtime.session import Session
from tests.mpc_runtime.plans import linear
from tests.waiting import SECONDS, all_gone, gone, in_thread

W = np.arange(12).reshape(3, 4) - 5
X = np.arange(6).reshape(2, 3)


def launch(**sizes: int) -> Session:
    return launch_plan(linear(**sizes), prepare_feed)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with launch(chain=3) as session:
        session.provide({"w": W})
        yield session


def test_a_run_is_the_product(session: Session) -> None:
    for seed in range(3):
        x = np.random.default_rng(seed).integers(-9, 9, (2, 3))
        assert (session.run(x=x)["y"] == x @ W).all()


def test_stats_count_what_the_plan_says(session: Session) -> None:
    session.run(x=X)
    stats = session.stats
    assert (stats.runs, stats.rounds, stats.setup_rounds) == (1, 4, 1)
    assert stats.online_bytes == 2 * 8 * (6 + 3 * 8)
    assert stats.setup_online_bytes == 2 * 8 * 12
    assert stats.offline_bytes == 8 * 8
    assert stats.client_bytes == 16 + 8 * 6 + 2 * 8 * 8
    assert sum(op.online_bytes for op in stats.per_op) == stats.online_bytes
    assert sum(op.offline_bytes for op in stats.per_op) == stats.offline_bytes
    assert 0 < stats.online_seconds <= stats.seconds


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_any_number_of_rows(session: Session, rows: int) -> None:
    x = np.random.default_rng(rows).integers(-9, 9, (rows, 3))
    assert (session.run_batches(x=x)["y"] == x @ W).all()
    assert session.stats.runs == -(-rows // 2)


def test_bad_input_is_refused_and_the_session_goes_on(session: Session) -> None:
    with pytest.raises(InputError, match=r"progress: expected a function of \(done, total\), found 3"):
        session.run_batches(x=X, progress=3)  # type: ignore[arg-type]
    for bad, message in (
        ({"x": X[:1]}, r"x: expected shape \[2, 3\], found \[1, 3\]"),
        ({"x": X + 2000}, r"x\[0, 0\]: expected a value in \[-1000, 1000\], found 2000"),
        ({"x": X * np.nan}, r"x\[0, 0\]: expected a finite number"),
        ({"y": X}, r"(?s)x: missing.*y: no such input; the plan has x"),
    ):
        with pytest.raises(InputError, match=message):
            session.run(**bad)
        with pytest.raises(InputError):
            session.run_batches(**bad) if "x" not in bad or bad["x"].shape == (2, 3) else session.run(**bad)
        assert (session.run(x=X)["y"] == X @ W).all()


def test_wrong_parameters_are_listed_together(session: Session) -> None:
    with pytest.raises(InputError, match=r"(?s)wrong parameters:.*w: missing.*ww: no such parameter; did you mean 'w'"):
        session.provide({"ww": W})
    with pytest.raises(InputError, match=r"w: expected shape \[3, 4\], found \[4, 3\]"):
        session.provide({"w": W.T})
    assert (session.run(x=X)["y"] == X @ W).all()


def test_new_parameters_replace_the_old(session: Session) -> None:
    session.provide({"prefix.q": -W}, rename={"prefix.q": "w"})
    assert (session.run(x=X)["y"] == -(X @ W)).all()
    session.provide({"w": W, "other": 1}, strict=False)
    assert (session.run(x=X)["y"] == X @ W).all()


def test_a_run_before_the_parameters_says_so() -> None:
    with launch() as session, pytest.raises(InputError, match=r"the parameters have not been provided.*with w"):
        session.run(x=X)
    with pytest.raises(Error, match="the session is closed"):
        session.run(x=X)


def test_closing_leaves_nothing_running() -> None:
    with launch() as session:
        pids = list(session.pids.values())
        assert len(pids) == 3
        assert not any(map(gone, pids))
    assert all(map(gone, pids))


@pytest.mark.parametrize("victim", ["p0", "p1", "dealer"])
def test_a_killed_machine_is_named_with_the_op_and_nothing_is_left(victim: str) -> None:
    with launch(chain=600) as session:
        session.provide({"w": W})
        session.run(x=X)
        pids, began = session.pids, threading.Event()

        def kill() -> None:
            assert began.wait(SECONDS)
            os.kill(pids[victim], signal.SIGKILL)

        in_thread(kill)
        with pytest.raises(PeerError, match=f"{victim} was killed by SIGKILL") as caught:
            while True:
                session.run(x=X)
                began.set()
        assert caught.value.peer == victim
        if victim != "dealer":  # the dealer may be missed between two executions
            between = re.fullmatch(r"(dealing )?run \d+|between executions", caught.value.op)  # ended, or not begun
            assert between or "linear.ppml:3" in caught.value.op
        assert all(map(gone, pids.values()))
        with pytest.raises(Error, match="the session has ended"):
            session.run(x=X)


@pytest.mark.slow
def test_a_machine_that_stops_without_dying_is_noticed() -> None:
    with launch(chain=600) as session:
        session.provide({"w": W})
        os.kill(session.pids["p1"], signal.SIGSTOP)
        with pytest.raises(PeerError, match="p1 is gone"):  # where nobody notices, p0 gives up with other words
            session.run(x=X)


PARENT = """
    import sys
    sys.path.insert(0, {top!r})
    from tests.mpc_runtime.plans import linear
    from mpc_runtime.program import prepare_feed
    from mpc_runtime.opening import launch_plan
    import numpy as np
    if __name__ == "__main__":
        with launch_plan(linear(chain=600), prepare_feed) as session:
            session.provide({{"w": np.ones((3, 4))}})
            print(*session.pids.values(), flush=True)
            while True:
                session.run(x=np.ones((2, 3)))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT).format(top=str(Path(__file__).resolve().parents[2])))
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 3
    os.killpg(parent.pid, how)
    parent.wait(SECONDS)
    parent.stdout.close()
    assert all_gone(pids)
