"""The matrix product and the convolution, in every variant, against sums of Python integers' products mod 2^64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import kernels
from tests.mpc_runtime.kernels.by_definition import VARIANTS, convolution, product, strided, words


def test_definition():
    rng = np.random.default_rng(0)
    a, b = words(rng, 3, 5), words(rng, 5, 4)
    python = [[sum(int(a[i, p]) * int(b[p, j]) for p in range(5)) % 2**64 for j in range(4)] for i in range(3)]
    assert product(a, b).tolist() == python


LAYOUTS = st.sampled_from(["plain", "transposed", "spread", "reversed", "repeated"])
SIZE = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 23, 24, 25, 31, 33, 49])


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE, LAYOUTS, LAYOUTS, st.sampled_from([-1, 0, 1]), st.integers(0, 2**32))
def test_matmul_small(m, k, n, a_layout, b_layout, sign, seed):
    rng = np.random.default_rng(seed)
    a, b, old = strided(rng, a_layout, m, k), strided(rng, b_layout, k, n), words(rng, m, n)
    wanted = product(a, b) if sign == 0 else old + product(a, b) if sign > 0 else old - product(a, b)
    before = kernels.variant()
    for name in VARIANTS:
        kernels.set_variant(name)
        out = old.copy()
        assert kernels.matmul(a, b, out=out, sign=sign) is out
        np.testing.assert_array_equal(out, wanted, err_msg=name)
    kernels.set_variant(before)


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        *((300, 300, 50), (17, 530, 26), (1, 40, 1000), (1, 1100, 9), (9, 3, 1600), (270, 20, 1), (4, 1050, 30)),
        *((31, 127, 30), (33, 600, 50), (64, 1050, 290), (100, 1050, 40)),
    ],
)
@pytest.mark.parametrize("layout", ["plain", "transposed", "spread"])
def test_matmul_over_block_bounds(variant, m, k, n, layout):
    rng = np.random.default_rng(m)
    a, b = strided(rng, layout, m, k), strided(rng, layout, k, n)
    wanted = sum(product(a[:, p : p + 50], b[p : p + 50]) for p in range(0, k, 50))
    np.testing.assert_array_equal(kernels.matmul(a, b), wanted)
    np.testing.assert_array_equal(kernels.matmul(a, b, out=wanted.copy(), sign=-1), 0)


@pytest.mark.parametrize("k", [511, 512, 513, 1500])
def test_sums_of_the_largest_words(variant, k):
    """(2^64 - 1)^2 = 1, and each of its limbs is as large as it can be."""
    a, b = np.full((40, k), 2**64 - 1, np.uint64), np.full((k, 40), 2**64 - 1, np.uint64)
    np.testing.assert_array_equal(kernels.matmul(a, b), np.full((40, 40), k, np.uint64))
    x, w = a[:, :507].reshape(1, 40, 39, 13), np.full((20, 40, 3, 3), 2**64 - 1, np.uint64)
    np.testing.assert_array_equal(kernels.conv2d(x, w), np.full((1, 20, 37, 11), 360, np.uint64))


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((4, 3, 5, 6), (6, 7)),
        ((4, 3, 1, 6), (6, 7)),
        ((4, 1, 5, 6), (3, 6, 7)),
        ((5, 6), (2, 3, 6, 1)),
        ((2, 1, 3, 2), (1, 4, 2, 3)),
        ((0, 3, 2), (2, 2)),
        ((3, 9, 1), (3, 1, 9)),
    ],
)
def test_matmul_stacks(variant, a_shape, b_shape):
    rng = np.random.default_rng(1)
    a, b = words(rng, *a_shape), words(rng, *b_shape)
    np.testing.assert_array_equal(kernels.matmul(a, b), product(a, b))
    swapped = np.swapaxes(np.ascontiguousarray(np.swapaxes(a, 0, -2)), 0, -2)
    np.testing.assert_array_equal(kernels.matmul(swapped, b), product(a, b))


@pytest.mark.parametrize("gap", [-324, -323, -80, 0, 80, 323, 324])
@pytest.mark.parametrize("step", [1, -1])
def test_results_may_overlap_operands(gap, step):
    rng = np.random.default_rng(5)
    memory, w = words(rng, 1000), words(rng, 4, 4, 3, 3)
    x, out = (memory[at : at + 324].reshape(1, 4, 9, 9)[:, ::step, :, ::step] for at in (330, 330 + gap))
    wanted = convolution(x, w, (1, 1), (1, 1, 1, 1), (1, 1), 1)
    kernels.conv2d(x, w, padding=(1, 1, 1, 1), out=out)
    np.testing.assert_array_equal(out, wanted)
    a, out = (memory[at : at + 324].reshape(18, 18)[::step, ::step] for at in (330, 330 + gap))
    wanted = out + product(a, a)
    kernels.matmul(a, a, out=out, sign=1)
    np.testing.assert_array_equal(out, wanted)


def test_matmul_into_views_and_operands(variant):
    rng = np.random.default_rng(2)
    a, b = words(rng, 6, 6), words(rng, 6, 6)
    wanted = product(a, b)
    frame = words(rng, 12, 18)
    kept = frame.copy()
    for view in (frame[:6, :6], frame[::2, ::3], frame[:6, :6].T, frame[:6, :1]):
        frame[:] = kept
        old = view.copy()
        right = b[:, : view.shape[1]]
        kernels.matmul(a, right, out=view, sign=1)
        np.testing.assert_array_equal(view, old + product(a, right))
        view[:] = old
        np.testing.assert_array_equal(frame, kept)
    np.testing.assert_array_equal(kernels.matmul(a, b, out=a), wanted)
    np.testing.assert_array_equal(a, wanted)


@st.composite
def convolutions(draw):
    """Shapes and options of a small convolution that exists."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 5]))
    ins, outs = draw(st.sampled_from([0, 1, 2, 3])), draw(st.sampled_from([1, 1, 2, 3, 9]))
    k_h, k_w = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 1), (1, 2)]))
    high = draw(st.integers(max(1, dilation[0] * (k_h - 1) + 1 - padding[0] - padding[1]), 14))
    wide = draw(st.integers(max(1, dilation[1] * (k_w - 1) + 1 - padding[2] - padding[3]), 30))
    x_shape = (draw(st.integers(0, 3)), groups * ins, high, wide)
    return x_shape, (groups * outs, ins, k_h, k_w), stride, padding, dilation, groups


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.sampled_from([-1, 0, 1]), st.integers(0, 2**32))
def test_conv2d(case, sign, seed):
    x_shape, w_shape, *options = case
    rng = np.random.default_rng(seed)
    x, w = words(rng, *x_shape), words(rng, *w_shape)
    result = convolution(x, w, *options)
    old = words(rng, *result.shape)
    wanted = result if sign == 0 else old + result if sign > 0 else old - result
    before = kernels.variant()
    for name in VARIANTS:
        kernels.set_variant(name)
        np.testing.assert_array_equal(kernels.conv2d(x, w, *options, out=old.copy(), sign=sign), wanted, err_msg=name)
    kernels.set_variant(before)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "padding", "stride"),
    [
        ((3, 16, 12, 12), (16, 16, 5, 5), (0, 0, 0, 0), (1, 1)),
        ((2, 70, 7, 7), (300, 70, 3, 3), (1, 1, 1, 1), (1, 1)),
        ((1, 3, 40, 40), (20, 3, 7, 7), (3, 3, 3, 3), (2, 2)),
        ((2, 30, 6, 5), (33, 30, 1, 1), (0, 0, 0, 0), (1, 1)),
    ],
)
def test_conv2d_layers(variant, x_shape, w_shape, padding, stride):
    rng = np.random.default_rng(3)
    x, w = words(rng, *x_shape), words(rng, *w_shape)
    wanted = convolution(x, w, stride, padding, (1, 1), 1)
    np.testing.assert_array_equal(kernels.conv2d(x, w, stride, padding), wanted)
    flipped = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(kernels.conv2d(flipped, w[::-1], stride, padding), wanted[:, ::-1])


@pytest.mark.parametrize(
    ("images", "ins", "kernel", "stride", "dilation"),
    [
        (1, 37, (5, 7), (1, 1), (1, 1)),
        (1, 37, (5, 7), (1, 2), (2, 1)),
        (9, 22, (3, 4), (1, 1), (1, 1)),
        (9, 22, (3, 4), (2, 3), (1, 2)),
        (20, 7, (9, 4), (1, 1), (1, 1)),
        (20, 7, (9, 4), (1, 2), (2, 1)),
    ],
)
def test_conv2d_of_many_channels(variant, images, stride, dilation, ins, kernel):
    """Numbers that fill no tile: of channels, kernel entries, columns and outputs. Some images share a band."""
    rng = np.random.default_rng(images)
    x, w = words(rng, images, 2 * ins, 11, 17), words(rng, 24, ins, *kernel)
    options = stride, (3, 4, 2, 5), dilation, 2
    wanted = convolution(x, w, *options)
    np.testing.assert_array_equal(kernels.conv2d(x, w, *options), wanted)
    np.testing.assert_array_equal(kernels.conv2d(x, w, *options, out=wanted.copy(), sign=-1), 0)


@pytest.mark.parametrize("kernel", [1, 2])
@pytest.mark.parametrize("spread", list(itertools.product([False, True], repeat=4)), ids=str)
def test_conv2d_of_broadcast_operands(variant, spread, kernel):
    """A broadcast axis has stride 0: the kernel may not take it for one of size 1."""
    rng = np.random.default_rng(4)
    shape = (2, 3, 5, 7)
    x = np.broadcast_to(words(rng, *(1 if one else n for one, n in zip(spread, shape, strict=True))), shape)
    w_shape = (4, 3, kernel, kernel)
    w = np.broadcast_to(words(rng, *(1 if one else n for one, n in zip(spread, w_shape, strict=True))), w_shape)
    wanted = convolution(np.ascontiguousarray(x), np.ascontiguousarray(w), (1, 1), (0, 0, 0, 0), (1, 1), 1)
    np.testing.assert_array_equal(kernels.conv2d(x, w), wanted)
    np.testing.assert_array_equal(
        kernels.conv2d(x[:, :, ::-1, ::-1], w),
        convolution(
            np.ascontiguousarray(x[:, :, ::-1, ::-1]), np.ascontiguousarray(w), (1, 1), (0, 0, 0, 0), (1, 1), 1
        ),
    )


@pytest.mark.parametrize("wide", [1, 3, 4, 7, 8, 9, 15, 16, 23, 24, 25, 31, 64, 65])
@pytest.mark.parametrize(("outs", "groups"), [(1, 1), (3, 1), (9, 1), (16, 1), (6, 6), (6, 3)])
def test_conv2d_of_every_width(variant, wide, outs, groups):
    rng = np.random.default_rng(wide)
    x, w = words(rng, 2, 6, 6, wide), words(rng, outs, 6 // groups, 3, 3)
    for options in (((1, 1), (1, 1, 1, 1), (1, 1)), ((1, 2), (0, 0, 2, 1), (2, 1)), ((2, 3), (3, 0, 0, 4), (1, 2))):
        wanted = convolution(x, w, *options, groups)
        np.testing.assert_array_equal(kernels.conv2d(x, w, *options, groups), wanted)
        np.testing.assert_array_equal(kernels.conv2d(x, w, *options, groups, out=wanted.copy(), sign=-1), 0)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (5, 1), (1, 3)])
@pytest.mark.parametrize(("channels", "high", "wide", "outs"), [(24, 40, 96, 9), (1, 500, 100, 2), (60, 20, 130, 3)])
def test_conv2d_of_images_larger_than_a_band(variant, channels, high, wide, outs, stride):
    rng = np.random.default_rng(wide)
    x, w = words(rng, 2, channels, high, wide), words(rng, outs, channels, 3, 3)
    wanted = convolution(x, w, stride, (1, 1, 1, 1), (1, 1), 1)
    np.testing.assert_array_equal(kernels.conv2d(x, w, stride, (1, 1, 1, 1)), wanted)


def test_threads_and_forced_variants_give_the_same_words():
    script = (
        "import numpy as np, hashlib; from mpc_runtime import kernels; rng = np.random.default_rng(4)\n"
        "a, b = (rng.integers(0, 2**64, (300, 300), dtype=np.uint64) for _ in range(2))\n"
        "x, w = (rng.integers(0, 2**64, s, dtype=np.uint64) for s in ((2, 8, 40, 40), (40, 8, 5, 5)))\n"
        "d, e = kernels.matmul(a, b), kernels.matmul(a[:16].reshape(4, 4, 300), b)\n"
        "c = kernels.conv2d(x, w, padding=(1, 1, 1, 1)); p = kernels.conv2d(x, w[:, :, :1, :1])\n"
        "f = kernels.conv2d(np.concatenate([x[:, :, :8, :8]] * 6), w, padding=(4, 4, 4, 4))\n"
        "g = kernels.conv2d(x, np.concatenate([x[:, :, :37, :35]] * 15))\n"
        "h = kernels.matmul(a, b, bits=52) & np.uint64(2**52 - 1)\n"
        "print(kernels.variant(), hashlib.sha256(b''.join(z.tobytes() for z in (c, d, e, p, f, g, h))).hexdigest())"
    )
    lines = []
    for name in VARIANTS:
        for threads in ("1", "3"):
            env = {**os.environ, "MPC_KERNELS": name, "MPC_THREADS": threads}
            done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
            lines.append(done.stdout.split())
    assert [line[0] for line in lines] == [name for name in VARIANTS for _ in range(2)]
    assert len({line[1] for line in lines}) == 1


def test_the_best_variant_is_chosen_by_itself():
    env = {name: value for name, value in os.environ.items() if name != "MPC_KERNELS"}
    script = "from mpc_runtime import kernels; print(kernels.variant())"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == VARIANTS[-1:]


def test_a_variant_that_the_machine_lacks_is_refused():
    env = {**os.environ, "MPC_KERNELS": "abacus"}
    done = subprocess.run([sys.executable, "-c", "import mpc_runtime.kernels"], env=env, capture_output=True, text=True)
    assert done.returncode != 0 and "MPC_KERNELS" in done.stderr and "portable" in done.stderr
    with pytest.raises(ValueError, match="abacus"):
        kernels.set_variant("abacus")


M = np.zeros((3, 3), np.uint64)
X, W = np.zeros((1, 4, 5, 5), np.uint64), np.zeros((2, 4, 3, 3), np.uint64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.matmul(M.astype(np.int64), M), "a: expected a uint64 array, found int64"),
        (lambda: kernels.matmul(M, [[1]]), "b: expected a uint64 array, found list"),
        (lambda: kernels.matmul(M[0], M), "matrices"),
        (lambda: kernels.matmul(M, M[:2]), "inner dimensions"),
        (lambda: kernels.matmul(np.zeros((2, 3, 3), np.uint64), np.zeros((4, 3, 3), np.uint64)), "broadcast"),
        (lambda: kernels.matmul(M, M, sign=1), "out: expected an array to add to"),
        (lambda: kernels.matmul(M, M, out=M.copy(), sign=2), "sign: expected -1, 0 or 1, found 2"),
        (lambda: kernels.matmul(M, M, out=M[:2].copy()), "out: expected shape"),
        (lambda: kernels.matmul(M, M, bits=0), "bits: expected 1 to 64, found 0"),
        (lambda: kernels.conv2d(X, W, bits=65), "bits: expected 1 to 64, found 65"),
        (lambda: kernels.matmul(M.astype(">u8"), M), "byte order"),
        (lambda: kernels.conv2d(X[0], W), "x \\[N, C, H, W\\]"),
        (lambda: kernels.conv2d(X, W, groups=2), "do not fit"),
        (lambda: kernels.conv2d(X, W, stride=(0, 1)), "stride: expected two numbers of 1 to 1048576"),
        (lambda: kernels.conv2d(X, W, padding=(-1, 0, 0, 0)), "padding"),
        (lambda: kernels.conv2d(X, W, dilation=(3, 3)), "larger than the image"),
    ],
)
def test_misuse_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


X, W = np.zeros((1, 1, 4, 4), np.uint64), np.zeros((1, 1, 3, 3), np.uint64)
HUGE = [1 << 20 | 1, (1 << 31) - 1, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 64, 1 << 200]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
def test_numbers_whose_sums_would_overflow_are_refused(name, number):
    """A dilation of 2^63 - 1 wrapped the size of the result, which then showed the memory behind the image."""
    for place in range(4 if name == "padding" else 2):
        values = [1] * (4 if name == "padding" else 2)
        values[place] = number
        with pytest.raises(ValueError, match=rf"conv2d: {name}: expected .*1048576"):
            kernels.conv2d(X, W, **{name: tuple(values)})


def test_axes_whose_products_would_overflow_are_refused():
    wide = np.broadcast_to(np.uint64(1), (1, 1, 1, (1 << 31) + 1))
    with pytest.raises(ValueError, match="expected at most 2147483648 elements along an axis"):
        kernels.conv2d(wide, W[:, :, :1, :1])


def test_read_only_result_is_refused():
    out = M.copy()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        kernels.matmul(M, M, out=out)
