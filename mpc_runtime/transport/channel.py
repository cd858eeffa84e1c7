"""What an executor sees of the outside: three small interfaces, and nothing of sockets, threads or files.

A plan fixes the length of every message, so none of the three carries a shape, a type or a name: the reader states how
many bytes it expects, and anything else is the peer's fault (`PeerError`).
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

__all__ = ["Buffer", "Channel", "Sink", "Source"]

Buffer: TypeAlias = "bytes | bytearray | memoryview | np.ndarray"


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

    def write(self, buffer: Buffer) -> None:
        """Appends to the stream; may wait when the party is behind. The buffer must not be changed afterwards."""
