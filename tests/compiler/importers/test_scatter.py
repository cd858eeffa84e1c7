"""Elements put at known places beside onnxruntime, also in each row of a free batch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, imported, model, node

RANDOM = np.random.default_rng(23)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def put(op: str, at: np.ndarray, put_in: np.ndarray, shape: list, opset: int = 17, **options):
    made = node(op, ["x", "at", "put"], ["y"], **options)
    return model([made], {"x": (FLOAT, shape)}, ["y"], {"at": at, "put": put_in}, opset)


@pytest.mark.parametrize(("op", "opset"), [("Scatter", 9), ("ScatterElements", 11), ("ScatterElements", 17)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_elements_along_an_axis(op, opset, axis):
    at = np.array([[0, 2, 1], [-1, 0, 0]])
    assert_agrees(put(op, at, normal(2, 3), [3, 4], opset, axis=axis), {"x": normal(3, 4)})


@pytest.mark.parametrize("at", [[[1]], [[0, 2], [-1, 1]], [[[0, 1, 0]], [[2, 3, -1]]]], ids=str)
def test_elements_and_slices_by_several_axes(at):
    at = np.array(at)
    rest = (3, 4, 2)[at.shape[-1] :]
    assert_agrees(put("ScatterND", at, normal(*at.shape[:-1], *rest), [3, 4, 2]), {"x": normal(3, 4, 2)})


def test_what_is_computed_is_put_in():
    nodes = [node("Relu", ["x"], ["r"]), node("ScatterND", ["zeros", "at", "r"], ["y"])]
    weights = {"zeros": np.zeros((5, 2)), "at": np.array([[4], [0]])}
    assert_agrees(model(nodes, {"x": (FLOAT, [2, 2])}, ["y"], weights), {"x": normal(2, 2)})


def test_a_column_of_a_free_batch():
    """As PyTorch exports `x[:, 1] = 0.5`: the places are computed from the shape."""
    nodes = [
        node("Shape", ["x"], ["rows"], end=1),
        node("Squeeze", ["rows"], ["count"]),
        node("Range", ["zero", "count", "one"], ["row"]),
        node("Unsqueeze", ["row", "last"], ["first"]),
        node("Concat", ["rows", "ones"], ["column"], axis=0),
        node("Expand", ["one", "column"], ["second"]),
        node("Concat", ["first", "second"], ["at"], axis=1),
        node("Expand", ["half", "rows"], ["put"]),
        node("ScatterND", ["x", "at", "put"], ["y"]),
    ]
    weights = {"zero": 0, "one": 1, "last": np.array([1]), "ones": np.array([1]), "half": 0.5}
    program = assert_agrees(model(nodes, {"x": (FLOAT, ["batch", 3])}, ["y"], weights), {"x": normal(4, 3)})
    assert "batch" in dict(program.plan.dims)


def test_what_is_refused():
    with pytest.raises(Exception, match="joins what it puts in"):
        imported(put("ScatterND", np.array([[1]]), normal(1, 4), [3, 4], reduction="add"))
    with pytest.raises(Exception, match="places than elements"):
        imported(put("ScatterND", np.array([[1]]), normal(2, 4), [3, 4]))
