"""Products in narrow rings, and the convolutions that gradients are, in every variant."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_runtime import kernels
from tests.mpc_runtime.kernels.by_definition import convolution, product, strided, words


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "stride", "padding", "dilation", "groups"),
    [
        ((1, 20, 28, 28), (16, 20, 24, 24), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        ((3, 70, 12, 12), (9, 70, 8, 8), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        ((2, 33, 9, 13), (3, 33, 9, 13), (1, 1), (1, 2, 2, 1), (1, 1), 1),
        ((2, 36, 20, 23), (10, 18, 7, 14), (2, 3), (1, 0, 0, 3), (2, 1), 2),
        ((1, 200, 3, 31), (5, 200, 3, 29), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ],
)
def test_gradients_of_weights(variant, x_shape, w_shape, stride, padding, dilation, groups):
    """Kernels that are larger than the output's plane, as the gradient of a layer's output is, laid out as it is."""
    rng = np.random.default_rng(5)
    x, w = words(rng, *x_shape), words(rng, *w_shape)
    wanted = convolution(x, w, stride, padding, dilation, groups)
    other = np.ascontiguousarray(w.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    for each in (w, other, w[:, :, ::-1][:, :, ::-1]):
        np.testing.assert_array_equal(kernels.conv2d(x, each, stride, padding, dilation, groups), wanted)
    for sign in (1, -1):
        out = wanted.copy()
        kernels.conv2d(x, other, stride, padding, dilation, groups, out=out, sign=sign)
        np.testing.assert_array_equal(out, wanted + wanted if sign > 0 else wanted - wanted)
    apart = np.ascontiguousarray(w[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(kernels.conv2d(x, apart, stride, padding, dilation, groups), wanted)


@pytest.mark.parametrize("wide", [1, 3, 4, 5, 8, 13, 16, 24, 33])
@pytest.mark.parametrize(
    ("ins", "outs", "kernel", "more", "dilation", "groups"),
    [(16, 16, (5, 5), 0, (1, 1), 1), (5, 9, (3, 2), 0, (2, 3), 1), (8, 3, (2, 7), 2, (1, 1), 2)],
)
def test_gradients_of_inputs(variant, wide, ins, outs, kernel, more, dilation, groups):
    """Every word of the image meets every entry of the kernel: all the padding that this takes, or more."""
    rng = np.random.default_rng(wide)
    x, w = words(rng, 3, groups * ins, 6, wide), words(rng, groups * outs, ins, *kernel)
    high, side = dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)
    options = (1, 1), (high, high + more, side + more, side), dilation, groups
    wanted = convolution(x, w, *options)
    np.testing.assert_array_equal(kernels.conv2d(x, w, *options), wanted)
    for sign in (1, -1):
        out = wanted.copy()
        kernels.conv2d(x, w[:, :, ::-1][:, :, ::-1], *options, out=out, sign=sign)
        np.testing.assert_array_equal(out, wanted + wanted if sign > 0 else wanted - wanted)


@pytest.mark.parametrize("bits", [1, 31, 40, 52, 53, 64])
@pytest.mark.parametrize("shape", [(1, 300, 50), (7, 1, 9), (33, 300, 30), (50, 20, 1), (3, 600, 2)], ids=str)
def test_matmul_in_narrow_rings(variant, shape, bits):
    """What is above the ring of an operand or a sum is in no result below it."""
    rng = np.random.default_rng(bits)
    m, k, n = shape
    low = np.uint64(2**bits - 1)
    for layout in ("plain", "transposed", "spread", "reversed"):
        a, b = strided(rng, layout, m, k), strided(rng, layout, k, n)
        wanted, old = product(a, b), words(rng, m, n)
        np.testing.assert_array_equal(kernels.matmul(a, b, bits=bits) & low, wanted & low)
        for sign in (1, -1):
            out = kernels.matmul(a, b, out=old.copy(), sign=sign, bits=bits)
            np.testing.assert_array_equal(out & low, (old + wanted if sign > 0 else old - wanted) & low)


@pytest.mark.parametrize("bits", [1, 40, 52, 53])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "stride", "padding", "groups"),
    [
        ((3, 16, 12, 12), (16, 16, 5, 5), (1, 1), (0, 0, 0, 0), 1),
        ((2, 40, 7, 9), (300, 40, 3, 3), (1, 1), (1, 1, 1, 1), 1),
        ((2, 6, 11, 40), (12, 2, 3, 3), (2, 1), (1, 0, 0, 1), 3),
        ((2, 16, 8, 8), (16, 16, 5, 5), (1, 1), (4, 4, 4, 4), 1),
        ((1, 40, 12, 12), (9, 40, 8, 8), (1, 1), (0, 0, 0, 0), 1),
        ((2, 30, 6, 5), (33, 30, 1, 1), (1, 1), (0, 0, 0, 0), 1),
    ],
)
def test_conv2d_in_narrow_rings(variant, x_shape, w_shape, stride, padding, groups, bits):
    rng = np.random.default_rng(bits)
    x, w = words(rng, *x_shape), words(rng, *w_shape)
    options = stride, padding, (1, 1), groups
    wanted, low = convolution(x, w, *options), np.uint64(2**bits - 1)
    other = np.ascontiguousarray(w.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(kernels.conv2d(x, other, *options, bits=bits) & low, wanted & low)
    out = kernels.conv2d(x, w, *options, out=wanted.copy(), sign=-1, bits=bits)
    assert not np.any(out & low)
