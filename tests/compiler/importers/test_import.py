"""Whole models: what is imported agrees with onnxruntime, and reads like a program that somebody wrote."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import mpc_runtime as mpc
from dsl import parse
from tests.onnx_models import BOOL, FLOAT, INT, assert_agrees, imported, model, node, onnx

RANDOM = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def mlp(**options):
    return model(
        [
            node("MatMul", ["input", "fc1.kernel"], ["a"]),
            node("Add", ["fc1.bias", "a"], ["b"]),  # a bias stands on either side
            node("Relu", ["b"], ["c"]),
            node("Gemm", ["c", "fc2.weight", "fc2.bias"], ["logits"], transB=1),
            node("Softmax", ["logits"], ["output"]),
        ],
        {"input": (FLOAT, ["batch", 4])},
        ["output"],
        {"fc1.kernel": normal(4, 8), "fc1.bias": normal(8), "fc2.weight": normal(3, 8), "fc2.bias": normal(3)},
        **options,
    )


def test_a_perceptron_is_three_layers_on_one_line():
    program = assert_agrees(mlp(), {"input": normal(5, 4)})
    assert "layer fc1 = dense(8)" in program.source and "layer fc2 = dense(3)" in program.source
    assert "output output_ = input_ |> fc1 |> relu |> fc2 |> softmax to client" in program.source
    assert parse(program.source, "x").name.id == "net"


def test_the_runtime_computes_what_was_imported():
    program = imported(mlp(), inputs={"input": np.ones((1, 4))})
    x = normal(1, 4).clip(-1, 1)
    with mpc.launch(program) as session:
        session.provide(program.weights)
        private = session.run(input_=x)["output_"]
    assert np.abs(private - program.reference({"input_": x}, program.weights)["output_"]).max() < 1e-3


def convolutional(opset: int):
    names = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    weights = {"conv.weight": normal(6, 3, 3, 3), "conv.bias": normal(6), "fc.weight": normal(4, 6)}
    weights["fc.bias"] = normal(4)
    weights |= dict(zip(names, (normal(6), normal(6), normal(6), np.abs(normal(6)) + 0.5), strict=True))
    return model(
        [
            node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[0, 0, 1, 1], strides=[2, 2]),
            node("BatchNormalization", ["a", *names], ["b"]),
            node("Relu", ["b"], ["c"]),
            node("MaxPool", ["c"], ["d"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
            node("GlobalAveragePool", ["d"], ["e"]),
            node("Shape", ["e"], ["s"]),
            node("Constant", [], ["zero"], value=onnx.numpy_helper.from_array(np.array(0))),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Constant", [], ["ones"], value=onnx.numpy_helper.from_array(np.array([-1]))),
            node("Unsqueeze", ["n", "first"], ["n1"]) if opset >= 13 else node("Unsqueeze", ["n"], ["n1"], axes=[0]),
            node("Concat", ["n1", "ones"], ["shape"], axis=0),
            node("Reshape", ["e", "shape"], ["f"]),
            node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
        ],
        {"x": (FLOAT, [None, 3, 12, 12])},
        ["y"],
        weights | ({"first": np.array([0])} if opset >= 13 else {}),
        opset=opset,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_a_convolutional_network_keeps_its_batch_free(opset):
    program = assert_agrees(convolutional(opset), {"x": normal(3, 3, 12, 12)})
    assert "input x : [batch, 3, 12, 12]" in program.source
    assert "reshape" not in program.source  # the chain over Shape is a flatten
    assert {"conv.weight", "conv.bias", "bn.running_var", "fc.weight"} <= program.weights.keys()


def test_attention_taken_apart_with_a_causal_mask():
    """As exporters write it: constants as nodes, -inf in a mask, a free batch in a reshape."""
    hidden = np.triu(np.full((6, 6), -np.inf, np.float32), 1)
    weights = {f"attn.{name}.weight": normal(8, 8) for name in "qkvo"} | {"mask": hidden}
    heads = np.array([0, 0, 2, 4])
    nodes = []
    for name in "qkv":
        nodes += [
            node("MatMul", ["x", f"attn.{name}.weight"], [name]),
            node("Reshape", [name, "heads"], [f"{name}h"]),
            node("Transpose", [f"{name}h"], [f"{name}t"], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["qt", "kt"], ["raw"]),
        node("Mul", ["raw", "half"], ["scaled"]),
        node("Add", ["scaled", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "vt"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "flat"], ["joined"]),
        node("MatMul", ["joined", "attn.o.weight"], ["y"]),
    ]
    held = weights | {"heads": heads, "half": np.float32(0.5), "flat": np.array([0, 0, -1])}
    program = assert_agrees(model(nodes, {"x": (FLOAT, ["batch", 6, 8])}, ["y"], held), {"x": normal(2, 6, 8)})
    assert "softmax(causal=true)" in program.source or "causal=true" in program.source


def test_a_secret_index_is_an_embedding_whose_range_is_checked():
    proto = model([node("Gather", ["wte.weight", "ids"], ["y"])], {"ids": (INT, ["batch", 3])}, ["y"],
                  {"wte.weight": normal(5, 4)})  # fmt: skip
    program = assert_agrees(proto, {"ids": np.array([[0, 4, 2], [1, 1, 3]])})
    assert "layer wte = embedding(5, 4)" in program.source and "in [0, 4]" in program.source
    with pytest.raises(mpc.InputError, match="ids"):
        program.simulate({"ids": np.full((2, 3), -1)}, program.weights)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_recurrent_layers_with_their_gates_in_onnx_order(op, gates, direction):
    count = 2 if direction == "bidirectional" else 1
    weights = {"w": normal(count, gates * 3, 2), "r": normal(count, gates * 3, 3), "b": normal(count, gates * 6)}
    proto = model([node(op, ["x", "w", "r", "b"], ["y", "last"], hidden_size=3, direction=direction)],
                  {"x": (FLOAT, [4, "batch", 2])}, ["y", "last"], weights)  # fmt: skip
    x = normal(4, 4, 2)  # as many rows as steps, so that the batch is the length of the first axis
    assert_agrees(proto, {"x": x})


def test_peepholes_of_zeros_are_none():
    def proto(peepholes):
        weights = {"w": normal(1, 12, 2), "r": normal(1, 12, 3), "p": peepholes}
        lstm = node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], hidden_size=3)
        return model([lstm], {"x": (FLOAT, [4, 2, 2])}, ["y"], weights)

    assert "lstm(3" in assert_agrees(proto(np.zeros((1, 9))), {"x": normal(4, 2, 2)}).source
    with pytest.raises(mpc.CompileError, match="peepholes"):
        imported(proto(normal(1, 9)))


def test_weights_that_are_tied_are_one():
    weight = normal(7, 4)
    nodes = [
        node("Gather", ["wte", "ids"], ["h"]),
        node("Transpose", ["wte"], ["turned"], perm=[1, 0]),
        node("MatMul", ["h", "turned"], ["y"]),
    ]
    program = assert_agrees(model(nodes, {"ids": (INT, ["batch", 2])}, ["y"], {"wte": weight}),
                            {"ids": np.array([[0, 6]])})  # fmt: skip
    assert [array.shape for array in program.weights.values()] == [(7, 4)]


def test_names_that_are_keywords_numbers_or_equal_when_cleaned():
    nodes = [
        node("Add", ["in", "1"], ["a.b"]),
        node("Relu", ["a.b"], ["a/b"]),
        node("Add", ["a.b", "a/b"], ["output"]),
    ]
    proto = model(nodes, {"in": (FLOAT, [2]), "1": (FLOAT, [2])}, ["output", "a/b"])
    assert_agrees(proto, {"in": normal(2), "1": normal(2)})


def test_bits_and_whole_numbers():
    nodes = [
        node("Greater", ["x", "zero"], ["p"]),
        node("And", ["p", "q"], ["both"]),
        node("Where", ["both", "x", "zero"], ["chosen"]),
        node("ArgMax", ["chosen"], ["best"], axis=1, keepdims=0),
        node("Cast", ["both"], ["number"], to=FLOAT),
        node("ReduceSum", ["number"], ["count"], keepdims=0),
    ]
    proto = model(nodes, {"x": (FLOAT, [2, 3]), "q": (BOOL, [2, 3])}, ["best", "count"], {"zero": np.float32(0)})
    assert_agrees(proto, {"x": normal(2, 3), "q": np.array([[1, 0, 1], [1, 1, 1]], np.bool_)})


def test_samples_give_inputs_a_range():
    with warnings.catch_warnings():
        warnings.simplefilter("error", mpc.CompileWarning)
        program = mpc.import_onnx(mlp(), inputs={"input": np.array([[0.9, -1.5, 0, 0]])})
    assert "in [-4, 4]" in program.source
