"""A front's bounds, each of which a flood would exceed: what is over them is refused, and others are served."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from mpc_runtime.transport import front as front_module
from mpc_runtime.transport.front import PENDING, STREAM_MARK, Front
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.line import LineClosed
from mpc_runtime.transport.messages import TICKET_BYTES
from tests.mpc_runtime.transport.fronts import (
    ALICE,
    BOB,
    QUOTA,
    called,
    calling,
    ended,
    fronted,
    heard,
    is_closed,
    reached,
    stranger,
    threads_of,
)
from tests.waiting import in_thread, until

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
        odd = stranger(front)
        with suppress(OSError):  # it may have been sent away already
            odd.sendall(data)
        reached(front, call)
        assert is_closed(odd)
        until(lambda: len(front._guests) == 1)


def test_silent_strangers_are_no_more_than_so_many_and_the_oldest_give_way() -> None:
    with fronted() as front, ExitStack() as stack:
        silent = [stack.enter_context(stranger(front)) for _ in range(PENDING + 20)]
        until(lambda: front._last_route == len(silent))
        assert len(front._guests) == PENDING
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
                    stranger(front, b"\x16\x03\x01\x00\x05hello").close()

        floods = [in_thread(flood) for _ in range(3)]
        until(lambda: front._last_route > 2 * front_module.ACCEPTS_AT_ONCE)
        taken, elapsed = front._last_route, time.monotonic() - began
        stop.append(True)
        for each in floods:
            each.join()
        assert taken <= front_module.ACCEPTS_AT_ONCE + front_module.ACCEPTS_PER_SECOND * elapsed + 1
        with calling(front) as call:
            reached(front, call)


def test_an_idle_front_takes_no_time() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        front.answer(route, {"kind": "welcome", "name": "p0"})
        until(lambda: call.step() or call.welcomed)
        turns = []
        select = front._selector.select
        front._selector.select = lambda timeout=None: turns.append(timeout) or select(timeout)  # type: ignore[method-assign]
        front._wake.set()
        until(lambda: turns)
        assert turns == [None]  # it sleeps without a clock


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
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        assert call._line is not None
        call._line.send(body, payload)
        assert message in ended(call)
        until(lambda: not front.alive(route))
        assert not front._held[ALICE.public]


def pour(front: Front, call: object) -> int:
    """Sends messages until no more are taken; how many bytes were."""
    line = call._line  # type: ignore[attr-defined]
    sent = 0
    while line.queued < 1 << 22:
        line.send(b'{"kind": "submit", "stage": "run", "id": "7"}', [bytes(60_000)])
        sent += 60_000
    return sent


def test_what_nobody_looks_at_is_bounded_for_a_key_and_for_all() -> None:
    with fronted() as front, ExitStack() as stack:
        calls = [stack.enter_context(calling(front, keys)) for keys in (ALICE, ALICE, ALICE, BOB, BOB)]
        for call in calls:
            reached(front, call)
        for call in calls:
            pour(front, call)
        for _ in range(100):
            for call in calls:
                call.step()
            time.sleep(0.002)
        assert front._held[ALICE.public] <= QUOTA.key_bytes
        assert sum(front._held.values()) <= QUOTA.all_bytes
        assert sum(guest.waiting for guest in front._guests.values()) <= 5 * QUOTA.messages
        waiting = len(front._arrived)
        assert 0 < waiting <= QUOTA.all_bytes // 60_000
        taken = {heard(front, call).sender for call in calls for _ in range(10)}
        assert taken == {"alice", "bob"}  # what waited has come in, from both


def test_a_guest_whose_messages_wait_hears_that_the_server_lives() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        front.answer(route, {"kind": "welcome", "name": "p0"})
        pour(front, call)
        call._heard = 0.0
        until(lambda: call.step() or call._heard or call.failure)
        heard_at = call._heard
        until(lambda: call.step() or call._heard > heard_at)
        assert call.failure is None


def test_a_message_that_does_not_come_to_its_end_gives_up_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "MESSAGE_SECONDS", 0.3)
    with fronted() as front, calling(front) as call:
        reached(front, call)
        assert call._line is not None
        call._line.connection.setblocking(True)
        call._line.connection.sendall(bytes([0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0xFF, 0]) + b"{}half")
        until(lambda: front._held[ALICE.public])
        until(lambda: not front._held[ALICE.public])
        assert not front._guests


def test_who_does_not_read_its_answers_is_cut_off() -> None:
    with fronted(replace(QUOTA, unsent_bytes=1 << 20)) as front, calling(front) as lazy, calling(front, BOB) as other:
        route = reached(front, lazy).route
        reached(front, other)
        sent = 0
        while front.answer(route, {"kind": "result", "id": "7", "names": []}, bytes(1 << 20)):
            sent += 1 << 20
            time.sleep(0.001)
        assert sent < 64 << 20  # what the system's buffers and ours take
        other.say(SUBMIT, b"")
        assert heard(front, other).sender == "bob"


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_ticket_is_good_for_one_stream_and_a_newer_one_makes_it_void() -> None:
    tickets = [os.urandom(TICKET_BYTES) for _ in range(3)]
    with fronted() as front:
        front.admit(tickets[0], "p1")
        front.admit(tickets[1], "p1")
        with stranger(front, STREAM_MARK + tickets[0]) as late:
            assert is_closed(late)
        with stranger(front, STREAM_MARK + tickets[1] + b"more") as first:
            until(lambda: front._streams)
            found = front.stream()
            assert found is not None and found[0] == "p1"
            with found[1] as stream:
                assert stream.recv(10) == b"more"
                first.sendall(b"and more")
                stream.setblocking(True)
                assert stream.recv(10) == b"and more"
        with stranger(front, STREAM_MARK + tickets[1]) as again:
            assert is_closed(again)
        front.admit(tickets[2], "p1")
        front.void("p1")
        with stranger(front, STREAM_MARK + tickets[2]) as refused:
            assert is_closed(refused)
        assert front.stream() is None and not front._tickets


def test_a_ticket_may_come_in_pieces() -> None:
    ticket = os.urandom(TICKET_BYTES)
    with fronted() as front:
        front.admit(ticket, "p1")
        with stranger(front) as slow:
            for byte in STREAM_MARK + ticket:
                slow.sendall(bytes([byte]))
                time.sleep(0.001)
            until(lambda: front._streams)


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
        front.answer(route, {"kind": "result", "id": "7", "names": []}, bytes(1 << 20))
        assert "p0" in ended(call)


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
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        front.answer(route, {"kind": "welcome", "name": "p0"})
        until(lambda: call.step() or call.welcomed)
        call._heard = call._stepped = 0.0  # as after a night in which nobody has looked
        call.step()
        assert call.failure is None
        call._heard = 0.0
        call.step()
        assert "nothing was heard" in str(call.failure)


def test_a_closed_line_says_so() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        line = front._guests[route].line
    until(lambda: not front.alive(route))
    assert line is not None
    with pytest.raises(LineClosed):
        line.send(b"{}")


def test_processor_time_of_a_flood_is_bounded_by_what_is_accepted() -> None:
    """Work is done for connections that were taken, not for those that knock: the thread's time a connection."""
    with fronted() as front:
        before, taken = threads_of(front), front._last_route
        stop: list[bool] = []

        def flood() -> None:
            while not stop:
                with suppress(OSError):
                    stranger(front, b"\x16\x03\x01\x00\x05hello").close()

        flooding = in_thread(flood)
        until(lambda: front._last_route > taken + 60)
        stop.append(True)
        flooding.join()
        each = (threads_of(front) - before) / (front._last_route - taken)
        assert each < 0.02  # seconds; 30 of them are taken in one
