"""What the process of a plan tells its service, which tells it on: events, and from time to time its state.

    {"plan": "digits:0f3a…", "session": "9c…", "event": "executed", "facts": {…}}
    {"plan": "digits:0f3a…", "state": {…}}

Lines of JSON on a socket between the two. Whoever tells does not wait: a thread sends, and drops what it has no room
for. What arrives is made into an event of `events.py` again, so a service shows what a server of one plan would.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from .events import KINDS, Event, Place
from .watch import Asked, Door, State

__all__ = ["Hearer", "Speaker"]

WAITING = 4096  # events that wait for a service which does not read
STATE_SECONDS = 1.0  # between two looks at the state
GATHER_SECONDS = 0.05  # what is told within so long leaves together: each message wakes two threads between two runs
LAST_SECONDS = 2.0  # for what a process tells in the end


class Speaker:
    """A watcher, at the process's end of the socket. `close` it in the end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._waiting: deque[tuple[Place, Event]] = deque()
        self._asked: tuple[str, Asked] | None = None
        self._woken, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._speak, name="speaker", daemon=True)
        self._thread.start()

    def __call__(self, place: Place, event: Event) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append((place, event))
            self._woken.set()

    def asked(self, plan: str, state: Asked) -> None:
        """Takes the way to ask for the state, which is told when it has changed."""
        self._asked = plan, state
        self._woken.set()

    def close(self) -> None:
        """What was told has a moment to leave. Closing again does nothing."""
        self._closing.set()
        self._woken.set()
        self._thread.join(LAST_SECONDS)
        self._end.close()

    def _speak(self) -> None:
        before, looked = "", 0.0
        with suppress(OSError):  # the service has gone, and this process with it
            while True:
                closing, lines = self._closing.is_set(), []
                while self._waiting:
                    lines.append(_line(*self._waiting.popleft()))
                self._send(*lines)
                if closing:
                    return
                if self._asked is not None and (now := time.monotonic()) - looked >= STATE_SECONDS:
                    looked, told = now, self._told(*self._asked)
                    if told != before:
                        self._send(told)
                    before = told
                if self._woken.wait(STATE_SECONDS):
                    self._woken.clear()
                    self._closing.wait(GATHER_SECONDS)

    def _send(self, *lines: str) -> None:
        if lines:
            self._end.sendall("".join(f"{line}\n" for line in lines).encode())

    @staticmethod
    def _told(plan: str, asked: Asked) -> str:
        state = asked()
        told = {**asdict(state), "optional": sorted(state.optional)} if state is not None else None
        return json.dumps({"plan": plan, "state": told})


def _line(place: Place, event: Event) -> str:
    facts = asdict(event)  # type: ignore[call-overload]
    return json.dumps({"plan": place.plan, "session": place.session, "event": event.kind, "facts": facts})


class Hearer:
    """The service's end: a thread that tells on what a process tells. tell: takes events, from where they come.

    `state` is the last that was told. The thread ends with the process.
    """

    def __init__(self, machine: str, end: socket.socket, tell: Callable[[Place, Event], None]) -> None:
        self.state = State()
        self._machine = machine
        self._end = end
        self._tell = tell
        self._thread = threading.Thread(target=self._hear, name="hearer", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """The process has ended: what it has told is heard."""
        self._thread.join(LAST_SECONDS)
        self.state = State()

    def _hear(self) -> None:
        with self._end, self._end.makefile("rb") as lines, suppress(OSError, ValueError):  # it was killed within a line
            for line in lines:
                told = json.loads(line)
                if "event" in told:
                    place = Place(self._machine, told["plan"], told["session"])
                    self._tell(place, KINDS[told["event"]](**told["facts"]))
                elif told["state"] is not None:
                    self.state = _state(told["state"])


def _state(told: Mapping[str, Any]) -> State:
    doors = {name: Door(**door) for name, door in told["doors"].items()}
    return State(**{**told, "doors": doors, "optional": frozenset(told["optional"])})
