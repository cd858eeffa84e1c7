"""Metrics of training and of validation rows in the gates' clear meaning, held against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.program import Program
from tests.trained import Simulated

Array = np.ndarray
Measured = Callable[[Array, Array], float]
CLASSES = 3

MODEL = """model scored
role client, modeller
dim batch = 8
input x : [batch, 4] from client in [-2, 2]
layer fc = dense(3)
weights from modeller in [-2, 2]
y = fc(x)
output shown = y to client
train {
    input label : LABEL
    loss = LOSS
    optimizer = sgd(lr=0.1)
    metric loss to modeller
    METRIC
}
"""
INDEX, SHARES, BITS = "int[batch] from client", "[batch, 3] from client in [0, 1]", "bit[batch, 3] from client"


def compiled(label: str, loss: str, metric: str = "metric accuracy to modeller, client", frac: int = 16) -> Program:
    text = MODEL.replace("LABEL", label).replace("LOSS", loss).replace("METRIC", metric)
    return mpc.compile(text=f"{text}precision fixed(bits=64, frac={frac})\n" if frac != 16 else text)


def weights() -> dict[str, Array]:
    random = np.random.default_rng(4)
    return {"fc.weight": random.uniform(-1, 1, (3, 4)), "fc.bias": random.uniform(-1, 1, 3)}


def scores(x: Array) -> Array:
    return x @ weights()["fc.weight"].T + weights()["fc.bias"]


def log_softmax(z: Array) -> Array:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def labelled(kind: str, rows: int) -> dict[str, Array]:
    random = np.random.default_rng(rows)
    label = random.integers(0, CLASSES, rows)
    if kind != INDEX:
        label = 0.8 * np.eye(CLASSES)[label] + 0.2 / CLASSES if kind == SHARES else random.integers(0, 2, (rows, 3)) > 0
    return {"x": random.uniform(-2, 2, (rows, 4)), "label": label}


def batches(data: dict[str, Array], size: int = 8) -> list[dict[str, Array]]:
    """The last row fills the last batch up."""
    rows = len(data["x"])
    places = [np.minimum(np.arange(start, start + size), rows - 1) for start in range(0, rows, size)]
    return [{name: array[at] for name, array in data.items()} for at in places]


def right(z: Array, label: Array) -> float:
    return float((z.argmax(axis=1) == (label if label.ndim == 1 else label.argmax(axis=1))).mean())


def entropy(z: Array, label: Array) -> float:
    wanted = np.eye(CLASSES)[label] if label.ndim == 1 else label
    return float(-(wanted * log_softmax(z)).sum(axis=1).mean())


def binary(z: Array, label: Array) -> float:
    return float((np.logaddexp(0, z) - label * z).mean())


PENALTY = float((weights()["fc.weight"] ** 2).sum())
CASES: dict[str, tuple[str, str, Measured, Measured]] = {
    "classes": (INDEX, "cross_entropy(y, label)", entropy, right),
    "a penalty": (
        INDEX,
        "cross_entropy(y, label) + 0.5 * sum(fc.weight ** 2)",
        lambda z, label: entropy(z, label) + 0.5 * PENALTY,
        right,
    ),
    "distributions": (SHARES, "2 * cross_entropy(y, label)", lambda z, label: 2 * entropy(z, label), right),
    "bits": (
        BITS,
        "binary_cross_entropy_with_logits(y, label)",
        binary,
        lambda z, label: float(((z > 0) == label).mean()),
    ),
    "two losses": (
        SHARES,
        "cross_entropy(y, label) - mse(y, label) / 4 + mean(relu(y))",
        lambda z, label: entropy(z, label) - ((z - label) ** 2).mean() / 4 + np.maximum(z, 0).mean(),
        right,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_metrics_of_validation_rows_are_those_of_all_of_them(case: str) -> None:
    """Whether the rows fill their batches or not."""
    kind, loss, lost, hit = CASES[case]
    private = Simulated(compiled(kind, loss).plan, weights())
    for rows in (3, 16, 19):  # each begins anew
        data = labelled(kind, rows)
        found = private.measure(batches(data), rows)
        assert found["loss"] == pytest.approx(lost(scores(data["x"]), data["label"]), rel=1e-3)
        assert found["accuracy"] == pytest.approx(hit(scores(data["x"]), data["label"]), abs=1e-9)


@pytest.mark.parametrize("frac", [8, 12, 18, 20])
def test_a_sum_of_losses_has_room_in_every_format(frac: int) -> None:
    private = Simulated(compiled(INDEX, "cross_entropy(y, label)", frac=frac).plan, weights())
    data = labelled(INDEX, 19)
    found = private.measure(batches(data), 19)
    assert found["loss"] == pytest.approx(entropy(scores(data["x"]), data["label"]), abs=2.0 ** (4 - frac) + 1e-3)


def test_a_loss_without_a_bound_is_not_added_up() -> None:
    text = MODEL.replace("LABEL", SHARES).replace("LOSS", "mse(y, label)").replace("    METRIC\n", "")
    with pytest.raises(mpc.CompileError, match="the metric `loss` has no room") as caught:
        mpc.compile(text=text.replace(" in [-2, 2]\nlayer", "\nlayer"))
    assert [each.line for each in caught.value.diagnostics] == [13]


def test_metrics_of_a_step_are_of_the_weights_that_it_found() -> None:
    private = Simulated(compiled(INDEX, "cross_entropy(y, label)").plan, weights())
    data = labelled(INDEX, 8)
    found = private.measure(batches(data), 8, validation=False)
    assert found["loss"] == pytest.approx(entropy(scores(data["x"]), data["label"]), rel=1e-3)
    assert found["accuracy"] == pytest.approx(right(scores(data["x"]), data["label"]), abs=1e-9)


def test_of_equal_scores_the_first_counts() -> None:
    program = compiled(INDEX, "cross_entropy(y, label)")
    private = Simulated(program.plan, {"fc.weight": np.zeros((3, 4)), "fc.bias": np.array([0.5, 1.0, 1.0])})
    data = {"x": np.ones((8, 4)), "label": np.array([1, 1, 1, 2, 2, 0, 0, 0])}
    assert private.measure([data], 8)["accuracy"] == pytest.approx(3 / 8)


def test_a_loss_that_is_no_mean_over_rows_is_told_of_steps_alone() -> None:
    with pytest.warns(mpc.CompileWarning, match="no sum of means over rows"):
        program = compiled(SHARES, "sqrt(mse(y, label) + 0.1) + mean(relu(y))", "")
    assert [(metric.name, metric.validation) for metric in program.plan.metrics] == [("loss", False)]
    assert "evaluate" not in [procedure.name for procedure in program.plan.procedures]
    data = labelled(SHARES, 8)
    z = scores(data["x"])
    expected = np.sqrt(((z - data["label"]) ** 2).mean() + 0.1) + np.maximum(z, 0).mean()
    found = Simulated(program.plan, weights()).measure([data], 8, validation=False)
    assert found == {"loss": pytest.approx(expected, rel=1e-3)}


@pytest.mark.parametrize(
    ("loss", "metric", "line", "message"),
    [
        ("mse(y, label)", "metric accuracy to modeller", 14, "accuracy compares the scores of one loss with its label"),
        (
            "cross_entropy(y, label) + cross_entropy(2 * y, label)",
            "metric accuracy to client",
            14,
            "found 2 losses with scores",
        ),
        ("cross_entropy(y, label)", "metric acuracy to client", 14, "`acuracy` is not a metric"),
        ("cross_entropy(y, label)", "metric loss to client", 14, "a second `metric loss`"),
        ("cross_entropy(y, label)", "metric accuracy to nobody", 14, "nobody"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_its_place(loss: str, metric: str, line: int, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message) as caught:
        compiled(SHARES, loss, metric)
    assert [each.line for each in caught.value.diagnostics] == [line]


def test_metrics_need_rows() -> None:
    text = MODEL.replace("dim batch = 8", "const rows = 8").replace("batch", "rows")
    text = text.replace("LABEL", "[rows, 3] from client").replace("LOSS", "mse(y, label)").replace("METRIC", "")
    with pytest.raises(mpc.CompileError, match="a metric is a mean over the rows of the dim `batch`"):
        mpc.compile(text=text)


def test_the_manifest_says_that_they_are_told_once_an_epoch() -> None:
    told = [line for line in compiled(INDEX, "cross_entropy(y, label)").leakage if "`metric." in line]
    assert [line.partition(": ")[0] for line in told] == [
        "once an epoch of training, output `metric.loss` is revealed to modeller",
        "once an epoch of training, output `metric.accuracy` is revealed to modeller and client",
        "once an epoch of training, output `metric.validation_loss` is revealed to modeller",
        "once an epoch of training, output `metric.validation_accuracy` is revealed to modeller and client",
    ]


def test_a_word_of_the_block_is_a_name_elsewhere() -> None:
    text = MODEL.replace("y = fc(x)", "metric = fc(x)\ny = metric").replace("LABEL", SHARES)
    text = text.replace("LOSS", "cross_entropy(y, label)").replace("METRIC", "metric = 2\n    output metric to client")
    assert [metric.name for metric in mpc.compile(text=text).plan.metrics] == ["loss", "loss"]
