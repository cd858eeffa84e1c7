"""The constant registers of a plan: its arrays, and what linear gates make of them, known to everybody at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..plan import Plan
from ..registers import Form, held, wrapping

if TYPE_CHECKING:
    from ..kernels import Kernels, Prg

Array = np.ndarray


def constant_registers(plan: Plan, kernels: Kernels) -> dict[int, Array]:
    """register -> its elements, for every register of form CONSTANT in any procedure."""
    context = Constants(plan, kernels)
    with wrapping():
        for procedure in plan.procedures:
            for gate in procedure.gates:
                if gate.outs and all(plan.registers[r].form is Form.CONSTANT for r in gate.outs):
                    gate.meaning(context)
    return context.values


class Constants:
    """The MeaningContext of gates on constants, which have no masks and take or reveal nothing."""

    def __init__(self, plan: Plan, kernels: Kernels) -> None:
        self.plan = plan
        self.kernels = kernels
        self.types = plan.registers
        self.values: dict[int, Array] = {}
        self.op = 0

    @property
    def owns(self) -> tuple[Prg, Prg]:
        raise AssertionError("no noise is constant")

    def __getitem__(self, register: int) -> Array:
        return self.values[register]

    def __setitem__(self, register: int, value: Array) -> None:
        self.values[register] = held(value)

    def mask(self, register: int) -> Array:
        return np.zeros_like(self.values[register])

    def mask_share(self, register: int, party: int) -> Array:
        raise AssertionError(f"register {register} is a constant, which has no mask")

    def constant(self, index: int) -> Array:
        return self.plan.constants[index]

    def feed(self, name: str) -> Array:
        raise AssertionError(f"feed {name} is not a constant")

    def reveal(self, result: str, value: Array) -> None:
        raise AssertionError(f"result {result} has no constant to reveal")
