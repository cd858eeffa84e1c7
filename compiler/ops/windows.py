"""What the language's pooling functions make of their arguments. What stands along one axis is an image of height 1."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.graph import OpError, Value, apply
from compiler.ops import build
from compiler.ops.pooling import AvgPool2d, MaxPool2d
from compiler.ops.reductions import Mean
from compiler.ops.rules import show

Pair = tuple[int, int]


def maxpool2d(x: Value, k: Pair, stride: Pair | None = None, padding: Pair = (0, 0)) -> Value:
    return apply(MaxPool2d(k, stride or k, padding), build.to_number(x))


def avgpool2d(
    x: Value, k: Pair, stride: Pair | None = None, padding: Pair = (0, 0), count_include_pad: bool = True
) -> Value:
    """With `count_include_pad`, the zeros around the image count."""
    return apply(AvgPool2d(k, stride or k, padding, count_include_pad or not any(padding)), build.to_fixed(x))


def maxpool1d(x: Value, k: int, stride: int | None = None, padding: int = 0) -> Value:
    _expect_windows("maxpool1d", x, k, stride or k, padding)
    return flat_image(maxpool2d(as_image(x), (1, k), (1, stride or k), (0, padding)))


def avgpool1d(x: Value, k: int, stride: int | None = None, padding: int = 0, count_include_pad: bool = True) -> Value:
    _expect_windows("avgpool1d", x, k, stride or k, padding)
    return flat_image(avgpool2d(as_image(x), (1, k), (1, stride or k), (0, padding), count_include_pad))


def as_image(x: Value) -> Value:
    """[n, c, length] as [n, c, 1, length]."""
    return build.unsqueeze(x, 2)


def flat_image(x: Value) -> Value:
    return build.squeeze(x, (2,))


def _expect_windows(name: str, x: Value, k: int, stride: int, padding: int) -> None:
    if x.rank != 3:
        help = "`reshape` or `unsqueeze` makes three axes"
        raise OpError(f"{name} expects [batch, channels, length], found {show(x.shape)}", help, 0)
    for word, given, least in (("k", k, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if given < least:
            raise OpError(f"`{word}` of {name} expects at least {least}, found {given}", arg=word)
    if 2 * padding > k:
        message = f"{name} expects at most half the window as padding, found padding {padding} for a window of {k}"
        raise OpError(message, arg="padding")
    if x.shape[2] + 2 * padding < k:
        message = f"{name}'s window of {k} is larger than the length {x.shape[2]}"
        raise OpError(message, "use a smaller window", 0)


def adaptive_avgpool1d(x: Value, size: int) -> Value:
    """Means of as many neighbours as make `size` of them."""
    _expect_axes("adaptive_avgpool1d", x, "batch, channels, length")
    (k,) = _shares("adaptive_avgpool1d", x.shape[2:], (size,))
    return avgpool1d(x, k)


def adaptive_avgpool2d(x: Value, size: Pair) -> Value:
    _expect_axes("adaptive_avgpool2d", x, "batch, channels, height, width")
    down, across = _shares("adaptive_avgpool2d", x.shape[2:], size)
    return avgpool2d(x, (down, across))


def _expect_axes(name: str, x: Value, axes: str) -> None:
    if x.rank != len(axes.split(", ")):
        raise OpError(f"{name} expects [{axes}], found {show(x.shape)}", "`reshape` or `unsqueeze` adds axes", 0)


def _shares(name: str, sizes: Sequence[int], wanted: Sequence[int]) -> list[int]:
    if any(want < 1 or n % want for n, want in zip(sizes, wanted, strict=True)):
        found = f"{show(wanted)} of {show(sizes)}"
        raise OpError(f"{name} expects sizes that divide those of the image, found {found}", arg="size")
    return [n // want for n, want in zip(sizes, wanted, strict=True)]


def global_avgpool2d(x: Value) -> Value:
    if x.rank != 4:
        raise OpError(f"global_avgpool2d expects [batch, channels, height, width], found {show(x.shape)}", arg=0)
    return build.reduce(Mean, x, (2, 3), keepdims=True)
