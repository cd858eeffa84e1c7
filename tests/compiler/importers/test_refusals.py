"""What cannot be imported is refused by name, all of it at once, with the reason and what works instead."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, imported, model, node, onnx


def test_all_nodes_that_are_refused_are_listed():
    nodes = [
        node("Mod", ["x", "two"], ["a"], name="remainder", fmod=1),
        node("NonZero", ["x"], ["b"], name="places"),
        node("Cast", ["b"], ["c"], to=FLOAT, name="follows"),  # not reported: it follows from the one before
        node("Swiish", ["x"], ["d"], name="typo"),
    ]
    proto = model(nodes, {"x": (FLOAT, [3])}, ["a", "c", "d"], {"two": np.float32(2)})
    with pytest.raises(mpc.CompileError) as found:
        imported(proto)
    assert [refusal.node for refusal in found.value.diagnostics] == ["remainder", "places", "typo"]
    text = str(found.value)
    assert "3 nodes cannot be imported" in text
    assert "the nearest that is supported is Swish" in text and "choose with Where" in text


@pytest.mark.parametrize(
    ("nodes", "weights", "reason"),
    [
        ([node("Conv", ["x", "x"], ["y"])], {}, "must be known ahead of time"),
        ([node("Pow", ["x", "p"], ["y"])], {"p": np.float32([2, 3, 2, 3])}, "the exponents differ"),
        ([node("Dropout", ["x", "", "t"], ["y"])], {"t": np.array(True)}, "training mode"),
        ([node("Add", ["x", "m"], ["y"])], {"m": np.array([-np.inf], np.float32)}, "before a softmax"),
        ([node("Resize", ["x", "", "s"], ["y"], mode="cubic")], {"s": np.float32([1, 1, 2, 2])}, "cubic"),
        ([node("Relu", ["nowhere"], ["y"])], {}, "defined nowhere"),
        ([node("Concat", ["x", "x"], ["y"])], {}, "not as the operator is defined"),  # without its axis
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_says_why(nodes, weights, reason):
    with pytest.raises(mpc.CompileError, match=reason):
        imported(model(nodes, {"x": (FLOAT, [1, 2, 4, 4])}, ["y"], weights))


def test_the_mask_of_dropout_before_it_was_agreed_on():
    proto = model([node("Dropout", ["x"], ["y", "mask"])], {"x": (FLOAT, [3])}, ["y", "mask"], opset=10)
    with pytest.raises(mpc.CompileError, match=r"(?s)the mask of dropout before opset 12.*take the result alone"):
        imported(proto)


def test_an_operator_that_cannot_be_computed_ahead_of_time():
    """ONNX's own evaluator knows no MaxRoiPool."""
    nodes = [node("MaxRoiPool", ["w", "s"], ["u"], name="pool", pooled_shape=[1, 1]), node("Add", ["x", "u"], ["y"])]
    weights = {"w": np.ones((1, 1, 2, 2)), "s": np.float32([[0, 0, 0, 1, 1]])}
    with pytest.raises(mpc.CompileError, match="MaxRoiPool `pool`: it cannot be computed ahead of time"):
        imported(model(nodes, {"x": (FLOAT, [1, 1, 4, 4])}, ["y"], weights, opset=9))


def test_what_is_no_model():
    with pytest.raises(mpc.InputError, match="no such file"):
        imported("nowhere.onnx")
    with pytest.raises(mpc.InputError, match="no ONNX model"):
        imported(b"\x00\x01\x02")
    with pytest.raises(mpc.InputError, match="expected the path"):
        imported(17)
    old = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1])}, ["y"], opset=6)
    with pytest.raises(mpc.InputError, match="versions 7 to"):
        imported(old)


def test_open_sizes_are_asked_for():
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, ["batch", "length"])}, ["y"])
    with pytest.raises(mpc.InputError, match=r"length \(axis 1 of `x`\).*--dim length=16"):
        imported(proto)
    with pytest.raises(mpc.InputError, match="no such free size"):
        imported(proto, dims={"length": 4, "width": 3})
    for size in (4, np.int64(4)):
        assert "dim  length = 4" in imported(proto, dims={"length": size}).source


@pytest.mark.parametrize("size", [0, -1, 1.5, "a", True])
def test_a_size_is_a_whole_number_of_at_least_1(size):
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, ["batch", "length"])}, ["y"])
    with pytest.raises(mpc.InputError, match="--dim length: a size is a whole number of at least 1"):
        imported(proto, dims={"length": size})


def test_a_size_that_no_machine_holds():
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, ["batch", "length"])}, ["y"])
    with pytest.raises(mpc.CompileError, match=r"input `x`: .*more elements than a machine holds"):
        imported(proto, dims={"length": 10**12})


def test_weights_in_a_file_that_is_not_here(tmp_path):
    proto = model([node("Add", ["x", "w"], ["y"])], {"x": (FLOAT, [64])}, ["y"], {"w": np.ones(64)})
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert imported(tmp_path / "m.onnx").weights["w"].shape == (64,)
    (tmp_path / "m.data").unlink()
    with pytest.raises(mpc.InputError, match=r"m\.data|weights"):
        imported(tmp_path / "m.onnx")


def test_a_missing_package_is_said_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(mpc.InputError, match=r"pip install 'mpc-runtime\[onnx\]'"):
        mpc.import_onnx("model.onnx")
