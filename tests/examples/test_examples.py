"""Every example runs privately in real processes, agrees with plaintext, and costs what its plan says.

The plaintext of each model is `program.reference`; its meaning has tests of its own.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import examples
import mpc_runtime as mpc
from examples.seeds.photos import draw
from tests.waiting import SECONDS

FOLDER = Path(examples.__file__).parent
TOLERANCE = 2e-3  # what a model of this size may differ from float64
COUNTED = (
    "rounds", "online_bytes", "offline_bytes",
    "setup_rounds", "setup_online_bytes", "setup_offline_bytes", "client_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One example's inputs for one batch, and the result to compare."""

    name: str
    output: str
    inputs: Callable[[], dict[str, np.ndarray]]


def _digits() -> dict[str, np.ndarray]:
    data = np.load(FOLDER / "digits" / "digits.npz")
    return {"image": data["image"][:40] / data["levels"]}


def _columns(name: str, *keys: str) -> dict[str, np.ndarray]:
    data = np.load(FOLDER / name / f"{name}.npz")
    return {key: data[key] for key in keys}


EXAMPLES = (
    Example("digits", "probabilities", _digits),
    Example("seeds", "variety", lambda: {"photo": draw(4, np.random.default_rng(3))[0]}),
    Example("cancer", "malignant", lambda: _columns("cancer", "size", "texture")),
    Example("diabetes", "progression", lambda: _columns("diabetes", "x")),
)


def run(name: str, inputs: dict[str, np.ndarray]) -> tuple[mpc.Program, dict, dict, object]:
    """The program, its private and its plaintext results, and the session's stats, for one batch."""
    batch = len(next(iter(inputs.values())))
    weights = FOLDER / name / f"{name}.safetensors"
    program = mpc.compile(FOLDER / name / f"{name}.ppml", dims={"batch": batch})
    with mpc.launch(program) as session:
        session.provide(weights)
        private, stats = session.run(**inputs), session.stats
    return program, private, program.reference(inputs=inputs, params=load_file(weights)), stats


def assert_costs_what_the_plan_says(program: mpc.Program, stats: object) -> None:
    assert {key: getattr(stats, key) for key in COUNTED} == {key: getattr(program.cost, key) for key in COUNTED}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_private_results_are_the_plaintext_results(example):
    program, private, plain, stats = run(example.name, example.inputs())
    scale = max(1.0, abs(plain[example.output]).max())
    assert abs(private[example.output] - plain[example.output]).max() < TOLERANCE * scale
    assert_costs_what_the_plan_says(program, stats)


def test_the_forest_answers_as_scikit_learns_does():
    """Of patients with no measurement within a step of a threshold: others may go another way by rounding."""
    data, weights = np.load(FOLDER / "forest" / "forest.npz"), load_file(FOLDER / "forest" / "forest.safetensors")
    program, private, plain, stats = run("forest", {"patient": data["patient"]})
    seen = data["patient"][:, weights["trees.feature"]]
    clear = (np.abs(seen - weights["trees.threshold"]) > 2.0**-16).all(axis=(1, 2))
    assert clear.mean() > 0.8
    assert np.array_equal(private["malignant"][clear], data["judged"][clear])
    assert np.array_equal(private["malignant"], plain["malignant"])
    assert_costs_what_the_plan_says(program, stats)


@pytest.mark.slow
def test_lenet_predicts_what_plaintext_predicts(mnist):
    images, labels = mnist
    program, private, plain, stats = run("lenet", {"image": images[:256]})
    private, plain = private["probabilities"], plain["probabilities"]
    best = np.sort(plain, axis=1)
    clear = best[:, -1] - best[:, -2] > 0.01
    assert np.array_equal(private.argmax(axis=1)[clear], plain.argmax(axis=1)[clear])
    assert abs(private - plain).max() < TOLERANCE
    assert (plain.argmax(axis=1) == labels[:256]).mean() > 0.95
    assert_costs_what_the_plan_says(program, stats)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("digits.demo", []),
        pytest.param("seeds.demo", ["2"], marks=pytest.mark.long),
        pytest.param("cancer.demo", [], marks=pytest.mark.long),
        ("forest.demo", ["8"]),
        pytest.param("diabetes.demo", [], marks=pytest.mark.long),
        ("classical.demo", ["svm"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_demo_runs_as_its_readme_says(module, arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{module}", *arguments],
        cwd=FOLDER.parent, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "plaintext" in done.stdout and "rounds" in done.stdout


@pytest.mark.slow
def test_the_lenet_demo_runs(mnist, capsys):
    runpy.run_module("examples.lenet.demo")["main"](16)
    assert "same prediction" in capsys.readouterr().out


def test_the_notebook_with_pytorch_runs_from_the_top(monkeypatch, capsys):
    pytest.importorskip("torch", reason="needs PyTorch: pip install torch onnxscript")
    pytest.importorskip("onnx", reason="needs onnx: pip install 'mpc-runtime[test]'")
    monkeypatch.chdir(FOLDER)
    cells = json.loads((FOLDER / "pytorch.ipynb").read_text(encoding="utf-8"))["cells"]
    scope: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert "same digits: 1.0" in capsys.readouterr().out
    assert np.abs(scope["scores"] - scope["plain"]).max() < TOLERANCE * np.abs(scope["plain"]).max()


def test_the_notebook_runs_from_the_top(capsys):
    runpy.run_path(str(FOLDER / "notebook.py"))
    printed = capsys.readouterr().out
    assert "refused:" in printed and "average risk:" in printed


def test_the_columns_of_two_owners_are_learnt(capsys):
    runpy.run_module("examples.learning.columns")["main"](3)
    printed = capsys.readouterr().out
    accuracy, loss, weight = (
        re.search(rf"{what}.* ([\d.]+)", printed) for what in ("accuracy", "of a loss", "of a weight")
    )
    assert "epoch 3: 4 steps" in printed and float(accuracy[1]) > 80
    assert float(loss[1]) < 0.01 and float(weight[1]) < 0.005


def test_the_rows_of_three_hospitals_are_learnt_together(capsys):
    runpy.run_module("examples.learning.hospitals")["main"](2)
    printed = capsys.readouterr().out
    accuracy, weight = (re.search(rf"{what}.* ([\d.]+)", printed) for what in ("accuracy", "of a weight"))
    assert "epoch 2: 2 steps" in printed and float(accuracy[1]) > 80
    assert float(weight[1]) < 0.005


def test_a_classifier_is_learnt_on_public_features(capsys):
    runpy.run_module("examples.learning.transfer")["main"](4)
    printed = capsys.readouterr().out
    accuracy, loss, weight = (
        re.search(rf"{what}.* ([\d.]+)", printed) for what in ("accuracy", "of a loss", "of a weight")
    )
    assert "only parity.weight, parity.bias changed" in printed and float(accuracy[1]) > 80
    assert float(loss[1]) < 0.01 and float(weight[1]) < 0.005


def test_lenet_is_trained_on_files_in_the_format_of_mnist(tmp_path, monkeypatch, capsys):
    """Random images: what is learnt from them is nothing, but what is computed is what float64 computes."""
    rng = np.random.default_rng(1)
    for name, array in (
        ("t10k-images-idx3-ubyte", rng.integers(0, 256, (40, 28, 28))),
        ("t10k-labels-idx1-ubyte", rng.integers(0, 10, 40)),
    ):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (tmp_path / name).write_bytes(header + array.astype(np.uint8).tobytes())
    monkeypatch.setenv("MPC_MNIST", str(tmp_path))
    runpy.run_module("examples.learning.lenet")["main"](16, 8)
    printed = capsys.readouterr().out
    assert "epoch 1: 2 steps" in printed
    assert float(re.search(r"of a loss +([\d.]+)", printed)[1]) < 0.01
