"""A connection that a machine makes to a server's front: what it says and hears there, and what becomes of it.

A `Call` never waits. A client drives its calls from its own thread while it waits for an answer (`drive`), a server
leaves them to the thread of its front. Until the server has welcomed us, a connection that is refused or lost is made
again; afterwards its end is the end of the call. A server that has died closes its connection, one that was stopped
answers no `ping`; both are noticed within `DEATH_SECONDS` while somebody drives.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import MaterialError, PeerError
from .address import Endpoint, Lookup, numeric
from .channel import Buffer
from .door import preamble
from .identity import KeyPair, calling_context, peer_key
from .line import Limits, Line, LineClosed, tune
from .messages import MATERIAL, Dialect, Message, encode, read

__all__ = ["DEATH_SECONDS", "GLANCE_SECONDS", "Call", "drive", "relayed"]

PING_SECONDS = 1.0
SILENCE_SECONDS = 4.5  # nothing heard for so long: the connection is given up
DEATH_SECONDS = PING_SECONDS + SILENCE_SECONDS + 1  # the promise to users is 10 s
CONNECT_SECONDS = 5.0  # for a connection to be made and its handshake to be done
AGAIN_SECONDS, AGAIN_AT_MOST = 0.05, 1.0
GLANCE_SECONDS = 0.2  # how often a machine that waits for another looks whether all are alive
LINGER_SECONDS = 0.5  # for a farewell on the way out
_PING = encode({"kind": "ping"})
_REFUSALS = {"TLSV1_ALERT_UNKNOWN_CA", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"}
UNKNOWN_KEY = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's reason where the other end has a key that is not among those we know."""


class Call:
    """To the server `name` at `address`, which holds the public key `host`.

    keys: ours. hello: what we say first; it names the plan, and with it the route. origin: where the address was
    written, for messages. pause: seconds before the first connection.
    """

    def __init__(
        self,
        name: str,
        address: str,
        keys: KeyPair,
        host: str,
        hello: Mapping[str, Any],
        dialect: Dialect,
        limits: Limits,
        origin: str = "",
        pause: float = 0.0,
    ) -> None:
        self.name = name
        self.address = address
        self.origin = origin
        self.reached = ""
        """The numeric address of the connection."""
        self.trouble = ""
        """Why the last attempt to make it has failed."""
        self.welcomed = False
        self.failure: PeerError | MaterialError | None = None
        self._host = host
        self._context = calling_context(keys, host)
        self._hello = encode(hello)
        self._preamble = preamble(hello["plan"])
        self._dialect = dialect
        self._limits = limits
        self._line: Line | None = None
        self._lookup: Lookup | None = None
        self._untried: list[Endpoint] = []  # of what the name stands for
        self._connecting: socket.socket | None = None
        self._inbox: deque[Message] = deque()
        self._tries = 0
        self._due = time.monotonic() + pause  # when to begin the next connection, or to give up the one begun
        self._heard = self._pinged = self._stepped = time.monotonic()

    # -- for whoever speaks ---------------------------------------------------------------------------------------

    def say(self, body: Mapping[str, Any] | bytes, *payload: Buffer, later: bool = False) -> None:
        """Sends what fits now; the rest leaves when the call is driven. PeerError when the call has ended. body: as it
        is, or encoded, for one that is said to several. later: as of `Line.send`."""
        self.check("")
        if self._line is None:
            raise PeerError(f"{self.name} is gone: nothing can be sent to {self.address}", self.name)
        try:
            self._line.send(body if isinstance(body, bytes) else encode(body), payload, later=later)
        except LineClosed as error:
            self._lost(error)
            self.check("")

    def next(self) -> Message | None:
        """The next message, if one has arrived. Refusals and farewells are kept for `check`."""
        return self._inbox.popleft() if self._inbox else None

    def check(self, at: object) -> None:
        """Raises PeerError if something has happened to the server at the other end."""
        if isinstance(self.failure, MaterialError):
            raise MaterialError(str(self.failure))
        if self.failure is not None:
            where = f" (at {at})" if str(at) and not self.failure.op else ""
            raise PeerError(f"{self.failure}{where}", self.failure.peer, self.failure.op or str(at))

    @property
    def place(self) -> str:
        """Where it goes to, where that was written, and what has come of it, for messages."""
        about = "; ".join(filter(None, (self.origin, self.trouble)))
        return f"{self.name} at {self.address}" + (f" ({about})" if about else "")

    @property
    def state(self) -> tuple[bool, bool, int]:
        """Whether it has ended, whether we are welcome, and how many messages have come: what others wait for."""
        return self.failure is not None, self.welcomed, len(self._inbox)

    # -- for whoever drives ---------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The connection's, -1 if there is none now."""
        connection = self._connecting or (self._line and self._line.connection)
        return connection.fileno() if connection else -1

    @property
    def writes(self) -> bool:
        """Whether there is something to be sent, or the connection is still being made."""
        return self._connecting is not None or (self._line is not None and self._line.queued > 0)

    @property
    def idle_until(self) -> float:
        """When there is something to do though nothing arrives."""
        return self._due if self.fileno() < 0 and self.failure is None else math.inf

    def flush(self) -> bool:
        """Sends what fits now of what waits to be sent; False when the connection was lost."""
        try:
            if self._line is not None and self._line.queued:
                self._line.flush()
        except LineClosed as error:
            self._lost(error)
            return False
        return True

    def step(self, *, arrived: bool = True) -> None:
        """Goes on with whatever is to be done now. arrived: whether something may have come."""
        now = time.monotonic()
        if now - self._stepped > PING_SECONDS:  # nobody has looked: what has not been heard may have come
            self._heard = now
        self._stepped = now
        if self.failure is not None:
            return
        try:
            if self._line is None:
                self._connect(now)
            if self._line is not None and not self._line.established:
                self._greet(self._line, now)
            elif self._line is not None and self._line.queued:
                self._line.flush()
            if self._line is not None and self._line.established:
                if arrived:
                    self._hear(self._line)
                self._ping(self._line, now)
        except (LineClosed, OSError) as error:
            self._lost(error)
        except PeerError as error:
            self.failure = error

    def close(self) -> None:
        """Leaves. What waits to be sent has `LINGER_SECONDS`. Closing again does nothing."""
        if self._line is not None:
            until = time.monotonic() + LINGER_SECONDS
            with suppress(LineClosed, OSError):
                while self.failure is None and not self._line.flush() and time.monotonic() < until:
                    select.select([], [self._line.connection], [], GLANCE_SECONDS)
                self._line.finish()
        self._disconnect()
        self.failure = self.failure or PeerError(f"the connection to {self.name} was closed", self.name)

    def _connect(self, now: float) -> None:
        """Begins a connection, or goes on with it."""
        if self._connecting is None:
            if now < self._due:
                return
            endpoint = self._endpoint()
            if endpoint is None:
                return
            self._due = now + CONNECT_SECONDS  # when to give this one up
            self._connecting = socket.socket(endpoint[0], socket.SOCK_STREAM)
            tune(self._connecting)
            self._connecting.connect_ex(endpoint[1])
        if not select.select([], [self._connecting], [], 0)[1]:
            if now >= self._due:
                raise LineClosed("no answer")
            return
        if self._connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise LineClosed("nobody listens")
        self.reached = numeric(self._connecting)
        self._connecting.send(self._preamble)  # the first bytes of a connection always find room
        connection = self._context.wrap_socket(self._connecting, do_handshake_on_connect=False)
        self._connecting, self._line = None, Line(connection, self._limits)

    def _endpoint(self) -> Endpoint | None:
        """The next of the addresses that the name stands for; None while they are looked up. LineClosed when there is
        none."""
        if not self._untried:
            self._lookup = self._lookup or Lookup(self.address)
            if not self._lookup.done:
                return None
            lookup, self._lookup = self._lookup, None
            if not lookup.found:
                raise LineClosed(lookup.problem or "its name stands for no address")
            self._untried = list(lookup.found)
        return self._untried.pop(0)

    def _greet(self, line: Line, now: float) -> None:
        """Goes on with the handshake; says hello after it."""
        if line.shake_hands():
            if peer_key(line.connection) != self._host:
                raise self._impostor()
            self._heard = self._pinged = now
            line.send(self._hello)
        elif now >= self._due:
            raise LineClosed("no answer")

    def _impostor(self) -> PeerError:
        text = f"whoever answers at {self._where} does not have the key of {self.name} that we know"
        return PeerError(text, self.name)

    def _hear(self, line: Line) -> None:
        while self.failure is None and (parts := line.receive()) is not None:
            self._heard = time.monotonic()
            message = read(self.name, 0, parts, self._dialect, self._limits.body)
            if message.kind == "refused":
                self.failure = refusal(self.name, message.body)
            elif message.kind == "failed":
                self.failure = relayed(self.name, message.body)
            elif message.kind != "pong":
                self.welcomed = self.welcomed or message.kind == "welcome"
                self._inbox.append(message)

    def _ping(self, line: Line, now: float) -> None:
        if now - self._heard > SILENCE_SECONDS:
            silent = f"nothing was heard from {self.address} for {SILENCE_SECONDS} s"
            raise PeerError(f"{self.name} is gone: {silent}", self.name)
        if now - self._pinged > PING_SECONDS:
            self._pinged = now
            line.send(_PING)

    @property
    def _where(self) -> str:
        return f"{self.address} ({self.origin})" if self.origin else self.address

    def _disconnect(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._connecting is not None:
            self._connecting.close()
        self._line = self._connecting = None

    def _lost(self, error: Exception) -> None:
        """The connection has ended: for good, or to be made again."""
        reason = getattr(error, "reason", "")
        self.trouble = str(error) if isinstance(error, LineClosed) else getattr(error, "strerror", None) or str(error)
        if reason in _REFUSALS:
            self.failure = PeerError(f"{self.name} at {self._where} does not accept our key", self.name)
        elif reason == UNKNOWN_KEY:
            self.failure = self._impostor()
        elif self.welcomed:
            text = f"{self.name} is gone: its connection to {self.address} was lost"
            self.failure = self.failure or PeerError(text, self.name)
        self._disconnect()
        if self._untried:
            self._due = 0.0  # the name stands for another address too
            return
        self._due = time.monotonic() + min(AGAIN_SECONDS * 2**self._tries, AGAIN_AT_MOST)
        self._tries = min(self._tries + 1, 10)


def refusal(server: str, body: Mapping[str, Any]) -> PeerError | MaterialError:
    """Why a server takes nothing more from us."""
    text = body["message"]
    return MaterialError(f"{server}: {text}") if body.get("error") == MATERIAL else PeerError(text, server)


def relayed(reporter: str, body: Mapping[str, Any]) -> PeerError | MaterialError:
    """The error with which another machine ended; it keeps naming the machine at fault."""
    if body.get("error") == MATERIAL:
        return MaterialError(body["message"])
    peer, op, text = body["peer"] or reporter, body["op"], body["message"]
    return PeerError(text if peer == reporter else f"{text} [reported by {reporter}]", peer, op)


def drive(calls: Iterable[Call], seconds: float) -> None:
    """Waits up to so many seconds until something can be done for one of the calls, and does it for all."""
    calls = list(calls)
    if not all(call.flush() for call in calls):
        seconds = 0.0  # there is an end to be told, and perhaps something left to be sent
    seconds = max(0.0, min(seconds, min(call.idle_until for call in calls) - time.monotonic()))
    poller, numbers = select.poll(), [call.fileno() for call in calls]
    for call, number in zip(calls, numbers, strict=True):
        if number >= 0:
            poller.register(number, select.POLLIN | (select.POLLOUT if call.writes else 0))
    ready = {number for number, _ in poller.poll(1000 * seconds)}
    for call, number in zip(calls, numbers, strict=True):
        call.step(arrived=number in ready)
