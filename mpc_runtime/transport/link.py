"""Messages on a socket, and the connection that a machine makes to hear from a server.

A message is either *control* (a JSON object, with payload frames behind it) or *data* (a buffer of known length). What
a machine says to a server, and what a client hears, travels over CURVE; a server that is linked to another hears it on
a second, sealed connection (`sealed.py`). A dead server is noticed by its closed connection, a stopped one by ZeroMQ's
heartbeats, both within `DEATH_SECONDS`. Who is linked to whom is `node.py`'s business.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from ..errors import PeerError
from .channel import Buffer
from .curve import TICKET_BYTES, TICKET_USER, KeyPair, stream_route
from .memory import as_bytes
from .sealed import KEY_BYTES, TAG_BYTES, Opener

__all__ = [
    "CONTROL",
    "DEATH_SECONDS",
    "Frames",
    "Link",
    "Message",
    "configure",
    "identify",
    "is_control",
    "parse",
    "receive",
]

HEARTBEAT_MS = 1000
SILENCE_MS = 4500  # no heartbeat for so long: the connection is given up
DEATH_SECONDS = (HEARTBEAT_MS + SILENCE_MS) / 1000 + 1  # the promise to users is 10 s
GLANCE_MS = 200  # how often a machine that waits for another looks whether all are alive
BODY_BYTES = 4 << 20  # JSON of a message between machines: grows with the number of roles and results
STREAM_SECONDS = 10.0  # for a server that has invited us to its second address to be there
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


def is_control(frames: Frames, tag: int = 0) -> bool:
    """Whether these are the frames of a control message; tag: bytes that a seal has added to each."""
    return len(frames) > 1 and len(frames[0]) == len(CONTROL) + tag and (tag > 0 or frames[0].bytes == CONTROL)


def parse(sender: str, route: bytes, parts: Sequence[memoryview], most: int = BODY_BYTES) -> Message:
    """The control message in these parts, with a body of `most` bytes at most; PeerError, the sender's fault, when it
    is malformed."""
    try:
        if len(parts[1]) > most:
            raise ValueError(f"{len(parts[1])} bytes, where at most {most} are expected")
        body = json.loads(bytes(parts[1]))
        if not isinstance(body, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise PeerError(f"{sender} sent a control message that cannot be read: {error}", sender) from None
    return Message(sender, route, body, parts[2:])


def receive(socket: zmq.Socket[bytes], flags: int = zmq.NOBLOCK) -> Frames | None:
    """All frames of one message, or None: when none has arrived, or (flags=0) does within the socket's timeout."""
    try:
        frames = [socket.recv(flags, copy=False)]
    except zmq.Again:
        return None
    while frames[-1].more:
        frames.append(socket.recv(copy=False))
    return frames


def configure(socket: zmq.Socket[bytes], address: str) -> None:
    """What all sockets have in common: heartbeats, no limit to their queues."""
    socket.ipv6 = "[" in address
    socket.linger = LINGER_MS
    socket.sndhwm = socket.rcvhwm = 0  # lengths are known from the plan; material is held back by credits (zmq.py)
    socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = HEARTBEAT_MS, SILENCE_MS, SILENCE_MS


def identify(socket: zmq.Socket[bytes], keys: KeyPair) -> None:
    """Makes the socket speak CURVE under these keys."""
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()


class Link:
    """A connection that this machine has made: what the server at the other end says arrives here, in order."""

    def __init__(
        self, context: zmq.Context[Any], name: str, address: str, keys: KeyPair, server_key: str, stream: str = ""
    ) -> None:
        """stream: the address of the server's second socket, where it is not the one that the server will name."""
        self.name = name
        self.address = address
        self.welcomed = False
        self.failure: PeerError | None = None
        self._context = context
        self._stream_address = stream
        self._opener: Opener | None = None
        self._invited = 0.0
        self._socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        configure(self._socket, address)
        identify(self._socket, keys)
        self._socket.curve_serverkey = server_key.encode()
        self.heard = self._socket
        """Where the server's next message arrives."""
        self.monitors: list[zmq.Socket[Any]] = []
        """What becomes of our connections to the server."""
        self._open(self._socket)
        self._socket.connect(address)

    def _open(self, socket: zmq.Socket[bytes]) -> None:
        socket.rcvtimeo = GLANCE_MS
        socket.reconnect_ivl, socket.reconnect_ivl_max = 50, 1000
        self.monitors.append(socket.get_monitor_socket(_LINK_EVENTS))

    def say(self, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to the server, or keeps it until the connection is there; PeerError when it has ended
        for good."""
        frames: list[Any] = [CONTROL, json.dumps(body).encode(), *map(as_bytes, payload)]
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            raise PeerError(f"{self.name} is gone: nothing can be sent to {self.address}", self.name) from None

    def next(self, *, wait: bool = False) -> Message | memoryview | None:
        """The next control message, or the bytes of the next data message; None when nothing has arrived.

        wait: sleep for up to GLANCE_MS first. For one socket that is quicker than a poll of several.
        Farewells are kept for `check`, and neither they nor probes are handed on.
        """
        while (item := self._receive(0 if wait and self.failure is None else zmq.NOBLOCK)) is not None:
            if not isinstance(item, Message):
                return item
            if item.kind == "refused":
                self.failure = self.failure or PeerError(str(item.body.get("message")), self.name)
            elif item.kind == "failed":
                self.failure = self.failure or _relayed(self.name, item.body)
            elif item.kind != "probe":
                return item
        return None

    def _receive(self, flags: int) -> Message | memoryview | None:
        """The next message, whatever it is."""
        frames = receive(self.heard, flags)
        if frames is None:
            return None
        if self._opener is None:
            parts = [frame.buffer for frame in frames]
            return parse(self.name, b"", parts) if is_control(frames) else parts[0]
        if is_control(frames, TAG_BYTES):
            return parse(self.name, b"", self._opener.each(frames))
        return self._opener.joined(frames)

    def greeted(self) -> bool:
        """Whether the server has welcomed us. Its welcome is the first thing that it says, to another server on the
        sealed connection that it invites to."""
        while not self.welcomed and self.failure is None and (item := self._receive(zmq.NOBLOCK)) is not None:
            kind = item.kind if isinstance(item, Message) else ""
            self.welcomed = kind == "welcome"
            if isinstance(item, Message) and kind == "invitation" and self._opener is None:
                self._accept(item)
            elif not self.welcomed:
                body = item.body if isinstance(item, Message) else {}
                self.failure = PeerError(str(body.get("message", f"{self.name} did not welcome us")), self.name)
        if not self.welcomed and self._opener is not None and time.monotonic() > self._invited + STREAM_SECONDS:
            self.failure = self.failure or PeerError(
                f"{self.name} answers at {self.address}, but not at {self._stream_address}, where it sends its data: "
                "is that port open?",
                self.name,
            )
        return self.welcomed

    def _accept(self, invitation: Message) -> None:
        """Opens the sealed connection: from here on, all that the server says arrives there."""
        port = invitation.body.get("port")
        sizes = [len(part) for part in invitation.payload]
        if not isinstance(port, int) or not 0 < port < 1 << 16 or sizes != [TICKET_BYTES, KEY_BYTES]:
            raise PeerError(f"{self.name} sent an invitation that cannot be read", self.name)
        ticket, key = map(bytes, invitation.payload)
        address = self._stream_address or f"{self.address.rpartition(':')[0]}:{port}"
        stream = self._context.socket(zmq.DEALER)
        configure(stream, address)
        stream.plain_username, stream.plain_password = TICKET_USER, ticket.hex().encode()
        stream.routing_id = stream_route(ticket)
        self._open(stream)
        stream.connect(address)
        stream.send(b"")  # the server learns by it that we are there
        self.heard, self._opener = stream, Opener(self.name, key)
        self._stream_address, self._invited = address, time.monotonic()

    def check(self, at: object, *, drain: bool = False) -> None:
        """Raises what has happened to the server at the other end, if anything has.

        `drain`: look for a farewell among what has arrived (its cause is the better error), dropping the rest.
        """
        while self.failure is None and (told := [m for m in self.monitors if m.poll(0)]):
            (event,) = struct.unpack_from("=H", told[0].recv_multipart()[0])
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
        sockets = [self._socket] if self.heard is self._socket else [self._socket, self.heard]
        for socket, monitor in zip(sockets, self.monitors, strict=True):
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close()


def _relayed(reporter: str, body: Mapping[str, Any]) -> PeerError:
    """The error that another machine ended with; the culprit it names keeps the blame."""
    peer, op = str(body.get("peer") or reporter), str(body.get("op") or "")
    text = str(body.get("message"))
    return PeerError(text if peer == reporter else f"{text} [reported by {reporter}]", peer, op)
