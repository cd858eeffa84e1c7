"""Whole numbers: an operator that gives whole ones in ONNX and real ones here is refused, with the way out."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, INT, assert_agrees, imported, model, node

NUMBERS = np.array([[1, 2], [4, 6]])


@pytest.mark.parametrize(
    ("made", "weights"),
    [
        (node("ReduceMean", ["i"], ["y"]), {}),
        (node("ReduceL2", ["i"], ["y"]), {}),
        (node("ReduceLogSum", ["i"], ["y"]), {}),
        (node("ReduceLogSumExp", ["i"], ["y"]), {}),
        (node("Pow", ["i", "half"], ["y"]), {"half": np.float32(0.5)}),
        (node("Pow", ["i", "minus"], ["y"]), {"minus": np.float32(-1)}),
        (node("Pow", ["i", "minus"], ["y"]), {"minus": np.array(-1)}),
        (node("Resize", ["i", "", "scales"], ["y"], mode="linear"), {"scales": np.float32([1, 2])}),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_fractions_are_refused_and_a_cast_is_the_way_out(made, weights):
    with pytest.raises(mpc.CompileError, match=rf"{made.op_type}: of whole numbers it gives whole.*\n.*cast to float"):
        imported(model([made], {"i": (INT, [2, 2])}, ["y"], weights))
    made.input[0] = "x"
    nodes = [node("Cast", ["i"], ["x"], to=FLOAT), made]
    assert_agrees(model(nodes, {"i": (INT, [2, 2])}, ["y"], weights), {"i": NUMBERS})


@pytest.mark.parametrize(
    ("made", "weights"),
    [
        (node("Pow", ["i", "two"], ["y"]), {"two": np.float32(2)}),
        (node("Pow", ["i", "two"], ["y"]), {"two": np.array(2)}),
        (node("ReduceSum", ["i"], ["y"]), {}),
        (node("ReduceProd", ["i"], ["y"]), {}),
        (node("ReduceSumSquare", ["i"], ["y"]), {}),
        (node("ReduceL1", ["i"], ["y"]), {}),
        (node("CumSum", ["i", "axis"], ["y"], exclusive=1), {"axis": np.array(0)}),
        (node("Einsum", ["i", "i"], ["y"], equation="ij,ij->"), {}),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_what_stays_whole_is_imported(made, weights):
    program = assert_agrees(model([made], {"i": (INT, [2, 2])}, ["y"], weights), {"i": NUMBERS})
    assert [each.kind for each in program.plan.outputs] == ["int"]
