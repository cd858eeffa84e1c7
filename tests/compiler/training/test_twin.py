"""The float64 twin against loops in NumPy, and optimizers against what they do with gradients that are known."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import OpError, apply
from compiler.ops import FUNCTIONS, LOSSES, Conv2d
from compiler.training.optimizers import Adam, Optimizer, Sgd
from compiler.training.reverse import NotTrainable
from compiler.training.twin import Twin
from tests.compiler.graphs import leaf
from tests.compiler.models import layer

RANDOM = np.random.default_rng(6)
G = np.array([0.5, -2.0, 1e-3])


def moves(optimizer: Optimizer, gradients: list[np.ndarray], lr: float = 0.1) -> list[np.ndarray]:
    """How far each step moves a parameter that starts at 0."""
    parameter, state, found = np.zeros(3), {}, []
    for step, gradient in enumerate(gradients, start=1):
        moved, state = optimizer.update(parameter, gradient, state, lr, step)
        found.append(moved - parameter)
        parameter = moved
    return found


def test_momentum_of_an_unchanging_gradient_is_a_geometric_sum() -> None:
    for step, move in enumerate(moves(Sgd(momentum=0.9), [G] * 5), start=1):
        assert move == pytest.approx(-0.1 * G * (1 - 0.9**step) / 0.1)
    for step, move in enumerate(moves(Sgd(momentum=0.9, nesterov=True), [G] * 5), start=2):
        assert move == pytest.approx(-0.1 * G * (1 - 0.9**step) / 0.1)
    assert moves(Sgd(), [G, 3 * G])[1] == pytest.approx(-0.3 * G)


def test_adam_moves_by_the_rate_whatever_the_gradient() -> None:
    for optimizer in (Adam(), Adam(amsgrad=True), Adam(decoupled=True)):
        for move in moves(optimizer, [G] * 6, lr=0.01):
            assert move == pytest.approx(-0.01 * np.sign(G), rel=1e-3)
    assert np.array_equal(moves(Adam(), [np.zeros(3)])[0], np.zeros(3))


def test_amsgrad_remembers_the_largest() -> None:
    """One large gradient among small ones: its second moment fades for Adam alone."""
    some = [100 * G, *[G] * 3000]
    kept, faded = moves(Adam(amsgrad=True), some)[-1], moves(Adam(), some)[-1]
    second = 0.001 * (100 * G) ** 2
    expected = -0.1 * G / np.sqrt(second)  # the first moment is G again, and both corrections are nearly 1
    assert kept == pytest.approx(expected * np.sqrt(1 - 0.999**3001), rel=1e-2)
    assert (np.abs(faded) > 2 * np.abs(kept)).all()


def test_weight_decay_pulls_to_zero() -> None:
    w, none = np.array([1.0, -2.0]), np.zeros(2)
    assert Sgd(weight_decay=0.5).update(w, none, {}, 0.1, 1)[0] == pytest.approx(0.95 * w)
    assert Adam(weight_decay=0.5, decoupled=True).update(w, none, {}, 0.1, 1)[0] == pytest.approx(0.95 * w)
    assert Adam(weight_decay=0.5).update(w, none, {}, 0.1, 1)[0] == pytest.approx(w - 0.1 * np.sign(w))


@pytest.mark.parametrize(
    ("kind", "settings", "found"),
    [(Sgd, {"momentum": 1.0}, "`momentum` expects"), (Sgd, {"weight_decay": -1.0}, "`weight_decay` expects"),
     (Sgd, {"nesterov": True}, "nesterov expects a momentum"), (Adam, {"beta2": -0.1}, "`beta2` expects"),
     (Adam, {"eps": 1e-3}, "`eps` expects a number from 0 to 1e-05, found 0.001"),
     (Adam, {"weight_decay": float("nan")}, "`weight_decay` expects")],
)  # fmt: skip
def test_settings_that_have_no_meaning(kind: type[Optimizer], settings: dict[str, float], found: str) -> None:
    with pytest.raises(OpError, match=found):
        kind(**settings)


def test_logistic_regression_is_numpys() -> None:
    x, label = leaf("x", (8, 3)), leaf("label", (8, 1), (0, 1))
    params: dict[str, object] = {}
    logits = layer("dense", "fc", x, params, 1)  # type: ignore[arg-type]
    loss = LOSSES["binary_cross_entropy_with_logits"].call((logits, label), {})
    w, b = RANDOM.normal(size=(1, 3)), RANDOM.normal(size=1)
    twin = Twin(loss, Sgd(momentum=0.9), {"fc.weight": w, "fc.bias": b})
    assert [value.name for value in twin.trained] == ["fc.weight", "fc.bias"]
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for _ in range(20):
        batch = {"x": RANDOM.normal(size=(8, 3)), "label": RANDOM.integers(0, 2, (8, 1)).astype(float)}
        z = batch["x"] @ w.T + b
        p = 1 / (1 + np.exp(-z))
        expected = -(batch["label"] * np.log(p) + (1 - batch["label"]) * np.log(1 - p)).mean()
        assert twin.train(batch, lr=0.5) == pytest.approx(expected)
        vw, vb = 0.9 * vw + (p - batch["label"]).T @ batch["x"] / 8, 0.9 * vb + (p - batch["label"]).mean(axis=0)
        w, b = w - 0.5 * vw, b - 0.5 * vb
    assert twin.params["fc.weight"] == pytest.approx(w) and twin.params["fc.bias"] == pytest.approx(b)
    assert twin.step == 20


def test_a_twin_leaves_what_is_frozen_and_what_it_was_given() -> None:
    image, kernel = leaf("image", (4, 1, 5, 5)), leaf("conv.weight", (2, 1, 3, 3), param=True)
    params: dict[str, object] = {}
    features = FUNCTIONS["flatten"].call((FUNCTIONS["relu"].call((apply(Conv2d(), image, kernel),), {}),), {})
    loss = LOSSES["cross_entropy"].call(
        (layer("dense", "fc", features, params, 3), np.array([0, 1, 2, 0]).tolist()), {}
    )
    given = {"conv.weight": RANDOM.normal(size=(2, 1, 3, 3)), "fc.weight": RANDOM.normal(size=(3, 18)),
             "fc.bias": np.zeros(3)}  # fmt: skip
    before = {key: array.copy() for key, array in given.items()}
    twin = Twin(loss, Adam(), given, frozen=[kernel])
    batch = {"image": RANDOM.normal(size=(4, 1, 5, 5))}
    losses = [twin.train(batch, lr=0.05) for _ in range(40)]
    assert losses[-1] < losses[0] / 10
    assert np.array_equal(twin.params["conv.weight"], before["conv.weight"])
    assert all(np.array_equal(given[key], before[key]) for key in given)
    with pytest.raises(NotTrainable, match="frozen"):
        Twin(loss, Adam(), given, frozen=[kernel, *params.values()])  # type: ignore[list-item]
