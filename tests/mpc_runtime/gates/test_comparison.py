"""Comparison against the integers: all values with all masks of an 8-bit ring, random layouts in every ring."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import Combine, ToBit, ToPlanes
from tests.mpc_runtime.gates.values import few, forced_wire, signed, some_words, to_words
from tests.plans_by_hand import BITS, PLANES, Builder, compare
from tests.streams import bit_planes, plane_bits
from tests.traced import trace

Array = np.ndarray
U = np.uint64
L = 8

ORDER_LAYOUTS = [
    ((7,), ()),
    ((3, 4), (2,)),
    ((2, 2, 3), (3,)),
    ((2, 2, 2, 1), (2, 2)),
    ((1,) * 7, (7,)),
    ((1,) * 7, (3, 3)),
    ((2, 2, 3), (2, 2)),
    ((4, 1, 2), (2, 2)),
]
EQUALITY_LAYOUTS = [
    ((8,), ()),
    ((2, 3, 3), (3,)),
    ((2,) * 4, (2, 2)),
    ((4, 4), (2,)),
    ((1,) * 8, (3, 3)),
    ((1,) * 8, (8,)),
]


def all_bits(
    z: Array,
    r: Array,
    width: int,
    low_bit: int,
    widths: tuple[int, ...],
    tree: tuple[int, ...],
    kind: str,
    thresholds: tuple[int, ...],
    receiver: int,
) -> list[Array]:
    """The bits for values z under masks r in the 8-bit ring; every register has been compared with its meaning."""
    b = Builder()
    x = b.wire(to_words(z), L)
    bits = compare(b, x, width, low_bit, widths, tree, kind, thresholds)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {x: to_words(r)}))
    t.assert_exact()
    return [t.value(bit) for bit in bits]


def grid(low: int, high: int) -> tuple[Array, Array]:
    z, r = np.meshgrid(np.arange(low, high), np.arange(1 << L), indexing="ij")
    return z.reshape(-1), r.reshape(-1)


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(("widths", "tree"), ORDER_LAYOUTS)
def test_order_for_every_value_and_mask(widths: tuple[int, ...], tree: tuple[int, ...], receiver: int) -> None:
    z, r = grid(-128, 128)
    (bit,) = all_bits(z, r, 8, 0, widths, tree, "lt", (0,), receiver)
    assert np.array_equal(bit, z >= 0)


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(("widths", "tree"), EQUALITY_LAYOUTS)
def test_equality_for_every_value_and_mask(widths: tuple[int, ...], tree: tuple[int, ...], receiver: int) -> None:
    z, r = grid(-128, 128)
    bits = all_bits(z, r, 8, 0, widths, tree, "eq", (0, 5, -128), receiver)
    for bit, target in zip(bits, (0, 5, -128), strict=True):
        assert np.array_equal(bit, z == target)


@pytest.mark.parametrize("thresholds", [(5,), (0, 1), (-64, 63, 0, -1, 17)])
def test_several_thresholds_on_one_set_of_tables(thresholds: tuple[int, ...]) -> None:
    z, r = grid(-64, 64)
    bits = all_bits(z, r, 8, 0, (3, 4), (2,), "lt", thresholds, 1)
    for bit, threshold in zip(bits, thresholds, strict=True):
        assert np.array_equal(bit, z >= threshold)


def test_a_threshold_needs_a_bit_more() -> None:
    """At k = l the difference wraps for some z: the compiler asks for k to cover z - T, and it must."""
    z, r = grid(-128, 128)
    (bit,) = all_bits(z, r, 8, 0, (3, 4), (2,), "lt", (5,), 0)
    wrong = bit != (z >= 5)
    assert wrong.any() and (z[wrong] < -128 + 5).all()


@pytest.mark.parametrize(
    ("width", "low_bit", "widths", "tree"), [(6, 0, (3, 2), (2,)), (6, 2, (1, 2), (2,)), (7, 3, (3,), ())]
)
def test_fewer_bits_than_the_ring(width: int, low_bit: int, widths: tuple[int, ...], tree: tuple[int, ...]) -> None:
    """Only the declared width is looked at; a dropped low part may call a small negative number non-negative."""
    top = 1 << (width - 1)
    z, r = grid(-top, top - ((1 << low_bit) if low_bit else 0))
    (bit,) = all_bits(z, r, width, low_bit, widths, tree, "lt", (0,), 0)
    wrong = bit != (z >= 0)
    assert wrong.any() == (low_bit > 0)
    assert ((z[wrong] < 0) & (z[wrong] > -(1 << low_bit))).all()


@pytest.mark.parametrize("kind", ["lt", "eq"])
@pytest.mark.parametrize(("nodes", "fan_in"), [(2, 2), (3, 2), (3, 3), (4, 3)])
@pytest.mark.parametrize("leaf", [True, False])
def test_one_node_for_every_value_and_mask(nodes: int, fan_in: int, kind: str, leaf: bool) -> None:
    """Combine alone: all values of its planes with as many masks as a few hundred thousand elements hold."""
    planes = 2 * nodes - 1 if kind == "lt" else nodes
    left = -(-nodes // fan_in)
    n = 1 << min(2 * planes, 14)
    numbers = (
        np.arange(n, dtype=np.uint64)
        if 2 * planes <= 14
        else np.random.default_rng(5).integers(0, 1 << 2 * planes, n, U)
    )
    columns = ((numbers[:, None] >> np.arange(2 * planes, dtype=U)) & U(1)).astype(np.uint8)
    values, masks = columns[:, :planes], columns[:, planes:]
    b = Builder()
    wire = b.open(b.planes(bit_planes(values), n))
    y = b.emit(
        Combine,
        (n,),
        1,
        PLANES,
        2 * left - 1 if kind == "lt" else left,
        nodes=nodes,
        fan_in=fan_in,
        kind=kind,
        leaf=leaf,
        x=wire,
    )
    opened = b.open(y)
    t = trace(b.plan(1), b.values, kernels=forced_wire(b, {wire: masks}))
    t.assert_exact()
    assert np.array_equal(t.value(opened), joined(values, nodes, fan_in, kind))


def joined(values: Array, nodes: int, fan_in: int, kind: str) -> Array:
    """The definition, an element and a node at a time: the highest digit that differs decides."""
    less = (
        [values[:, 2 * j - 1 if j else 0] for j in range(nodes)]
        if kind == "lt"
        else [values[:, j] * 0 for j in range(nodes)]
    )
    equal = (
        [values[:, 2 * j] if j else None for j in range(nodes)]
        if kind == "lt"
        else [values[:, j] for j in range(nodes)]
    )
    columns = []
    for first in range(0, nodes, fan_in):
        out, all_equal = values[:, 0] * 0, values[:, 0] * 0 + 1
        for j in range(min(first + fan_in, nodes) - 1, first - 1, -1):
            out = out ^ (all_equal & less[j])
            all_equal = all_equal & equal[j] if equal[j] is not None else all_equal
        if kind == "lt":
            columns.append(out)
        if kind == "eq" or first > 0:
            columns.append(all_equal)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_conjunction_of_bits_for_every_value_and_mask(n: int) -> None:
    every = np.array(list(itertools.product((0, 1), repeat=2 * n)), np.uint8)
    b = Builder()
    wires = [b.wire(np.ascontiguousarray(every[:, j])) for j in range(n)]
    root = b.emit(ToPlanes, (len(every),), 1, PLANES, n, xs=tuple(wires))
    both = b.emit(Combine, (len(every),), 1, PLANES, 1, nodes=n, fan_in=n, kind="eq", leaf=False, x=root)
    bit = b.emit(ToBit, (len(every),), 1, BITS, width=0, threshold=0, root=b.open(both), x=wires[0])
    t = trace(b.plan(0), b.values, kernels=forced_wire(b, {wire: every[:, n + j] for j, wire in enumerate(wires)}))
    t.assert_exact()
    assert np.array_equal(t.value(bit), every[:, :n].all(axis=1))


@st.composite
def layouts(draw: st.DrawFn, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Any cut of `width` bits into digits, and any tree that joins them."""
    widths = []
    while sum(widths) < width:
        widths.append(draw(st.integers(1, min(6, width - sum(widths)))))
        if len(widths) >= 12:
            width = sum(widths)
    tree, nodes = [], len(widths)
    while nodes > 1:
        tree.append(draw(st.integers(2, min(nodes, 5))))
        nodes = -(-nodes // tree[-1])
    return tuple(widths), tuple(tree)


@few
@given(st.data())
def test_order_in_any_ring(data: st.DataObject) -> None:
    l = data.draw(st.integers(2, 64), "l")
    k = data.draw(st.integers(2, l), "k")
    low_bit = data.draw(st.integers(max(0, k - 2 - 60), k - 2), "low_bit")
    widths, tree = data.draw(layouts(k - 1 - low_bit), "layout")
    low_bit = k - 1 - sum(widths)
    shape = data.draw(st.sampled_from([(), (1,), (7,), (2, 3), (511,), (513,), (3, 400)]), "shape")
    seed = data.draw(st.integers(0, 99), "seed")
    z = some_words(shape, l, seed, -(1 << (k - 1)), (1 << (k - 1)) - (1 << low_bit))
    b = Builder()
    (bit,) = compare(b, b.wire(z, l), k, low_bit, widths, tree, "lt", (0,))
    t = trace(b.plan(seed % 2), b.values, seed=seed)
    t.assert_exact()
    number = signed(z, l)
    wrong = t.value(bit) != (number >= 0)
    assert ((number[wrong] < 0) & (number[wrong] > -(1 << low_bit))).all()


@few
@given(st.data())
def test_equality_in_any_ring(data: st.DataObject) -> None:
    l = data.draw(st.integers(2, 64), "l")
    widths, tree = data.draw(layouts(l).filter(lambda found: sum(found[0]) < 64), "layout")
    l = sum(widths)
    shape = data.draw(st.sampled_from([(), (1,), (6,), (2, 3), (520,)]), "shape")
    seed = data.draw(st.integers(0, 99), "seed")
    z = some_words(shape, l, seed) * np.random.default_rng(seed).integers(0, 2, shape, U)
    b = Builder()
    (bit,) = compare(b, b.wire(z, l), l, 0, widths, tree, "eq", (0,))
    t = trace(b.plan(seed % 2), b.values, seed=seed)
    t.assert_exact()
    assert np.array_equal(t.value(bit), z == 0)


def test_planes_round_trip() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (700, 5), np.uint8)
    assert np.array_equal(plane_bits(bit_planes(bits), 700), bits)
