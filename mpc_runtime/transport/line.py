"""Messages on a TLS connection, bounded before anything is allocated.

    body bytes (4) | number of parts (2) | bytes of each part (8 each) | body | parts

A `Line` never waits: it takes what has arrived and sends what fits, and whoever has it says when to go on. It may be
used by two threads, one of which receives. The same lines serve both ends (`front.py`, `call.py`).
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from .channel import Buffer, as_bytes
from .messages import BODY_BYTES

__all__ = ["Limits", "Line", "LineClosed", "TooMuch", "tune"]

_HEAD = struct.Struct(">IH")
_SIZE = struct.Struct(">Q")
JOIN_BYTES = 1 << 14  # smaller parts leave in one record of TLS
READ_BYTES = 1 << 14  # a record of TLS at most: all of a small message is read at once, a larger part into its place
HELD_BYTES, HELD_SECONDS = 1 << 18, 0.25  # of messages that may leave later
SEND_BYTES = 1 << 18  # handed to TLS at once; between two, others may use the line
KEEPALIVE = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 6000}
"""A machine that the network has lost is given up within seconds; milliseconds for the last one."""


class LineClosed(Exception):
    """The connection has ended. reason: OpenSSL's name for why, if it gave one."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class TooMuch(LineClosed):
    """What comes is no message within the limits. The connection is as it was, but nothing more can be read of it."""


@dataclass(frozen=True)
class Limits:
    """Of a message that is taken: bytes of its body, number of its payload's parts, and bytes of them together."""

    body: int = BODY_BYTES
    parts: int = 2
    payload: int = 1 << 10


def tune(connection: socket.socket) -> None:
    """What all of our TCP connections have in common: nothing waits to be sent, and a lost machine is noticed."""
    connection.setblocking(False)
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items() if sys.platform.startswith("linux") else ():
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Line:
    """One end of a connection."""

    def __init__(self, connection: ssl.SSLSocket, limits: Limits, reserve: Callable[[int], bool] = bool) -> None:
        """reserve: whether there is room for a message of so many bytes now; asked again until there is."""
        self.connection = connection
        self.limits = limits
        self.established = False
        self.queued = 0
        """Bytes that wait to be sent."""
        self._reserve = reserve
        self._lock = threading.Lock()
        self._out: deque[memoryview] = deque()
        self._held_until = 0.0  # 0 where nothing is held for others
        self._ahead = memoryview(b"")  # what has been read and belongs to what is expected next
        self._begin()

    def _begin(self) -> None:
        """The next message's head is awaited."""
        self._sizes: list[int] = []
        self._sizes_known = False
        self._wanted = 0  # bytes of the message in hand that wait for room
        self._parts: list[memoryview] = []
        self._expect(_HEAD.size)

    def _expect(self, nbytes: int) -> None:
        if nbytes <= len(self._ahead):  # it is here
            self._target, self._got = memoryview(bytearray(self._ahead[:nbytes])), nbytes
            self._ahead = self._ahead[nbytes:]
        else:
            self._target, self._got = np.empty(nbytes, np.uint8).data, 0  # memory that nobody has touched takes none

    # -- receiving ------------------------------------------------------------------------------------------------

    def shake_hands(self) -> bool:
        """Goes on with the handshake; True when it is done."""
        with self._lock:
            try:
                self.connection.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except (OSError, ValueError) as error:
                raise _closed(error) from None
            self.established = True
        return True

    def receive(self) -> list[memoryview] | None:
        """Body and parts of the next message; None when it has not arrived, or there is no room for it yet."""
        while self._got == len(self._target) or self._read():
            if self._got < len(self._target):
                continue
            if not self._sizes:
                self._take_head()
            elif not self._sizes_known:
                self._take_sizes()
            elif self._wanted:
                if not self._reserve(self._wanted):
                    if _hung_up(self.connection):
                        raise LineClosed("the connection was closed")
                    return None
                self._wanted = 0
                self._next_part()
            else:
                self._parts.append(self._target)
                if len(self._parts) == len(self._sizes):
                    parts = self._parts
                    self._begin()
                    return parts
                self._next_part()
        return None

    @property
    def stalled(self) -> bool:
        """Whether the message in hand waits for room."""
        return bool(self._wanted)

    def _take_head(self) -> None:
        body, count = _HEAD.unpack(self._target)
        if body > self.limits.body or count > self.limits.parts:
            raise TooMuch(
                f"a message of {body} bytes and {count} parts, where at most {self.limits.body} and "
                f"{self.limits.parts} are expected"
            )
        self._sizes = [body]
        self._expect(count * _SIZE.size)

    def _take_sizes(self) -> None:
        sizes = [size for (size,) in _SIZE.iter_unpack(self._target)]
        if sum(sizes) > self.limits.payload:
            raise TooMuch(f"a payload of {sum(sizes)} bytes, where at most {self.limits.payload} are expected")
        self._sizes += sizes
        self._sizes_known = True
        self._wanted = sum(self._sizes) + 1  # an empty message takes room too
        self._expect(0)

    def _next_part(self) -> None:
        self._expect(self._sizes[len(self._parts)])

    def _read(self) -> bool:
        """Takes what has arrived, up to what is expected; False when nothing has."""
        if not self._ahead:
            wanted = self._target[self._got :]
            with self._lock:
                try:
                    if len(wanted) >= READ_BYTES:
                        count = self.connection.recv_into(wanted)
                    else:
                        self._ahead = memoryview(self.connection.recv(READ_BYTES))
                        count = len(self._ahead)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return False
                except (OSError, ValueError) as error:
                    raise _closed(error) from None
            if not count:
                raise LineClosed("the connection was closed")
            if not self._ahead:
                self._got += count
                return True
        count = min(len(self._target) - self._got, len(self._ahead))
        self._target[self._got : self._got + count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        self._got += count
        return True

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, body: bytes, payload: Sequence[Buffer] = (), *, later: bool = False) -> None:
        """Sends what fits and keeps the rest. The payload must not be changed afterwards. later: it may wait
        for others, to leave with them, at the next `flush`, or when it is `due`."""
        parts = [as_bytes(part) for part in payload]
        sizes = [part.nbytes for part in parts]
        head, nbytes = [_HEAD.pack(len(body), len(parts)), *map(_SIZE.pack, sizes), body], sum(sizes)
        small = nbytes <= JOIN_BYTES
        first = memoryview(b"".join([*head, *parts] if small else head))
        with self._lock:
            held = later and (not self._out or self._held_until > 0)
            self._out.append(first)
            self._out += () if small else (part for part in parts if part.nbytes)
            self.queued += first.nbytes + (0 if small else nbytes)
            if held and self.queued <= HELD_BYTES:
                self._held_until = self._held_until or time.monotonic() + HELD_SECONDS
            else:
                self._flush()

    @property
    def due(self) -> bool:
        """Whether something waits to be sent that should not wait for more."""
        return self.queued > 0 and time.monotonic() >= self._held_until

    def go_on(self) -> None:
        """Goes on with what is due."""
        if self.due:
            self.flush()

    def flush(self) -> bool:
        """Goes on with what is kept; True when there is none left."""
        with self._lock:
            self._flush()
            return not self._out

    def _flush(self) -> None:
        self._held_until = 0.0
        while self._out and self.established:
            self._join_small()
            try:
                sent = self.connection.send(self._out[0][:SEND_BYTES])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (OSError, ValueError) as error:
                raise _closed(error) from None
            self.queued -= sent
            self._out[0] = self._out[0][sent:]
            if not self._out[0].nbytes:
                self._out.popleft()

    def _join_small(self) -> None:
        """Makes one piece of the small ones that are next, the first of which TLS may have been given before."""
        count, nbytes = 0, 0
        for piece in self._out:
            if (nbytes := nbytes + piece.nbytes) > JOIN_BYTES:
                break
            count += 1
        if count > 1:
            self._out.appendleft(memoryview(b"".join([self._out.popleft() for _ in range(count)])))

    def finish(self) -> None:
        """Nothing more will be sent; the other end may still read what was."""
        with self._lock, suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with self._lock, suppress(OSError):
            self.connection.close()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other end has closed the connection, which nobody who does not read it learns otherwise."""
    poller = select.poll()
    poller.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))
    return bool(poller.poll(0))


def _closed(error: Exception) -> LineClosed:
    reason = getattr(error, "reason", None) or ""
    return LineClosed(getattr(error, "strerror", None) or str(error), str(reason))
