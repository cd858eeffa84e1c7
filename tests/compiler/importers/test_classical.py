"""Operators of `ai.onnx.ml` that look up labels and numbers, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, INT, assert_agrees, imported, model, node, onnx

RANDOM = np.random.default_rng(19)
PLACES = np.array([2, 0, 1, 2])


def looked_up(table):
    """The columns of a table in computed places."""
    nodes = [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
             node("ArrayFeatureExtractor", ["table", "i"], ["y"], domain="ai.onnx.ml")]  # fmt: skip
    return model(nodes, {"x": (FLOAT, [4, 3])}, ["y"], {"table": table}, ml=3)


@pytest.mark.parametrize(
    "table",
    [[0.5, -1.25, 2.0], [[0.5, -1.25, 2.0]], [[0.5, -1.25, 2.0], [3.5, 4.0, -0.75]], [7, 5, 9], [[7, 5, 9], [1, 2, 3]]],
    ids=str,
)
def test_numbers_of_a_table_in_computed_places(table):
    """Real ones stay real, and of several rows each gives its own."""
    assert_agrees(looked_up(np.array(table)), {"x": np.eye(3)[PLACES]})


def encoded(kind=FLOAT, **table):
    made = node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **table)
    return model([made], {"x": (kind, [4])}, ["y"], ml=3)


@pytest.mark.parametrize("values", [{"values_floats": [0.5, 2.5, -3.0], "default_float": -1.0},
                                    {"values_int64s": [4, 0, 9], "default_int64": 7}], ids=str)  # fmt: skip
def test_an_encoder_of_numbers(values):
    assert_agrees(encoded(keys_floats=[0.5, 1.5, 2.0], **values), {"x": np.array([2.0, 0.5, 3.0, 1.5])})


def test_an_encoder_of_whole_numbers_to_real_ones():
    proto = encoded(INT, keys_int64s=[3, 1, 7], values_floats=[0.5, 2.5, -3.0], default_float=-1.0)
    assert_agrees(proto, {"x": np.array([7, 1, 3, 2])})


def test_an_encoder_of_nan_or_text_is_refused():
    with pytest.raises(Exception, match="it encodes NaN"):
        imported(encoded(keys_floats=[0.5, float("nan")], values_floats=[0.5, 2.5]))
    with pytest.raises(Exception, match="LabelEncoder: it encodes text"):
        imported(encoded(keys_strings=["a", "b"], values_floats=[0.5, 2.5]))


def test_an_input_holds_neither_nan_nor_infinity():
    nodes = [node("Transpose", ["x"], ["t"]), node("IsNaN", ["t"], ["n"]), node("Where", ["n", "zero", "t"], ["y"])]
    assert_agrees(model(nodes, {"x": (FLOAT, [2, 3])}, ["y"], {"zero": 0.0}), {"x": RANDOM.normal(0, 1, (2, 3))})
    nodes[1] = node("IsInf", ["t"], ["n"])
    assert_agrees(model(nodes, {"x": (FLOAT, [2, 3])}, ["y"], {"zero": 0.0}), {"x": RANDOM.normal(0, 1, (2, 3))})
    nodes[0] = node("Sqrt", ["x"], ["t"])
    with pytest.raises(Exception, match="there is no infinity here"):
        imported(model(nodes, {"x": (FLOAT, [2, 3])}, ["y"], {"zero": 0.0}))
    nodes[1] = node("IsNaN", ["t"], ["n"])
    with pytest.raises(Exception, match="there is no NaN here"):
        imported(model(nodes, {"x": (FLOAT, [2, 3])}, ["y"], {"zero": 0.0}))


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances_by_the_operator_of_onnxruntime(metric):
    made = node("CDist", ["x", "rows"], ["y"], domain="com.microsoft", metric=metric)
    proto = model([made], {"x": (FLOAT, ["batch", 3])}, ["y"], {"rows": RANDOM.normal(0, 1, (5, 3))})
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert_agrees(proto, {"x": RANDOM.normal(0, 1, (4, 3))})


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_rows_over_their_norm(norm):
    """The largest number is that of the numbers as they are; ONNX's own evaluator takes their magnitudes."""
    made = node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm=norm)
    proto = model([made], {"x": (FLOAT, ["batch", 3])}, ["y"], ml=1)
    assert_agrees(proto, {"x": np.array([[-2, 1, 0.5], [1, 2, -0.25]])})
