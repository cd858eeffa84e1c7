"""The plaintext reference: a whole model against plain NumPy, array roles, stored comparisons, and its errors."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import Input, Kind, apply, constant
from compiler.ops import OPERATORS
from compiler.reading import reference
from tests.compiler.graphs import graph, leaf
from tests.compiler.models import call, numbers, small_network


def test_a_network_is_what_numpy_says() -> None:
    model = small_network()
    inputs, p = numbers(model)
    padded = np.pad(inputs["image"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    h = np.zeros((2, 3, 6, 6))
    for o, i, j in np.ndindex(3, 6, 6):
        window = padded[:, :, i : i + 3, j : j + 3]
        h[:, o, i, j] = (window * p["conv1.weight"][o]).sum(axis=(1, 2, 3)) + p["conv1.bias"][o]
    mean, variance, weight, bias = (
        p[f"bn1.{key}"].reshape(3, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    h = np.maximum((h - mean) / np.sqrt(variance + 1e-5) * weight + bias, 0)
    h = h.reshape(2, 3, 3, 2, 3, 2).max(axis=(3, 5)).reshape(2, 27)
    logits = h @ p["fc.weight"].T + p["fc.bias"]
    odds = np.exp(logits)
    expected = odds / odds.sum(axis=1, keepdims=True)
    assert np.allclose(reference.evaluate(model, inputs, p)["probabilities"], expected)


def test_an_array_role_is_stacked() -> None:
    members = [
        apply(Input(Kind.INT, (2,), f"hospital[{place}]", key="age", index_path=(place,)), name="age")
        for place in range(3)
    ]
    total = call("sum", call("stack", *members), axis=0)
    ages = np.array([[1, 2], [3, 4], [5, 6]])
    found = reference.evaluate(graph(total), {"age": ages}, {})["y0"]
    assert found.tolist() == [9, 12] and found.dtype == np.int64


def test_comparisons_see_what_is_stored() -> None:
    x = leaf("x", (4,), (-1, 1))
    outputs = (OPERATORS[">"](x, constant(0)), OPERATORS["=="](OPERATORS["+"](x, constant(0.2)), constant(0.3)))
    tiny = np.array([0.1, 2.0**-18, -(2.0**-18), 2.0**-16])
    found = reference.evaluate(graph(*outputs), {"x": tiny}, {})
    assert found["y0"].tolist() == [True, False, False, True]
    assert found["y1"].tolist() == [True, False, False, False]


def test_missing_and_misshapen_values_are_named() -> None:
    model = graph(leaf("x", (2, 3)))
    with pytest.raises(KeyError, match="the input 'x' is missing"):
        reference.evaluate(model, {}, {})
    with pytest.raises(ValueError, match=r"the input 'x' expects \[2, 3\], found \[3, 2\]"):
        reference.evaluate(model, {"x": np.zeros((3, 2))}, {})
