"""How executors and servers see the outside: small interfaces, without sockets, threads or files.

A plan fixes the length of every message, so what these move carries no shape, type or name: the reader states how
many bytes it expects, and anything else is the peer's fault (`PeerError`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .messages import Message

__all__ = [
    "Buffer",
    "Channel",
    "DealtRecords",
    "Keeper",
    "PartyChannel",
    "RecordSink",
    "Records",
    "Sink",
    "Source",
    "as_bytes",
]

Buffer: TypeAlias = "bytes | bytearray | memoryview | np.ndarray"


def as_bytes(buffer: Buffer) -> memoryview:
    """The buffer as flat bytes, without a copy; it must be contiguous."""
    view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
    if not view.nbytes:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


class Channel(Protocol):
    """The way to the other party. Messages arrive whole and in order."""

    def send(self, buffer: Buffer) -> None:
        """Sends one message without waiting for the peer. The buffer must not be changed afterwards."""

    def recv(self, nbytes: int, at: object) -> memoryview:
        """The next message, of exactly `nbytes` bytes; `at` (an op, an instruction) is named in the `PeerError`
        that a dead peer, a deadline or another length raises."""


class Source(Protocol):
    """A party's end of the dealer's material: one stream of bytes, read in the order in which it was written."""

    def read(self, nbytes: int, at: object) -> memoryview:
        """The next `nbytes` bytes; `at` as in `Channel.recv`."""


class Sink(Protocol):
    """The dealer's end of one party's material."""

    def room(self, nbytes: int) -> np.ndarray:
        """Memory for so many bytes, which are the next to be written: perhaps where they would be copied to."""

    def write(self, buffer: Buffer) -> None:
        """Appends to the stream; may wait when the party is behind. The buffer must not be changed afterwards."""


class Keeper:
    """What `Sink`s have in common that keep what is written, where it is."""

    def room(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)


class PartyChannel(Channel, Protocol):
    """The same with what the parties say to each other between executions."""

    execution: int
    """The one that is in progress: what is sent belongs to it, and what is received must."""

    def control(self) -> Message | None:
        """The next control message, if one has arrived."""


class Records(Source, Protocol):
    """A party's end of the dealer's records: a `Source` between `open` and `finish`, wherever they come from. They are
    taken in the order of their indices; those that are passed over are burnt."""

    def open(self, procedure: str, index: int, at: object) -> None:
        """Passes over records below `index` and begins to read that one; MaterialError if it is of another
        procedure."""

    def finish(self, at: object) -> dict[str, Any]:
        """What the dealer says of the record at its end: `seconds`, `bytes`. MaterialError if there is more of it."""


class DealtRecords(Records, Protocol):
    """The same, from a dealer that deals while the parties compute."""

    def announced(self, procedure: str) -> int | None:
        """The index of the next record, if it is there and one of `procedure`; does not wait."""

    def next_of(self, procedure: str) -> int:
        """Passes over records up to the next one of `procedure`; its index."""


class RecordSink(Sink, Protocol):
    """The dealer's end of one party's records: a `Sink` between `begin` and `end` or `drop`, wherever they go."""

    used: int
    """The last record that the party is done with; -1 at first."""

    def begin(self, procedure: str, index: int) -> None:
        """A record of `procedure`; indices rise."""

    def flush(self) -> None:
        """Sends what was gathered, because nothing more may come for a while."""

    def end(self, seconds: float, written: int) -> None:
        """The record is complete: the dealer's time for it, and its bytes for both parties."""

    def drop(self) -> None:
        """The record is abandoned; the party skips what was sent of it."""

    def credit(self, message: Message) -> None:
        """Takes note of what the party has read."""
