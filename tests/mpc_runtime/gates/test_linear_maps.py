"""Linear maps against NumPy on Python's integers, in every form in which a value can be held."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import (
    Add,
    Broadcast,
    Concat,
    Pad,
    Rescale,
    Reshape,
    Scale,
    Slice,
    Sum,
    SumParts,
    Transpose,
    WindowSum,
    Xor,
)
from mpc_runtime.registers import Form
from tests.mpc_runtime.gates.values import few, integers, modulo, some_words
from tests.plans_by_hand import BITS, Builder
from tests.traced import trace

Array = np.ndarray
U = np.uint64
FORMS = list(Form)
SHAPES = [(2, 3, 4), (1, 5, 2), (3, 1, 1), (2, 2, 2)]


def windows(a: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    rows, columns = (a.shape[i - 2] - kernel[i] for i in (0, 1))
    picked = [
        [a[..., i : i + kernel[0], j : j + kernel[1]].sum(axis=(-2, -1)) for j in range(0, columns + 1, stride[1])]
        for i in range(0, rows + 1, stride[0])
    ]
    return np.moveaxis(np.array(picked, object), (0, 1), (-2, -1))


def padded(a: Array) -> Array:
    n, m, k = a.shape
    out = np.zeros((n + 1, m + 2, k + 2), object)
    out[1:, :m, 1 : k + 1] = a
    return out


MAPS = [
    (Reshape, {"shape": (-1,)}, lambda a: a.reshape(-1)),
    (Transpose, {"axes": (2, 0, 1)}, lambda a: a.transpose(2, 0, 1)),
    (Slice, {"starts": (0, 0, 0), "stops": (1, 1, 1), "steps": (1, 1, 1)}, lambda a: a[:1, :1, :1]),
    (Sum, {"axes": (1,)}, lambda a: a.sum(axis=1, keepdims=True)),
    (Sum, {"axes": (0, 2)}, lambda a: a.sum(axis=(0, 2), keepdims=True)),
    (Pad, {"widths": ((1, 0), (0, 2), (1, 1))}, padded),
    (WindowSum, {"kernel": (1, 1), "stride": (1, 1)}, lambda a: windows(a, (1, 1), (1, 1))),
    (Rescale, {}, lambda a: a),
    (Scale, {"factor": -3}, lambda a: a * -3),
    (Scale, {"factor": (1 << 63) + 1}, lambda a: a * ((1 << 63) + 1)),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", range(len(MAPS)))
@pytest.mark.parametrize(("bits", "shape"), [(64, SHAPES[0]), (17, SHAPES[1]), (1, SHAPES[2])])
def test_maps_of_words(which: int, form: Form, bits: int, shape: tuple[int, ...]) -> None:
    cls, attributes, meaning = MAPS[which]
    x = some_words(shape, bits, which)
    expected = modulo(meaning(integers(x)), bits)
    if "shape" in attributes:
        attributes = {"shape": expected.shape}
    b = Builder()
    y = b.emit(cls, expected.shape, bits, x=b.form(form, x, bits), **attributes)
    assert b.registers[y].form is form
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), expected)


@pytest.mark.parametrize("last", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_reshapes_of_what_lies_in_any_order(axes: tuple[int, int, int], last: int) -> None:
    """Also where a short axis is copied along the one before it; a view stays one."""
    lengths = (4, 5, last)
    x = some_words(tuple(lengths[axis] for axis in axes), 64, last).transpose(np.argsort(axes))
    for shape in ((20 * last,), (4, 5 * last), (2, 10 * last), (20, last), (4, 5, last, 1), (1, 4, 5, last)):
        found = Reshape(shape, 0, 1).apply(x)
        assert found.shape == shape and np.array_equal(found.reshape(-1), np.ascontiguousarray(x).reshape(-1))
        assert np.shares_memory(found, x) == np.shares_memory(x.reshape(shape), x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", range(3))
def test_maps_of_bits(which: int, form: Form) -> None:
    cls, attributes, meaning = MAPS[which]
    x = np.random.default_rng(which).integers(0, 2, (2, 3, 4), np.uint8)
    expected = meaning(x)
    if "shape" in attributes:
        attributes = {"shape": expected.shape}
    b = Builder()
    y = b.emit(cls, expected.shape, 1, BITS, x=b.form(form, x), **attributes)
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), expected)


@few
@given(st.data())
def test_slices_as_numpy_has_them(data: st.DataObject) -> None:
    """Every slice with a step of either sign; a stop below 0 stands for "to the first element"."""
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)), "shape")
    starts, stops, steps, index = [], [], [], []
    for n in shape:
        step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
        start = data.draw(st.integers(0, n - 1))
        count = data.draw(st.integers(1, (n - 1 - start if step > 0 else start) // abs(step) + 1))
        starts.append(start)
        steps.append(step)
        stops.append(start + step * count)
        index.append([start + step * i for i in range(count)])
    x = some_words(shape, 64, 3)
    b = Builder()
    y = b.emit(
        Slice,
        tuple(len(i) for i in index),
        64,
        starts=tuple(starts),
        stops=tuple(stops),
        steps=tuple(steps),
        x=b.form(Form.WIRE, x),
    )
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), x[np.ix_(*index)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "wide"), [((), (3,)), ((3, 1), (3, 4)), ((4,), (2, 3, 4)), ((1, 1), (5, 2))])
def test_broadcasts(form: Form, shape: tuple[int, ...], wide: tuple[int, ...]) -> None:
    x = some_words(shape, 20, 4)
    b = Builder()
    y = b.emit(Broadcast, wide, 20, shape=wide, x=b.form(form, x, 20))
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), np.broadcast_to(x, wide))


@few
@given(st.data())
def test_window_sums(data: st.DataObject) -> None:
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "kernel")
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "stride")
    form = data.draw(st.sampled_from(FORMS), "form")
    x = some_words((2, 2, 5, 4), 40, 6)
    expected = modulo(windows(integers(x), kernel, stride), 40)
    b = Builder()
    y = b.emit(WindowSum, expected.shape, 40, kernel=kernel, stride=stride, x=b.form(form, x, 40))
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(1,), (7,), (1, 1, 5), (3, 2, 1, 1), (4, 3)])
def test_sums_of_parts(form: Form, sizes: tuple[int, ...]) -> None:
    x = some_words((sum(sizes),), 23, 3)
    parts = np.split(integers(x), np.cumsum(sizes)[:-1])
    b = Builder()
    y = b.emit(SumParts, (len(sizes),), 23, sizes=sizes, x=b.form(form, x, 23))
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), modulo(np.array([part.sum() for part in parts], object), 23))


ADDITIVE = [Form.SHARED, Form.OFFSET]
MASKED = [Form.WIRE, Form.BARE]
OPEN = [Form.PUBLIC, Form.CONSTANT]
PAIRS = [(a, b) for side in (ADDITIVE, MASKED) for a in side + OPEN for b in side + OPEN]


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("forms", dict.fromkeys(PAIRS))
def test_sums_and_differences(forms: tuple[Form, Form], negative: bool) -> None:
    """Both additive or both masked, or one of them public; each side may be the one that is broadcast."""
    for bits, shapes in (
        (64, ((2, 3), (2, 3))),
        (9, ((2, 1), (3,))),
        (64, ((), (4,))),
        (33, ((4,), ())),
        (64, ((), ())),
    ):
        x, y = some_words(shapes[0], bits, 1), some_words(shapes[1], bits, 2)
        b = Builder()
        z = b.emit(
            Add,
            np.broadcast_shapes(*shapes),
            bits,
            negative=negative,
            x=b.form(forms[0], x, bits),
            y=b.form(forms[1], y, bits),
        )
        t = trace(b.plan(), b.values)
        t.assert_exact()
        expected = integers(x) - integers(y) if negative else integers(x) + integers(y)
        assert np.array_equal(t.value(z), modulo(expected, bits))


@pytest.mark.parametrize("forms", dict.fromkeys(PAIRS))
def test_xor(forms: tuple[Form, Form]) -> None:
    for shapes in (((2, 3), (2, 3)), ((2, 1), (3,)), ((), (4,)), ((600,), ())):
        random = np.random.default_rng(1)
        x, y = (np.asarray(random.integers(0, 2, shape), np.uint8) for shape in shapes)
        b = Builder()
        z = b.emit(Xor, np.broadcast_shapes(*shapes), 1, BITS, x=b.form(forms[0], x), y=b.form(forms[1], y))
        t = trace(b.plan(), b.values)
        t.assert_exact()
        assert np.array_equal(t.value(z), x ^ y)


JOINED = [(f, f, f) for f in FORMS] + [
    (Form.SHARED, Form.OFFSET, Form.SHARED),
    (Form.WIRE, Form.BARE, Form.BARE),
]


@pytest.mark.parametrize("forms", JOINED)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("domain", ["words", "bits"])
def test_concatenation(forms: tuple[Form, ...], axis: int, domain: str) -> None:
    shapes = [tuple(2 + i if a == axis % 2 else 3 for a in range(2)) for i in range(len(forms))]
    random = np.random.default_rng(1)
    words = domain == "words"
    parts = [some_words(s, 64, i) if words else random.integers(0, 2, s, np.uint8) for i, s in enumerate(shapes)]
    b = Builder()
    xs = tuple(b.form(form, part) for form, part in zip(forms, parts, strict=True))
    expected = np.concatenate(parts, axis=axis)
    named = {"bits": 64} if words else {"bits": 1, "domain": BITS}
    y = b.emit(Concat, expected.shape, axis=axis, xs=xs, **named)
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), expected)
