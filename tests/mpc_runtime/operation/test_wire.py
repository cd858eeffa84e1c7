"""What the process of a plan tells is what its service hears, and whoever tells never waits."""

from __future__ import annotations

import socket

from mpc_runtime.operation.events import KINDS, Event, Place, Ready
from mpc_runtime.operation.watch import Door, State
from mpc_runtime.operation.wire import Hearer, Speaker
from tests.mpc_runtime.operation.watching import EVENTS, PLACE
from tests.waiting import until

STATE = State(
    True, {"p1": True, "dealer": False}, {"clients": Door(5, 2, 640, {"key": 3})}, 950, frozenset({"dealer"}), 7
)


def test_every_event_and_the_state_arrive_as_they_were_told() -> None:
    assert {type(event) for event in EVENTS} == set(KINDS.values())
    heard: list[tuple[Place, Event]] = []
    near, far = socket.socketpair()
    hearer = Hearer(PLACE.machine, near, lambda place, event: heard.append((place, event)))
    speaker = Speaker(far)
    for event in EVENTS:
        speaker(PLACE, event)
    speaker.asked(PLACE.plan, lambda: STATE)
    until(lambda: hearer.state == STATE)
    speaker.close()
    hearer.finish()
    assert heard == [(PLACE, event) for event in EVENTS]
    assert hearer.state == State()  # nothing is known of a process that has ended


def test_what_is_told_between_two_runs_leaves_together() -> None:
    """A message each would wake a thread at either end, a hundred times."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    speaker = Speaker(far)
    for _ in range(100):
        speaker(PLACE, Ready())
    speaker.close()
    messages = list(iter(lambda: near.recv(1 << 20), b""))
    assert sum(message.count(b"\n") for message in messages) == 100
    assert len(messages) <= 10
    near.close()


def test_what_a_killed_process_did_not_finish_is_not_heard() -> None:
    heard: list[Event] = []
    near, far = socket.socketpair()
    hearer = Hearer("p0", near, lambda _, event: heard.append(event))
    far.sendall(b'{"plan": "", "session": "", "event": "ready", "facts": {}}\n{"plan": "", "sess')
    far.close()
    hearer.finish()
    assert heard == [Ready()]


def test_a_service_that_does_not_read_keeps_nobody() -> None:
    near, far = socket.socketpair()
    speaker = Speaker(far)
    for _ in range(100_000):
        speaker(PLACE, Ready())  # far more than the socket and the queue hold
    near.close()
    speaker.close()
