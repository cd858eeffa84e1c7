"""Intervals through the actual weights hold for every input, and are what a row's L1 norm gives for one layer."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.calibration.boxes import bounds
from compiler.graph import Array
from compiler.reading.reference import evaluate_values, leaf_values
from tests.compiler.lowered import graph

RANDOM = np.random.default_rng(11)
MODELS = {
    "dense": "input x : [1, 6] from client in [-1, 2] layer a = dense(5) layer b = dense(3) weights from modeller "
    "h = x |> a |> relu output y = sigmoid(h |> b) - max(h, axis=1, keepdims=true) to client",
    "images": "input x : [1, 2, 6, 6] from client in [0, 1] layer c = conv2d(3, 3, padding=1) layer n = batchnorm() "
    "weights from modeller h = x |> c |> n |> leaky_relu |> avgpool2d(2) "
    "output y = softmax(flatten(maxpool2d(abs(h) * h, 3))) to client",
    "products": "input x : [1, 4] from client in [-2, 1] input z : [4, 3] from client in [0, 3] "
    "param w : [4] from modeller output y = where(x > w, x * w, -square(x)) @ z + tanh(x[:, 1:2]) to client",
    "trees": "input x : [1, 4] from client in [-2, 2] layer f = forest(3, depth=2, outputs=2) weights from modeller "
    "output y = x |> f to client",
}


def weights(model: object) -> dict[str, Array]:
    given = {}
    for leaf in model.params:
        key, shape = leaf.op.key, leaf.shape
        given[key] = RANDOM.uniform(0.5, 1, shape) if key.endswith("var") else RANDOM.normal(size=shape)
        if key.endswith("feature"):
            given[key] = RANDOM.integers(0, 4, shape)
        given[key] = np.rint(given[key] * 2**16) / 2**16
    return given


@pytest.mark.parametrize("body", MODELS.values(), ids=MODELS)
def test_what_any_input_gives_lies_within(body: str) -> None:
    model = graph(body)
    params = weights(model)
    found = bounds(model, params)
    values = list(found)
    for trial in range(40):
        ends = RANDOM.integers(0, 2, 1000) if trial % 2 else RANDOM.uniform(size=1000)
        inputs = {x.op.key: x.range.lo + np.resize(ends, x.shape) * x.range.width for x in model.inputs}
        arrays = evaluate_values(values, leaf_values(model, inputs, params))
        for value, array in zip(values, arrays, strict=True):
            slack = 1e-9 * max(1.0, found[value].magnitude)
            assert found[value].widened(slack).contains(float(array.min())), value
            assert found[value].widened(slack).contains(float(array.max())), value


def test_a_layer_reaches_what_its_rows_can_make() -> None:
    model = graph("input x : [1, 6] from client in [-1, 1] layer a = dense(5) weights from modeller "
                  "output y = x |> a to client")  # fmt: skip
    params = weights(model)
    top = np.abs(params["a.weight"]).sum(axis=1) + params["a.bias"]
    low = -np.abs(params["a.weight"]).sum(axis=1) + params["a.bias"]
    found = bounds(model, params)[model.outputs[0].value]
    assert (found.lo, found.hi) == pytest.approx((low.min(), top.max()))


def test_the_weights_of_another_role_are_anywhere_in_their_range() -> None:
    model = graph("input x : [1, 4] from client in [-1, 1] param w : [4, 2] from modeller in [-3, 3] "
                  "output y = x @ w to client")  # fmt: skip
    found = bounds(model, {})[model.outputs[0].value]
    assert (found.lo, found.hi) == (-12, 12)
