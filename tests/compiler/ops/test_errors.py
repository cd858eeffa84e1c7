"""Every refusal says what was expected, what was found, and names the argument to blame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compiler.graph import Kind, OpError, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import FUNCTIONS, LAYERS, OPERATORS, index
from tests.compiler.graphs import leaf

X = leaf("x", (1, 16, 4, 4))
M = leaf("m", (2, 3))
L = leaf("l", (1, 4, 8))
BIT = leaf("b", (2, 3), None, kind=Kind.BIT)


def function(name: str, *args: object, **named: object) -> Callable[[], object]:
    return lambda: FUNCTIONS[name].call(args, named)


def operator(name: str, *args: object) -> Callable[[], object]:
    return lambda: OPERATORS[name](*args)


def layer(name: str, x, *args: object, **named: object) -> Callable[[], object]:
    return lambda: LAYERS[name].parameters_for(LAYERS[name].configure(args, named), x.shape)


CASES: list[tuple[Callable[[], object], str, object]] = [
    (
        layer("dense", X, 10),
        r"dense expects \[batch, features\] \(or \[batch, positions, features\]\), found \[1, 16, 4, 4\]",
        0,
    ),
    (layer("dense", M, 0), "`units` of dense expects at least 1, found 0", "units"),
    (layer("conv2d", M, 4, kernel=3), r"conv2d expects \[batch, channels, height, width\], found \[2, 3\]", 0),
    (layer("conv2d", X, 4, 3, groups=3), "groups that divide its channels, found 3 for 4", "groups"),
    (layer("conv2d", X, 3, 3, groups=3), "multiples of 3 groups, found 16 in and 3 out", None),
    (layer("conv2d", X, 4, 3, padding=-1), r"`padding` of conv2d expects at least 0, found \[-1, -1\]", "padding"),
    (layer("batchnorm", X, 16), "`eps` of batchnorm expects a small number of at least 0, found 16", "eps"),
    (layer("conv2d", X, 4), "conv2d is missing its argument `kernel`", None),
    (layer("conv2d", X, 4, 3, padding="equal"), 'pair of them or "same", found "equal"', "padding"),
    (layer("batchnorm", leaf("v", (3,))), r"batchnorm expects 2 to 4 axes .* found \[3\]", 0),
    (layer("conv1d", X, 4, 3), r"conv1d expects \[batch, channels, length\], found \[1, 16, 4, 4\]", 0),
    (layer("conv1d", L, 4, [3, 3]), "`kernel` of conv1d expects a whole number, found", 1),
    (
        layer("conv1d", L, 4, 3, padding="same", stride=2),
        'conv1d expects stride 1 with padding="same", found 2',
        "padding",
    ),
    (layer("conv1d", L, 4, 3, groups=3), "conv1d expects groups that divide its channels, found 3 for 4", "groups"),
    (layer("conv_transpose2d", M, 4, 3), r"conv_transpose2d expects \[batch, channels, height, width\], found", 0),
    (
        layer("conv_transpose2d", X, 4, 3, stride=2, output_padding=2),
        r"an output_padding below the stride, found \[2, 2\]",
        "output_padding",
    ),
    (layer("conv_transpose2d", X, 3, 3, groups=3), "multiples of 3 groups, found 16 in and 3 out", None),
    (layer("layernorm", M, 16), "`eps` of layernorm expects a small number above 0, found 16", "eps"),
    (layer("layernorm", M, eps=0), "`eps` of layernorm expects a small number above 0, found 0", "eps"),
    (layer("layernorm", leaf("s", ())), "layernorm expects at least one axis, found a scalar", 0),
    (function("clip_norm", M), "clip_norm is missing its argument `bound`", None),
    (function("clip_norm", M, 0), "`bound` of clip_norm expects a number above 0, found 0", "bound"),
    (function("clip_norm", M, 1, axis=2), "clip_norm has no axis 2: axes are -2 to 1", "axis"),
    (function("gather", M, M), r"gather expects int indices, found fixed\[2, 3\]", 1),
    (function("gather", M, constant([0, 2])), "index 2 is out of range for an axis of 2", 1),
    (function("gather", M, constant(0), axis=2), "gather has no axis 2: axes are -2 to 1", "axis"),
    (layer("embedding", M, 0, 4), "`count` of embedding expects at least 1, found 0", "count"),
    (layer("forest", X, 3, 2), r"forest expects \[batch, features\], found \[1, 16, 4, 4\]", 0),
    (layer("forest", M, 3, 13), "`depth` of forest expects at most 12, found 13", "depth"),
    (layer("forest", M, 3, 0), "`depth` of forest expects at least 1, found 0", "depth"),
    (function("any", M), r"any expects bit values, found fixed\[2, 3\]", 0),
    (function("all", BIT, axis=2), "all has no axis 2: axes are -2 to 1", "axis"),
    (function("argmin", M, axis=2), "argmin has no axis 2: axes are -2 to 1", "axis"),
    (function("one_hot", M, 3), r"one_hot expects int values, found fixed\[2, 3\]", 0),
    (function("one_hot", leaf("i", (3,), (0, 2), kind=Kind.INT), 0), "`n` of one_hot expects at least 1, found 0", "n"),
    (function("maxpool1d", X, 2), r"maxpool1d expects \[batch, channels, length\], found \[1, 16, 4, 4\]", 0),
    (function("avgpool1d", L, 9), "avgpool1d's window of 9 is larger than the length 8", 0),
    (function("maxpool1d", L, 2, padding=2), "at most half the window as padding, found padding 2", "padding"),
    (function("avgpool1d", L, 2, stride=-1), "`stride` of avgpool1d expects at least 1, found -1", "stride"),
    (layer("attention", X, 4), r"attention expects \[batch, positions, features\], found \[1, 16, 4, 4\]", 0),
    (layer("attention", L, 3), "attention expects heads that divide its features, found 3 for 8", "heads"),
    (layer("lstm", M, 4), r"lstm expects \[batch, positions, features\], found \[2, 3\]", 0),
    (layer("gru", L, 0), "`size` of gru expects at least 1, found 0", "size"),
    (function("softmax", M, axis=0, causal=True), r"a causal softmax expects scores \[queries, keys\]", 0),
    (operator("+", M, leaf("v", (4,))), r"`\+` expects shapes that broadcast, found \[2, 3\] and \[4\]", 1),
    (operator("@", M, M), r"as many columns on the left as rows on the right, found \[2, 3\] @ \[2, 3\]", 1),
    (operator("@", M, constant(2)), r"`@` expects vectors or matrices, found a scalar", 1),
    (operator("and", M, BIT), r"`and` expects bit values, found fixed\[2, 3\]", 0),
    (operator("/", M, constant([1, 0, 2])), "division by zero", 1),
    (operator("**", M, constant(-16.5)), r"an exponent that is not whole lies within \[-16, 16\], found -16.5", 1),
    (
        operator("**", M, constant([1, 2, 3])),
        r"several exponents, int\[3\], are powers of a base that is proved to be above 0",
        1,
    ),
    (operator("**", leaf("x", (3,), (-2, -1)), constant(0.3)), "a negative number has no power 0.3", 0),
    (operator("**", constant(0), M), "a power with a computed exponent has a base above 0, found 0", 0),
    (operator("**", M, leaf("y", (3,), (0, 17))), r"a computed exponent lies within .*, found one in \[0, 17\]", 1),
    (function("max", M, M), "`axis` of max must be known at compile time, found a secret value fixed", 1),
    (function("maximum", M), "maximum is missing its argument `b`", None),
    (function("celu", M, alpha=0), "`alpha` of celu expects a number from 0.01 to 4, found 0", "alpha"),
    (function("argsort", M, axis=2), "argsort has no axis 2", "axis"),
    (function("topk", M, 4), "`k` of topk expects a number from 1 to 3, found 4", "k"),
    (function("cumsum", M, axis=2), "cumsum has no axis 2", "axis"),
    (function("elu", M, alpha=5), "`alpha` of elu expects a number from 0 to 4, found 5", "alpha"),
    (function("log_softmax", M, axis=2), "log_softmax has no axis 2: axes are -2 to 1", "axis"),
    (function("relu", M, M), "relu expects at most 1 argument, found 2", 1),
    (function("softmax", M, axes=1), "softmax has no argument `axes`", "axes"),
    (function("softmax", M, axis=2), "softmax has no axis 2: axes are -2 to 1", "axis"),
    (function("softmax", M, 1, axis=1), "gets its argument `axis` twice", "axis"),
    (function("sum", M, axis=M), "`axis` of sum must be known at compile time, found a secret value", "axis"),
    (function("clip", M, 1, 0), "clip expects lo <= hi, found 1 and 0", None),
    (function("where", M, M, M), r"where expects bits as its first argument, found fixed\[2, 3\]", 0),
    (function("reshape", M, [4]), r"found \[2, 3\] \(6\) for \[4\] \(4\)", 0),
    (
        function("reshape", M, [4, -1]),
        r"cannot fill \[4, -1\]: 6 elements of \[2, 3\] are not a multiple of 4",
        "shape",
    ),
    (function("reshape", M, [-1, -1]), r"sizes of at least 1, at most one of them -1, found \[-1, -1\]", "shape"),
    (function("transpose", M, [0, 0]), "transpose expects each axis", 0),
    (function("concat", M, leaf("v", (3, 2))), r"equal sizes on the other axes, found \[2, 3\] and \[3, 2\]", 1),
    (function("stack", M, leaf("v", (3, 2))), "stack expects values of one shape", 1),
    (function("squeeze", M, 0), r"squeeze expects an axis of size 1, found axis 0 of \[2, 3\]", 0),
    (function("pad", M, [[1, 1]]), r"a pair \[before, after\] for each of the 2 axes", 0),
    (function("maxpool2d", M, 2), r"maxpool2d expects \[batch, channels, height, width\], found \[2, 3\]", 0),
    (function("maxpool2d", X, 5), r"window \[5, 5\] is larger than the image \[4, 4\]", 0),
    (function("maxpool2d", X, 2, padding=2), "at most half the window as padding", "padding"),
    (function("maxpool2d", X, 2, stride=0), r"`stride` of maxpool2d expects at least 1, found \[0, 0\]", "stride"),
    (function("pad", X, [[0, 0], [0, 0], [0, 0], [0, 10**10]]), "more elements than a machine holds", "shape"),
    (function("broadcast_to", constant(1), [10**5, 10**5]), "more elements than a machine holds", "shape"),
    (function("broadcast_to", constant(1), [2**14, 2**14]), "a constant .* is too large to compile", "shape"),
    (lambda: index(M, (2,)), r"index 2 is out of range for axis 0 of \[2, 3\]", 0),
    (lambda: index(M, (0, 0, 0)), "expected at most 2 indices", 0),
    (lambda: index(M, (slice(2, 2),)), "the slice of axis 0 .* is empty", 0),
    (lambda: constant([[1, 2], ["a", 3]]), "expected numbers", None),
    (function("log", constant(0)), "not a finite number", None),
    (lambda: declare(M, Interval(2, 3)), r"promised to be in \[2, 3\], but it always lies in \[-1, 1\]", None),
    (lambda: declare(constant(5), Interval(2, 3)), r"promised to be in \[2, 3\], but it is \[5, 5\]", None),
]


@pytest.mark.parametrize(("act", "message", "arg"), CASES)
def test_refused(act: Callable[[], object], message: str, arg: object) -> None:
    with pytest.raises(OpError, match=message) as found:
        act()
    assert found.value.arg == arg


def test_a_layer_applied_to_another_size_is_refused() -> None:
    dense = LAYERS["dense"]
    config = dense.configure([4], {})
    params = {p.key: leaf(p.key, p.shape, param=True) for p in dense.parameters_for(config, (2, 3))}
    assert dense.apply(config, M, params).shape == (2, 4)
    with pytest.raises(OpError, match=r"weight is \[4, 3\] since its first application"):
        dense.apply(config, leaf("y", (2, 5)), params)


def test_a_layers_arguments_reach_the_op() -> None:
    conv = LAYERS["conv2d"]
    config = conv.configure([8], {"kernel": [3, 5], "padding": "same", "dilation": 2, "bias": False})
    params = {p.key: leaf(p.key, p.shape, param=True) for p in conv.parameters_for(config, X.shape)}
    assert list(params) == ["weight"] and params["weight"].shape == (8, 16, 3, 5)
    assert conv.apply(config, X, params).shape == (1, 8, 4, 4)


def test_owners_and_visibility_flow() -> None:
    secret, public = leaf("s", role="a"), leaf("p", role="b", public=True)
    both = apply(type(OPERATORS["+"](secret, public).op)(), secret, public)
    assert both.is_secret and both.owners == {"a", "b"}
    assert not OPERATORS["+"](public, constant(np.ones(3))).is_secret
