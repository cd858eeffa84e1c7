"""Connections find their plan by their route, whole or in pieces, and strangers take no room that lasts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mpc_runtime.servers import reception as reception_module
from mpc_runtime.servers.reception import PENDING, Reception
from mpc_runtime.transport.address import ANY_PORT
from mpc_runtime.transport.door import LOBBY, Handed, preamble
from tests.lines import connected
from tests.waiting import SECONDS, in_thread, until

HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def reception() -> Iterator[Reception]:
    reception = Reception("p0", ANY_PORT)
    over = threading.Event()

    def attend() -> None:
        while not over.is_set():
            reception.attend(0.01)

    thread = in_thread(attend)
    yield reception
    over.set()
    thread.join(SECONDS)
    reception.close()


def accepted(door: Handed) -> socket.socket:
    found: list[socket.socket] = []

    def arrived() -> bool:
        try:
            found.append(door.accept()[0])
        except OSError:
            return False
        return True

    until(arrived)
    found[0].settimeout(SECONDS)
    return found[0]


def exactly(connection: socket.socket, count: int) -> bytes:
    with connection.makefile("rb", buffering=0) as file:
        return b"".join(file.read(1) or b"" for _ in range(count))


def test_a_connection_goes_to_the_plan_of_its_route_with_all_that_follows(reception: Reception) -> None:
    doors = {plan: Handed(reception.end_for(plan), reception.address) for plan in (HASH, OTHER)}
    lobby = Handed(reception.lobby_end, reception.address)
    for plan, door in (*doors.items(), (LOBBY, lobby), ("c" * 64, lobby)):
        with connected(reception.address) as near:
            for byte in preamble(plan) + b"hello":
                near.sendall(bytes([byte]))
            with accepted(door) as far:
                assert exactly(far, 5) == b"hello"
                far.sendall(b"welcome")
                assert exactly(near, 7) == b"welcome"


def test_connections_wait_for_a_process_that_is_not_there_yet_but_not_without_end(reception: Reception) -> None:
    end = reception.end_for(HASH)
    with connected(reception.address, preamble(HASH)) as early:
        assert early.fileno() >= 0
        with accepted(Handed(end, reception.address)):
            pass
    reception.forget(HASH)
    lobby = Handed(reception.lobby_end, reception.address)
    with connected(reception.address, preamble(HASH)), accepted(lobby):
        pass


def test_what_is_no_route_is_sent_away(reception: Reception) -> None:
    for data in (b"\x16\x03\x01", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100):
        with connected(reception.address, data) as stranger:
            assert ended(stranger)


def test_strangers_that_say_nothing_give_way(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "ROUTE_SECONDS", SECONDS)
    silent = [connected(reception.address) for _ in range(PENDING + 1)]
    try:
        assert ended(silent[0])
        with connected(reception.address, preamble(HASH)), accepted(Handed(reception.lobby_end, reception.address)):
            pass
    finally:
        for each in silent:
            each.close()


def test_a_stranger_has_a_few_seconds(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "ROUTE_SECONDS", 0.1)
    with connected(reception.address, preamble(HASH)[:5]) as stranger:
        assert ended(stranger)


def ended(connection: socket.socket) -> bool:
    connection.settimeout(SECONDS)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
