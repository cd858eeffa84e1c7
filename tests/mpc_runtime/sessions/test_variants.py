"""In which batches many rows are computed: right for every number of rows, soon no slower than a good batch, and never
in a way that changes what a row means.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpc_runtime as mpc
from mpc_runtime.errors import PerformanceWarning
from mpc_runtime.program import at_batch
from mpc_runtime.sessions import variants
from mpc_runtime.sessions.deployed import Deployment
from mpc_runtime.sessions.variants import Variants, free_memory
from tests.mpc_runtime.plans import linear
from tests.waiting import all_gone, at_once, in_thread, interrupt_run

MODEL = """model scores
role client, modeller
dim batch = 1
input x : [batch, 3] from client in [-4, 4]
layer fc = dense(2)
weights from modeller in [-1, 1]
shift = x |> fc
output y = shift |> relu to client
output top = argmax(shift, axis=1) to client
"""
PROGRAM = mpc.compile(text=MODEL)
WEIGHTS = {"fc.weight": np.array([[0.5, -0.25, 1.0], [-0.5, 0.75, 0.25]]), "fc.bias": np.array([0.25, -0.5])}


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-16, 16, (n, 3)) / 4


def assert_right(found: dict[str, np.ndarray], x: np.ndarray, sign: float = 1.0) -> None:
    shift = sign * (x @ WEIGHTS["fc.weight"].T + WEIGHTS["fc.bias"])
    assert np.abs(found["y"] - np.maximum(shift, 0)).max() < 1e-3
    clear = np.abs(shift[:, 0] - shift[:, 1]) > 1e-3
    assert (found["top"] == shift.argmax(1))[clear].all()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are started as soon as they would save anything."""
    monkeypatch.setattr(variants, "START_SECONDS", 0.0)


# -- the choice ---------------------------------------------------------------------------------------------------


class Fake(Deployment):
    """Servers that need not run for a choice among them."""

    def __init__(self, plan: mpc.program.Plan) -> None:  # type: ignore[name-defined]
        self.plan = plan
        self.processes = None
        self.closed = False

    def close(self) -> None:
        self.closed = True


def plan(batch: int) -> mpc.program.Plan:  # type: ignore[name-defined]
    return linear(batch=batch)


def size(deployment: Deployment) -> int:
    return dict(deployment.plan.dims)["batch"]


def test_a_start_is_paid_by_what_it_saves() -> None:
    found = Variants(Fake(plan(1)), plan, Fake)
    assert size(found.best(100)) == 1  # some 0.3 s in runs of one row
    calls = 1
    while size(found.best(100)) == 1:  # the same again and again adds up
        calls += 1
        assert calls < 100
    assert calls > 1
    assert size(Variants(Fake(plan(1)), plan, Fake).best(100_000)) > 1000
    assert size(Variants(Fake(plan(1000)), plan, Fake).best(1)) == 1000


@given(batch=st.integers(1, 3000), counts=st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
def test_the_choice_is_never_much_slower_than_the_best_fixed_batch(batch: int, counts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "START_SECONDS", 0.0)  # the start is paid for
        found = Variants(Fake(plan(batch)), plan, Fake)
        for count in counts:
            chosen = found.seconds(count, size(found.best(count)))
            best = min(found.seconds(count, each) for each in {*np.geomspace(1, count, 50).astype(int).tolist(), count})
            assert chosen <= 1.5 * best
            assert len(found.all) <= 1 + variants.KEPT
            assert found.all[0] is found.base


def test_what_is_used_stays_and_what_is_not_goes(eager: None) -> None:
    found = Variants(Fake(plan(1)), plan, Fake)
    first = found.best(100_000)
    second = found.best(10)
    third = found.best(300)
    assert len({size(each) for each in (first, second, third)}) == 3
    assert found.all == [found.base, second, third] and first.closed and not second.closed  # type: ignore[attr-defined]

    class User:
        pass

    users = [User(), User()]
    found.use(users[0], second)  # type: ignore[arg-type]
    found.use(users[1], third)  # type: ignore[arg-type]
    assert found.best(100_000) in (second, third, found.base)
    assert not second.closed and not third.closed  # type: ignore[attr-defined]
    found.close()
    assert found.all == [] and third.closed  # type: ignore[attr-defined]


def test_memory_that_is_not_there_is_not_taken(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = size(Variants(Fake(plan(1)), plan, Fake).best(100_000))
    enough = variants.SERVERS * variants.cost(plan(whole // 3)).peak_memory / variants.MEMORY_SHARE
    monkeypatch.setattr(variants, "free_memory", lambda: enough)
    assert 1 < size(Variants(Fake(plan(1)), plan, Fake).best(100_000)) < whole / 2
    monkeypatch.setattr(variants, "free_memory", lambda: 1e6)
    assert size(Variants(Fake(plan(1)), plan, Fake).best(100_000)) == 1


def test_free_memory_is_some_of_what_the_machine_has() -> None:
    assert 1e6 < free_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_session_that_has_to_do_without_says_once_what_would_be_better() -> None:
    def none(_: int) -> mpc.program.Plan:  # type: ignore[name-defined]
        raise mpc.Error("no source")

    for found in (Variants(Fake(plan(1)), plan), Variants(Fake(plan(1)), none, Fake)):
        with pytest.warns(PerformanceWarning, match=r"10000 rows take 10000 runs.*--dim batch=10240") as caught:
            for _ in range(3):
                assert found.best(10_000) is found.base
        assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Variants(Fake(plan(1)), plan).best(10)  # too few to speak of
        Variants(Fake(plan(1000)), plan).best(10_000)


# -- what a row means ---------------------------------------------------------------------------------------------

HEAD = "model m\nrole a\ndim batch = 1\ninput x : [batch, 4] from a in [-2, 2]\n"
ALIKE = [
    "output y = x |> flatten |> relu to a",
    "output y = reshape(x, [batch, 2, 2]) + 1 to a",
    "output y = x[:, 1:3] * 0.5 to a",
    "output y = softmax(x * x) to a",
    "output y = x - mean(x, axis=1, keepdims=true) to a",
]
OTHERWISE = [
    "output y = x / batch to a",
    "output y = x * x.shape[0] to a",
    "output y = x + 1 / (batch + 1) to a",
    "output y = clip(x, 0, batch) to a",
    "output y = mean(x, axis=0) to a",
    "output y = x - mean(x, axis=0) to a",
    "h = x\nfor i in 0..batch { h = h + 1 }\noutput y = h to a",
]


@pytest.mark.parametrize("text", ALIKE)
def test_a_model_that_computes_row_by_row_may_be_compiled_for_another_batch(text: str) -> None:
    program = mpc.compile(text=HEAD + text)
    x = np.random.default_rng(0).uniform(-2, 2, (8, 4))
    apart = np.concatenate([program.reference({"x": row[None]})["y"] for row in x])
    plan = at_batch(program, 8)
    assert plan is not None
    other = mpc.program.Program(plan)
    assert np.allclose(other.reference({"x": x})["y"], apart)


@pytest.mark.parametrize("text", OTHERWISE)
def test_a_model_that_means_something_else_for_another_batch_is_not(text: str) -> None:
    program = mpc.compile(text=HEAD + text)
    assert at_batch(program, 8) is None
    found = Variants(Fake(program.plan), partial(at_batch, program), Fake)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.best(10_000) is found.base  # and nobody is told to compile it for another batch


# -- in a session -------------------------------------------------------------------------------------------------


@pytest.fixture
def session(eager: None) -> Iterator[mpc.Session]:
    with mpc.launch(PROGRAM) as session:
        session.provide(WEIGHTS)
        yield session


def test_any_number_of_rows_through_servers_of_its_own(session: mpc.Session) -> None:
    seen: list[tuple[int, int]] = []
    for n in (1, 1000, 2, 5000, 37):
        seen.clear()
        assert_right(session.run_batches(x=rows(n), progress=lambda done, of: seen.append((done, of))), rows(n))
        assert seen == sorted(seen) and seen[-1] == (n, n) and {of for _, of in seen} == {n}
        assert len(seen) == session.stats.runs <= max(1, n / 30)
        assert_right(session.run(x=rows(1)), rows(1))
    pids = session.pids
    assert len(pids) == len(set(pids.values())) == 3 * (1 + variants.KEPT)
    session.close()
    assert all_gone(list(pids.values()))


def test_new_parameters_reach_all_servers(session: mpc.Session) -> None:
    assert_right(session.run_batches(x=rows(1000)), rows(1000))
    session.provide({name: -value for name, value in WEIGHTS.items()})
    assert_right(session.run_batches(x=rows(1000)), rows(1000), -1.0)
    assert_right(session.run(x=rows(1)), rows(1), -1.0)
    session.provide(WEIGHTS)
    assert_right(session.run_batches(x=rows(1000)), rows(1000))


def test_threads_with_different_numbers_of_rows(session: mpc.Session) -> None:
    def ask(n: int) -> None:
        for seed in range(3):
            assert_right(session.run_batches(x=rows(n, seed)), rows(n, seed))

    assert at_once(*(lambda n=n: ask(n) for n in (1, 30, 100, 3000))) == [None] * 4


def test_a_wrong_row_is_refused_before_servers_are_started(session: mpc.Session) -> None:
    x = rows(5000)
    x[4321, 2] = 5
    with pytest.raises(mpc.InputError, match=r"x\[4321, 2\]: expected a value in \[-4, 4\], found 5"):
        session.run_batches(x=x)
    assert len(session.pids) == 3


def test_servers_for_another_batch_that_die_are_named(session: mpc.Session) -> None:
    session.run_batches(x=rows(5000))
    pids = session.pids
    victim = next(name for name in pids if name.startswith("p0, batch"))
    os.kill(pids[victim], signal.SIGKILL)
    with pytest.raises(mpc.PeerError, match="p0 was killed by SIGKILL"):
        session.run_batches(x=rows(5000))
    assert all_gone(list(pids.values()))


def test_they_go_with_the_last_reference(eager: None) -> None:
    session = mpc.launch(PROGRAM)
    session.provide(WEIGHTS)
    session.run_batches(x=rows(1000))
    pids = list(session.pids.values())
    assert len(pids) == 6
    del session
    gc.collect()
    assert all_gone(pids)


def test_a_loaded_plan_and_one_without_source(eager: None, tmp_path: os.PathLike[str]) -> None:
    from dataclasses import replace

    PROGRAM.save(f"{tmp_path}/plan")
    with mpc.launch(mpc.load(f"{tmp_path}/plan")) as session:
        session.provide(WEIGHTS)
        assert_right(session.run_batches(x=rows(1000)), rows(1000))
        assert len(session.pids) == 6
    with mpc.launch(mpc.program.Program(replace(PROGRAM.plan, source=""))) as session:
        session.provide(WEIGHTS)
        with pytest.warns(PerformanceWarning, match="--dim batch=") as caught:
            assert_right(session.run_batches(x=rows(60)), rows(60))
        assert caught[0].filename == __file__  # the caller's line, not one of the package
        assert len(session.pids) == 3


# -- what is done is not lost -------------------------------------------------------------------------------------


def test_an_error_carries_the_rows_that_are_done() -> None:
    text = "model m\nrole a\ndim batch = 2\ninput x : [batch] from a in [-4, 4]\nroot = sqrt(x + 0) in [0, 1]\n"
    text += "output y = root to a\n"
    x = np.array([0.25, 0.5, 0.75, 1, 1, 4, 0, 0])
    with mpc.launch(mpc.compile(text=text)) as session:
        with pytest.raises(mpc.InputError) as caught:
            session.run_batches(x=x)
        assert caught.value.done_rows == 4
        assert np.allclose(caught.value.partial["y"], np.sqrt(x[:4]), atol=1e-3)
        assert np.allclose(session.run_batches(x=x[:4])["y"], np.sqrt(x[:4]), atol=1e-3)
        with pytest.raises(mpc.InputError) as caught:
            session.run_batches(x=x + 9)
        assert (caught.value.done_rows, caught.value.partial) == (0, {})


def test_a_lost_machine_and_an_interrupt_leave_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "START_SECONDS", float("inf"))  # in runs of one row
    for how, error in (("p1", mpc.PeerError), ("", mpc.Interrupted)):
        with mpc.launch(PROGRAM) as session:
            session.provide(WEIGHTS)
            pids = session.pids
            x = rows(100_000)

            def report(done: int, of: int, pids: dict[str, int] = pids, how: str = how) -> None:
                if done == 50 and how:
                    os.kill(pids[how], signal.SIGKILL)
                elif done == 50:
                    in_thread(lambda: interrupt_run(pids["p1"]))

            with pytest.raises(error) as caught:
                session.run_batches(x=x, progress=report)
            done = caught.value.done_rows  # type: ignore[union-attr]
            assert 50 <= done < len(x)
            partial = dict(caught.value.partial)  # type: ignore[union-attr]
            assert len(partial["y"]) == done
            assert_right(partial, x[:done])
            assert all_gone(list(pids.values()))
    assert issubclass(mpc.Interrupted, KeyboardInterrupt)
