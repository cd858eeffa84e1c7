"""Small ONNX models for tests, what onnxruntime makes of them, and what the imported program makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from dsl.layout import layout

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'mpc-runtime[test]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'mpc-runtime[test]'")

FLOAT, INT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
IR = 8  # of every onnxruntime from 1.13 on
EXACT = 1e-4  # float64 beside onnxruntime's single precision
PRIVATE = 5e-3  # the number format beside it, relative to results above 1

node = onnx.helper.make_node


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[int | str | None]]],
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    opset: int = 17,
    ml: int = 0,
) -> Any:
    """A model of nodes; inputs: name -> (type, shape). Weights are float32 unless they are whole numbers or bits."""
    given = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    made = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    held = [onnx.numpy_helper.from_array(_single(array), name) for name, array in (weights or {}).items()]
    graph = onnx.helper.make_graph(list(nodes), "net", given, made, held)
    versions = [onnx.helper.make_opsetid("", opset)]
    versions += [onnx.helper.make_opsetid("ai.onnx.ml", ml)] if ml else []
    return onnx.helper.make_model(graph, opset_imports=versions, ir_version=IR)


def _single(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def imported(proto: Any, **options: Any) -> mpc.Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mpc.CompileWarning)
        program = mpc.import_onnx(proto, **options)
    assert layout(program.source) == program.source
    return program


def runtime_results(proto: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    feeds = {name: _single(array) for name, array in inputs.items()}
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)


def reference_results(proto: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX's own evaluator gives, where onnxruntime departs from the standard."""
    from onnx.reference import ReferenceEvaluator

    found: list[np.ndarray] = ReferenceEvaluator(proto).run(None, {name: _single(a) for name, a in inputs.items()})
    return found


def assert_agrees(
    proto: Any, inputs: Mapping[str, np.ndarray], program: mpc.Program | None = None, private: float = PRIVATE
) -> mpc.Program:
    """Imported, compiled and simulated, the model gives what onnxruntime gives; batch dims as the inputs have them."""
    program = imported(proto, inputs=None) if program is None else program
    rows = len(next(iter(inputs.values())))
    weights = program.weights
    if "batch" in dict(program.plan.dims):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mpc.CompileWarning)
            program = replace(mpc.compile(text=program.source, dims={"batch": rows}), weights=weights)
    names = [each.name for each in program.plan.inputs]
    given = dict(zip(names, inputs.values(), strict=True))
    wanted = runtime_results(proto, inputs)
    exact, simulated = program.reference(given, weights), program.simulate(given, weights)
    assert simulated.violations == ()
    for output, expected in zip(program.plan.outputs, wanted, strict=True):
        assert exact[output.name].shape == expected.shape
        scale = np.maximum(1.0, np.abs(expected.astype(np.float64)))
        assert np.abs((exact[output.name] - expected.astype(np.float64)) / scale).max() < EXACT
        assert np.abs((simulated.results[output.name] - expected.astype(np.float64)) / scale).max() < private
    return program
