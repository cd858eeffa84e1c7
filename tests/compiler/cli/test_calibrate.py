"""`mpcc calibrate` writes into the file, says what it wrote, and leaves what it refuses as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compiler.cli.main import main

SOURCE = """model m
role a, b
dim batch = 1
input x : [batch, 4] from a in [-1, 1]
param w : [4, 3] from b  # whose
output y = relu(x @ w) to a
"""


def mpcc(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m.ppml").write_text(SOURCE)
    np.save(tmp_path / "w.npy", np.array([[0.5, 0.01, 0.01]] * 4))
    return tmp_path / "m.ppml"


def test_ranges_are_written_into_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mpcc("calibrate", str(file), "--param", f"w={file.parent / 'w.npy'}", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["what"], row["lo"], row["hi"], row["kind"]) for row in said["ranges"]] == [
        ("w", 2.0**-7, 0.5, "the weights")
    ]
    assert said["online_bytes"][1] < said["online_bytes"][0]
    assert "param w : [4, 3] from b in [0.0078125, 0.5]  # whose" in file.read_text()


def test_a_wrong_parameter_leaves_the_file_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mpcc("calibrate", str(file), "--param", f"v={file.parent / 'w.npy'}") == 1
    assert "v: no such parameter" in capsys.readouterr().err
    assert file.read_text() == SOURCE


WIDE = """model wide
role a, b
dim batch = 2
input x : [batch, 4] from a
layer f = dense(4)
layer n = layernorm()
weights from b in [-1, 1]
output y = n(x + f(x)) to a
"""


def test_a_model_that_only_lacks_ranges_gets_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it may be imported: nothing is known of its input, and what flows into a layer has no room."""
    file, weights, samples = tmp_path / "wide.ppml", tmp_path / "w.npz", tmp_path / "x.npy"
    file.write_text(WIDE)
    np.savez(weights, **{"f.weight": np.eye(4), "f.bias": np.ones(4), "n.weight": np.ones(4), "n.bias": np.zeros(4)})
    np.save(samples, np.random.default_rng(1).uniform(-1, 1, (50, 4)))
    assert mpcc("calibrate", str(file), "--param", str(weights)) == 1
    said = capsys.readouterr().err
    assert f"{file.name}:8:" in said and "no room" in said
    assert "what the weights show does not suffice; with samples of all inputs, --input NAME=FILE" in said
    assert file.read_text() == WIDE
    assert mpcc("calibrate", str(file), "--param", str(weights), "--input", f"x={samples}", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["online_bytes"][0] is None and told["online_bytes"][1] > 0
    assert any(row["kind"] == "measured" for row in told["ranges"])
    assert mpcc("compile", str(file), "-o", str(tmp_path / "wide.plan")) == 0


def test_other_errors_of_the_model_are_its_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(SOURCE.replace("relu", "rely"))
    assert mpcc("calibrate", str(file), "--param", f"w={file.parent / 'w.npy'}") == 1
    said = capsys.readouterr().err
    assert "unknown name `rely`" in said and "suffice" not in said
