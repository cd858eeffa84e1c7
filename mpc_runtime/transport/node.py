"""One machine's place in the network: what it listens to, what it is linked to, and who of them is still alive.

    every server (p0, p1, dealer) has one ROUTER socket: others are answered, and sent to, through it
    whoever wants to hear from a server opens a `Link` to it (DEALER): all that the server says arrives there, in order

So a machine that waits for one other reads one socket, whatever clients send meanwhile. A link starts with a hello that
carries protocol version, plan format and plan hash; nothing else is taken from a machine before its hello was
checked. The name of a sender is the one that belongs to its CURVE key (`curve.py`), never one that it writes itself.

Leaves the meaning of messages to the machines (`party.py`, `dealer/server.py`, `client.py`) and a plan's byte streams
to `zmq.py`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import zmq

from ..errors import InputError, PeerError
from .channel import Buffer
from .curve import Gatekeeper, KeyPair
from .link import CONTROL, Link, Message, configure, is_control, parse, receive
from .memory import as_bytes

__all__ = ["Hello", "Node", "check_loopback"]

PROTOCOL_VERSION = 1
FRAME_BYTES = 1 << 20  # larger messages go in frames: CURVE at 1 MiB a frame moved 580 MB/s each way, unsplit 310
COPIED_BYTES = 1 << 16  # below this a copy costs less than to keep track of the buffer
CLIENT_BODY_BYTES = 4096  # JSON of a message to a server's ROUTER; hello, submit and withdraw take a few hundred
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
    if not host or not (port.isdigit() or port == "*"):
        raise InputError(f"{where}: expected an address such as 127.0.0.1:7100, found {address!r}")
    if host not in LOOPBACK:
        raise InputError(
            f"{where}: {address} is not on this machine; other hosts come in a later version, use 127.0.0.1:{port}"
        )
    return f"tcp://{'127.0.0.1' if host == 'localhost' else host}:{port}"


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

    def __post_init__(self) -> None:
        self._router: zmq.Socket[bytes] | None = None
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
        Gatekeeper(self.context, {**roles, **machines})
        router = self.context.socket(zmq.ROUTER)
        configure(router, self.keys, address)
        router.curve_server = True
        router.zap_domain = b"mpc"
        router.router_mandatory = True
        router.maxmsgsize, router.rcvhwm = limits
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
        router.send(last, 0, copy=last.nbytes < COPIED_BYTES)

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

    def refuse(self, route: bytes, message: str) -> None:
        """Says no to a client, and ignores whatever else comes from its connection."""
        self.answer(route, {"kind": "refused", "message": message})
        self.guests[route] = ""

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
                message = parse(str(rest[0].get("User-Id")), route, rest, CLIENT_BODY_BYTES)
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
        if not route.startswith(CHOSEN_BY_US):
            refusal = "a connection may not choose its own name: another could come back under it"
        if refusal:
            self.refuse(route, refusal)
            if machine:
                raise PeerError(refusal, message.sender)
            return
        if machine:
            self.routes[message.sender] = route
        else:
            self.guests[route] = message.sender
        self.answer(route, {"kind": "welcome", "name": self.hello.name})
        if len(self.guests) >= self._sweep_at:
            for guest in list(self.guests):
                self.answer(guest, {"kind": "probe"})  # which forgets it if it is gone
            self._sweep_at = max(GUESTS_SWEPT, 2 * len(self.guests))

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
