"""Labels of `cross_entropy`: what is computed privately, the float64 twin and PyTorch's formula are one, whatever they
add up to, and what is no class is refused by its owner's client."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.program import Program
from tests.trained import Simulated

Array = np.ndarray

SOURCE = """model m
role client, modeller
dim batch = 4
input x : [batch, 3] from client in [-2, 2]
ABOVE
layer fc = dense(2)
weights from modeller in [-2, 2]
logits = fc(x)
output y = softmax(logits) to client
train {
    input label : DECLARED
    loss = cross_entropy(logits, LABELS)
    optimizer = sgd(lr=0.5)
    output loss to client
    output weights to modeller
}
"""
WEIGHTS = {"fc.weight": np.array([[0.5, -0.25, 1.0], [-0.5, 0.75, 0.0]]), "fc.bias": np.array([0.25, -0.5])}
X = np.random.default_rng(1).uniform(-2, 2, (4, 3))


def compiled(declared: str, labels: str = "label", above: str = "") -> Program:
    return mpc.compile(text=SOURCE.replace("DECLARED", declared).replace("LABELS", labels).replace("ABOVE", above))


def torch_step(labels: Array) -> tuple[float, dict[str, Array]]:
    """The loss, and the parameters behind a step, by torch.nn.functional.cross_entropy's formula for probabilities."""
    z = X @ WEIGHTS["fc.weight"].T + WEIGHTS["fc.bias"]
    log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    signal = (labels.sum(axis=1, keepdims=True) * np.exp(log) - labels) / len(X)
    moved = {
        "fc.weight": WEIGHTS["fc.weight"] - 0.5 * signal.T @ X,
        "fc.bias": WEIGHTS["fc.bias"] - 0.5 * signal.sum(0),
    }
    return -(labels * log).sum() / len(X), moved


def expect_the_same(program: Program, given: dict[str, Array], labels: Array) -> None:
    loss, moved = torch_step(labels)
    private = Simulated(program.plan, WEIGHTS)
    assert private.train(x=X, **given)["loss"] == pytest.approx(loss, abs=2e-3)
    clear = program.reference_fit({"x": X, **given}, WEIGHTS, epochs=1, seed=1)
    assert clear.losses == [pytest.approx(loss)]
    for name, array in private.finish().items():
        assert np.abs(array - moved[name]).max() < 5e-4
        assert clear.weights[name] == pytest.approx(moved[name])


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(2)[[0, 1, 1, 0]],
        np.full((4, 2), 0.1),
        np.array([[0.7, 0.2], [0.0, 0.0], [1.0, 1.0], [0.25, 0.75]]),  # one row counts nothing, another one twice
    ],
)
def test_a_row_counts_as_much_as_its_labels_add_up_to(labels: Array) -> None:
    expect_the_same(compiled("[batch, 2] from client in [0, 1]"), {"label": labels}, labels)


@pytest.mark.parametrize(
    ("labels", "made"),
    [
        ("label", lambda hot: hot),
        ("one_hot(label, 2)", lambda hot: hot),
        ("0.9 * one_hot(label, 2) + 0.05", lambda hot: 0.9 * hot + 0.05),
        ("2 * one_hot(label, 2) - [0.5, 0]", lambda hot: 2 * hot - [0.5, 0]),
    ],
)
def test_what_labels_of_classes_add_up_to_costs_nothing(labels: str, made: object) -> None:
    assert callable(made)
    program = compiled("int[batch] from client", labels)
    label = np.array([0, 1, 1, 0])
    expect_the_same(program, {"label": label}, made(np.eye(2)[label]))
    plain, distribution = compiled("int[batch] from client"), compiled("[batch, 2] from client in [0, 1]")
    assert program.cost.train_rounds == plain.cost.train_rounds < distribution.cost.train_rounds


@pytest.mark.parametrize("range_", ["", " in [0, 9]", " in [-5, 1]"])
@pytest.mark.parametrize("labels", ["label", "one_hot(label, 2)", "reshape(concat(label[0:2], label[2:4]), [4])"])
def test_a_label_is_a_class_whatever_range_is_declared(range_: str, labels: str) -> None:
    private = Simulated(compiled(f"int[batch] from client{range_}", labels).plan, WEIGHTS)
    with pytest.raises(mpc.InputError, match=r"label\[2\]: expected a value in \[0, 1\], found 5"):
        private.train(x=X, label=np.array([0, 1, 5, 0]))


def test_labels_of_an_array_role_are_classes_too() -> None:
    text = SOURCE.replace("role client", "role shop[2], client").replace("DECLARED", "int[2] from shop in [-3, 9]")
    program = mpc.compile(text=text.replace("LABELS", "concat(label[0], label[1])").replace("ABOVE", ""))
    assert [(t.lo, t.hi) for t in program.plan.inputs if t.name == "label"] == [(0, 1), (0, 1)]


def test_a_range_without_a_class_is_refused_at_its_place() -> None:
    message = r"a label is a class from 0 to 1, and `label` is declared in \[5, 9\]"
    with pytest.raises(mpc.CompileError, match=message) as caught:
        compiled("int[batch] from client in [5, 9]")
    assert {each.line for each in caught.value.diagnostics} == {11}


def test_a_number_that_no_client_compares_with_classes_may_be_none() -> None:
    """An input of the model, which a run takes too: a row of no class counts nothing."""
    above = "input kind : int[batch] from client in [0, 9]\noutput seen = kind to client"
    program = compiled("[batch] from client in [0, 1]", "kind", above)
    kind, hot = np.array([0, 7, 1, 2]), np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]])
    loss, moved = torch_step(hot)
    private = Simulated(program.plan, WEIGHTS)
    assert private.train(x=X, kind=kind, label=np.zeros(4))["loss"] == pytest.approx(loss, abs=2e-3)
    assert np.abs(private.finish()["fc.weight"] - moved["fc.weight"]).max() < 5e-4


def test_what_is_compared_with_a_number_is_no_label() -> None:
    """A weight of rows by their number, beside a loss."""
    program = compiled("int[batch] from client in [0, 9]", "one_hot(where(label == 3, 1, 0), 2)")
    assert [(t.lo, t.hi) for t in program.plan.inputs if t.name == "label"] == [(0, 9)]


@pytest.mark.parametrize(
    ("row", "label", "message"),
    [
        (3, 2, r"label\[3\]: expected a value in \[0, 1\], found 2"),
        (1, -1, r"label\[1\]: expected a value in \[0, 1\], found -1"),
        (0, 0.5, r"label\[0\]: expected a whole number, found 0.5"),
        (2, np.nan, r"label\[2\]: expected a finite number, found nan"),
    ],
)
def test_training_and_its_twin_refuse_a_label_that_is_no_class_with_the_same_words(
    row: int, label: float, message: str
) -> None:
    program = compiled("int[batch] from client")
    labels = np.array([0.0, 1, 1, 0])
    labels[row] = label
    data = {"x": X, "label": labels}
    with pytest.raises(mpc.InputError, match=message) as twin:
        program.reference_fit(data, WEIGHTS, seed=1)
    with mpc.launch(program) as session:
        session.provide(WEIGHTS)
        with pytest.raises(mpc.InputError) as private:
            session.fit(data, seed=1)
    assert str(private.value) == str(twin.value)
