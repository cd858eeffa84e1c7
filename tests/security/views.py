"""A party's view by exhaustion: one run of the real gates, on tensors whose elements are all assignments.

What a party sees is what the peer and the dealer send it. By the lemma of PROTOCOLS section 0 the map from the pads of
the peer's stream to that view is a bijection, whatever the secrets. Here element i of every tensor belongs to
assignment i: the peer's streams hold the bits of i (each its own), the observer's streams and input shares are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mpc_runtime import kernels
from mpc_runtime.gates import Open, Planes, Samples, Words
from mpc_runtime.gates.streams import PURPOSE_MASK, PURPOSE_SHARE, stream
from mpc_runtime.plan import Plan
from mpc_runtime.registers import Domain
from tests.plans_by_hand import Builder
from tests.streams import StandIns, Streams, bit_planes, plane_bits
from tests.traced import KEYS, Trace, trace

Array = np.ndarray
U = np.uint64
NOISE = U(0x9E3779B97F4A7C15)
"""What stands in the bits of a word that no ring of the protocol has, and in the streams of the observer."""

MOST_BITS = 20

Protocol = Callable[..., None]
"""protocol(builder, secrets as arrays of n elements): opens and gates on a fresh builder."""


class Enumerated(Streams):
    """Streams that take all values: places[stream] = (first bit, bits) of the element's number; samples have `kept`."""

    def __init__(
        self, places: Mapping[int, tuple[int, int]], entry_bits: int = 0, kept: int = 0, top: bool = False
    ) -> None:
        self.places, self.entry_bits, self.kept, self.top = places, entry_bits, kept, top

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        first, bits = self.places[stream]
        own = (np.arange(start, start + n, dtype=U) >> U(first)) & U((1 << bits) - 1)
        if self.kept and bits == self.kept:
            return self._placed(own)
        return own | (NOISE << U(bits)) if bits < 64 else own

    def _placed(self, own: Array) -> Array:
        """A word of the entries' ring of which only `kept` bits are enumerated: its lowest, or its highest."""
        if self.top:
            return own << U(self.entry_bits - self.kept) | (NOISE >> U(64 - self.entry_bits + self.kept))
        return own | (NOISE << U(self.kept))

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        first, bits = self.places[stream]
        assert bits == planes
        numbers = np.arange(start_block * 512, start_block * 512 + n, dtype=U)
        return bit_planes(((numbers[:, None] >> (U(first) + np.arange(planes, dtype=U))) & U(1)).astype(np.uint8))

    def fill(self, stream: int, out: Array, offset: int = 0) -> None:
        """Tables: entry j of element i holds `kept` of the stream's bits."""
        first, bits = self.places[stream]
        nodes, width = bits // self.kept, self.entry_bits // 8
        start, n = offset // (nodes * width), out.size // (nodes * width)
        numbers = np.arange(start, start + n, dtype=U)[:, None] >> (U(first) + U(self.kept) * np.arange(nodes, dtype=U))
        out.reshape(-1)[:] = kernels.pack(self._placed(numbers & U((1 << self.kept) - 1)), self.entry_bits)


class Fixed(Streams):
    """The observer's own streams: one arbitrary word, or one arbitrary bit a plane, for every element."""

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        return np.full(n, self._word(stream))

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        bits = (self._word(stream) >> np.arange(planes, dtype=U)) & U(1)
        return bit_planes(np.broadcast_to(bits.astype(np.uint8), (n, planes)))

    def _word(self, stream: int) -> np.uint64:
        return U((int(NOISE) * (stream % 1009 + 1)) % (1 << 64))


def places(plan: Plan, who: int, kept: int) -> tuple[dict[int, tuple[int, int]], int]:
    """The bits of each stream of the peer of `who` that pad what `who` is sent, and their number."""
    found: dict[int, tuple[int, int]] = {}
    used = 0
    for i, op in enumerate(plan.procedure("run").ops):
        needed: list[tuple[int, int]] = []
        if isinstance(op.gate, Open):
            t = plan.registers[op.gate.y]
            bits = t.planes if t.domain is not Domain.WORDS else min(t.bits, kept) if t.bits >= 32 else t.bits
            needed.append((stream(PURPOSE_MASK, i), bits))
        for slot, spec in enumerate(op.gate.secrets(plan.registers)):
            bits = (
                spec.nodes * kept
                if isinstance(spec, Samples)
                else spec.bits
                if isinstance(spec, Words)
                else spec.planes
            )
            if op.receiver == who:
                needed.append((stream(PURPOSE_SHARE, i, slot), bits))
        for pad, bits in needed:
            found[pad] = used, bits
            used += bits
    return found, used


def view(
    protocol: Protocol,
    secret: Sequence[int],
    who: int,
    receiver: int,
    kept: int = 0,
    top: bool = False,
    observe: bool = False,
) -> tuple[Array, int, int, Trace]:
    """(what `who` sees under each assignment, its bits, those of randomness, the run, which `observe` lets compare)."""
    plan = _build(protocol, secret, 8).plan(receiver)
    bits = places(plan, who, kept)[1]
    assert bits <= MOST_BITS, f"{bits} bits are too many to enumerate"
    b = _build(protocol, secret, 1 << max(bits, 3))
    plan = b.plan(receiver)
    entries = [
        s.bits for op in plan.procedure("run").ops for s in op.gate.secrets(plan.registers) if isinstance(s, Samples)
    ]
    keys = KEYS["run"]
    streams: dict[bytes, Streams] = {
        keys[who]: Fixed(),
        keys[1 - who]: Enumerated(places(plan, who, kept)[0], max(entries, default=0), kept, top),
    }

    def divide(feed: str, register: int, x: Array) -> Array:
        """The observer's share is one arbitrary constant."""
        own = np.full(x.shape, (int(NOISE) >> 7) % 251 * (register + 1), U)
        own = own if x.dtype == U else (own & U(1)).astype(np.uint8)
        if who == 0:
            return own
        return np.subtract(x, own) if x.dtype == U else x ^ own

    t = trace(plan, b.values, seed=divide, observe=observe, kernels=StandIns(streams))
    seen, width = _received(plan, t, who, kept, top)
    return seen, width, bits, t


def _build(protocol: Protocol, secret: Sequence[int], n: int) -> Builder:
    b = Builder()
    protocol(b, *(np.full(n, s % (1 << 64), U) for s in secret))
    return b


def _received(plan: Plan, t: Trace, who: int, kept: int, top: bool) -> tuple[Array, int]:
    """Everything that was sent to `who`, one number an element, and the number's bits."""
    run = plan.procedure("run")
    columns: list[tuple[Array, int]] = []
    messages = np.frombuffer(b"".join(t.sent["run"][1 - who]), np.uint8)
    at = 0
    for r in run.rounds:
        for i in r.opens:
            gate = run.ops[i].gate
            assert isinstance(gate, Open)
            parts = []
            for _, n, size in gate.segments(plan.registers):
                words = plan.registers[gate.y].domain is Domain.WORDS
                parts.append(_unpacked(messages[at : at + size], n, words, kept, top))
                at += size
            columns.append(_joined(parts))
    assert at == messages.size
    by_op: dict[int, list[bytes]] = {}
    for op, piece in t.corrections["run"][who]:
        by_op.setdefault(op, []).append(piece)
    for op, pieces in by_op.items():
        specs = run.ops[op].gate.secrets(plan.registers)
        for slot, spec in enumerate(specs):
            mine = pieces[slot :: len(specs)]
            columns.append(_joined([_secret(np.frombuffer(p, np.uint8), spec, kept, top) for p in mine]))
    out, width = np.zeros(columns[0][0].size, U), 0
    for column, bits in columns:
        out |= column << U(width)
        width += bits
    return out, width


def _joined(parts: list[tuple[Array, int]]) -> tuple[Array, int]:
    return np.concatenate([a for a, _ in parts]), parts[0][1]


def _unpacked(data: Array, n: int, words: bool, kept: int, top: bool) -> tuple[Array, int]:
    """The elements of an opening as numbers, and their bits; of wide words only `kept` bits."""
    bits = data.size * 8 // n
    if not words:
        return _number(plane_bits(kernels.planes_unpack(data, n, bits), n)), bits
    x = kernels.unpack(data, n, bits)
    return (_kept(x, bits, kept, top), kept) if kept and bits >= 32 else (x, bits)


def _secret(data: Array, spec: Words | Planes | Samples, kept: int, top: bool) -> tuple[Array, int]:
    if isinstance(spec, Samples):
        entries = kernels.unpack(data, data.size * 8 // spec.bits, spec.bits).reshape(-1, spec.nodes)
        low = _kept(entries, spec.bits, kept, top)
        return (low << (U(kept) * np.arange(spec.nodes, dtype=U))).sum(axis=1, dtype=U), kept * spec.nodes
    bits = spec.bits if isinstance(spec, Words) else spec.planes
    return _unpacked(data, data.size * 8 // bits, isinstance(spec, Words), 0, False)


def _kept(x: Array, bits: int, kept: int, top: bool) -> Array:
    return x >> U(bits - kept) if top else x & U((1 << kept) - 1)


def _number(bits: Array) -> Array:
    return (bits.astype(U) << np.arange(bits.shape[1], dtype=U)).sum(axis=1, dtype=U)


def is_uniform(seen: Array, width: int) -> bool:
    """Whether every value of the view comes up equally often."""
    counts = np.bincount(seen.astype(np.int64), minlength=1 << width)
    return counts.size == 1 << width and counts.min() == counts.max()
