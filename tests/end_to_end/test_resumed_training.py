"""Training that goes on behind a server that was killed: from a checkpoint, as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.twin import Twin
from mpc_runtime.roles.epochs import batches_of, order
from tests.trained import LOGISTIC, people

TOP = Path(__file__).parents[2]
ROWS, SEED, EPOCHS = 16, 7, 3
RATE = 0.5
PROGRAM = mpc.compile(text=LOGISTIC)
DATA = people(4 * ROWS)
START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}
OPTIONS = {"epochs": EPOCHS, "checkpoint": "a", "check_every": 2, "resume": True}


def shares(folder: Path, party: str) -> dict[int, bytes]:
    """The files of a party's checkpoints, by their steps."""
    return {int(path.stem): path.read_bytes() for path in (folder / party / "checkpoints").glob("*/*.checkpoint")}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder behind a whole training, for `trained` to copy."""
    folder = tmp_path_factory.mktemp("trained")
    with mpc.launch(PROGRAM, data_dir=folder) as session:
        session.provide(START)
        session.fit(DATA, seed=SEED, **OPTIONS)
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained_once, tmp_path / "data")


def journaled(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Has servers write down the keys of their executions, and what they send each other."""
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(TOP), str(TOP / "tests/journaled"), known)))
    monkeypatch.setenv("MPC_JOURNAL", str(path))


@pytest.mark.parametrize("victim", [pytest.param("p0", marks=pytest.mark.long), "p1"])
def test_a_killed_party_costs_the_steps_since_the_last_checkpoint(
    tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled(monkeypatch, tmp_path / "journal")
    clear = PROGRAM.reference_fit(DATA, START, epochs=EPOCHS, seed=SEED)
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        session.provide(START)

        def kill(done: int, total: int) -> None:
            if done == 7:
                os.kill(session.pids[victim], signal.SIGKILL)

        with pytest.raises(mpc.PeerError, match=f"{victim} was killed"):
            session.fit(DATA, seed=SEED, progress=kill, **OPTIONS)
    before = shares(tmp_path, "p0")
    assert len(before) == len(shares(tmp_path, "p1")) == 2, "two are kept"
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        session.provide({"fc.weight": np.ones((1, 5)) / 2, "fc.bias": np.zeros(1)})  # what was trained replaces them
        history = session.fit(DATA, **OPTIONS)
        weights = session.finish()
    assert history.seed == SEED and 4 <= history.resumed <= 8
    assert history.resumed + history.steps == len(clear.losses)
    assert np.allclose(history.outputs["loss"], clear.losses[history.resumed :], rtol=1e-2)
    for name, array in weights.items():
        assert np.abs(array - clear.weights[name]).max() < 1e-3
    made = {step: file for step, file in shares(tmp_path, "p0").items() if step > history.resumed}
    assert made and not set(made.values()) & set(before.values())
    used = Counter(line for line in (tmp_path / "journal").read_text().splitlines() if not line.startswith("record"))
    assert {line.split()[0] for line in used} == {"key", "message"} and set(used.values()) == {1}, "a word twice"


def test_training_with_a_metric_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Its sum is a scalar among the shares that are kept. The epoch in which training goes on counts as a whole one."""
    program = mpc.compile(text=LOGISTIC.replace("output loss to shop", "metric accuracy to shop"))
    clear = program.reference_fit(DATA, START, epochs=EPOCHS, seed=SEED)
    with mpc.launch(program, data_dir=tmp_path) as session:
        session.provide(START)
        session.fit(DATA, seed=SEED, **{**OPTIONS, "epochs": 2, "check_every": 3})
    for last in tmp_path.glob("p?/checkpoints/*/*8.checkpoint"):
        last.unlink()
    with mpc.launch(program, data_dir=tmp_path) as session:
        session.provide(START)
        history = session.fit(DATA, **OPTIONS)
        weights = session.finish()
    assert history.resumed == 6 and history.metrics["accuracy"] == clear.metrics["accuracy"][1:]
    for name, array in weights.items():
        assert np.abs(array - clear.weights[name]).max() < 1e-3


def test_the_last_step_is_kept_and_more_epochs_go_on_from_it(trained: Path) -> None:
    """A training that is complete is found complete; what it would release is released."""
    for epochs, resumed in ((EPOCHS, 12), (EPOCHS + 1, 12), (EPOCHS + 1, 16)):
        clear = PROGRAM.reference_fit(DATA, START, epochs=epochs, seed=SEED)
        with mpc.launch(PROGRAM, data_dir=trained) as session:
            session.provide({"fc.weight": np.ones((1, 5)) / 2, "fc.bias": np.zeros(1)})
            history = session.fit(DATA, **{**OPTIONS, "epochs": epochs, "check_every": 50})
            assert (history.resumed, history.steps) == (resumed, 4 * epochs - resumed)
            for name, array in session.finish().items():
                assert np.abs(array - clear.weights[name]).max() < 1e-3
            assert session.run(visits=DATA["visits"][:16], debts=DATA["debts"][:16])["risk"].shape == (16, 1)


def test_a_training_that_ended_early_is_kept(tmp_path: Path) -> None:
    program = mpc.compile(text=LOGISTIC.replace("lr=0.5", "lr=1e-6").replace("output loss", "metric accuracy"))
    with mpc.launch(program, data_dir=tmp_path) as session:
        session.provide(START)
        history = session.fit(DATA, seed=SEED, patience=1, **OPTIONS)
        assert history.stopped and history.steps == 8
    assert max(shares(tmp_path, "p0")) == max(shares(tmp_path, "p1")) == 8


def test_checkpoints_belong_to_a_model_its_rows_and_its_optimizer(trained: Path) -> None:
    with mpc.launch(PROGRAM, data_dir=trained) as session:
        session.provide(START)
        for changed, message in (
            ({"seed": 8}, "seed: the checkpoint 'a' is of a training with the seed 7, found 8"),
            ({"epochs": 1}, "the checkpoint 'a' is after 12 steps, and this call is for 4; ask for more epochs"),
            ({"debts": -DATA["debts"]}, "the checkpoint 'a' is of other rows of bank"),
            ({"checkpoint": None}, "resume: say from which checkpoint"),
            ({"check_every": 0}, "check_every: expected a whole number from 1, found 0"),
            ({"checkpoint": ""}, "checkpoint: expected a name"),
        ):
            with pytest.raises(mpc.InputError, match=message):
                session.fit(**{**DATA, **OPTIONS, **changed})
        assert session.fit(DATA, **{**OPTIONS, "checkpoint": "b", "epochs": 1}).resumed == 0
    other = LOGISTIC.replace("sgd(lr=0.5, momentum=0.75)", "adam(lr=0.05)")
    with mpc.launch(mpc.compile(text=other), data_dir=trained) as session:
        session.provide(START)
        with pytest.raises(mpc.Error, match="the checkpoint 'a'"):
            session.fit(DATA, **OPTIONS)
    with mpc.launch(mpc.compile(text=LOGISTIC.replace("sigmoid(score)", "tanh(score)")), data_dir=trained) as session:
        session.provide(START)
        with pytest.raises(mpc.InputError, match=r"the checkpoint 'a' at step \d+ is of another model than churn"):
            session.fit(DATA, **OPTIONS)


@pytest.mark.parametrize("lr", [0.25, 0.03])
def test_training_goes_on_at_another_rate(trained: Path, lr: float) -> None:
    """A momentum is held with the mantissa of the rate in it, which is multiplied where that changes."""
    training = PROGRAM.stages.lowered.training
    clear = Twin(training.loss, training.optimizer, START)
    batches = list(batches_of(PROGRAM.plan, DATA, EPOCHS + 1, SEED))
    losses = [clear.train(batch, 0.5 if step < 12 else lr) for step, batch in enumerate(batches)]
    with mpc.launch(mpc.compile(text=LOGISTIC.replace("lr=0.5", f"lr={lr}")), data_dir=trained) as session:
        session.provide(START)
        history = session.fit(DATA, **{**OPTIONS, "epochs": EPOCHS + 1})
        assert history.resumed == 12
        assert np.allclose(history.outputs["loss"], losses[12:], rtol=1e-3)
        for name, array in session.finish().items():
            assert np.abs(array - clear.params[name]).max() < 1e-3


def test_a_rate_that_needs_more_bits_than_a_checkpoint_has_is_refused(tmp_path: Path) -> None:
    large = LOGISTIC.replace("lr=0.5", "lr=8")
    with mpc.launch(PROGRAM, data_dir=tmp_path) as session:
        session.provide(START)
        session.fit(DATA, seed=SEED, **OPTIONS)
    with mpc.launch(mpc.compile(text=large), data_dir=tmp_path) as session:
        session.provide(START)
        with pytest.raises(mpc.Error, match=r"holds `fc.weight` in 41 bits, and this plan needs 43; go on at the rate"):
            session.fit(DATA, **OPTIONS)


def test_no_checkpoint_is_kept_of_a_step_that_broke_a_limit(tmp_path: Path) -> None:
    """Signals are told one step later than the rest; a checkpoint waits for them."""
    last = order(SEED, 0, 4 * ROWS)[3 * ROWS :]  # rows of the fourth step
    far = last[np.argmax(np.abs(DATA["visits"] @ [1.0, -1.0, 0.5] + DATA["debts"] @ [2.0, 0.0])[last])]
    data = {**DATA, "left": DATA["left"].copy()}
    data["left"][far] = 1 - data["left"][far]  # which nothing has said before
    zeros = {"fc.weight": np.zeros((1, 5)), "fc.bias": np.zeros(1)}
    training = PROGRAM.stages.lowered.training
    clear = Twin(training.loss, training.optimizer, zeros)
    signals = []
    for batch in list(batches_of(PROGRAM.plan, data, 1, SEED)):
        x = np.concatenate([batch["visits"], batch["debts"]], axis=1)
        risk = 1 / (1 + np.exp(-(x @ clear.params["fc.weight"].T + clear.params["fc.bias"])))
        signals.append(float(np.abs(risk - batch["left"]).max()))
        clear.train(batch, RATE)
    assert signals[3] > max(signals[:3]) + 0.1
    most = (signals[3] + max(signals[:3])) / 2
    program = mpc.compile(text=LOGISTIC.replace("optimizer =", f"limits = norms(signals={most:.3f})\n    optimizer ="))
    with mpc.launch(program, data_dir=tmp_path) as session:
        session.provide(zeros)
        with pytest.raises(mpc.RangeError) as caught:
            session.fit(data, seed=SEED, **{**OPTIONS, "check_every": 1})
    assert re.fullmatch(r"norm of the signals of fc \(line \d+\) at most 0\.\d+", caught.value.tensor)  # no other limit
    for party in ("p0", "p1"):
        assert max(shares(tmp_path, party)) == 3


def test_training_goes_on_from_every_checkpoint_at_a_smaller_rate(tmp_path: Path) -> None:
    """The parameters of a checkpoint are within their limits, though only the step behind it would use them."""
    training = PROGRAM.stages.lowered.training
    clear, norms = Twin(training.loss, training.optimizer, START), []
    for batch in batches_of(PROGRAM.plan, DATA, EPOCHS, SEED):
        clear.train(batch, RATE)
        norms.append(float(np.sqrt((clear.params["fc.weight"] ** 2).sum())))
    assert norms[4] > max(norms[:4]) * 1.05
    limits = f"limits = norms(weights={(norms[4] + max(norms[:4])) / 2:.3f})\n    optimizer ="
    narrow = LOGISTIC.replace("optimizer =", limits)
    with mpc.launch(mpc.compile(text=narrow), data_dir=tmp_path) as session:
        session.provide(START)
        with pytest.raises(mpc.RangeError, match=r"norm of fc.weight"):
            session.fit(DATA, seed=SEED, **{**OPTIONS, "check_every": 1})
    assert max(shares(tmp_path, "p0")) == 4
    with mpc.launch(mpc.compile(text=narrow.replace("lr=0.5", "lr=0.001")), data_dir=tmp_path) as session:
        session.provide(START)
        history = session.fit(DATA, **{**OPTIONS, "check_every": 1, "epochs": 2})
    assert history.resumed == 4 and history.steps == 4


def test_without_a_data_folder_there_is_no_checkpoint() -> None:
    with mpc.launch(PROGRAM) as session:
        session.provide(START)
        with pytest.raises(mpc.InputError, match=r"p0 keeps no checkpoints, .*`launch\(program, data_dir=…\)`"):
            session.fit(DATA, **OPTIONS)
        assert session.fit(DATA).steps == 4
