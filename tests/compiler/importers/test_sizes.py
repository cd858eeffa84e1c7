"""Free sizes: what holds at the sizes of the trials only is not taken for what holds at every size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, INT, assert_agrees, imported, model, node, onnx

RANDOM = np.random.default_rng(14)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def sized(proto, dims: dict[str, int], inputs: dict[str, np.ndarray]) -> mpc.Program:
    """Agrees when it is imported for these sizes; those that stay free are looked at with others by the caller."""
    return assert_agrees(proto, inputs, imported(proto, dims=dims))


def at(program: mpc.Program, dims: dict[str, int]) -> mpc.Program:
    return replace(mpc.compile(text=program.source, dims=dims), weights=program.weights)


@pytest.mark.parametrize("rows", ["batch", "N", "batch_size", "dynamic"])
def test_any_number_of_rows_whatever_the_model_calls_them(rows):
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": (FLOAT, [rows, 4])}, ["y"], {"w": normal(4, 2)})
    program = imported(proto, dims={rows: 2})
    assert "input x : [batch, 4]" in program.source and "dim  batch = 2" in program.source
    assert mpc.calibrate(program, params=program.weights, inputs={"x": normal(7, 4)}).plan.dims == (("batch", 2),)
    assert imported(proto, dims={"batch": 3}).plan.dims == (("batch", 3),)


def test_a_first_axis_beside_one_that_is_called_batch_is_none():
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, ["steps", "batch_size", 4])}, ["y"], {})
    assert "input x : [steps, batch, 4]" in imported(proto).source


@pytest.mark.parametrize("places", [[3, 4], [0, 1, 2], [1], [0, 2, 4]], ids=str)
def test_places_of_a_free_axis_are_those_places_at_any_size(places):
    proto = model([node("Gather", ["x", "places"], ["y"], axis=0)], {"x": (FLOAT, ["batch", 3])}, ["y"],
                  {"places": np.array(places)})  # fmt: skip
    for rows in (7, 20):
        sized(proto, {"batch": rows}, {"x": normal(rows, 3)})
    assert_agrees(proto, {"x": normal(12, 3)}, imported(proto, dims={"batch": 7}))


def test_an_index_into_a_free_axis_has_its_length_as_bound():
    proto = model([node("Gather", ["x", "i"], ["y"], axis=1)], {"x": (FLOAT, [1, "length", 3]), "i": (INT, [2])}, ["y"])
    program = sized(proto, {"length": 20}, {"x": normal(1, 20, 3), "i": np.array([15, 0])})
    assert "in [0, length - 1]" in program.source
    short = at(program, {"length": 4})
    with pytest.raises(mpc.InputError, match="i"):
        short.simulate({"x": normal(1, 4, 3), "i": np.array([4, 0])}, {})


@pytest.mark.parametrize("ends", [(0, 12), (2, 12), (-12, 2**62), (0, 2), (-2, 2**62), (1, 2**31 - 1)], ids=str)
@pytest.mark.parametrize("length", [4, 9, 20])
def test_a_slice_that_ends_beyond_a_short_axis(ends, length):
    start, end = (np.array([each]) for each in ends)
    proto = model([node("Slice", ["x", "start", "end", "axis"], ["y"])], {"x": (FLOAT, [2, "length"])}, ["y"],
                  {"start": start, "end": end, "axis": np.array([1])})  # fmt: skip
    sized(proto, {"length": length}, {"x": normal(2, length)})


def test_one_row_is_expanded_to_a_number_of_rows():
    proto = model([node("Expand", ["x", "shape"], ["y"])], {"x": (FLOAT, ["batch", 4])}, ["y"],
                  {"shape": np.array([3, 4])})  # fmt: skip
    sized(proto, {}, {"x": normal(1, 4)})


@pytest.mark.parametrize("split", [[2, 4], [3, 3]], ids=str)
def test_parts_fix_the_size_that_they_are_parts_of(split):
    proto = model([node("Split", ["x", "split"], ["y", "z"])], {"x": (FLOAT, ["batch", 4])}, ["y", "z"],
                  {"split": np.array(split)})  # fmt: skip
    program = sized(proto, {"batch": 6}, {"x": normal(6, 4)})
    assert "dim  batch" not in program.source


def test_constants_of_a_free_size_keep_it():
    """Of a size that the input has, and alike all over: joined, as an output, and beside an operand with fewer axes."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["ones"], value=onnx.numpy_helper.from_array(np.ones(1, np.float32))),
        node("Concat", ["ones", "x"], ["joined"], axis=0),
        node("Add", ["ones", "row"], ["wide"]),
        node("Mul", ["wide", "x"], ["scaled"]),
        node("Add", ["r", "ones"], ["moved"]),
        node("Identity", ["ones"], ["out"]),
    ]
    inputs = {"x": (FLOAT, ["batch", 4]), "r": (FLOAT, [4])}
    outputs = ["joined", "scaled", "moved", "out"]
    program = assert_agrees(model(nodes, inputs, outputs, {"row": normal(4)}), {"x": normal(3, 4), "r": normal(4)})
    assert "dim  batch = 1" in program.source


def test_a_branch_by_the_size_is_that_of_the_size_asked_for():
    """What a squeeze of exporters is where they know no sizes: one row is something else than several."""

    def branch(op: str, **options):
        made = onnx.helper.make_empty_tensor_value_info(op)
        return onnx.helper.make_graph([node(op, ["x"], [op], **options)], op, [], [made])

    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Equal", ["n", "one"], ["alone"]),
        node("If", ["alone"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    weights = {"zero": np.array(0), "one": np.array(1)}
    proto = model(nodes, {"x": (FLOAT, ["batch", 4])}, ["y"], weights)
    sized(proto, {}, {"x": normal(1, 4)})
    sized(proto, {"batch": 3}, {"x": normal(3, 4)})


def test_a_shape_that_only_one_size_has():
    proto = model([node("Reshape", ["x", "shape"], ["y"])], {"x": (FLOAT, ["batch", 4])}, ["y"],
                  {"shape": np.array([-1, 8])})  # fmt: skip
    sized(proto, {"batch": 6}, {"x": normal(6, 4)})


def test_a_squeeze_without_axes_drops_every_axis_of_1():
    proto = model([node("Squeeze", ["x"], ["y"])], {"x": (FLOAT, ["batch", 1, 4])}, ["y"])
    sized(proto, {}, {"x": normal(1, 1, 4)})
    assert "dim  batch" in sized(proto, {"batch": 3}, {"x": normal(3, 1, 4)}).source


# -- computed indices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["weights", "public"])
def test_computed_indices_from_behind_into_a_known_table(axis, kind):
    table = normal(5, 4) if kind == "weights" else np.arange(20).reshape(5, 4)
    nodes = [node("Sub", ["i", "one"], ["j"]), node("Gather", ["table", "j"], ["y"], axis=axis)]
    proto = model(nodes, {"i": (INT, [3])}, ["y"], {"table": table, "one": np.array(1)})
    assert_agrees(proto, {"i": np.array([0, 1, 3])})


def test_an_index_that_is_only_moved_is_the_inputs_own():
    nodes = [node("Reshape", ["i", "shape"], ["j"]), node("Gather", ["table", "j"], ["y"])]
    proto = model(nodes, {"i": (INT, [4])}, ["y"], {"table": normal(5, 4), "shape": np.array([2, 2])})
    program = assert_agrees(proto, {"i": np.array([0, 1, 3, 4])})
    assert "in [0, 4]" in program.source and "where" not in program.source


def test_an_index_of_two_tables_has_the_smaller_bound():
    nodes = [node("Gather", ["a", "i"], ["y"]), node("Gather", ["b", "i"], ["z"])]
    proto = model(nodes, {"i": (INT, [2])}, ["y", "z"], {"a": normal(5, 4), "b": normal(3, 4)})
    assert "in [0, 2]" in assert_agrees(proto, {"i": np.array([0, 2])}).source


def test_a_sum_along_a_list_of_one_axis_is_computed_ahead_of_time():
    """PyTorch's axis has one element; ONNX's own evaluator takes none."""
    nodes = [node("CumSum", ["w", "axis"], ["s"]), node("Add", ["x", "s"], ["y"])]
    proto = model(nodes, {"x": (FLOAT, [2, 3])}, ["y"], {"w": np.ones((2, 3)), "axis": np.array([1])})
    assert_agrees(proto, {"x": np.eye(2, 3)})


@pytest.mark.parametrize("far", [10**9, 2**31 - 1, 2**63 - 1])
def test_an_end_far_behind_every_size_is_the_end(far):
    proto = model([node("Slice", ["x", "from", "to"], ["y"])], {"x": (FLOAT, ["batch", 3])}, ["y"],
                  {"from": np.array([0, 1]), "to": np.array([far, far])})  # fmt: skip
    program = assert_agrees(proto, {"x": np.eye(4, 3)})
    assert "batch" in dict(program.plan.dims)
