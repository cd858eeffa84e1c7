"""What exporters take apart is one word again, and computes the same; the layer's names are those of its parameters."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, INT, assert_agrees, imported, model, node, reference_results

RANDOM = np.random.default_rng(12)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def one(value: float) -> np.ndarray:
    return np.array(value, np.float32)


GELU = [
    node("Div", ["x", "root"], ["a"]),
    node("Erf", ["a"], ["b"]),
    node("Add", ["b", "one"], ["c"]),
    node("Mul", ["x", "c"], ["d"]),
    node("Mul", ["d", "half"], ["y"]),
]
GELU_BY_TANH = [
    node("Mul", ["x", "x"], ["a"]),
    node("Mul", ["x", "a"], ["b"]),
    node("Mul", ["b", "small"], ["c"]),
    node("Add", ["x", "c"], ["d"]),
    node("Mul", ["d", "scale"], ["e"]),
    node("Tanh", ["e"], ["f"]),
    node("Add", ["f", "one"], ["g"]),
    node("Mul", ["x", "g"], ["h"]),
    node("Mul", ["half", "h"], ["y"]),
]
NORM = [
    node("ReduceMean", ["x"], ["m"], axes=[-1]),
    node("Sub", ["x", "m"], ["a"]),
    node("Pow", ["a", "two"], ["b"]),
    node("ReduceMean", ["b"], ["v"], axes=[-1]),
    node("Add", ["v", "eps"], ["w"]),
    node("Sqrt", ["w"], ["s"]),
    node("Div", ["a", "s"], ["n"]),
    node("Mul", ["n", "ln.weight"], ["k"]),
    node("Add", ["k", "ln.bias"], ["y"]),
]
SIGMOID = [
    node("Neg", ["x"], ["a"]),
    node("Exp", ["a"], ["b"]),
    node("Add", ["b", "one"], ["c"]),
    node("Reciprocal", ["c"], ["y"]),
]
SOFTMAX = [
    node("ReduceMax", ["x"], ["m"], axes=[-1]),
    node("Sub", ["x", "m"], ["a"]),
    node("Exp", ["a"], ["b"]),
    node("ReduceSum", ["b", "last"], ["c"]),
    node("Div", ["b", "c"], ["y"]),
]
NUMBERS = {
    "root": one(np.sqrt(2)), "one": one(1), "half": one(0.5), "two": one(2), "small": one(0.044715), "eps": one(1e-5),
    "scale": one(np.sqrt(2 / np.pi)), "ln.weight": normal(8), "ln.bias": normal(8), "last": np.array([-1]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "written"),
    [
        (GELU, "gelu"),
        (GELU_BY_TANH, "* sigmoid("),
        (NORM, "= layernorm()"),
        (SIGMOID, "sigmoid"),
        (SOFTMAX, "softmax"),
        ([node("Log", ["p"], ["y"])], "log_softmax"),
        ([node("Sigmoid", ["x"], ["s"]), node("Mul", ["s", "x"], ["y"])], "silu"),
        ([node("Softplus", ["x"], ["s"]), node("Tanh", ["s"], ["t"]), node("Mul", ["x", "t"], ["y"])], "mish"),
        ([node("Celu", ["x"], ["y"], alpha=0.7)], "celu(x, alpha=0.7)"),
        ([node("Selu", ["x"], ["y"])], "selu"),
        ([node("Max", ["x", "one", "half"], ["y"])], "maximum(x, 1.0, 0.5)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pattern_is_one_word(nodes, written):
    before = [node("Softmax", ["x"], ["p"])] if nodes[0].input[0] == "p" else []
    used = {name for each in nodes for name in each.input}
    weights = {name: array for name, array in NUMBERS.items() if name in used}
    proto = model([*before, *nodes], {"x": (FLOAT, [3, 8])}, ["y"], weights, opset=13)
    program = assert_agrees(proto, {"x": normal(3, 8)})
    assert written in program.source
    assert not any(word in program.source for word in ("erf", "tanh(", "mean(", "exp(", "log(", "reciprocal"))


@pytest.mark.parametrize("hidden", [True, False], ids=["where hidden", "where seen"])
def test_a_causal_mask_by_where_is_a_word(hidden):
    seen = np.tril(np.ones((5, 5), np.bool_))
    chosen = ["bits", "never", "x"] if hidden else ["bits", "x", "never"]
    nodes = [node("Where", chosen, ["masked"]), node("Softmax", ["masked"], ["y"])]
    weights = {"bits": ~seen if hidden else seen, "never": one(-np.inf)}
    program = assert_agrees(model(nodes, {"x": (FLOAT, [2, 5, 5])}, ["y"], weights), {"x": normal(2, 5, 5)})
    assert "causal=true" in program.source and "16384" not in program.source


def test_a_layer_is_called_as_its_bias_where_its_weight_lost_its_name():
    nodes = [node("MatMul", ["x", "onnx::MatMul_7"], ["a"]), node("Add", ["h.0.attn.bias", "a"], ["y"])]
    proto = model(nodes, {"x": (FLOAT, [2, 4])}, ["y"], {"onnx::MatMul_7": normal(4, 3), "h.0.attn.bias": normal(3)})
    assert imported(proto).weights.keys() == {"h_0_attn.weight", "h_0_attn.bias"}


def test_the_last_cell_of_an_lstm_is_computed_where_something_needs_it():
    weights = {"w": normal(1, 12, 2), "r": normal(1, 12, 3), "b": normal(1, 24)}
    lstm = node("LSTM", ["x", "w", "r", "b"], ["y", "last", "cell"], hidden_size=3)
    x = {"x": (FLOAT, [2, 2, 2])}
    assert "lstm(3)" in assert_agrees(model([lstm], x, ["y"], weights), {"x": normal(2, 2, 2)}).source
    assert_agrees(model([lstm], x, ["y", "cell"], weights), {"x": normal(2, 2, 2)})


def test_an_owners_bias_under_a_mask_stays_secret():
    """As ALiBi's: real numbers with minus infinity above the diagonal."""
    bias = np.where(np.tril(np.ones((4, 4))) > 0, normal(4, 4), -np.inf)
    nodes = [
        node("Add", ["alibi", "causal"], ["mask"]),
        node("Add", ["x", "mask"], ["a"]),
        node("Softmax", ["a"], ["y"]),
    ]
    weights = {"alibi": np.where(np.isinf(bias), 0, bias), "causal": np.where(np.isinf(bias), bias, 0)}
    program = assert_agrees(model(nodes, {"x": (FLOAT, [2, 4, 4])}, ["y"], weights), {"x": normal(2, 4, 4)})
    assert program.weights["alibi"].shape == (4, 4)


def test_what_is_folded_has_the_meaning_of_the_models_own_version():
    """Before version 13 the axes of Unsqueeze are an attribute, and softmax joins all axes behind the first."""
    nodes = [
        node("Softmax", ["w"], ["p"]),
        node("Unsqueeze", ["row"], ["wide"], axes=[0]),
        node("Add", ["x", "p"], ["a"]),
        node("Add", ["a", "wide"], ["y"]),
    ]
    proto = model(nodes, {"x": (FLOAT, [2, 3, 2])}, ["y"], {"w": normal(2, 3, 2), "row": normal(3, 2)}, opset=11)
    assert_agrees(proto, {"x": normal(2, 3, 2)})


def test_a_program_that_cannot_do_without_gets_ranges_of_samples():
    """Eight residual steps, each of which the worst case makes larger, before a layernorm."""
    nodes, weights = [], {"ln.weight": np.ones(16), "ln.bias": np.zeros(16)}
    for step in range(8):
        weights[f"step{step}.weight"] = normal(16, 16) * 0.2
        nodes += [
            node("MatMul", [f"x{step}" if step else "x", f"step{step}.weight"], [f"a{step}"]),
            node("Add", [f"x{step}" if step else "x", f"a{step}"], [f"x{step + 1}"]),
        ]
    nodes.append(node("LayerNormalization", ["x8", "ln.weight", "ln.bias"], ["y"]))
    x = normal(8, 16)
    program = imported(model(nodes, {"x": (FLOAT, ["batch", 16])}, ["y"], weights), inputs={"x": x})
    assert "in measured [" in program.source


def test_a_cast_that_would_wrap_around_is_refused():
    proto = model([node("Cast", ["i"], ["y"], to=3)], {"i": (INT, [2])}, ["y"])
    with pytest.raises(Exception, match=r"beyond \[-128, 127\] would wrap around"):
        imported(proto)


@pytest.mark.parametrize(
    ("axes", "keepdims", "subtracted"),
    [([1], 1, False), ([-1], 1, False), ([0, 1], 0, False), (None, 0, False), ([0], 1, True), ([1], 0, True)],
    ids=str,
)
def test_a_maximum_is_dropped_where_it_is_one_number_along_the_softmax(axes, keepdims, subtracted):
    chosen = {} if axes is None else {"axes": axes}
    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=keepdims, **chosen), *SOFTMAX[1:]]
    proto = model(nodes, {"x": (FLOAT, [4, 4])}, ["y"], {"last": np.array([-1])}, opset=13)
    program = assert_agrees(proto, {"x": 4 * normal(4, 4)})
    assert "softmax(" in program.source and ("- max(" in program.source) == subtracted


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "nodes",
    [GELU, GELU_BY_TANH, SIGMOID, [node("Div", ["one", "x"], ["y"])], [node("Mul", ["x", "half"], ["y"])]],
    ids=["gelu", "gelu by tanh", "sigmoid", "reciprocal", "product"],
)
def test_numbers_of_several_axes_add_these_axes(nodes, shape):
    used = {name for each in nodes for name in each.input}
    weights = {name: np.full(shape, array) for name, array in NUMBERS.items() if name in used}
    assert_agrees(model(nodes, {"x": (FLOAT, [8])}, ["y"], weights), {"x": np.abs(normal(8)) + 0.5})


@pytest.mark.parametrize("wide", ["eps", "ln.weight", "ln.bias"])
def test_numbers_of_a_layernorm_that_add_an_axis(wide):
    """Beside ONNX's reference: onnxruntime's own layernorm loses the axis."""
    weights = {name: array for name, array in NUMBERS.items() if any(name in each.input for each in NORM)}
    weights[wide] = weights[wide].reshape(1, 1, -1)
    proto, x = model(NORM, {"x": (FLOAT, [3, 8])}, ["y"], weights, opset=13), normal(3, 8)
    (expected,) = reference_results(proto, {"x": x})
    program = imported(proto)
    found = program.reference({"x": x}, program.weights)["y"]
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-4


def test_a_bias_that_adds_an_axis():
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])]
    weights = {"w": normal(4, 3), "b": normal(1, 1, 3)}
    assert_agrees(model(nodes, {"x": (FLOAT, [3, 4])}, ["y"], weights), {"x": normal(3, 4)})


def test_a_mask_that_hides_part_of_a_row_is_not_all_of_minus_infinity():
    """What stands above the diagonal is 0 in one place."""
    other = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    other[1, 3] = 0
    nodes = [node("Where", ["bits", "x", "other"], ["masked"]), node("Softmax", ["masked"], ["y"])]
    weights = {"bits": np.tril(np.ones((4, 4), np.bool_)), "other": other}
    program = assert_agrees(model(nodes, {"x": (FLOAT, [2, 4, 4])}, ["y"], weights), {"x": normal(2, 4, 4)})
    assert "causal" not in program.source
