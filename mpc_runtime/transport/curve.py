"""Keys of machines and roles, and who may connect: CURVE (Curve25519), checked by a ZAP gatekeeper.

A key pair is two Z85 strings of 40 characters, as ZeroMQ writes them. The gatekeeper answers ZeroMQ's question "may
this public key connect?" (ZAP, RFC 27) with the name that belongs to the key; the name then travels with every
message of the connection, so no machine can use another's name. A server's second socket (`stream.py`) takes
connections that show a ticket, which the server gave out over CURVE and which is good for one connection. Leaves files
and configuration to `deployment/cluster.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from ..errors import InputError

__all__ = ["TICKET_BYTES", "TICKET_USER", "Gatekeeper", "KeyPair"]

_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_ZAP_HEAD = 6  # version, request, domain, address, identity, mechanism; then the credentials: a key, or user and ticket
TICKET_USER = b"ticket"
TICKET_BYTES = 16
Z85_KEY_LENGTH = 40


@dataclass(frozen=True)
class KeyPair:
    """A Curve25519 key pair, both halves in Z85."""

    public: str
    secret: str

    @staticmethod
    def generate() -> KeyPair:
        public, secret = zmq.curve_keypair()
        return KeyPair(public.decode(), secret.decode())

    @staticmethod
    def from_secret(secret: str) -> KeyPair:
        """The pair of a secret key; `InputError` if it is not a Z85 key."""
        try:
            return KeyPair(zmq.curve_public(secret.encode()).decode(), secret)
        except (ValueError, zmq.ZMQError) as error:
            raise InputError(f"expected a secret key of {Z85_KEY_LENGTH} Z85 characters: {error}") from None

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"  # a secret key belongs in no log


class Gatekeeper:
    """Answers, in a thread of its own, which public keys may connect to this context's sockets.

    It is a thread because connections are made while the machine computes. It sleeps except during handshakes.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], names: Mapping[str, str]) -> None:
        """`names`: Z85 public key -> name of the machine or role. All other keys are refused."""
        self._names = {z85.decode(key.encode()): name.encode() for key, name in names.items()}
        self._tickets: dict[bytes, bytes] = {}
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ZAP_ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="gatekeeper", daemon=True)
        self._thread.start()

    def admit(self, ticket: bytes, name: str) -> None:
        """Admits one connection that shows this ticket, in hexadecimal digits, under this name."""
        self._tickets[ticket.hex().encode()] = name.encode()

    def _serve(self) -> None:
        try:
            while True:
                request = self._socket.recv_multipart()
                self._socket.send_multipart(self._answer(request))
        except zmq.ContextTerminated:
            self._socket.close()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        version, number = (*request, b"", b"")[:2]
        mechanism, credentials = request[_ZAP_HEAD - 1 : _ZAP_HEAD], request[_ZAP_HEAD:]
        name = None
        if mechanism == [b"CURVE"] and len(credentials) == 1:
            name = self._names.get(credentials[0])
        elif mechanism == [b"PLAIN"] and len(credentials) == 2 and credentials[0] == TICKET_USER:
            name = self._tickets.pop(credentials[1], None)
        if name:
            return [version, number, b"200", b"OK", name, b""]
        return [version, number, b"400", b"not in the allow-list", b"", b""]
