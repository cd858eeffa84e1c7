"""`dropout` in training: coins that everybody may know, the same in float64, and an identity anywhere else."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.modes import inside
from compiler.training.twin import Twin
from mpc_runtime.roles.coins import coins, drawn
from tests.trained import Simulated

Array = np.ndarray

NET = """model dropped
role client, modeller
dim batch = 8
input x : [batch, 6] from client in [-1, 1]
layer fc1 = dense(16)
layer fc2 = dense(3)
weights from modeller in [-2, 2]
hidden = x |> dropout(0.25) |> fc1 |> relu |> dropout(P)
y = fc2(hidden)
output shown = y to client
train {
    input label : int[batch] from client
    loss = cross_entropy(y, label)
    optimizer = sgd(lr=0.2, momentum=0.5)
    output loss to client
    output weights to modeller
    metric accuracy to client
}
"""


def start(seed: int = 3) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    shapes = {"fc1.weight": (16, 6), "fc1.bias": (16,), "fc2.weight": (3, 16), "fc2.bias": (3,)}
    return {name: random.uniform(-0.6, 0.6, shape) for name, shape in shapes.items()}


def rows(step: int) -> dict[str, Array]:
    random = np.random.default_rng(100 + step)
    x = random.uniform(-1, 1, (8, 6))
    return {"x": x, "label": (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.3)}


@pytest.mark.parametrize("p", ["0.5", "0.1"])
def test_training_with_dropout_follows_float64(p: str) -> None:
    program = mpc.compile(text=NET.replace("P)", f"{p})"))
    within = inside(program.stages.lowered)
    training, found = within.training, within.coins
    assert [each.keep for each in found] == [0.75, 1 - float(p)]
    private, clear = Simulated(program.plan, start()), Twin(training.loss, training.optimizer, start())
    losses = []
    for step in range(12):
        batch = {**rows(step % 4), **coins(program.plan, ["client"], 7, step)}
        losses.append(clear.train(batch, 0.2))
        assert private.train(**batch)["loss"] == pytest.approx(losses[-1], rel=0.01)
    for name, array in private.finish().items():
        assert np.abs(array - clear.params[name]).max() < 1e-2
    x = rows(0)["x"]
    shown = np.maximum(x @ clear.params["fc1.weight"].T + clear.params["fc1.bias"], 0)
    shown = shown @ clear.params["fc2.weight"].T + clear.params["fc2.bias"]
    assert np.abs(private.run(x=x)["shown"] - shown).max() < 0.02
    assert np.abs(program.reference({"x": x}, clear.params)["shown"] - shown).max() < 1e-9
    told = private.measure([rows(0)], 8)["accuracy"]  # validation rows go forward as a run does
    assert told == pytest.approx((shown.argmax(axis=1) == rows(0)["label"]).mean())


def test_coins_are_independent_and_as_often_1_as_is_said() -> None:
    first = drawn("training.dropout 0", (100, 1000), 0.75, 1, 0)
    assert set(np.unique(first)) == {0, 1}
    assert abs(first.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / first.size)
    others = [("training.dropout 1", 1, 0), ("training.dropout 0", 2, 0), ("training.dropout 0", 1, 1)]
    for name, seed, step in others:
        other = drawn(name, (100, 1000), 0.75, seed, step)
        both = float((first * other).mean())
        assert abs(both - 0.75**2) < 5 * np.sqrt(0.75**2 * (1 - 0.75**2) / first.size)
    assert np.array_equal(first, drawn("training.dropout 0", (100, 1000), 0.75, 1, 0))


def test_coins_are_told_to_the_parties_in_a_step_alone() -> None:
    """Those of an input of the role that draws them it multiplies itself."""
    lines = [line for line in mpc.compile(text=NET.replace("P)", "0.5)")).leakage if "dropout" in line]
    assert lines == ["in every step of training, `training.dropout 1` of client is public: p0 and p1 see it"]


@pytest.mark.parametrize("p", ["1", "1.5", "-0.1"])
def test_a_probability_is_below_one(p: str) -> None:
    with pytest.raises(mpc.CompileError, match="dropout expects a probability of at least 0 and below 1") as caught:
        mpc.compile(text=NET.replace("P)", f"{p})"))
    assert [each.line for each in caught.value.diagnostics] == [8]


def test_nothing_is_dropped_with_probability_0_or_without_training() -> None:
    program = mpc.compile(text=NET.replace("P)", "0)").replace("|> dropout(0.25)", ""))
    assert program.plan.coins == ()
    plain = NET.partition("train {")[0].replace("P)", "0.5)")
    assert (
        mpc.compile(text=plain).plan.hash
        == mpc.compile(text=plain.replace("|> dropout(0.5)", "").replace("|> dropout(0.25)", "")).plan.hash
    )


def test_a_check_of_validation_rows_stands_where_a_step_has_it() -> None:
    """Without coins less may need a check."""
    text = (
        NET.replace("P)", "0.875)")
        .replace("in [-2, 2]", "in [-0.25, 0.25]")
        .replace("    output loss to client", "    limits = norms(activations=24)\n    output loss to client")
    )
    plan = mpc.compile(text=text).plan
    (told,) = [result for result in plan.results if result.promises and result.name.startswith("checked")]
    assert any(promise.value == "what flows into fc2" for promise in told.promises)
    private = Simulated(plan, {name: array / 4 for name, array in start().items()})
    for step in range(2):
        private.train(**rows(step), **coins(plan, ["client"], 7, step))
        private.measure([rows(step)], 8)
        assert all(private.checks.values())
