"""Samples of inputs, from which their ranges come: refused as `mpc.calibrate` refuses them."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, INT, imported, model, node


def proto():
    nodes = [node("Add", ["x", "w"], ["y"]), node("Add", ["y", "z"], ["v"]), node("Neg", ["i"], ["j"])]
    inputs = {"x": (FLOAT, ["batch", 3]), "z": (FLOAT, ["length", 3]), "i": (INT, [2])}
    return model(nodes, inputs, ["v", "j"], {"w": np.ones((1, 3))})


@pytest.mark.parametrize(
    ("name", "samples", "message"),
    [
        ("x", [[1, np.nan, 0]], "x: expected finite numbers"),
        ("x", [[1, np.inf, 0]], "x: expected finite numbers"),
        ("x", [[1j, 0, 0]], "x: expected finite numbers"),
        ("x", [["a", "b", "c"]], "x: expected finite numbers"),
        ("i", ["a", "b"], "i: expected finite numbers"),
        ("x", np.ones((5, 4)), r"the input 'x' expects \[5, 3\], found \[5, 4\]"),
        ("x", np.ones(3), r"the input 'x' expects \[1, 3\], found \[3\]"),
        ("x", np.ones((0, 3)), r"the input 'x' expects \[1, 3\], found \[0, 3\]"),
        ("i", np.ones(3, int), r"the input 'i' expects \[2\], found \[3\]"),
    ],
)
def test_what_is_no_sample_is_refused(name, samples, message):
    with pytest.raises(mpc.InputError, match=message):
        imported(proto(), inputs={name: np.asarray(samples)})


def test_several_batches_of_a_model_whose_batch_is_a_number():
    fixed = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [2, 3])}, ["y"])
    assert "in [-2, 2]" in imported(fixed, inputs={"x": np.ones((6, 3))}).source
    with pytest.raises(mpc.InputError, match=r"expects \[2, 3\], found \[5, 3\]"):
        imported(fixed, inputs={"x": np.ones((5, 3))})


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(mpc.InputError, match=r"x: expected finite numbers\nthe input 'i' expects"):
        imported(proto(), inputs={"x": np.full((1, 3), np.nan), "i": np.ones(3, int)})


@pytest.mark.parametrize(
    "samples", [np.ones((7, 3)), np.full((1, 3), -128, np.int8), [[1, 2, 3]], [[True, False, True]]]
)
def test_any_number_of_rows_and_kind_of_numbers(samples):
    largest = 2 * np.abs(np.asarray(samples, float)).max()
    bound = int(2 ** np.ceil(np.log2(largest)))
    assert f"in [-{bound}, {bound}]" in imported(proto(), inputs={"x": samples}).source
