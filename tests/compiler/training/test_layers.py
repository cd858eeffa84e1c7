"""Every layer that can be trained, and functions of what is trained: plans that load, and losses as in float64."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.roles.epochs import order as batch_order
from tests.trained import Simulated

BATCH, STEPS = 4, 4

DENSE = "layer one = dense(6)\nlayer two = dense(2)\n"
CASES: dict[str, tuple[str, str, str]] = {
    "conv1d": ("layer one = conv1d(4, 3)\nlayer two = dense(2)\n", "x |> one |> relu |> flatten |> two", "2, 8"),
    "conv2d": (
        "layer one = conv2d(4, 3, stride=2, padding=1, groups=2)\nlayer two = dense(2)\n",
        "x |> one |> relu |> maxpool2d(2) |> flatten |> two",
        "2, 9, 9",
    ),
    "conv_transpose2d": (
        "layer one = conv_transpose2d(4, 3, stride=2)\nlayer two = dense(2)\n",
        "x |> one |> relu |> global_avgpool2d |> flatten |> two",
        "2, 4, 4",
    ),
    "layernorm": ("layer norm = layernorm()\n" + DENSE, "x |> one |> norm |> relu |> two", "5"),
    "attention": ("layer one = attention(2)\nlayer two = dense(2)\n", "mean(x |> one, axis=1) |> two", "5, 4"),
    "lstm": ("layer one = lstm(4)\nlayer two = dense(2)\n", "(x |> one)[:, 3] |> two", "4, 3"),
    "gru": ("layer one = gru(4)\nlayer two = dense(2)\n", "(x |> one)[:, 3] |> two", "4, 3"),
    "twice": ("layer one = dense(5)\nlayer two = dense(2)\n", "x |> one |> relu |> one |> two", "5"),
    "residual": ("layer one = dense(5)\nlayer two = dense(2)\n", "(x + relu(one(x))) |> two", "5"),
    "gated": (DENSE, "two(one(x) * sigmoid(one(x)))", "5"),
    "root": (DENSE, "two(sqrt(one(x) ** 2 + 0.1))", "5"),
    "logarithm": (DENSE, "two(log(one(x) ** 2 + 1))", "5"),
    "quotient": (DENSE, "two(one(x) / (1 + abs(x[:, 0:1])))", "5"),
    "softmax": (DENSE, "two(softmax(one(x)))", "5"),
    "largest": ("layer one = dense(8)\n", "max(reshape(x |> one, [batch, 4, 2]), axis=1)", "5"),
}


def model(name: str) -> str:
    layers, expression, shape = CASES[name]
    return f"""model layers
role a, b
dim batch = {BATCH}
input x : [batch, {shape}] from a in [-1, 1]
{layers}weights from b in [-2, 2]
y = {expression}
output y to a
train {{
    input t : [batch, 2] from a in [-2, 2]
    loss = mse(y, t)
    optimizer = sgd(lr=0.1)
    output loss to a
    output weights to b
}}
"""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("error::mpc_runtime.CompileWarning")
def test_a_layer_is_trained_as_in_float64(name: str) -> None:
    program = mpc.compile(text=model(name))
    start = program.initial_weights(seed=1)
    private, rng = Simulated(program.plan, start), np.random.default_rng(2)
    shapes = {tensor.name: tensor.shape for tensor in program.plan.inputs}
    rows = {key: rng.uniform(-1, 1, (BATCH * STEPS, *shapes[key][1:])) for key in ("x", "t")}
    twin = program.reference_fit(rows, start, epochs=1, seed=3)
    order = batch_order(3, 0, BATCH * STEPS)
    for step, expected in enumerate(twin.losses):
        batch = {key: array[order[step * BATCH : (step + 1) * BATCH]] for key, array in rows.items()}
        assert private.train(**batch)["loss"] == pytest.approx(expected, rel=0.01)
        assert all(private.checks.values())
    for key, array in private.finish().items():
        assert np.abs(array - twin.weights[key]).max() < 1e-3


def test_limits_that_are_called_alike_are_told_apart() -> None:
    """A line may have several of them: each has a number of its own."""
    plan = mpc.compile(text=model("lstm")).plan
    for result in plan.results:
        said = [str(promise) for promise in result.promises]
        assert len(set(said)) == len(said)
    assert any(str(promise).endswith("#2") for result in plan.results for promise in result.promises)


ALONE = """model alone
role a, b
dim batch = 4
input x : [batch, 5] from a in [-1, 1]
layer one = dense(6)
layer two = dense(2)
weights from b in [-2, 2]
y = two(exp(one(x)))
output y to a
train {
    input t : [batch, 2] from a in [-2, 2]
    loss = mse(y, t)
    optimizer = sgd(lr=0.1)
}
"""


def test_what_may_have_left_the_format_cannot_be_checked() -> None:
    with pytest.raises(mpc.CompileError, match="cannot be checked") as caught:
        mpc.compile(text=ALONE)
    assert caught.value.diagnostics[0].line == 8


@pytest.mark.parametrize("size", [0.5, 1000.0])
def test_elements_are_checked_where_squares_may_wrap(size: float) -> None:
    """What flows into `two` may be as large as 2^22, whose squares have no room: each element is compared first."""
    program = mpc.compile(text=ALONE.replace("exp(one(x))", "one(x) * one(x) * 4096"))
    start = {key: np.zeros_like(array) for key, array in program.initial_weights(seed=1).items()}
    start["one.bias"] = np.full(6, np.sqrt(size / 4096))
    private = Simulated(program.plan, start)
    private.train(x=np.zeros((4, 5)), t=np.zeros((4, 2)))
    held = [kept for name, kept in private.checks.items() if name.startswith("what flows into two")]
    assert held and all(held) == (size < 1)
