"""One server's place in the network: who may come in, whom it is linked to, and who of them is still alive.

    each server has a front for the other servers, and a party one for clients (`front.py`)
    whoever wants to say something to a server calls its front, and is invited to open a stream to it (`stream.py`)
    between two servers there are two calls and two streams; clients say and hear all over their call

A connection begins with a hello that carries protocol version, plan format and plan hash; nothing else is taken before
it was checked. The name of a sender is the one that belongs to the key that it has proved, never one that it writes
itself.

Leaves the meaning of messages to the machines (`servers/party.py`, `servers/dealer.py`) and a plan's byte streams to
`records.py`. What a client is, is `roles/client.py`'s.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import zmq

from ..errors import MaterialError, PeerError
from .address import ANY_PORT
from .call import Call
from .channel import Buffer, as_bytes
from .door import Door
from .front import Front
from .guests import Occupancy, Quota, Wake
from .hello import Hello, new_nonce
from .identity import KeyPair
from .invitation import Calling, Invited, hear_host
from .line import Limits
from .link import Item, Link
from .messages import CALLER, CLIENT, HOST, SECRET_BYTES, TICKET_BYTES, Dialect, Message
from .sealed import NO_EXECUTION
from .stream import Inlet, Keys, StreamEnded

__all__ = ["SERVERS_QUOTA", "Node"]

SERVERS_QUOTA = Quota(Limits(body=1 << 17), connections=8, per_key=2, messages=8)


@dataclass
class Node:
    """The connections of one server. Used from one thread; `close` it in the end."""

    hello: Hello
    keys: KeyPair
    timeout: float
    """Seconds that a machine may take to answer when it has nothing to compute."""
    context: zmq.Context[Any] = field(default_factory=zmq.Context)
    links: dict[str, Link] = field(default_factory=dict)
    guests: dict[int, str] = field(default_factory=dict)
    """Ways back to the clients that have said hello -> their role."""
    address: str = ""
    clients_address: str = ""
    ahead: int = 0
    """Bytes that are read of a stream before they are asked for."""
    optional: set[str] = field(default_factory=set)
    """Servers without which this machine goes on; one that is gone has no link."""
    patient: bool = False
    """Whether a signal lets the execution in progress end."""
    told: Callable[[str], None] = lambda _: None
    """Hears what whoever operates this machine should know."""

    def __post_init__(self) -> None:
        self._alarm, self._bell = Wake(), Wake()
        self._servers: Front | None = None
        self._clients: Front | None = None
        self._machines: frozenset[str] = frozenset()
        self._invited: dict[str, Invited] = {}
        self._calling: dict[str, Calling] = {}
        self._met: set[str] = set()
        self._routes: dict[str, int] = {}  # by which servers have said hello, as far as they were invited
        self._sending = self._finishing = self._stopped = False

    # -- connecting -----------------------------------------------------------------------------------------------

    def listen(self, machines: Mapping[str, str], address: Door | str = ANY_PORT) -> None:
        """Takes connections of these servers (public key -> name). See `self.address`."""
        self._machines = frozenset(machines.values())
        self._servers = Front(self.hello.name, address, self.keys, machines, CALLER, SERVERS_QUOTA, self._alarm)
        self.address = self._servers.address

    def open_to_clients(
        self,
        roles: Mapping[str, str],
        quota: Quota,
        address: Door | str = ANY_PORT,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Takes connections of these roles (public key -> name). See `self.clients_address`. told: as of `Front`."""
        self._clients = Front(self.hello.name, address, self.keys, roles, CLIENT, quota, self._bell, told)
        self.clients_address = self._clients.address

    def revise_clients(self, roles: Mapping[str, str], ended: Collection[str]) -> None:
        """As `Front.revise`, of the clients' one. Any thread may call it."""
        if self._clients is not None:
            self._clients.revise(roles, ended)

    def wake(self) -> None:
        """Ends a wait that listens to clients. Any thread may call it."""
        self._bell.set()

    def connect(
        self, name: str, address: str, server_key: str, dialect: Dialect, origin: str = "", pause: float = 0.0
    ) -> Link:
        """Begins the link to a server, after so many seconds; `meet` waits for the answer. dialect: what it may say on
        its stream. origin: where the address was written."""
        nonce = new_nonce()
        hello = self.hello.body(nonce)
        call = Call(name, address, self.keys, server_key, hello, HOST, Limits(body=1 << 17), origin, pause)
        self._calling[name] = Calling(nonce)
        self.links[name] = Link(name, call, dialect)
        self._front().drive(call)
        return self.links[name]

    def meet(self, machines: Iterable[str], seconds: float) -> None:
        """Waits until these servers have welcomed us and opened their streams to us; `PeerError` after `seconds`."""
        if missing := self.missing(machines, seconds):
            where = ", ".join(self.links[n].call.place for n in missing)
            raise PeerError(
                f"no answer from {where} for {seconds:g} s: is it running, and is its key right?", missing[0]
            )

    def missing(self, machines: Iterable[str], seconds: float) -> list[str]:
        """Waits so many seconds for these servers to have welcomed us and opened their streams to us; those that have
        not."""
        names = tuple(machines)
        until = time.monotonic() + seconds
        while missing := [name for name in names if not self.met(name)]:
            if time.monotonic() > until:
                return missing
            self.wait((), listen=True, seconds=0.25)
            self.hear_clients()
            for name in names:
                hear_host(self.context, self.hello, self.links[name], self._calling[name])
                self.links[name].check("the start", drain=name in self._met)
        return []

    def met(self, machine: str) -> bool:
        """Whether a server that we have called has welcomed us and opened its stream to us."""
        return self._calling[machine].welcomed and machine in self._met

    def comes(self, machine: str) -> bool:
        """As `met`, of an optional server, after a look at what it has answered."""
        hear_host(self.context, self.hello, self.links[machine], self._calling[machine])
        return self.met(machine)

    # -- being called by servers ----------------------------------------------------------------------------------

    def _attend(self) -> None:
        """Answers what other servers have said to our front, and takes the streams that they have opened."""
        front = self._front()
        while (stream := front.stream()) is not None:  # before a hello of the same machine makes their invitation void
            machine, connection = stream
            if (invited := self._invited.get(machine)) is None:
                connection.close()  # its invitation has become void
            else:
                invited.inlet = Inlet(machine, connection, invited.keys)
        while (message := front.receive()) is not None:
            if message.kind == "hello":
                self._invite(message)
        for machine, guest in list(self._invited.items()):
            if guest.inlet is not None and self._present(machine, guest, guest.inlet):
                del self._invited[machine]

    def _invite(self, message: Message) -> None:
        """Answers another server's hello with the way to open a stream to us. An earlier invitation is void."""
        front, machine = self._front(), message.sender
        if machine in self._met:
            front.refuse(message.route, f"{machine} is connected to {self.hello.name} already")
            return
        if refusal := self.hello.refusal(message.body):
            front.refuse(message.route, refusal)
            if machine in self.optional:
                return
            raise PeerError(refusal, machine)
        self._forget(machine)
        ticket, secret, session = os.urandom(TICKET_BYTES), os.urandom(SECRET_BYTES), new_nonce()
        nonces = message.body["nonce"], session
        keys = Keys.derive(secret, nonces, self.hello.plan_hash, machine, self.hello.name)
        self._invited[machine] = Invited(message.route, keys)
        self._routes[machine] = message.route
        front.admit(ticket, machine)
        front.answer(message.route, {"kind": "invitation", "session": session}, ticket, secret)

    def _present(self, machine: str, invited: Invited, inlet: Inlet) -> bool:
        """Whether the stream's first frame has come, or its end. With it, the machine is met."""
        try:
            if inlet.take() is None:
                return False
        except (PeerError, StreamEnded):
            inlet.close()  # the server at the other end learns it by its call
            self._front().refuse(invited.route, f"{self.hello.name} cannot open what came on the stream of {machine}")
            return True
        if machine in self.links:
            self.links[machine].inlet = inlet
            self._met.add(machine)
            if machine < self.hello.name:
                self.links[machine].label = invited.keys.label
            welcome = {"kind": "welcome", "name": self.hello.name, "proof": invited.keys.proof}
            self._front().answer(invited.route, welcome)
        return True

    def _forget(self, machine: str) -> None:
        """An invitation, and what has come of it, are void."""
        self._front().void(machine)
        invited = self._invited.pop(machine, None)
        if invited is not None and invited.inlet is not None:
            invited.inlet.close()

    # -- talking --------------------------------------------------------------------------------------------------

    def send(self, machine: str, buffer: Buffer, execution: int = NO_EXECUTION) -> None:
        """Sends data of an execution to a server that we have met. The buffer may be changed afterwards."""
        self._sending_to(machine, lambda link: link.send(as_bytes(buffer), execution))

    def say(self, machine: str, body: Mapping[str, Any], *payload: Buffer) -> None:
        """Sends a control message to a server that we have met."""
        self._sending_to(machine, lambda link: link.say(body, [as_bytes(part) for part in payload]))

    def _sending_to(self, machine: str, send: Callable[[Link], None]) -> None:
        link = self.links[machine]
        self._sending = True
        try:
            send(link)
        except PeerError:
            link.check("", drain=True)  # it may have said why
            raise
        finally:
            self._sending = False
            self._end_if_stopped()

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt: now, or after the message that is being sent, for a farewell is to follow, or (the
        first time) after what is `finished`. It is what a signal's handler calls."""
        if not self._sending and (self._stopped or not self._finishing):
            raise KeyboardInterrupt
        self._finishing = self._finishing and not self._stopped
        self._stopped = True

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Work that a patient machine finishes before it ends."""
        self._finishing = self.patient
        try:
            yield
        finally:
            self._finishing = False
            self._end_if_stopped()

    def _end_if_stopped(self) -> None:
        if self._stopped and not self._finishing:
            self._stopped = False
            raise KeyboardInterrupt

    def answer(self, route: int, body: Mapping[str, Any], *payload: Buffer, later: bool = False) -> bool:
        """Sends a control message the way back to a client that has asked; False when it is not there any more. later:
        as of `Line.send`."""
        if self._clients is not None and self._clients.answer(route, body, *payload, later=later):
            return True
        self.guests.pop(route, None)
        return False

    def refuse(self, route: int, message: str, error: str = "") -> None:
        """Says no to a client, and ends its connection. error: MATERIAL, if it is that."""
        if self._clients is not None:
            self._clients.refuse(route, message, error)
        self.guests.pop(route, None)

    def reply(self, route: int, role: str, body: Mapping[str, Any], *payload: Buffer, later: bool = False) -> bool:
        """As `answer`, to a client that has said hello as this role."""
        return self.guests.get(route) == role and self.answer(route, body, *payload, later=later)

    def reaches(self, route: int, role: str) -> bool:
        """Whether a client of this role is still at the other end."""
        return self.guests.get(route) == role and self._clients is not None and self._clients.alive(route)

    def hear_clients(self, take: Callable[[Message], bool] = lambda _: False) -> bool:
        """Offers `take` what clients have said after their hello, as `Arrivals.offer`. Servers that call are answered
        here too. True if anything was heard."""
        self._attend()
        return self._offer(take)

    def refuse_all(self, message: str, error: str = "") -> None:
        """As `refuse`, all clients who have said something; servers that call wait."""

        def refused(said: Message) -> bool:
            self.refuse(said.route, message, error)
            return True

        while self._offer(refused):
            pass

    def _offer(self, take: Callable[[Message], bool]) -> bool:
        def pass_on(message: Message) -> bool:
            if message.kind == "hello":
                self._greet(message)
                return True
            return self.guests.get(message.route) != message.sender or take(message)

        return self._clients is not None and self._clients.offer(pass_on)

    def _greet(self, message: Message) -> None:
        """Answers a client's hello; it has one."""
        if message.route in self.guests:
            return
        self.guests = {route: role for route, role in self.guests.items() if self.reaches(route, role)}
        if refusal := self.hello.refusal(message.body):
            self.refuse(message.route, refusal)
            return
        self.guests[message.route] = message.sender
        self.answer(message.route, {"kind": "welcome", "name": self.hello.name})

    def _front(self) -> Front:
        if self._servers is None:
            raise RuntimeError(f"{self.hello.name} does not listen")
        return self._servers

    def doors(self) -> dict[str, Occupancy]:
        """What our fronts hold, by whom they are for. Any thread may ask."""
        fronts = {"servers": self._servers, "clients": self._clients}
        return {name: front.occupancy for name, front in fronts.items() if front is not None}

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait(self, links: Iterable[str], *, listen: bool, seconds: float | None) -> None:
        """Sleeps until one of these links has something, or any has failed, or (`listen`) a client wants attention.
        What arrives on other links meanwhile is read ahead."""
        names = frozenset(links)
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        if listen:
            poller.register(self._bell, select.POLLIN)
        for invited in self._invited.values():
            if invited.inlet is not None:
                poller.register(invited.inlet, select.POLLIN)
        others = {}
        for name, link in self.links.items():
            if link.inlet is not None and link.failure is None and (name in names or link.has_room(self.ahead)):
                poller.register(link.inlet, select.POLLIN)
                if name not in names:
                    others[link.inlet.fileno()] = link
        while True:
            ready = [number for number, _ in poller.poll(None if seconds is None else max(0.0, seconds * 1000))]
            for number in ready:
                if number in others:
                    others[number].read_ahead(self.ahead)
                elif number == self._alarm.fileno():
                    self._alarm.clear()
                elif number == self._bell.fileno():
                    self._bell.clear()
            if not ready or any(number not in others or others[number].failure for number in ready):
                return
            for number in [number for number in ready if not others[number].has_room(self.ahead)]:
                poller.unregister(number)
                del others[number]

    def await_item(self, link: Link, seconds: float) -> Item | None:
        """The link's next item, which may take so long to come; None when it has not."""
        item = link.next()
        if item is None and link.failure is None:
            self.wait((link.name,), listen=False, seconds=seconds)
            item = link.next()
        return item

    def check(self, at: object) -> None:
        """Raises the `PeerError` of any link whose server is gone, unless we go on without it."""
        for name in self.optional & self.links.keys():
            with self.without(name):
                self.links[name].check(at)
        for link in self.links.values():
            if link.name not in self.optional:
                link.check(at, drain=True)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """What goes wrong within with an optional server ends the link to it, and is no error; whoever operates this
        machine is told."""
        try:
            yield
        except (PeerError, MaterialError) as error:
            self.told(f"goes on without {name}: {error}")
            self._leave(name)

    def _leave(self, name: str) -> None:
        """Ends the link to a server, which may be called again. One that has not met us, as far as we know, hears by
        its own call that what it has with us has ended: else it would wait for more of it, and its session with our
        next one would be half of this one, which ends both, again and again."""
        calling, route = self._calling.pop(name, None), self._routes.pop(name, None)
        if route is not None and not (calling is not None and calling.welcomed and name in self._met):
            self._front().refuse(route, f"{self.hello.name} has ended the session")
        self._forget(name)
        self._met.discard(name)
        if (link := self.links.pop(name, None)) is not None:
            link.end_streams()
            self._front().leave(link.call)

    def part(self, peer: str, op: str, message: str) -> None:
        """Ends what we have with other servers, after telling them why, as `farewell` does. Clients stay, and what they
        have said; `connect` and `meet` begin anew, with new invitations and new keys."""
        body = {"kind": "failed", "peer": peer or self.hello.name, "op": op, "message": message, "error": ""}
        for link in self.links.values():
            with suppress(PeerError, MaterialError):
                link.say(body)
        for machine in [*self._invited, *self.links]:
            self._leave(machine)

    def farewell(self, peer: str, op: str, message: str, error: str = "") -> None:
        """Tells all who are connected why this machine ends: who is to blame (itself, if `peer` is empty), and
        where. error: MATERIAL, if it is that.
        """
        body = {"kind": "failed", "peer": peer or self.hello.name, "op": op, "message": message, "error": error}
        for link in self.links.values():
            with suppress(PeerError, MaterialError):
                link.say(body)
        for front in (self._servers, self._clients):
            if front is not None:
                front.close(body)

    def close(self) -> None:
        """Ends all connections; a farewell has a moment to leave. Closing again does nothing."""
        for front in (self._servers, self._clients):
            if front is not None:
                front.close()
        while self.links:
            self.links.popitem()[1].close()
        for invited in self._invited.values():
            if invited.inlet is not None:
                invited.inlet.close()
        self._invited = {}
        self.context.term()
        self._alarm.close()
        self._bell.close()
