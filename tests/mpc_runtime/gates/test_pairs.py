"""All pairs of an axis: what is compared is one number for each place, under every mask, so that comparisons agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import GATES, Combine, Gaps, ToBit, Wins
from mpc_runtime.gates.rules import Layout, Refused
from mpc_runtime.registers import Domain, Form, Register
from tests.mpc_runtime.gates.values import few, forced_wire, signed, some_words, to_words
from tests.plans_by_hand import BITS, PLANES, Builder, compare
from tests.traced import trace

U = np.uint64


def rounded(z: np.ndarray, r: np.ndarray, shift: int) -> np.ndarray:
    """The definition: z / 2^shift, rounded up where the low bits of the mask carry."""
    low = (1 << shift) - 1
    carries = (z & low) + (r.astype(np.int64) & low) > low
    return (z >> shift) + carries


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_gaps_are_those_of_one_number_a_place(shift: int) -> None:
    """All values of two places in a ring of 4 bits, under all masks."""
    every = np.array(list(itertools.product(range(-8, 8), range(-8, 8), range(16), range(16))))
    z, r = every[:, :2], every[:, 2:].astype(U)
    b = Builder()
    x = b.wire(to_words(z), 4)
    y = b.emit(Gaps, (len(every), 1), 4 - shift, shift=shift, x=x)
    t = trace(b.plan(0), b.values, kernels=forced_wire(b, {x: r}))
    t.assert_exact()
    numbers = rounded(z, r, shift)
    assert (np.abs(numbers * 2**shift - z) < 2**shift).all()
    assert np.array_equal(t.value(y)[:, 0], to_words(numbers[:, 0] - numbers[:, 1]) & U((1 << (4 - shift)) - 1))


def chosen(b: Builder, x: int, shape: tuple[int, ...], bits: int, shift: int) -> int:
    """Which place is the first of the largest: the gates as the expansion has them."""
    *others, n = shape
    gaps = b.emit(Gaps, (*others, n * (n - 1) // 2), bits, shift=shift, x=x)
    (first,) = compare(b, gaps, bits, 0, (bits - 1,), (), "lt", (0,))
    planes = b.emit(Wins, shape, 1, PLANES, n - 1, places=n, x=first)
    both = b.emit(Combine, shape, 1, PLANES, 1, nodes=n - 1, fan_in=max(2, n - 1), kind="eq", leaf=False, x=planes)
    return b.emit(ToBit, shape, 1, BITS, width=0, threshold=0, root=b.open(both), x=x)


def test_exactly_one_of_three_close_places_is_chosen_under_every_mask() -> None:
    """Within the ignored bits of each other: where each difference dropped its own, a cycle would choose none."""
    every = np.array(list(itertools.product(range(-2, 3), range(-2, 3), range(-2, 3), *[range(4)] * 3)))
    z, r = every[:, :3], every[:, 3:].astype(U) * U(37)
    b = Builder()
    x = b.wire(to_words(z), 7)
    bit = chosen(b, x, z.shape, 5, 2)
    t = trace(b.plan(1), b.values, kernels=forced_wire(b, {x: r & U(127)}))
    t.assert_exact()
    assert (t.value(bit).sum(axis=1) == 1).all()
    assert np.array_equal(t.value(bit).argmax(axis=1), rounded(z, r, 2).argmax(axis=1))


@few
@given(st.data())
def test_the_first_of_the_largest_in_any_ring(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 9), "places")
    l = data.draw(st.integers(6, 64), "l")
    shift = data.draw(st.integers(max(0, l - 9), l - 4), "shift")
    seed = data.draw(st.integers(0, 99), "seed")
    half = 1 << (l - 3)
    shape = data.draw(st.sampled_from([(n,), (5, n), (2, 3, n), (600, n)]), "shape")
    z = some_words(shape, l, seed, -half, half - 1)
    b = Builder()
    bit = chosen(b, b.wire(z, l), shape, l - shift, shift)
    t = trace(b.plan(seed % 2), b.values, seed=seed)
    t.assert_exact()
    found, number = t.value(bit), signed(z, l)
    assert (found.sum(axis=-1) == 1).all()
    low = number.max(axis=-1) - (number * found).sum(axis=-1)
    assert (low < (2 << shift if shift else 1)).all()
    if not shift:
        assert np.array_equal(found.argmax(axis=-1), number.argmax(axis=-1))


@pytest.mark.parametrize(
    ("gate", "register", "rule"),
    [
        (Gaps(0, 0, 1), Register((), Form.WIRE), "expected an axis of places"),
        (Gaps(0, 0, 1), Register((3, 1), Form.WIRE), "places: expected 2 to 65, found 1"),
        (Gaps(0, 0, 1), Register((66,), Form.BARE), "places: expected 2 to 65, found 66"),
        (Gaps(64, 0, 1), Register((3,), Form.WIRE), "shift: expected 0 to 63, found 64"),
        (Gaps(0, 0, 1), Register((3,), Form.SHARED), "expected a wire or bare operand, found a shared one"),
        (Gaps(0, 0, 1), Register((3,), Form.WIRE, Domain.BITS, 1), "expected an operand of words, found bits"),
        (Wins(3, 0, 1), Register((2, 4), Form.WIRE, Domain.BITS, 1), "bits of (2, 4), expected 3 pairs"),
        (Wins(1, 0, 1), Register((0,), Form.WIRE, Domain.BITS, 1), "places: expected 2 to 65, found 1"),
        (Wins(3, 0, 1), Register((3,), Form.WIRE), "expected an operand of bits, found words"),
    ],
)  # fmt: skip
def test_what_they_cannot_be_applied_to_is_refused(gate: Gaps | Wins, register: Register, rule: str) -> None:
    assert GATES[type(gate).__name__] is type(gate)

    class Given:
        def layout(self, at: int) -> Layout:
            return Layout(register.shape, register.domain, register.scale, register.planes)

    with pytest.raises(Refused) as caught:
        gate.infer([register, register], Given())  # type: ignore[arg-type]
    assert str(caught.value).startswith(rule)
