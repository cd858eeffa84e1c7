"""Messages on a socket, and the connection that a machine makes to hear from a server.

A message is either *control* (a JSON object, with payload frames behind it) or *data* (a buffer of known length). What
a machine says to a server, and what a client hears, travels over CURVE; a server that is linked to another hears it on
a second, sealed connection (`stream.py`). A dead server is noticed by its closed connection, a stopped one by ZeroMQ's
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

from ..errors import MaterialError, PeerError
from .channel import Buffer, as_bytes
from .curve import TICKET_BYTES, KeyPair
from .sealed import KEY_BYTES
from .socket import Frames, configure, identify, receive
from .stream import Stream

__all__ = ["CONTROL", "MATERIAL", "Link", "Message", "is_control", "parse"]

GLANCE_MS = 200  # how often a machine that waits for another looks whether all are alive
STREAM_SECONDS = 10.0  # for a server that has invited us to its second address to be there
BODY_BYTES = 4 << 20  # JSON of a message between machines: grows with the number of roles and results
MATERIAL = "material"  # the `error` of a refusal or farewell that is a MaterialError for whoever hears it
CONTROL = b"\0"  # the first frame of a control message over CURVE

_LINK_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


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


def parse(sender: str, route: bytes, parts: Sequence[memoryview], most: int = BODY_BYTES) -> Message:
    """The control message of these parts, a body of `most` bytes at most and the payload; PeerError, the sender's
    fault, when it is malformed."""
    try:
        if len(parts[0]) > most:
            raise ValueError(f"{len(parts[0])} bytes, where at most {most} are expected")
        body = json.loads(bytes(parts[0]))
        if not isinstance(body, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise PeerError(f"{sender} sent a control message that cannot be read: {error}", sender) from None
    return Message(sender, route, body, parts[1:])


@dataclass(frozen=True)
class _End:
    """A socket of ours, where it goes, and what tells of its connection."""

    socket: zmq.Socket[bytes]
    address: str
    monitor: zmq.Socket[Any]

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()


class Link:
    """A connection that this machine has made: what the server at the other end says arrives here, in order."""

    def __init__(
        self, context: zmq.Context[Any], name: str, address: str, keys: KeyPair, server_key: str, stream: str = ""
    ) -> None:
        """stream: the address of the server's second socket, where it is not the one that the server will name."""
        self.name = name
        self.address = address
        self.welcomed = False
        self.failure: PeerError | MaterialError | None = None
        self._context = context
        self._stream_address = stream
        self._stream: Stream | None = None
        self._invited = 0.0
        self._ends: list[_End] = []
        self._socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        configure(self._socket, address)
        identify(self._socket, keys)
        self._socket.curve_serverkey = server_key.encode()
        self._open(self._socket, address)
        self._socket.connect(address)

    def _open(self, socket: zmq.Socket[bytes], address: str) -> None:
        socket.rcvtimeo = GLANCE_MS
        socket.reconnect_ivl, socket.reconnect_ivl_max = 50, 1000
        self._ends.append(_End(socket, address, socket.get_monitor_socket(_LINK_EVENTS)))

    @property
    def heard(self) -> zmq.Socket[bytes]:
        """Where the server's next message arrives."""
        return self._ends[-1].socket

    @property
    def monitors(self) -> list[zmq.Socket[Any]]:
        """What becomes of our connections to the server."""
        return [end.monitor for end in self._ends]

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
                self.failure = self.failure or _refusal(self.name, item.body)
            elif item.kind == "failed":
                self.failure = self.failure or _relayed(self.name, item.body)
            elif item.kind != "probe":
                return item
        return None

    def _receive(self, flags: int) -> Message | memoryview | None:
        """The next message, whatever it is."""
        if self._stream is None:
            return self._receive_curve(flags)
        received = self._stream.receive(flags)
        if received is None:
            return None
        control, parts = received
        return parse(self.name, b"", parts) if control else parts[0]

    def _receive_curve(self, flags: int) -> Message | memoryview | None:
        frames = receive(self._socket, flags)
        if frames is None:
            return None
        parts = [frame.buffer for frame in frames]
        return parse(self.name, b"", parts[1:]) if is_control(frames) else parts[0]

    def greeted(self) -> bool:
        """Whether the server has welcomed us. Its welcome is the first thing that it says: to another server on the
        stream to which it invites."""
        while not self.welcomed and self.failure is None:
            item = self._receive(zmq.NOBLOCK)
            if item is None and self._stream is not None:
                item = self._receive_curve(zmq.NOBLOCK)  # it may fail before we have come to the stream
            if item is None:
                break
            self._hear_greeting(item)
        late = self._stream is not None and time.monotonic() > self._invited + STREAM_SECONDS
        if late and not self.welcomed and self.failure is None:
            self.failure = PeerError(
                f"{self.name} answers at {self.address}, but not at {self._stream_address}, where it sends its data: "
                "is that port open?",
                self.name,
            )
        return self.welcomed

    def _hear_greeting(self, item: Message | memoryview) -> None:
        kind = item.kind if isinstance(item, Message) else ""
        if isinstance(item, Message) and kind == "invitation" and self._stream is None:
            self._accept(item)
        elif kind == "welcome":
            self.welcomed = True
        elif isinstance(item, Message) and kind == "failed":
            self.failure = _relayed(self.name, item.body)
        else:
            body = item.body if isinstance(item, Message) else {}
            self.failure = PeerError(str(body.get("message", f"{self.name} did not welcome us")), self.name)

    def _accept(self, invitation: Message) -> None:
        """Opens the stream: from here on, all that the server says arrives there."""
        port = invitation.body.get("port")
        sizes = [len(part) for part in invitation.payload]
        if not isinstance(port, int) or not 0 < port < 1 << 16 or sizes != [TICKET_BYTES, KEY_BYTES]:
            raise PeerError(f"{self.name} sent an invitation that cannot be read", self.name)
        address = self._stream_address or f"{self.address.rpartition(':')[0]}:{port}"
        self._stream_address, self._invited = address, time.monotonic()
        ticket, key = map(bytes, invitation.payload)
        self._stream = Stream(self._context, self.name, address, ticket, key)
        self._open(self._stream.socket, address)
        try:
            self._stream.connect()
        except zmq.ZMQError as error:
            self.failure = PeerError(f"{self.name}'s address {address} is not valid: {error.strerror}", self.name)

    def check(self, at: object, *, drain: bool = False) -> None:
        """Raises what has happened to the server at the other end, if anything has.

        `drain`: look for a farewell among what has arrived (its cause is the better error), dropping the rest.
        """
        while self.failure is None and (told := [end for end in self._ends if end.monitor.poll(0)]):
            end = told[0]
            (event,) = struct.unpack_from("=H", end.monitor.recv_multipart()[0])
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                lost = "accepts each connection only once, and ours was lost"
                why = "does not accept our key" if end is self._ends[0] else lost
                self.failure = PeerError(f"{self.name} at {end.address} {why}", self.name)
            elif self.welcomed:
                gone = f"{self.name} is gone: its connection to {end.address} was lost"
                while drain and self.next() is not None:
                    pass
                self.failure = self.failure or PeerError(gone, self.name)
        if isinstance(self.failure, MaterialError):
            raise MaterialError(str(self.failure))
        if self.failure is not None:
            where = f" (at {at})" if str(at) and not self.failure.op else ""
            raise PeerError(f"{self.failure}{where}", self.failure.peer, self.failure.op or str(at))

    def close(self) -> None:
        for end in self._ends:
            end.close()


def _refusal(server: str, body: Mapping[str, Any]) -> PeerError | MaterialError:
    """Why a server takes nothing more from us."""
    text = str(body.get("message"))
    return MaterialError(f"{server}: {text}") if body.get("error") == MATERIAL else PeerError(text, server)


def _relayed(reporter: str, body: Mapping[str, Any]) -> PeerError | MaterialError:
    """The error that another machine ended with; the culprit it names keeps the blame."""
    if body.get("error") == MATERIAL:
        return MaterialError(str(body.get("message")))
    peer, op = str(body.get("peer") or reporter), str(body.get("op") or "")
    text = str(body.get("message"))
    return PeerError(text if peer == reporter else f"{text} [reported by {reporter}]", peer, op)
