"""`mpcc import` writes a `.ppml` and its weights, which compile and run."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.cli import main
from tests.onnx_models import FLOAT, model, node, onnx


@pytest.fixture
def saved(tmp_path):
    proto = model([node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)], {"x": (FLOAT, ["batch", 2])}, ["y"],
                  {"fc.weight": np.float32([[1, 2]]), "fc.bias": np.float32([0.5])})  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return ended.value.code


def test_a_model_becomes_two_files(saved, tmp_path, capsys):
    assert (
        run("import", saved, "-o", tmp_path / "m.ppml", "--role", "clinic", "--owner", "lab", "--dim", "batch=3") == 0
    )
    text = (tmp_path / "m.ppml").read_text()
    assert "role clinic, lab" in text and "dim  batch = 3" in text
    assert "tensors" in capsys.readouterr().out
    program = mpc.compile(tmp_path / "m.ppml")
    x = np.ones((3, 2))
    assert program.reference({"x": x}, tmp_path / "m.safetensors")["y"] == pytest.approx(np.full((3, 1), 3.5))


def test_what_was_written_as_json(saved, capsys):
    assert run("import", saved, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tensors"] == 2 and found["numbers"] == 3
    assert saved.with_suffix(".ppml").exists() and saved.with_suffix(".safetensors").exists()


def test_a_model_without_weights_is_one_file(tmp_path, capsys):
    onnx.save(model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [2])}, ["y"]), tmp_path / "relu.onnx")
    assert run("import", tmp_path / "relu.onnx") == 0
    assert "no weights" in capsys.readouterr().out
    assert (tmp_path / "relu.ppml").exists() and not (tmp_path / "relu.safetensors").exists()
    assert run("import", tmp_path / "relu.onnx", "--json") == 0
    assert json.loads(capsys.readouterr().out)["weights"] is None


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([[1, np.nan]]), "x: expected finite numbers"),
        (np.array([["a", "b"]]), "x: expected finite numbers"),
        (np.ones((2, 3)), "the input 'x' expects [2, 2], found [2, 3]"),
    ],
    ids=["nan", "text", "shape"],
)
def test_samples_that_are_no_samples(saved, tmp_path, capsys, samples, message):
    np.save(tmp_path / "x.npy", samples)
    assert run("import", saved, "--input", f"x={tmp_path / 'x.npy'}") == 1
    assert message in capsys.readouterr().err


def test_errors_are_messages(saved, tmp_path, capsys):
    assert run("import", tmp_path / "none.onnx") == 1
    assert "no such file" in capsys.readouterr().err
    assert run("import", saved, "-o", tmp_path / "m.txt") == 2
    assert run("import", saved, "--role", "model") == 1
    assert "the role 'model'" in capsys.readouterr().err
