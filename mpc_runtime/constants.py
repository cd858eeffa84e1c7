"""The constant registers of a plan: its arrays, and what linear gates make of them, known to everybody at any time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .gates import Constant
from .plan import Plan
from .registers import Form, Register, held, wrapping

Array = np.ndarray


def constant_registers(plan: Plan) -> dict[int, Array]:
    """register -> its elements, for every register of form CONSTANT in any procedure."""
    context = _Constants(plan.registers)
    for procedure in plan.procedures:
        for op in procedure.ops:
            gate = op.gate
            if isinstance(gate, Constant):
                context[gate.y] = plan.constants[gate.index]
            elif gate.outs and all(plan.registers[r].form is Form.CONSTANT for r in gate.outs):
                with wrapping():
                    gate.meaning(context)
    return context.values


class _Constants:
    """The MeaningContext of gates on constants, which have no masks."""

    def __init__(self, types: Sequence[Register]) -> None:
        self.types = types
        self.values: dict[int, Array] = {}

    def __getitem__(self, register: int) -> Array:
        return self.values[register]

    def __setitem__(self, register: int, value: Array) -> None:
        self.values[register] = held(value)

    def mask(self, register: int) -> Array:
        return np.zeros_like(self.values[register])
