"""What a gate is.

A gate is one instruction of the op-list: a frozen dataclass whose fields are register numbers (annotated `In`, `Ins`,
`Out`, `Outs`) and public attributes. Its class holds all of its readings:

    secrets     the correlated randomness it needs, as a specification (what the cost report and the executor read)
    deal        the dealer's side: from masks to that randomness and to the masks or offsets of its results
    evaluate    the parties' side: from shares and masked values to shares
    meaning     what it computes, on plain ring elements; the oracle of the tests and of `--simulate`

Gates know nothing of sockets, files, threads or plans. What they may touch is the context they are handed, whose
registers and masks hold arrays as `registers.held` says: of any strides, perhaps read-only. They compute with the
operators of these arrays and with the context's `kernels`; NumPy makes and shapes arrays, and sizes are the plan's.

All that others ask about a gate it says itself; nobody keeps a list of gates. The compiler asks for the forms of its
results (`result`), the rings of its operands (`demand`) and what it needs of them (`wants_mask`,
`wants_true_shares`); the executors, what its results show and what of it can be done ahead; reports, what it costs and
reveals; whoever loads a plan, what it may be applied to (`infer`). A fact that would do harm where it is forgotten has
no default, and a class without it cannot be imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np

from ..registers import TILE, Domain, Form, Register
from .rows import Batch, aligned, expect_apart
from .rules import Declared, Layout
from .secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from ..kernels import Kernels, Prg

In: TypeAlias = int
Out: TypeAlias = int
Ins: TypeAlias = tuple[int, ...]
Outs: TypeAlias = tuple[int, ...]

Types = Sequence[Register]
Array: TypeAlias = np.ndarray


class MaskContext(Protocol):
    """What a gate needs to expand a party's share of the mask that it makes: at that party, or at the dealer."""

    kernels: Kernels
    party: int
    prg: Prg
    op: int

    @property
    def types(self) -> Types: ...
    def __getitem__(self, register: int) -> Array:
        """What the party holds; the dealer knows no more of it than the plan's constants."""
        ...

    def mask(self, register: int) -> Array:
        """The party's share of the mask of a WIRE, in the register's shape."""
        ...


class PartyContext(MaskContext, Protocol):
    """What a party's executor lends to a gate."""

    @property
    def seeded(self) -> bool:
        """Whether this party expands its half of the op's secrets from its stream (kernels may fuse that)."""
        ...

    @property
    def pair(self) -> Prg:
        """Streams under the key of this execution that only the two parties have."""
        ...

    @property
    def own(self) -> Prg:
        """Streams under a key of this execution that only this party has."""
        ...

    def __setitem__(self, register: int, value: Array) -> None: ...
    def feed(self, name: str) -> Array:
        """This party's share of what a role gave (all of it where that is public); it can be had once."""
        ...

    def reveal(self, result: str, role: str, packed: Array) -> None:
        """Send a role this party's share of a result. Only gates whose class `reveals` may."""
        ...

    def public(self, register: int) -> Array:
        """What both parties know as a term of shares: party 0 has all of it, party 1 zeros (which are read-only)."""
        ...

    def may_overwrite(self, register: int) -> bool:
        """Whether this op may write its result over the array of an operand, which nothing reads any more."""
        ...

    def mask_words(self, register: int, start: int, n: int) -> Array:
        """Elements [start, start + n) of the party's share of the mask of a WIRE, flat; expanded only for this call
        where that is possible."""
        ...

    def add_mask(self, register: int, words: Array, sign: int, out: Array | None = None) -> Array:
        """`words`, of the register's shape, plus or minus (sign 1 or -1) that share, in one pass where possible; `out`
        is contiguous, and may be `words`."""
        ...

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array:
        """A party's shares, or the dealer's offset, of sums of squares of a WIRE laid out so, along the middle axis."""

    def affine(self, register: int) -> Array:
        """`public` less this party's share of the mask, of a WIRE."""
        ...

    def halved(self, register: int) -> Array:
        """2X - [mask] at party 0, 2 (X + [mask]) at party 1: kept as `affine` is."""
        ...

    def take_ahead(self) -> tuple[int, Array] | None:
        """What `ahead` made for this op, with the operand that was known; None where nothing was."""
        ...

    def secret(self, slot: int, spec: Secret, start: int, n: int) -> Array:
        """This party's share of elements [start, start + n) of secret `slot`: expanded, or received."""
        ...


class DealerContext(Protocol):
    """What the dealer's executor lends to a gate: masks and offsets by register (None stands for 0), a way to share."""

    kernels: Kernels
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

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array: ...
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
    """Plain values of registers, and the masks of wires (the rounding of a truncation depends on them) and offsets."""

    kernels: Kernels
    op: int

    @property
    def owns(self) -> tuple[Prg, Prg]:
        """The streams that each party has alone."""
        ...

    @property
    def types(self) -> Types: ...
    def __getitem__(self, register: int) -> Array: ...
    def __setitem__(self, register: int, value: Array) -> None: ...
    def mask(self, register: int) -> Array: ...
    def mask_share(self, register: int, party: int) -> Array: ...
    def feed(self, name: str) -> Array:
        """What a role gave, in clear."""
        ...

    def constant(self, index: int) -> Array:
        """An array of the plan."""
        ...

    def reveal(self, result: str, value: Array) -> None:
        """What roles learn as a result."""
        ...


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
class Part:
    """A part of a protocol, for reports. explanation: what it does, in a line. docs/protocols.md has the protocols."""

    name: str
    explanation: str


@dataclass(frozen=True)
class Revelation:
    """What an instruction reveals, as a sentence. whole: it is said once for a plan, after the others."""

    sentence: str
    whole: bool = False


Owners: TypeAlias = "Mapping[str, tuple[str, str]]"
"""Feed -> its role, and what the role calls it."""

GATES: dict[str, type[Gate]] = {}
"""Every gate by the name under which a plan stores it: the name of its class."""


@dataclass(frozen=True)
class Gate:
    """Base of all gates. Subclasses are frozen dataclasses, or families of them that say so (`family=True`)."""

    fresh: ClassVar[bool]
    """Whether every result is an array of its own. One that is not may show an array of an operand (see `shows`)."""
    reveals: ClassVar[bool]
    """Whether anybody learns anything by it; `revelations` says what."""
    communicates: ClassVar[bool] = False
    """Whether it sends the other party a message: see the last section of this class."""
    flattens: ClassVar[bool] = False
    """Whether the parties work on flat arrays, so that an operand that is not contiguous is copied."""
    elementwise: ClassVar[bool] = False
    """Whether elements of its results come from those at the same place of its operands alone: with NumPy's
    broadcasting, or in C order where there are as many."""
    quick_bits: ClassVar[int] = 64
    """The widest ring of its results in which it is quick (AVX-512 multiplies 52 bits in a quarter of the time)."""
    protocol: ClassVar[Part | None] = None
    """As what a cost report names it, where it is worth naming."""

    def __init_subclass__(cls, family: bool = False) -> None:
        """Enters the class into GATES. family: it is only a base of gates."""
        super().__init_subclass__()
        if family:
            return
        missing = [name for name in ("fresh", "reveals") if not hasattr(cls, name)]
        missing += ["infer"] if cls.infer is Gate.infer else []
        if missing:
            raise TypeError(f"gate {cls.__name__} does not declare {' and '.join(missing)}: see Gate")
        if cls.reveals != (cls.revelations is not Gate.revelations):
            raise TypeError(f"gate {cls.__name__} has `reveals` and `revelations` that contradict each other")
        if cls.__name__ in GATES:
            there = GATES[cls.__name__]
            raise TypeError(f"gate {cls.__name__} of {cls.__module__}: {there.__module__} has one of that name")
        GATES[cls.__name__] = cls

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

    # -- the readings --------------------------------------------------------------------------------------------------

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        """The dependent secrets, slot by slot, for the elements that `elements` counts."""
        return ()

    def elements(self, types: Types) -> int:
        """How many elements each secret has."""
        return types[self.outs[0]].size

    def deal(self, d: DealerContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no dealer's side")

    def evaluate(self, p: PartyContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no parties' side")

    def meaning(self, s: MeaningContext) -> None:
        raise AssertionError(f"{type(self).__name__} has no meaning")

    def mask(self, p: MaskContext) -> Array:
        """This party's share of the mask of a WIRE that the gate makes."""
        raise AssertionError(f"{type(self).__name__} makes no mask")

    def ahead(self, p: PartyContext, known: int) -> Array:
        """What can be computed from the operand `known_ahead` alone; `evaluate` gets it by `take_ahead`."""
        raise AssertionError(f"{type(self).__name__} does nothing ahead")

    # -- what the verifier of plans asks -------------------------------------------------------------------------------

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        """What its results are, from its operands' types and layouts and its attributes alone (`types` of the results
        say only what a plan claims). Raises `rules.Refused` where it cannot be applied so; no attribute is trusted but
        in its type."""
        raise AssertionError(f"{type(self).__name__} does not say what it makes")

    def rows(self, batch: Batch) -> int:
        """Where the rows of a batch lie in its results, from where they lie in its operands (`rows.py`). RowsMeet where
        an element would depend on several of them, or on which one it is."""
        expect_apart(self.elementwise)
        return aligned(batch, self.ins, batch.types[self.outs[0]].shape)

    # -- what the compiler asks ----------------------------------------------------------------------------------------

    @property
    def feeds(self) -> tuple[str, ...]:
        """What it takes from roles."""
        return ()

    @property
    def results(self) -> tuple[str, ...]:
        """What it sends to roles."""
        return ()

    def result(self, out: int, types: Types) -> Form:
        """The form of a result, from the forms of the operands."""
        return Form.SHARED

    def demand(self, register: int, types: Types) -> int:
        """Ring bits that operand `register` must have, given the rings of the results."""
        return max(types[out].bits for out in self.outs)

    def preference(self, register: int, types: Types) -> int:
        """Ring bits beyond `demand` at which the gate is cheaper; 1 where it does not care."""
        return 1

    def most_bits(self, most: Mapping[int, int]) -> int:
        """The widest ring that its results can have; `most` has that of its operands, where it is below 64 bits."""
        return 64

    def wants_mask(self, register: int, types: Types) -> bool:
        """Whether parties need shares of this masked operand's mask (so its opening may not absorb an offset)."""
        return False

    def wants_true_shares(self, register: int, types: Types) -> bool:
        """Whether this additive operand may not carry an offset."""
        return True

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        """What is revealed to whom."""
        return ()

    # -- what the executors and reports ask ----------------------------------------------------------------------------

    def shows(self, types: Types) -> tuple[int, ...]:
        """The operands of which a result may show the array, or the share of the mask, at either party."""
        return () if self.fresh else self.ins

    def is_view(self, types: Types) -> bool:
        """Whether the result is nothing but a view of the first operand, which takes no memory of its own."""
        return False

    def known_ahead(self, types: Types, made: Container[int]) -> int | None:
        """The operand with which a part can be computed before the op's turn; `made`: what is not there until then."""
        return None

    def mask_is_stream(self, party: int) -> bool:
        """Whether `mask` is the stream of this op as it is, so that it can be expanded in pieces."""
        return False

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        """What a party holds beside operands and results. strided: operands that may not be contiguous; kept: those
        whose mask is there anyway."""
        if not self.flattens:
            return 0
        copies = sum(types[r].memory_bytes for r in self.ins if r in strided)
        planes = sum(2 * types[r].size // 8 for r in self.outs if types[r].domain is Domain.BITS)
        return copies + planes

    def material_bytes(self, types: Types) -> int:
        """Bytes of corrections, all to one party."""
        secrets = self.secrets(types)
        if not secrets:
            return 0
        n = self.elements(types)
        return sum(spec.size(n) for spec in secrets)

    # -- what gates that communicate have ------------------------------------------------------------------------------

    def segments(self, types: Types) -> list[tuple[int, int, int]]:
        """(first element, elements, bytes) of the pieces in which each party sends its message."""
        return []

    def opened_bytes(self, types: Types) -> int:
        """Bytes of the message of one party."""
        return sum(size for _, _, size in self.segments(types))

    def begin(self, p: PartyContext) -> tuple[Array, Array]:
        """(this party's share, the buffer that collects the masked value), in the layout of the pieces."""
        raise AssertionError(f"{type(self).__name__} sends nothing")

    def pack(self, p: PartyContext, x: Array, masked: Array, start: int, n: int, out: Array) -> None:
        """Mask and pack elements [start, start + n) of this party's share."""
        raise AssertionError(f"{type(self).__name__} sends nothing")

    def absorb(self, p: PartyContext, masked: Array, start: int, n: int, received: Array) -> None:
        """Add the peer's message to the same elements."""
        raise AssertionError(f"{type(self).__name__} receives nothing")

    def end(self, p: PartyContext, masked: Array) -> None:
        """All has arrived: the result is in `masked`."""
        raise AssertionError(f"{type(self).__name__} receives nothing")


def narrowest(registers: tuple[int, ...], most: Mapping[int, int]) -> int:
    """`most_bits` of a gate whose results have the ring of its operands."""
    return min((most.get(r, 64) for r in registers), default=64)
