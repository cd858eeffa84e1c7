"""Batch normalisation in training: by the statistics of each batch in a step, by running ones anywhere else, in the
gates' clear meaning and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.program import Program
from mpc_runtime.roles.epochs import batches_of
from tests.trained import Simulated

Array = np.ndarray

NET = """model normed
role client, modeller
dim batch = 8
input x : [batch, 1, 6, 6] from client in [-1, 1]
layer conv = conv2d(3, kernel=3)
layer norm = batchnorm()
layer fc = dense(3)
weights from modeller in [-2, 2]
y = x |> conv |> norm |> relu |> flatten |> fc
output shown = y to client
train {
    input label : int[batch] from client
    loss = cross_entropy(y, label)
    optimizer = sgd(lr=0.1, momentum=0.5)
    output loss to client
    output weights to modeller
    metric accuracy to client
    metric loss to client
}
"""


def rows(step: int) -> dict[str, Array]:
    random = np.random.default_rng(100 + step)
    x = random.uniform(-1, 1, (8, 1, 6, 6))
    return {"x": x, "label": (x[:, 0, :3].mean(axis=(1, 2)) > 0).astype(int) + (x[:, 0, :, :3].mean(axis=(1, 2)) > 0)}


def start(program: Program) -> dict[str, Array]:
    found = program.initial_weights(3)
    found["norm.weight"], found["norm.bias"] = np.array([1.0, 0.5, 1.5]), np.array([0.0, 0.25, -0.25])
    return found


def convolved(x: Array, weights: dict[str, Array]) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), axis=(1, 2))
    return np.einsum("bijkl,ckl->bcij", windows, weights["conv.weight"][:, 0]) + weights["conv.bias"][:, None, None]


def shown(x: Array, weights: dict[str, Array], mean: Array, variance: Array) -> Array:
    """The model with these statistics."""
    scale = (weights["norm.weight"] / np.sqrt(variance + 1e-5))[:, None, None]
    normal = (convolved(x, weights) - mean[:, None, None]) * scale + weights["norm.bias"][:, None, None]
    return np.maximum(normal, 0).reshape(len(x), -1) @ weights["fc.weight"].T + weights["fc.bias"]


def entropy(z: Array, label: Array) -> float:
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), label]).mean())


@pytest.fixture(scope="module")
def program() -> Program:
    return mpc.compile(text=NET)


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_the_twin_is_numpys_batch_normalisation(program: Program) -> None:
    """Its loss by the batch's statistics, its running ones as PyTorch's, and its gradients by finite differences."""
    weights = start(program)
    data = rows(0)
    found = program.reference_fit(data, weights, epochs=1, seed=1)
    z = convolved(data["x"], weights)
    mean, variance = z.mean(axis=(0, 2, 3)), z.var(axis=(0, 2, 3))
    assert found.losses[0] == pytest.approx(entropy(shown(data["x"], weights, mean, variance), data["label"]))
    count = z.size // 3
    assert found.weights["norm.running_mean"] == pytest.approx(0.1 * mean)
    assert found.weights["norm.running_var"] == pytest.approx(0.9 + 0.1 * variance * count / (count - 1))

    def loss(name: str, at: tuple[int, ...], by: float) -> float:
        changed = {key: array.copy() for key, array in weights.items()}
        changed[name][at] += by
        z = convolved(data["x"], changed)
        of_batch = z.mean(axis=(0, 2, 3)), z.var(axis=(0, 2, 3))
        return entropy(shown(data["x"], changed, *of_batch), data["label"])

    for name, at in (("conv.weight", (1, 0, 2, 0)), ("norm.weight", (2,)), ("norm.bias", (0,)), ("fc.weight", (1, 4))):
        slope = (loss(name, at, 1e-5) - loss(name, at, -1e-5)) / 2e-5
        assert (weights[name][at] - found.weights[name][at]) / 0.1 == pytest.approx(slope, rel=1e-3, abs=1e-6), name


def test_private_training_follows_it(program: Program) -> None:
    weights = start(program)
    data = {name: np.concatenate([rows(step)[name] for step in range(6)]) for name in ("x", "label")}
    clear = program.reference_fit(data, weights, epochs=2, seed=5)
    private = Simulated(program.plan, weights)
    for batch, loss in zip(batches_of(program.plan, data, 2, 5), clear.losses, strict=True):
        assert private.train(**batch)["loss"] == pytest.approx(loss, rel=0.01)
        assert all(private.checks.values())
    for name, array in private.finish().items():
        assert np.abs(array - clear.weights[name]).max() < 1e-2, name
    other = rows(50)
    running = clear.weights["norm.running_mean"], clear.weights["norm.running_var"]
    z = shown(other["x"], clear.weights, *running)
    assert np.abs(private.run(x=other["x"])["shown"] - z).max() < 0.03
    assert np.abs(program.reference({"x": other["x"]}, clear.weights)["shown"] - z).max() < 1e-6
    told = private.measure([other], 8)
    assert told["loss"] == pytest.approx(entropy(z, other["label"]), rel=0.02)
    assert told["accuracy"] == pytest.approx((z.argmax(axis=1) == other["label"]).mean(), abs=1 / 8)


def test_what_has_no_statistics_of_its_own_is_refused_at_its_place() -> None:
    alone = NET.replace("batch = 8", "batch = 1").replace("|> norm |> relu |> flatten", "|> flatten")
    alone = alone.replace("|> fc\n", "|> fc |> norm\n")
    twice = NET.replace("|> norm |> relu", "|> norm |> relu |> norm")
    for text, message in (
        (alone, "batchnorm expects several numbers of each channel in a batch, found one"),
        (twice, "`norm` is applied twice: its running statistics would be those of both"),
    ):
        with pytest.raises(mpc.CompileError, match=message) as caught:
            mpc.compile(text=text)
        assert [each.line for each in caught.value.diagnostics] == [9]


def test_training_stops_where_a_batch_leaves_its_limits() -> None:
    """Of what flows into the layer, on which the proof of all behind it rests."""
    program = mpc.compile(text=NET.replace("optimizer =", "limits = norms(activations=2)\n    optimizer ="))
    private = Simulated(program.plan, start(program))
    told = private.train(**rows(0))
    broken = {name for name, kept in private.checks.items() if not kept}
    assert any("what flows into norm" in name for name in broken) and told["loss"] == 0


def test_running_statistics_are_released_with_the_weights(program: Program) -> None:
    told = [line for line in program.leakage if "weights.norm" in line]
    assert [line.partition("`weights.")[2].partition("`")[0] for line in told] == [
        f"norm.{key}" for key in ("weight", "bias", "running_mean", "running_var")
    ]


def test_a_negative_variance_is_refused_by_its_owner(program: Program) -> None:
    with pytest.raises(mpc.InputError, match=r"norm.running_var\[1\]: expected a value in \[0, 1024\], found -1"):
        Simulated(program.plan, start(program) | {"norm.running_var": np.array([1.0, -1.0, 1.0])})


TWICE = """model twice
role client, modeller
dim batch = 4
input x : [batch, 1, 12, 12] from client in [0, 1]
layer conv1 = conv2d(4, kernel=3)
layer b1 = batchnorm()
layer conv2 = conv2d(4, kernel=3)
layer b2 = batchnorm()
layer fc = dense(3)
weights from modeller in [-1, 1]
logits = x |> conv1 |> b1 |> relu |> conv2 |> b2 |> relu |> flatten |> fc
output y = softmax(logits) to client
train {
    input label : int[batch] from client
    loss = cross_entropy(logits, label)
    optimizer = sgd(lr=0.05)
    output loss to client
    output weights to modeller
}
"""


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_two_layers_of_it_are_trained_as_in_float64() -> None:
    """Their signals are checked at once, but for some that wait for the next step: what a step leaves of the checks
    does not grow with the gaps between these."""
    program = mpc.compile(text=TWICE)
    weights, random = program.initial_weights(1), np.random.default_rng(2)
    data = {"x": random.uniform(0, 1, (12, 1, 12, 12)), "label": np.arange(12) % 3}
    twin = program.reference_fit(data, weights, epochs=1, seed=3)
    private = Simulated(program.plan, weights)
    for batch, expected in zip(batches_of(program.plan, data, 1, 3), twin.losses, strict=True):
        assert private.train(**batch)["loss"] == pytest.approx(expected, rel=0.01)
        assert all(private.checks.values())
