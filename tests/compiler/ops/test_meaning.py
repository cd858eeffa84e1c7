"""What the ops compute, against independent definitions: loops over output elements, and NumPy's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import ops
from compiler.graph import Kind, apply, constant
from compiler.ops import FUNCTIONS, LAYERS, OPERATORS
from tests.compiler.graphs import leaf

RANDOM = np.random.default_rng(7)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_conv2d_is_the_sum_over_the_window(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 2]))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    x, w = RANDOM.normal(size=(2, 2 * groups, 6, 7)), RANDOM.normal(size=(2 * groups, 2, kh, kw))
    found = ops.Conv2d(stride, padding, dilation, groups).evaluate(x, w)
    top, bottom, left, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    for n, o, i, j in np.ndindex(found.shape):
        first = (o // 2) * 2
        window = padded[n, first : first + 2, i * stride[0] :, j * stride[1] :]
        window = window[:, : dilation[0] * kh : dilation[0], : dilation[1] * kw : dilation[1]]
        assert found[n, o, i, j] == pytest.approx(float((window * w[o]).sum()))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_pooling_looks_at_whole_windows(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    x = RANDOM.normal(size=(1, 2, 5, 6)) - 10  # all negative: a padding zero would win
    sides = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    largest = ops.MaxPool2d(kernel, stride, padding).evaluate(x)
    mean = ops.AvgPool2d(kernel, stride, padding).evaluate(x)
    low, zero = np.pad(x, sides, constant_values=-np.inf), np.pad(x, sides)
    for n, c, i, j in np.ndindex(largest.shape):
        rows = slice(i * stride[0], i * stride[0] + kernel[0])
        columns = slice(j * stride[1], j * stride[1] + kernel[1])
        assert largest[n, c, i, j] == low[n, c, rows, columns].max()
        assert mean[n, c, i, j] == pytest.approx(zero[n, c, rows, columns].mean())


INDICES = st.one_of(
    st.integers(-2, 1),
    st.just(None),
    st.just(...),
    st.builds(slice, *[st.none() | st.integers(-3, 3)] * 2, st.sampled_from([None, 1, 2, -1, -2])),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(INDICES, max_size=4))
def test_indexing_is_numpys(items: list[object]) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    if sum(item is Ellipsis for item in items) > 1 or sum(item not in (None, ...) for item in items) > 3:
        return
    expected = array[tuple(items)]
    if expected.size == 0:
        return
    found = ops.index(constant(array), items)
    assert found.shape == expected.shape and np.array_equal(found.array, expected)


def test_smooth_functions() -> None:
    x = np.array([-800.0, -30, -1, -1e-9, 0, 0.5, 30, 800])
    assert ops.Sigmoid().evaluate(x) == pytest.approx(0.5 * (1 + np.tanh(x / 2)), abs=1e-15)
    soft = ops.Softmax(0).evaluate(x)
    assert soft.sum() == pytest.approx(1) and soft.argmax() == 7
    assert np.array_equal(ops.LeakyRelu(0.1).evaluate(np.array([-10.0, 0, 2])), [-1, 0, 2])


def test_activations_have_their_known_values() -> None:
    x = np.array([-800.0, -2.0, -0.5, 0.0, 1.0, 800.0])
    assert ops.Softplus().evaluate(x) == pytest.approx([0, 0.126928, 0.474077, 0.693147, 1.313262, 800], abs=1e-6)
    assert ops.Gelu().evaluate(x) == pytest.approx([0, -0.045500, -0.154269, 0, 0.841345, 800], abs=1e-6)
    assert ops.Silu().evaluate(x) == pytest.approx([0, -0.238406, -0.188770, 0, 0.731059, 800], abs=1e-6)
    assert ops.Elu(2.0).evaluate(x) == pytest.approx([-2, -1.729329, -0.786939, 0, 1, 800], abs=1e-6)
    assert ops.Celu(2.0).evaluate(x) == pytest.approx([-2, -1.264241, -0.442398, 0, 1, 800], abs=1e-6)
    assert ops.Selu().evaluate(x) == pytest.approx([-1.758099, -1.520167, -0.691758, 0, 1.050701, 840.560789], abs=1e-6)
    assert ops.Mish().evaluate(x) == pytest.approx([0, -0.252501, -0.220744, 0, 0.865098, 800], abs=1e-6)
    assert ops.HardSwish().evaluate(x) == pytest.approx([0, -0.333333, -0.208333, 0, 0.666667, 800], abs=1e-6)
    assert ops.Erf().evaluate(x) == pytest.approx([-1, -0.995322, -0.520500, 0, 0.842701, 1], abs=1e-6)
    assert ops.LogSoftmax(0).evaluate(x[1:5]) == pytest.approx([-3.495182, -1.995182, -1.495182, -0.495182], abs=1e-6)
    assert call("hardsigmoid", constant(x)) == pytest.approx([0, 1 / 6, 5 / 12, 0.5, 2 / 3, 1])


def call(name: str, *args: object, **named: object) -> np.ndarray:
    """The folded value of a function of constants."""
    return FUNCTIONS[name].call(args, named).array


def test_functions_of_constants_are_numpys() -> None:
    x = RANDOM.normal(size=(2, 3, 4))
    assert np.array_equal(call("sum", constant(x), axis=[0, -1]), x.sum(axis=(0, 2)))
    assert np.array_equal(call("mean", constant(x), axis=1, keepdims=True), x.mean(axis=1, keepdims=True))
    assert call("max", constant(x)) == x.max()
    assert call("argmax", constant(x)) == x.argmax()
    assert np.array_equal(call("argmax", constant(x), axis=-1), x.argmax(axis=-1))
    assert call("argmin", constant(x)) == x.argmin()
    assert np.array_equal(call("argmin", constant(x), axis=-1), x.argmin(axis=-1))
    assert call("var", constant(x), axis=[0, 2], keepdims=True) == pytest.approx(x.var(axis=(0, 2), keepdims=True))
    assert call("var", constant(3)) == 0
    assert np.array_equal(call("any", constant(x > 1), axis=1), (x > 1).any(axis=1))
    assert np.array_equal(call("all", constant(x < 1), axis=[0, 1]), (x < 1).all(axis=(0, 1)))
    assert call("any", constant(x > 9)) == np.False_ and call("all", constant(x < 9)) == np.True_
    assert np.array_equal(call("one_hot", constant([[0, 3], [-1, 2]]), 3), [[[1, 0, 0], [0] * 3], [[0] * 3, [0, 0, 1]]])
    i = np.array([[1, 0, -1], [2, 2, 0]])
    assert np.array_equal(call("gather", constant(x), constant(i), axis=1), np.take(x, i, axis=1))
    assert np.array_equal(call("gather", constant(x > 0), constant(1)), (x > 0)[1])
    outside = ops.Gather(0).evaluate(np.array([5.0, 6.0, 7.0]), np.array([-1, 0, 2, 3]))
    assert np.array_equal(outside, [0, 5, 7, 0])
    assert np.array_equal(call("transpose", constant(x)), x.T)
    assert np.array_equal(call("transpose", constant(x), [0, 2, 1]), x.transpose(0, 2, 1))
    assert call("reshape", constant(x), [4, -1]).shape == (4, 6)
    assert call("flatten", constant(x)).shape == (2, 12)
    assert np.array_equal(call("concat", constant(x), constant(x), axis=-1), np.concatenate([x, x], -1))
    assert np.array_equal(call("stack", constant(x), constant(x), axis=-1), np.stack([x, x], -1))
    widths = [[0, 0], [1, 0], [0, 2]]
    assert np.array_equal(call("pad", constant(x), widths, value=2), np.pad(x, widths, constant_values=2))
    assert call("unsqueeze", constant(x), -1).shape == (2, 3, 4, 1)
    assert call("squeeze", constant(x[:1]), 0).shape == (3, 4)
    assert call("broadcast_to", constant(x), [5, 2, 3, 4]).shape == (5, 2, 3, 4)
    assert np.array_equal(call("clip", constant(x), -1, 0.5), np.clip(x, -1, 0.5))
    assert np.array_equal(call("where", constant(x > 0), constant(x), constant(0)), np.where(x > 0, x, 0))
    assert call("sqrt", constant(4)) == 2
    image = RANDOM.normal(size=(1, 2, 4, 4))
    assert call("maxpool2d", constant(image), 2).shape == (1, 2, 2, 2)
    assert np.allclose(call("global_avgpool2d", constant(image))[..., 0, 0], image.mean(axis=(2, 3)))


@pytest.mark.parametrize("exponent", [-20, -17, -3, -2, -1, 0, 1, 2, 3, 5, 8, 0.5, -0.5, 2.5, -1.7, 1 / 3])
def test_powers(exponent: float) -> None:
    x = np.array([0.5, 1.5, 3.0, -2.0][: 4 if exponent == int(exponent) else 3])
    assert OPERATORS["**"](constant(x), constant(exponent)).array == pytest.approx(x**exponent)
    assert call("pow", constant(x), exponent) == pytest.approx(x**exponent)


def test_the_largest_of_several() -> None:
    a, b, c = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3), RANDOM.normal(size=(4, 1))
    values = [constant(each) for each in (a, b, c)]
    assert np.array_equal(call("maximum", *values, 0.5), np.maximum(np.maximum(np.maximum(a, b), c), 0.5))
    assert np.array_equal(call("minimum", *values, -1), np.minimum(np.minimum(np.minimum(a, b), c), -1))
    assert np.array_equal(call("minimum", values[0], b=values[1]), np.minimum(a, b))
    assert call("maximum", 3, 5, 4).dtype == np.int64 and call("maximum", 3, 5, 4.0).dtype == np.float64


def test_kinds_are_the_languages() -> None:
    number, whole, bit = leaf(), leaf("i", (3,), (-5, 5), kind=Kind.INT), leaf("b", (3,), None, kind=Kind.BIT)
    one, half = constant(1), constant(0.5)
    add, times, divide = OPERATORS["+"], OPERATORS["*"], OPERATORS["/"]
    assert add(whole, one).kind is Kind.INT and add(whole, half).kind is Kind.FIXED
    assert add(bit, bit).kind is Kind.INT and times(bit, whole).kind is Kind.INT
    assert divide(whole, one).kind is Kind.FIXED and times(number, whole).kind is Kind.FIXED
    assert OPERATORS["<"](whole, number).kind is Kind.BIT
    assert FUNCTIONS["mean"].call([whole], {}).kind is Kind.FIXED
    assert FUNCTIONS["sum"].call([bit], {}).kind is Kind.INT
    assert FUNCTIONS["sigmoid"].call([whole], {}).kind is Kind.FIXED
    assert FUNCTIONS["concat"].call([whole, one_dim(number)], {}).kind is Kind.FIXED
    assert OPERATORS["not"](bit).kind is Kind.BIT


def one_dim(value):
    return ops.index(value, (0,))


def test_a_product_with_a_bit_is_a_choice_and_division_by_a_constant_a_product() -> None:
    bit, x = leaf("b", (2, 3), None, kind=Kind.BIT), leaf()
    assert isinstance(OPERATORS["*"](bit, x).op, ops.Where)
    assert isinstance(OPERATORS["/"](x, constant(4)).op, ops.Mul)
    assert isinstance(OPERATORS["/"](constant(1), x).op, ops.Reciprocal)


def test_constants_fold_and_keep_whole_numbers_whole() -> None:
    product = apply(ops.Mul(), constant(3), constant(2**40))
    assert product.is_constant and product.kind is Kind.INT and int(product.array) == 3 * 2**40


def applied(name: str, config: dict[str, object], x: np.ndarray, **params: np.ndarray) -> np.ndarray:
    """A layer on constants."""
    layer = LAYERS[name]
    bound = layer.configure((), config)
    assert {each.key: each.shape for each in layer.parameters_for(bound, x.shape)} == {
        key: array.shape for key, array in params.items()
    }
    return layer.apply(bound, constant(x), {key: constant(array) for key, array in params.items()}).array


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_conv1d_is_the_sum_over_the_window(data: st.DataObject) -> None:
    draw = data.draw
    groups, k = draw(st.sampled_from([1, 2])), draw(st.integers(1, 3))
    stride, dilation, padding = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 3))
    x, w, b = RANDOM.normal(size=(2, 4, 7)), RANDOM.normal(size=(6, 4 // groups, k)), RANDOM.normal(size=6)
    config = {"out": 6, "kernel": k, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    found = applied("conv1d", config, x, weight=w, bias=b)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    assert found.shape == (2, 6, (7 + 2 * padding - dilation * (k - 1) - 1) // stride + 1)
    for n, o, i in np.ndindex(found.shape):
        first = o // (6 // groups) * (4 // groups)
        window = padded[n, first : first + 4 // groups, i * stride :][:, : dilation * k : dilation]
        assert found[n, o, i] == pytest.approx(b[o] + float((window * w[o]).sum()))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_conv_transpose2d_adds_a_kernel_for_each_pixel(data: st.DataObject) -> None:
    draw = data.draw
    groups, k = draw(st.sampled_from([1, 2, 4])), draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    more = tuple(draw(st.integers(0, step - 1)) for step in stride)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    x, w = RANDOM.normal(size=(2, 4, 3, 4)), RANDOM.normal(size=(4, 2, *k))
    b = RANDOM.normal(size=2 * groups)
    sides = zip((3, 4), stride, k, more, strict=True)
    full = np.zeros((2, 2 * groups, *((n - 1) * step + size + extra for n, step, size, extra in sides)))
    for channel, i, j in np.ndindex(x.shape[1:]):
        outs = slice(channel // (4 // groups) * 2, channel // (4 // groups) * 2 + 2)
        place = full[:, outs, i * stride[0] : i * stride[0] + k[0], j * stride[1] : j * stride[1] + k[1]]
        place += x[:, channel, i, j][:, None, None, None] * w[channel]
    expected = full[:, :, padding[0] : full.shape[2] - padding[0], padding[1] : full.shape[3] - padding[1]]
    if 0 in expected.shape:
        return
    config = {"out": 2 * groups, "kernel": list(k), "stride": list(stride), "padding": list(padding),
              "output_padding": list(more), "groups": groups}  # fmt: skip
    found = applied("conv_transpose2d", config, x, weight=w, bias=b)
    assert found == pytest.approx(expected + b[:, None, None])


def test_layernorm_has_mean_0_and_deviation_1() -> None:
    x, w, b = RANDOM.normal(3, 2, size=(4, 2, 50)), RANDOM.normal(size=50), RANDOM.normal(size=50)
    found = (applied("layernorm", {"eps": 1e-9}, x, weight=w, bias=b) - b) / w
    assert found.mean(axis=-1) == pytest.approx(0, abs=1e-9) and found.std(axis=-1) == pytest.approx(1)
    assert np.abs(np.diff(x, axis=-1) / np.diff(found, axis=-1)).std(axis=-1) == pytest.approx(0, abs=1e-6)


def test_clip_norm_scales_down_what_is_longer() -> None:
    x = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]])
    assert call("clip_norm", constant(x), 1.0) == pytest.approx(np.array([[0.6, 0.8], [0.3, 0.4], [0, 0], [-0.6, 0.8]]))
    assert np.linalg.norm(call("clip_norm", constant(x), 2.5, axis=[0, 1])) == pytest.approx(2.5)


@pytest.mark.parametrize(("k", "stride", "padding"), [(1, 1, 0), (2, 2, 1), (3, 2, 1), (3, 1, 0)])
def test_pooling_along_one_axis(k: int, stride: int, padding: int) -> None:
    x = RANDOM.normal(size=(2, 3, 8)) - 10
    low, zero = (np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=v) for v in (-np.inf, 0))
    largest = call("maxpool1d", constant(x), k, stride, padding)
    mean = call("avgpool1d", constant(x), k, stride=stride, padding=padding)
    for n, c, i in np.ndindex(largest.shape):
        assert largest[n, c, i] == low[n, c, i * stride : i * stride + k].max()
        assert mean[n, c, i] == pytest.approx(zero[n, c, i * stride : i * stride + k].mean())
