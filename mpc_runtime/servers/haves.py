"""What p1 tells p0 of the submissions that have come to it: those of one look at the clients together, for a message
each would cost both parties more than taking them. When to look, and what else is said, is `party.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..transport.messages import HAVES
from .submissions import Key, Submission, meeting_of

__all__ = ["Haves", "said_of"]


class Haves:
    """In the order of their arrival. say: sends a message to the other party."""

    def __init__(self, say: Callable[[Mapping[str, Any]], None]) -> None:
        self._say = say
        self._waiting: list[dict[str, Any]] = []
        self._runs = self._looked = 0  # executions, and how many there were when we last told all

    def add(self, key: Key, submission: Submission) -> None:
        """It has arrived; p0 learns it with the next `tell`."""
        said: dict[str, Any] = {"stage": key[0], "role": key[1], "id": key[2], "rows": submission.rows}
        if submission.meeting is not None:
            said["meeting"] = {"name": submission.meeting[0], "run": submission.meeting[1]}
        if submission.step is not None:
            said["training"] = submission.step
        self._waiting.append(said)

    def ran(self) -> None:
        """An execution has ended: p0 is told when we have looked, even if nothing has come (`lingering.py`)."""
        self._runs += 1

    def tell(self, *, looked: bool = False) -> None:
        """Tells p0 all that it has not been told: of a submission before anything else about it. looked: at all that
        had come when the last execution ended."""
        while self._waiting or (looked and self._looked < self._runs):
            told, self._waiting = self._waiting[:HAVES], self._waiting[HAVES:]
            if looked and not self._waiting:
                self._looked = self._runs
            self._say({"kind": "have", "submissions": told, "runs": self._looked})


def said_of(each: Mapping[str, Any]) -> tuple[Key, tuple[Any, ...]]:
    """Of an entry that p1 has sent: which submission, and its meeting, rows and step, as `Submissions.elsewhere` takes
    them."""
    return (each["stage"], each["role"], each["id"]), (meeting_of(each), each.get("rows"), each.get("training"))
