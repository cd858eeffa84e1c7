"""`mpcc train`: all on this machine, from files to files."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import mpc_runtime as mpc
from tests.terminal import command, environment, mpcc
from tests.trained import LOGISTIC, people

MEASURED = (
    LOGISTIC.replace("output loss to shop", "output loss to shop\n    metric accuracy to bank")
    .replace("|> fc", "|> norm |> fc")
    .replace("layer fc = dense(1)", "layer fc = dense(1)\nlayer norm = batchnorm()")
)
"""By the statistics of each batch in its steps."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "churn.ppml").write_text(MEASURED)
    (tmp_path / "plain.ppml").write_text(LOGISTIC.partition("train {")[0])
    for name, rows in people(50).items():
        np.save(tmp_path / f"{name}.npy", rows)
        np.save(tmp_path / f"other_{name}.npy", rows[:20])
    return tmp_path


VALIDATION = [word for name in ("visits", "debts", "left") for word in ("--validation", f"{name}=other_{name}.npy")]
FILES = ("--input", "visits=visits.npy", "--input", "debts=debts.npy", "--input", "left=left.npy")


def test_weights_are_trained_and_written(folder: Path) -> None:
    options = ("--epochs", "2", "--seed", "4", "--output", "weights=trained.safetensors", "--json", "--resume", "kept")
    done = mpcc(folder, "train", "churn.ppml", *FILES, *VALIDATION, "--patience", "5", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["seed"], told["resumed"], told["steps"], len(told["epochs"])) == (4, 0, 6, 2)
    program = mpc.compile(text=MEASURED)
    others = {name: rows[:20] for name, rows in people(50).items()}
    clear = program.reference_fit(people(50), program.initial_weights(4), epochs=2, seed=4, validation=others)
    assert [epoch["metrics"] for epoch in told["epochs"]] == [
        {name: pytest.approx(values[place], abs=1e-9) for name, values in clear.metrics.items()} for place in (0, 1)
    ]
    assert told["stopped"] is False
    assert told["epochs"][1]["outputs"]["loss"] == pytest.approx(clear.losses[3:].mean(), rel=1e-3)
    for name, array in load_file(folder / "trained.safetensors").items():
        assert np.abs(array - clear.weights[name]).max() < 1e-3
    assert (folder / "kept" / "p0").is_dir() and (folder / "kept" / "roles" / "shop.key").is_file()


def test_what_cannot_be_trained_is_said_without_a_traceback(folder: Path) -> None:
    for words, said in (
        (("plain.ppml", *FILES), "the model churn has no `train` block, so it cannot be trained"),
        (("churn.ppml", *FILES, "--output", "risk=risk.npy"), "no such output; the plan has weights"),
        (("churn.ppml", *FILES[:4]), "left"),
    ):
        done = mpcc(folder, "train", *words)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["w.npy", "weights=w.csv", "weights=nosuch/w.npz", "weights=folder.npz"])
def test_weights_that_no_file_could_take_are_not_trained(folder: Path, file: str) -> None:
    (folder / "folder.npz").mkdir()
    done = mpcc(folder, "train", "churn.ppml", *FILES, "--output", file)
    assert done.returncode == 1 and "epoch" not in done.stderr
    path = file.removeprefix("weights=")
    one = f"error: {path}: a {Path(path).suffix} file holds one array, not 6; use .npz or .safetensors"
    assert one in done.stderr or f"error: {path}: cannot be written: " in done.stderr


def test_a_run_has_no_output_of_a_training(folder: Path) -> None:
    """It is refused before anything runs, here without weights; and what a training sends needs no room in a file."""
    weights = mpc.compile(text=MEASURED).initial_weights(1)
    np.savez(folder / "w.npz", **weights)
    files = ("--input", "visits=visits.npy", "--input", "debts=debts.npy")
    done = mpcc(folder, "run", "churn.ppml", *files, "--output", "loss=loss.npy")
    assert done.returncode == 1 and "--output loss: no such output; the plan has risk" in done.stderr
    done = mpcc(folder, "run", "churn.ppml", *files, "--param", "w.npz", "--output", "risk.npy")
    assert done.returncode == 0 and np.load(folder / "risk.npy").shape == (50, 1)


def test_training_goes_on_from_its_last_checkpoint_and_shows_the_weights(folder: Path) -> None:
    options = ("--seed", "4", "--resume", "kept", "--check-every", "2")
    first = mpcc(folder, "train", "churn.ppml", *FILES, "--epochs", "1", *options)
    assert first.returncode == 0 and "began with the first step" in first.stderr
    assert "fc.weight [1, 5]" in first.stdout and "fc.bias [1]" in first.stdout
    second = mpcc(folder, "train", "churn.ppml", *FILES, "--epochs", "3", *options)
    assert second.returncode == 0 and "went on from step 3" in second.stderr
    again = mpcc(folder, "train", "churn.ppml", *FILES, "--epochs", "3", *options)
    assert again.returncode == 0 and "went on from step 9" in again.stderr and "epoch" not in again.stderr
    assert "fc.weight [1, 5]" in again.stdout


def test_an_epoch_is_told_when_it_is_over(folder: Path) -> None:
    """One line on standard error, also where that is a pipe."""
    words = command("train", "churn.ppml", *FILES, "--epochs", "200", "--output", "weights=w.npz")
    with subprocess.Popen(words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        told = training.stderr.readline()
        assert training.poll() is None
        training.send_signal(signal.SIGINT)
        rest = training.stderr.read()
    number = r"[0-9.e+-]+"
    assert re.fullmatch(rf"epoch 1: 3 steps in {number} s, loss {number}, accuracy {number}\n", told)
    assert training.returncode == 130 and "Traceback" not in rest
