"""The layers of the language: their parameters (PyTorch's names and shapes) and what they compute.

The front end owns instances, key paths and sharing; a layer here is told its configuration and the value that flows in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.graph import Kind, OpError, Shape, Value, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import build, windows
from compiler.ops.activations import Sqrt
from compiler.ops.comparisons import LessEqual
from compiler.ops.linear import Conv2d, MatMul
from compiler.ops.norms import LayerNorm
from compiler.ops.rules import show, typed
from compiler.ops.selection import OneHot
from compiler.ops.signatures import MISSING, Parameter, Takes, bind, signature
from compiler.ops.trees import MAX_DEPTH, Chosen, Leaves

Config = Mapping[str, Any]


@dataclass(frozen=True)
class LayerParam:
    """A parameter of one layer instance: the last part of its key, and its shape.

    `ranged` says whether the range of `weights` holds for the parameter itself; batchnorm's bounds what is computed
    from its parameters instead. `own` is a range that the layer itself sets.
    """

    key: str
    shape: Shape
    ranged: bool = True
    kind: Kind = Kind.FIXED
    own: Interval | None = None

    def contract(self, declared: Interval | None) -> Interval | None:
        """The range that the parameter must lie in, where `declared` is that of its `weights`."""
        return (declared if self.ranged else None) if self.own is None else self.own


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


# -- convolutions ------------------------------------------------------------------------------------------------------


def _check_conv2d(config: Config) -> None:
    _check_convolution("conv2d", config)
    _sides("conv2d", config["padding"], config["kernel"], config["stride"], config["dilation"])


def _check_conv1d(config: Config) -> None:
    _check_convolution("conv1d", config)
    _conv1d_sides(config)


def _check_convolution(name: str, config: Config) -> None:
    _at_least(name, config, out=1, kernel=1, stride=1, padding=0, dilation=1, groups=1)
    _divided(name, config)


def _divided(name: str, config: Config) -> None:
    if config["out"] % config["groups"]:
        message = f"{name} expects groups that divide its channels, found {config['groups']} for {config['out']}"
        raise OpError(message, "choose groups that divide both `out` and the channels of the input", "groups")


def _expect_channels(name: str, config: Config, shape: Shape, axes: str, count: str) -> None:
    """Refuses an input whose axes are not these, `count` of them, or whose channels the groups do not divide."""
    out, groups = config["out"], config["groups"]
    if len(shape) != len(axes.split(", ")):
        help = f"`reshape` or `unsqueeze` makes {count} axes"
        raise OpError(f"{name} expects [{axes}], found {show(shape)}", help, 0)
    if shape[1] % groups:
        raise OpError(
            f"{name} expects channels that are multiples of {groups} groups, found {shape[1]} in and {out} out",
            "choose groups that divide both",
        )


def _with_bias(config: Config, weight: Shape) -> tuple[LayerParam, ...]:
    found = LayerParam("weight", weight)
    return (found, LayerParam("bias", (config["out"],))) if config["bias"] else (found,)


def _conv2d_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv2d", config, shape, "batch, channels, height, width", "four")
    return _with_bias(config, (config["out"], shape[1] // config["groups"], *config["kernel"]))


def _conv1d_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv1d", config, shape, "batch, channels, length", "three")
    return _with_bias(config, (config["out"], shape[1] // config["groups"], config["kernel"]))


def _conv2d(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    stride, dilation = config["stride"], config["dilation"]
    padding = _sides("conv2d", config["padding"], config["kernel"], stride, dilation)
    return _biased(config, apply(Conv2d(stride, padding, dilation, config["groups"]), x, params["weight"]), params)


def _biased(config: Config, product: Value, params: Mapping[str, Value]) -> Value:
    if not config["bias"]:
        return product
    return build.add(product, build.reshape(params["bias"], (1, -1, 1, 1)))


def _conv1d(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    """A convolution of an image of height 1."""
    op = Conv2d((1, config["stride"]), _conv1d_sides(config), (1, config["dilation"]), config["groups"])
    reach = config["dilation"] * (config["kernel"] - 1) + 1
    length = x.shape[2] + sum(op.padding)
    if length < reach:
        raise OpError(f"conv1d's window of {reach} is larger than the padded length {length}", "use a smaller kernel")
    product = apply(op, windows.as_image(x), windows.as_image(params["weight"]))
    return windows.flat_image(_biased(config, product, params))


def _conv1d_sides(config: Config) -> tuple[int, int, int, int]:
    padding = config["padding"] if isinstance(config["padding"], str) else (0, config["padding"])
    return _sides("conv1d", padding, (1, config["kernel"]), (1, config["stride"]), (1, config["dilation"]))


def _sides(
    name: str,
    padding: tuple[int, int] | str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right); "same" puts the odd one behind, as PyTorch."""
    if not isinstance(padding, str):
        vertical, horizontal = padding
        return vertical, vertical, horizontal, horizontal
    if stride != (1, 1):
        found = stride[1] if name == "conv1d" else show(stride)
        raise OpError(
            f'{name} expects stride 1 with padding="same", found {found}', "give the padding in numbers", "padding"
        )
    tall, wide = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    return tall // 2, tall - tall // 2, wide // 2, wide - wide // 2


def _check_transposed(config: Config) -> None:
    _at_least("conv_transpose2d", config, out=1, kernel=1, stride=1, padding=0, output_padding=0, groups=1)
    _divided("conv_transpose2d", config)
    if any(more >= step for more, step in zip(config["output_padding"], config["stride"], strict=True)):
        found = f"{show(config['output_padding'])} for a stride {show(config['stride'])}"
        message = f"conv_transpose2d expects an output_padding below the stride, found {found}"
        raise OpError(message, arg="output_padding")


def _transposed_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv_transpose2d", config, shape, "batch, channels, height, width", "four")
    return _with_bias(config, (shape[1], config["out"] // config["groups"], *config["kernel"]))


def _conv_transpose2d(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    """A convolution with the turned kernel over the image with zeros between its elements and around them."""
    kernel, stride, groups = config["kernel"], config["stride"], config["groups"]
    before = [size - 1 - cut for size, cut in zip(kernel, config["padding"], strict=True)]
    after = [size + more for size, more in zip(before, config["output_padding"], strict=True)]
    sizes = [(n - 1) * step + 1 for n, step in zip(x.shape[2:], stride, strict=True)]
    for n, size, one, other in zip(sizes, kernel, before, after, strict=True):
        if n + one + other < size:
            message = f"conv_transpose2d's padding {show(config['padding'])} leaves nothing of {show(x.shape[2:])}"
            raise OpError(message, "use less padding", "padding")
    spread = _around(_spread(x, stride, sizes), before, after)
    parts, (rows, columns) = params["weight"].shape[1], kernel
    weight = build.reshape(params["weight"], (groups, -1, parts, rows, columns))
    weight = build.reshape(build.transpose(weight, (0, 2, 1, 3, 4)), (groups * parts, -1, rows, columns))
    turned = build.index(weight, (slice(None), slice(None), slice(None, None, -1), slice(None, None, -1)))
    return _biased(config, apply(Conv2d((1, 1), (0, 0, 0, 0), (1, 1), groups), spread, turned), params)


def _spread(x: Value, stride: tuple[int, int], sizes: Sequence[int]) -> Value:
    """[n, c, h, w] with zeros between neighbours, `stride` apart."""
    if stride == (1, 1):
        return x
    n, c, h, w = x.shape
    apart = build.pad(
        build.reshape(x, (n, c, h, 1, w, 1)), ((0, 0), (0, 0), (0, 0), (0, stride[0] - 1), (0, 0), (0, stride[1] - 1))
    )
    whole = build.reshape(apart, (n, c, h * stride[0], w * stride[1]))
    return build.index(whole, (slice(None), slice(None), slice(0, sizes[0]), slice(0, sizes[1])))


def _around(x: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """Zeros around an image; below 0, so much less of it."""
    kept = [slice(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, x.shape[2:], strict=True)]
    inner = build.index(x, (slice(None), slice(None), *kept))
    widths = ((0, 0), (0, 0), *((max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)))
    return build.pad(inner, widths) if any(map(any, widths)) else inner


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
    _at_least("embedding", config, count=1, size=1)


def _embedding_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    return (LayerParam("weight", (config["count"], config["size"])),)


def _embedding(config: Config, x: Value, params: Mapping[str, Value], declared: Interval | None) -> Value:
    if x.kind is not Kind.INT:
        raise OpError(f"embedding expects an int value, found {typed(x)}", "declare its input as `int[…]`", 0)
    return build.gather(params["weight"], x)


# -- forest ------------------------------------------------------------------------------------------------------------


def _check_forest(config: Config) -> None:
    _at_least("forest", config, trees=1, depth=1, outputs=1)
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


def _at_least(layer: str, config: Config, **least: int) -> None:
    """Refuse arguments below their least value; an option that is text is not among them."""
    for name, smallest in least.items():
        given = config[name]
        if not isinstance(given, str) and (min(given) if isinstance(given, tuple) else given) < smallest:
            found = show(given) if isinstance(given, tuple) else given
            raise OpError(f"`{name}` of {layer} expects at least {smallest}, found {found}", arg=name)


BIAS = Parameter("bias", Takes.FLAG, True)
OUTPUTS = Parameter("outputs", Takes.WHOLE, 1)
EPS = (Parameter("eps", Takes.NUMBER, 1e-5, "1e-5"),)
CONV2D = (
    Parameter("out", Takes.WHOLE, MISSING),
    Parameter("kernel", Takes.PAIR, MISSING),
    Parameter("stride", Takes.PAIR, (1, 1), "1"),
    Parameter("padding", Takes.PADDING, (0, 0), "0"),
    Parameter("dilation", Takes.PAIR, (1, 1), "1"),
    Parameter("groups", Takes.WHOLE, 1),
    BIAS,
)

CONV1D = (
    Parameter("out", Takes.WHOLE, MISSING),
    Parameter("kernel", Takes.WHOLE, MISSING),
    Parameter("stride", Takes.WHOLE, 1),
    Parameter("padding", Takes.SIDES, 0),
    Parameter("dilation", Takes.WHOLE, 1),
    Parameter("groups", Takes.WHOLE, 1),
    BIAS,
)
CONV_TRANSPOSE2D = (
    Parameter("out", Takes.WHOLE, MISSING),
    Parameter("kernel", Takes.PAIR, MISSING),
    Parameter("stride", Takes.PAIR, (1, 1), "1"),
    Parameter("padding", Takes.PAIR, (0, 0), "0"),
    Parameter("output_padding", Takes.PAIR, (0, 0), "0"),
    Parameter("groups", Takes.WHOLE, 1),
    BIAS,
)

_SUPPORTED = (
    Layer("dense", (Parameter("units", Takes.WHOLE, MISSING), BIAS), _dense_params, _dense, _check_dense),
    Layer("conv1d", CONV1D, _conv1d_params, _conv1d, _check_conv1d),
    Layer("conv_transpose2d", CONV_TRANSPOSE2D, _transposed_params, _conv_transpose2d, _check_transposed),
    Layer("conv2d", CONV2D, _conv2d_params, _conv2d, _check_conv2d),
    Layer(
        "embedding",
        (Parameter("count", Takes.WHOLE, MISSING), Parameter("size", Takes.WHOLE, MISSING)),
        _embedding_params,
        _embedding,
        _check_embedding,
    ),
    Layer(
        "forest",
        (Parameter("trees", Takes.WHOLE, MISSING), Parameter("depth", Takes.WHOLE, MISSING), OUTPUTS),
        _forest_params,
        _forest,
        _check_forest,
    ),
    Layer("layernorm", EPS, _layernorm_params, _layernorm, _check_layernorm),
    Layer("batchnorm", EPS, _batchnorm_params, _batchnorm, _check_batchnorm),
)
_LATER = ("attention",)

LAYERS: dict[str, Layer] = {layer.name: layer for layer in _SUPPORTED} | {name: Layer(name) for name in _LATER}
