"""One machine's place in the network: what it listens to, what it is linked to, and who of them is still alive.

    every server (p0, p1, dealer) has one ROUTER socket: others are answered, and sent to, through it
    whoever wants to hear from a server opens a `Link` to it (DEALER): all that the server says arrives there, in order

So a machine that waits for one other reads one socket, whatever clients send meanwhile. A link starts with a hello that
carries protocol version, plan format and plan hash; nothing else is taken from a machine before its hello was
checked. The name of a sender is the one that belongs to its CURVE key (`curve.py`), never one that it writes itself.

A message is either *control* (a JSON object, with payload frames behind it) or *data* (a buffer of known length). A
dead machine is noticed by its closed connection, a stopped one by ZeroMQ's heartbeats, both within `DEATH_SECONDS`.
Leaves the meaning of messages to the machines (`party.py`, `dealer/server.py`, `client.py`) and a plan's byte streams
to `zmq.py`.
"""

from __future__ import annotations

import json
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from ..errors import InputError, PeerError
from .channel import Buffer
from .curve import Gatekeeper, KeyPair
from .memory import as_bytes

__all__ = ["DEATH_SECONDS", "Hello", "Link", "Message", "Node", "check_loopback"]

PROTOCOL_VERSION = 1
HEARTBEAT_MS = 1000
SILENCE_MS = 4500  # no heartbeat for so long: the connection is given up
DEATH_SECONDS = (HEARTBEAT_MS + SILENCE_MS) / 1000 + 1  # the promise to users is 10 s
GLANCE_MS = 200  # how often a machine that waits for another looks whether all are alive
LINGER_MS = 500  # for a farewell on the way out
FRAME_BYTES = 1 << 20  # larger messages go in frames: CURVE at 1 MiB a frame moved 580 MB/s each way, unsplit 310
COPIED_BYTES = 1 << 16  # below this a copy costs less than to keep track of the buffer
CONTROL = b"\0"  # the first frame of a control message; a data message of several frames starts with FRAME_BYTES bytes
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_LINK_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH

Frames = list[zmq.Frame]


@dataclass(frozen=True)
class Hello:
    """What both ends of a link must have in common, and the name of the one who says it."""

    name: str
    plan_hash: str
    plan_format: int

    def refusal(self, other: Mapping[str, Any]) -> str:
        """Why a hello from another machine cannot be accepted; empty when it can."""
        for what, mine, theirs in (
            ("protocol version", PROTOCOL_VERSION, other.get("version")),
            ("plan format", self.plan_format, other.get("format")),
            ("plan", self.plan_hash, other.get("plan")),
        ):
            if mine != theirs:
                return f"{self.name} has {what} {mine}, {other.get('name')} has {theirs}; start both from the same plan"
        return ""

    def body(self) -> dict[str, Any]:
        return {
            "kind": "hello",
            "name": self.name,
            "version": PROTOCOL_VERSION,
            "format": self.plan_format,
            "plan": self.plan_hash,
        }


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


def _is_control(frames: Frames) -> bool:
    return len(frames) > 1 and frames[0].bytes == CONTROL if len(frames[0]) == len(CONTROL) else False


def _parse(sender: str, route: bytes, frames: Frames) -> Message:
    """The control message in these frames; anything malformed is the sender's fault."""
    try:
        body = json.loads(frames[1].bytes)
        if not isinstance(body, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise PeerError(f"{sender} sent a control message that cannot be read: {error}", sender) from None
    return Message(sender, route, body, [frame.buffer for frame in frames[2:]])


def check_loopback(address: str, where: str) -> str:
    """`host:port` as a ZeroMQ address; `InputError` (with `where` it was written) unless it is on this machine."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not host or not (port.isdigit() or port == "*"):
        raise InputError(f"{where}: expected an address such as 127.0.0.1:7100, found {address!r}")
    if host not in LOOPBACK:
        raise InputError(
            f"{where}: {address} is not on this machine; other hosts come in a later version, use 127.0.0.1:{port}"
        )
    return f"tcp://{'127.0.0.1' if host == 'localhost' else host}:{port}"


def _receive(socket: zmq.Socket[bytes], flags: int = zmq.NOBLOCK) -> Frames | None:
    """All frames of one message, or None: when none has arrived, or (flags=0) does within the socket's timeout."""
    try:
        frames = [socket.recv(flags, copy=False)]
    except zmq.Again:
        return None
    while frames[-1].more:
        frames.append(socket.recv(copy=False))
    return frames


def _configure(socket: zmq.Socket[bytes], keys: KeyPair, address: str) -> None:
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
        _configure(self.socket, keys, address)
        self.socket.rcvtimeo = GLANCE_MS
        self.socket.curve_serverkey = server_key.encode()
        self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = 50, 1000
        self.monitor = self.socket.get_monitor_socket(_LINK_EVENTS)
        self.socket.connect(address)

    def say(self, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to the server."""
        self.socket.send_multipart([CONTROL, json.dumps(body).encode(), *map(as_bytes, payload)], copy=False)

    def next(self, *, wait: bool = False) -> Message | Frames | None:
        """The next control message, or the frames of the next data message; None when nothing has arrived.

        wait: sleep for up to GLANCE_MS first. For one socket that is quicker than a poll of several.
        Farewells are kept for `check` and not handed on.
        """
        while (frames := _receive(self.socket, 0 if wait and self.failure is None else zmq.NOBLOCK)) is not None:
            if not _is_control(frames):
                return frames
            message = _parse(self.name, b"", frames)
            if message.kind == "refused":
                self.failure = self.failure or PeerError(str(message.body.get("message")), self.name)
            elif message.kind == "failed":
                self.failure = self.failure or _relayed(self.name, message.body)
            else:
                return message
        return None

    def greeted(self) -> bool:
        """Whether the server has welcomed us; its welcome is the first thing that it says."""
        if not self.welcomed and (frames := _receive(self.socket)) is not None:
            message = _parse(self.name, b"", frames)
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


@dataclass
class Node:
    """The sockets of one machine. Used from one thread; `close` it in the end."""

    hello: Hello
    keys: KeyPair
    timeout: float
    """Seconds that a machine may take to answer when it has nothing to compute."""
    context: zmq.Context[Any] = field(default_factory=zmq.Context)
    links: dict[str, Link] = field(default_factory=dict)
    routes: dict[str, bytes] = field(default_factory=dict)
    """Machine -> its way back through our ROUTER, after its hello."""
    guests: dict[bytes, str] = field(default_factory=dict)
    """Ways back to the clients that have said hello -> their role."""
    address: str = ""

    def __post_init__(self) -> None:
        self._router: zmq.Socket[bytes] | None = None
        self._machines: frozenset[str] = frozenset()
        self._early: deque[Message] = deque()  # clients' messages that came before the servers had met
        self._pollers: dict[tuple[bool, tuple[str, ...]], zmq.Poller] = {}

    # -- connecting -----------------------------------------------------------------------------------------------

    def listen(self, address: str, machines: Mapping[str, str], roles: Mapping[str, str]) -> None:
        """Binds `address` (a `*` port is chosen by the system; see `self.address`) for these keys -> names only."""
        Gatekeeper(self.context, {**roles, **machines})
        router = self.context.socket(zmq.ROUTER)
        _configure(router, self.keys, address)
        router.curve_server = True
        router.zap_domain = b"mpc"
        router.router_mandatory = True
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            router.close(linger=0)
            reason = "is in use" if error.errno == zmq.EADDRINUSE else f"cannot be listened at: {error.strerror}"
            raise InputError(f"{self.hello.name}'s address {address.removeprefix('tcp://')} {reason}") from None
        self._router = router
        self._machines = frozenset(machines.values())
        self.address = str(router.last_endpoint.decode())

    def connect(self, name: str, address: str, server_key: str) -> Link:
        """Opens the link to a server and says hello; `meet` waits for the answer."""
        link = Link(self.context, name, address, self.keys, server_key)
        link.say(self.hello.body())
        self.links[name] = link
        return link

    def meet(self, machines: Iterable[str], seconds: float | None, alive: Callable[[], None] = lambda: None) -> None:
        """Waits until these servers have welcomed us and, if we listen, have said hello; `PeerError` after `seconds`.

        alive: called now and then; may raise what else it knows of the servers.
        """
        names = tuple(machines)
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            missing = [n for n in names if not (self.links[n].welcomed and (self._router is None or n in self.routes))]
            if not missing:
                return
            self.wait(names, listen=True, seconds=0.25)
            while (message := self._from_router()) is not None:
                self._early.append(message)
            for name in missing:
                if not self.links[name].greeted():
                    self.links[name].check("the start")
            alive()
            if until is not None and time.monotonic() > until:
                where = ", ".join(f"{n} at {self.links[n].address}" for n in missing)
                raise PeerError(
                    f"no answer from {where} for {seconds:g} s: is it running, and is its key right?", missing[0]
                )

    # -- talking --------------------------------------------------------------------------------------------------

    def send(self, machine: str, buffer: Buffer) -> None:
        """Sends a data message to a server that has said hello."""
        view = as_bytes(buffer)
        router = self._serving()
        try:
            router.send(self.routes[machine], zmq.SNDMORE)
        except zmq.ZMQError:
            raise PeerError(f"{machine} is gone: nothing can be sent to it", machine) from None
        start = 0
        while view.nbytes - start > FRAME_BYTES:
            router.send(view[start : start + FRAME_BYTES], zmq.SNDMORE, copy=False)
            start += FRAME_BYTES
        last = view[start:] if start else view
        router.send(last, copy=last.nbytes < COPIED_BYTES)

    def say(self, machine: str, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to a server that has said hello."""
        if not self.answer(self.routes[machine], body, *payload):
            raise PeerError(f"{machine} is gone: nothing can be sent to it", machine)

    def answer(self, route: bytes, body: Mapping[str, Any], *payload: Buffer) -> bool:
        """Sends a control message the way back to whoever has asked; False when it is not there any more."""
        frames: list[Any] = [route, CONTROL, json.dumps(body).encode(), *map(as_bytes, payload)]
        try:
            self._serving().send_multipart(frames, copy=False)
        except zmq.ZMQError:
            self.guests.pop(route, None)
            return False
        return True

    def receive(self) -> Message | None:
        """The next message to our ROUTER from somebody who has said hello; None when nothing has arrived."""
        return self._early.popleft() if self._early else self._from_router()

    def _from_router(self) -> Message | None:
        if self._router is None:
            return None
        while (frames := _receive(self._router)) is not None:
            route, rest = frames[0].bytes, frames[1:]
            if not rest or not _is_control(rest):
                continue  # only control messages come this way; there is no one to blame that we could name to a user
            try:
                message = _parse(str(rest[0].get("User-Id")), route, rest)
            except PeerError as error:
                if error.peer in self._machines:
                    raise
                self.answer(route, {"kind": "refused", "message": str(error)})
                continue
            if message.kind == "hello":
                self._greet(message)
            elif self.guests.get(route) == message.sender or self.routes.get(message.sender) == route:
                return message
        return None

    def _greet(self, message: Message) -> None:
        refusal = self.hello.refusal(message.body)
        if refusal:
            self.answer(message.route, {"kind": "refused", "message": refusal})
            if message.sender in self._machines:
                raise PeerError(refusal, message.sender)
            return
        if message.sender in self._machines:
            self.routes[message.sender] = message.route
        else:
            self.guests[message.route] = message.sender
        self.answer(message.route, {"kind": "welcome", "name": self.hello.name})

    def _serving(self) -> zmq.Socket[bytes]:
        if self._router is None:
            raise RuntimeError(f"{self.hello.name} does not listen")
        return self._router

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait(self, links: Iterable[str], *, listen: bool, seconds: float | None) -> None:
        """Sleeps until one of these links, any link's fate, or (`listen`) a client asks for attention."""
        key = (listen, tuple(links))
        poller = self._pollers.get(key)
        if poller is None:
            poller = self._pollers[key] = zmq.Poller()
            for link in self.links.values():
                poller.register(link.monitor, zmq.POLLIN)
            for name in key[1]:
                poller.register(self.links[name].socket, zmq.POLLIN)
            if listen and self._router is not None:
                poller.register(self._router, zmq.POLLIN)
        poller.poll(None if seconds is None else max(0, int(seconds * 1000)))

    def check(self, at: object) -> None:
        """Raises the `PeerError` of any link whose server is gone."""
        for link in self.links.values():
            link.check(at, drain=True)

    # -- leaving --------------------------------------------------------------------------------------------------

    def farewell(self, peer: str, op: str, message: str) -> None:
        """Tells all who are connected why this machine ends: who is to blame (itself, if `peer` is empty), and
        where.
        """
        body = {"kind": "failed", "peer": peer or self.hello.name, "op": op, "message": message}
        for route in [*self.routes.values(), *self.guests]:
            self.answer(route, body)

    def close(self) -> None:
        """Closes all sockets; a farewell has `LINGER_MS` to leave. Closing again does nothing."""
        while self.links:
            self.links.popitem()[1].close()
        if self._router is not None:
            self._router.close()
            self._router = None
        self.context.term()
