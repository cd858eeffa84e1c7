"""The second connection between servers, which carries everything that one sends another once they have met.

    p1 -> p0  hello                       CURVE
    p0 -> p1  invitation, ticket, key     CURVE
    p1 -> p0  an empty message            stream, admitted by the ticket
    p0 -> p1  welcome, everything else    stream, sealed under the key

A `StreamServer` is p0's end of all its streams (a ROUTER), a `Stream` p1's end of one (a DEALER). The key is as secret
and as authentic as the CURVE connection that carried it. The ticket admits one connection, so that a stranger's ends
at its handshake. Why not CURVE for all: docs/decisions/011.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import zmq

from ..errors import PeerError
from .curve import TICKET_BYTES, TICKET_USER, Gatekeeper
from .sealed import FRAME_BYTES, KEY_BYTES, SEAL_BYTES, Opener, Sealer
from .socket import bind, configure, server_socket

__all__ = ["Stream", "StreamServer"]

LIMITS = 512, 8  # bytes of a message and messages that the server takes: arrivals, heartbeats


def _route(ticket: bytes) -> bytes:
    """The routing name under which the holder of a ticket connects."""
    return b"\1" + ticket  # ZeroMQ reserves a first byte of 0


class StreamServer:
    """Sends what a server says to other servers. `routes`: machine -> its route, once it has arrived."""

    def __init__(self, context: zmq.Context[Any], gatekeeper: Gatekeeper, name: str, address: str) -> None:
        """Binds `address`; InputError, for the server `name`, when that cannot be."""
        self.routes: dict[str, bytes] = {}
        self.socket = server_socket(context, address)
        self.socket.plain_server = True
        self.socket.maxmsgsize, self.socket.rcvhwm = LIMITS
        self.address = bind(self.socket, name, address)
        self._gatekeeper = gatekeeper
        self._invited: dict[str, bytes] = {}
        self._sealers: dict[str, Sealer] = {}
        self._sending = self._stopped = False

    def invite(self, machine: str) -> tuple[int, bytes, bytes]:
        """The port, a ticket and a key for a machine that has said hello; earlier invitations become void."""
        ticket, key = os.urandom(TICKET_BYTES), os.urandom(KEY_BYTES)
        self._gatekeeper.admit(ticket, machine)
        self._invited[machine] = _route(ticket)
        self._sealers[machine] = Sealer(key)
        return int(self.address.rpartition(":")[2]), ticket, key

    def arrivals(self) -> list[str]:
        """The machines that have connected since the last call."""
        arrived = []
        while self.socket.poll(0):
            route = self.socket.recv_multipart()[0]
            for machine, invited in self._invited.items():
                if route == invited and machine not in self.routes:
                    self.routes[machine] = route
                    arrived.append(machine)
        return arrived

    def send(self, machine: str, parts: Sequence[memoryview], *, control: bool) -> None:
        """Sends a message without waiting; PeerError when the machine is gone. Buffers may be changed afterwards."""
        route = self.routes[machine]
        self._sending = True
        try:
            for frame in self._sealers[machine].frames(parts, control=control):
                self.socket.send(route, zmq.SNDMORE)
                self.socket.send(frame)
        except zmq.ZMQError:
            raise PeerError(f"{machine} is gone: nothing can be sent to it", machine) from None
        finally:
            self._sending = False
            if self._stopped:
                self._stopped = False
                raise KeyboardInterrupt

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt: now, or after the message that is being sent, because a farewell is to follow."""
        if not self._sending:
            raise KeyboardInterrupt
        self._stopped = True

    def close(self) -> None:
        self.socket.close()


class Stream:
    """The receiving end."""

    def __init__(self, context: zmq.Context[Any], server: str, address: str, ticket: bytes, key: bytes) -> None:
        """For the invitation of `server`. `connect` begins it."""
        self.address = address
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        configure(self.socket, address)
        self.socket.maxmsgsize = FRAME_BYTES + SEAL_BYTES
        self.socket.plain_username, self.socket.plain_password = TICKET_USER, ticket.hex().encode()
        self.socket.routing_id = _route(ticket)
        self._opener = Opener(server, key)

    def connect(self) -> None:
        """Connects to the server, and tells it so by an empty message. zmq.ZMQError for a wrong address."""
        self.socket.connect(self.address)
        self.socket.send(b"")

    def receive(self, flags: int) -> tuple[bool, list[memoryview]] | None:
        """Whether the next message is a control message, and its parts; None: when none has arrived or (flags=0) does
        within the socket's timeout."""
        try:
            while (message := self._opener.open(self.socket.recv(flags, copy=False))) is None:
                continue
        except zmq.Again:
            return None
        return message
