"""Checks of norms: what is counted, next to a limit and far beyond it, and which comparisons are made together."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from compiler.expand.emitter import Held
from compiler.expand.limits import KEPT_BITS, beyond_norms
from compiler.graph import Value, apply
from compiler.ops import BeyondNorms
from compiler.ops.limits import COARSE
from mpc_runtime.gates import Leaf, SquareSum
from tests.compiler.expand.executed import Unit
from tests.compiler.graphs import leaf

FRAC = 16
MARGIN = 2.0 ** -(KEPT_BITS + 1) + 2 * COARSE
"""Below a limit, the part of it that may count as beyond."""


def vectors(random: np.random.Generator, count: int, size: int, limit: float, most: float) -> np.ndarray:
    """Rows of integers, their norms just within the limit, just beyond it, or anywhere."""
    rows = random.uniform(-1, 1, (count, size))
    norms = limit * random.choice([0.0, 0.5, 1 - 2 * MARGIN, 1 + 1e-4, 1.5, 1e3], (count, 1))
    rows *= norms / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return np.asarray(np.rint(np.clip(rows, -most, most) * 2.0**FRAC), np.int64)


def counted(
    unit: Unit, arrays: list[np.ndarray], axes: list[tuple[int, ...]], limits: list[float], most: float
) -> list[int]:
    values: list[Value] = [leaf(f"x{i}", array.shape, (-most, most)) for i, array in enumerate(arrays)]
    held: list[Held] = [unit.held(array, FRAC, (-most, most)) for array in arrays]
    value = apply(BeyondNorms(tuple(axes), tuple(limits)), *values)
    (register,) = beyond_norms(unit.x, value, *held).words.values()
    found = unit.read(register)
    assert all(0 <= count <= value.range.hi for count in found)
    return found


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    limits=st.lists(st.sampled_from([0.5, 3.0, 4.0, 8.0, 12.0, 16.0, 100.0, 256.0]), min_size=1, max_size=6),
    most=st.sampled_from([2.0, 50.0, 4096.0, 2.0**14]),
)
def test_vectors_that_are_too_long_are_counted(seed: int, limits: list[float], most: float) -> None:
    """The larger elements may be, the fewer squares have room: then parts of vectors are checked first."""
    random = np.random.default_rng(seed)
    arrays, axes, expected = [], [], []
    for limit in limits:
        count, size = (int(random.integers(1, 6)) for _ in range(2))
        rows = vectors(random, count, size, limit, most)
        exact = (rows.astype(object) ** 2).sum(axis=1)
        squares = [int(square) / (limit**2 * 4.0**FRAC) for square in exact]
        expected.append((sum(square > 1 for square in squares), sum(square > (1 - MARGIN) ** 2 for square in squares)))
        across = bool(random.integers(2))
        arrays.append(rows.T if across else rows)
        axes.append((0,) if across else (1,))
    found = counted(Unit(), arrays, axes, limits, most)
    assert all(least <= count <= largest for count, (least, largest) in zip(found, expected, strict=True))


def test_elements_are_counted_beside_norms() -> None:
    rows = np.array([[3, -5, 5], [1, 2, -6]]) << FRAC
    found = counted(Unit(), [rows, rows, rows], [(), (1,), (0, 1)], [5.0, 7.0, 9.0], 8.0)
    assert found == [1, 1, 1]


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ([8.0, 16.0, 256.0, 0.5], 16.0),
        ([8.0, 12.0, 24.0, 16.0], 16.0),
        ([3.0, 5.0], 16.0),
        ([8.0, 8.0, 4096.0], 2.0**14),
    ],
)
def test_norms_are_compared_together(limits: list[float], most: float) -> None:
    unit = Unit()
    arrays = [vectors(np.random.default_rng(place), 3, 2, limit, most) for place, limit in enumerate(limits)]
    counted(unit, arrays, [(1,)] * len(limits), limits, most)
    assert len(unit.gates(Leaf)) == 1


def test_what_is_squared_is_in_no_wider_a_ring_for_being_compared_beside_others() -> None:
    def rings(sizes: list[int], limits: list[float]) -> list[int]:
        unit, most = Unit(), 16.0
        values = [leaf(f"x{i}", (2, size), (-most, most)) for i, size in enumerate(sizes)]
        held = [unit.held(np.ones((2, size), np.int64), FRAC, (-most, most)) for size in sizes]
        value = apply(BeyondNorms(((1,),) * len(sizes), tuple(limits)), *values)
        (register,) = beyond_norms(unit.x, value, *held).words.values()
        plan = unit.plan([register])
        return [plan.registers[op.gate.x].bits for op in plan.procedure("run").ops if isinstance(op.gate, SquareSum)]

    (small,), (large,) = rings([3], [1.0]), rings([4000], [1024.0])
    assert rings([3, 4000], [1.0, 1024.0]) == [small, large]
    assert small < large
