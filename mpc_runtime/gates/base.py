"""What a gate is.

A gate is one instruction of the op-list: a frozen dataclass whose fields are register numbers (annotated `In`, `Ins`,
`Out`, `Outs`) and public attributes. Its readings stand side by side in its class:

    secrets     the correlated randomness it needs, as a specification (what the cost report and the executor read)
    deal        the dealer's side: from masks to that randomness and to the masks or offsets of its results
    evaluate    the parties' side: from shares and masked values to shares
    meaning     what it computes, on plain ring elements; the oracle of the tests and of `--simulate`

Gates know nothing of sockets, files, threads or plans. What they may touch is the context they are handed, whose
registers and masks hold arrays as `registers.held` says: of any strides, perhaps read-only.

The forms of results follow from the forms of operands (`result`), the ring of an operand from the rings of the results
(`demand`), and which masks must be held as shares from `wants_mask`; the compiler asks for all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from ..registers import TILE, Form, Register

if TYPE_CHECKING:
    from ..kernels import Prg

In: TypeAlias = int
Out: TypeAlias = int
Ins: TypeAlias = tuple[int, ...]
Outs: TypeAlias = tuple[int, ...]

Types = Sequence[Register]
Array: TypeAlias = np.ndarray

PURPOSE_MASK = 1
"""Stream purpose of free masks (the pad words of openings)."""
PURPOSE_SHARE = 2
"""Stream purpose of the seeded half of a dependent secret (the pad words of corrections)."""
PURPOSE_OUTPUT = 3
"""Stream purpose of the re-randomisation of outputs (under the parties' own common key)."""


def stream(purpose: int, op: int, slot: int = 0) -> int:
    """Upper half of the counter block: purpose (8 bits), op (40), slot within the op (16). PROTOCOLS section 9."""
    return purpose << 56 | op << 16 | slot


@dataclass(frozen=True)
class Words:
    """A word of `bits` bits for every element: one party expands its half, the other is sent it."""

    bits: int

    def size(self, n: int) -> int:
        return (n * self.bits + 7) // 8


@dataclass(frozen=True)
class Planes:
    """`planes` bits for every element, xor-shared."""

    planes: int

    def size(self, n: int) -> int:
        return self.planes * ((n + 7) // 8)


@dataclass(frozen=True)
class Samples:
    """A table of `nodes` entries of `bits` bits (a multiple of 8) for every element."""

    nodes: int
    bits: int

    def size(self, n: int) -> int:
        return n * self.nodes * self.bits // 8


Secret = Words | Planes | Samples


class PartyContext(Protocol):
    """What a party's executor lends to a gate."""

    party: int
    prg: Prg
    op: int

    @property
    def types(self) -> Types: ...
    @property
    def seeded(self) -> bool:
        """Whether this party expands its half of the op's secrets from its stream (kernels may fuse that)."""
        ...

    def __getitem__(self, register: int) -> Array: ...
    def __setitem__(self, register: int, value: Array) -> None: ...
    def may_overwrite(self, register: int) -> bool:
        """Whether this op may write its result over the array of an operand, which nothing reads any more."""
        ...

    def mask(self, register: int) -> Array:
        """This party's share of the mask of a WIRE, in the register's shape."""
        ...

    def mask_words(self, register: int, start: int, n: int) -> Array:
        """Elements [start, start + n) of that share, flat; expanded for the occasion where that is possible."""
        ...

    def add_mask(self, register: int, words: Array, sign: int, out: Array | None = None) -> Array:
        """`words`, of the register's shape, plus or minus (sign 1 or -1) that share, in one pass where possible; `out`
        is contiguous, and may be `words`."""
        ...

    def affine(self, register: int) -> Array:
        """(party == 0) X - [mask] of a WIRE."""
        ...

    def halved(self, register: int) -> Array:
        """Of a WIRE whose mask is even at party 0: X - [mask] / 2 there, X + [mask] at party 1."""
        ...

    def take_ahead(self) -> tuple[int, Array] | None:
        """What `Product.ahead` made for this op, with the operand that was known; None where nothing was."""
        ...

    def secret(self, slot: int, spec: Secret, start: int, n: int) -> Array:
        """This party's share of elements [start, start + n) of secret `slot`, as words or planes."""
        ...

    def samples(self, slot: int, spec: Samples, start: int, n: int) -> Array | None:
        """The received table of these elements, or None at the party that expands it from its stream."""
        ...


class DealerContext(Protocol):
    """What the dealer's executor lends to a gate: masks and offsets by register (None stands for 0), a way to share."""

    prgs: tuple[Prg, Prg]
    op: int
    receiver: int

    @property
    def types(self) -> Types: ...
    def __getitem__(self, register: int) -> Array | None: ...
    def __setitem__(self, register: int, value: Array | None) -> None: ...
    def mask(self, register: int) -> Array:
        """The mask of a masked value, which is never absent."""
        ...

    def mask_share(self, register: int, party: int) -> Array:
        """A party's share of the mask of a WIRE, as that party expands it."""
        ...

    def constant(self, register: int) -> Array:
        """A constant of the plan, which the dealer knows too."""
        ...

    def share(self, slot: int, spec: Secret, start: int, value: Array) -> None:
        """Share elements of secret `slot`: the half of one party is its stream, the other is sent the correction."""
        ...

    def send(self, packed: Array) -> None:
        """Send a correction that the kernel has packed itself."""
        ...


class MeaningContext(Protocol):
    """Plain values of registers, and the masks of wires (the rounding of a truncation depends on them)."""

    @property
    def types(self) -> Types: ...
    def __getitem__(self, register: int) -> Array: ...
    def __setitem__(self, register: int, value: Array) -> None: ...
    def mask(self, register: int) -> Array: ...


def tiles(n: int) -> Iterator[tuple[int, int]]:
    """(start, length) of the tiles of n elements."""
    for start in range(0, n, TILE):
        yield start, min(TILE, n - start)


def flat(x: Array) -> Array:
    """The elements in C order, as one contiguous axis: what kernels take."""
    return np.ascontiguousarray(x).reshape(-1)


def low(x: Array, bits: int) -> Array:
    """x mod 2^bits."""
    return x if bits == 64 else x & np.uint64((1 << bits) - 1)


def signed(x: Array, bits: int) -> Array:
    """The two's complement integers of ring elements, as int64."""
    shift = np.uint64(64 - bits)
    y: Array = (x << shift).view(np.int64) >> shift.astype(np.int64)
    return y


@cache
def _register_fields(kind: Any) -> tuple[tuple[str, str], ...]:
    return tuple((f.name, f.type) for f in fields(kind) if f.type in ("In", "Out", "Ins", "Outs"))


def register_fields(gate: Gate) -> tuple[tuple[str, str], ...]:
    """The fields of a gate that hold registers, with their annotations, in the order of the fields."""
    kind: Any = type(gate)
    return _register_fields(kind)


@dataclass(frozen=True)
class Gate:
    """Base of all gates. Subclasses are frozen dataclasses."""

    @cached_property
    def ins(self) -> tuple[int, ...]:
        return self._registers("In", "Ins")

    @cached_property
    def outs(self) -> tuple[int, ...]:
        return self._registers("Out", "Outs")

    def _registers(self, *annotations: str) -> tuple[int, ...]:
        """The registers in the fields that are annotated so, in the order of the fields."""
        names = [name for name, annotation in register_fields(self) if annotation in annotations]
        held: list[int | tuple[int, ...]] = [getattr(self, name) for name in names]
        return tuple(r for value in held for r in (value if isinstance(value, tuple) else (value,)))

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        """The dependent secrets, slot by slot, for the elements that `elements` counts."""
        return ()

    def elements(self, types: Types) -> int:
        """How many elements each secret has."""
        return types[self.outs[0]].size

    def result(self, out: int, types: Types) -> Form:
        """The form of a result, from the forms of the operands."""
        return Form.SHARED

    def demand(self, register: int, types: Types) -> int:
        """Ring bits that operand `register` must have, given the rings of the results."""
        return max(types[out].bits for out in self.outs)

    def preference(self, register: int, types: Types) -> int:
        """Ring bits beyond `demand` at which the gate is cheaper; 1 where it does not care."""
        return 1

    def wants_mask(self, register: int, types: Types) -> bool:
        """Whether parties need shares of this masked operand's mask (so its opening may not absorb an offset)."""
        return False

    def wants_true_shares(self, register: int, types: Types) -> bool:
        """Whether this additive operand may not carry an offset."""
        return False

    def deal(self, d: DealerContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no dealer's side")

    def evaluate(self, p: PartyContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no parties' side")

    def meaning(self, s: MeaningContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no meaning")

    def mask(self, p: PartyContext) -> Array:
        """This party's share of the mask of a WIRE that the gate makes."""
        raise AssertionError(f"{type(self).__name__} makes no mask")

    def material_bytes(self, types: Types) -> int:
        """Bytes of corrections, all to one party."""
        n = self.elements(types)
        return sum(spec.size(n) for spec in self.secrets(types))
