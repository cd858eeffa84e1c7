"""The streams on which servers send each other data: one for each direction, sealed under a key of its own.

    p0 -> p1  hello, a nonce                                 TLS, at p1's front
    p1 -> p0  invitation: a nonce, a ticket, a secret        TLS
    p0 -> p1  route, ticket, presence                        the stream: TCP to the same port
    p1 -> p0  welcome, a proof                               TLS
    p0 -> p1  everything else                                the stream

The keys are derived from the secret, both nonces, the plan's hash, and who sends to whom. p0 shows by its presence, the
first sealed frame, that it has them, and p1 by its proof; nothing is sent before. The ticket admits one connection and
is void afterwards. A stream is never resumed: a new one has a new invitation, and with it new keys.

Who sends has a ZeroMQ socket (STREAM, in ZeroMQ's words), which takes any number of frames without waiting. Who
receives reads the connection itself, frame by frame, when it wants to: all that it holds is one frame whose tag has not
been checked. What it does not read stays in the network, and at the sender. Why not ZeroMQ here: docs/decisions/016.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import PeerError
from .door import preamble
from .front import STREAM_MARK
from .sealed import FRAME_BYTES, HEAD, KEY_BYTES, NO_EXECUTION, TAG_BYTES, Head, Opener, Sealer

__all__ = ["Inlet", "Keys", "Outlet", "StreamEnded"]

BUFFER_BYTES = 1 << 16
LABEL_BYTES = 6
LINGER_MS = 500  # for a farewell on the way out
UNREAD = 2  # pieces that ZeroMQ takes of what comes back on a stream, which is nothing
_ROUTE = b"out"
_FIRST, _LAST = int(zmq.SNDMORE | zmq.NOBLOCK), int(zmq.NOBLOCK)
_LABEL = "mpc stream"


@dataclass(frozen=True)
class Keys:
    """Of one stream. data: seals its frames; proof: shows that its receiver has them; label: what both ends may call
    it in public."""

    data: bytes
    proof: str
    label: str = ""

    @staticmethod
    def derive(secret: bytes, nonces: tuple[str, str], plan_hash: str, sender: str, receiver: str) -> Keys:
        """nonces: the caller's and the host's, in hexadecimal digits."""
        info = "\0".join((_LABEL, plan_hash, sender, receiver)).encode()
        derived = HKDF(SHA256(), 2 * KEY_BYTES + LABEL_BYTES, bytes.fromhex(nonces[0] + nonces[1]), info).derive(secret)
        proof = hmac.new(derived[KEY_BYTES : 2 * KEY_BYTES], b"welcome", hashlib.sha256).hexdigest()
        return Keys(derived[:KEY_BYTES], proof, derived[2 * KEY_BYTES :].hex())

    def __repr__(self) -> str:
        return "Keys(…)"

    def proves(self, proof: str) -> bool:
        """Whether whoever says this has the keys."""
        return hmac.compare_digest(self.proof, proof)


class Outlet:
    """The sending end."""

    def __init__(
        self, context: zmq.Context[Any], receiver: str, address: str, ticket: bytes, keys: Keys, plan_hash: str
    ) -> None:
        """Goes to the server that has invited us."""
        self._receiver = receiver
        self._sealer = Sealer(keys.data)
        self._socket: zmq.Socket[bytes] = context.socket(zmq.STREAM)
        self._socket.ipv6 = "[" in address
        self._socket.linger = LINGER_MS
        self._socket.sndhwm, self._socket.rcvhwm = 0, UNREAD
        self._socket.reconnect_ivl = -1
        self._socket.setsockopt(zmq.STREAM_NOTIFY, 0)
        self._socket.connect_routing_id = _ROUTE
        self._socket.connect(f"tcp://{address}")
        self._send(preamble(plan_hash) + STREAM_MARK + ticket)
        self.send([memoryview(b"")], control=True)

    def send(self, parts: Sequence[memoryview], *, control: bool, execution: int = NO_EXECUTION) -> None:
        """Sends a message without waiting; PeerError when the receiver is gone. Buffers may be changed afterwards."""
        for frame in self._sealer.frames(parts, control=control, execution=execution):
            self._send(frame)

    def end(self) -> None:
        """Says that nothing more comes."""
        with suppress(PeerError):
            self._send(self._sealer.end())

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.send(_ROUTE, _FIRST)
            self._socket.send(data, _LAST)
        except zmq.ZMQError:
            raise PeerError(f"{self._receiver} is gone: nothing can be sent to it", self._receiver) from None


class StreamEnded(Exception):
    """The connection was closed."""


class Inlet:
    """The receiving end, on a connection that has shown its ticket."""

    def __init__(self, sender: str, connection: socket.socket, keys: Keys) -> None:
        self._sender = sender
        self._connection = connection
        self._opener = Opener(sender, keys.data)
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._first = self._last = 0  # what of the buffer has arrived and was not taken
        self._sealed = np.empty(FRAME_BYTES + TAG_BYTES, np.uint8).data
        self._head: Head | None = None
        self._got = 0  # bytes of a frame in hand that does not fit in the buffer

    def fileno(self) -> int:
        return self._connection.fileno()

    def take(self) -> tuple[Head, memoryview] | None:
        """The next frame; None when it has not arrived. PeerError when it is none or was altered, StreamEnded when no
        more can come."""
        while self._head is None:
            if self._last - self._first >= HEAD.size:
                self._head = Head.read(self._sender, self._buffer[self._first : self._last])
                self._first += HEAD.size
            elif not self._fill():
                return None
        head = self._head
        if self._got or head.nbytes > BUFFER_BYTES:
            sealed = self._large(head)
        else:
            while self._last - self._first < head.nbytes:
                if not self._fill():
                    return None
            sealed = self._buffer[self._first : self._first + head.nbytes]
            self._first += head.nbytes
        if sealed is None:
            return None
        self._head, self._got = None, 0
        return head, self._opener.open(head, sealed)

    def _large(self, head: Head) -> memoryview | None:
        """A frame that does not fit in the buffer, read to where it is opened."""
        if not self._got:
            self._got = self._last - self._first
            self._sealed[: self._got] = self._buffer[self._first : self._last]
            self._first = self._last = 0
        while self._got < head.nbytes:
            received = self._receive(self._sealed[self._got : head.nbytes])
            if not received:
                return None
            self._got += received
        return self._sealed[: head.nbytes]

    def _fill(self) -> bool:
        """Takes what has arrived into the buffer; False when nothing has."""
        if self._first:
            left = self._last - self._first
            self._buffer[:left] = bytes(self._buffer[self._first : self._last])
            self._first, self._last = 0, left
        received = self._receive(self._buffer[self._last :])
        self._last += received
        return bool(received)

    def _receive(self, room: memoryview) -> int:
        try:
            received = self._connection.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            received = 0
        if not received:
            raise StreamEnded
        return received

    def close(self) -> None:
        self._connection.close()
