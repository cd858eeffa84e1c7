"""The calls of a server that its front drives: each goes on when its connection is ready, or its clock says so."""

from __future__ import annotations

import selectors
from collections import deque

from .call import Call
from .guests import Wake

__all__ = ["Driven"]


class Driven:
    """bell: rung when something has come of a call. `add` and `leave` are for another thread, followed by a wake."""

    def __init__(self, selector: selectors.BaseSelector, bell: Wake) -> None:
        self._selector = selector
        self._bell = bell
        self._calls: dict[Call, tuple[int, int]] = {}  # -> the connection that the selector watches, and for what
        self._left: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        self._calls[call] = -1, 0

    def leave(self, call: Call) -> None:
        """Has a call ended at the next `step`."""
        self._left.append(call)

    def step(self) -> None:
        """Ends what is to be ended, and goes on with the rest."""
        while self._left:
            self._end(self._left.popleft())
        for call in list(self._calls):
            self._step(call)

    def close(self) -> None:
        for call in self._calls:
            call.close()

    def _step(self, call: Call) -> None:
        before = call.state
        call.step()
        if call.state != before:
            self._bell.set()
        number, events = call.fileno(), selectors.EVENT_READ | (selectors.EVENT_WRITE if call.writes else 0)
        if self._calls[call] != (number, events):
            if self._calls[call][0] >= 0:
                self._selector.unregister(self._calls[call][0])
            if number >= 0:
                self._selector.register(number, events)
            self._calls[call] = number, events

    def _end(self, call: Call) -> None:
        watched = self._calls.pop(call, (-1, 0))[0]
        if watched >= 0:
            self._selector.unregister(watched)
        call.close()
