"""With which weights training begins: PyTorch's defaults, by the kind of the layer.

Uniform within 1 / sqrt(fan-in) for dense and convolutional layers and their biases, within 1 / sqrt(size) for recurrent
ones; Glorot's bound for the projections of an attention; the normal distribution for an embedding; 1 and 0 for what
normalises. A bare `param` of the file begins at 0.

The numbers are NumPy's, so that a seed gives them again. Where training begins is no secret, and nothing rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Array, Graph, OpError, Param, Shape, Value

__all__ = ["initial_weights"]

Draw = Callable[[np.random.Generator, Shape], Array]
Siblings = Mapping[str, Shape]
"""The parameters of a layer: the last part of each key, and its shape."""


def initial_weights(graph: Graph, seed: int | None = None) -> dict[str, Array]:
    """By key, within the ranges that the model declares; those of an array role stacked. Raises OpError for a layer
    that no random weights are for."""
    random = np.random.default_rng(seed)
    shapes: dict[str, dict[str, Shape]] = {}
    for leaf in graph.params:
        path, part = _split(_op(leaf).key)
        shapes.setdefault(path, {})[part] = leaf.shape
    found: dict[str, list[Array]] = {}
    for leaf in graph.params:
        op = _op(leaf)
        path, part = _split(op.key)
        kind = graph.layers.get(path, "")
        array = _draw(kind, path, part, shapes[path])(random, leaf.shape)
        found.setdefault(op.key, []).append(_within(leaf, array))
    stacked = {_op(leaf).key for leaf in graph.params if _op(leaf).index_path}
    return {key: np.stack(arrays) if key in stacked else arrays[0] for key, arrays in found.items()}


def _op(leaf: Value) -> Param:
    assert isinstance(leaf.op, Param)
    return leaf.op


def _split(key: str) -> tuple[str, str]:
    """The path of a layer and the part of a parameter: attention has parts with a dot."""
    for inner in (".out_proj.weight", ".out_proj.bias"):
        if key.endswith(inner):
            return key.removesuffix(inner), inner[1:]
    path, _, part = key.rpartition(".")
    return path, part


def _within(leaf: Value, array: Array) -> Array:
    return array if leaf.declared is None else array.clip(leaf.declared.lo, leaf.declared.hi)


def _draw(kind: str, path: str, part: str, shapes: Siblings) -> Draw:
    if not kind:
        return _all(0.0)
    if kind in ("dense", "conv1d", "conv2d"):
        return _uniform(1 / math.sqrt(math.prod(shapes["weight"][1:])))
    if kind == "conv_transpose2d":
        return _uniform(1 / math.sqrt(math.prod(shapes["weight"][1:])))
    if kind in ("lstm", "gru"):
        return _uniform(1 / math.sqrt(shapes["weight_hh_l0"][1]))
    if kind in ("batchnorm", "layernorm", "rmsnorm", "groupnorm", "instancenorm"):
        return _all(1.0 if part in ("weight", "running_var") else 0.0)
    if kind == "embedding":
        return lambda random, shape: random.normal(size=shape)
    if kind == "attention":
        return _of_attention(part, shapes)
    raise OpError(f"no random weights are known for the {kind} layer `{path}`")


def _of_attention(part: str, shapes: Siblings) -> Draw:
    if part == "in_proj_weight":
        return _uniform(math.sqrt(6 / sum(shapes[part])))
    if part == "out_proj.weight":
        return _uniform(1 / math.sqrt(shapes[part][1]))
    return _all(0.0)


def _uniform(bound: float) -> Draw:
    return lambda random, shape: random.uniform(-bound, bound, shape)


def _all(number: float) -> Draw:
    return lambda random, shape: np.full(shape, number)
