"""That every word of a stream is used once, checked while a plan is executed (R1 of docs/protocols.md, section 0).

An executor made with `once=True` gives its streams a ledger and tells it which op is at work. A *word* is eight bytes
at one place of one stream of one execution's key. It belongs to the op, and the slot, that its stream is named after:
no other op may touch it. A *use* is what hides something, so a word has one:

    stream of           the use, which comes once                       what is no use, but the same share again
    an opening's mask   at its party, padding the value that it sends   expanding the party's share of that mask
    a secret            at the dealer, padding the correction           expanding, at its party, the half of the same
                                                                        elements
    an output           padding the share that one role is sent         nothing
    noise               drawing it                                      nothing

Gates and executors expand shares of masks and halves of secrets again instead of storing them (a comparison with three
thresholds reads its tables three times). That hides nothing new: it is always the share of the same wire or secret.
Received corrections are counted by the elements of the secret that they are for, and are had once. A key serves one
execution, so nothing is used again in another one.

What is not seen: a message that no word pads at all, which `tests/security` looks for in what is sent.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from ..gates.streams import PURPOSE_MASK, PURPOSE_NOISE, PURPOSE_OUTPUT, PURPOSE_SHARE

__all__ = ["AtWork", "Ledger", "Once", "UsedTwice"]

PURPOSES = {
    PURPOSE_MASK: "the mask",
    PURPOSE_SHARE: "secret {slot}",
    PURPOSE_OUTPUT: "output {slot}",
    PURPOSE_NOISE: "the noise",
}


class UsedTwice(AssertionError):
    """A word of a stream hides, or would have hidden, two things: a fault of a gate or an executor."""


@dataclass
class AtWork:
    """What an execution is doing: the op, and whether it is expanding the op's share of a mask."""

    op: int = 0
    mask: bool = False


class Ledger:
    """What one execution has used so far of the streams of one key, in bytes: the ledger of a `Prg`.

    where: an op's name for messages. halves: whether secrets' words are expanded as halves (at a party), and do not pad
    corrections (at the dealer).
    """

    def __init__(self, at: AtWork, where: Callable[[int], str], *, halves: bool) -> None:
        self._at = at
        self._where = where
        self._halves: set[tuple[int, int, int]] | None = set() if halves else None
        self._used: dict[int, list[int]] = {}  # stream -> ends of what is used: first, last, first, last, ...
        self._received: dict[int, list[int]] = {}  # the same of the elements of secrets that were received

    def use(self, stream: int, first: int, last: int) -> None:
        """Bytes [first, last) of a stream are about to be expanded. Raises UsedTwice."""
        purpose, op, slot = stream >> 56, stream >> 16 & (1 << 40) - 1, stream & (1 << 16) - 1
        what = f"{PURPOSES.get(purpose, f'purpose {purpose}').format(slot=slot)} of {self._where(op)}"
        if op != self._at.op:
            raise UsedTwice(f"{self._where(self._at.op)} uses words of {what}, which are for that op alone")
        if purpose == PURPOSE_MASK and self._at.mask:
            return
        if purpose == PURPOSE_SHARE and self._halves is not None:
            if (stream, first, last) in self._halves:
                return
            self._halves.add((stream, first, last))
        if not _enter(self._used.setdefault(stream, []), first, last):
            raise UsedTwice(f"bytes {first} to {last} of the stream for {what} are used a second time")

    def receive(self, slot: int, start: int, n: int) -> None:
        """Elements [start, start + n) of a secret of the op at work are about to be received. Raises UsedTwice."""
        if not _enter(self._received.setdefault(self._at.op << 16 | slot, []), start, start + n):
            what = f"secret {slot} of {self._where(self._at.op)}"
            raise UsedTwice(f"elements {start} to {start + n} of {what} are received a second time")


def _enter(ends: list[int], first: int, last: int) -> bool:
    """Adds [first, last) to a union of intervals, given by their ends; False where the union has a part of it."""
    if first == last:
        return True
    i = bisect(ends, first)  # odd inside an interval
    if i % 2 or (i < len(ends) and ends[i] < last):
        return False
    joins_before, joins_after = ends[i - 1 : i] == [first], ends[i : i + 1] == [last]
    ends[i - joins_before : i + joins_after] = [first] * (not joins_before) + [last] * (not joins_after)
    return True


class Once:
    """What an executor has used in all of its executions."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def ledger(self, key: bytes, at: AtWork, where: Callable[[int], str], *, halves: bool) -> Ledger:
        """The ledger of an execution under a key, of which only a digest is kept. Raises UsedTwice for one that another
        execution had."""
        digest = sha256(key).digest()
        if digest in self._keys:
            raise UsedTwice("the key of this execution was used for an earlier one")
        self._keys.add(digest)
        return Ledger(at, where, halves=halves)
