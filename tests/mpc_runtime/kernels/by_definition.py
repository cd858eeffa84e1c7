"""Matrix product and convolution by their definition, and operands for them."""

from __future__ import annotations

import numpy as np

from mpc_runtime import kernels

EDGES = np.array([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
VARIANTS = kernels.variants()


def words(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random words, a third of them edge values."""
    values = rng.integers(0, 2**64, shape, dtype=np.uint64)
    return np.where(rng.random(shape) < 0.3, rng.choice(EDGES, shape), values)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b by its definition; NumPy's multiplication and sum of uint64 are those of Z_2^64 (test_definition)."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2, dtype=np.uint64)


def convolution(x, w, stride, padding, dilation, groups):
    """conv2d by its definition: a sum over the entries of a kernel of shifted images, for all kernels at once."""
    x = np.pad(x, ((0, 0), (0, 0), padding[:2], padding[2:]))
    outs, ins, k_h, k_w = w.shape
    out_h = (x.shape[2] - dilation[0] * (k_h - 1) - 1) // stride[0] + 1
    out_w = (x.shape[3] - dilation[1] * (k_w - 1) - 1) // stride[1] + 1
    x, w = x.reshape(x.shape[0], groups, 1, ins, *x.shape[2:]), w.reshape(groups, outs // groups, ins, k_h, k_w)
    out = np.zeros((x.shape[0], groups, outs // groups, out_h, out_w), np.uint64)
    for c, i, j in np.ndindex(ins, k_h, k_w):
        top, left = i * dilation[0], j * dilation[1]
        rows = slice(top, top + (out_h - 1) * stride[0] + 1, stride[0])
        cols = slice(left, left + (out_w - 1) * stride[1] + 1, stride[1])
        out += w[:, :, c, i, j, None, None] * x[:, :, :, c, rows, cols]
    return out.reshape(x.shape[0], outs, out_h, out_w)


def strided(rng: np.random.Generator, kind: str, rows: int, cols: int) -> np.ndarray:
    """A matrix laid out in one of the ways that a caller may have it."""
    if kind == "transposed":
        return words(rng, cols, rows).T
    if kind == "spread":
        return words(rng, 2 * rows + 1, 3 * cols + 1)[1::2, 1::3]
    if kind == "reversed":
        return words(rng, rows, cols)[::-1, ::-1]
    if kind == "repeated":
        return np.broadcast_to(words(rng, 1, cols), (rows, cols))
    return words(rng, rows, cols)
