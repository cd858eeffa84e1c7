"""Layers on sequences [batch, positions, features]: self-attention, and recurrent layers unrolled over the positions.

Names, shapes and the order of the gates are PyTorch's (`MultiheadAttention`, `LSTM`, `GRU` with batch_first).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import OpError, Shape, Value, apply, constant
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.activations import Sigmoid, Tanh
from compiler.ops.elementwise import Blend
from compiler.ops.indexing import index
from compiler.ops.layer import BIAS, Config, Layer, LayerParam, at_least
from compiler.ops.linear import MatMul
from compiler.ops.rules import show
from compiler.ops.signatures import MISSING, Parameter, Takes

Params = Mapping[str, Value]


def _expect_sequence(name: str, shape: Shape) -> None:
    if len(shape) != 3:
        help = "`reshape` or `unsqueeze` makes three axes"
        raise OpError(f"{name} expects [batch, positions, features], found {show(shape)}", help, 0)


def _linear(x: Value, weight: Value) -> Value:
    return apply(MatMul(), x, build.transpose(weight))


# -- attention ---------------------------------------------------------------------------------------------------------


def _check_attention(config: Config) -> None:
    at_least("attention", config, heads=1)


def _attention_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_sequence("attention", shape)
    size, heads = shape[2], config["heads"]
    if size % heads:
        message = f"attention expects heads that divide its features, found {heads} for {size}"
        raise OpError(message, "each head takes an equal part of the features", "heads")
    shapes = {"in_proj_weight": (3 * size, size), "in_proj_bias": (3 * size,)}
    shapes |= {"out_proj.weight": (size, size), "out_proj.bias": (size,)}
    return tuple(LayerParam(key, each, outputs=0 if len(each) == 2 else None) for key, each in shapes.items())


def _attention(config: Config, x: Value, params: Params, declared: Interval | None) -> Value:
    (batch, positions, size), heads = x.shape, config["heads"]
    depth = size // heads
    projected = build.add(_linear(x, params["in_proj_weight"]), params["in_proj_bias"])
    split = build.reshape(projected, (batch, positions, 3, heads, depth))
    query, key, value = (
        build.transpose(index(split, (slice(None), slice(None), part)), (0, 2, 1, 3)) for part in range(3)
    )
    met = build.softmax(_scores(query, key, depth), -1, config["causal"])
    joined = build.transpose(apply(MatMul(), met, value), (0, 2, 1, 3))
    joined = build.reshape(joined, (batch, positions, size))
    return build.add(_linear(joined, params["out_proj.weight"]), params["out_proj.bias"])


def _scores(query: Value, key: Value, depth: int) -> Value:
    """query @ key / sqrt(depth); a power of two divides the product, where it costs nothing and rounds least."""
    factor, turned = constant(1 / math.sqrt(depth)), build.transpose(key, (0, 1, 3, 2))
    if math.frexp(math.sqrt(depth))[0] == 0.5:
        return build.mul(apply(MatMul(), query, turned), factor)
    return apply(MatMul(), build.mul(query, factor), turned)


# -- recurrent layers --------------------------------------------------------------------------------------------------


def _check_recurrent(name: str) -> Callable[[Config], None]:
    return lambda config: at_least(name, config, size=1, layers=1)


def _ends(config: Config) -> list[tuple[str, int, bool]]:
    """(suffix of its keys, level, whether it runs backwards) of each direction of each level."""
    ways = (("", False), ("_reverse", True)) if config["bidirectional"] else (("", False),)
    return [(f"_l{level}{suffix}", level, back) for level in range(config["layers"]) for suffix, back in ways]


def _recurrent_params(name: str, gates: int) -> Callable[[Config, Shape], tuple[LayerParam, ...]]:
    def params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
        _expect_sequence(name, shape)
        size, found = config["size"], []
        for suffix, level, _ in _ends(config):
            features = shape[2] if level == 0 else size * (2 if config["bidirectional"] else 1)
            found.append(LayerParam(f"weight_ih{suffix}", (gates * size, features), outputs=0))
            found.append(LayerParam(f"weight_hh{suffix}", (gates * size, size), outputs=0))
            if config["bias"]:
                found += [LayerParam(f"bias_{kind}{suffix}", (gates * size,)) for kind in ("ih", "hh")]
        return tuple(found)

    return params


def _recurrent(one: Callable[[Value, Params, str, Config], Value]) -> Callable[..., Value]:
    """All levels, each with what its directions give side by side."""

    def apply_all(config: Config, x: Value, params: Params, declared: Interval | None) -> Value:
        for level in range(config["layers"]):
            ways = [(suffix, back) for suffix, at, back in _ends(config) if at == level]
            found = [_turned(one(_turned(x, back), params, suffix, config), back) for suffix, back in ways]
            x = build.concat(*found, axis=2)
        return x

    return apply_all


def _turned(x: Value, back: bool) -> Value:
    return index(x, (slice(None), slice(None, None, -1))) if back else x


def _parts(x: Value, count: int) -> list[Value]:
    """[batch, count * size] in `count` parts."""
    size = x.shape[1] // count
    return [index(x, (slice(None), slice(i * size, (i + 1) * size))) for i in range(count)]


def _at(x: Value, position: int) -> Value:
    return index(x, (slice(None), position))


def _lstm(x: Value, params: Params, suffix: str, config: Config) -> Value:
    """c = f c + i g and h = o tanh(c), from a state of 0: what comes first has no product with it."""
    brought = _linear(x, params[f"weight_ih{suffix}"])
    if config["bias"]:
        brought = build.add(brought, build.add(params[f"bias_ih{suffix}"], params[f"bias_hh{suffix}"]))
    state: tuple[Value, Value] | None = None
    found = []
    for position in range(x.shape[1]):
        gates = _at(brought, position)
        if state is not None:
            gates = build.add(gates, _linear(state[0], params[f"weight_hh{suffix}"]))
        i, f, g, o = _parts(gates, 4)
        cell = build.mul(apply(Sigmoid(), i), apply(Tanh(), g))
        if state is not None:
            cell = build.add(build.mul(apply(Sigmoid(), f), state[1]), cell)
        state = build.mul(apply(Sigmoid(), o), apply(Tanh(), cell)), cell
        found.append(state[0])
    return build.stack(*found, axis=1)


def _gru(x: Value, params: Params, suffix: str, config: Config) -> Value:
    """h = (1 - z) n + z h with n = tanh(x_n + r h_n), from a state of 0."""
    brought, size = _linear(x, params[f"weight_ih{suffix}"]), config["size"]
    kept = constant(np.zeros(3 * size))
    if config["bias"]:
        brought, kept = build.add(brought, params[f"bias_ih{suffix}"]), params[f"bias_hh{suffix}"]
    kept = build.reshape(kept, (1, -1))
    state = constant(np.zeros((x.shape[0], size)))
    found = []
    for position in range(x.shape[1]):
        met = build.add(_linear(state, params[f"weight_hh{suffix}"]), kept) if position else kept
        (xr, xz, xn), (hr, hz, hn) = _parts(_at(brought, position), 3), _parts(met, 3)
        r, z = (apply(Sigmoid(), build.add(a, b)) for a, b in ((xr, hr), (xz, hz)))
        new = apply(Tanh(), build.add(xn, build.mul(r, hn)))
        state = apply(Blend(), z, state, new)
        found.append(state)
    return build.stack(*found, axis=1)


# -- the table ---------------------------------------------------------------------------------------------------------

RECURRENT = (
    Parameter("size", Takes.WHOLE, MISSING),
    Parameter("layers", Takes.WHOLE, 1),
    BIAS,
    Parameter("bidirectional", Takes.FLAG, False),
)
ATTENTION = (Parameter("heads", Takes.WHOLE, MISSING), Parameter("causal", Takes.FLAG, False))

SEQUENCES = (
    Layer("attention", ATTENTION, _attention_params, _attention, _check_attention),
    Layer("lstm", RECURRENT, _recurrent_params("lstm", 4), _recurrent(_lstm), _check_recurrent("lstm")),
    Layer("gru", RECURRENT, _recurrent_params("gru", 3), _recurrent(_gru), _check_recurrent("gru")),
)
