"""Gates that break the rules on purpose: what the tests of security must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpc_runtime import kernels
from mpc_runtime.gates import BitToWord, Open
from mpc_runtime.gates.base import low, tiles
from mpc_runtime.gates.contexts import Array, DealerContext, PartyContext, Types
from mpc_runtime.gates.streams import PURPOSE_MASK, stream
from tests.plans_by_hand import Builder

U = np.uint64


class WithPadsOf:
    """Open under the mask of another opening, `other`."""

    other: int

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        own, p.op = p.op, self.other
        super().pack(p, x, masked, start, n, out)  # type: ignore[misc]
        p.op = own


@dataclass(frozen=True)
class SecondUse(WithPadsOf, Open):
    other: int


@dataclass(frozen=True)
class Unreduced(Open):
    """x + (mask mod 2^l) sent in two bits more than the ring has, without reducing it first."""

    def segments(self, types: Types) -> list[tuple[int, int, int]]:
        return [(start, n, kernels.packed_size(n, types[self.y].bits + 2)) for start, n in tiles(types[self.y].size)]

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        l = p.types[self.y].bits
        piece = slice(start, start + n)
        masked[piece] = low(x[piece], l + 1) + low(p.prg.words(stream(PURPOSE_MASK, p.op), n, start), l)
        kernels.pack(masked[piece], l + 2, out)

    def absorb(self, p: PartyContext, masked: Array, start: int, n: int, received: Array) -> None:
        kernels.unpack_add(received, p.types[self.y].bits + 2, masked[start : start + n])


@dataclass(frozen=True)
class Unmasked(Open):
    """The share itself."""

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        masked[start : start + n] = x[start : start + n]
        kernels.pack(masked[start : start + n], p.types[self.y].bits, out)


@dataclass(frozen=True)
class MaskOfOneElement(Open):
    """The first mask word for every element."""

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        for i in range(start, start + n):
            masked[i] = p.prg.add_words(stream(PURPOSE_MASK, p.op), x[i : i + 1])[0]
        kernels.pack(masked[start : start + n], p.types[self.y].bits, out)


@dataclass(frozen=True)
class ClearCorrection(BitToWord):
    """The dealer sends the mask of the bit as it is."""

    def deal(self, d: DealerContext) -> None:
        super().deal(_Clear(d))  # type: ignore[arg-type]


@dataclass(frozen=True)
class PadOfAnOpening(BitToWord):
    """The dealer pads its correction with the words that mask the opening `other`: one word, two purposes."""

    other: int

    def deal(self, d: DealerContext) -> None:
        super().deal(_OfMask(d, self.other))  # type: ignore[arg-type]


class _Clear:
    def __init__(self, d: DealerContext) -> None:
        self.d = d

    def __getattr__(self, name: str) -> object:
        return getattr(self.d, name)

    def __getitem__(self, register: int) -> Array | None:
        return self.d[register]

    def __setitem__(self, register: int, value: Array | None) -> None:
        self.d[register] = value

    def share(self, slot: int, start: int, n: int, value: Array) -> None:
        self.d.send(kernels.pack(value, self.d.secrets[slot].bits))  # type: ignore[attr-defined]


class _OfMask(_Clear):
    def __init__(self, d: DealerContext, other: int) -> None:
        super().__init__(d)
        self.other = other

    def share(self, slot: int, start: int, n: int, value: Array) -> None:
        pad = self.d.prgs[1 - self.d.receiver].words(stream(PURPOSE_MASK, self.other), value.size, start)
        self.d.send(kernels.pack(value - pad, self.d.secrets[slot].bits))  # type: ignore[attr-defined]


def mask_used_twice(b: Builder, x: Array, y: Array) -> None:
    """The inputs are ops 0 and 1, so the openings are ops 2 and 3."""
    p, q = b.input(x, 3), b.input(y, 3)
    b.open(p)
    b.emit(SecondUse, b.registers[q].shape, 3, x=q, other=2)


def with_open(cls: type[Open]) -> Callable[..., None]:
    def protocol(b: Builder, x: Array, y: Array) -> None:
        p = b.input(x, 3)
        b.emit(cls, b.registers[p].shape, 3, x=p)
        b.wire(y, 3)

    return protocol


def clear_correction(b: Builder, x: Array, y: Array) -> None:
    bit = b.wire((x & U(1)).astype(np.uint8))
    b.emit(ClearCorrection, b.registers[bit].shape, 2, d=bit)
    b.wire(y, 3)


def pad_of_an_opening(b: Builder, x: Array, y: Array) -> None:
    """Ops 0 and 1 are the inputs, 2 and 3 the openings; the number's correction takes the words that mask y."""
    p, q = b.input((x & U(1)).astype(np.uint8)), b.input(y, 3)
    bit = b.open(p)
    b.open(q)
    b.emit(PadOfAnOpening, b.registers[bit].shape, 3, d=bit, other=3)


BROKEN = {
    "one mask for two values": mask_used_twice,
    "a message that is not reduced": with_open(Unreduced),
    "a share without a mask": with_open(Unmasked),
    "a correction without a pad": clear_correction,
    "one pad for an opening and a correction": pad_of_an_opening,
}
