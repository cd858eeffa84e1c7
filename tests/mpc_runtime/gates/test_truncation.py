"""Truncation against the integers: floor or one more, exactly unbiased, and the public dither that decides which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import Truncate
from tests.mpc_runtime.gates.values import few, forced_wire, signed, some_words, to_words
from tests.plans_by_hand import Builder
from tests.traced import trace

Array = np.ndarray
U = np.uint64
L = 8


def every_value_and_mask(low: int, high: int) -> tuple[Array, Array]:
    """All z in [low, high] with all masks of an 8-bit ring, as two flat int64 arrays."""
    z, r = np.meshgrid(np.arange(low, high + 1), np.arange(1 << L), indexing="ij")
    return z.reshape(-1), r.reshape(-1)


def truncated_all(z: Array, r: Array, shift: int, lo: int, receiver: int) -> Array:
    b = Builder()
    x = b.wire(to_words(z), L)
    y = b.emit(Truncate, z.shape, lo, shift=shift, width=L - 1, x=x)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {x: to_words(r)}))
    t.assert_exact()
    return t.value(y)


@pytest.mark.parametrize("shift", range(7))
@pytest.mark.parametrize(("lo", "receiver"), [(4, 0), (8, 0), (8, 1), (16, 1), (64, 0), (64, 1)])
def test_all_values_and_masks_of_a_small_ring(shift: int, lo: int, receiver: int) -> None:
    """Ends of the range included: -2^(l-2) <= z <= 2^(l-2)."""
    z, r = every_value_and_mask(-64, 64)
    y = truncated_all(z, r, shift, lo, receiver)
    up = signed(y - to_words(z >> shift), lo)
    assert set(np.unique(up)) <= {0, 1}
    times_up = up.reshape(-1, 1 << L).sum(axis=1)
    assert np.array_equal(times_up, (z.reshape(-1, 1 << L)[:, 0] & ((1 << shift) - 1)) << (L - shift))
    dither = (1 << shift) - 1 - ((z + r) & ((1 << shift) - 1))
    assert np.array_equal(signed(y, lo), signed(to_words((z + dither) >> shift), lo))


@pytest.mark.parametrize(("shift", "lo"), [(1, 6), (2, 5), (3, 4), (5, 2), (2, 3)])
def test_no_range_condition_into_a_small_ring(shift: int, lo: int) -> None:
    """lo <= l - 1 - f: every value of the ring, and nothing is sent."""
    z, r = every_value_and_mask(-128, 127)
    y = truncated_all(z, r, shift, lo, 0)
    assert set(np.unique(signed(y - to_words(z >> shift), lo))) <= {0, 1}


def test_the_range_ends_where_the_protocol_says() -> None:
    """One step beyond, some masks give another number: the declared width is a contract without slack."""
    for z_only in (65, -65):
        z, r = every_value_and_mask(z_only, z_only)
        with pytest.raises(AssertionError):
            truncated_all(z, r, 2, 16, 0)


@few
@given(st.data())
def test_any_ring(data: st.DataObject) -> None:
    l = data.draw(st.integers(2, 64), "l")
    shift = data.draw(st.integers(0, l - 2), "shift")
    lo = data.draw(st.integers(1, 64), "lo")
    shape = data.draw(st.sampled_from([(), (1,), (5,), (3, 2), (700,)]), "shape")
    seed = data.draw(st.integers(0, 99), "seed")
    z = some_words(shape, l, seed, -(1 << (l - 2)), 1 << (l - 2))
    b = Builder()
    y = b.emit(Truncate, shape, lo, shift=shift, width=l - 1, x=b.wire(z, l))
    t = trace(b.plan(seed % 2), b.values, seed=seed)
    t.assert_exact()
    floor = to_words(signed(z, l) >> np.int64(shift))
    up = (t.value(y) - floor) & U((1 << lo) - 1)
    assert (up <= (1 if shift else 0)).all()


def test_material_is_the_narrow_difference_alone() -> None:
    """U_0 is absorbed; U_1 - U_0 has lo - (l - f) bits, for 64 -> 64 at 16 bits two bytes an element."""
    for l, shift, lo, bits in ((64, 16, 64, 16), (64, 16, 32, 0), (48, 12, 48, 12), (32, 0, 64, 32), (64, 16, 49, 1)):
        b = Builder()
        b.emit(Truncate, (40,), lo, shift=shift, width=l - 1, x=b.wire(np.zeros(40, U), l))
        t = trace(b.plan(1), b.values)
        assert t.dealt["run"] == 40 * bits // 8
