"""A result that is said to have its rows on an axis is the same for rows alone as for all of them together."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.graph import Graph
from compiler.reading.batch_axis import row_axes
from mpc_runtime.plan import Plan, Result
from tests.compiler.lowered import graph

TOP = Path(__file__).resolve().parents[3]
HEAD = """
dim batch = 4
input x : [batch, 6] from client in [-1, 1]
input p : [batch, 1, 4, 4] from client in [-1, 1]
input t : [6, batch] from modeller in [-1, 1]
param w : [6, 4] from modeller in [-1, 1]
param v : [4] from modeller in [-1, 1]
param k : [4, 6] from modeller in [-1, 1]
"""
ROW_BY_ROW = {
    "relu(x) * 2 - abs(x)": 0,
    "x @ w + v": 0,
    "x @ [[1], [1], [1], [1], [1], [1]]": 0,
    "transpose(w) @ t": 1,
    "x + transpose(t)": 0,
    "transpose(x) + t": 1,
    "softmax(x)": 0,
    "sum(x, axis=1)": 0,
    "max(t, axis=0)": 0,
    "mean(x, axis=1, keepdims=true)": 0,
    "argmax(x, axis=1)": 0,
    "x[:, 2]": 0,
    "t[1]": 0,
    "x[:, 1:3] > 0 and x[:, 0:2] < 0.5": 0,
    "where(x > 0, x, 3)": 0,
    "concat(x, transpose(t), [[1], [1], [1], [1]], axis=1)": 0,
    "stack(x, x, axis=0)": 1,
    "pad(x, [[0, 0], [1, 1]])": 0,
    "reshape(x, [batch, 2, 3])": 0,
    "reshape(x, [batch, 2, 3]) @ w[0:3]": 0,
    "unsqueeze(x, 0)": 1,
    "broadcast_to(x, [3, batch, 6])": 1,
    "p |> maxpool2d(2) |> flatten": 0,
    "p |> global_avgpool2d": 0,
    "x ** 2 / 3": 0,
    "x + broadcast_to(w[:, 0], [batch, 6])": 0,
}
TOGETHER = [
    "mean(x)",
    "mean(x, axis=0)",
    "x - mean(x, axis=0)",
    "argmax(x)",
    "softmax(x, axis=0)",
    "x @ t",
    "t @ x",
    "v @ x",
    "x[0]",
    "x[::-1]",
    "x[1:]",
    "reshape(x, [6, batch])",
    "reshape(x, [2, 2, 6])",
    "concat(x, x)",
    "pad(x, [[1, 0], [0, 0]])",
    "x + k",
    "x * [[1], [2], [3], [4]]",
    "x[:, 0:4] + t[0]",
    "w @ x[:, 0]",
    "sum(x[:, 0:4] * k[:, 0:4], axis=0) + v",
]


def lowered(expression: str) -> Graph:
    return graph(f"{HEAD} output y = {expression} to client")


@pytest.mark.parametrize("expression", [*ROW_BY_ROW, *TOGETHER])
def test_axes(expression: str) -> None:
    (axis,) = row_axes(output.value for output in lowered(expression).outputs)
    assert axis == ROW_BY_ROW.get(expression)


@pytest.mark.parametrize("expression", [*ROW_BY_ROW, *TOGETHER])
def test_rows_alone_are_rows_together(expression: str) -> None:
    rng = np.random.default_rng(len(expression))
    inputs = {"x": rng.uniform(-1, 1, (4, 6)), "p": rng.uniform(-1, 1, (4, 1, 4, 4)), "t": rng.uniform(-1, 1, (6, 4))}
    params = {"w": rng.uniform(-1, 1, (6, 4)), "v": rng.uniform(-1, 1, 4), "k": rng.uniform(-1, 1, (4, 6))}
    text = f"model m role client, modeller {HEAD} output y = {expression} to client"
    program = mpc.compile(text=text)
    whole = program.reference(inputs=inputs, params=params)["y"]
    last = {"x": inputs["x"][[3] * 4], "p": inputs["p"][[3] * 4], "t": inputs["t"][:, [3] * 4]}
    alone = program.reference(inputs=last, params=params)["y"]
    axis = ROW_BY_ROW.get(expression)
    if axis is not None:
        assert np.allclose(alone.take(0, axis), whole.take(3, axis))
        assert program.plan.results[0].dims[axis] == "batch"
    else:
        assert "batch" not in program.plan.results[0].dims


BATCHED = [
    path for path in sorted(TOP.glob("examples/*/*.ppml")) if re.search(r"^dim\s+batch\b", path.read_text(), re.M)
]


def _told(plan: Plan) -> list[Result]:
    """The results that are no checks."""
    return [result for result in plan.results if not result.promises]


@pytest.mark.parametrize("path", BATCHED, ids=lambda path: path.stem)
def test_examples_take_any_number_of_rows(path: Path) -> None:
    for batch in (1, 3):
        program = mpc.compile(path, dims={"batch": batch})
        ran = {name for gate in program.plan.procedure("run").gates for name in gate.results}
        assert ran and all(result.dims[0] == "batch" for result in _told(program.plan) if result.name in ran)


def test_members_of_an_array_role_have_rows_behind_the_first_axis() -> None:
    body = "role hospital[3] dim batch = 2 input x : [batch, 5] from hospital in [0, 1]"
    found = graph(body + " output each = x * 2 to client output joint = sum(x, axis=0) to client")
    assert row_axes(output.value for output in found.outputs) == [1, 0]
