"""The layers of the language: their parameters (PyTorch's names and shapes) and what they compute.

The front end owns instances, key paths and sharing; a layer here is told its configuration and the value that flows in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.graph import OpError, Shape, Value, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.activations import Sqrt
from compiler.ops.linear import Conv2d, MatMul
from compiler.ops.rules import show
from compiler.ops.signatures import MISSING, Parameter, Takes, bind, signature

Config = Mapping[str, Any]


@dataclass(frozen=True)
class LayerParam:
    """A parameter of one layer instance: the last part of its key, and its shape.

    `ranged` says whether the range of `weights` holds for the parameter itself; batchnorm's bounds what is computed
    from its parameters instead.
    """

    key: str
    shape: Shape
    ranged: bool = True


@dataclass(frozen=True)
class Layer:
    """A kind of layer. `check` refuses wrong arguments, `params` gives the parameters that an input of a shape needs.

    Without `params` and `build` it is not supported yet.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    params: Callable[[Config, Shape], tuple[LayerParam, ...]] | None = None
    build: Callable[[Config, Value, Mapping[str, Value], Interval | None], Value] | None = None
    check: Callable[[Config], None] = lambda config: None

    @property
    def signature(self) -> str:
        return signature(self.name, self.parameters)

    def configure(self, positional: Sequence[Any], named: Mapping[str, Any]) -> Config:
        """The arguments of `layer NAME = kind(…)`, bound and converted; raises OpError."""
        if self.build is None:
            raise OpError(f"the layer `{self.name}` is not supported yet")
        config = bind(self.name, self.parameters, positional, named)[1]
        self.check(config)
        return config

    def parameters_for(self, config: Config, shape: Shape) -> tuple[LayerParam, ...]:
        """The parameters at the first application, on an input of `shape`; raises OpError when it does not fit."""
        assert self.params is not None
        return self.params(config, shape)

    def apply(self, config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None = None) -> Value:
        """The layer on `x`; `declared` is the range of its `weights`. Raises OpError (also on another input size)."""
        assert self.build is not None
        for needed in self.parameters_for(config, x.shape):
            made = params[needed.key].shape
            if made != needed.shape:
                raise OpError(
                    f"this layer's {needed.key} is {show(made)} since its first application,"
                    f" but an input {show(x.shape)} needs {show(needed.shape)}",
                    "use another layer for another size",
                    0,
                )
        return self.build(config, build.to_number(x), params, declared)


# -- dense -------------------------------------------------------------------------------------------------------------


def _check_dense(config: Config) -> None:
    _at_least("dense", config, units=1)


def _dense_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if len(shape) not in (2, 3):
        raise OpError(
            f"dense expects [batch, features] (or [batch, positions, features]), found {show(shape)}",
            "put `flatten` before the dense layer",
            0,
        )
    weight = LayerParam("weight", (config["units"], shape[-1]))
    return (weight, LayerParam("bias", (config["units"],))) if config["bias"] else (weight,)


def _dense(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    product = apply(MatMul(), x, build.transpose(params["weight"]))
    return build.add(product, params["bias"]) if config["bias"] else product


# -- conv2d ------------------------------------------------------------------------------------------------------------


def _check_conv2d(config: Config) -> None:
    _at_least("conv2d", config, out=1, kernel=1, stride=1, padding=0, dilation=1, groups=1)
    if config["out"] % config["groups"]:
        message = f"conv2d expects groups that divide its channels, found {config['groups']} for {config['out']}"
        raise OpError(message, "choose groups that divide both `out` and the channels of the input", "groups")
    _sides(config["padding"], config["kernel"], config["stride"], config["dilation"])


def _conv2d_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    if len(shape) != 4:
        raise OpError(
            f"conv2d expects [batch, channels, height, width], found {show(shape)}",
            "`reshape` or `unsqueeze` makes four axes",
            0,
        )
    out, groups, kernel = config["out"], config["groups"], config["kernel"]
    if shape[1] % groups:
        raise OpError(
            f"conv2d expects channels that are multiples of {groups} groups, found {shape[1]} in and {out} out",
            "choose groups that divide both",
        )
    weight = LayerParam("weight", (out, shape[1] // groups, *kernel))
    return (weight, LayerParam("bias", (out,))) if config["bias"] else (weight,)


def _conv2d(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    stride, dilation = config["stride"], config["dilation"]
    padding = _sides(config["padding"], config["kernel"], stride, dilation)
    product = apply(Conv2d(stride, padding, dilation, config["groups"]), x, params["weight"])
    if not config["bias"]:
        return product
    return build.add(product, build.reshape(params["bias"], (1, -1, 1, 1)))


def _sides(
    padding: tuple[int, int] | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right); "same" puts the odd one behind, as PyTorch."""
    if not isinstance(padding, str):
        vertical, horizontal = padding
        return vertical, vertical, horizontal, horizontal
    if stride != (1, 1):
        raise OpError(
            f'conv2d expects stride 1 with padding="same", found {show(stride)}',
            "give the padding in numbers",
            "padding",
        )
    tall, wide = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    return tall // 2, tall - tall // 2, wide // 2, wide - wide // 2


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
    """x * scale + shift. Scale and shift depend on one owner's values, who computes them before sharing."""
    deviation = apply(Sqrt(), build.add(params["running_var"], constant(float(config["eps"]))))
    scale = _part("scale", build.div(params["weight"], deviation), params["weight"], declared)
    shift = build.sub(params["bias"], build.mul(params["running_mean"], scale))
    shift = _part("shift", shift, params["bias"], declared)
    per_channel = (1, -1, *(1,) * (x.rank - 2))
    return build.add(build.mul(x, build.reshape(scale, per_channel)), build.reshape(shift, per_channel))


def _part(word: str, value: Value, beside: Value, declared: Interval | None) -> Value:
    """What the owner computes, promised and named as if it were a parameter `beside` another: `bn.scale`."""
    path, dot, _ = (beside.name or "").rpartition(".")
    name = f"{path}{dot}{word}"
    return replace(value, name=name) if declared is None else declare(value, declared, name)


# -- the table ---------------------------------------------------------------------------------------------------------


def _at_least(layer: str, config: Config, **least: int) -> None:
    """Refuse arguments below their least value; an option that is text is not among them."""
    for name, smallest in least.items():
        given = config[name]
        if not isinstance(given, str) and (min(given) if isinstance(given, tuple) else given) < smallest:
            found = show(given) if isinstance(given, tuple) else given
            raise OpError(f"`{name}` of {layer} expects at least {smallest}, found {found}", arg=name)


BIAS = Parameter("bias", Takes.FLAG, True)
CONV2D = (
    Parameter("out", Takes.WHOLE, MISSING),
    Parameter("kernel", Takes.PAIR, MISSING),
    Parameter("stride", Takes.PAIR, (1, 1), "1"),
    Parameter("padding", Takes.PADDING, (0, 0), "0"),
    Parameter("dilation", Takes.PAIR, (1, 1), "1"),
    Parameter("groups", Takes.WHOLE, 1),
    BIAS,
)

_SUPPORTED = (
    Layer("dense", (Parameter("units", Takes.WHOLE, MISSING), BIAS), _dense_params, _dense, _check_dense),
    Layer("conv2d", CONV2D, _conv2d_params, _conv2d, _check_conv2d),
    Layer(
        "batchnorm", (Parameter("eps", Takes.NUMBER, 1e-5, "1e-5"),), _batchnorm_params, _batchnorm, _check_batchnorm
    ),
)
_LATER = ("conv1d", "conv_transpose2d", "layernorm", "embedding", "attention")

LAYERS: dict[str, Layer] = {layer.name: layer for layer in _SUPPORTED} | {name: Layer(name) for name in _LATER}
