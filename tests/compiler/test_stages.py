"""Every stage prints, and the print is a golden file: a change in it is a change in what machines do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import mpc_runtime as mpc
from mpc_runtime.gates import Open
from mpc_runtime.plan import FORMAT
from tests.zoo import MODELS

MODEL = """model small
role client, modeller
dim batch = 2
input image : [batch, 1, 6, 6] from client in [0, 1]
layer conv = conv2d(3, kernel=3)
layer norm = batchnorm()
layer fc = dense(4)
weights from modeller in [-1, 1]
features = image |> conv |> norm |> relu |> maxpool2d(2)
logits = features |> flatten |> fc
output probabilities = softmax(logits) to client
output best = argmax(logits, axis=1) to client
"""


@pytest.mark.parametrize("stage", ["ast", "graph", "oplist", "plan"])
def test_prints(stage: str, golden: Callable[[str, str], None]) -> None:
    golden(f"small.{stage}.txt", mpc.compile(text=MODEL).emit(stage))


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.ppml")), ids=lambda path: path.stem)
def test_every_model_becomes_the_same_gates(path: Path, golden: Callable[[str, str], None]) -> None:
    golden(f"{path.stem}.oplist.txt", mpc.compile(path).emit("oplist"))


def test_the_same_source_gives_the_same_bytes() -> None:
    first, second = (mpc.compile(text=MODEL).plan for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    assert first.hash == second.hash != mpc.compile(text=MODEL, dims={"batch": 3}).plan.hash


def test_a_saved_plan_is_the_plan(tmp_path) -> None:
    program = mpc.compile(text=MODEL)
    program.save(tmp_path / "small.plan")
    loaded = mpc.load(tmp_path / "small.plan")
    assert loaded.plan.to_bytes() == program.plan.to_bytes()
    assert loaded.plan.procedures == program.plan.procedures
    assert loaded.cost == program.cost
    assert loaded.emit("graph") == program.emit("graph")


def test_the_hash_is_of_what_machines_do_and_not_of_names_of_files() -> None:
    commented = "# a comment\n" + MODEL
    assert mpc.compile(text=commented).plan.hash == mpc.compile(text=MODEL).plan.hash


@pytest.mark.parametrize("cut", [0, 7, 12, 100, -1])
def test_a_damaged_plan_is_refused(tmp_path, cut: int) -> None:
    path = tmp_path / "broken.plan"
    path.write_bytes(mpc.compile(text=MODEL).plan.to_bytes()[:cut])
    with pytest.raises(mpc.CompileError, match=r"broken\.plan: .*mpcc compile|compile it again"):
        mpc.load(path)


def test_another_format_is_refused_with_both_named(tmp_path) -> None:
    data = bytearray(mpc.compile(text=MODEL).plan.to_bytes())
    data[8] = 99
    (tmp_path / "new.plan").write_bytes(data)
    with pytest.raises(mpc.CompileError, match=rf"format 99.*reads format {FORMAT}"):
        mpc.load(tmp_path / "new.plan")


@pytest.mark.parametrize("weight", [8, 16, 20])
def test_a_relu_of_31_bits_costs_what_the_protocol_derives(weight: int) -> None:
    """PROTOCOLS section 3.4: at most 17.5 bytes a direction, both openings included, and 65 bytes of material."""
    text = f"""model wide
    role client, modeller
    input x : [64, 100] from client in [-16, 16]
    layer fc1 = dense(128)
    layer fc2 = dense(10)
    weights from modeller in [-{weight}, {weight}]
    h = x |> fc1 |> relu
    output y = h |> fc2 to client
    """
    program = mpc.compile(text=text)
    elements = 64 * 128
    (relu,) = (row for row in program.cost.per_op if row.label == "relu")
    assert relu.offline_bytes <= 65 * elements
    opened = [op.gate for op in program.plan.procedure("run").ops if isinstance(op.gate, Open)]
    sizes = [program.plan.registers[g.y].wire_bytes for g in opened if program.plan.registers[g.y].size == elements]
    assert sum(sizes) <= 17.5 * elements
