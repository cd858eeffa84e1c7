"""What all of our ZeroMQ sockets have in common."""

from __future__ import annotations

from typing import Any

import zmq

from ..errors import InputError
from .curve import KeyPair

__all__ = ["DEATH_SECONDS", "Frames", "bind", "configure", "identify", "receive", "server_socket"]

HEARTBEAT_MS = 1000
SILENCE_MS = 4500  # no heartbeat for so long: the connection is given up
HANDSHAKE_MS = 5000  # for a stranger that connects and says nothing
DEATH_SECONDS = (HEARTBEAT_MS + SILENCE_MS) / 1000 + 1  # the promise to users is 10 s
LINGER_MS = 500  # for a farewell on the way out

Frames = list[zmq.Frame]


def configure(socket: zmq.Socket[bytes], address: str) -> None:
    """Heartbeats, and no limit to the queues."""
    socket.ipv6 = "[" in address
    socket.linger = LINGER_MS
    socket.sndhwm = socket.rcvhwm = 0  # lengths are known from the plan; material is held back by credits (records.py)
    socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = HEARTBEAT_MS, SILENCE_MS, SILENCE_MS
    socket.handshake_ivl = HANDSHAKE_MS


def identify(socket: zmq.Socket[bytes], keys: KeyPair) -> None:
    """Makes the socket speak CURVE under these keys."""
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()


def server_socket(context: zmq.Context[Any], address: str) -> zmq.Socket[bytes]:
    """A ROUTER whose connections the gatekeeper admits, and that reports a message that it cannot deliver."""
    socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    configure(socket, address)
    socket.zap_domain = b"mpc"
    socket.router_mandatory = True
    return socket


def bind(socket: zmq.Socket[bytes], name: str, address: str) -> str:
    """Binds a server's socket (`*`: a port that the system chooses); returns the address. InputError if that is
    impossible."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        reason = "is in use" if error.errno == zmq.EADDRINUSE else f"cannot be listened at: {error.strerror}"
        raise InputError(f"{name}'s address {address.removeprefix('tcp://')} {reason}") from None
    return socket.get_string(zmq.LAST_ENDPOINT)


def receive(socket: zmq.Socket[bytes], flags: int = zmq.NOBLOCK) -> Frames | None:
    """All frames of one message, or None: when none has arrived, or (flags=0) does within the socket's timeout."""
    try:
        frames = [socket.recv(flags, copy=False)]
    except zmq.Again:
        return None
    while frames[-1].more:
        frames.append(socket.recv(copy=False))
    return frames
