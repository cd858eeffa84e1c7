"""Where a server takes connections: a thread of its own that lets in who may, and no more than there is room for.

Everything is bounded before it is believed. Before a stranger has proved a key: how many connections are taken a
second, how many wait to prove theirs (the oldest of the address that has most of them gives way), how long they have,
and what a handshake may take, which is TLS's. After it: connections of a key and of all, the size of a message
(`line.py`), messages and bytes that wait to be looked at, and bytes that wait to be sent to somebody who does not read.
A connection over a limit is told so and closed, and a message that finds no room stays in the network until there is
some.

A server has one front for other servers and, if it computes, one for clients: two ports and two threads, so that
clients cannot keep servers from each other. The thread also drives the server's own calls, and answers pings while the
server computes. A connection that begins with a ticket is a stream of another server (`stream.py`), whose invitation
was given over TLS; it is handed on as it is. What messages mean is the node's business, and for which plan a connection
is (`door.py`) that of whoever has given it to us.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from ..errors import PeerError
from .call import LINGER_SECONDS, PING_SECONDS, UNKNOWN_KEY, Call
from .channel import Buffer
from .door import ROUTE_BYTES, ROUTE_MARK, Door, Listener
from .driven import Driven
from .guests import Arrivals, Guest, Occupancy, Quota, Room, Wake
from .identity import KeyPair, peer_key
from .line import Line, LineClosed, TooMuch, tune
from .messages import TICKET_BYTES, Dialect, Message, encode, read
from .refusals import Known, Refusals

__all__ = ["STREAM_MARK", "Front"]

STREAM_MARK = b"\x01"  # the first byte of a stream; TLS begins with 22
TICK_SECONDS = 0.25  # how often clocks are looked at while there is something to wait for
HANDSHAKE_SECONDS = 5.0  # for a stranger that connects and says nothing
MESSAGE_SECONDS = 60.0  # for a message that has been given room to arrive
PENDING = 32  # connections that have not proved a key
DRAIN_BYTES, DRAIN_SECONDS = 1 << 22, 2.0  # of one that was refused, so that it can read why
_TLS = 22


class Front:
    """Takes connections of the holders of the keys in `names` at `door`, or at an address. Methods without a word on it
    are for one other thread: the server's."""

    def __init__(
        self,
        server: str,
        door: Door | str,
        keys: KeyPair,
        names: Mapping[str, str],
        dialect: Dialect,
        quota: Quota,
        bell: Wake,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """names: public key -> machine or role. bell: rung when there is something for the server. told: of keys
        that were refused, by the front's thread."""
        self._dialect = dialect
        self._quota = quota
        self._bell = bell
        self.refusals = Refusals(told)
        self._known = Known(keys, names)
        self._revised: tuple[Known, frozenset[str]] | None = None
        self._door: Door = Listener(server, door) if isinstance(door, str) else door
        self.address = self._door.address
        self._wake = Wake()
        self._room = Room(quota)
        self._guests: dict[int, Guest] = {}
        self._arrivals = Arrivals(self._room)
        self._streams: deque[tuple[str, socket.socket]] = deque()
        self._tickets: dict[bytes, str] = {}
        self._stalled = False  # whether a guest's message waits for room
        self._tokens, self._counted = quota.accepts_at_once, time.monotonic()
        self._last_route = 0
        self._refused: Counter[str] = Counter()
        self._closing = False
        self._fault: Exception | None = None
        self._selector = selectors.DefaultSelector()
        self._calls = Driven(self._selector, bell)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(self._door, selectors.EVENT_READ)
        self._accepting = True
        self._thread = threading.Thread(target=self._serve, name=f"front of {server}", daemon=True)
        self._thread.start()

    # -- for the server's thread ----------------------------------------------------------------------------------

    def receive(self) -> Message | None:
        """The next message that has arrived; from then on there is room for others."""
        found: deque[Message] = deque(maxlen=1)
        self.offer(lambda message: not found and found.append(message) is None)  # type: ignore[func-returns-value]
        return found.pop() if found else None

    def offer(self, take: Callable[[Message], bool]) -> bool:
        """As `Arrivals.offer`."""
        if self._fault is not None:
            raise RuntimeError("a front has ended") from self._fault
        if (taken := self._arrivals.offer(take)) and self._stalled:
            self._wake.set()
        return taken

    def answer(self, route: int, body: Mapping[str, Any], *payload: Buffer, later: bool = False) -> bool:
        """Sends a message back to whoever has asked; False when it is not there any more. later: as of `Line.send`."""
        guest = self._guests.get(route)
        if guest is None or guest.line is None or guest.leaving:
            return False
        try:
            guest.line.send(encode(body), payload, later=later)
        except LineClosed:
            return False  # the thread will find it too
        if guest.line.queued:
            self._wake.set()
        return True

    def refuse(self, route: int, message: str, error: str = "") -> None:
        """Says no, and takes nothing more from this connection. error: MATERIAL, if it is that."""
        self.answer(route, {"kind": "refused", "message": message, "error": error})
        if (guest := self._guests.get(route)) is not None:
            guest.until = time.monotonic() + DRAIN_SECONDS
            guest.leaving = True
            self._wake.set()

    def alive(self, route: int) -> bool:
        """Whether the other end is still there."""
        guest = self._guests.get(route)
        return guest is not None and not guest.leaving

    def admit(self, ticket: bytes, machine: str) -> None:
        """Takes one stream that shows this ticket, as this machine's; an earlier ticket of it is void."""
        self.void(machine)
        self._tickets[ticket] = machine

    def void(self, machine: str) -> None:
        """Takes no stream of this machine."""
        for ticket in [ticket for ticket, name in list(self._tickets.items()) if name == machine]:
            self._tickets.pop(ticket, None)

    def stream(self) -> tuple[str, socket.socket] | None:
        """The next stream that was admitted, and whose it is."""
        return self._streams.popleft() if self._streams else None

    def revise(self, names: Mapping[str, str], ended: Collection[str]) -> None:
        """From now on takes the holders of these keys. Connections of other keys end, and those of the keys in `ended`.
        Any thread may call it."""
        self._revised = self._known.revised(names), frozenset(ended)
        self._wake.set()

    @property
    def occupancy(self) -> Occupancy:
        guests = list(self._guests.values())
        strangers, held = sum(not guest.name for guest in guests), self._room.held()
        waiting, tickets, refused = len(self._arrivals), len(self._tickets), dict(self._refused)
        return Occupancy(self._last_route, len(guests), strangers, waiting, held, tickets, refused)

    def drive(self, call: Call) -> None:
        """Drives a call of the server's from now on."""
        self._calls.add(call)
        self._wake.set()

    def leave(self, call: Call) -> None:
        """Ends a call that we drive."""
        self._calls.leave(call)
        self._wake.set()

    def close(self, farewell: Mapping[str, Any] | None = None) -> None:
        """Ends all connections, after a farewell that has a moment to leave. Closing again does nothing."""
        if self._closing:
            return
        if farewell is not None:
            for route in list(self._guests):
                self.answer(route, farewell)
        self._closing = True
        self._wake.set()
        self._thread.join(4 * LINGER_SECONDS)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._attend_all()
        except Exception as error:  # a fault of ours: a front that is deaf must not look like a quiet one
            self._fault = error
            self._bell.set()
        self._end()

    def _attend_all(self) -> None:
        while not self._closing:
            idle = self._accepting and not self._calls and not self._clocks and not self.refusals.pending
            for key, _ in self._selector.select(None if idle else TICK_SECONDS):
                if key.fileobj is self._wake:
                    self._wake.clear()
                elif key.fileobj is self._door:
                    self._accept()
                elif isinstance(key.data, Guest):
                    self._attend(key.data)
            if self._revised is not None:
                self._begin_anew(*self._revised)
            self._calls.step()
            self.refusals.tell(time.monotonic())
            guests = list(self._guests.values())
            for guest in guests:
                self._review(guest)
            self._stalled = any(guest.line is not None and guest.line.stalled for guest in guests)
            self._resume_accepting()

    def _begin_anew(self, known: Known, ended: frozenset[str]) -> None:
        self._known, self._revised = known, None
        for guest in list(self._guests.values()):
            if guest.name and (guest.key in ended or known.names.get(guest.key) != guest.name):
                self.refuse(guest.route, f"{guest.name}: what this key may do was changed or revoked")

    @property
    def _clocks(self) -> bool:
        """Whether a guest has a moment until which it may stay, waits for room, or has something that is not sent."""
        return self._stalled or any(g.taking or not g.name or g.leaving or g.unsent for g in self._guests.values())

    def _accept(self) -> None:
        now, quota = time.monotonic(), self._quota
        self._tokens = min(quota.accepts_at_once, self._tokens + (now - self._counted) * quota.accepts_per_second)
        self._counted = now
        if self._tokens < 1:
            self._selector.unregister(self._door)
            self._accepting = False
            return
        self._tokens -= 1
        try:
            connection, host = self._door.accept()
        except OSError:
            return
        tune(connection)
        self._make_room(host)
        self._last_route += 1
        guest = Guest(connection, host, now + HANDSHAKE_SECONDS, self._last_route)
        self._guests[guest.route] = guest

    def _resume_accepting(self) -> None:
        if not self._accepting and time.monotonic() - self._counted >= 1 / self._quota.accepts_per_second:
            self._selector.register(self._door, selectors.EVENT_READ)
            self._accepting = True

    def _make_room(self, address: str) -> None:
        """Sends a stranger away when there are too many."""
        strangers = [guest for guest in self._guests.values() if not guest.name]
        if len(strangers) >= PENDING:
            most = Counter(guest.address for guest in strangers).most_common(1)[0][0]
            self._turn_away(next(guest for guest in strangers if guest.address == most), "crowd")

    def _attend(self, guest: Guest) -> None:
        """Something has arrived from a guest, or can be sent to it."""
        try:
            if guest.leaving:
                self._drain(guest)
            elif guest.line is None:
                self._recognise(guest)
            elif not guest.line.established:
                self._shake_hands(guest, guest.line)
            else:
                guest.line.go_on()
                self._hear(guest)
        except BlockingIOError:
            return
        except TooMuch as error:
            self._refused["message"] += 1
            self.refuse(guest.route, f"{guest.name} sent {error}")
        except (LineClosed, OSError, ValueError):
            self._drop(guest)

    def _shake_hands(self, guest: Guest, line: Line) -> None:
        self._known.shown = ""
        try:
            if line.shake_hands():
                self._seat(guest)
        except LineClosed as error:
            self._refused["key" if error.reason == UNKNOWN_KEY else "handshake"] += 1
            if error.reason == UNKNOWN_KEY:
                self.refusals.note(self._known.shown)
            guest.leaving = True  # TLS has told it why, which a connection that is closed at once might lose

    def _recognise(self, guest: Guest) -> None:
        """Tells TLS from a stream by the first byte after the route, for which we are the right one."""
        while guest.passing:
            guest.passing -= len(self._received(guest, guest.passing))
        first = guest.connection.recv(1, socket.MSG_PEEK)
        if not first:
            self._drop(guest)
        elif first == ROUTE_MARK and not guest.passed and not guest.shown:
            guest.passed, guest.passing = True, 1 + ROUTE_BYTES
            self._recognise(guest)
        elif first[0] == _TLS and not guest.shown:
            self._watch(guest, 0)
            wrapped = self._known.context.wrap_socket(guest.connection, server_side=True, do_handshake_on_connect=False)
            guest.connection = wrapped
            guest.line = Line(wrapped, self._quota.limits, lambda nbytes: self._room.reserve(guest, nbytes))
        elif guest.shown or first == STREAM_MARK:
            guest.shown += guest.connection.recv(1 + TICKET_BYTES - len(guest.shown))
            if len(guest.shown) > TICKET_BYTES:
                self._hand_on(guest)
        else:
            self._turn_away(guest, "protocol")

    @staticmethod
    def _received(guest: Guest, most: int) -> bytes:
        """What has arrived; BlockingIOError when nothing has, LineClosed when nothing can any more."""
        received = guest.connection.recv(most)
        if not received:
            raise LineClosed("the connection was closed")
        return received

    def _hand_on(self, guest: Guest) -> None:
        """A stream has shown its ticket, which is void from now on."""
        machine = self._tickets.pop(bytes(guest.shown[1:]), None)
        if machine is None:
            self._turn_away(guest, "ticket")
            return
        self._watch(guest, 0)
        del self._guests[guest.route]
        self._streams.append((machine, guest.connection))
        self._bell.set()

    def _seat(self, guest: Guest) -> None:
        """A guest has proved its key."""
        assert isinstance(guest.connection, ssl.SSLSocket)
        guest.key = peer_key(guest.connection)
        name = self._known.names.get(guest.key)
        if name is None:
            self.refusals.note(guest.key)
            self._turn_away(guest, "key")
            return
        seated = [other for other in self._guests.values() if other.name]
        guest.name = name
        if len(seated) >= self._quota.connections:
            self._refused["quota"] += 1
            self.refuse(guest.route, f"there are {len(seated)} connections already; come back later")
        elif sum(other.key == guest.key for other in seated) >= self._quota.per_key:
            self._refused["quota"] += 1
            self.refuse(guest.route, f"{name} has {self._quota.per_key} connections under this key; close one of them")

    def _hear(self, guest: Guest) -> None:
        line = guest.line
        assert line is not None
        while not guest.leaving and (parts := line.receive()) is not None:
            nbytes, guest.taking = guest.taking, 0
            try:
                message = read(guest.name, guest.route, parts, self._dialect, self._quota.limits.body, guest.key)
            except PeerError as error:
                self._room.give_back(guest, nbytes)
                self._refused["message"] += 1
                self.refuse(guest.route, str(error))
                return
            if message.kind == "ping":
                self._room.give_back(guest, nbytes)
                line.send(encode({"kind": "pong", "clock": time.time()}))
            else:
                self._arrivals.put(guest, message, nbytes)
                self._bell.set()

    def _drain(self, guest: Guest) -> None:
        """What still comes from one that was refused is thrown away, so that the refusal is not lost with it."""
        assert guest.line is not None
        if guest.line.flush():
            guest.line.finish()
        data = socket.socket.recv(guest.connection, 1 << 16)  # as it comes, for nobody reads it
        guest.drained += len(data)
        if not data or guest.drained > DRAIN_BYTES:
            self._drop(guest)

    def _review(self, guest: Guest) -> None:
        """Sends a guest away whose time is over or who does not read its answers, goes on with one whose message waits
        for room, and sets what the selector is to look for."""
        now, line = time.monotonic(), guest.line
        late = (
            now > guest.until
            if not guest.name or guest.leaving
            else guest.taking and now > guest.begun + MESSAGE_SECONDS
        )
        if late or (line is not None and line.queued > self._quota.unsent_bytes):
            if guest.leaving:
                self._drop(guest)  # counted when it was refused
            else:
                self._turn_away(guest, "late" if late else "unread")
        elif line is not None and line.stalled and not guest.leaving:
            self._attend(guest)
            self._reassure(guest, line, now)
        if guest.route in self._guests:
            stalled = line is not None and line.stalled and not guest.leaving
            writes = line is not None and line.due
            self._watch(guest, (0 if stalled else selectors.EVENT_READ) | (selectors.EVENT_WRITE if writes else 0))

    def _reassure(self, guest: Guest, line: Line, now: float) -> None:
        """Whoever is not read is not answered its pings either, and might think us dead."""
        if line.stalled and now - guest.told > PING_SECONDS:
            guest.told = now
            try:
                line.send(encode({"kind": "pong", "clock": time.time()}))
            except LineClosed:
                self._drop(guest)

    def _watch(self, guest: Guest, events: int) -> None:
        if events == guest.events:
            return
        if not guest.events:
            self._selector.register(guest.connection, events, guest)
        elif not events:
            self._selector.unregister(guest.connection)
        else:
            self._selector.modify(guest.connection, events, guest)
        guest.events = events

    def _turn_away(self, guest: Guest, reason: str) -> None:
        self._refused[reason] += 1
        self._drop(guest)

    def _drop(self, guest: Guest) -> None:
        """Ends a connection. What it has said before still counts."""
        if self._guests.pop(guest.route, None) is None:
            return
        self._watch(guest, 0)
        if guest.taking:
            self._room.give_back(guest, guest.taking)
        if guest.line is not None:
            guest.line.close()
        guest.connection.close()
        self._bell.set()

    def _end(self) -> None:
        until = time.monotonic() + LINGER_SECONDS
        lines = [guest.line for guest in self._guests.values() if guest.line is not None]
        with suppress(LineClosed):
            while any(not line.flush() for line in lines) and time.monotonic() < until:
                time.sleep(0.01)
        for guest in list(self._guests.values()):
            if guest.line is not None:
                guest.line.finish()
            self._drop(guest)
        self._calls.close()
        while self._streams:
            self._streams.popleft()[1].close()
        self._selector.close()
        self._door.close()
        self._wake.close()
