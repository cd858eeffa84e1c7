"""Loops whose steps are known ahead of time agree with onnxruntime; what repeats as the data says is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import BOOL, FLOAT, INT, assert_agrees, imported, model, node, onnx

RANDOM = np.random.default_rng(17)
X = RANDOM.normal(0, 1, (2, 4, 3)).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def graph(nodes, inputs, outputs, weights=None):
    given = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    made = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()]
    held = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    return onnx.helper.make_graph(nodes, "body", given, made, held)


def recurrent(steps: int, condition: list, *, most: bool = True):
    """h' = tanh(h w + x[i]), as Keras' layers are exported; its states are stacked."""
    nodes = [
        node("Gather", ["turned", "i"], ["xi"]),
        node("MatMul", ["h", "v"], ["hv"]),
        node("Add", ["hv", "xi"], ["total"]),
        node("Tanh", ["total"], ["next"]),
        node("Add", ["i", "one"], ["next_i"]),
        node("Identity", ["next"], ["state"]),
        *condition,
    ]
    inputs = {"n": (INT, []), "on": (BOOL, []), "i": (INT, []), "h": (FLOAT, None), "v": (FLOAT, [3, 3])}
    outputs = {"go": (BOOL, []), "next_i": (INT, []), "next": (FLOAT, None), "v": (FLOAT, [3, 3])}
    body = graph(nodes, inputs, outputs | {"state": (FLOAT, None)}, {"one": 1, "steps": steps})
    loop = node("Loop", ["most" if most else "", "", "start", "h0", "w"], ["count", "last", "wb", "all"], body=body)
    outer = [node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]), loop]
    weights = {"most": np.array(4), "start": np.array(0), "h0": np.zeros((1, 3)), "w": normal(3, 3)}
    return model(outer, {"x": (FLOAT, ["batch", 4, 3])}, ["last", "all"], weights)


GOES_ON = [node("Identity", ["on"], ["go"])]
COUNTS = [node("Less", ["next_i", "steps"], ["go"])]


@pytest.mark.parametrize(("steps", "condition", "most"), [(9, GOES_ON, True), (3, COUNTS, True), (4, COUNTS, False)])
def test_a_loop_of_known_steps(steps, condition, most):
    assert_agrees(recurrent(steps, condition, most=most), {"x": X})


def test_weights_of_a_step_may_stand_among_its_inputs():
    """As tf2onnx writes them before IR 4."""
    proto = recurrent(4, GOES_ON)
    body = proto.graph.node[1].attribute[0].g
    body.input.append(onnx.helper.make_tensor_value_info("one", INT, []))
    assert_agrees(proto, {"x": X})


def test_a_loop_that_runs_on_as_the_data_says_is_refused():
    asks = [node("ReduceSum", ["total"], ["sum"], keepdims=0), node("Less", ["sum", "limit"], ["go"]),
            node("Constant", [], ["limit"], value_float=3.0)]  # fmt: skip
    with pytest.raises(
        Exception, match=r"(?s)Loop: it repeats a number of times that depends on the data.*fixed sizes"
    ):
        imported(recurrent(4, [asks[2], *asks[:2]]))


def test_what_is_refused_within_a_loop_is_named_once():
    body = [node("Mod", ["next", "next"], ["rest"], name="rest", fmod=1), *GOES_ON]
    proto = recurrent(4, body)
    proto.graph.node[1].attribute[0].g.output[-1].name = "rest"
    with pytest.raises(Exception, match="1 node cannot be imported") as found:
        imported(proto)
    assert "Mod `rest`: the remainder" in str(found.value)


def test_a_loop_of_too_many_steps_is_refused():
    body = graph([node("Tanh", ["h"], ["next"]), *GOES_ON], {"n": (INT, []), "on": (BOOL, []), "h": (FLOAT, None)},
                 {"go": (BOOL, []), "next": (FLOAT, None)})  # fmt: skip
    proto = model([node("Loop", ["", "", "x"], ["y"], body=body)], {"x": (FLOAT, [3])}, ["y"])
    with pytest.raises(Exception, match="more than 128 times"):
        imported(proto)


def scanned(body_nodes, weights, rows, **options):
    """A Scan over rows of the owner, of each of which the body makes something with all of the data."""
    body = graph(body_nodes, {"s": (FLOAT, None), "row": (FLOAT, None)},
                 {"kept": (FLOAT, None), "made": (FLOAT, None)}, weights)  # fmt: skip
    scan = node("Scan", ["x", "rows"], ["same", "y"], body=body, num_scan_inputs=1, **options)
    return model([scan], {"x": (FLOAT, ["batch", 3])}, ["y"], {"rows": rows})


KEPT = node("Identity", ["s"], ["kept"])
APART = node("Sub", ["s", "row"], ["d"])


@pytest.mark.parametrize("options", [{}, {"scan_output_axes": [1]}, {"scan_input_directions": [1]},
                                     {"scan_output_directions": [1]}, {"scan_input_axes": [1]}], ids=str)  # fmt: skip
def test_a_scan_is_written_step_by_step(options):
    rows = normal(3, 3)
    nodes = [KEPT, APART, node("Sigmoid", ["d"], ["made"])]
    assert_agrees(scanned(nodes, {}, rows, **options), {"x": X[0, :2]})


@pytest.mark.parametrize(
    "nodes",
    [
        [APART, KEPT, node("ReduceSumSquare", ["d"], ["made"], axes=[1], keepdims=0)],
        [KEPT, APART, node("Abs", ["d"], ["a"]), node("ReduceSum", ["a", "axes"], ["t"], keepdims=0),
         node("Identity", ["t"], ["made"])],
    ],
)  # fmt: skip
def test_distances_from_many_rows_are_one_step(nodes):
    """As scikit-learn's neighbours are exported: more rows than a loop may have steps."""
    proto = scanned(nodes, {"axes": np.array([1])}, normal(150, 3))
    source = assert_agrees(proto, {"x": X[0]}).source
    assert source.count("sum(") == 1


def test_whole_sequences_are_turned():
    turned = node("ReverseSequence", ["x", "lengths"], ["y"], batch_axis=0, time_axis=1)

    def proto(lengths):
        return model([turned], {"x": (FLOAT, [2, 4, 3])}, ["y"], {"lengths": np.array(lengths)})

    assert_agrees(proto([4, 4]), {"x": X})
    with pytest.raises(Exception, match="a part of each sequence"):
        imported(proto([4, 3]))
