"""What a front knows of those who have come (`front.py`), what they have said, and how much room they get."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from .line import Limits, Line
from .messages import Message

__all__ = ["Arrivals", "Guest", "Occupancy", "Quota", "Room", "Wake"]


@dataclass(frozen=True)
class Quota:
    """How fast connections are taken, and what those who have proved a key may take. Messages and bytes are those that
    nobody has looked at yet."""

    limits: Limits
    accepts_per_second: float = 30.0
    """A handshake takes about a millisecond."""
    accepts_at_once: float = 40.0
    connections: int = 256
    per_key: int = 16
    messages: int = 16
    """Of a connection; it is not read beyond them."""
    key_bytes: int = 1 << 20
    all_bytes: int = 1 << 22
    """One message of each key is always let through, whatever its size, so these are exceeded by less than one of
    each."""
    unsent_bytes: int = 1 << 20
    """That wait to be sent to a connection; it is closed beyond them."""


@dataclass(frozen=True)
class Occupancy:
    """What a front has taken, and holds now."""

    taken: int
    """Connections since it began."""
    connections: int
    strangers: int
    """Of them, those that have not proved a key."""
    messages: int
    """That nobody has looked at, complete ones."""
    bytes: Mapping[str, int]
    """Of a key's messages that nobody has looked at, complete or not."""
    tickets: int
    """That have not been shown."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Connections that were not taken or ended, by reason, since it began."""


class Wake:
    """Wakes one thread that waits for the readiness of files."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        return self._near.fileno()

    def set(self) -> None:
        if self._rung:
            return  # nobody has looked since
        self._rung = True
        with suppress(OSError):  # it is full, which wakes too
            self._far.send(b"\0")

    def clear(self) -> None:
        """To be called before looking at what one may have been woken for."""
        with suppress(OSError):
            self._near.recv(1 << 12)
        self._rung = False  # after the bytes: else one that came between would be gone, and never be sent again

    def close(self) -> None:
        self._near.close()
        self._far.close()


@dataclass
class Guest:
    """A connection that was made to us. name: of its key's holder, empty until it has proved one."""

    connection: socket.socket
    address: str
    until: float
    """When a stranger, or one that was refused, is sent away."""
    route: int
    line: Line | None = None
    key: str = ""
    name: str = ""
    waiting: int = 0
    """Messages that nobody has looked at."""
    taking: int = 0
    """Bytes that the message in hand has been given room for."""
    begun: float = 0.0
    """When it was."""
    told: float = 0.0
    """When a guest whose message finds no room was last told that we live."""
    leaving: bool = False
    drained: int = 0
    events: int = 0
    passed: bool = False
    """Whether it has begun with a route."""
    passing: int = 0
    """Bytes of that which have not arrived."""
    shown: bytearray = field(default_factory=bytearray)
    """The ticket, as far as it has come."""

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.line.queued if self.line is not None else 0


class Room:
    """For messages that nobody has looked at, counted by key and in all. Used by two threads."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def reserve(self, guest: Guest, nbytes: int) -> bool:
        """Whether a guest's next message may be taken now; if so, there is room for it until `give_back`."""
        with self._lock:
            held, total = self._held[guest.key], sum(self._held.values())
            too_much = held + nbytes > self._quota.key_bytes or total + nbytes > self._quota.all_bytes
            if (held and too_much) or guest.waiting >= self._quota.messages:
                return False
            self._held[guest.key] += nbytes
            guest.waiting += 1
        guest.taking, guest.begun = nbytes, time.monotonic()
        return True

    def give_back(self, guest: Guest, nbytes: int) -> None:
        """One of the guest's messages takes no room any more."""
        with self._lock:
            guest.waiting -= 1
            self._held[guest.key] -= nbytes
            if not self._held[guest.key]:
                del self._held[guest.key]

    def held(self) -> dict[str, int]:
        """Bytes that are taken, by key."""
        with self._lock:
            return {key: count for key, count in self._held.items() if count}


class Arrivals:
    """Messages that have arrived and that nobody has looked at. One thread puts them here, another is offered them."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._new: deque[tuple[Guest, Message, int]] = deque()
        self._waiting: list[tuple[Guest, Message, int]] = []  # those that were offered in vain

    def __len__(self) -> int:
        return len(self._new) + len(self._waiting)

    def put(self, guest: Guest, message: Message, nbytes: int) -> None:
        """nbytes: the room that it takes."""
        self._new.append((guest, message, nbytes))

    def offer(self, take: Callable[[Message], bool]) -> bool:
        """Offers all of them, in their order; what is not taken waits, and so does what is behind it on its connection.
        True if any was taken, whose room is free again."""
        while self._new:
            self._waiting.append(self._new.popleft())
        offered, self._waiting = deque(self._waiting), []
        count, behind = len(offered), set[int]()
        try:
            while offered:
                guest, message, nbytes = offered.popleft()
                if guest.route in behind or not take(message):
                    behind.add(guest.route)
                    self._waiting.append((guest, message, nbytes))
                else:
                    self._room.give_back(guest, nbytes)
        finally:
            self._waiting += offered
        return len(self._waiting) < count
