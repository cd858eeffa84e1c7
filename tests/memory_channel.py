"""Channels inside one process, for tests and for the simulation of all machines by threads. No bytes are copied twice,
nothing is encrypted, and a peer that fails is made known to the other by `close`.

    ends = channel_pair()              # ends[0] for p0, ends[1] for p1
    sink, source = material_pipe()     # the dealer writes, the party reads
"""

from __future__ import annotations

import threading
import time
from collections import deque

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.channel import Buffer, Keeper, as_bytes

__all__ = ["MemoryChannel", "MemorySink", "MemorySource", "channel_pair", "material_pipe"]

DEADLINE_SECONDS = 60.0


class _Queue:
    """Messages one way between two threads, and the end of them."""

    def __init__(self, sender: str, deadline: float) -> None:
        self.sender = sender
        self.deadline = deadline
        self.messages: deque[memoryview] = deque()
        self.changed = threading.Condition()
        self.closed: str | None = None

    def put(self, message: memoryview) -> None:
        with self.changed:
            self.messages.append(message)
            self.changed.notify()

    def close(self, reason: str) -> None:
        with self.changed:
            self.closed = self.closed or reason
            self.changed.notify_all()

    def get(self, at: object) -> memoryview:
        until = time.monotonic() + self.deadline
        with self.changed:
            while not self.messages:
                if self.closed is not None:
                    raise PeerError(f"{self.sender} is gone while we wait at {at}: {self.closed}", self.sender, str(at))
                if not self.changed.wait(until - time.monotonic()):
                    raise PeerError(
                        f"{self.sender} sent nothing for {self.deadline:g} s while we wait at {at}",
                        self.sender,
                        str(at),
                    )
            return self.messages.popleft()


class MemoryChannel:
    """One end of `channel_pair`; a `Channel`. Counts the payload it has moved."""

    def __init__(self, outgoing: _Queue, incoming: _Queue) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.sent_messages = 0
        self.sent_bytes = 0
        self.received_bytes = 0

    def send(self, buffer: Buffer) -> None:
        message = as_bytes(buffer)
        self.sent_messages += 1
        self.sent_bytes += message.nbytes
        self._outgoing.put(message)

    def recv(self, nbytes: int, at: object) -> memoryview:
        message = self._incoming.get(at)
        if message.nbytes != nbytes:
            peer = self._incoming.sender
            raise PeerError(f"{peer} sent {message.nbytes} bytes at {at}, where the plan has {nbytes}", peer, str(at))
        self.received_bytes += nbytes
        return message

    def close(self, reason: str = "it closed its channel") -> None:
        """Wakes a peer that waits, with an error; what has been sent can still be received."""
        self._outgoing.close(reason)


class MemorySink(Keeper):
    """The writing end of `material_pipe`; a `Sink`."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self.written_bytes = 0

    def write(self, buffer: Buffer) -> None:
        message = as_bytes(buffer)
        self.written_bytes += message.nbytes
        self._queue.put(message)

    def close(self, reason: str = "it closed its material") -> None:
        """Wakes a party that waits for more, with an error."""
        self._queue.close(reason)


class MemorySource:
    """The reading end of `material_pipe`; a `Source`. Reads need not follow the boundaries of the writes."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self._rest = memoryview(b"")
        self.read_bytes = 0

    def read(self, nbytes: int, at: object) -> memoryview:
        self.read_bytes += nbytes
        while not self._rest.nbytes and nbytes:
            self._rest = self._queue.get(at)
        if nbytes <= self._rest.nbytes:
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            return piece
        pieces, missing = [self._rest], nbytes - self._rest.nbytes
        while missing > 0:
            pieces.append(self._queue.get(at))
            missing -= pieces[-1].nbytes
        last = pieces[-1]
        cut = last.nbytes + missing  # missing <= 0: the last piece may hold more than is wanted
        pieces[-1], self._rest = last[:cut], last[cut:]
        return memoryview(b"".join(pieces))


def channel_pair(
    deadline: float = DEADLINE_SECONDS, names: tuple[str, str] = ("p0", "p1")
) -> tuple[MemoryChannel, MemoryChannel]:
    """Two joined channels; a wait longer than `deadline` seconds is a `PeerError`."""
    forth, back = _Queue(names[0], deadline), _Queue(names[1], deadline)
    return MemoryChannel(forth, back), MemoryChannel(back, forth)


def material_pipe(deadline: float = DEADLINE_SECONDS, name: str = "dealer") -> tuple[MemorySink, MemorySource]:
    """A joined sink and source of unlimited capacity."""
    queue = _Queue(name, deadline)
    return MemorySink(queue), MemorySource(queue)
