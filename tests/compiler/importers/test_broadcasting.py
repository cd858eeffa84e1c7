"""Operands of different shapes: what is left out because it changes no number may still make the result larger."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.onnx_models import FLOAT, INT, assert_agrees, imported, model, node

RANDOM = np.random.default_rng(15)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize("bit", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (2, 3)], ids=str)
def test_a_choice_that_is_known_has_the_shape_of_all_operands(bit, shape):
    nodes = [node("Where", ["bit", "x", "z"], ["y"]), node("Where", ["bit", "x", "w"], ["v"])]
    weights = {"bit": np.full(shape, bit), "w": normal(2, 3)}
    proto = model(nodes, {"x": (FLOAT, [1, 3]), "z": (FLOAT, [2, 1])}, ["y", "v"], weights)
    assert_agrees(proto, {"x": normal(1, 3), "z": normal(2, 1)})


@pytest.mark.parametrize("shape", [(), (1, 1), (1, 1, 1), (2, 1), (1, 3)], ids=str)
def test_exponents_that_are_alike_have_a_shape(shape):
    """Several real numbers would be the owner's, and secret."""
    for exponent in (1, 2) if np.prod(shape) > 1 else (1.0, 2.0, 0.5, -1.0, 1, 2):
        proto = model([node("Pow", ["x", "e"], ["y"])], {"x": (FLOAT, [3])}, ["y"], {"e": np.full(shape, exponent)})
        assert_agrees(proto, {"x": np.abs(normal(3)) + 0.5})


@pytest.mark.parametrize(("op", "number"), [("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0), ("Max", -9.0)])
def test_a_neutral_number_has_a_shape(op, number):
    for shape, place in itertools.product([(1, 1), (2, 1)], [0, 1]):
        names = ["x", "c"] if place else ["c", "x"]
        proto = model([node(op, names, ["y"])], {"x": (FLOAT, [3])}, ["y"], {"c": np.full(shape, number)})
        assert_agrees(proto, {"x": np.abs(normal(3)) + 0.5})


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("op", "number"), [("Min", 1e12), ("Min", 3.4e38), ("Min", np.inf), ("Max", -1e12), ("Max", -np.inf)]
)
def test_a_bound_that_binds_nothing_is_left_out(op, number, place):
    """Keras' unit normalization has one: the smaller of 1 / norm and 1e12."""
    names = ["x", "c"] if place else ["c", "x"]
    proto = model([node(op, names, ["y"])], {"x": (FLOAT, [3])}, ["y"], {"c": np.float32(number)})
    assert_agrees(proto, {"x": normal(3)})


def test_bits_and_whole_numbers_are_broadcast_as_real_ones_are():
    nodes = [node("Where", ["bit", "i", "j"], ["y"]), node("Greater", ["i", "j"], ["p"])]
    proto = model(nodes, {"i": (INT, [3]), "j": (INT, [2, 1])}, ["y", "p"], {"bit": np.array(True)})
    assert_agrees(proto, {"i": np.array([1, 2, 3]), "j": np.array([[2], [0]])})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("shape", "scales"), [((2, 3), (2, 2)), ((3, 4), (1, 2)), ((2, 1, 3, 4), (1, 1, 2, 0.5))], ids=str
)
def test_every_axis_is_resized(mode, shape, scales):
    proto = model([node("Resize", ["x", "", "scales"], ["y"], mode=mode)], {"x": (FLOAT, list(shape))}, ["y"],
                  {"scales": np.float32(scales)})  # fmt: skip
    assert_agrees(proto, {"x": normal(*shape)})


@pytest.mark.parametrize("nearest_mode", ["floor", "round_prefer_floor"])
@pytest.mark.parametrize("scale", [2, 0.75])
def test_nearest_elements_by_tensorflows_coordinates(nearest_mode, scale):
    options = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": nearest_mode}
    proto = model([node("Resize", ["x", "", "scales"], ["y"], **options)], {"x": (FLOAT, [1, 1, 4, 4])}, ["y"],
                  {"scales": np.float32([1, 1, scale, 1])}, opset=11)  # fmt: skip
    proto.graph.node[0].input[1] = "scales"  # onnxruntime asks for regions that nothing reads
    assert_agrees(proto, {"x": normal(1, 1, 4, 4)})


def test_rows_that_are_resized_have_a_number():
    proto = model([node("Resize", ["x", "", "scales"], ["y"], mode="nearest")], {"x": (FLOAT, ["batch", 4])}, ["y"],
                  {"scales": np.float32([2, 1])})  # fmt: skip
    program = assert_agrees(proto, {"x": normal(3, 4)}, imported(proto, dims={"batch": 3}))
    assert "dim  batch" not in program.source


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 4), (1, 4)], ids=str)
def test_scale_and_shift_of_a_layernorm_are_broadcast(shape):
    nodes = [node("LayerNormalization", ["x", "scale", "shift"], ["y"], axis=-len(shape))]
    proto = model(nodes, {"x": (FLOAT, [2, 3, 4])}, ["y"], {"scale": normal(*shape), "shift": normal(*shape)})
    assert_agrees(proto, {"x": normal(2, 3, 4)})
