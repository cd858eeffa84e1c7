"""Models with a `train` block as plans: what cannot be trained is refused at its place, and what is trained follows
float64 step by step, in the gates' clear meaning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.pace import rate_at
from compiler.training.twin import Twin
from mpc_runtime.program import Program
from mpc_runtime.roles.epochs import batches_of
from tests.trained import LOGISTIC, Simulated, people

Array = np.ndarray

HEAD = """model m
role client, modeller
dim batch = 4
input x : [batch, 3] from client in [-1, 1]
layer fc = dense(2)
"""
TAIL = """
output y = softmax(logits) to client
train {
    input label : int[batch] from client in [0, 1]
"""


def twin_of(program: Program, weights: dict[str, Array]) -> tuple[Twin, Callable[[int, int], float]]:
    """The float64 twin, and its learning rate at an epoch and a step."""
    training = program.stages.lowered.training
    assert training is not None
    return Twin(training.loss, training.optimizer, weights), partial(rate_at, training.rate, training.clock)


@pytest.mark.parametrize(
    ("weights", "loss", "message"),
    [
        ("weights from modeller public", "cross_entropy(logits, label)", "only on `fc.weight` .public."),
        ("weights from modeller", "mean(x + label[0])", "the loss depends on no parameter"),
        ("weights from modeller", "mean(argmax(logits, axis=1) * 1.0)", "`argmax` has no gradient"),
        ("weights from modeller", "mean(logits > 0)", "`>` has no gradient"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_its_place(weights: str, loss: str, message: str) -> None:
    source = f"{HEAD}{weights}\nlogits = fc(x)\n{TAIL.strip()}\n    loss = {loss}\n    optimizer = sgd(lr=0.1)\n}}"
    with pytest.raises(mpc.CompileError, match=message) as caught:
        mpc.compile(text=source)
    assert {each.line for each in caught.value.diagnostics} == {11}


MLP = """model digits
role client, modeller
dim batch = 8
input image : [batch, 1, 8, 8] from client in [0, 1]
layer conv = conv2d(4, kernel=3)
layer fc1 = dense(12)
layer fc2 = dense(4)
weights from modeller in [-2, 2]
logits = image |> conv |> relu |> maxpool2d(2) |> flatten |> fc1 |> relu |> fc2
output chances = softmax(logits) to client
train {
    input label : int[batch] from client
    loss = cross_entropy(logits, label)
    optimizer = OPTIMIZER
    output loss to client
    output weights to modeller
}
"""


def images(rows: int, seed: int = 3) -> dict[str, Array]:
    """Four kinds of images: bright in one of the corners."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, rows)
    image = rng.uniform(0, 0.5, (rows, 1, 8, 8))
    for row, corner in enumerate(label):
        image[row, 0, 4 * (corner // 2) :, 4 * (corner % 2) :][:4, :4] += 0.4
    return {"image": image, "label": label}


def start(program: Program, seed: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {t.name: rng.uniform(-1, 1, t.shape) / np.sqrt(max(t.shape[-1], 4)) for t in program.plan.params}


def batches(data: dict[str, Array], size: int) -> list[dict[str, Array]]:
    rows = len(next(iter(data.values())))
    return [{name: array[i : i + size] for name, array in data.items()} for i in range(0, rows, size)]


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd(lr=0.2)",
        "sgd(lr=0.05, momentum=0.9)",
        "sgd(lr=0.05, momentum=0.75, nesterov=true)",
        "sgd(lr=0.05, momentum=0.5, weight_decay=0.1)",
        "sgd(lr=0.2, weight_decay=0.01)",
        "sgd(lr=0.3 * 0.9 ** step)",
        "sgd(lr=0.1 / (1 + step / 10), momentum=0.9)",
        "sgd(lr=where(epoch < 1, 0.1, 0.01), momentum=0.5, nesterov=true)",
        "adam(lr=0.01)",
        "adam(lr=0.02, beta1=0.5, beta2=0.99, weight_decay=0.1)",
        "adamw(lr=0.01, weight_decay=2)",
        "adamw(lr=0.01 * minimum(1, (step + 1) / 5), weight_decay=0.5)",
        "amsgrad(lr=0.01, beta2=0.9)",
    ],
)
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_the_losses_of_a_convolutional_model_follow_float64(optimizer: str) -> None:
    program = mpc.compile(text=MLP.replace("OPTIMIZER", optimizer))
    weights = start(program)
    private, (clear, rate) = Simulated(program.plan, weights), twin_of(program, weights)
    losses = []
    for step, batch in enumerate(batches(images(40), 8)):
        losses.append(clear.train(batch, rate(step // 4, step)))
        assert private.train(step // 4, **batch)["loss"] == pytest.approx(losses[-1], rel=0.01)
    for name, array in private.finish().items():
        assert np.abs(array - clear.params[name]).max() < 1e-2


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_a_label_outside_its_classes_is_refused_by_its_owner() -> None:
    program = mpc.compile(text=MLP.replace("OPTIMIZER", "sgd(lr=0.1)"))
    private = Simulated(program.plan, start(program))
    batch = batches(images(8), 8)[0]
    batch["label"][5] = 4
    with pytest.raises(mpc.InputError, match=r"label\[5\]: expected a value in \[0, 3\], found 4"):
        private.train(**batch)


@pytest.mark.parametrize(
    "loss", ["mse(score, left)", "l1(score, left)", "0.5 * mse(score, left) + 0.01 * sum(fc.weight ** 2)"]
)
def test_other_losses_follow_float64(loss: str) -> None:
    source = LOGISTIC.replace("binary_cross_entropy_with_logits(score, left)", loss).replace("lr=0.5", "lr=0.1")
    program = mpc.compile(text=source)
    weights = start(program)
    private, (clear, rate) = Simulated(program.plan, weights), twin_of(program, weights)
    for batch in batches(people(160), 16):
        assert private.train(**batch)["loss"] == pytest.approx(clear.train(batch, rate(0, 0)), rel=0.01)


def test_what_a_step_rounds_is_right_in_the_mean() -> None:
    """Updates far below a step of the format move the parameters all the same."""
    program = mpc.compile(text=LOGISTIC.replace("lr=0.5, momentum=0.75", "lr=0.0000625"))
    weights = {"fc.weight": np.zeros((1, 5)), "fc.bias": np.zeros(1)}
    private, (clear, rate) = Simulated(program.plan, weights), twin_of(program, weights)
    data = batches(people(16), 16)[0]
    steps = 200
    for _ in range(steps):
        private.train(**data)
        clear.train(data, rate(0, 0))
    moved = private.finish()["fc.weight"] - clear.params["fc.weight"]
    assert np.abs(moved).max() * 2**16 < 6 * np.sqrt(steps) / 2  # as far as that many fair coins
    assert np.abs(clear.params["fc.weight"]).max() * 2**16 > 100


def test_the_classes_of_a_step_are_not_what_a_run_takes() -> None:
    program = mpc.compile(text=LOGISTIC)
    stages = {t.name: t.stages for t in program.plan.inputs if not t.name.startswith("training.")}
    assert stages == {"visits": ("run", "train_step"), "debts": ("run", "train_step"), "left": ("train_step",)}
    assert [p.name for p in program.plan.procedures] == ["setup", "run", "train_step", "check", "rescale", "finish"]


@pytest.mark.parametrize(
    "fixed",
    [
        "weights norm from modeller public in [-4, 4]\nweights fc from modeller in [-1, 1]",
        "weights from modeller in [-4, 4]",
    ],
)
def test_a_layer_that_is_not_trained_keeps_its_running_statistics(fixed: str) -> None:
    source = f"{HEAD}layer norm = batchnorm()\nWEIGHTS\nlogits = x |> fc |> norm\n{TAIL.strip()}\n"
    source += "    loss = cross_entropy(logits, label)\n    optimizer = sgd(lr=0.1)\n    FREEZE\n}"
    source = source.replace("FREEZE", "" if "public" in fixed else "freeze norm")
    program = mpc.compile(text=source.replace("WEIGHTS", fixed))
    weights = program.initial_weights(1) | {"norm.running_mean": np.array([0.25, -0.5])}
    data = {"x": np.linspace(-1, 1, 36).reshape(12, 3), "label": np.tile([0, 1, 1, 0], 3)}
    followed = program.reference_fit(data, weights, seed=1)
    assert followed.weights["norm.running_mean"] == pytest.approx(weights["norm.running_mean"])
    private = Simulated(program.plan, weights)
    for batch in batches_of(program.plan, data, 1, 1):
        private.train(**batch)
    shown = private.run(x=data["x"][:4])["y"]
    expected = program.reference({"x": data["x"][:4]}, followed.weights)["y"]
    assert np.abs(shown - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("train {", "budget x = dp(epsilon=3)\ntrain {", 10, "training reads `x`, which has a budget"),
        (
            "    loss",
            "    output told = mean(logits) to client with laplace(epsilon=1, sensitivity=1)\n    loss",
            11,
            "noise yet",
        ),
        (
            "int[batch] from client in [0, 1]",
            "bit[batch, 2] from client with randomized_response(epsilon=1)",
            10,
            "anew",
        ),
    ],
)
def test_what_one_person_says_is_not_used_step_by_step(old: str, new: str, line: int, message: str) -> None:
    source = f"{HEAD}weights from modeller\nlogits = fc(x)\n{TAIL.strip()}\n"
    source += "    loss = mse(logits, label * 1.0)\n    optimizer = sgd(lr=0.1)\n}"
    if "bit" not in new:
        source = source.replace("label * 1.0", "x[:, 0:2]")
    with pytest.raises(mpc.CompileError, match=message) as caught:
        mpc.compile(text=source.replace(old, new))
    assert [each.line for each in caught.value.diagnostics] == [line]


@pytest.mark.parametrize("names", ["conv", "conv, fc1"])
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_frozen_layers_stay_and_the_others_follow_float64(names: str) -> None:
    source = MLP.replace("OPTIMIZER", "sgd(lr=0.1, momentum=0.5)").replace("train {", f"train {{\n    freeze {names}")
    program = mpc.compile(text=source)
    weights, data = start(program), images(32)
    private = Simulated(program.plan, weights)
    losses = [float(private.train(**batch)["loss"]) for batch in batches(data, 8)]
    whole = twin_of(program, weights)[0]
    clear = Twin(whole.loss, whole.optimizer, weights, program.stages.lowered.training.frozen)
    assert losses == pytest.approx([clear.train(batch, 0.1) for batch in batches(data, 8)], rel=0.01)
    kept = {name for name in weights if name.partition(".")[0] in names}
    released = private.finish()
    assert released.keys() == weights.keys() - kept
    for name, array in released.items():
        assert np.abs(array - clear.params[name]).max() < 1e-2 and np.abs(array - weights[name]).max() > 1e-4
    assert all(np.array_equal(clear.params[name], weights[name]) for name in kept)
    chances = private.run(image=data["image"][:8])["chances"]
    assert chances == pytest.approx(program.reference({"image": data["image"][:8]}, clear.params)["chances"], abs=0.02)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("conv, fc1, fc2", r"only on `conv.weight` .frozen."),
        ("logits", "`logits` is a value, and only layers and params are frozen"),
        ("konv", "`konv`"),
    ],
)
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_what_cannot_be_frozen_is_refused_at_its_place(names: str, message: str) -> None:
    source = MLP.replace("OPTIMIZER", "sgd(lr=0.1)").replace("train {", f"train {{\n    freeze {names}")
    with pytest.raises(mpc.CompileError, match=message):
        mpc.compile(text=source)
