"""Values changing form and leaving: open, materialize, unmask, reveal.

`Open` is the only gate by which the parties talk to each other; `Reveal` is what the roles get.
PROTOCOLS sections 0 and 7. Masked values, opened once and read by many gates: A. Ben-Efraim, M. Nielsen, E. Omri,
"Turbospeedz", ePrint 2019/080; A. Patra, T. Schneider, A. Suresh, H. Yalame, "ABY2.0", ePrint 2020/1225.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..kernels.sizes import packed_size, planes_size
from ..registers import BLOCK, TILE, Domain, Form, Register
from .base import Gate, In, Out, Owners, Revelation, flat, narrowest, spread, tiles
from .contexts import Array, DealerContext, MaskContext, MeaningContext, PartyContext, Types
from .rules import Declared, Layout, expect, expect_additive, expect_domain, expect_form, expect_masked
from .secrets import Planes, Secret, Words
from .streams import PURPOSE_MASK, PURPOSE_OUTPUT, stream

if TYPE_CHECKING:
    from ..kernels import Kernels, Prg


@dataclass(frozen=True)
class Open(Gate):
    """X = x + p0 + p1 for free masks p_i: one message each way. An offset of x is absorbed: mask = p0 + p1 - offset."""

    fresh = True
    reveals = False
    elementwise = True
    communicates = True
    flattens = True

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_additive(types, self.x)
        return (given.layout(self.x),)

    def result(self, out: int, types: Types) -> Form:
        return Form.WIRE if types[self.x].form is Form.SHARED else Form.BARE

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return types[self.y].form is Form.WIRE

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def mask_is_stream(self, party: int) -> bool:
        return True

    def segments(self, types: Types) -> list[tuple[int, int, int]]:
        t = types[self.y]
        return [(start, n, _piece(t, n)) for start, n in tiles(t.size)]

    def begin(self, p: PartyContext) -> tuple[Array, Array]:
        t = p.types[self.y]
        x = p[self.x]
        if t.domain is Domain.BITS:
            x = p.kernels.bits_to_planes(flat(x))
        elif t.domain is Domain.WORDS:
            x = flat(x)
        return x, x if p.may_overwrite(self.x) and x.flags.writeable else np.empty_like(x)

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        t = p.types[self.y]
        pad = stream(PURPOSE_MASK, p.op)
        if t.domain is Domain.WORDS:
            piece = slice(start, start + n)
            p.kernels.mask_pack(p.prg, pad, x[piece], t.bits, masked[piece], out, start=start)
            return
        blocks = _blocks(start, n)
        p.kernels.planes_mask_pack(p.prg, pad, x[blocks], n, masked[blocks], out, start_block=blocks.start)

    def absorb(self, p: PartyContext, masked: Array, start: int, n: int, received: Array) -> None:
        t = p.types[self.y]
        if t.domain is Domain.WORDS:
            p.kernels.unpack_add(received, t.bits, masked[start : start + n])
        else:
            p.kernels.planes_unpack_xor(received, n, masked[_blocks(start, n)])

    def end(self, p: PartyContext, masked: Array) -> None:
        t = p.types[self.y]
        if t.domain is Domain.BITS:
            masked = p.kernels.planes_to_bits(masked, t.size)
        p[self.y] = masked if t.domain is Domain.PLANES else masked.reshape(t.shape)

    def mask(self, p: MaskContext) -> Array:
        return free_mask(p.kernels, p.prg, p.op, p.types[self.y])

    def deal(self, d: DealerContext) -> None:
        t = d.types[self.y]
        offset = d[self.x]
        if t.domain is Domain.WORDS:
            shift = None if offset is None else flat(spread(offset, t.shape))
            d[self.y] = d.kernels.open_deal(
                *d.prgs, stream(PURPOSE_MASK, d.op), shift, t.bits, np.empty(t.shape, np.uint64)
            )
            return
        mask = free_mask(d.kernels, d.prgs[0], d.op, t)
        mask ^= free_mask(d.kernels, d.prgs[1], d.op, t)
        d[self.y] = mask if offset is None else mask ^ offset

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x]


@dataclass(frozen=True)
class Materialize(Gate):
    """True shares of a value whose shares miss an offset: the dealer ships shares of the offset."""

    fresh = True
    reveals = False
    elementwise = True

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_form(types[self.x].form, Form.OFFSET)
        return (given.layout(self.x),)

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return False

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        t = types[self.y]
        if t.domain is Domain.WORDS:
            return (Words(t.bits),)
        return (Planes(t.planes),)

    def deal(self, d: DealerContext) -> None:
        t = d.types[self.y]
        offset = d[self.x]
        assert offset is not None, "materialize of a value without an offset"
        if t.domain is Domain.BITS:
            offset = d.kernels.bits_to_planes(flat(offset))
        elif t.domain is Domain.WORDS:
            offset = flat(spread(offset, t.shape))
        for start, n in tiles(t.size):
            piece = slice(start, start + n) if t.domain is Domain.WORDS else _blocks(start, n)
            d.share(0, start, n, offset[piece])
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        t = p.types[self.y]
        x = p[self.x]
        if t.domain is Domain.WORDS:
            x = flat(x)
            out = x if p.may_overwrite(self.x) and x.flags.writeable else np.empty_like(x)
            p.add_secret(0, x, out)
            p[self.y] = out.reshape(t.shape)
            return
        planes = p.kernels.bits_to_planes(flat(x)) if t.domain is Domain.BITS else x.copy()
        for start, n in tiles(t.size):
            planes[_blocks(start, n)] ^= p.secret(0, start, n)
        p[self.y] = planes if t.domain is Domain.PLANES else p.kernels.planes_to_bits(planes, t.size).reshape(t.shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x]


@dataclass(frozen=True)
class Unmask(Gate):
    """Shares of a masked value, X - [mask].

    With shares of the mask they are true shares, else the mask is the offset.
    """

    fresh = False
    reveals = False
    elementwise = True

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        return (given.layout(self.x),)

    def result(self, out: int, types: Types) -> Form:
        return Form.SHARED if types[self.x].form is Form.WIRE else Form.OFFSET

    def most_bits(self, most: Mapping[int, int]) -> int:
        return narrowest(self.ins, most)

    def is_view(self, types: Types) -> bool:
        return types[self.x].form is Form.BARE

    def shows(self, types: Types) -> tuple[int, ...]:
        return (self.x,) if self.is_view(types) else ()

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        return types[self.x].memory_bytes if types[self.x].form is Form.WIRE else 0

    def deal(self, d: DealerContext) -> None:
        t = d.types[self.x]
        mask = d[self.x]
        if t.form is Form.WIRE or mask is None:
            d[self.y] = None
        else:
            d[self.y] = mask if t.domain is not Domain.WORDS else -mask

    def evaluate(self, p: PartyContext) -> None:
        t = p.types[self.x]
        if t.form is Form.BARE:
            p[self.y] = p.public(self.x)
        elif t.domain is Domain.WORDS:
            p[self.y] = p.unmasked(self.x)
        else:
            p[self.y] = p.public(self.x) ^ p.mask(self.x)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x]


@dataclass(frozen=True)
class FromPublic(Gate):
    """Shares of what both parties know: party 0 takes all of it."""

    fresh = False
    reveals = False
    elementwise = True

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_form(types[self.x].form, Form.PUBLIC, Form.CONSTANT)
        return (expect_domain(given.layout(self.x), Domain.WORDS, Domain.BITS),)

    def deal(self, d: DealerContext) -> None:
        d[self.y] = None

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p.public(self.x)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x]


@dataclass(frozen=True)
class Reveal(Gate):
    """Send a result to roles: re-randomised under a key that only the two parties share, reduced to `bits` bits."""

    fresh = True
    reveals = True

    result_name: str
    roles: tuple[str, ...]
    bits: int
    x: In

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        result, t = given.result(self.result_name), expect_domain(given.layout(self.x), Domain.WORDS, Domain.BITS)
        expect_form(types[self.x].form, Form.SHARED)
        expect(result.roles == self.roles, f"sent to {_names(self.roles)}, but declared for {_names(result.roles)}")
        sent = self.bits, t.shape, t.domain, types[self.x].scale
        declared = result.bits, result.shape, result.domain, result.scale
        expect(sent == declared, f"`{self.result_name}`: what is sent is not what its roles decode")
        return ()

    def demand(self, register: int, types: Types) -> int:
        return self.bits

    def elements(self, types: Types) -> int:
        return types[self.x].size

    @property
    def results(self) -> tuple[str, ...]:
        return (self.result_name,)

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        t = types[self.x]
        counted, of = ("bit", "") if t.domain is Domain.BITS else ("number", f" of {self.bits} bits")
        what = f"{t.size} {counted}{'' if t.size == 1 else 's'}{of}"
        fraction = f", {t.scale} of them behind the point" if t.scale else ""
        return (Revelation(f"output `{self.result_name}` is revealed to {_names(self.roles)}: {what}{fraction}"),)

    def deal(self, d: DealerContext) -> None:
        """Nothing to deal: outputs are true shares."""

    def evaluate(self, p: PartyContext) -> None:
        """Packed words or bits for every role, re-randomised afresh: what party 0 adds party 1 subtracts."""
        t = p.types[self.x]
        x = flat(p[self.x])
        for slot, role in enumerate(self.roles):
            pad = stream(PURPOSE_OUTPUT, p.op, slot)
            if t.domain is Domain.WORDS:
                share = p.pair.add_words(pad, x) if p.party == 0 else p.pair.sub_words(pad, x)
                packed = p.kernels.pack(share, self.bits)
            else:
                packed = np.empty(planes_size(x.size, 1), np.uint8)
                planes = p.kernels.bits_to_planes(x)
                p.kernels.planes_mask_pack(p.pair, pad, planes, x.size, np.empty_like(planes), packed)
            p.reveal(self.result_name, role, packed)

    def meaning(self, s: MeaningContext) -> None:
        s.reveal(self.result_name, s[self.x])


def free_mask(k: Kernels, prg: Prg, op: int, t: Register) -> Array:
    """A party's share of the free mask of opening `op`, in the register's shape and domain."""
    pad = stream(PURPOSE_MASK, op)
    if t.domain is Domain.WORDS:
        return prg.words(pad, t.size).reshape(t.shape)
    planes = k.planes_fill(prg, pad, t.size, t.planes)
    if t.domain is Domain.PLANES:
        return planes
    return k.planes_to_bits(planes, t.size).reshape(t.shape)


def _names(roles: tuple[str, ...]) -> str:
    return " and ".join(roles) or "nobody"


def _piece(t: Register, n: int) -> int:
    if t.domain is Domain.WORDS:
        return packed_size(n, t.bits)
    return planes_size(n, t.planes)


def _blocks(start: int, n: int) -> slice:
    """Blocks of the elements [start, start + n); tiles start at a multiple of BLOCK."""
    return slice(start // BLOCK, -(-(start + n) // BLOCK))


assert TILE % BLOCK == 0
