"""Private training in real processes: rows are drawn, steps are charged, and what cannot hide a row is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.privacy import accountant
from mpc_runtime.privacy.accountant import Event, capacity
from tests.trained import LOGISTIC, people

PRIVATE = LOGISTIC.replace("    output loss to shop\n", "    privacy = dp(clip=1.0, noise=1.1, delta=1e-5)\n")
PRIVATE = PRIVATE.replace("lr=0.5, momentum=0.75", "lr=0.05")
PROGRAM = mpc.compile(text=PRIVATE)
ROWS = people(64)
needs_accountant = pytest.mark.skipif(not accountant.installed(), reason="dp-accounting is not installed")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mpc.Session]:
    with mpc.launch(PROGRAM, data_dir=tmp_path_factory.mktemp("data")) as found:
        found.provide(PROGRAM.initial_weights(1))
        yield found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dp-accounting too, this process trains: what the parties count is theirs."""
    monkeypatch.setattr("mpc_runtime.privacy.accountant.installed", lambda: True)


@pytest.mark.usefixtures("counted")
def test_rows_are_drawn_and_weights_are_released(session: mpc.Session) -> None:
    history = session.fit(ROWS, epochs=2, dataset="one")
    assert (history.steps, history.seed, history.outputs) == (8, None, {})
    assert history.drawn is not None and history.drawn.draws.made == 8
    trained, start = session.finish(), PROGRAM.initial_weights(1)
    assert max(np.abs(trained[name] - start[name]).max() for name in start) > 2**-12
    assert session.run_batches(visits=ROWS["visits"], debts=ROWS["debts"])["risk"].shape == (64, 1)


@pytest.mark.usefixtures("counted")
def test_what_would_tell_more_is_refused(session: mpc.Session) -> None:
    for call, said in (
        (lambda: session.fit(ROWS, seed=3), "seed: under `privacy` rows are drawn at random"),
        (lambda: session.train(people(16)), "give all of them to fit"),
        (lambda: session.fit(people(15)), "at least as many rows as a batch has, 16, found 15"),
        (lambda: session.fit(ROWS, validation=ROWS), "tells no metric of validation rows"),
    ):
        with pytest.raises(mpc.InputError, match=said):
            call()


@pytest.mark.usefixtures("counted")
def test_a_budget_that_is_used_up_ends_training_before_the_step(session: mpc.Session) -> None:
    """Without an accountant at the parties, none of it can be counted, and so nothing is computed."""
    session.limit("tight", 1e-9, 1e-12, role="shop")
    before = session.finish()
    with pytest.raises(mpc.BudgetError, match="the dataset 'tight' of shop"):
        session.fit(ROWS, dataset="tight")
    after = session.finish()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    session.fit(ROWS, dataset={"shop": "free"})


@needs_accountant
def test_every_step_is_charged_to_the_datasets_of_its_owners(session: mpc.Session) -> None:
    history = session.fit(ROWS, dataset="charged")
    step = Event("sampled", delta=1e-5, multiplier=1.1, rows=64, batch=16, most=capacity(16))
    expected, _ = accountant.composed({step: 4}, 1e-5)
    for role in ("shop", "bank"):
        assert session.spent("charged", role=role).epsilon == pytest.approx(expected)
    epsilon = history.epsilon
    assert epsilon is not None and epsilon.outputs == pytest.approx(expected)
    assert epsilon.party > epsilon.outputs and "towards receivers" in str(epsilon)
    assert session.privacy is not None and session.privacy.training == epsilon
    session.limit("charged", expected * 1.01, 1e-5, role="shop")
    with pytest.raises(mpc.BudgetError, match=r"of shop has spent epsilon .* by dp-accounting"):
        session.fit(ROWS, epochs=8, dataset="charged")
    assert session.spent("charged", role="shop").epsilon == pytest.approx(expected)


@pytest.mark.skipif(accountant.installed(), reason="dp-accounting is installed")
def test_without_an_accountant_nothing_is_trained(session: mpc.Session) -> None:
    with pytest.raises(mpc.InputError, match=r"pip install 'mpc-runtime\[dp\]'"):
        session.fit(ROWS)


@pytest.mark.usefixtures("counted")
def test_training_goes_on_from_a_checkpoint_with_other_draws(tmp_path: Path) -> None:
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        session.provide(PROGRAM.initial_weights(1))
        assert session.fit(ROWS, epochs=2, checkpoint="a", check_every=3).steps == 8
        history = session.fit(ROWS, epochs=3, checkpoint="a", check_every=3, resume=True)
        assert (history.resumed, history.steps) == (8, 4)


def test_the_twin_clips_and_learns() -> None:
    start = PROGRAM.initial_weights(1)
    found = PROGRAM.reference_fit(ROWS, start, epochs=30, seed=2)
    assert len(found.losses) == 120 and found.losses[-20:].mean() < 0.8 * found.losses[:20].mean()
    moved = max(np.abs(found.weights[name] - start[name]).max() for name in start)
    assert moved <= 120 * 0.05 * 40 / 16


def test_the_manifest_says_what_hides_rows_and_who_knows_the_draws() -> None:
    told = "\n".join(PROGRAM.leakage)
    for words in (
        "each row moves the sum of the gradients of a step of training by at most 1 in L2",
        "draws every row with the chance 16 / (number of rows), at most 40",
        "which it has drawn is known to shop and bank and to no other machine",
        "both epsilons of training at delta 1e-05",
        "the dealer knows the noise of training",
        "these bits are outside epsilon",
    ):
        assert words in told
