"""What the language's pooling functions make of their arguments. What stands along one axis is an image of height 1."""

from __future__ import annotations

from compiler.graph import OpError, Value, apply
from compiler.ops import build
from compiler.ops.pooling import AvgPool2d, MaxPool2d
from compiler.ops.reductions import Mean
from compiler.ops.rules import show

Pair = tuple[int, int]


def maxpool2d(x: Value, k: Pair, stride: Pair | None = None, padding: Pair = (0, 0)) -> Value:
    return apply(MaxPool2d(k, stride or k, padding), build.to_number(x))


def avgpool2d(x: Value, k: Pair, stride: Pair | None = None, padding: Pair = (0, 0)) -> Value:
    return apply(AvgPool2d(k, stride or k, padding), build.to_fixed(x))


def maxpool1d(x: Value, k: int, stride: int | None = None, padding: int = 0) -> Value:
    _expect_windows("maxpool1d", x, k, stride or k, padding)
    return flat_image(maxpool2d(as_image(x), (1, k), (1, stride or k), (0, padding)))


def avgpool1d(x: Value, k: int, stride: int | None = None, padding: int = 0) -> Value:
    _expect_windows("avgpool1d", x, k, stride or k, padding)
    return flat_image(avgpool2d(as_image(x), (1, k), (1, stride or k), (0, padding)))


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


def global_avgpool2d(x: Value) -> Value:
    if x.rank != 4:
        raise OpError(f"global_avgpool2d expects [batch, channels, height, width], found {show(x.shape)}", arg=0)
    return build.reduce(Mean, x, (2, 3), keepdims=True)
