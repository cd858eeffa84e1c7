"""What executors lend to gates: as much of an execution as a gate may see at a party, the dealer or the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from ..registers import Register
from .secrets import Secret

if TYPE_CHECKING:
    from ..kernels import Kernels, Prg

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

    def unmasked(self, register: int) -> Array:
        """`public` less this party's share of the mask, of a WIRE: in one pass where possible."""
        ...

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array:
        """A party's shares, or the dealer's offset, of sums of squares of a WIRE laid out so, along the middle axis."""

    def affine(self, register: int) -> Array:
        """`unmasked`, kept across executions for what an earlier one opened."""
        ...

    def halved(self, register: int, keep: bool) -> Array:
        """What a halved product multiplies: 2X - [mask] at party 0, X + [mask] at party 1. keep: as `affine` is."""
        ...

    def take_ahead(self) -> tuple[int, Array] | None:
        """What `ahead` made for this op, with the operand that was known; None where nothing was."""
        ...

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What the op's gate says of its secrets: asked once for a plan."""
        ...

    def secret(self, slot: int, start: int, n: int) -> Array:
        """This party's share of elements [start, start + n) of secret `slot`: expanded, or received."""
        ...

    def add_secret(self, slot: int, words: Array, out: Array) -> None:
        """`words` plus this party's share of all of secret `slot` into `out`, which may be `words`; both are flat."""
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

    def add_mask_share(self, words: Array, register: int, party: int, twice: bool = False) -> Array:
        """`words`, or `twice` them, plus that share: in one pass where possible."""
        ...

    def square_sums(self, register: int, shape: tuple[int, int, int], shift: int) -> Array: ...
    def constant(self, register: int) -> Array:
        """A constant of the plan, which the dealer knows too."""
        ...

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """As a party has them."""
        ...

    def share(self, slot: int, start: int, n: int, value: Array) -> None:
        """Share elements [start, start + n) of secret `slot`: the half of one party is its stream, the other is sent
        the correction. The array may be changed afterwards."""
        ...

    def room(self, nbytes: int) -> Array:
        """Where a kernel packs a correction of so many bytes itself, which is sent next."""
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
