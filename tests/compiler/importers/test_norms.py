"""Normalisations by what is computed from the data, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, model, node

RANDOM = np.random.default_rng(37)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def test_a_batch_normalisation_of_rows_is_one_by_computed_moments():
    """As Keras' layer normalisation is exported by tf2onnx: each row is a channel."""
    nodes = [
        node("Shape", ["x"], ["sizes"]),
        node("Slice", ["sizes", "zero", "one"], ["rows"]),
        node("Expand", ["unit", "rows"], ["scale"]),
        node("Expand", ["nothing", "rows"], ["shift"]),
        node("Reshape", ["x", "apart"], ["r"]),
        node("ReduceMean", ["r"], ["mean"], axes=[0, 2, 3], keepdims=0),
        node("Reshape", ["mean", "columns"], ["wide"]),
        node("Sub", ["r", "wide"], ["d"]),
        node("Mul", ["d", "d"], ["square"]),
        node("ReduceMean", ["square"], ["variance"], axes=[0, 2, 3], keepdims=0),
        node("BatchNormalization", ["r", "scale", "shift", "mean", "variance"], ["n"], epsilon=1e-3),
        node("Reshape", ["n", "sizes"], ["y"]),
    ]
    weights = {"zero": np.array([0]), "one": np.array([1]), "unit": 1.0, "nothing": 0.0,
               "apart": np.array([1, -1, 4, 1]), "columns": np.array([1, -1, 1, 1])}  # fmt: skip
    program = assert_agrees(model(nodes, {"x": (FLOAT, ["batch", 4])}, ["y"], weights, opset=13), {"x": normal(3, 4)})
    assert "batch" in dict(program.plan.dims)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 2)], ids=str)
def test_a_batch_normalisation_by_computed_numbers(shape):
    names = ["scale", "shift", "mean", "variance"]
    nodes = [node("Abs", ["v"], ["variance"]), node("BatchNormalization", ["x", *names], ["y"])]
    inputs = {"x": (FLOAT, shape), "v": (FLOAT, [3])}
    proto = model(nodes, inputs, ["y"], {"scale": normal(3), "shift": normal(3), "mean": normal(3)})
    assert_agrees(proto, {"x": normal(*shape), "v": np.array([0.5, -1.5, 2.0])})
