"""Selections and bits as numbers against the integers: every bit, value and mask of either in an 8-bit ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import BitToWord, Broadcast, Choose, Select
from mpc_runtime.registers import TILE
from tests.mpc_runtime.gates.values import few, forced_wire, signed, some_words, to_words
from tests.plans_by_hand import Builder, compare
from tests.traced import trace

Array = np.ndarray
U = np.uint64
L = 8


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(("shift", "lo"), [(0, 8), (0, 3), (1, 8), (2, 16), (3, 4), (3, 64), (6, 2)])
def test_every_value_bit_and_mask(shift: int, lo: int, receiver: int) -> None:
    d, delta, z, r = (
        a.reshape(-1) for a in np.meshgrid([0, 1], [0, 1], np.arange(-64, 65), np.arange(1 << L), indexing="ij")
    )
    b = Builder()
    bit, x = b.wire(d.astype(np.uint8)), b.wire(to_words(z), L)
    y = b.emit(Select, z.shape, lo, shift=shift, width=L - 1, d=bit, x=x)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {bit: delta.astype(np.uint8), x: to_words(r)}))
    t.assert_exact()
    dither = (1 << shift) - 1 - ((z + r) & ((1 << shift) - 1))
    assert np.array_equal(signed(t.value(y), lo), signed(to_words(d * ((z + dither) >> shift)), lo))


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("lo", [8, 3])
def test_a_choice_of_every_value_bit_and_mask(lo: int, receiver: int) -> None:
    d, delta, z, r = (
        a.reshape(-1) for a in np.meshgrid([0, 1], [0, 1], np.arange(-128, 128), np.arange(1 << L), indexing="ij")
    )
    b = Builder()
    bit, x = b.wire(d.astype(np.uint8)), b.wire(to_words(z), L)
    y = b.emit(Choose, z.shape, lo, d=bit, x=x)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {bit: delta.astype(np.uint8), x: to_words(r)}))
    t.assert_exact()
    assert np.array_equal(signed(t.value(y), lo), signed(to_words(d * z), lo))


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(
    ("shape", "whole"),
    [
        ((3, 1, 5), (3, 4, 5)),
        ((1, 4, 1), (3, 4, 5)),
        ((3, 4, 5), (3, 4, 5)),
        ((1, 1, 1), (3, 4, 5)),
        ((1, 1, 30001), (2, 3, 30001)),
        ((1, 3, 30001), (2, 3, 30001)),
        ((2, 1, 30001), (2, 3, 30001)),
        ((1, TILE), (3, TILE)),
    ],
)
def test_a_choice_of_a_broadcast_value(shape: tuple[int, ...], whole: tuple[int, ...], receiver: int) -> None:
    """Its period ends within tiles, with them, and not at all."""
    z, d = some_words(shape, 40, 1), np.random.default_rng(2).integers(0, 2, whole, np.uint8)
    b = Builder()
    wide = b.emit(Broadcast, d.shape, 40, shape=d.shape, x=b.wire(z, 40))
    y = b.emit(Choose, d.shape, 40, d=b.wire(d), x=wide)
    t = trace(b.plan(receiver), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), np.where(d, z, 0)) and t.dealt["run"] == 2 * d.size * 40 // 8


def test_a_cleared_bit_gives_zero_beyond_the_range() -> None:
    """Where d = 0 the result is 0 even for a value that a truncation could not take: the tails of tables rely on it."""
    z, r = (a.reshape(-1) for a in np.meshgrid(np.arange(-128, 128), np.arange(1 << L), indexing="ij"))
    b = Builder()
    bit, x = b.wire(np.zeros(z.shape, np.uint8)), b.wire(to_words(z), L)
    y = b.emit(Select, z.shape, 16, shift=3, width=L - 1, d=bit, x=x)
    t = trace(b.plan(1), b.values, kernels=forced_wire(b, {x: to_words(r)}))
    assert not t.value(y).any()


@pytest.mark.parametrize("low_bit", [0, 1, 2])
def test_relu_with_truncation_is_the_maximum_of_zero_and_the_truncation(low_bit: int) -> None:
    """For every t <= f: a sign that the dropped bits flip belongs to a value that is rounded up to 0."""
    shift, width = 2, 7
    z, r = (a.reshape(-1) for a in np.meshgrid(np.arange(-64, 64 - (1 << low_bit)), np.arange(1 << L), indexing="ij"))
    b = Builder()
    x = b.wire(to_words(z), L)
    (bit,) = compare(b, x, width, low_bit, (width - 2 - low_bit, 1), (2,), "lt", (0,))
    y = b.open(b.emit(Select, z.shape, L, shift=shift, width=width, d=bit, x=x))
    t = trace(b.plan(0), b.values, kernels=forced_wire(b, {x: to_words(r)}))
    t.assert_exact()
    dither = (1 << shift) - 1 - ((z + r) & ((1 << shift) - 1))
    assert np.array_equal(signed(t.value(y), L), np.maximum((z + dither) >> shift, 0))


@few
@given(st.data())
def test_any_ring(data: st.DataObject) -> None:
    l = data.draw(st.integers(2, 64), "l")
    shift = data.draw(st.integers(0, l - 2), "shift")
    lo = data.draw(st.integers(1, 64 if shift else l), "lo")
    shape = data.draw(st.sampled_from([(), (1,), (5,), (3, 2), (700,)]), "shape")
    seed = data.draw(st.integers(0, 99), "seed")
    reach = 1 << (l - 2)
    z = some_words(shape, l, seed, -reach, reach) if shift else some_words(shape, l, seed)
    d = np.asarray(np.random.default_rng(seed).integers(0, 2, shape), np.uint8)
    b = Builder()
    y = b.emit(Select, shape, lo, shift=shift, width=l - 1, d=b.wire(d), x=b.wire(z, l))
    t = trace(b.plan(seed % 2), b.values, seed=seed)
    t.assert_exact()
    floor = to_words(signed(z, l) >> np.int64(shift))
    up = (t.value(y) - np.where(d == 1, floor, U(0))) & U((1 << lo) - 1)
    assert (up <= (d if shift else 0)).all()


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 8, 63, 64])
def test_bits_as_numbers(bits: int, receiver: int) -> None:
    d = np.array([0, 0, 1, 1] * 150, np.uint8)
    b = Builder()
    wire = b.wire(d)
    y = b.emit(BitToWord, d.shape, bits, d=wire)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {wire: np.array([0, 1] * 300, np.uint8)}))
    t.assert_exact()
    assert np.array_equal(t.value(y), d)


def test_material_is_what_section_3_4_derives() -> None:
    """20 bytes with truncation at 64 bits and f = 16 (delta, K_10 - K_00, two narrow words), 16 without."""
    for shift, size in ((16, 20), (0, 16)):
        b = Builder()
        bit, x = b.wire(np.zeros(10, np.uint8)), b.wire(np.zeros(10, U))
        b.emit(Select, (10,), 64, shift=shift, width=63, d=bit, x=x)
        assert trace(b.plan(), b.values).dealt["run"] == 10 * size
