"""Support vector machines with probabilities beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, PRIVATE, assert_agrees, imported, model, node, runtime_results

RANDOM = np.random.default_rng(29)
X = RANDOM.normal(0, 1, (5, 3)).astype(np.float32)
STOPPED = 3e-3  # onnxruntime's iteration ends where its residual is below 0.005 / classes


def machine(classes: int, *, platt: bool = True, outputs=("label", "scores")):
    """Two support vectors for each class."""
    vectors, pairs = 2 * classes, classes * (classes - 1) // 2
    random = np.random.default_rng(31)
    fitted = {
        "prob_a": random.uniform(-3, -1, pairs).tolist(),
        "prob_b": random.uniform(-1, 1, pairs).tolist(),
    }
    made = node(
        "SVMClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", name="svm",
        classlabels_ints=list(range(classes)), vectors_per_class=[2] * classes,
        support_vectors=random.normal(0, 1, vectors * 3).tolist(),
        coefficients=random.normal(0, 1, (classes - 1) * vectors).tolist(), rho=random.normal(0, 0.3, pairs).tolist(),
        kernel_type="RBF", kernel_params=[0.5, 0.0, 3.0], post_transform="NONE", **(fitted if platt else {}),
    )  # fmt: skip
    return model([made], {"x": (FLOAT, [5, 3])}, outputs, ml=1), fitted


def test_probabilities_of_two_classes():
    program = imported(machine(2)[0])
    got = program.reference({"x": X}, program.weights)
    label, scores = runtime_results(machine(2)[0], {"x": X})
    assert (got["label"] == label).all() and np.abs(got["scores"] - scores).max() < STOPPED


def test_probabilities_of_three_classes_solve_the_equations_of_the_pairs():
    proto, fitted = machine(3)
    program = imported(proto)
    got, simulated = program.reference({"x": X}, program.weights), program.simulate({"x": X}, program.weights)
    label, scores = runtime_results(proto, {"x": X})
    assert (got["label"] == label).all() and np.abs(got["scores"] - scores).max() < STOPPED
    assert np.abs(simulated.results["scores"] - got["scores"]).max() < PRIVATE
    decisions = runtime_results(machine(3, platt=False)[0], {"x": X})[1]
    of_pairs = 1 / (1 + np.exp(decisions * fitted["prob_a"] + fitted["prob_b"]))
    for row, (r01, r02, r12) in zip(got["scores"], of_pairs, strict=True):
        r = np.array([[0, r01, r02], [1 - r01, 0, r12], [1 - r02, 1 - r12, 0]])
        q = np.diag((r**2).sum(axis=0)) - r * r.T
        assert np.ptp(q @ row) < 1e-6 and abs(row.sum() - 1) < 1e-9


def test_of_more_classes_the_label_is_left():
    assert_agrees(machine(4, outputs=["label"])[0], {"x": X})
    with pytest.raises(Exception, match=r"(?s)pairs of more than three classes.*probability=False.*remove the output"):
        imported(machine(4)[0])
