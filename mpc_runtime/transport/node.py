"""One machine's place in the network: what it listens to, what it is linked to, and who of them is still alive.

    every server (p0, p1, dealer) has one ROUTER socket (CURVE): others talk to it, and clients are answered, through it
    whoever wants to hear from a server opens a `Link` to it (DEALER): all that the server says arrives there, in order
    a server invites other servers to a second socket: what it says to them leaves there, sealed (`stream.py`)

So a machine that waits for one other reads one socket, whatever clients send meanwhile. A link starts with a hello that
carries protocol version, plan format and plan hash; nothing else is taken from a machine before its hello was
checked. The name of a sender is the one that belongs to its CURVE key (`curve.py`), never one that it writes itself.

Leaves the meaning of messages to the machines (`servers/party.py`, `servers/dealer.py`, `roles/client.py`) and a plan's
byte streams to `records.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import zmq

from ..errors import InputError, MaterialError, PeerError
from .channel import Buffer, as_bytes
from .curve import Gatekeeper, KeyPair
from .link import CONTROL, Link, Message, is_control, parse
from .socket import bind, identify, receive, server_socket
from .stream import StreamServer

__all__ = ["Hello", "Node", "check_loopback", "stream_of"]

PROTOCOL_VERSION = 2
CLIENT_BODY_BYTES = 4096  # JSON of a message to a server's ROUTER; hello, submit and withdraw take a few hundred
EARLY_AT_ONCE = 64  # messages of clients that are read in a row before the servers have met
CHOSEN_BY_US = b"\0"  # the first byte of a route that our ROUTER has made up, which it does not use again
GUESTS_SWEPT = 64  # clients after which those that are gone are looked for
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


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


def check_loopback(address: str, where: str) -> str:
    """`host:port` as a ZeroMQ address; `InputError` (with `where` it was written) unless it is on this machine."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not host or not (port.isdigit() and 0 < int(port) < 1 << 16):
        raise InputError(f"{where}: expected an address such as 127.0.0.1:7100, found {address!r}")
    if host not in LOOPBACK:
        raise InputError(
            f"{where}: {address} is not on this machine; other hosts come in a later version, use 127.0.0.1:{port}"
        )
    return f"tcp://{'127.0.0.1' if host == 'localhost' else host}:{port}"


def stream_of(server: str) -> str:
    """The name that a server's second address has in a mapping of addresses, beside its first one's: the server's."""
    return f"{server}.stream"


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
    """Ways back to the clients that have said hello -> their role; those that were refused "", and they are ignored."""
    address: str = ""
    stream_address: str = ""
    optional: set[str] = field(default_factory=set)
    """Servers without which this machine goes on: the link to one that is gone is closed, and not in `links` then."""

    def __post_init__(self) -> None:
        self._router: zmq.Socket[bytes] | None = None
        self._stream: StreamServer | None = None
        self._gatekeeper: Gatekeeper | None = None
        self._limits = (0, 0)
        self._sweep_at = GUESTS_SWEPT
        self._machines: frozenset[str] = frozenset()
        self._early: deque[Message] = deque()  # clients' messages that came before the servers had met
        self._pollers: dict[tuple[bool, tuple[str, ...]], zmq.Poller] = {}

    # -- connecting -----------------------------------------------------------------------------------------------

    def listen(
        self,
        address: str,
        machines: Mapping[str, str],
        roles: Mapping[str, str],
        limits: tuple[int, int] = (1 << 16, 16),
    ) -> None:
        """Binds `address` (a `*` port is chosen by the system; see `self.address`) for these keys -> names only.

        limits: bytes of a frame and number of messages that ZeroMQ takes for us from a connection while we compute. A
        larger frame ends its connection; behind more messages it stalls, and its heartbeats end it.
        """
        self._gatekeeper = Gatekeeper(self.context, {**roles, **machines})
        self._machines = frozenset(machines.values())
        self._limits = limits
        router = server_socket(self.context, address)
        identify(router, self.keys)
        router.curve_server = True
        router.maxmsgsize, router.rcvhwm = limits
        self.address = bind(router, self.hello.name, address)
        self._router = router

    def open_stream(self, address: str = "") -> None:
        """Binds the second address, where what we say to servers leaves; another port of the first one's host if none
        is given."""
        assert self._gatekeeper is not None, "listen first"
        address = address or f"{self.address.rpartition(':')[0]}:*"
        self._stream = StreamServer(self.context, self._gatekeeper, self.hello.name, address)
        self.stream_address = self._stream.address

    def connect(self, name: str, address: str, server_key: str, stream: str = "") -> Link:
        """Opens the link to a server and says hello; `meet` waits for the answer. stream: as in `Link`."""
        link = Link(self.context, name, address, self.keys, server_key, stream)
        link.say(self.hello.body())
        self.links[name] = link
        return link

    def meet(self, machines: Iterable[str], seconds: float, alive: Callable[[], None] = lambda: None) -> None:
        """Waits until these servers have welcomed us and, if we listen, have said hello; `PeerError` after `seconds`.

        alive: called now and then; may raise what else it knows of the servers.
        """
        names = tuple(machines)
        until = time.monotonic() + seconds
        while missing := [n for n in names if not (self.links[n].welcomed and (self._stream is None or n in self.met))]:
            self.wait(names, listen=True, seconds=0.25)
            self._pollers.clear()  # links move to their streams
            for _ in range(EARLY_AT_ONCE):
                if (message := self._from_router()) is not None:
                    self._keep_early(message)
            for machine in self._stream.arrivals() if self._stream else ():
                self.say(machine, {"kind": "welcome", "name": self.hello.name})
            for name in names:
                self.links[name].greeted()
                self.links[name].check("the start", drain=True)
            alive()
            if time.monotonic() > until:
                where = ", ".join(f"{n} at {self.links[n].address}" for n in missing)
                raise PeerError(
                    f"no answer from {where} for {seconds:g} s: is it running, and is its key right?", missing[0]
                )

    def _keep_early(self, message: Message) -> None:
        """A client's message that came before the servers had met; a role has no more of them than at other times."""
        if sum(early.sender == message.sender for early in self._early) < self._limits[1]:
            self._early.append(message)
        else:
            self.refuse(message.route, f"{self.hello.name} waits for other servers; come back when they are there")

    @property
    def met(self) -> Mapping[str, bytes]:
        """The servers that have come to our stream, and their routes there."""
        return self._stream.routes if self._stream else {}

    # -- talking --------------------------------------------------------------------------------------------------

    def send(self, machine: str, buffer: Buffer) -> None:
        """Sends a data message to a server that we have met. The buffer may be changed afterwards."""
        self._send(machine, [as_bytes(buffer)], control=False)

    def say(self, machine: str, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to a server that we have met."""
        self._send(machine, [memoryview(json.dumps(body).encode()), *map(as_bytes, payload)], control=True)

    def _send(self, machine: str, parts: Sequence[memoryview], *, control: bool) -> None:
        if self._stream is None:
            raise RuntimeError(f"{self.hello.name} does not listen")
        try:
            self._stream.send(machine, parts, control=control)
        except PeerError:
            if machine in self.links:
                self.links[machine].check("", drain=True)  # it may have said why
            raise

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt, after the message that is being sent: what a signal's handler calls."""
        if self._stream is None:
            raise KeyboardInterrupt
        self._stream.interrupt()

    def answer(self, route: bytes, body: Mapping[str, Any], *payload: Buffer) -> bool:
        """Sends a control message the way back to whoever has asked; False when it is not there any more."""
        frames: list[Any] = [route, CONTROL, json.dumps(body).encode(), *map(as_bytes, payload)]
        try:
            self._serving().send_multipart(frames, copy=False)
        except zmq.ZMQError:
            self.guests.pop(route, None)
            return False
        return True

    def refuse(self, route: bytes, message: str, error: str = "") -> None:
        """Says no to a client, and ignores whatever else comes from its connection. error: MATERIAL, if it is that."""
        self.answer(route, {"kind": "refused", "message": message, "error": error})
        self.guests[route] = ""
        self._sweep()

    def reply(self, route: bytes, role: str, body: Mapping[str, Any], *payload: Buffer) -> bool:
        """As `answer`, to a client, if the way back to it is still that of its role."""
        return self.guests.get(route) == role and self.answer(route, body, *payload)

    def reaches(self, route: bytes, role: str) -> bool:
        """Whether a client of this role is still at the other end."""
        return self.reply(route, role, {"kind": "probe"})

    def receive(self) -> Message | None:
        """The next message to our ROUTER from somebody who has said hello; None when nothing has arrived."""
        return self._early.popleft() if self._early else self._from_router()

    def _from_router(self) -> Message | None:
        if self._router is None:
            return None
        while (frames := receive(self._router)) is not None:
            route, rest = frames[0].bytes, frames[1:]
            if not rest or not is_control(rest) or self.guests.get(route) == "":
                continue  # only control messages come this way; there is no one to blame that we could name to a user
            try:
                parts = [frame.buffer for frame in rest[1:]]
                message = parse(str(rest[0].get("User-Id")), route, parts, CLIENT_BODY_BYTES)
            except PeerError as error:
                if error.peer in self._machines:
                    raise
                self.refuse(route, str(error))
                continue
            if message.kind == "hello":
                self._greet(message)
            elif self.guests.get(route) == message.sender or self.routes.get(message.sender) == route:
                return message
        return None

    def _greet(self, message: Message) -> None:
        """Answers a hello; a client has one."""
        machine, route = message.sender in self._machines, message.route
        if route in self.guests:
            return
        refusal = self.hello.refusal(message.body)
        if message.sender in self.met:
            refusal = f"{message.sender} is connected to {self.hello.name} already"
        if not route.startswith(CHOSEN_BY_US):
            refusal = "a connection may not choose its own name: another could come back under it"
        if refusal:
            self.refuse(route, refusal)
            if machine and message.sender not in self.met:
                raise PeerError(refusal, message.sender)
            return
        if machine:
            self._invite(message.sender, route)
            return
        self.guests[route] = message.sender
        self.answer(route, {"kind": "welcome", "name": self.hello.name})
        self._sweep()

    def _sweep(self) -> None:
        """Forgets clients that are gone, now and then."""
        if len(self.guests) >= self._sweep_at:
            for guest in list(self.guests):
                self.answer(guest, {"kind": "probe"})  # which forgets it if it is gone
            self._sweep_at = max(GUESTS_SWEPT, 2 * len(self.guests))

    def _invite(self, machine: str, route: bytes) -> None:
        """Answers another server's hello with the way to our stream."""
        if self._stream is None:
            raise RuntimeError(f"{self.hello.name} has no stream")
        port, ticket, key = self._stream.invite(machine)
        self.routes[machine] = route
        self.answer(route, {"kind": "invitation", "port": port}, ticket, key)

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
            sockets = [monitor for link in self.links.values() for monitor in link.monitors]
            sockets += [self.links[name].heard for name in key[1]]
            if listen and self._router is not None:
                sockets.append(self._router)
            if self._stream is not None and len(self.met) < len(self._machines):
                sockets.append(self._stream.socket)
            for socket in sockets:
                poller.register(socket, zmq.POLLIN)
        poller.poll(None if seconds is None else max(0, int(seconds * 1000)))

    def check(self, at: object) -> None:
        """Raises the `PeerError` of any link whose server is gone, unless we go on without it."""
        for name in [name for name in self.links if name in self.optional]:
            with self.without(name):
                self.links[name].check(at)
        for link in self.links.values():
            if link.name not in self.optional:
                link.check(at, drain=True)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """What goes wrong within with an optional server closes the link to it, and is no error; whoever operates this
        machine is told."""
        try:
            yield
        except (PeerError, MaterialError) as error:
            print(f"{self.hello.name} goes on without {name}: {error}", file=sys.stderr, flush=True)
            if name in self.links:
                self.links.pop(name).close()
                self._pollers.clear()

    # -- leaving --------------------------------------------------------------------------------------------------

    def farewell(self, peer: str, op: str, message: str, error: str = "") -> None:
        """Tells all who are connected why this machine ends: who is to blame (itself, if `peer` is empty), and
        where. error: MATERIAL, if it is that.
        """
        body = {"kind": "failed", "peer": peer or self.hello.name, "op": op, "message": message, "error": error}
        for machine in self.met:
            with suppress(PeerError, MaterialError):
                self.say(machine, body)
        for route in [*(r for m, r in self.routes.items() if m not in self.met), *self.guests]:
            self.answer(route, body)

    def close(self) -> None:
        """Closes all sockets; a farewell has `LINGER_MS` to leave. Closing again does nothing."""
        while self.links:
            self.links.popitem()[1].close()
        for socket in (self._router, self._stream):
            if socket is not None:
                socket.close()
        self._router = self._stream = None
        self.context.term()
