"""Ring elements for the tests of gates: edge values, and masks that the test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from hypothesis import settings

from mpc_runtime.gates import Open
from mpc_runtime.gates.streams import PURPOSE_MASK, stream
from mpc_runtime.registers import Domain
from tests.plans_by_hand import Builder
from tests.streams import Scripted, StandIns, bit_planes
from tests.traced import KEYS

Array = np.ndarray
Shape = tuple[int, ...]
U = np.uint64
few = settings(max_examples=40, deadline=None)
"""An example runs three machines."""

EDGES = (0, 1, 2, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def to_words(x: Array) -> Array:
    """Two's complement mod 2^64 of integers."""
    return np.asarray(x).astype(np.int64, order="C").view(U)


def signed(x: Array, bits: int) -> Array:
    """The integers of ring elements, as int64; by arithmetic that any ring shares."""
    spare = U(64 - bits)
    return (np.asarray(x, U) << spare).view(np.int64) >> np.int64(64 - bits)


def some_words(shape: tuple[int, ...], bits: int, seed: int, low: int | None = None, high: int | None = None) -> Array:
    """Elements of Z_2^bits: half of them edge values of the ring, of 64 bits, or ends of [low, high]; all inside it."""
    random = np.random.default_rng(seed)
    if low is None or high is None:
        x = random.integers(0, 1 << 64, shape, U)
        edges = np.array([*EDGES, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1], U)
        chosen = edges[random.integers(0, len(edges), shape)]
        return np.asarray(np.where(random.integers(0, 2, shape) == 1, chosen, x) & U((1 << bits) - 1), U)
    edges = [e for e in (low, low + 1, high - 1, high, 0, 1, -1) if low <= e <= high]
    y = random.integers(low, high, shape, np.int64, endpoint=True)
    chosen = np.array(edges, np.int64)[random.integers(0, len(edges), shape)]
    mixed = np.where(random.integers(0, 2, shape) == 1, chosen, y)
    return np.asarray(to_words(mixed).reshape(shape) & U((1 << bits) - 1), U)


def integers(x: Array) -> Array:
    """As Python integers, for arithmetic that nothing wraps."""
    return np.asarray(x).astype(object)


def modulo(x: Array, bits: int) -> Array:
    """Ring elements of Python's integers."""
    return np.asarray(np.asarray(x, object) % (1 << bits), U)


def forced_wire(b: Builder, masks: Mapping[int, Array]) -> StandIns:
    """Kernels with which the openings that make these registers have these masks: p1's words are random, p0's fill up
    the sum."""
    plan = b.plan(0)
    numbers = {
        y: i for i, op in enumerate(plan.procedure("run").ops) if isinstance(op.gate, Open) for y in op.gate.outs
    }
    scripts: tuple[dict[int, Array], dict[int, Array]] = ({}, {})
    random = np.random.default_rng(1)
    for register, mask in masks.items():
        t = plan.registers[register]
        pad = stream(PURPOSE_MASK, numbers[register])
        if t.domain is Domain.WORDS:
            one = random.integers(0, 1 << 64, mask.size, U)
            zero = mask.reshape(-1) - one
        else:
            columns = mask.reshape(-1, 1) if t.domain is Domain.BITS else mask
            bits = random.integers(0, 2, columns.shape, np.uint8)
            one, zero = bit_planes(bits), bit_planes(columns.astype(np.uint8) ^ bits)
        scripts[0][pad], scripts[1][pad] = zero, one
    keys = KEYS["run"]
    return StandIns({keys[i]: Scripted(keys[i], scripts[i]) for i in (0, 1)})


def padded(a: Array, widths: tuple[tuple[int, int], ...]) -> Array:
    out = np.zeros([before + n + after for n, (before, after) in zip(a.shape, widths, strict=True)], a.dtype)
    out[tuple(slice(before, before + n) for n, (before, _) in zip(a.shape, widths, strict=True))] = a
    return out


def windows(a: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    rows, columns = (a.shape[i - 2] - kernel[i] + 1 for i in (0, 1))
    parts = [a[..., i : i + rows, j : j + columns] for i, j in product(range(kernel[0]), range(kernel[1]))]
    return np.sum(parts, axis=0)[..., :: stride[0], :: stride[1]]


def beside(shape: Shape) -> tuple[Shape, ...]:
    """Shapes that broadcast with this one."""
    return tuple(dict.fromkeys((shape, (), (2, *shape))))
