"""From a file, bytes or a model in memory to ONNX's own structures: functions of the model inlined, what is damaged or
of another kind refused. What the nodes mean is left to `lowering`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from compiler.graph import Array
from mpc_runtime.errors import InputError

__all__ = ["Imported", "array_of", "load", "opsets_of"]

DEFAULT_DOMAIN = ""
OPSETS = range(7, 29)
"""Versions of ONNX's operators whose meanings are known here; those before 7 broadcast differently."""

FEW_BITS = frozenset(
    number
    for name, number in onnx.TensorProto.DataType.items()
    if name.startswith(("FLOAT8", "FLOAT4", "FLOAT6", "INT4", "UINT4", "INT2", "UINT2"))
)
"""The formats of quantised tensors."""


@dataclass(frozen=True)
class Imported:
    """A model's graph, its name, and the version of each domain of operators."""

    graph: Any
    name: str
    opsets: Mapping[str, int]


def load(model: Any) -> Imported:
    """The model in a file, or one in memory (an `onnx.ModelProto` or its bytes). Raises InputError."""
    if isinstance(model, str | os.PathLike):
        name, proto = Path(model).stem, _read(Path(model))
    elif isinstance(model, bytes):
        name, proto = "", _parsed(model)
    elif isinstance(model, onnx.ModelProto):
        name, proto = "", model
    else:
        raise InputError(f"expected the path of an ONNX file or a model, found {type(model).__name__}")
    if not proto.graph.node and not proto.graph.output:
        raise InputError(f"{name or 'the model'}: this is no ONNX model: it has no graph")
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    opsets = opsets_of(proto)
    _check_version(name, opsets)
    return Imported(proto.graph, name or proto.graph.name or "model", opsets)


def opsets_of(proto: Any) -> dict[str, int]:
    """The version of each domain; of entries for the same one, the newest."""
    found: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = DEFAULT_DOMAIN if entry.domain == "ai.onnx" else entry.domain
        found[domain] = max(found.get(domain, 0), entry.version)
    return found


def array_of(tensor: Any) -> Array:
    """The elements of a tensor; bfloat16 as float32."""
    if tensor.data_type in FEW_BITS:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise InputError(f"the tensor {tensor.name!r} is {kind}: export the model before it is quantised, in float32")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever a damaged tensor makes of NumPy
        raise InputError(f"the tensor {tensor.name!r} cannot be read: {error}") from None
    return np.asarray(array.astype(np.float32) if array.dtype.kind == "V" else array)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return onnx.load(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: its weights are in another file, which is not here: {error.filename}") from None
    except Exception as error:  # protobuf, and what onnx makes of paths outside the folder
        raise InputError(f"{path}: cannot be read as an ONNX model: {_first_line(error)}") from None


def _parsed(data: bytes) -> Any:
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:
        raise InputError(f"these bytes are no ONNX model: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_version(name: str, opsets: Mapping[str, int]) -> None:
    found = opsets.get(DEFAULT_DOMAIN)
    if found is not None and found not in OPSETS:
        known = f"versions {OPSETS.start} to {OPSETS.stop - 1} of ONNX's operators"
        raise InputError(
            f"{name or 'the model'}: expected {known}, found {found}; export it with another opset_version"
        )
