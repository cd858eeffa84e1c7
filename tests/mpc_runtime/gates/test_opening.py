"""Values change their form and keep their number; results leave re-randomised; messages have the plan's length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime import kernels
from mpc_runtime.gates import FromPublic, Materialize
from mpc_runtime.registers import Form
from tests.mpc_runtime.gates.values import few, forced_wire, some_words
from tests.plans_by_hand import BITS, PLANES, Builder
from tests.streams import bit_planes
from tests.traced import trace

Array = np.ndarray
U = np.uint64


@few
@given(
    st.integers(1, 64),
    st.sampled_from([(), (1,), (7,), (3, 5), (513,)]),
    st.sampled_from(list(Form)),
    st.integers(0, 99),
)
def test_words_in_every_form(bits: int, shape: tuple[int, ...], form: Form, seed: int) -> None:
    x = some_words(shape, bits, seed)
    b = Builder()
    y = b.form(form, x, bits)
    if form.masked:
        y = b.unmask(y)
    elif form.additive:
        y = b.unmask(b.open(y))
    elif form is Form.PUBLIC:
        y = b.emit(FromPublic, shape, bits, x=y)
    t = trace(b.plan(), b.values, seed=seed)
    t.assert_exact()
    assert np.array_equal(t.value(y), x)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("shape", [(), (1,), (9,), (2, 300)])
def test_bits_in_every_form(form: Form, shape: tuple[int, ...]) -> None:
    x = np.asarray(np.random.default_rng(2).integers(0, 2, shape), np.uint8)
    b = Builder()
    y = b.form(form, x)
    if form.masked:
        y = b.unmask(y)
    elif form.additive:
        y = b.unmask(b.open(y))
    elif form is Form.PUBLIC:
        y = b.emit(FromPublic, shape, 1, BITS, x=y)
    t = trace(b.plan(), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), x)


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("bits", [1, 5, 8, 31, 63, 64])
def test_materialized_offsets_are_true_shares(bits: int, receiver: int) -> None:
    x = some_words((3, 250), bits, bits)
    b = Builder()
    y = b.emit(Materialize, x.shape, bits, x=b.form(Form.OFFSET, x, bits))
    t = trace(b.plan(receiver), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), x)
    assert t.dealt["run"] == (x.size * bits + 7) // 8
    assert b.registers[b.open(y)].form is Form.WIRE


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("n", [1, 8, 512, 700])
def test_materialized_bits_and_planes(n: int, receiver: int) -> None:
    random = np.random.default_rng(n)
    x = random.integers(0, 2, n, np.uint8)
    b = Builder()
    y = b.emit(Materialize, (n,), 1, BITS, x=b.form(Form.OFFSET, x))
    three = random.integers(0, 2, (n, 3), np.uint8)
    wire = b.open(b.planes(bit_planes(three), n))
    t = trace(b.plan(receiver), b.values)
    t.assert_exact()
    assert np.array_equal(t.value(y), x)
    assert np.array_equal(t.value(wire), three)
    assert t.dealt["run"] == (n + 7) // 8


def test_every_value_and_mask_of_a_small_ring() -> None:
    x, r = (a.reshape(-1).astype(U) for a in np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
    b = Builder()
    wire = b.wire(x, 8)
    y = b.unmask(wire)
    t = trace(b.plan(), b.values, kernels=forced_wire(b, {wire: r}))
    t.assert_exact()
    assert np.array_equal(t.values[0][wire] & U(255), (x + r) & U(255))
    assert np.array_equal(t.value(y), x)


@pytest.mark.parametrize("domain", [None, PLANES, BITS])
@pytest.mark.parametrize("n", [1, 3, 8, 511, 513])
def test_a_message_is_as_long_as_the_plan_says(n: int, domain: object) -> None:
    """ceil(n l / 8) bytes for words, and for planes ceil(n / 8) each."""
    random = np.random.default_rng(n)
    b = Builder()
    if domain is None:
        wire, size = b.wire(some_words((n,), 13, 1), 13), (n * 13 + 7) // 8
    elif domain is BITS:
        wire, size = b.wire(random.integers(0, 2, n, np.uint8)), (n + 7) // 8
    else:
        wire, size = b.open(b.planes(bit_planes(random.integers(0, 2, (n, 5), np.uint8)), n)), 5 * ((n + 7) // 8)
    t = trace(b.plan(), b.values)
    assert [len(m) for m in t.sent["run"][0]] == [len(m) for m in t.sent["run"][1]] == [size]
    assert b.registers[wire].wire_bytes == size


@pytest.mark.parametrize("bits", [1, 12, 64])
@pytest.mark.parametrize("n", [1, 600])
def test_results_rebuild_and_say_nothing_more(bits: int, n: int) -> None:
    """Each role gets its own re-randomised pair that adds up to the value in the ring of the result, and only in it."""
    x = some_words((n,), 64, 3)
    b = Builder()
    shared = b.input(x, 64)
    b.reveal(shared, ("alice", "bob"), bits)
    t = trace(b.plan(), b.values)
    shares = {role: [kernels.unpack(t.outputs[i]["y", role], n, bits) for i in (0, 1)] for role in ("alice", "bob")}
    for pair in shares.values():
        assert np.array_equal((pair[0] + pair[1]) & U((1 << bits) - 1), x & U((1 << bits) - 1))
    if bits > 1 or n > 1:
        assert not np.array_equal(shares["alice"][0], shares["bob"][0])
        own = t.values[0][shared] & U((1 << bits) - 1)
        assert not np.array_equal(shares["alice"][0], own)
