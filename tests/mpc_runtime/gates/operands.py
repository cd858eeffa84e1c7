"""Operands of gates as other gates leave them, and what is asked of a result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpc_runtime import gates
from mpc_runtime.gates import Gate
from mpc_runtime.registers import Form
from tests.mpc_runtime.gates.values import signed, some_words, to_words
from tests.plans_by_hand import BITS, Builder
from tests.traced import Trace

Array = np.ndarray
U = np.uint64
Shape = tuple[int, ...]
Check = Callable[[Trace], object]
LAYOUTS = ("made", "turned", "backwards with gaps", "broadcast")
RING = 40
SHAPES: tuple[Shape, ...] = ((), (1,), (5,), (3, 1, 2))
ADDITIVE = (Form.SHARED, Form.OFFSET)


class Operands:
    """Values that a layout allows, and registers that show them in this layout."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.b = Builder()
        self.random = np.random.default_rng(5)

    def words(self, shape: Shape, bits: int = RING, low: int | None = None, high: int | None = None) -> Array:
        inner = self._inner(shape)
        value = some_words(inner, bits, int(self.random.integers(1 << 30)), low, high)
        return np.broadcast_to(value, shape).copy()

    def bits(self, shape: Shape) -> Array:
        value = np.asarray(self.random.integers(0, 2, self._inner(shape)), np.uint8)
        return np.broadcast_to(value, shape).copy()

    def _inner(self, shape: Shape) -> Shape:
        return shape[1:] if self.layout == "broadcast" else shape

    def lay(self, form: Form, value: Array, bits: int = RING) -> int:
        return self.view(value, lambda x: self.b.form(form, x, bits), bits)

    def view(self, value: Array, make: Callable[[Array], int], bits: int = RING) -> int:
        """`value` as a view of a register that `make` makes."""
        if self.layout == "made":
            return make(value)
        if self.layout == "broadcast":
            inner = value[0].copy() if value.ndim else value
            return self._linear(gates.Broadcast, value, bits, make(np.asarray(inner)), shape=value.shape)
        if self.layout == "turned":
            axes = tuple(range(value.ndim))[::-1]
            return self._linear(gates.Transpose, value, bits, make(np.asarray(value.T, order="C")), axes=axes)
        wide = np.ones(tuple(2 * n - 1 for n in value.shape), value.dtype)
        wide[tuple(slice(None, None, -2) for _ in value.shape)] = value
        return self._linear(
            gates.Slice,
            value,
            bits,
            make(wide),
            starts=tuple(n - 1 for n in wide.shape),
            stops=(-1,) * value.ndim,
            steps=(-2,) * value.ndim,
        )

    def _linear(self, cls: type[Gate], value: Array, bits: int, x: int, **attributes: object) -> int:
        if value.dtype == U:
            return self.b.emit(cls, value.shape, bits, x=x, **attributes)
        return self.b.emit(cls, value.shape, 1, BITS, x=x, **attributes)


def equals(register: int, expected: Array) -> Check:
    def check(t: Trace) -> None:
        assert t.value(register).shape == expected.shape
        assert np.array_equal(t.value(register), expected)

    return check


def at_most_one_more(register: int, floor: Array, bits: int, shift: int) -> Check:
    def check(t: Trace) -> None:
        more = signed(t.value(register) - to_words(floor), bits)
        assert more.shape == floor.shape and ((more == 0) | ((more == 1) & (shift > 0))).all()

    return check
