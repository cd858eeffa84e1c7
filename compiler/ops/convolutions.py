"""The convolutional layers, and the transposed one, as convolutions of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compiler.graph import OpError, Shape, Value, apply
from compiler.graph.interval import Interval
from compiler.ops import build, windows
from compiler.ops.indexing import index
from compiler.ops.layer import BIAS, Config, Layer, LayerParam, at_least, with_bias
from compiler.ops.linear import Conv2d
from compiler.ops.rules import show
from compiler.ops.signatures import MISSING, Parameter, Takes


def _check_conv2d(config: Config) -> None:
    _check_convolution("conv2d", config)
    _sides("conv2d", config["padding"], config["kernel"], config["stride"], config["dilation"])


def _check_conv1d(config: Config) -> None:
    _check_convolution("conv1d", config)
    _conv1d_sides(config)


def _check_convolution(name: str, config: Config) -> None:
    at_least(name, config, out=1, kernel=1, stride=1, padding=0, dilation=1, groups=1)
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


def _conv2d_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv2d", config, shape, "batch, channels, height, width", "four")
    return with_bias(config, (config["out"], shape[1] // config["groups"], *config["kernel"]), config["out"])


def _conv1d_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv1d", config, shape, "batch, channels, length", "three")
    return with_bias(config, (config["out"], shape[1] // config["groups"], config["kernel"]), config["out"])


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
    at_least("conv_transpose2d", config, out=1, kernel=1, stride=1, padding=0, output_padding=0, groups=1)
    _divided("conv_transpose2d", config)
    if any(more >= step for more, step in zip(config["output_padding"], config["stride"], strict=True)):
        found = f"{show(config['output_padding'])} for a stride {show(config['stride'])}"
        message = f"conv_transpose2d expects an output_padding below the stride, found {found}"
        raise OpError(message, arg="output_padding")


def _transposed_params(config: Config, shape: Shape) -> tuple[LayerParam, ...]:
    _expect_channels("conv_transpose2d", config, shape, "batch, channels, height, width", "four")
    weight, *bias = with_bias(config, (shape[1], config["out"] // config["groups"], *config["kernel"]), config["out"])
    return replace(weight, outputs=1, groups=config["groups"]), *bias


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
    turned = index(weight, (slice(None), slice(None), slice(None, None, -1), slice(None, None, -1)))
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
    return index(whole, (slice(None), slice(None), slice(0, sizes[0]), slice(0, sizes[1])))


def _around(x: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """Zeros around an image; below 0, so much less of it."""
    kept = [slice(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, x.shape[2:], strict=True)]
    inner = index(x, (slice(None), slice(None), *kept))
    widths = ((0, 0), (0, 0), *((max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)))
    return build.pad(inner, widths) if any(map(any, widths)) else inner


# -- the table ---------------------------------------------------------------------------------------------------------

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

CONVOLUTIONS = (
    Layer("conv1d", CONV1D, _conv1d_params, _conv1d, _check_conv1d),
    Layer("conv_transpose2d", CONV_TRANSPOSE2D, _transposed_params, _conv_transpose2d, _check_transposed),
    Layer("conv2d", CONV2D, _conv2d_params, _conv2d, _check_conv2d),
)
