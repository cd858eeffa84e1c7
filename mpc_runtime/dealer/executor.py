"""The dealer's side of a plan: the same op-list, read on masks.

No interaction and no input: from the two keys of an execution it derives the masks and writes, op after op, the
corrections that one of the parties is sent. It opens no socket, file or thread; a sink (see `transport.channel`) may
hold it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from .. import kernels
from ..constants import constant_registers
from ..gates import Secret
from ..gates.base import PURPOSE_SHARE, stream
from ..plan import Plan, Procedure
from ..registers import held, wrapping
from ..transport.channel import Sink

Array = np.ndarray


class DealerExecutor:
    """The dealer of a plan. `setup` once for each set of parameters, then any number of `run`s for its masks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._uses = {p.name: _last_uses(p) for p in plan.procedures}
        self._kept: dict[int, Array | None] = {}
        run = plan.procedure("run")
        made = {r for op in run.ops for r in op.gate.outs}
        self._expansions: Expansions = {}, {}
        self._keep = sorted({r for op in run.ops for r in op.gate.ins} - made)

    def setup(self, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> int:
        """Deal a setup record; returns the bytes of its corrections. keys: 16 bytes for p0, 16 bytes for p1."""
        record = Record(self.plan, "setup", keys, sinks, {}, ({}, {}))
        record.deal(None)
        self._kept = {r: record.masks[r] for r in self._keep}
        self._expansions = record.expansions_of(self._keep)
        return record.written

    def run(self, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> int:
        """Deal a run for the masks of the last setup; returns the bytes of its corrections."""
        record = Record(self.plan, "run", keys, sinks, self._kept, self._expansions)
        record.deal(self._uses["run"])
        return record.written


class MaskExpansion:
    """A party's shares of the masks of wires, expanded as that party does: the MaskContext of the gates."""

    def __init__(
        self,
        plan: Plan,
        procedure: str,
        party: int,
        prg: kernels.Prg,
        constants: dict[int, Array],
        kept: Mapping[int, MaskExpansion],
    ) -> None:
        self.types = plan.registers
        self.party = party
        self.prg = prg
        self.op = 0
        self._gates = [op.gate for op in plan.procedure(procedure).ops]
        self._producer = {r: i for i, gate in enumerate(self._gates) for r in gate.outs}
        self._constants = constants
        self._kept = kept
        self._remembered: dict[int, Array] = {}

    def __getitem__(self, register: int) -> Array:
        return self._constants[register]

    def mask(self, register: int) -> Array:
        if register in self._kept:
            return self._kept[register].remembered(register)
        saved, self.op = self.op, self._producer[register]
        mask = held(self._gates[self.op].mask(self))
        self.op = saved
        return mask

    def remembered(self, register: int) -> Array:
        """The same for executions to come: expanded when one first asks for it."""
        if register not in self._remembered:
            self._remembered[register] = self.mask(register)
        return self._remembered[register]


Expansions: TypeAlias = tuple[Mapping[int, MaskExpansion], Mapping[int, MaskExpansion]]
"""For each party: register that an earlier procedure left -> what expands that party's share of its mask."""


class Record:
    """One execution: the DealerContext of the gates. `masks` has masks and offsets by register (None stands for 0)."""

    def __init__(
        self,
        plan: Plan,
        procedure: str,
        keys: tuple[bytes, bytes],
        sinks: tuple[Sink, Sink],
        kept: dict[int, Array | None],
        expansions: Expansions,
    ) -> None:
        self.plan = plan
        self.types = plan.registers
        self.procedure = plan.procedure(procedure)
        self.prgs = kernels.Prg(keys[0]), kernels.Prg(keys[1])
        self.sinks = sinks
        self.masks: dict[int, Array | None] = dict(kept)
        self.op = 0
        self.receiver = 0
        self.written = 0
        self._constants = constant_registers(plan)
        self._expansions = [
            MaskExpansion(plan, procedure, party, self.prgs[party], self._constants, expansions[party])
            for party in (0, 1)
        ]

    def __getitem__(self, register: int) -> Array | None:
        return self.masks[register]

    def __setitem__(self, register: int, value: Array | None) -> None:
        self.masks[register] = None if value is None else held(value)

    def mask(self, register: int) -> Array:
        """The mask of a masked value, which is never absent."""
        mask = self.masks[register]
        assert mask is not None, f"register {register} has no mask"
        return mask

    def mask_share(self, register: int, party: int) -> Array:
        return self._expansions[party].mask(register)

    def expansions_of(self, registers: Iterable[int]) -> Expansions:
        """What later executions need to expand the shares of these masks, which they seldom do."""
        p0, p1 = (dict.fromkeys(registers, expansion) for expansion in self._expansions)
        return p0, p1

    def constant(self, register: int) -> Array:
        """A constant of the plan, which the dealer knows too."""
        return self._constants[register]

    def share(self, slot: int, spec: Secret, start: int, value: Array) -> None:
        pad = stream(PURPOSE_SHARE, self.op, slot)
        elements = self.procedure.ops[self.op].gate.elements(self.types)
        self.send(spec.pack(self.prgs[1 - self.receiver], pad, start, elements, value))

    def send(self, packed: Array) -> None:
        self.written += packed.size
        self.sinks[self.receiver].write(packed)

    def deal(self, last_uses: dict[int, list[int]] | None) -> None:
        """Every op in the plan's order. last_uses: registers to forget after an op (None: keep all)."""
        for i in self.procedure.order:
            op = self.procedure.ops[i]
            self.op, self.receiver = i, op.receiver
            with wrapping():
                op.gate.deal(self)
            if last_uses is not None:
                for register in last_uses.get(i, ()):
                    self.masks.pop(register, None)


def _last_uses(procedure: Procedure) -> dict[int, list[int]]:
    last: dict[int, int] = {}
    for i in procedure.order:
        for register in (*procedure.ops[i].gate.ins, *procedure.ops[i].gate.outs):
            last[register] = i
    made = {r for op in procedure.ops for r in op.gate.outs}
    out: dict[int, list[int]] = {}
    for register, i in last.items():
        if register in made:
            out.setdefault(i, []).append(register)
    return out
