"""Normalisations as layers where the language has them, else as means and roots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compiler.graph import Array
from compiler.importers.known import Known, plain, scalar, term_of
from compiler.importers.nodes import Node, Result, axis_at, fixed
from compiler.importers.operators.elementwise import beside
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size, product
from compiler.importers.terms import Term, call, layer, weight

EPSILON = 1e-5


def epsilon(node: Node) -> float:
    return float(plain(np.float32(node.attribute("epsilon", EPSILON))))


def batch_norm(node: Node) -> Result:
    x = node.term()
    if node.attribute("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise Unsupported("the model was exported in training mode", "call model.eval() before the export")
    if not all(isinstance(value, Known) and value.is_same for value in node.inputs[1:5]):
        return _computed_batch_norm(node, x)
    names = ("weight", "bias", "running_mean", "running_var")
    held = {key: node.array(place, f"its {key}") for place, key in enumerate(names, 1)}
    hint = node.known(1, "its scale").hint
    shape = x.shape
    if x.rank == 5:
        x = call("reshape", x, shape=(*shape[:3], product(shape[3:], node.trials)))
    found = layer("batchnorm", x, held, hint, **with_epsilon(epsilon(node)))
    return found if len(shape) < 5 else call("reshape", found, shape=shape)


def _computed_batch_norm(node: Node, x: Term) -> Term:
    """With a mean or a variance that is computed, as Keras' layer normalisation is exported."""
    scale, shift, mean, variance = (_along_channels(node.value(place), x) for place in (1, 2, 3, 4))
    apart = call("-", x, beside(mean, x, node.trials))
    root = call("rsqrt", call("+", term_of(variance, node.trials), epsilon(node)))
    found = call("*", apart, root)
    if not isinstance(scale, Known) or scalar(scale) != 1:
        found = call("*", found, beside(scale, x, node.trials))
    if not isinstance(shift, Known) or scalar(shift) != 0:
        found = call("+", found, beside(shift, x, node.trials))
    return found


def _along_channels(value: Term | Known, x: Term) -> Term | Known:
    """[channels, 1, …]."""
    if isinstance(value, Known):
        arrays = tuple(array.reshape(-1, *[1] * (x.rank - 2)) for array in value.arrays)
        return Known(arrays, value.hint, value.weight)
    one = Size((1,) * len(x.values))
    return call("reshape", value, shape=(value.shape[0], *[one] * (x.rank - 2))) if x.rank > 2 else value


def layer_normalised(x: Term, scale: Array, shift: Array, hint: str, eps: float) -> Term:
    """The layer. An eps that the number format cannot tell from 0 becomes the smallest that it can."""
    note = f"eps={EPSILON:g} stands for {eps:g}, which is less than the number format can tell from 0"
    held = {"weight": scale, "bias": shift}
    return layer("layernorm", x, held, hint, note=note if eps < EPSILON else "", **with_epsilon(max(eps, EPSILON)))


def with_epsilon(number: float) -> dict[str, Any]:
    return {} if number == EPSILON else {"eps": number}


def layer_norm(node: Node) -> Result:
    """Over the last axis by a layer; over several, these are joined before."""
    x = node.term()
    axis = axis_at(int(node.attribute("axis", -1)), x.rank)
    shape, rest = x.shape, x.shape[axis:]
    count = product(rest, node.trials).fixed
    scale = _vector(node, 1, fixed(rest), 1.0)
    shift = _vector(node, 2, fixed(rest), 0.0)
    known = node.value(1)
    hint = known.hint if isinstance(known, Known) else ""
    flat = x if len(rest) == 1 else call("reshape", x, shape=(*shape[:axis], Size((count,) * node.trials)))
    found = layer_normalised(flat, scale, shift, hint, epsilon(node))
    found = found if len(rest) == 1 else call("reshape", found, shape=shape)
    if not any(node.outputs[1:]):
        return found
    axes = tuple(range(axis, x.rank))
    mean = call("mean", x, axis=axes, keepdims=True)
    deviation = call("rsqrt", call("+", call("var", x, axis=axes, keepdims=True), epsilon(node)))
    return found, mean, deviation


def _vector(node: Node, place: int, sizes: list[int], default: float) -> Array:
    if not node.has(place):
        return np.full(int(np.prod(sizes)), default, np.float32)
    array = node.array(place, "its scale and shift")
    if len(sizes) == 1 and array.shape == (sizes[0],):
        return array  # itself, so that a tensor that two layers share stays one
    return np.ascontiguousarray(np.broadcast_to(array, sizes)).reshape(-1)


def normalised(x: Term, groups: Size, eps: float) -> Term:
    """Each group of channels to mean 0 and variance 1: a layernorm without scale and shift."""
    shape, trials = x.shape, len(x.values)
    whole = product(shape[1:], trials)
    each = Size(tuple(a // g for a, g in zip(whole.values, groups.values, strict=True)))
    flat = call("reshape", x, shape=(shape[0], groups, each))
    centred = call("-", flat, call("mean", flat, axis=-1, keepdims=True))
    deviation = call("rsqrt", call("+", call("mean", call("square", centred), axis=-1, keepdims=True), eps))
    return call("reshape", call("*", centred, deviation), shape=shape)


def instance_norm(node: Node) -> Result:
    x = node.term()
    return _per_channel(node, normalised(x, x.shape[1], epsilon(node)), 1)


def group_norm(node: Node) -> Result:
    x = node.term()
    groups = int(node.attributes["num_groups"])
    found = normalised(x, Size((groups,) * node.trials), epsilon(node))
    return _per_channel(node, found, x.shape[1].fixed // groups if node.opset < 21 else 1)


def _per_channel(node: Node, x: Term, repeats: int) -> Term:
    """Scaled and shifted by known numbers for each channel (before version 21, for each group of `repeats`)."""
    for place, name in ((1, "*"), (2, "+")):
        value = node.value(place)
        if not isinstance(value, Known):
            raise Unsupported("its scale and shift are computed from the data", "make them initializers")
        one = scalar(value)
        array = np.repeat(value.array.reshape(-1), repeats).reshape(-1, *[1] * (x.rank - 2))
        held = Known.same(array, node.trials, value.hint, value.weight and one is None)
        x = call(name, x, beside(held, x, node.trials))
    return x


def rms_norm(node: Node) -> Result:
    x = node.term()
    axis = axis_at(int(node.attribute("axis", -1)), x.rank)
    axes: int | tuple[int, ...] = -1 if axis == x.rank - 1 else tuple(range(axis, x.rank))
    scaled = call(
        "*", x, call("rsqrt", call("+", call("mean", call("square", x), axis=axes, keepdims=True), epsilon(node)))
    )
    return call("*", scaled, beside(node.value(1), x, node.trials))


def mean_variance(node: Node) -> Result:
    x = node.term()
    axes = tuple(axis_at(int(a), x.rank) for a in node.attribute("axes", [0, 2, 3]))
    centred = call("-", x, call("mean", x, axis=axes, keepdims=True))
    return call(
        "*", centred, call("rsqrt", call("+", call("mean", call("square", centred), axis=axes, keepdims=True), 1e-9))
    )


def lp_norm(node: Node) -> Result:
    x = node.term()
    axis = axis_at(int(node.attribute("axis", -1)), x.rank)
    if int(node.attribute("p", 2)) == 1:
        return call("/", x, call("sum", call("abs", x), axis=axis, keepdims=True))
    return call("*", x, call("rsqrt", call("sum", call("square", x), axis=axis, keepdims=True)))


__all__ = ["HANDLERS", "weight"]

HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "RMSNormalization": rms_norm,
    "SimplifiedLayerNormalization": rms_norm,
    "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp_norm,
}
