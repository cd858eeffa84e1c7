"""Rows that are said to be apart are: other rows, whatever they are, change nothing in them, to the bit."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpc_runtime as mpc
from mpc_runtime.analysis.rows import rows_apart
from mpc_runtime.gates import GATES
from mpc_runtime.gates.rows import Batch, RowsMeet, stride_of
from mpc_runtime.plan import Plan
from mpc_runtime.registers import Form, Register
from tests.compiler.reading.test_batch_axis import HEAD, ROW_BY_ROW, TOGETHER
from tests.machines import run_plan
from tests.mpc_runtime.plans import linear

Array = np.ndarray
MINE = HEAD.replace("[6, batch] from modeller", "[6, batch] from client")
MINE += "param r : [] from modeller in [-1, 1]\nlayer c = conv2d(2, kernel=2, padding=1)\n"
MINE += "weights from modeller in [-1, 1]\n"
MORE = {
    "sigmoid(x)": 0,
    "x / (2 + abs(x))": 0,
    "p |> avgpool2d(2) |> flatten": 0,
    "p |> c |> relu": 0,
    "x * x * v[0] + sum(square(x), axis=1, keepdims=true)": 0,
    "(x > 0) == (x > 0.5)": 0,
    "one_hot(argmax(x, axis=1), 6)": 0,
    "pad(x, [[0, 0], [1, 1]], value=1)": 0,
    "clip_norm(x, 0.5, axis=1)": 0,
}
pytestmark = pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")


@cache
def plan_of(expression: str, network: str = "lan") -> Plan:
    """Of an expression of inputs times a parameter: what one role has alone is computed by its client."""
    secret = re.sub(r"\b([xpt])\b", r"(\1 * r)", expression)
    return mpc.compile(text=f"model m role client, modeller {MINE} output y = {secret} to client", network=network).plan


@pytest.mark.parametrize("network", ["lan", "wan"])
def test_the_gates_say_of_rows_what_the_operations_say(network: str) -> None:
    for expression in [*ROW_BY_ROW, *MORE, *TOGETHER]:
        apart = rows_apart(plan_of(expression, network), "run")
        axis = None if apart is None else apart.results["y"]
        assert axis == {**ROW_BY_ROW, **MORE}.get(expression), expression
        if apart is not None and "t" in apart.feeds:
            assert apart.feeds["t"] == 1


@pytest.mark.parametrize("expression", [*ROW_BY_ROW, *MORE])
def test_other_rows_change_nothing(expression: str) -> None:
    random = np.random.default_rng(len(expression))
    axes = {"x": 0, "p": 0, "t": 1}
    inputs = {"x": random.uniform(-1, 1, (4, 6)), "p": random.uniform(-1, 1, (4, 1, 4, 4))}
    inputs["t"] = random.uniform(-1, 1, (6, 4))
    plan = plan_of(expression)
    params = {t.name: random.uniform(-1, 1, t.shape) for t in plan.params}
    axis = {**ROW_BY_ROW, **MORE}[expression]
    whole = run_plan(plan, inputs, params).results["y"]
    for row in (0, 2):
        others = {name: np.where(_is(row, axes[name], a), a, random.permuted(-a)) for name, a in inputs.items()}
        found = run_plan(plan, others, params).results["y"]
        assert np.array_equal(found.take(row, axis), whole.take(row, axis))
        assert not np.array_equal(found, whole)


def _is(row: int, axis: int, array: Array) -> Array:
    """Where an array's elements are of a row."""
    return np.moveaxis(
        np.broadcast_to(np.arange(array.shape[axis]) == row, np.moveaxis(array, axis, -1).shape), -1, axis
    )


def test_every_gate_has_been_tried() -> None:
    tried = {type(gate).__name__ for e in [*ROW_BY_ROW, *MORE] for p in plan_of(e).procedures for gate in p.gates}
    theirs = {name for name, gate in GATES.items() if gate.__module__.startswith("mpc_runtime.")}
    apart = {"ToPlanes", "Choose", "DealerNoise", "PartyNoise", "GradientNoise", "SumParts", "Lift"}
    assert theirs - tried <= apart


@pytest.mark.parametrize("by", ["", " from parties"])
def test_noise_is_for_one_client(by: str) -> None:
    """What is drawn for a run is one client's, as is what its ledger is charged."""
    text = "model noisy role client dim batch = 4 input x : [batch] from client in [0, 1]\noutput y = x to client"
    assert rows_apart(mpc.compile(text=text).plan, "run") is not None
    assert rows_apart(mpc.compile(text=f"{text} with laplace(epsilon=1){by}").plan, "run") is None


def test_what_a_plan_says_of_its_rows_is_not_believed() -> None:
    meets = plan_of("relu(x) - mean(relu(x), axis=0)")
    (result,) = meets.results
    assert result.dims == ("", "")
    assert rows_apart(replace(meets, results=(replace(result, dims=("batch", "")),)), "run") is None
    apart = plan_of("relu(x) * 2 - abs(x)")
    assert rows_apart(apart, "run") is not None
    (tensor,) = (t for t in apart.inputs if t.name == "x")
    for lie in (replace(tensor, dims=("", "batch")), replace(tensor, dims=("", ""))):
        assert rows_apart(replace(apart, inputs=(lie,)), "run") is None
    assert rows_apart(replace(apart, dims=(("batch", 2),)), "run") is None


@pytest.mark.parametrize(
    "declared",
    [
        "role client input x : [4] from client in [-1, 1]",  # no dim of rows
        "role client dim batch = 1 input x : [batch, 4] from client in [-1, 1]",  # no two rows
        "role client, other dim batch = 4 param w : [] from other in [0, 1] "
        "input x : [batch, 4] from client in [-1, 1] input z : [] from other in [0, 1]",
        "role client, other dim batch = 4 param w : [] from other in [0, 1] "
        "input x : [batch, 4] from client in [-1, 1] input z : [] from client in [0, 1]",
    ],
)
def test_what_does_not_lie_in_rows_shares_no_run(declared: str) -> None:
    x = "(x * w) * (z * w)" if "input z" in declared else "x"
    assert rows_apart(mpc.compile(text=f"model m {declared} output y = {x} to client").plan, "run") is None


def test_a_result_that_comes_from_no_row_shares_no_run() -> None:
    text = "output y = x @ w to client output all = w * 2 to client"
    assert rows_apart(mpc.compile(text=f"model m role client, modeller {MINE} {text}").plan, "run") is None


def test_of_a_plan_made_by_hand() -> None:
    apart = rows_apart(linear(batch=3), "run")
    assert apart is not None and (apart.size, apart.feeds, apart.results) == (3, {"x": 0}, {"y": 0})
    assert [f.shape for f in apart.of_feeds(linear(batch=3).feeds_of("client", "run"), 2)] == [(2, 3)]
    assert rows_apart(linear(batch=3), "setup") is None
    assert rows_apart(linear(batch=3), "never") is None


@given(st.integers(2, 4), st.lists(st.integers(1, 4), max_size=3), st.lists(st.integers(1, 4), max_size=3), st.data())
def test_a_place_is_where_the_rows_are(count: int, before: list[int], behind: list[int], data: st.DataObject) -> None:
    each, times = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    shape = (*before, times * count * each, *behind)
    stride = stride_of(shape, len(before), each)
    batch = Batch(count, [Register(shape, Form.SHARED)], {0: stride}, {})
    rows = (np.arange(np.prod(shape)) // stride % count).reshape(shape)
    axis, entries = batch.place(0)
    along = np.arange(shape[axis]) // entries % count
    assert np.array_equal(rows, np.broadcast_to(along.reshape(-1, *[1] * (len(shape) - axis - 1)), shape))


def test_rows_across_axes_have_no_place() -> None:
    batch = Batch(4, [Register((2, 2, 3), Form.SHARED)], {0: 3}, {})
    with pytest.raises(RowsMeet):
        batch.place(0)


def test_rows_meet_in_training() -> None:
    """What one client teaches is in the weights of all, so a step never has rows of two; nor has a run, whose check
    tells all of them whether the weights were in their limits."""
    source = """model own
role client
dim batch = 4
input x : [batch, 3] from client in [-4, 4]
layer fc = dense(1)
weights from client in [-1, 1]
score = fc(x)
output score to client
train {
    input y : [batch, 1] from client in [-4, 4]
    loss = mse(score, y)
    optimizer = sgd(lr=0.1)
    output loss to client
    output weights to client
}
"""
    plan = mpc.compile(text=source).plan
    apart = {p.name: rows_apart(plan, p.name) for p in plan.procedures}
    assert apart.keys() == {"setup", "run", "train_step", "check", "finish"}
    assert not any(apart.values())
