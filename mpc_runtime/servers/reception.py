"""Where a service takes connections: looks at the route with which each begins, and gives it to the process it is for.

Nothing is read but the route, and nothing is believed: who is there is proved, by TLS, to the process that is given the
connection, and so is the plan that its route only claims. What is for no plan goes to the lobby, a front of the service
itself. Connections that have not sent their route are few: the oldest gives way, and each has some seconds. How many
are taken a second is bounded by the fronts behind, which read no faster.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ..transport.door import LOBBY, ROUTE_BYTES, ROUTE_MARK, Listener, hand_on, route_of

__all__ = ["Reception"]

PENDING = 64
ROUTE_SECONDS = 5.0
ACCEPTS_AT_ONCE = 32
WAYS_BYTES = 1 << 16  # of a pair of sockets: connections that wait for a process which is starting


@dataclass
class _Arrival:
    connection: socket.socket
    until: float
    shown: bytes = b""


class Reception:
    """Of one address. `attend` waits for what comes, and sees to it."""

    def __init__(self, server: str, address: str) -> None:
        self._listener = Listener(server, address)
        self.address = self._listener.address
        self._lobby, self.lobby_end = _pair()
        self._ways: dict[bytes, socket.socket] = {route_of(LOBBY): self._lobby}
        self._ends: dict[str, socket.socket] = {}
        self._arrivals: dict[int, _Arrival] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def end_for(self, plan_hash: str) -> socket.socket:
        """The end from which a plan's process takes its connections. Those that come while there is none wait."""
        if plan_hash not in self._ends:
            self._ways[route_of(plan_hash)], self._ends[plan_hash] = _pair()
        return self._ends[plan_hash]

    def forget(self, plan_hash: str) -> None:
        """A plan is not served any more."""
        if (end := self._ends.pop(plan_hash, None)) is not None:
            end.close()
            self._ways.pop(route_of(plan_hash)).close()

    @property
    def plans(self) -> Mapping[str, socket.socket]:
        return self._ends

    def attend(self, seconds: float) -> None:
        """Takes what comes; returns after `seconds` without anything."""
        ready = self._selector.select(seconds)
        now = time.monotonic()
        for key, _ in ready:
            if key.fileobj is self._listener:
                self._accept(now)
            else:
                self._hear(key.data)
        for arrival in [arrival for arrival in self._arrivals.values() if now > arrival.until]:
            self._release(arrival).close()

    def close(self) -> None:
        self._listener.close()
        for arrival in list(self._arrivals.values()):
            self._release(arrival).close()
        for plan_hash in list(self._ends):
            self.forget(plan_hash)
        self._lobby.close()
        self._selector.close()

    def _accept(self, now: float) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            if len(self._arrivals) >= PENDING:
                self._release(next(iter(self._arrivals.values()))).close()
            arrival = _Arrival(connection, now + ROUTE_SECONDS)
            self._arrivals[connection.fileno()] = arrival
            self._selector.register(connection, selectors.EVENT_READ, arrival)
            self._hear(arrival)  # the route has mostly come with it

    def _hear(self, arrival: _Arrival) -> None:
        try:
            got = arrival.connection.recv(1 + ROUTE_BYTES - len(arrival.shown))
        except BlockingIOError:
            return
        except OSError:
            got = b""
        arrival.shown += got
        if not got or arrival.shown[:1] != ROUTE_MARK:
            self._release(arrival).close()
        elif len(arrival.shown) > ROUTE_BYTES:
            connection = self._release(arrival)
            hand_on(self._ways.get(arrival.shown[1:], self._lobby), connection)

    def _release(self, arrival: _Arrival) -> socket.socket:
        self._selector.unregister(arrival.connection)
        del self._arrivals[arrival.connection.fileno()]
        return arrival.connection


def _pair() -> tuple[socket.socket, socket.socket]:
    """The end at which connections are handed on, which never waits, and the other."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with suppress(OSError):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAYS_BYTES)
    return near, far
