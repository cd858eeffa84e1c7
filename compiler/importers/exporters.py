"""What PyTorch's and skl2onnx's own exporters make of a model in memory, with samples of its inputs by their names."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from compiler.graph import Array
from mpc_runtime.errors import InputError

BATCH = "batch"
Exported = tuple[Any, Mapping[str, Array]]


def torch_model(module: Any, example_inputs: Any) -> Exported:
    """A module in evaluation mode, with a free first axis where it allows one. Raises InputError."""
    try:
        import torch
    except ImportError:
        raise InputError("from_torch needs PyTorch: pip install torch") from None
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"from_torch expects a torch.nn.Module, found {type(module).__name__}")
    examples = tuple(example_inputs) if isinstance(example_inputs, list | tuple) else (example_inputs,)
    if not examples or not all(isinstance(each, torch.Tensor) for each in examples):
        raise InputError("from_torch expects a tensor or a tuple of tensors as example_inputs")
    names = _forward_names(module, len(examples))
    training = module.training
    module.eval()
    try:
        model = _torch_exported(torch, module, examples, names)
    finally:
        module.train(training)
    return model, {name: each.detach().cpu().numpy() for name, each in zip(names, examples, strict=True)}


def _forward_names(module: Any, count: int) -> list[str]:
    """The names of the arguments of `forward`, `x` for PyTorch's `input`; `x0`, … for those behind a `*`."""
    parameters = inspect.signature(module.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = ["x" if each.name == "input" else each.name for each in parameters if each.kind in plain]
    return [*names[:count], *(f"x{place}" for place in range(len(names), count))]


def _torch_exported(torch: Any, module: Any, examples: Sequence[Any], names: Sequence[str]) -> Any:
    """With a free batch of two rows, which no exporter takes for a constant; else as the examples are."""
    two = [each if each.dim() and each.shape[0] > 1 else torch.cat([each, each]) if each.dim() else each
           for each in examples]  # fmt: skip
    free = [name for name, each in zip(names, examples, strict=True) if each.dim()]
    results = _result_names(torch, module, examples)
    reasons = []
    for inputs, dynamic in ((two, free), (examples, [])):
        for exporter in (_by_dynamo, _by_tracing):
            try:
                with _quiet():
                    return exporter(torch, module, tuple(inputs), names, dynamic, results)
            except Exception as error:  # noqa: PERF203  # whatever the exporter or the module raises
                reasons.append(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
    raise InputError(f"PyTorch cannot export the module: {reasons[-1]}")


def _result_names(torch: Any, module: Any, examples: Sequence[Any]) -> list[str] | None:
    """`result`, or `result0`, … of several tensors; None leaves it to the exporter."""
    try:
        with torch.no_grad():
            found = module(*examples)
    except Exception as error:  # whatever the module raises
        raise InputError(f"the module cannot be called with the example inputs: {error}") from None
    if isinstance(found, torch.Tensor):
        return ["result"]
    if isinstance(found, list | tuple) and all(isinstance(each, torch.Tensor) for each in found):
        return [f"result{place}" for place in range(len(found))]
    return None


def _by_dynamo(
    torch: Any,
    module: Any,
    inputs: tuple[Any, ...],
    names: Sequence[str],
    free: Sequence[str],
    results: Sequence[str] | None,
) -> Any:
    if find_spec("onnxscript") is None:
        raise InputError("PyTorch's exporter needs onnxscript: pip install onnxscript")
    dim = torch.export.Dim(BATCH, min=1, max=1 << 20)
    shapes = tuple({0: dim} if name in free else None for name in names) if free else None
    named = {"input_names": list(names), "output_names": results}
    return torch.onnx.export(module, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, **named).model_proto


def _by_tracing(
    torch: Any,
    module: Any,
    inputs: tuple[Any, ...],
    names: Sequence[str],
    free: Sequence[str],
    results: Sequence[str] | None,
) -> bytes:
    buffer = io.BytesIO()
    axes = {name: {0: BATCH} for name in free}
    named = {"input_names": list(names), "output_names": results}
    torch.onnx.export(module, inputs, buffer, dynamo=False, dynamic_axes=axes, **named)
    return buffer.getvalue()


def sklearn_model(estimator: Any, examples: Any) -> Exported:
    """An estimator or pipeline, of one input `x`, its probabilities as a tensor. Raises InputError."""
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError:
        raise InputError("from_sklearn needs skl2onnx: pip install skl2onnx") from None
    columns = getattr(estimator, "n_features_in_", None)
    if columns is None:
        raise InputError(f"this {type(estimator).__name__} is not fitted: call its `fit` first")
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else None
    try:
        with _quiet():
            model = convert_sklearn(estimator, initial_types=[("x", FloatTensorType([None, columns]))], options=options)
    except Exception as error:  # whatever the converter of an estimator raises
        raise InputError(f"skl2onnx cannot export this {type(estimator).__name__}: {error}") from None
    return model, {} if examples is None else {"x": np.asarray(examples, np.float64)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of exporters, which are about themselves."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        least = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(least)
