"""The layers of the language: their parameters (PyTorch's names and shapes) and what they compute."""

from __future__ import annotations

import math
from collections.abc import Mapping

from compiler.graph import Kind, OpError, Shape, Value, apply
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.batchnorm import BatchNorm
from compiler.ops.comparisons import LessEqual
from compiler.ops.convolutions import CONVOLUTIONS
from compiler.ops.layer import BIAS, Config, Layer, LayerParam, at_least, with_bias
from compiler.ops.linear import MatMul
from compiler.ops.norms import LayerNorm
from compiler.ops.rules import show, typed
from compiler.ops.selection import OneHot
from compiler.ops.sequences import SEQUENCES
from compiler.ops.signatures import MISSING, Parameter, Takes
from compiler.ops.trees import MAX_DEPTH, Chosen, Leaves

# -- dense -------------------------------------------------------------------------------------------------------------


def _check_dense(config: Config) -> None:
    at_least("dense", config, units=1)


def _dense_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if len(shape) not in (2, 3):
        raise OpError(
            f"dense expects [batch, features] (or [batch, positions, features]), found {show(shape)}",
            "put `flatten` before the dense layer",
            0,
        )
    return with_bias(config, (config["units"], shape[-1]), config["units"])


def _dense(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    product = apply(MatMul(), x, build.transpose(params["weight"]))
    return build.add(product, params["bias"]) if config["bias"] else product


# -- prelu -------------------------------------------------------------------------------------------------------------


def _check_prelu(config: Config) -> None:
    at_least("prelu", config, count=1)


def _prelu_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    count = config["count"]
    if count > 1 and (len(shape) < 2 or shape[1] != count):
        message = f"prelu expects {count} channels as axis 1, found {show(shape)}"
        raise OpError(message, "give it one slope for all, or one for each channel", 0)
    return (LayerParam("weight", (count,)),)


def _prelu(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    slope = build.reshape(params["weight"], (-1, *(1,) * max(0, x.rank - 2)))
    return build.prelu(x, slope if config["count"] > 1 else build.reshape(slope, ()))


# -- batchnorm ---------------------------------------------------------------------------------------------------------


def _check_batchnorm(config: Config) -> None:
    if not 0 <= config["eps"] < 1:
        help = "batchnorm takes no number of channels: its form is `batchnorm(eps=1e-5)`"
        raise OpError(f"`eps` of batchnorm expects a small number of at least 0, found {config['eps']:g}", help, "eps")


def _batchnorm_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if not 2 <= len(shape) <= 4:
        raise OpError(
            f"batchnorm expects 2 to 4 axes with the channels as axis 1, found {show(shape)}", "`reshape` first", 0
        )
    keys = ("weight", "bias", "running_mean", "running_var")
    return tuple(LayerParam(key, (shape[1],), ranged=False) for key in keys)


def _batchnorm(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    return _batchnorm_op(config, params, declared).by_its_owner(x, *_of_batchnorm(params))


def _trained_batchnorm(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    """In a model that trains: which statistics it takes depends on the procedure."""
    return apply(_batchnorm_op(config, params, declared), build.to_fixed(x), *_of_batchnorm(params))


def _batchnorm_op(config: Config, params: Mapping[str, Value], declared: Interval | None) -> BatchNorm:
    limits = declared or Interval(-math.inf, math.inf)
    layer = (params["weight"].name or "").rpartition(".")[0]
    return BatchNorm(float(config["eps"]), limits.lo, limits.hi, layer)


def _of_batchnorm(params: Mapping[str, Value]) -> list[Value]:
    return [params[key] for key in ("weight", "bias", "running_mean", "running_var")]


# -- layernorm ---------------------------------------------------------------------------------------------------------


def _check_layernorm(config: Config) -> None:
    if not 0 < config["eps"] < 1:
        help = "layernorm takes no size: its form is `layernorm(eps=1e-5)`"
        raise OpError(f"`eps` of layernorm expects a small number above 0, found {config['eps']:g}", help, "eps")


def _layernorm_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if not shape:
        raise OpError("layernorm expects at least one axis, found a scalar", arg=0)
    return LayerParam("weight", (shape[-1],)), LayerParam("bias", (shape[-1],))


def _layernorm(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    normed = build.smooth(LayerNorm(float(config["eps"])), x)
    return build.add(build.mul(normed, params["weight"]), params["bias"])


# -- embedding ---------------------------------------------------------------------------------------------------------


def _check_embedding(config: Config) -> None:
    at_least("embedding", config, count=1, size=1)


def _embedding_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    return (LayerParam("weight", (config["count"], config["size"])),)


def _embedding(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    if x.kind is not Kind.INT:
        raise OpError(f"embedding expects an int value, found {typed(x)}", "declare its input as `int[…]`", 0)
    return build.gather(params["weight"], x)


# -- forest ------------------------------------------------------------------------------------------------------------


def _check_forest(config: Config) -> None:
    at_least("forest", config, trees=1, depth=1, outputs=1)
    if config["depth"] > MAX_DEPTH:
        help = "train with a largest depth (scikit-learn's `max_depth`): every node of a complete tree is compared"
        raise OpError(f"`depth` of forest expects at most {MAX_DEPTH}, found {config['depth']}", help, "depth")


def _forest_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if len(shape) != 2:
        raise OpError(f"forest expects [batch, features], found {show(shape)}", "put `flatten` before it", 0)
    trees, ends = config["trees"], 1 << config["depth"]
    return (
        LayerParam("feature", (trees, ends - 1), kind=Kind.INT, own=Interval(0, shape[1] - 1)),
        LayerParam("threshold", (trees, ends - 1)),
        LayerParam("leaf", (trees, ends, config["outputs"])),
    )


def _forest(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    """Every node's feature is chosen and compared at once. The owner of the trees makes the one-hot rows."""
    feature, (trees, nodes) = params["feature"], params["feature"].shape
    places = build.reshape(build.to_number(apply(OneHot(x.shape[1]), feature)), (trees * nodes, -1))
    left = build.numeric(LessEqual(), apply(Chosen(), x, places), build.reshape(params["threshold"], (-1,)))
    return apply(Leaves(config["depth"]), build.reshape(left, (-1, trees, nodes)), params["leaf"])


# -- the table ---------------------------------------------------------------------------------------------------------

OUTPUTS = Parameter("outputs", Takes.WHOLE, 1)
EPS = (Parameter("eps", Takes.NUMBER, 1e-5, "1e-5"),)
_ORDINARY = (
    Layer("dense", (Parameter("units", Takes.WHOLE, MISSING), BIAS), _dense_params, _dense, _check_dense),
    Layer(
        "embedding",
        (Parameter("count", Takes.WHOLE, MISSING), Parameter("size", Takes.WHOLE, MISSING)),
        _embedding_params,
        _embedding,
        _check_embedding,
    ),
    Layer("prelu", (Parameter("count", Takes.WHOLE, 1),), _prelu_params, _prelu, _check_prelu),
    Layer(
        "forest",
        (Parameter("trees", Takes.WHOLE, MISSING), Parameter("depth", Takes.WHOLE, MISSING), OUTPUTS),
        _forest_params,
        _forest,
        _check_forest,
    ),
    Layer("layernorm", EPS, _layernorm_params, _layernorm, _check_layernorm),
    Layer("batchnorm", EPS, _batchnorm_params, _batchnorm, _check_batchnorm, _trained_batchnorm),
)

LAYERS: dict[str, Layer] = {layer.name: layer for layer in (*_ORDINARY, *CONVOLUTIONS, *SEQUENCES)}
