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
