"""The dealer's side of a plan: the same op-list, read on masks.

No interaction and no input: from the two keys of an execution it derives the masks and writes, op after op, the
corrections that one of the parties is sent. It opens no socket, file or thread; a sink (see `transport.channel`) may
hold it back.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache, partial
from typing import TypeAlias

import numpy as np

from ..analysis.constants import constant_registers
from ..gates import Gate, Secret
from ..gates.base import flat
from ..gates.streams import PURPOSE_MASK, PURPOSE_SHARE, stream
from ..kernels import CPU, Kernels, Prg
from ..plan import Plan
from ..procedure import Procedure
from ..registers import Form, held, wrapping
from ..transport.channel import Sink
from .masks import MaskShares
from .once import AtWork, Once

Array = np.ndarray
DEALER = 2
"""Beside the numbers of the parties, for kernels."""


class DealerExecutor:
    """The dealer of a plan: any number of records for its procedures, each for the masks that those before it left.

    kernels: lent to the gates. once: check that every word of a stream is used once (see `once.py`), for tests;
    UsedTwice is raised if one is not.
    """

    def __init__(self, plan: Plan, kernels: Kernels = CPU, *, once: bool = False) -> None:
        self.plan = plan
        self.kernels = kernels
        self._once = Once() if once else None
        self._constants = constant_registers(plan, kernels)
        self._secrets = {p.name: [gate.secrets(plan.registers) for gate in p.gates] for p in plan.procedures}
        self._kept: dict[int, Array | None] = {}
        self._kept_shares: tuple[KeptShares, KeptShares] = {}, {}

    def execute(self, procedure: str, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> int:
        """Deal a record; returns the bytes of its corrections. keys: 16 bytes for p0, 16 bytes for p1."""
        record = self.record(procedure, keys, sinks)
        self.deal(record)
        return record.written

    def record(self, procedure: str, keys: tuple[bytes, bytes], sinks: tuple[Sink, Sink]) -> Record:
        """A record that is to be dealt."""
        kept, shares = self._kept, self._kept_shares
        secrets = self._secrets[procedure]
        return Record(
            self.plan, procedure, keys, sinks, self.kernels, self._constants, secrets, kept, shares, self._once
        )

    def deal(self, record: Record, forget: bool = True) -> None:
        """Deal a record; what it leaves replaces what was there. forget: drop the masks that
        are not needed."""
        record.deal(forget)
        for kept in record.procedure.keeps:
            self._kept[kept.place] = record.masks[kept.made]
            for party in (0, 1) if record.types[kept.made].form is Form.WIRE else ():
                self._kept_shares[party][kept.place] = record.share_of_kept_mask(kept.made, party)


class MaskExpansion(MaskShares):
    """A party's shares of the masks of wires, expanded as that party does: the MaskContext of the gates."""

    def __init__(
        self,
        plan: Plan,
        procedure: Procedure,
        party: int,
        kernels: Kernels,
        prg: Prg,
        constants: Mapping[int, Array],
        kept: KeptShares,
        at: AtWork,
        wanted: Container[int],
    ) -> None:
        self.types = plan.registers
        self.kernels = kernels
        self.party = party
        self.prg = prg
        self.op = 0
        self._at = at
        self._ops, self._producer = procedure.ops, procedure.producer
        self._constants = constants
        self._kept = {r: kept[r] for r in procedure.reads if r in kept}
        self.known: dict[int, Array] = {}
        """Shares that were expanded for a view of them, and that are wanted once more."""
        self._wanted = wanted
        self._viewed = False

    def __getitem__(self, register: int) -> Array:
        return self._constants[register]

    def mask(self, register: int) -> Array:
        if register in self._kept:
            return self._kept[register]()
        known = self.known.get(register)
        if known is not None:
            return known
        remember = self._viewed and register in self._wanted
        op = self._producer[register]
        was = self._turn_to(op, mask=True)
        gate = self._ops[op].gate
        self._viewed = gate.is_view(self.types)
        mask = held(gate.mask(self))
        self._viewed = False
        self._turn_to(*was)
        if remember:
            self.known[register] = mask
        return mask

    def _maker(self, register: int) -> tuple[int, Gate] | None:
        op = None if register in self.known else self._producer.get(register)
        return None if op is None else (op, self._ops[op].gate)

    def _turn_to(self, op: int, mask: bool = False) -> tuple[int, bool]:
        was = self._at.op, self._at.mask
        self.op = self._at.op = op
        self._at.mask = mask
        return was

    def square_sums(self, register: int, mask: Array, shape: tuple[int, int, int], shift: int, bits: int) -> Array:
        """What the dealer knows of them: of the mask, and of this party's share where what is squared is shifted."""
        if not shift:
            return self.kernels.square_sums(mask, None, shape, DEALER, bits)
        op = self._streamed(register)
        if op is None:
            return self.kernels.square_sums(mask, flat(self.mask(register)), shape, DEALER, bits, shift)
        was = self._turn_to(op, mask=True)
        pad = stream(PURPOSE_MASK, op)
        sums = self.kernels.square_sums(mask, None, shape, DEALER, bits, shift, self.prg, pad)
        self._turn_to(*was)
        return sums


KeptShares: TypeAlias = dict[int, Callable[[], Array]]
"""Register that an earlier execution left -> a party's share of its mask, expanded when one first asks for it."""


class Record:
    """One execution: the DealerContext of the gates. `masks` has masks and offsets by register (None stands for 0)."""

    def __init__(
        self,
        plan: Plan,
        procedure: str,
        keys: tuple[bytes, bytes],
        sinks: tuple[Sink, Sink],
        kernels: Kernels,
        constants: Mapping[int, Array],
        secrets: Sequence[tuple[Secret, ...]],
        kept: Mapping[int, Array | None],
        kept_shares: tuple[KeptShares, KeptShares],
        once: Once | None = None,
    ) -> None:
        self.plan = plan
        self.types = plan.registers
        self.procedure = plan.procedure(procedure)
        self.kernels = kernels
        at = self.at = AtWork()
        where = partial(plan.where, procedure)
        ledgers = [None if once is None else once.ledger(key, at, where, halves=False) for key in keys]
        self.prgs = kernels.Prg(keys[0], ledger=ledgers[0]), kernels.Prg(keys[1], ledger=ledgers[1])
        self.sinks = sinks
        self.masks: dict[int, Array | None] = {
            r: None if self.types[r].form is Form.SHARED else kept[r] for r in self.procedure.reads
        }
        self.op = 0
        self.receiver = 0
        self.written = 0
        self._constants, self._secrets = constants, secrets
        self._expansions = [
            MaskExpansion(
                plan, self.procedure, party, kernels, self.prgs[party], constants, kept_shares[party], at, self.masks
            )
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

    def add_mask_share(self, words: Array, register: int, party: int, twice: bool = False) -> Array:
        return self._expansions[party].with_mask(register, words, twice=twice)

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array:
        mask, bits = flat(self.mask(register)), self.types[register].bits
        return self._expansions[1].square_sums(register, mask, shape, shift, bits)

    def share_of_kept_mask(self, register: int, party: int) -> Callable[[], Array]:
        """`mask_share` for executions to come, which seldom ask for it."""
        expansion = self._expansions[party]
        return cache(lambda: expansion.mask(register))

    def constant(self, register: int) -> Array:
        """A constant of the plan, which the dealer knows too."""
        return self._constants[register]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return self._secrets[self.op]

    def share(self, slot: int, start: int, n: int, value: Array) -> None:
        spec, pad = self.secrets[slot], stream(PURPOSE_SHARE, self.op, slot)
        packed = self.room(spec.size(n))
        spec.pack(self.kernels, self.prgs[1 - self.receiver], pad, start, n, value, packed)
        self.send(packed)

    def room(self, nbytes: int) -> Array:
        return self.sinks[self.receiver].room(nbytes)

    def send(self, packed: Array) -> None:
        self.written += packed.size
        self.sinks[self.receiver].write(packed)

    def deal(self, forget: bool) -> None:
        """Every op in the plan's order. forget: drop masks after their last use."""
        last_uses = self.procedure.last_uses if forget else {}
        with wrapping():
            for i in self.procedure.order:
                op = self.procedure.ops[i]
                self.op = self.at.op = i
                self.receiver = op.receiver
                op.gate.deal(self)
                for register in last_uses.get(i, ()):
                    self.masks.pop(register, None)
                    for expansion in self._expansions:
                        expansion.known.pop(register, None)
