"""A front's bounds, each of which a flood would exceed: what is over them is refused, and others are served."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mpc_runtime.transport import call as call_module
from mpc_runtime.transport import front as front_module
from mpc_runtime.transport.call import drive
from mpc_runtime.transport.door import preamble
from mpc_runtime.transport.front import PENDING, STREAM_MARK, Front
from mpc_runtime.transport.identity import KeyPair, hosting_context
from mpc_runtime.transport.messages import TICKET_BYTES, Message, encode
from tests.certificates import certificate, present
from tests.lines import connected, framed, is_closed, said_by
from tests.mpc_runtime.transport.fronts import (
    ALICE,
    BOB,
    HOST,
    QUOTA,
    called,
    calling,
    ended,
    fronted,
    heard,
    raw,
    reached,
)
from tests.waiting import SECONDS, in_thread, until

SUBMIT = {"kind": "submit", "stage": "run", "id": "7"}


def test_who_has_a_key_is_heard_by_its_name_and_answered() -> None:
    with fronted() as front, calling(front, ALICE) as alice, calling(front, BOB) as bob:
        routes = {}
        for call, name in ((alice, "alice"), (bob, "bob")):
            message = reached(front, call)
            assert (message.sender, message.body["name"]) == (name, "alice")  # the key counts, not what it says
            routes[name] = message.route
        assert front.answer(routes["bob"], {"kind": "welcome", "name": "p0"})
        until(lambda: bob.step() or bob.welcomed)
        bob.say(SUBMIT, bytes(1000))
        message = heard(front, bob)
        assert (message.kind, message.sender, message.route) == ("submit", "bob", routes["bob"])
        assert [bytes(part) for part in message.payload] == [bytes(1000)]
        assert not alice.welcomed


def test_what_is_not_taken_waits_with_all_behind_it_and_others_are_heard() -> None:
    with fronted() as front, calling(front, ALICE) as alice, calling(front, BOB) as bob:
        names = {reached(front, call).route: name for call, name in ((alice, "alice"), (bob, "bob"))}
        for number in ("1", "2", "3"):
            for call in (alice, bob):
                call.say({**SUBMIT, "id": number})
        until(lambda: (alice.step(), bob.step()) and front.occupancy.messages == 6)
        heard_: list[tuple[str, str]] = []

        def take(message: Message) -> bool:
            found = names[message.route], message.body["id"]
            if found in refused:
                return False
            heard_.append(found)
            return True

        refused = {("alice", "2"), ("bob", "1")}
        assert front.offer(take) and heard_ == [("alice", "1")]
        assert not front.offer(take) and front.occupancy.messages == 5
        refused = {("alice", "2")}
        assert front.offer(take) and heard_[1:] == [("bob", number) for number in ("1", "2", "3")]
        refused = set()
        assert front.offer(take) and heard_[4:] == [("alice", "2"), ("alice", "3")]
        assert not front.occupancy.bytes and not front.occupancy.messages


def test_who_hangs_up_while_nobody_reads_it_is_let_go() -> None:
    with fronted() as front, calling(front, ALICE) as alice:
        reached(front, alice)
        for _ in range(QUOTA.messages + 2):
            alice.say(SUBMIT)
        until(lambda: alice.step() or front.occupancy.messages == QUOTA.messages)
        alice.close()
        until(lambda: front.occupancy.connections == 0)
        assert front.occupancy.messages == QUOTA.messages  # what it has said still counts


def test_who_has_another_key_is_told_so() -> None:
    with fronted() as front:
        with calling(front, KeyPair.generate()) as call:
            assert "does not accept our key" in ended(call)
        with calling(front, ALICE, host=BOB.public) as call:
            assert "does not have the key of p0 that we know" in ended(call)
        assert front.receive() is None


def test_a_guest_that_leaves_is_known_to_have_left() -> None:
    with fronted() as front:
        with calling(front) as call:
            route = reached(front, call).route
            assert front.alive(route)
        until(lambda: not front.alive(route))
        assert not front.answer(route, {"kind": "welcome", "name": "p0"})


# -- strangers -------------------------------------------------------------------------------------------------------

GARBAGE = {
    "nothing": b"",
    "half a greeting": b"\x16\x03\x01",
    "a record of TLS that is none": b"\x16\x03\x01\x40\x00" + bytes(100),
    "a large hello": b"\x16\x03\x01\x40\x00\x01\x7f\xff\xff" + bytes(1 << 20),
    "a greeting of ZeroMQ": b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(48),
    "a page": b"GET / HTTP/1.1\r\n\r\n",
    "a ticket that was never given": STREAM_MARK + bytes(TICKET_BYTES) + bytes(1000),
    "half a ticket": STREAM_MARK + bytes(3),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=list(GARBAGE))
def test_a_stranger_is_sent_away_and_others_are_served(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "HANDSHAKE_SECONDS", 0.3)
    with fronted() as front, calling(front) as call:
        odd = connected(front.address)
        with suppress(OSError):  # it may have been sent away already
            odd.sendall(data)
        reached(front, call)
        assert is_closed(odd)
        until(lambda: front.occupancy.connections == 1)


def test_who_is_turned_away_is_counted_by_the_reason() -> None:
    with fronted() as front:
        with calling(front, KeyPair.generate()) as unknown:
            assert "does not accept our key" in ended(unknown)
        assert is_closed(connected(front.address, b"GET / HTTP/1.1"))
        assert is_closed(connected(front.address, STREAM_MARK + bytes(TICKET_BYTES)))
        with raw(front) as connection:
            assert b"refused" in said_by(connection, encode({"kind": "dance"}))
        assert front.occupancy.refused == {"key": 1, "protocol": 1, "ticket": 1, "message": 1}


def test_silent_strangers_are_no_more_than_so_many_and_the_oldest_give_way() -> None:
    with fronted() as front, ExitStack() as stack:
        silent = [stack.enter_context(connected(front.address)) for _ in range(PENDING + 20)]
        until(lambda: front.occupancy.taken == len(silent))
        assert front.occupancy.strangers == PENDING
        assert all(is_closed(each) for each in silent[:20])
        with calling(front) as call:
            reached(front, call)


def test_a_flood_of_connections_is_taken_at_its_pace() -> None:
    """What is taken in a time is bounded by the tokens of that time, however many come; the rest waits."""
    with fronted() as front:
        began, stop = time.monotonic(), []

        def flood() -> None:
            while not stop:
                with suppress(OSError):
                    connected(front.address, b"\x16\x03\x01\x00\x05hello").close()

        floods = [in_thread(flood) for _ in range(3)]
        until(lambda: front.receive() is None and front.occupancy.taken > 2 * QUOTA.accepts_at_once)
        taken, elapsed = front.occupancy.taken, time.monotonic() - began
        stop.append(True)
        for each in floods:
            each.join()
        assert taken <= QUOTA.accepts_at_once + QUOTA.accepts_per_second * elapsed + 1
        with calling(front) as call:
            reached(front, call)


# -- those who have a key ----------------------------------------------------------------------------------------------


def test_a_key_has_so_many_connections() -> None:
    with fronted() as front, ExitStack() as stack:
        for _ in range(QUOTA.per_key):
            reached(front, stack.enter_context(calling(front)))
        for _ in range(3):
            with calling(front) as one_more:
                assert "alice has 3 connections under this key; close one of them" in ended(one_more)
        with calling(front, BOB) as other:
            reached(front, other)


def test_all_keys_have_so_many_connections() -> None:
    with fronted(replace(QUOTA, connections=2)) as front, ExitStack() as stack:
        for _ in range(2):
            reached(front, stack.enter_context(calling(front)))
        with calling(front, BOB) as one_more:
            assert "there are 2 connections already" in ended(one_more)


@pytest.mark.parametrize(
    ("body", "payload", "message"),
    [
        (b"x" * 5000, [], "a message of 5000 bytes and 0 parts, where at most 4096 and 1 are expected"),
        (b"{}", [b"", b""], "a message of 2 bytes and 2 parts"),
        (b"{}", [b"x" * (1 << 17)], "a payload of 131072 bytes, where at most 65536 are expected"),
        (b'{"kind": "welcome"}', [], "its kind is 'welcome'"),
    ],
)
def test_a_message_over_its_limits_is_refused_before_it_is_read(
    body: bytes, payload: list[bytes], message: str
) -> None:
    with fronted() as front, raw(front) as odd:
        assert message in said_by(odd, body, payload).decode(errors="replace")
        until(lambda: not front.occupancy.connections)
        hello = front.receive()
        assert hello is not None and not front.alive(hello.route)
        assert not front.occupancy.bytes


SHARE = 60_000


def pour(connection: ssl.SSLSocket) -> None:
    """Sends messages until the network takes no more."""
    connection.settimeout(0.5)
    with suppress(OSError):
        while True:
            connection.sendall(framed(encode(SUBMIT), bytes(SHARE)))


def test_what_nobody_looks_at_is_bounded_for_a_key_and_for_all() -> None:
    with fronted() as front, ExitStack() as stack:
        for keys in (ALICE, ALICE, ALICE, BOB, BOB):
            pour(stack.enter_context(raw(front, keys)))
        held = front.occupancy
        assert 0 < held.messages <= 5 * QUOTA.messages
        assert set(held.bytes) == {ALICE.public, BOB.public}
        assert all(count <= QUOTA.key_bytes for count in held.bytes.values())
        assert sum(held.bytes.values()) <= QUOTA.all_bytes
        assert held.messages <= QUOTA.all_bytes // SHARE + 5  # and hellos
        taken: Counter[str] = Counter()

        def look() -> bool:
            while (message := front.receive()) is not None:
                taken[message.sender] += 1
            return min(taken["alice"], taken["bob"]) > 4 * QUOTA.all_bytes // SHARE

        until(look)  # what waited in the network comes in, from both


def test_a_guest_whose_messages_wait_hears_that_the_server_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "PING_SECONDS", 0.05)
    with fronted() as front, raw(front) as connection:
        pour(connection)
        connection.settimeout(SECONDS)
        pong = b'"kind": "pong"'
        said = b""
        while said.count(pong) < 3:  # though it has not said ping
            said += connection.recv(1 << 12)


def test_a_message_that_does_not_come_to_its_end_gives_up_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "MESSAGE_SECONDS", 0.5)
    with fronted() as front, raw(front) as slow:
        slow.sendall(framed(encode(SUBMIT), bytes(SHARE))[:-1])
        assert is_closed(slow)
        until(lambda: front.receive() is not None)  # its hello
        assert not front.occupancy.bytes and not front.occupancy.connections


def test_who_does_not_read_its_answers_is_cut_off() -> None:
    with fronted(replace(QUOTA, unsent_bytes=1 << 20)) as front, calling(front) as lazy, calling(front, BOB) as other:
        route = reached(front, lazy).route
        reached(front, other)
        sent = 0
        while front.answer(route, {"kind": "held", "id": "7"}, bytes(1 << 20)):
            sent += 1 << 20
            other.say(SUBMIT, b"")
            assert heard(front, other).sender == "bob"  # so the front's thread has had its turn
        assert sent < 64 << 20  # what the system's buffers and ours take


def test_a_front_that_has_failed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(front_module, "tune", fail)
    with fronted() as front, connected(front.address):

        def look() -> bool:
            try:
                front.receive()
            except RuntimeError as error:
                return isinstance(error.__cause__, ZeroDivisionError)
            return False

        until(look)


# -- streams -----------------------------------------------------------------------------------------------------------


def next_stream(front: Front) -> tuple[str, socket.socket]:
    found: list[tuple[str, socket.socket]] = []
    until(lambda: found or ((stream := front.stream()) and found.append(stream)))
    return found[0]


def test_a_ticket_is_good_for_one_stream_and_a_newer_one_makes_it_void() -> None:
    tickets = [os.urandom(TICKET_BYTES) for _ in range(3)]
    with fronted() as front:
        front.admit(tickets[0], "p1")
        front.admit(tickets[1], "p1")
        with connected(front.address, STREAM_MARK + tickets[0]) as late:
            assert is_closed(late)
        with connected(front.address, STREAM_MARK + tickets[1] + b"more") as first:
            found = next_stream(front)
            assert found[0] == "p1"
            with found[1] as stream:
                assert stream.recv(10) == b"more"
                first.sendall(b"and more")
                stream.setblocking(True)
                assert stream.recv(10) == b"and more"
        with connected(front.address, STREAM_MARK + tickets[1]) as again:
            assert is_closed(again)
        front.admit(tickets[2], "p1")
        front.void("p1")
        with connected(front.address, STREAM_MARK + tickets[2]) as refused:
            assert is_closed(refused)
        assert front.stream() is None and not front.occupancy.tickets


def test_a_ticket_may_come_in_pieces() -> None:
    ticket = os.urandom(TICKET_BYTES)
    with fronted() as front:
        front.admit(ticket, "p1")
        with connected(front.address) as slow:
            for byte in STREAM_MARK + ticket:
                slow.sendall(bytes([byte]))
                time.sleep(0.001)
            machine, stream = next_stream(front)
            stream.close()
            assert machine == "p1"


# -- the call's side ---------------------------------------------------------------------------------------------------


def test_a_host_that_pushes_before_it_has_proved_its_key_fills_nothing() -> None:
    """As whoever answers at a server's address: it says hello and sends for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server, fronted() as front:
        call = called(front, ALICE)
        call.address = f"127.0.0.1:{server.getsockname()[1]}"
        pushed = []

        def push() -> None:
            connection, _ = server.accept()
            connection.settimeout(1.0)
            with connection:
                try:
                    for _ in range(500):
                        connection.sendall(b"\x16\x03\x03\x40\x00" + bytes(1 << 20))
                        pushed.append(1)
                except OSError:
                    return

        pushing = in_thread(push)
        until(lambda: call.step() or not pushing.is_alive())
        call.close()
        assert len(pushed) < 100  # what the system's buffers take, if anything


def test_a_host_that_sends_too_much_is_given_up() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        front.answer(route, {"kind": "welcome", "name": "p0"})
        until(lambda: call.step() or call.welcomed)
        front.answer(route, {"kind": "held", "id": "7"}, bytes(1 << 20))
        assert "p0" in ended(call)


def test_a_host_is_its_key_and_nobody_that_the_key_vouches_for() -> None:
    """As a server that has lent somebody a certificate: TLS finds nothing wrong with it."""
    own, lent = HOST.private(), Ed25519PrivateKey.generate()
    context = hosting_context(HOST, [ALICE.public])
    present(context, [certificate("mpc", lent, HOST.public, own)], lent)
    with socket.create_server(("127.0.0.1", 0)) as server, fronted() as front:
        call = called(front, ALICE)
        call.address = f"127.0.0.1:{server.getsockname()[1]}"

        def host() -> None:
            connection, _ = server.accept()
            connection.recv(len(preamble("plan")), socket.MSG_WAITALL)
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as made:
                made.recv(1)

        hosting = in_thread(host)
        assert "does not have the key of p0 that we know" in ended(call)
        call.close()
        hosting.join()


def test_a_call_is_made_again_until_it_is_welcome() -> None:
    with fronted() as front:
        address = front.address
    with fronted() as other:
        call = called(other, ALICE)
        there, call.address = call.address, address  # where nobody listens any more
        for _ in range(5):
            call.step()
            time.sleep(0.02)
        assert call.failure is None
        call.address = there
        reached(other, call)
        call.close()


def test_a_silent_server_is_given_up_and_only_while_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was stopped: its connection stands, and nobody answers."""
    context = hosting_context(HOST, [ALICE.public])
    with socket.create_server(("127.0.0.1", 0)) as server, fronted() as front:
        call = called(front, ALICE)
        call.address = f"127.0.0.1:{server.getsockname()[1]}"
        served: list[ssl.SSLSocket] = []

        def welcome() -> None:
            connection, _ = server.accept()
            connection.recv(len(preamble("plan")), socket.MSG_WAITALL)
            served.append(context.wrap_socket(connection, server_side=True))
            served[0].sendall(framed(encode({"kind": "welcome", "name": "p0"})))

        serving = in_thread(welcome)
        until(lambda: drive([call], 0.01) or call.welcomed)
        serving.join()
        monkeypatch.setattr(call_module, "SILENCE_SECONDS", 0.5)
        monkeypatch.setattr(call_module, "PING_SECONDS", 0.2)
        time.sleep(1.0)  # nobody drives: what was not heard may have come
        call.step()
        assert call.failure is None
        assert "p0 is gone: nothing was heard" in ended(call)
        call.close()
        served[0].close()
