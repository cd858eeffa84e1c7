"""Floods of a party, from strangers, from clients that are allowed in, and from a peer: each sends a fixed amount.

Whoever is over a bound is refused or cut, so a flood takes every error for an answer and goes on.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mpc_runtime.plan import FORMAT, Plan
from mpc_runtime.transport.front import STREAM_MARK
from mpc_runtime.transport.hello import Hello, new_nonce
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.messages import encode
from tests.lines import connected, framed, proved
from tests.waiting import in_thread

SECONDS = 5.0
"""For a connection of a flood to prove a key: longer than that, it is given up."""
STALLED_SECONDS = 1.0
"""And what nobody reads that long will not be read: the party has all that it takes, the rest waits in the network."""
LOST = (OSError, ValueError)


@dataclass(frozen=True)
class Target:
    """A party under flood: its addresses, its public key, and the keys with which the flood may come in."""

    clients: str
    servers: str
    key: str
    plan: Plan
    allowed: KeyPair
    """Of a role that takes part in the stage `setup` only."""
    peer: KeyPair
    """Of the other party."""
    share: int
    """Bytes of a submission to this party."""


@contextmanager
def _let_in(target: Target, address: str, keys: KeyPair, name: str) -> Iterator[ssl.SSLSocket]:
    """A connection that has proved a key and said hello."""
    hello = Hello(name, target.plan.hash, FORMAT)
    with proved(address, keys, target.key, hello, SECONDS) as connection:
        connection.settimeout(STALLED_SECONDS)
        yield connection


# -- strangers -------------------------------------------------------------------------------------------------------


def knocking(target: Target) -> None:
    """Connections that say nothing, something wrong, or too much."""
    for address in (target.clients, target.servers):
        with ExitStack() as stack:
            for data in (
                *[b""] * 40,
                *[b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + bytes(1 << 18)] * 5,
                *[STREAM_MARK + os.urandom(16) + bytes(1 << 18)] * 5,
                *[b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(44)] * 5,
            ):
                with suppress(*LOST):
                    stack.enter_context(connected(address, data, SECONDS))


def unknown_keys(target: Target) -> None:
    """Handshakes with keys that nobody has listed."""
    keys = KeyPair.generate()
    for address in (target.clients, target.servers) * 10:
        with suppress(*LOST), proved(address, keys, target.key, seconds=SECONDS) as connection:
            connection.sendall(bytes(1 << 16))


# -- an allowed client ---------------------------------------------------------------------------------------------


def submissions(target: Target) -> None:
    """Connections of one key, each with many messages of the largest size."""

    def one(number: int) -> None:
        with suppress(*LOST), _let_in(target, target.clients, target.allowed, "c") as connection:
            for i in range(20):
                body = encode({"kind": "submit", "stage": "setup", "id": f"{number} {i} {new_nonce()[:32]}"})
                connection.sendall(framed(body, bytes(target.share)))

    _at_once(40, one)


def wrong_messages(target: Target) -> None:
    """What no client of ours sends, and every one of them for the first time."""
    share = bytes(target.share)
    for body, payload in (
        (b"{" * 4096, []),
        (encode({"kind": "submit", "stage": "setup", "id": "x"}), [share + b"!"]),
        (encode({"kind": "submit", "stage": "never", "id": "x"}), [share]),
        (encode({"kind": "submit", "stage": "setup", "id": ["x"]}), [share]),
        (b"{}", [b""] * 60_000),
        (encode({"kind": "note"}), [share]),
    ):
        with suppress(*LOST), _let_in(target, target.clients, target.allowed, "c") as connection:
            for _ in range(20):
                connection.sendall(framed(body, *payload))


def unfinished_messages(target: Target) -> None:
    """Messages that begin and go no further, and connections that never read."""

    def one(number: int) -> None:
        with suppress(*LOST), _let_in(target, target.clients, target.allowed, "c") as connection:
            whole = framed(encode({"kind": "submit", "stage": "setup", "id": str(number)}), bytes(target.share))
            connection.sendall(whole[:-1])
            for _ in range(2000):
                connection.sendall(framed(encode({"kind": "ping"})))

    _at_once(12, one)


# -- a peer ------------------------------------------------------------------------------------------------------------


def peer_messages(target: Target) -> None:
    """Connections under the other party's key: hellos without end, pings without waiting, messages too large."""

    def one(number: int) -> None:
        with suppress(*LOST), _let_in(target, target.servers, target.peer, "p0") as connection:
            hello = framed(encode(Hello("p0", target.plan.hash, FORMAT).body(new_nonce())))
            for _ in range(500):
                connection.sendall(hello)
                connection.sendall(framed(encode({"kind": "ping"})))
            connection.sendall(framed(bytes(1 << 20), *[bytes(1 << 16)] * 40))

    _at_once(12, one)


FLOODS: Mapping[str, Callable[[Target], None]] = {
    each.__name__: each
    for each in (knocking, unknown_keys, submissions, wrong_messages, unfinished_messages, peer_messages)
}


def _at_once(count: int, one: Callable[[int], None]) -> None:
    threads = [in_thread(lambda number=number: one(number)) for number in range(count)]  # type: ignore[misc]
    for thread in threads:
        thread.join()


# -- memory ------------------------------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))


class Watch:
    """The most memory that a process has had since the last look."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._done = threading.Event()
        self._thread = in_thread(self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = max(self._most, resident(self._pid))

    def most(self) -> int:
        found, self._most = max(self._most, resident(self._pid)), 0
        return found

    def close(self) -> None:
        self._done.set()
        self._thread.join()
