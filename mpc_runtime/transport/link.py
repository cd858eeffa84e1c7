"""Messages on a socket, and the connection that a machine makes to hear from a server.

A message is either *control* (a JSON object, with payload frames behind it) or *data* (a buffer of known length). A
dead server is noticed by its closed connection, a stopped one by ZeroMQ's heartbeats, both within `DEATH_SECONDS`. Who
is linked to whom is `node.py`'s business.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from ..errors import PeerError
from .channel import Buffer
from .curve import KeyPair
from .memory import as_bytes

__all__ = ["CONTROL", "DEATH_SECONDS", "Frames", "Link", "Message", "configure", "is_control", "parse", "receive"]

HEARTBEAT_MS = 1000
SILENCE_MS = 4500  # no heartbeat for so long: the connection is given up
DEATH_SECONDS = (HEARTBEAT_MS + SILENCE_MS) / 1000 + 1  # the promise to users is 10 s
GLANCE_MS = 200  # how often a machine that waits for another looks whether all are alive
BODY_BYTES = 4 << 20  # JSON of a message between machines: grows with the number of roles and results
LINGER_MS = 500  # for a farewell on the way out
CONTROL = b"\0"  # the first frame of a control message; a data message of several frames starts with a longer one

_LINK_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH

Frames = list[zmq.Frame]


@dataclass(frozen=True)
class Message:
    """A control message: who sent it (by key), the way back, and what it says."""

    sender: str
    route: bytes
    body: dict[str, Any]
    payload: Sequence[memoryview] = ()

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))


def is_control(frames: Frames) -> bool:
    """Whether these are the frames of a control message."""
    return len(frames) > 1 and len(frames[0]) == len(CONTROL) and frames[0].bytes == CONTROL


def parse(sender: str, route: bytes, frames: Frames, most: int = BODY_BYTES) -> Message:
    """The control message in these frames, with a body of `most` bytes at most; PeerError, the sender's fault, when it
    is malformed."""
    try:
        if len(frames[1]) > most:
            raise ValueError(f"{len(frames[1])} bytes, where at most {most} are expected")
        body = json.loads(frames[1].bytes)
        if not isinstance(body, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise PeerError(f"{sender} sent a control message that cannot be read: {error}", sender) from None
    return Message(sender, route, body, [frame.buffer for frame in frames[2:]])


def receive(socket: zmq.Socket[bytes], flags: int = zmq.NOBLOCK) -> Frames | None:
    """All frames of one message, or None: when none has arrived, or (flags=0) does within the socket's timeout."""
    try:
        frames = [socket.recv(flags, copy=False)]
    except zmq.Again:
        return None
    while frames[-1].more:
        frames.append(socket.recv(copy=False))
    return frames


def configure(socket: zmq.Socket[bytes], keys: KeyPair, address: str) -> None:
    """What all sockets have in common: keys, heartbeats, no limit to their queues."""
    socket.ipv6 = "[" in address
    socket.linger = LINGER_MS
    socket.sndhwm = socket.rcvhwm = 0  # lengths are known from the plan; material is held back by credits (zmq.py)
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
    socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = HEARTBEAT_MS, SILENCE_MS, SILENCE_MS


class Link:
    """A connection that this machine has made: what the server at the other end says arrives here, in order."""

    def __init__(self, context: zmq.Context[Any], name: str, address: str, keys: KeyPair, server_key: str) -> None:
        self.name = name
        self.address = address
        self.welcomed = False
        self.failure: PeerError | None = None
        self.socket = context.socket(zmq.DEALER)
        configure(self.socket, keys, address)
        self.socket.rcvtimeo = GLANCE_MS
        self.socket.curve_serverkey = server_key.encode()
        self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = 50, 1000
        self.monitor = self.socket.get_monitor_socket(_LINK_EVENTS)
        self.socket.connect(address)

    def say(self, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to the server, or keeps it until the connection is there; PeerError when it has ended
        for good."""
        frames = [CONTROL, json.dumps(body).encode(), *map(as_bytes, payload)]
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            raise PeerError(f"{self.name} is gone: nothing can be sent to {self.address}", self.name) from None

    def next(self, *, wait: bool = False) -> Message | Frames | None:
        """The next control message, or the frames of the next data message; None when nothing has arrived.

        wait: sleep for up to GLANCE_MS first. For one socket that is quicker than a poll of several.
        Farewells are kept for `check`, and neither they nor probes are handed on.
        """
        while (frames := receive(self.socket, 0 if wait and self.failure is None else zmq.NOBLOCK)) is not None:
            if not is_control(frames):
                return frames
            message = parse(self.name, b"", frames)
            if message.kind == "refused":
                self.failure = self.failure or PeerError(str(message.body.get("message")), self.name)
            elif message.kind == "failed":
                self.failure = self.failure or _relayed(self.name, message.body)
            elif message.kind != "probe":
                return message
        return None

    def greeted(self) -> bool:
        """Whether the server has welcomed us; its welcome is the first thing that it says."""
        if not self.welcomed and (frames := receive(self.socket)) is not None:
            message = parse(self.name, b"", frames)
            self.welcomed = message.kind == "welcome"
            if not self.welcomed:
                self.failure = PeerError(str(message.body.get("message", f"{self.name} did not welcome us")), self.name)
        return self.welcomed

    def check(self, at: object, *, drain: bool = False) -> None:
        """Raises what has happened to the server at the other end, if anything has.

        `drain`: look for a farewell among what has arrived (its cause is the better error), dropping the rest.
        """
        while self.failure is None and self.monitor.poll(0):
            (event,) = struct.unpack_from("=H", self.monitor.recv_multipart()[0])
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.failure = PeerError(f"{self.name} at {self.address} does not accept our key", self.name)
            elif self.welcomed:
                gone = f"{self.name} is gone: its connection to {self.address} was lost"
                while drain and self.next() is not None:
                    pass
                self.failure = self.failure or PeerError(gone, self.name)
        if self.failure is not None:
            where = f" (at {at})" if str(at) and not self.failure.op else ""
            raise PeerError(f"{self.failure}{where}", self.failure.peer, self.failure.op or str(at))

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()


def _relayed(reporter: str, body: Mapping[str, Any]) -> PeerError:
    """The error that another machine ended with; the culprit it names keeps the blame."""
    peer, op = str(body.get("peer") or reporter), str(body.get("op") or "")
    text = str(body.get("message"))
    return PeerError(text if peer == reporter else f"{text} [reported by {reporter}]", peer, op)
