"""The dealer's side of a plan: the same op-list, read on masks.

No interaction and no input: from the two keys of an execution it derives the masks and writes, op after op, the
corrections that one of the parties is sent. It opens no socket, file or thread; a sink (see `transport.channel`) may
hold it back.
"""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..constants import constant_registers
from ..gates import Constant as ConstantGate
from ..gates import Planes, Product, Reveal, Secret, Words
from ..gates.base import PURPOSE_SHARE, stream
from ..plan import Plan, Procedure
from ..registers import BLOCK, Form, held, wrapping
from ..transport.channel import Sink

Array = np.ndarray
MaskShares = tuple[dict[int, Array], dict[int, Array]]


class DealerExecutor:
    """The dealer of a plan. `setup` once for each set of parameters, then any number of `run`s for its masks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._uses = {p.name: _last_uses(p) for p in plan.procedures}
        self._kept: dict[int, Array | None] = {}
        run = plan.procedure("run")
        made = {r for op in run.ops for r in op.gate.outs}
        self._kept_shares: MaskShares = ({}, {})
        self._keep = sorted({r for op in run.ops for r in op.gate.ins} - made)

    def setup(self, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> int:
        """Deal a setup record; returns the bytes of its corrections. keys: 16 bytes for p0, 16 bytes for p1."""
        record = Record(self.plan, "setup", keys, sinks, {}, ({}, {}))
        record.deal(None)
        self._kept = {r: record.masks[r] for r in self._keep}
        self._kept_shares = kept_mask_shares(self.plan, record)
        return record.written

    def run(self, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> int:
        """Deal a run for the masks of the last setup; returns the bytes of its corrections."""
        record = Record(self.plan, "run", keys, sinks, self._kept, self._kept_shares)
        record.deal(self._uses["run"])
        return record.written


def kept_mask_shares(plan: Plan, setup: Record) -> MaskShares:
    """Both parties' shares of the masks that `setup` left, where a run's halved products ask for them."""
    run = plan.procedure("run")
    if not any(isinstance(op.gate, Product) and op.gate.half for op in run.ops):
        return {}, {}
    made = {r for op in run.ops for r in op.gate.outs}
    foreign = {r for op in run.ops for r in op.gate.ins} - made
    wires = sorted(r for r in foreign if plan.registers[r].form is Form.WIRE)
    return {r: setup.mask_share(r, 0) for r in wires}, {r: setup.mask_share(r, 1) for r in wires}


class MaskExpansion:
    """A party's shares of the masks of wires, expanded as that party does: as much of its context as that needs."""

    def __init__(
        self,
        plan: Plan,
        procedure: str,
        party: int,
        prg: kernels.Prg,
        constants: dict[int, Array],
        kept: dict[int, Array],
    ) -> None:
        self.types = plan.registers
        self.party = party
        self.prg = prg
        self.op = 0
        self._gates = [op.gate for op in plan.procedure(procedure).ops]
        self._producer = {r: i for i, gate in enumerate(self._gates) for r in gate.outs}
        self._constants = constants
        self._kept = kept

    def __getitem__(self, register: int) -> Array:
        return self._constants[register]

    def mask(self, register: int) -> Array:
        if register in self._kept:
            return self._kept[register]
        saved, self.op = self.op, self._producer[register]
        mask = held(self._gates[self.op].mask(self))  # type: ignore[arg-type]  # for a mask they ask nothing more of it
        self.op = saved
        return mask


class Record:
    """One execution: the DealerContext of the gates. `masks` has masks and offsets by register (None stands for 0)."""

    def __init__(
        self,
        plan: Plan,
        procedure: str,
        keys: tuple[bytes, bytes],
        sinks: tuple[Sink, Sink],
        kept: dict[int, Array | None],
        kept_shares: MaskShares,
    ) -> None:
        self.plan = plan
        self.types = plan.registers
        self.procedure = plan.procedure(procedure)
        self.prgs = kernels.Prg(keys[0]), kernels.Prg(keys[1])
        self.sinks = sinks
        self.masks: dict[int, Array | None] = dict(kept)
        self.op = 0
        self.receiver = 0
        self.elements = 0
        self.written = 0
        self._constants = constant_registers(plan)
        self._expansions = tuple(
            MaskExpansion(plan, procedure, party, prg, self._constants, kept_shares[party])
            for party, prg in enumerate(self.prgs)
        )

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

    def constant(self, register: int) -> Array:
        """A constant of the plan, which the dealer knows too."""
        return self._constants[register]

    def share(self, slot: int, spec: Secret, start: int, value: Array) -> None:
        prg = self.prgs[1 - self.receiver]
        pad = stream(PURPOSE_SHARE, self.op, slot)
        if isinstance(spec, Words):
            packed = np.empty(spec.size(value.size), np.uint8)
            kernels.share_pack(prg, pad, value, spec.bits, packed, start)
        else:
            assert isinstance(spec, Planes)
            n = min(self.elements - start, value.shape[0] * BLOCK)
            packed = np.empty(spec.size(n), np.uint8)
            kernels.planes_share_pack(prg, pad, value, n, packed, start_block=start // BLOCK)
        self.send(packed)

    def send(self, packed: Array) -> None:
        self.written += packed.size
        self.sinks[self.receiver].write(packed)

    def deal(self, last_uses: dict[int, list[int]] | None) -> None:
        """Every op in the plan's order. last_uses: registers to forget after an op (None: keep all)."""
        for i in self.procedure.order:
            op = self.procedure.ops[i]
            self.op, self.receiver = i, op.receiver
            if isinstance(op.gate, ConstantGate):
                self.masks[op.gate.y] = None
                continue
            if isinstance(op.gate, Reveal):
                continue
            self.elements = op.gate.elements(self.types)
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
