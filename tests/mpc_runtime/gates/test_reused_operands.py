"""Products of what is read more than once, halved or not: a value with itself, with views and multiples of itself, in
rings of their own; against Python's integers, with kernels that leave anything above the bits that are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.gates import Add, Conv2d, Materialize, MatMul, Pad, Reshape, Scale, Slice, Transpose
from mpc_runtime.kernels import Kernels
from tests.mpc_runtime.gates.test_product import Careless, correlation
from tests.mpc_runtime.gates.values import few, integers, modulo, some_words
from tests.plans_by_hand import Builder
from tests.traced import trace

Array = np.ndarray
Known = tuple[int, Array]
"""A masked value: its register, and Python's integers."""


def turned(b: Builder, wire: int, x: Array, bits: int) -> Known:
    axes = tuple(range(x.ndim))[::-1]
    return b.emit(Transpose, x.shape[::-1], bits, axes=axes, x=wire), np.transpose(x)


def reshaped(b: Builder, wire: int, x: Array, bits: int) -> Known:
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    return b.emit(Reshape, shape, bits, shape=shape, x=wire), x.reshape(shape)


def backwards(b: Builder, wire: int, x: Array, bits: int) -> Known:
    ends = {"starts": tuple(n - 1 for n in x.shape), "stops": (-1,) * x.ndim, "steps": (-1,) * x.ndim}
    return b.emit(Slice, x.shape, bits, **ends, x=wire), np.flip(x)


def multiplied(b: Builder, wire: int, x: Array, bits: int) -> Known:
    return b.emit(Scale, x.shape, bits, factor=-12, x=wire), -12 * x


def doubled(b: Builder, wire: int, x: Array, bits: int) -> Known:
    return b.emit(Add, x.shape, bits, negative=False, x=wire, y=wire), 2 * x


def padded(b: Builder, wire: int, x: Array, bits: int) -> Known:
    widths = (*((0, 0),) * (x.ndim - 2), (0, 1), (1, 0))
    found = np.full((*x.shape[:-2], x.shape[-2] + 1, x.shape[-1] + 1), 0, object)
    found[..., :-1, 1:] = x
    return b.emit(Pad, found.shape, bits, widths=widths, x=wire), found


def mixed(b: Builder, wire: int, x: Array, bits: int) -> Known:
    """A product with a constant of the plan."""
    c = some_words((x.shape[-1], x.shape[-1]), 64, 3)
    return b.emit(MatMul, x.shape, bits, x=wire, y=b.constant(c)), np.matmul(x, integers(c))


MAPS: tuple[Callable[[Builder, int, Array, int], Known], ...] = (
    turned,
    reshaped,
    backwards,
    multiplied,
    doubled,
    padded,
    mixed,
)


@few
@given(st.data())
def test_products_of_views_of_a_few_values(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([8, 9, 33, 52, 53, 54, 63, 64]), "bits")
    images, n = data.draw(st.booleans(), "images"), data.draw(st.integers(1, 4), "n")
    seed, b = data.draw(st.integers(0, 999), "seed"), Builder()
    wires: dict[int, list[Known]] = {bits: [], bits - 1: []}
    for number, ring in enumerate(wires):
        b.stage = data.draw(st.sampled_from(["setup", "run"]), "stage")
        x = some_words((n,) * (4 if images else 2), ring, seed + number)
        wires[ring].append((b.wire(x, ring), integers(x)))
        for made in data.draw(st.lists(st.sampled_from(MAPS), max_size=3), "maps"):
            wires[ring].append(made(b, *data.draw(st.sampled_from(wires[ring]), "of"), ring))
    b.stage = "run"
    truth: dict[int, Array] = {}
    for _ in range(4):
        half = data.draw(st.sampled_from(["", "x", "y"]), "half")
        first, second = (
            data.draw(st.sampled_from(wires[bits] + (wires[bits - 1] if half == name else [])), name) for name in "xy"
        )
        shapes = first[1].shape, second[1].shape
        if images and (shapes[0][1] != shapes[1][1] or shapes[0][2] < shapes[1][2] or shapes[0][3] < shapes[1][3]):
            continue
        if not images and shapes[0][1] != shapes[1][0]:
            continue
        named = {"stride": (1, 1), "padding": (1, 0, 0, 1), "dilation": (1, 1), "groups": 1} if images else {}
        z = correlation(first[1], second[1], *named.values()) if images else np.matmul(first[1], second[1])
        cls = Conv2d if images else MatMul
        out = b.emit(cls, z.shape, bits, half=half, x=first[0], y=second[0], **named)
        truth |= dict.fromkeys((out, b.open(out)), modulo(2 * z if half else z, bits))
        shared = b.emit(Materialize, z.shape, bits, x=out)
        wires[bits].append((b.open(shared), 2 * z if half else z))
    careless = data.draw(st.booleans(), "careless")
    ahead = data.draw(st.booleans(), "ahead")
    t = trace(b.plan(), b.values, seed=seed, preprocess=ahead, kernels=Careless() if careless else Kernels())
    for register, expected in truth.items():
        assert np.array_equal(t.value(register), expected)
