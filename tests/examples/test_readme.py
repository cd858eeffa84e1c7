"""What README.md tells a newcomer to type works as it stands there; the pages' links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.cli.main import COMMANDS
from examples.digits.demo import free_ports
from tests.waiting import SECONDS

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [body for name, body in FENCED.findall(README) if name == language]


@pytest.mark.parametrize("model", blocks("ppml"), ids=lambda text: text.split()[1])
def test_a_model_of_the_readme_compiles(model):
    assert mpc.compile(text=model).cost.rounds > 0


def test_the_first_model_runs_as_printed(tmp_path, monkeypatch, capsys):
    (tmp_path / "price.ppml").write_text(blocks("ppml")[1])
    (tmp_path / "price.py").write_text(blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path("price.py")
    expected = names["houses"] @ names["weights"]["value.weight"].T + names["weights"]["value.bias"]
    printed = capsys.readouterr().out
    private = np.array([float(x) for x in re.findall(r"-?\d+\.\d*", printed.split("]]")[0])]).reshape(-1, 1)
    assert abs(private - expected).max() < 2e-3


def test_five_terminals(tmp_path):
    for name in ("digits.ppml", "digits.safetensors"):
        shutil.copy(TOP / "examples" / "digits" / name, tmp_path)
    image = np.load(TOP / "examples" / "digits" / "digits.npz")["image"][:1] / 16
    np.save(tmp_path / "image.npy", image)
    typed = [line.split()[2:] for block in blocks("console") for line in block.splitlines() if "digits.p" in line]
    assert [command[0] for command in typed] == [
        "compile", "init-cluster", "dealer", "party", "party", "provide", "submit"
    ]  # fmt: skip
    mpcc = Path(sys.executable).with_name("mpcc")
    servers = []
    try:
        for command in typed:
            if command[0] in ("dealer", "party"):
                servers.append(subprocess.Popen([mpcc, *command], cwd=tmp_path, stderr=subprocess.DEVNULL))
                continue
            if command[0] == "init-cluster":
                command += ["--port", str(free_ports())]
            done = subprocess.run([mpcc, *command], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
            assert done.returncode == 0, done.stderr
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(SECONDS)
    plain = mpc.compile(tmp_path / "digits.ppml").reference({"image": image}, tmp_path / "digits.safetensors")
    printed = [float(x) for x in re.findall(r"-?\d+\.\d*(?:e-\d+)?", done.stdout)]
    assert abs(np.array(printed) - plain["probabilities"][0]).max() < 2e-3


@pytest.mark.parametrize("page", sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"), *TOP.glob("examples/**/*.md")]),
                         ids=lambda path: str(path.relative_to(TOP)))  # fmt: skip
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", CODE.sub("", page.read_text()))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_is_in_the_manual():
    manual = (TOP / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"`mpcc {name}" not in manual] == []
