"""A whole plan in one process, with every register kept: what each party held, what the dealer knew, what it means.

The plan is saved and loaded, as servers have it, and what arrives (shares, messages, material) is read-only and lies
across the boundaries of words.

t = trace(plan, {"run": {"x": words}})
t.value(register)            # rebuilt from both parties' shares and the dealer's masks and offsets
t.assert_exact()             # ... equals the gates' ring meaning, in every register of the plan
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc_runtime.execution.dealer import DealerExecutor
from mpc_runtime.execution.party import Counters, ExecutionKeys, PartyExecutor, Watch
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.gates import Gate, Input
from mpc_runtime.kernels import CPU, Kernels, planes_to_bits
from mpc_runtime.plan import Plan
from mpc_runtime.procedure import Procedure
from mpc_runtime.registers import Domain, Form, Register, wrapping
from tests.loaded import displaced, loaded, stubborn
from tests.memory_channel import channel_pair, material_pipe

Array = np.ndarray
U = np.uint64
STAGES = ("setup", "run")
KEYS = {
    stage: (bytes([0x10 + i]) * 16, bytes([0x20 + i]) * 16, bytes([0x30 + i]) * 16) for i, stage in enumerate(STAGES)
}
"""stage -> (material key of p0, of p1, key between the parties)."""


@dataclass
class Trace:
    """values, masks: by party and register, as the party held them. received: (op, bytes) of a party, in its order."""

    plan: Plan
    simulator: Simulator
    values: tuple[dict[int, Array], dict[int, Array]] = field(default_factory=lambda: ({}, {}))
    masks: tuple[dict[int, Array], dict[int, Array]] = field(default_factory=lambda: ({}, {}))
    sent: dict[str, tuple[list[bytes], list[bytes]]] = field(default_factory=dict)
    corrections: dict[str, tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]] = field(default_factory=dict)
    dealt: dict[str, int] = field(default_factory=dict)
    stats: dict[str, list[Counters]] = field(default_factory=dict)
    outputs: list[dict[tuple[str, str], Array]] = field(default_factory=list)
    results: dict[str, Array] = field(default_factory=dict)

    def value(self, register: int) -> Array:
        """The value that the parties hold between them, reduced to the register's ring."""
        t = self.plan.registers[register]
        a, b = (self.values[i][register] for i in (0, 1))
        mask = self.simulator.mask(register)
        with wrapping():
            return self._rebuilt(register, t, a, b, mask)

    def _rebuilt(self, register: int, t: Register, a: Array, b: Array, mask: Array) -> Array:
        if t.form.additive:
            return self._clean(register, self._add(register, self._add(register, a, b), mask))
        assert np.array_equal(self._clean(register, a), self._clean(register, b)), (
            "the parties disagree on a public value"
        )
        if t.form is Form.WIRE:
            own = self._add(register, *(m[register] for m in self.masks))
            assert np.array_equal(self._clean(register, own), self._clean(register, mask)), (
                "the mask is not the sum of shares"
            )
        return self._clean(
            register, a - mask if t.domain is Domain.WORDS and t.form.masked else self._add(register, a, mask)
        )

    def meaning(self, register: int) -> Array:
        return self._clean(register, self.simulator.values[register])

    def assert_exact(self) -> None:
        """Every register of both procedures means what the parties hold."""
        for procedure in self.plan.procedures:
            for i, op in enumerate(procedure.ops):
                for register in op.gate.outs:
                    got, expected = self.value(register), self.meaning(register)
                    assert got.shape == expected.shape, (procedure.name, i, op.gate, got.shape, expected.shape)
                    assert np.array_equal(got, expected), (procedure.name, i, op.gate)

    def _add(self, register: int, a: Array, b: Array) -> Array:
        return a + b if self.plan.registers[register].domain is Domain.WORDS else a ^ b

    def _clean(self, register: int, a: Array) -> Array:
        """Only what counts: words mod 2^bits, bits of the elements that there are ([n, planes] for planes)."""
        t = self.plan.registers[register]
        if t.domain is Domain.WORDS:
            return a if t.bits == 64 else a & U((1 << t.bits) - 1)
        if t.domain is Domain.BITS:
            return a & np.uint8(1)
        assert a.shape == (-(-t.size // 512), t.planes, 8), a.shape
        return np.stack([planes_to_bits(np.ascontiguousarray(a), t.size, p) for p in range(t.planes)], axis=1)


def trace(
    plan: Plan,
    feeds: Mapping[str, Mapping[str, Array]],
    keys: Mapping[str, tuple[bytes, bytes, bytes]] = KEYS,
    seed: int | Divide = 0,
    preprocess: bool = False,
    observe: bool = True,
    kernels: Kernels = CPU,
) -> Trace:
    """Run every procedure. feeds: stage -> feed -> ring elements (bits as 0 and 1; planes as planes).

    seed: of the shares of inputs, or a way to make them. preprocess: let the parties work ahead, as a session does.
    observe: keep registers, compare with the simulator, and check that every word is used once; without it only
    messages, counts and outputs are kept.
    kernels: what all machines compute with.
    """
    plan = loaded(plan)
    simulator = Simulator(plan, kernels)
    out = Trace(plan, simulator)
    divide = random_shares(seed) if isinstance(seed, int) else seed
    channels = channel_pair(20.0)
    dealer = DealerExecutor(plan, kernels, once=observe)
    parties = [PartyExecutor(plan, i, channels[i], kernels, once=observe) for i in (0, 1)]

    for stage in STAGES:
        procedure = plan.procedure(stage)
        shares = split(plan, procedure, feeds.get(stage, {}), divide)
        out.sent[stage], out.corrections[stage] = ([], []), ([], [])
        pipes = [material_pipe(20.0) for _ in (0, 1)]
        out.dealt[stage] = dealer.execute(stage, keys[stage][:2], (pipes[0][0], pipes[1][0]))
        out.outputs = _parties(out, stage, parties, channels, pipes, keys[stage], shares, preprocess, observe)
        out.stats[stage] = [p.last for p in parties]
        if observe:
            out.results = simulator.execute(stage, keys[stage][:2], feeds.get(stage, {}))
    return out


class _RecordingChannel:
    def __init__(self, channel: Any, sent: list[bytes]) -> None:
        self.channel, self.messages = channel, sent

    def send(self, buffer: Any) -> None:
        self.messages.append(bytes(buffer))
        self.channel.send(buffer)

    def recv(self, nbytes: int, at: object) -> memoryview:
        return displaced(self.channel.recv(nbytes, at))


class _RecordingSource:
    def __init__(self, source: Any, read: list[tuple[int, bytes]]) -> None:
        self.source, self.pieces = source, read

    def read(self, nbytes: int, at: Any) -> memoryview:
        piece = self.source.read(nbytes, at)
        self.pieces.append((at.op, bytes(piece)))
        return displaced(piece)


def _parties(
    out: Trace,
    stage: str,
    parties: list[PartyExecutor],
    channels: Any,
    pipes: Any,
    keys: tuple[bytes, bytes, bytes],
    shares: tuple[dict[str, Array], dict[str, Array]],
    preprocess: bool,
    observe: bool,
) -> list[dict[tuple[str, str], Array]]:
    outputs: list[dict[tuple[str, str], Array]] = [{}, {}]
    errors: list[BaseException] = []

    def keeper(i: int) -> Watch:
        def keep(op: int, register: int, value: Array, mask: Array | None) -> None:
            out.values[i][register] = np.array(value)
            if mask is not None:
                out.masks[i][register] = np.array(mask)

        return keep

    def work(i: int) -> None:
        party = parties[i]
        party.channel = _RecordingChannel(channels[i], out.sent[stage][i])
        material = _RecordingSource(pipes[i][1], out.corrections[stage][i])
        execution = ExecutionKeys(keys[i], keys[2])
        try:
            if preprocess and out.plan.procedure(stage).ahead:
                party.preprocess(stage, execution, material)
            outputs[i] = party.execute(stage, execution, material, shares[i], keeper(i) if observe else None)
        except BaseException as e:
            errors.append(e)
            channels[i].close(str(e))

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return outputs


Divide = Callable[[str, int, Array], Array]
"""(feed, register, value) -> the share of party 0."""


def random_shares(seed: int) -> Divide:
    """Random 64-bit words whatever the ring, random bits."""
    random = np.random.default_rng(seed)

    def divide(feed: str, register: int, x: Array) -> Array:
        return np.asarray(random.integers(0, 1 << 64 if x.dtype == np.uint64 else 2, x.shape, x.dtype))

    return divide


def split(
    plan: Plan, procedure: Procedure, feeds: Mapping[str, Array], divide: Divide
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both parties' shares of the inputs of a procedure."""
    shares: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    for op in procedure.ops:
        gate: Gate = op.gate
        if not isinstance(gate, Input):
            continue
        x = feeds[gate.feed]
        if gate.public:
            shares[0][gate.feed] = shares[1][gate.feed] = stubborn(x)
            continue
        first = divide(gate.feed, gate.y, x)
        words = plan.registers[gate.y].domain is Domain.WORDS
        second = np.asarray(np.subtract(x, first) if words else x ^ first)
        shares[0][gate.feed], shares[1][gate.feed] = stubborn(first), stubborn(second)
    return shares
