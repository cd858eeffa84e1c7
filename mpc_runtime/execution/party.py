"""A party's side of a plan: one loop over the op-list.

The executor owns registers, counts and the order of work; gates do the arithmetic, the channel and the material source
(see `transport.channel`) do the waiting. It opens no socket, file or thread.

Of the messages of a round (`instructions.py`), at most WINDOW are sent ahead of what has been received, so that neither
side ever holds more than a few messages of the other's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np

from ..analysis.constants import constant_registers
from ..gates import Gate, Secret
from ..gates.base import flat, tiles
from ..gates.streams import PURPOSE_MASK, PURPOSE_SHARE, stream
from ..kernels import CPU, Kernels, Prg
from ..plan import Plan
from ..registers import Domain, Form, held, wrapping
from ..transport.channel import Channel, Source
from .instructions import Instructions, Piece, Step, Where
from .keys import SEED_BYTES
from .masks import MaskShares
from .once import AtWork, Ledger, Once

Array = np.ndarray

Outputs = dict[tuple[str, str], np.ndarray]
"""(result, role) -> what a party sends."""

WINDOW = 6
"""Messages sent ahead of what has been received in the same round."""

Watch: TypeAlias = Callable[[int, int, Array, Array | None], None]
"""watch(op, register, value, mask): what a party holds after an op, for each of its results; `mask` is its share of the
mask of a wire. The arrays are the party's own, which later ops may overwrite."""


@dataclass(frozen=True)
class ExecutionKeys:
    """The keys of one execution: `material` is shared with the dealer, `pair` with the other party; 16 bytes each."""

    material: bytes
    pair: bytes

    def __repr__(self) -> str:
        return "ExecutionKeys(…)"


@dataclass
class Counters:
    """What one execution of so many ops did: message exchanges, payload bytes, corrections, seconds; of each op too."""

    ops: int = 0
    rounds: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    material_bytes: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.op_sent, self.op_received, self.op_material = ([0] * self.ops for _ in range(3))
        self.op_seconds = [0.0] * self.ops


class PartyExecutor:
    """Party `party` (0 or 1) of a plan: any number of executions of its procedures, one after the other.

    kernels: lent to the gates. once: check that every word of a stream is used once (see `once.py`), for tests;
    UsedTwice is raised if one is not. entropy: what this party alone draws its noise from.
    """

    def __init__(
        self,
        plan: Plan,
        party: int,
        channel: Channel,
        kernels: Kernels = CPU,
        *,
        once: bool = False,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.plan, self.party, self.channel, self.kernels = plan, party, channel, kernels
        self.entropy = entropy
        self.once = Once() if once else None
        self.last = Counters()
        self._constants = constant_registers(plan, kernels)
        self._programs = {p.name: Instructions(plan, p) for p in plan.procedures}
        self._kept: dict[int, Array] = {}
        self._kept_masks: dict[int, Array] = {}
        self._kept_operands: dict[int, dict[str, Array]] = {}
        self._preprocessed: Run | None = None

    def preprocess(self, procedure: str, keys: ExecutionKeys, material: Source) -> None:
        """Everything of the execution to come that needs no input: products of masks with what was kept."""
        run = Run(self, procedure, keys, material)
        with wrapping():
            run.compute_ahead()
        self._preprocessed = run

    def execute(
        self,
        procedure: str,
        keys: ExecutionKeys,
        material: Source,
        feeds: MutableMapping[str, Array],
        watch: Watch | None = None,
    ) -> Outputs:
        """One execution. Returns what this party sends: (result, role) -> packed bytes.

        feeds: this party's share of each of the procedure's feeds, taken out as they are used. watch: is shown every
        value, for tests. Raises PeerError when the peer or the dealer is gone, late or sends a wrong length; the
        execution is then burnt.
        """
        run, self._preprocessed = self._preprocessed, None
        with wrapping():
            if run is None or (run.procedure, run.keys) != (procedure, keys):
                run = Run(self, procedure, keys, material)
                run.compute_ahead()
            outputs = run.execute(feeds, watch)
            self._keep(run)
        return outputs

    @property
    def kept(self) -> dict[str, Array]:
        """What executions have left, under names that `restore` understands: for a file."""
        values = {f"value {register}": value for register, value in self._kept.items()}
        return values | {f"mask {register}": mask for register, mask in self._kept_masks.items()}

    def value(self, register: int) -> Array:
        """What executions have left in a register."""
        return self._kept[register]

    def restore(self, kept: Mapping[str, Array]) -> None:
        """Puts in place what executions before this process have left; shares, also for the execution that is
        preprocessed."""
        for name, array in kept.items():
            kind, register = name.split()
            array.flags.writeable = False
            (self._kept if kind == "value" else self._kept_masks)[int(register)] = array
            if self._preprocessed is not None and int(register) in self._preprocessed.program.reads:
                self._preprocessed.values[int(register)] = array

    def _keep(self, run: Run) -> None:
        """What the procedure leaves replaces what was there, with the masks of what is opened."""
        keeps = run.program.keeps
        values = {kept.place: run.values[kept.made] for kept in keeps}
        wires = [kept for kept in keeps if self.plan.registers[kept.made].form is Form.WIRE]
        masks = {kept.place: np.asarray(run.mask(kept.made), order="C") for kept in wires}
        self._kept |= values
        self._kept_masks |= masks
        self._kept_operands = {r: made for r, made in self._kept_operands.items() if r not in values}


class Run(MaskShares):
    """One execution of a procedure: the PartyContext of its gates."""

    def __init__(self, executor: PartyExecutor, procedure: str, keys: ExecutionKeys, material: Source) -> None:
        self.plan = executor.plan
        self.types = executor.plan.registers
        self.party = executor.party
        self.keys = keys
        self.kernels = executor.kernels
        self.at = AtWork()
        self.ledger, pair = self._ledgers(executor.once, procedure)
        self.prg = self.kernels.Prg(keys.material, ledger=self.ledger)
        self.pair = self.kernels.Prg(keys.pair, ledger=pair)
        self.feeds: MutableMapping[str, Array] = {}
        self.outputs: Outputs = {}
        self.op = 0
        self.procedure = procedure
        self.program = executor._programs[procedure]
        self.channel = executor.channel
        self.material = material
        self.executor = executor
        self.counters = Counters(len(self.program.gates))
        kept, masks = executor._kept, executor._kept_masks
        self.values: dict[int, Array] = executor._constants | {r: kept[r] for r in self.program.reads}
        self._masks: dict[int, Array] = {r: masks[r] for r in self.program.reads if r in masks}
        self._operands: dict[int, dict[str, Array]] = {}
        self._ahead: dict[int, tuple[int, Array]] = {}
        self._remember = False
        self._watch: Watch | None = None

    def _ledgers(self, once: Once | None, procedure: str) -> tuple[Ledger | None, Ledger | None]:
        """Of what is used under the material key and under the pair's."""
        if once is None:
            return None, None
        where = partial(self.plan.where, procedure)
        ledger = partial(once.ledger, at=self.at, where=where, halves=True)
        return ledger(self.keys.material), ledger(self.keys.pair)

    def _turn_to(self, op: int, mask: bool = False) -> tuple[int, bool]:
        was = self.op, self.at.mask
        self.op = op
        if self.ledger is not None:
            self.at.op, self.at.mask = op, mask
        return was

    # -- what gates see ------------------------------------------------------------------------------------------------

    @cached_property
    def own(self) -> Prg:
        return self.kernels.Prg(self.executor.entropy(SEED_BYTES))

    def __getitem__(self, register: int) -> Array:
        return self.values[register]

    def __setitem__(self, register: int, value: Array) -> None:
        self.values[register] = held(value)

    def public(self, register: int) -> Array:
        value = self.values[register]
        if self.party == 0:
            return value
        if self.types[register].domain is Domain.PLANES:
            return np.zeros_like(value)  # kernels take planes in one piece
        return np.broadcast_to(value.dtype.type(0), value.shape)

    def mask(self, register: int) -> Array:
        """This party's share of a wire's mask: expanded where a gate uses it, kept until the register's last use."""
        known = self._masks.get(register)
        if known is not None:
            return known
        assert self.types[register].form is Form.WIRE, f"register {register}: wants_mask did not ask for shares"
        op = self.program.producer[register]
        gate, remember = self.program.gates[op], self._remember
        self._remember = remember and gate.is_view(self.types) and gate.ins[0] in self.values  # which is still read
        was = self._turn_to(op, mask=True)
        value = held(gate.mask(self))
        self._turn_to(*was)
        self._remember = remember
        if self._remember:
            self._masks[register] = value
        return value

    def mask_words(self, register: int, start: int, n: int) -> Array:
        op = self._streamed(register)
        if op is not None:
            was = self._turn_to(op, mask=True)
            words = self.prg.words(stream(PURPOSE_MASK, op), n, start)
            self._turn_to(*was)
            return words
        return flat(self.mask(register))[start : start + n]

    def unmasked(self, register: int) -> Array:
        return self.with_mask(register, self.values[register], -1) if self.party == 0 else -self.mask(register)

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array:
        op, bits, hat = self._streamed(register), self.types[register].bits, flat(self.values[register])
        if op is None:
            return self.kernels.square_sums(hat, flat(self.mask(register)), shape, self.party, bits, shift)
        was = self._turn_to(op, mask=True)
        pad = stream(PURPOSE_MASK, op)
        sums = self.kernels.square_sums(hat, None, shape, self.party, bits, shift, self.prg, pad)
        self._turn_to(*was)
        return sums

    def _maker(self, register: int) -> tuple[int, Gate] | None:
        assert self.types[register].form is Form.WIRE, f"register {register}: wants_mask did not ask for shares"
        op = self.program.producer.get(register)
        return None if op is None or register in self._masks else (op, self.program.gates[op])

    def affine(self, register: int) -> Array:
        return self._operand("affine", register, self.unmasked)

    def halved(self, register: int, keep: bool) -> Array:
        return self._operand("halved", register, self._halved) if keep else self._halved(register)

    def _halved(self, register: int) -> Array:
        hat = self.values[register]
        return self.with_mask(register, hat, -1, twice=True) if self.party == 0 else self.with_mask(register, hat)

    def _operand(self, kind: str, register: int, make: Callable[[int], Array]) -> Array:
        kept = self.executor._kept_operands if register in self.program.reads else self._operands
        made = kept.setdefault(register, {})
        return made[kind] if kind in made else made.setdefault(kind, make(register))

    @property
    def seeded(self) -> bool:
        return self.program.receivers[self.op] != self.party

    def may_overwrite(self, register: int) -> bool:
        return register in self.program.overwritable.get(self.op, ())

    def take_ahead(self) -> tuple[int, Array] | None:
        return self._ahead.pop(self.op, None)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return self.program.secrets[self.op]

    def secret(self, slot: int, start: int, n: int) -> Array:
        """Elements [start, start + n) of this op's secret. Slots of one tile are asked for in order."""
        spec = self.secrets[slot]
        if self.seeded:
            return spec.expand(self.kernels, self.prg, stream(PURPOSE_SHARE, self.op, slot), start, n)
        return spec.unpack(self.kernels, self._received(slot, start, n), n)

    def add_secret(self, slot: int, words: Array, out: Array) -> None:
        if self.seeded:
            self.prg.add_words(stream(PURPOSE_SHARE, self.op, slot), words, out=out)
            return
        if out is not words:
            np.copyto(out, words)
        for start, n in tiles(out.size):
            self.secrets[slot].add(self.kernels, self._received(slot, start, n), out[start : start + n])

    def _received(self, slot: int, start: int, n: int) -> memoryview:
        """What the dealer sent of elements [start, start + n) of this op's secret."""
        if self.ledger is not None:
            self.ledger.receive(slot, start, n)
        size = self.secrets[slot].size(n)
        self.counters.material_bytes += size
        self.counters.op_material[self.op] += size
        return self.material.read(size, Where(self.plan, self.procedure, self.op))

    def feed(self, name: str) -> Array:
        return self.feeds.pop(name)

    def reveal(self, result: str, role: str, packed: Array) -> None:
        assert self.program.gates[self.op].reveals, "a gate reveals what its class keeps from the manifest"
        self.outputs[result, role] = packed

    # -- the loop ------------------------------------------------------------------------------------------------------

    def compute_ahead(self) -> None:
        for i, gate, known in self.program.ahead:
            self._turn_to(i)
            self._ahead[i] = known, gate.ahead(self, known)

    def execute(self, feeds: MutableMapping[str, Array], watch: Watch | None = None) -> Outputs:
        begin = time.perf_counter()
        self._remember = True
        self._watch = watch
        self.feeds = feeds
        for r, messages in zip(self.program.rounds, self.program.messages, strict=True):
            self._compute(r.before)
            if r.opens:
                self._exchange(r.opens, r.overlap, messages)
        self.counters.seconds = time.perf_counter() - begin
        self.executor.last = self.counters
        return self.outputs

    def _compute(self, ops: Sequence[int]) -> None:
        """Local ops, one after the other."""
        steps, seconds = self.program.steps, self.counters.op_seconds
        before = time.perf_counter()
        for i in ops:
            step = steps[i]
            self._turn_to(i)
            if step.evaluate is not None:
                step.evaluate(self)
            self._finish(step)
            now = time.perf_counter()
            seconds[i] += now - before
            before = now

    def _exchange(
        self,
        opens: tuple[int, ...],
        overlap: tuple[int, ...],
        messages: list[tuple[int, list[Piece]]],
    ) -> None:
        begin = time.perf_counter()
        buffers: dict[int, tuple[Array, Array]] = {}
        self.counters.rounds += 1
        received = 0
        for sent, (size, pieces) in enumerate(messages):
            self.channel.send(self._pack(size, pieces, buffers))
            if sent - received >= WINDOW:
                self._absorb(*messages[received], buffers)
                received += 1
        first = opens[0]
        self.counters.op_seconds[first] += time.perf_counter() - begin
        self._compute(overlap)
        begin = time.perf_counter()
        for size, pieces in messages[received:]:
            self._absorb(size, pieces, buffers)
        for i in opens:
            self._turn_to(i)
            _, masked = buffers.pop(i)
            self.program.opens[i].end(self, masked)
            self._finish(self.program.steps[i])
        self.counters.op_seconds[first] += time.perf_counter() - begin

    def _pack(self, size: int, pieces: list[Piece], buffers: dict[int, tuple[Array, Array]]) -> Array:
        message = np.empty(size, np.uint8)
        at = 0
        for piece in pieces:
            gate = self.program.opens[piece.op]
            self._turn_to(piece.op)
            if piece.op not in buffers:
                buffers[piece.op] = gate.begin(self)
            x, masked = buffers[piece.op]
            gate.pack(self, x, masked, piece.start, piece.n, message[at : at + piece.size])
            self.counters.op_sent[piece.op] += piece.size
            at += piece.size
        self.counters.sent_bytes += size
        return message

    def _absorb(self, size: int, pieces: list[Piece], buffers: dict[int, tuple[Array, Array]]) -> None:
        message = np.frombuffer(self.channel.recv(size, Where(self.plan, self.procedure, pieces[0].op)), np.uint8)
        at = 0
        for piece in pieces:
            self._turn_to(piece.op)
            gate, (_, masked) = self.program.opens[piece.op], buffers[piece.op]
            gate.absorb(self, masked, piece.start, piece.n, message[at : at + piece.size])
            self.counters.op_received[piece.op] += piece.size
            at += piece.size
        self.counters.received_bytes += size

    def _finish(self, step: Step) -> None:
        if self._watch is not None:
            self._show(step.op, self._watch)
        for register in step.freed:
            del self.values[register]
        for register in step.forgotten:
            self._masks.pop(register, None)
            self._operands.pop(register, None)

    def _show(self, i: int, watch: Watch) -> None:
        remember, self._remember = self._remember, False  # what is watched runs as if it were not
        for register in self.program.gates[i].outs:
            wire = self.types[register].form is Form.WIRE
            watch(i, register, self.values[register], self.mask(register) if wire else None)
        self._remember = remember
