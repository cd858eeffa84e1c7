"""The ring meaning of a plan in one process, bit for bit what the parties would reconstruct under the same keys.

Every gate's `meaning` is evaluated on plain ring elements; the dealer's side runs beside it, because the publicly
dithered rounding of a truncation depends on the mask. The oracle of the gates' tests and of `mpcc run --simulate`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from ..kernels import CPU, Kernels, Prg
from ..plan import Plan
from ..registers import Domain, held, wrapping
from ..transport.channel import Buffer, Keeper
from .dealer import DealerExecutor, Record
from .keys import SEED_BYTES

Array = np.ndarray


class _Nowhere(Keeper):
    """A sink for corrections that nobody needs."""

    def write(self, buffer: Buffer) -> None:
        """Forget it."""


class Simulator:
    """Plain values of every register. entropy: of the noise that parties draw by themselves."""

    def __init__(self, plan: Plan, kernels: Kernels = CPU, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.plan = plan
        self.types = plan.registers
        self.kernels = kernels
        self._dealer = DealerExecutor(plan, kernels)
        self.values: dict[int, Array] = {}
        self.op = 0
        self._entropy = entropy
        self._feeds: Mapping[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._masks: dict[int, Array | None] = {}
        self._record: Record | None = None

    def __getitem__(self, register: int) -> Array:
        return self.values[register]

    def __setitem__(self, register: int, value: Array) -> None:
        t = self.types[register]
        if t.domain is Domain.WORDS and t.bits < 64:
            value = value & np.uint64((1 << t.bits) - 1)
        elif t.domain is Domain.BITS:
            value = value.astype(np.uint8, copy=False)  # a feed of bits comes in words
        self.values[register] = held(value)

    @property
    def owns(self) -> tuple[Prg, Prg]:
        return self.kernels.Prg(self._entropy(SEED_BYTES)), self.kernels.Prg(self._entropy(SEED_BYTES))

    def mask(self, register: int) -> Array:
        mask = self._masks[register]
        return np.zeros_like(self.values[register]) if mask is None else mask

    def mask_share(self, register: int, party: int) -> Array:
        assert self._record is not None
        return self._record.mask_share(register, party)

    def feed(self, name: str) -> Array:
        return self._feeds[name]

    def constant(self, index: int) -> Array:
        return self.plan.constants[index]

    def reveal(self, result: str, value: Array) -> None:
        self._outputs[result] = value

    def execute(
        self,
        procedure: str,
        keys: tuple[bytes, bytes],
        feeds: Mapping[str, Array],
        watch: Callable[[int, int], None] | None = None,
    ) -> dict[str, Array]:
        """Run a procedure on encoded plain values; returns result name -> ring elements.

        keys: those of p0 and p1 for this execution. watch(op, register) is called after each op for each of its
        results.
        """
        record = self._record = self._dealer.record(procedure, keys, (_Nowhere(), _Nowhere()))
        self._dealer.deal(record, forget=False)
        self._masks |= record.masks
        self._feeds, self._outputs = feeds, {}
        for i in record.procedure.order:
            gate, self.op = record.procedure.ops[i].gate, i
            with wrapping():
                gate.meaning(self)
            if watch is not None:
                for register in gate.outs:
                    watch(i, register)
        left = {kept.place: (self.values[kept.made], self._masks[kept.made]) for kept in record.procedure.keeps}
        for place, (value, mask) in left.items():
            self.values[place], self._masks[place] = value, mask
        return self._outputs
