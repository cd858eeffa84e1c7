"""Products of masked values against Python's integers, in every form and ring, with and without work done ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import Conv2d, MatMul, Mul, Square, SquareSum, Transpose
from mpc_runtime.kernels import Kernels
from mpc_runtime.registers import Form
from tests.mpc_runtime.gates.values import few, forced_wire, integers, modulo, signed, some_words
from tests.plans_by_hand import Builder
from tests.traced import trace

Array = np.ndarray
U = np.uint64


def correlation(
    x: Array, w: Array, stride: tuple[int, int], padding: tuple[int, ...], dilation: tuple[int, int], groups: int
) -> Array:
    """The definition of a convolution, an output at a time, on Python integers."""
    n, channels, height, wide = x.shape
    out_channels, depth, kh, kw = w.shape
    top, bottom, left, right = padding
    padded = np.zeros((n, channels, height + top + bottom, wide + left + right), object)
    padded[:, :, top : top + height, left : left + wide] = integers(x)
    rows = (padded.shape[2] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (padded.shape[3] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((n, out_channels, rows, columns), object)
    for o in range(out_channels):
        first = o // (out_channels // groups) * depth
        for i in range(rows):
            for j in range(columns):
                y, z = i * stride[0], j * stride[1]
                window = padded[
                    :,
                    first : first + depth,
                    y : y + kh * dilation[0] : dilation[0],
                    z : z + kw * dilation[1] : dilation[1],
                ]
                out[:, o, i, j] = (window * integers(w[o])).sum(axis=(1, 2, 3))
    return out


def test_every_pair_with_every_pair_of_masks() -> None:
    """x y and x^2 in a 4-bit ring: all values, all masks."""
    x, y, rx, ry = (a.reshape(-1).astype(U) for a in np.meshgrid(*[np.arange(16)] * 4, indexing="ij"))
    b = Builder()
    wx, wy = b.wire(x, 4), b.wire(y, 4)
    z, s = b.emit(Mul, x.shape, 4, x=wx, y=wy), b.emit(Square, x.shape, 4, x=wx)
    t = trace(b.plan(0), b.values, kernels=forced_wire(b, {wx: rx, wy: ry}))
    t.assert_exact()
    assert np.array_equal(t.value(z), x * y % 16)
    assert np.array_equal(t.value(s), x * x % 16)


@few
@given(st.data())
def test_elementwise_with_broadcasting(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 64), "bits")
    shapes = data.draw(
        st.sampled_from([((), ()), ((4,), (4,)), ((3, 1), (1, 2)), ((2, 3), (3,)), ((1,), (5, 2)), ((600,), (600,))]),
        "shapes",
    )
    forms = data.draw(
        st.sampled_from(
            [
                (Form.WIRE, Form.WIRE),
                (Form.SHARED, Form.PUBLIC),
                (Form.CONSTANT, Form.SHARED),
                (Form.WIRE, Form.CONSTANT),
                (Form.CONSTANT, Form.BARE),
                (Form.OFFSET, Form.CONSTANT),
                (Form.PUBLIC, Form.CONSTANT),
                (Form.PUBLIC, Form.PUBLIC),
            ]
        ),
        "forms",
    )
    seed = data.draw(st.integers(0, 99), "seed")
    x, y = some_words(shapes[0], bits, seed), some_words(shapes[1], bits, seed + 1)
    b = Builder()
    shape = np.broadcast_shapes(*shapes)
    z = b.emit(Mul, shape, bits, x=b.form(forms[0], x, bits), y=b.form(forms[1], y, bits))
    t = trace(b.plan(), b.values, seed=seed)
    t.assert_exact()
    assert np.array_equal(t.value(z), modulo(integers(x) * integers(y), bits).reshape(shape))


@few
@given(st.integers(1, 64), st.sampled_from([(), (1,), (3, 4), (513,)]), st.integers(0, 99))
def test_squares(bits: int, shape: tuple[int, ...], seed: int) -> None:
    x = some_words(shape, bits, seed)
    b = Builder()
    y = b.emit(Square, shape, bits, x=b.wire(x, bits))
    t = trace(b.plan(), b.values, seed=seed)
    t.assert_exact()
    assert np.array_equal(t.value(y), modulo(integers(x) ** 2, bits).reshape(shape))


SUMMED = [((1,), 0, 1), ((3, 4), 1, 1), ((3, 4), 0, 1), ((3, 4), 0, 2), ((2, 3, 5), 1, 1), ((2, 40_000), 1, 1)]


@few
@given(st.integers(1, 64), st.sampled_from([*SUMMED, ((5, 300), 0, 1), ((3, 30_000), 1, 1)]), st.integers(0, 99))
def test_sums_of_squares(bits: int, which: tuple[tuple[int, ...], int, int], seed: int) -> None:
    """Of a wire with a bit less; also of rows and columns that fill a strip of a mask."""
    shape, axis, axes = which
    x = some_words(shape, max(1, bits - 1), seed)
    expected = np.asarray((integers(x) ** 2).sum(axis=tuple(range(axis, axis + axes))), object)
    b = Builder()
    wire = b.wire(x, max(1, bits - 1))
    y = b.emit(SquareSum, expected.shape, bits, axis=axis, axes=axes, shift=0, x=wire)
    t = trace(b.plan(), b.values, seed=seed)
    t.assert_exact()
    assert np.array_equal(t.value(y), modulo(expected, bits))


@few
@given(st.sampled_from([(20, 1), (20, 7), (47, 12), (64, 30)]), st.sampled_from(SUMMED), st.integers(0, 99))
def test_sums_of_squares_without_the_lowest_bits(
    ring: tuple[int, int], which: tuple[tuple[int, ...], int, int], seed: int
) -> None:
    """Each element is less than one step of what is left too small, or less than two too large."""
    (bits, shift), (shape, axis, axes) = ring, which
    most = 1 << (bits - shift) // 2 + shift - 10 if bits > 20 else 1 << shift
    x = some_words(shape, bits, seed, -most, most)
    summed = tuple(range(axis, axis + axes))
    b = Builder()
    out = tuple(n for i, n in enumerate(shape) if i not in summed)
    y = b.emit(SquareSum, out, bits - shift + 1, axis=axis, axes=axes, shift=shift, x=b.wire(x, bits))
    t = trace(b.plan(), b.values, seed=seed)
    t.assert_exact()
    found, exact = t.value(y).astype(float) ** 0.5, np.sqrt((signed(x, bits).astype(float) ** 2).sum(axis=summed))
    count = np.prod([shape[i] for i in summed])
    assert np.all(np.abs(found - exact / 2.0**shift) <= 2 * count**0.5)


@few
@given(st.data())
def test_matrix_products(data: st.DataObject) -> None:
    """Either operand from `setup` or from the run, with the data-free part done ahead or not."""
    bits = data.draw(st.sampled_from([1, 7, 32, 47, 63, 64]), "bits")
    n, k, m = (data.draw(st.integers(1, 6), name) for name in "nkm")
    batch = data.draw(st.sampled_from([((), ()), ((2,), ()), ((2,), (2,)), ((3, 1), (2,))]), "batch")
    known = data.draw(st.sampled_from(["neither", "x", "y", "both"]), "known")
    seed = data.draw(st.integers(0, 99), "seed")
    x, y = some_words((*batch[0], n, k), bits, seed), some_words((*batch[1], k, m), bits, seed + 1)
    b = Builder()
    b.stage = "setup" if known in ("x", "both") else "run"
    wx = b.wire(x, bits)
    b.stage = "setup" if known in ("y", "both") else "run"
    wy = b.wire(y, bits)
    b.stage = "run"
    z = b.emit(MatMul, (*np.broadcast_shapes(*batch), n, m), bits, x=wx, y=wy)
    t = trace(b.plan(), b.values, seed=seed, preprocess=data.draw(st.booleans(), "preprocess"))
    t.assert_exact()
    assert np.array_equal(t.value(z), modulo(np.matmul(integers(x), integers(y)), bits))


@pytest.mark.parametrize(
    "forms",
    [
        (Form.SHARED, Form.PUBLIC),
        (Form.PUBLIC, Form.SHARED),
        (Form.WIRE, Form.CONSTANT),
        (Form.CONSTANT, Form.OFFSET),
        (Form.BARE, Form.CONSTANT),
        (Form.CONSTANT, Form.PUBLIC),
    ],
)
def test_matrix_products_with_a_public_operand(forms: tuple[Form, Form]) -> None:
    x, y = some_words((3, 4), 64, 1), some_words((4, 2), 64, 2)
    b = Builder()
    z = b.emit(MatMul, (3, 2), 64, x=b.form(forms[0], x), y=b.form(forms[1], y))
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(z), modulo(np.matmul(integers(x), integers(y)), 64))


@few
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([5, 33, 64]), "bits")
    groups = data.draw(st.sampled_from([1, 2, 3]), "groups")
    n, depth, out = (
        data.draw(st.integers(1, 3), "n"),
        data.draw(st.integers(1, 3), "depth"),
        data.draw(st.integers(1, 3), "out"),
    )
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "kernel")
    stride = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), "stride")
    dilation = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), "dilation")
    padding = tuple(data.draw(st.integers(0, 2), f"padding {i}") for i in range(4))
    known, seed = data.draw(st.booleans(), "weights in setup"), data.draw(st.integers(0, 99), "seed")
    x = some_words((n, groups * depth, 6, 5), bits, seed)
    w = some_words((groups * out, depth, *kernel), bits, seed + 1)
    expected = modulo(correlation(x, w, stride, padding, dilation, groups), bits)
    b = Builder()
    b.stage = "setup" if known else "run"
    ww = b.wire(w, bits)
    b.stage = "run"
    z = b.emit(
        Conv2d,
        expected.shape,
        bits,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        x=b.wire(x, bits),
        y=ww,
    )
    t = trace(b.plan(), b.values, seed=seed, preprocess=known)
    t.assert_exact()
    assert np.array_equal(t.value(z), expected)


@few
@given(st.data())
def test_halved_matrix_products(data: st.DataObject) -> None:
    """2 x y by one product a party, whichever operand is kept and has a bit less, and whichever comes from `setup`."""
    bits = data.draw(st.sampled_from([2, 7, 32, 47, 63, 64]), "bits")
    n, k, m = (data.draw(st.integers(1, 6), name) for name in "nkm")
    half, known = data.draw(st.sampled_from("xy"), "half"), data.draw(st.sampled_from(["", "x", "y"]), "known")
    seed, narrower = data.draw(st.integers(0, 99), "seed"), data.draw(st.integers(0, 1), "narrower")
    x, y = some_words((n, k), bits, seed), some_words((k, m), bits, seed + 1)
    b = Builder()
    wires = {}
    for name, value in (("x", x), ("y", y)):
        b.stage = "setup" if known == name else "run"
        wires[name] = b.wire(value, max(1, bits - narrower) if half == name else bits)
    b.stage = "run"
    z = b.emit(MatMul, (n, m), bits, half=half, **wires)
    t = trace(b.plan(), b.values, seed=seed, preprocess=data.draw(st.booleans(), "preprocess"))
    t.assert_exact()
    assert np.array_equal(t.value(z), modulo(2 * np.matmul(integers(x), integers(y)), bits))


@pytest.mark.parametrize("half", ["x", "y"])
def test_a_halved_product_of_a_matrix_with_itself_has_all_bits(half: str) -> None:
    x, bits = some_words((3, 3), 32, 5), 32
    b = Builder()
    wire = b.wire(x, bits)
    z = b.emit(MatMul, (3, 3), bits, half=half, x=wire, y=wire)
    gate = MatMul(wire, wire, z, half)
    assert gate.demand(wire, b.registers) == bits
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(z), modulo(2 * np.matmul(integers(x), integers(x)), bits))


class Careless(Kernels):
    """What is above the bits that are asked for is another number each time, as other processors may have it."""

    def __init__(self) -> None:
        self._above = np.random.default_rng(1)

    def matmul(self, a: Array, b: Array, out: Array | None = None, sign: int = 0, bits: int = 64) -> Array:
        z = Kernels.matmul(a, b, out, sign, bits)
        if bits < 64:
            z += self._above.integers(0, 1 << 64, z.shape, U) << U(bits)
        return z


@pytest.mark.parametrize("bits", [9, 53])
@pytest.mark.parametrize("half", ["x", "y"])
def test_a_halved_product_doubles_what_a_product_with_a_constant_left_under_a_mask(half: str, bits: int) -> None:
    """Party 0 and the dealer have the same mask share, up to the bit that doubling needs."""
    x, y, c = (some_words((4, 4), bits, seed) for seed in (1, 2, 3))
    b = Builder()
    made = b.emit(MatMul, (4, 4), bits - 1, x=b.wire(x, bits - 1), y=b.constant(c))
    other = b.wire(y, bits)
    operands = {"x": made, "y": other} if half == "x" else {"x": other, "y": made}
    z = b.emit(MatMul, (4, 4), bits, half=half, **operands)
    truth = np.matmul(integers(x), integers(c))
    pair = (truth, integers(y)) if half == "x" else (integers(y), truth)
    found = trace(b.plan(), b.values, kernels=Careless()).value(z)
    assert np.array_equal(found, modulo(2 * np.matmul(*pair), bits))


@pytest.mark.parametrize("half", ["x", "y"])
def test_halved_convolution_of_views(half: str) -> None:
    x, w = some_words((5, 6, 2, 2), 33, 1), some_words((3, 2, 3, 3), 33, 2)
    b = Builder()
    opened = {"x": b.wire(x, 32 if half == "x" else 33), "y": b.wire(w, 32 if half == "y" else 33)}
    opened["x"] = b.emit(Transpose, (2, 2, 5, 6), 32 if half == "x" else 33, axes=(2, 3, 0, 1), x=opened["x"])
    named = {"stride": (1, 1), "padding": (1, 0, 0, 1), "dilation": (1, 1), "groups": 1}
    z = b.emit(Conv2d, (2, 3, 4, 5), 33, half=half, **named, **opened)
    t = trace(b.plan(), b.values)
    t.assert_exact()
    turned = x.transpose(2, 3, 0, 1)
    assert np.array_equal(t.value(z), modulo(2 * correlation(turned, w, (1, 1), (1, 0, 0, 1), (1, 1), 1), 33))


def test_products_need_no_material() -> None:
    b = Builder()
    b.emit(Mul, (9,), 64, x=b.wire(np.zeros(9, U)), y=b.wire(np.zeros(9, U)))
    assert trace(b.plan(), b.values).dealt == {"setup": 0, "run": 0}
