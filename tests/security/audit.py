"""PROTOCOLS' rules R1 to R3, read off a run: every word of a stream that padded something, every byte that was sent.

R1  every message has pad words of its own in the sender's (or the other half's) stream; no word pads two
R2  the value in an opening depends on pads of earlier openings only
R3  a message is reduced before it is sent, and a mask has the full shape of what it masks
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mpc_runtime import kernels
from mpc_runtime.gates import Gate, Noise, Open, Planes, Samples, Secret, Words
from mpc_runtime.gates.streams import PURPOSE_MASK, PURPOSE_NOISE, PURPOSE_OUTPUT, PURPOSE_SHARE, stream
from mpc_runtime.plan import Plan
from mpc_runtime.procedure import Procedure
from mpc_runtime.registers import Domain
from tests.streams import Pad, Real, StandIns
from tests.traced import KEYS, STAGES, Trace, trace

Array = np.ndarray
U = np.uint64


class Audited(Real):
    """A stream that works as ever and remembers what it padded and which streams were read."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.padded: list[Pad] = []
        self.read: set[int] = set()
        self.output: list[tuple[int, int, int]] = []

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        self.read.add(stream)
        return super().words(stream, n, start)

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        self.read.add(stream)
        return super().planes(stream, n, planes, start_block)

    def fill(self, stream: int, out: Array, offset: int = 0) -> None:
        self.read.add(stream)
        super().fill(stream, out, offset)

    def add_words(self, stream: int, x: Array, out: Array | None = None, start: int = 0, twice: bool = False) -> Array:
        self.output.append((+1, stream, x.size))
        return super().add_words(stream, x, out, start, twice)

    def sub_words(self, stream: int, x: Array, out: Array | None = None, start: int = 0, twice: bool = False) -> Array:
        self.output.append((-1, stream, x.size))
        return super().sub_words(stream, x, out, start, twice)

    def pads(self, use: Pad) -> None:
        self.padded.append(use)


@dataclass
class Audit:
    """A run and the ledgers of its keys: stage -> (p0's, p1's, the pair's)."""

    plan: Plan
    run: Trace
    ledgers: dict[str, tuple[Audited, Audited, Audited]] = field(default_factory=dict)

    def check(self) -> None:
        for stage in STAGES:
            procedure = self.plan.procedure(stage)
            for party in (0, 1):
                self._pads_once(stage, party)
                self._everything_sent_is_padded(stage, party)
                self._full_masks(procedure, self.ledgers[stage][party].padded, party)
                self._streams(procedure, self.ledgers[stage][party], party)
            self._outputs(self.ledgers[stage][2])
            earlier_pads_only(self.plan, procedure)

    def _pads_once(self, stage: str, party: int) -> None:
        """R1: under one key the padded bytes of a stream are disjoint, openings and corrections taken together."""
        spans = defaultdict(list)
        for use in self.ledgers[stage][party].padded:
            spans[use.stream].append((use.first, use.last))
        for pad, found in spans.items():
            found.sort()
            for (_, end), (begin, _) in itertools.pairwise(found):
                assert end <= begin, f"{stage}: words of stream {pad:x} of p{party} pad two messages"

    def _everything_sent_is_padded(self, stage: str, party: int) -> None:
        """R1, R3: what the party and the dealer send is, byte for byte, what the mask-and-pack kernels made."""
        padded = self.ledgers[stage][party].padded
        openings = b"".join(use.message for use in padded if use.opening)
        assert b"".join(self.run.sent[stage][party]) == openings, f"{stage}: p{party} sends what no pad covers"
        corrections = b"".join(use.message for use in padded if not use.opening)
        read = b"".join(piece for _, piece in self.run.corrections[stage][1 - party])
        assert read == corrections, f"{stage}: p{1 - party} is sent corrections that no pad of p{party} covers"

    def _full_masks(self, procedure: Procedure, padded: list[Pad], party: int) -> None:
        """R3: each element of a message has a pad word of its own; lengths and rings are the plan's, spare bits 0."""
        types = self.plan.registers
        for i, op in enumerate(procedure.ops):
            if isinstance(op.gate, Open):
                t = types[op.gate.y]
                words = t.domain is Domain.WORDS
                self._uses(padded, stream(PURPOSE_MASK, i), t.size, t.bits if words else t.planes, words)
            elif op.receiver != party:
                for slot, spec in enumerate(op.gate.secrets(types)):
                    n = op.gate.elements(types)
                    self._uses(padded, stream(PURPOSE_SHARE, i, slot), n, _width(spec), not isinstance(spec, Planes))

    def _uses(self, padded: list[Pad], pad: int, n: int, width: int, words: bool) -> None:
        uses = [use for use in padded if use.stream == pad]
        assert sum(use.n for use in uses) == n, f"stream {pad:x} pads {sum(u.n for u in uses)} of {n} elements"
        for use in uses:
            assert use.width == width, f"stream {pad:x}: elements of {use.width} bits, where the ring has {width}"
            data = np.frombuffer(use.message, np.uint8)
            if words:
                assert data.size == (use.n * width + 7) // 8
                spare = -use.n * width % 8
                assert not spare or data[-1] >> (8 - spare) == 0, f"stream {pad:x}: spare bits are not zero"
                assert use.last - use.first >= (use.n * width + 7) // 8
            else:
                assert data.size == width * ((use.n + 7) // 8)
                again = kernels.planes_pack(kernels.planes_unpack(data, use.n, width), use.n)
                assert np.array_equal(again, data), f"stream {pad:x}: spare bits are not zero"
                assert (use.last - use.first) * 8 >= width * use.n

    def _streams(self, procedure: Procedure, ledger: Audited, party: int) -> None:
        """A stream has one purpose: masks of openings, this party's half of one secret, or its noise."""
        masks = {stream(PURPOSE_MASK, i) for i, op in enumerate(procedure.ops) if isinstance(op.gate, Open)}
        halves = {
            stream(PURPOSE_SHARE, i, slot)
            for i, op in enumerate(procedure.ops)
            if op.receiver != party
            for slot, _ in enumerate(op.gate.secrets(self.plan.registers))
        }
        assert {use.stream for use in ledger.padded if use.opening} == masks
        assert {use.stream for use in ledger.padded if not use.opening} == halves
        noise = {stream(PURPOSE_NOISE, i) for i, op in enumerate(procedure.ops) if isinstance(op.gate, Noise)}
        assert ledger.read <= masks | halves | noise, "a stream is read that pads nothing"

    def _outputs(self, pair: Audited) -> None:
        """Under the pair's key a stream is one output for one role, which one party adds and the other subtracts."""
        uses = [(sign, pad) for sign, pad, _ in pair.output]
        assert len(uses) == len(set(uses)), "one re-randomisation for two results"
        assert {pad for sign, pad in uses if sign > 0} == {pad for sign, pad in uses if sign < 0}
        bits = [use.stream for use in pair.padded]
        assert all(bits.count(pad) == 2 for pad in bits)
        assert all(pad >> 56 == PURPOSE_OUTPUT for pad in {pad for _, pad in uses} | set(bits))


def _width(spec: Secret) -> int:
    """Bits of a secret an element."""
    if isinstance(spec, Samples):
        return spec.nodes * spec.bits
    return spec.bits if isinstance(spec, Words) else spec.planes


def earlier_pads_only(plan: Plan, procedure: Procedure) -> None:
    """R2: an opening reads nothing that depends on an opening of its own round or a later one."""
    made: dict[int, int] = {}

    def depth(gate: Gate) -> int:
        return max((made.get(r, 0) for r in gate.ins), default=0)

    for number, r in enumerate(procedure.rounds, 1):
        for i in (*r.before, *r.overlap):
            gate = procedure.ops[i].gate
            made.update(dict.fromkeys(gate.outs, depth(gate)))
            assert depth(gate) < number, f"op {i} runs before what it reads is open"
        for i in r.opens:
            gate = procedure.ops[i].gate
            assert depth(gate) < number, f"op {i} opens what depends on its own round"
        for i in r.opens:
            made.update(dict.fromkeys(procedure.ops[i].gate.outs, number))


def audit(plan: Plan, feeds: Mapping[str, Mapping[str, Array]], preprocess: bool = False) -> Audit:
    """Run a plan under audited streams."""
    ledgers = {stage: tuple(Audited(k) for k in keys) for stage, keys in KEYS.items()}
    by_key = {key: ledger for stage, keys in KEYS.items() for key, ledger in zip(keys, ledgers[stage], strict=True)}
    run = trace(plan, feeds, preprocess=preprocess, observe=False, kernels=StandIns(by_key))
    return Audit(plan, run, ledgers)  # type: ignore[arg-type]
