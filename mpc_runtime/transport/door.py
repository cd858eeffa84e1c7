"""Where connections come in: an address of a front's own, or those that another process has taken for it.

A service has one address for all of its plans, and a process for each of them. A connection therefore begins with its
*route*, from which the service sees for which plan it is (`servers/reception.py`), before TLS and without any:

    mark (1) | route (16)

The route is a hash of the plan's hash. Nothing depends on it but which process is given the connection: who is at the
other end is proved to that process, and so is the plan.
"""

from __future__ import annotations

import hashlib
import socket
from contextlib import suppress
from typing import Protocol

from .address import listening

__all__ = ["LOBBY", "ROUTE_BYTES", "ROUTE_MARK", "Door", "Handed", "Listener", "hand_on", "preamble", "route_of"]

ROUTE_MARK = b"\x02"  # TLS begins with 22, a stream with 1
ROUTE_BYTES = 16
LOBBY = ""
"""In place of a plan's hash: the service itself."""


def route_of(plan_hash: str) -> bytes:
    return hashlib.sha256(b"mpc route\0" + plan_hash.encode()).digest()[:ROUTE_BYTES]


def preamble(plan_hash: str) -> bytes:
    """What a connection to a server begins with."""
    return ROUTE_MARK + route_of(plan_hash)


class Door(Protocol):
    """Connections for one front."""

    address: str
    """Where they are made to."""

    def fileno(self) -> int: ...

    def accept(self) -> tuple[socket.socket, str]:
        """The next connection, which does not block, and the host that it is from. OSError when there is none."""

    def close(self) -> None: ...


class Listener:
    """An address (port 0: one that the system chooses); InputError when it cannot be had."""

    def __init__(self, server: str, address: str) -> None:
        self._socket = listening(server, address)
        self.address = f"{address.rpartition(':')[0]}:{self._socket.getsockname()[1]}"

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> tuple[socket.socket, str]:
        connection, address = self._socket.accept()
        return connection, str(address[0])

    def close(self) -> None:
        self._socket.close()


class Handed:
    """Connections that were made to `address`, and come from another process (`hand_on`) by this end of a pair of
    sockets."""

    def __init__(self, way: socket.socket, address: str) -> None:
        self._way = way
        self._way.setblocking(False)
        self.address = address

    def fileno(self) -> int:
        return self._way.fileno()

    def accept(self) -> tuple[socket.socket, str]:
        _, files, _, _ = socket.recv_fds(self._way, 1, 1)
        if not files:
            raise OSError("whoever handed connections on has ended")
        connection = socket.socket(fileno=files[0])
        try:
            return connection, str(connection.getpeername()[0])
        except OSError:
            connection.close()
            raise

    def close(self) -> None:
        self._way.close()


def hand_on(way: socket.socket, connection: socket.socket) -> bool:
    """Gives a connection away to the `Handed` at the other end; False, and it is closed, when that takes no more."""
    handed = False
    with connection, suppress(OSError):
        handed = socket.send_fds(way, [b"\0"], [connection.fileno()]) > 0
    return handed
