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

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from ..registers import TILE, Domain, Form
from .contexts import Array, DealerContext, MaskContext, MeaningContext, PartyContext, Types
from .rows import Batch, aligned, expect_apart
from .rules import Declared, Layout
from .secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

In: TypeAlias = int
Out: TypeAlias = int
Ins: TypeAlias = tuple[int, ...]
Outs: TypeAlias = tuple[int, ...]


def tiles(n: int) -> Iterable[tuple[int, int]]:
    """(start, length) of the tiles of n elements. Most tensors are one."""
    if 0 < n <= TILE:
        return ((0, n),)
    return ((start, min(TILE, n - start)) for start in range(0, n, TILE))


def flat(x: Array) -> Array:
    """The elements in C order, as one contiguous axis: what kernels take."""
    return x.ravel()


def spread(x: Array, shape: tuple[int, ...]) -> Array:
    """x in a shape to which it broadcasts. Mostly it has that shape, and to ask is quicker than NumPy's function."""
    return x if x.shape == shape else np.broadcast_to(x, shape)


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

    def turned(self) -> tuple[int, tuple[int, ...]] | None:
        """The operand that the result is with its axes in another order, and that order; None if it is not that."""
        return None

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
