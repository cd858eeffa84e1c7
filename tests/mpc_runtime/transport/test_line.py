"""Messages of a line arrive as they were said, in whatever pieces TLS takes and gives them, and may leave together."""

from __future__ import annotations

import ssl
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.transport.line import HELD_BYTES, HELD_SECONDS, JOIN_BYTES, Limits, Line, TooMuch

LIMITS = Limits(body=1 << 12, parts=3, payload=1 << 17)


class Connection:
    """Takes at most so many bytes at a time, None for no more now; a refused write is to come again, as TLS has it."""

    def __init__(self, takes: list[int | None]) -> None:
        self.takes = deque(takes)
        self.records: list[bytes] = []
        self._refused = b""

    def send(self, data: memoryview) -> int:
        assert bytes(data).startswith(self._refused)
        most = self.takes.popleft() if self.takes else len(data)
        if most is None:
            self._refused = bytes(data)
            raise ssl.SSLWantWriteError
        self._refused = b""
        self.records.append(bytes(data[:most]))
        return len(self.records[-1])


class Given:
    """Gives these bytes in pieces of so many, and then nothing."""

    def __init__(self, data: bytes, pieces: list[int]) -> None:
        self._data, self._pieces = data, deque(pieces)

    def recv(self, most: int) -> bytes:
        count = min(most, self._pieces.popleft() if self._pieces else most)
        if not self._data:
            raise ssl.SSLWantReadError
        given, self._data = self._data[:count], self._data[count:]
        return given

    def recv_into(self, into: memoryview) -> int:
        given = self.recv(len(into))
        into[: len(given)] = given
        return len(given)


def line(connection: Any, limits: Limits = LIMITS) -> Line:
    made = Line(connection, limits, lambda _: True)
    made.established = True
    return made


def received(data: bytes, pieces: list[int]) -> list[list[bytes]]:
    taking = line(Given(data, pieces))
    found = []
    while (parts := taking.receive()) is not None:
        found.append([bytes(part) for part in parts])
    return found


sizes = st.sampled_from([0, 1, 13, 14, 200, JOIN_BYTES - 1, JOIN_BYTES, JOIN_BYTES + 1, 40_000])
messages = st.lists(st.tuples(st.integers(0, 300), st.lists(sizes, max_size=3), st.booleans()), max_size=12)
counts = st.integers(1, 2 * JOIN_BYTES)


@given(messages, st.lists(st.none() | counts, max_size=30), st.lists(counts, max_size=30))
def test_what_is_said_arrives(
    said: list[tuple[int, list[int], bool]], takes: list[int | None], pieces: list[int]
) -> None:
    connection = Connection(takes)
    sending, expected = line(connection), []
    for number, (body, parts, later) in enumerate(said):
        expected.append([bytes([number]) * size for size in (body, *parts)])
        sending.send(expected[-1][0], expected[-1][1:], later=later)
        assert sending.queued >= 0
    while not sending.flush():
        assert sending.queued
    assert sending.queued == 0
    assert received(b"".join(connection.records), pieces) == expected


def test_what_may_leave_later_leaves_together() -> None:
    connection = Connection([])
    sending = line(connection)
    for number in range(10):
        sending.send(b"%d" % number, [bytes(100)], later=True)
    assert connection.records == [] and sending.queued > 1000
    sending.send(b"now", [])
    assert len(connection.records) == 1, "one record of TLS"
    assert [body for body, *_ in received(connection.records[0], [])] == [*(b"%d" % n for n in range(10)), b"now"]


def test_what_is_held_is_due_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("mpc_runtime.transport.line.time.monotonic", lambda: now)
    connection = Connection([])
    sending = line(connection)
    sending.send(b"first", [], later=True)
    now += HELD_SECONDS / 2
    sending.send(b"second", [], later=True)
    sending.go_on()
    assert not sending.due and connection.records == []
    now += HELD_SECONDS / 2
    assert sending.due
    sending.go_on()
    assert not sending.due and sending.queued == 0 and len(connection.records) == 1


def test_nothing_is_held_behind_what_finds_no_room() -> None:
    connection = Connection([None, 4, None])
    sending = line(connection)
    sending.send(b"first", [])
    assert sending.due
    sending.send(b"second", [], later=True)
    assert sending.due and len(connection.records) == 1
    sending.go_on()
    assert sending.queued == 0


def test_no_more_than_so_much_is_held() -> None:
    connection = Connection([])
    sending, most = line(connection), 0
    for _ in range(1000):
        sending.send(b"", [bytes(3000)], later=True)
        most = max(most, sending.queued)
    assert HELD_BYTES // 2 < most <= HELD_BYTES
    assert all(len(record) <= JOIN_BYTES for record in connection.records)


def test_what_has_come_at_once_is_bounded_as_what_comes_slowly() -> None:
    connection = Connection([])
    line(connection).send(b"", [bytes(100)] * 2)
    for pieces in ([], [1] * 300):
        for limits in (Limits(parts=1), Limits(parts=2, payload=199)):
            with pytest.raises(TooMuch):
                line(Given(b"".join(connection.records), list(pieces)), limits).receive()


def test_parts_keep_nothing_else_in_memory() -> None:
    connection = Connection([])
    sending = line(connection)
    for _ in range(100):
        sending.send(b"", [bytes(16)], later=True)
    sending.flush()
    taking = line(Given(b"".join(connection.records), []))
    while (parts := taking.receive()) is not None:
        assert [len(part.obj) for part in parts] == [0, 16]
