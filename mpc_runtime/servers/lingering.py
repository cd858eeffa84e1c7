"""How long p0 lets a run that has rows left wait for more of them: `linger` seconds, once both parties have looked.

While a run is computed, neither party looks at its clients. What has come to p1 meanwhile it tells p0 when it has
looked at all of it. So p0 waits for that word, without which p1 could not take part in a run anyway. No clock here.
"""

from __future__ import annotations

__all__ = ["Linger"]


class Linger:
    """seconds: 0 for a party that waits for nothing. patience: how long it waits for p1's look; then the run begins,
    which names p1 where it misses it."""

    def __init__(self, seconds: float, patience: float) -> None:
        self._seconds, self._patience = seconds, patience
        self._runs = 0
        self._looked: float | None = 0.0  # when p1 was known to have looked since the last execution; None until it has
        self.due: float | None = None
        """When the run begins that waits for others; None where none does."""

    def ran(self) -> None:
        """An execution has ended."""
        self._runs += 1
        self._looked = None

    def looked(self, runs: int, now: float) -> None:
        """p1 has looked at its clients after so many executions of this session, and told what it has."""
        if self._looked is None and runs == self._runs:
            self._looked = now

    def holds(self, first: float, now: float) -> bool:
        """Whether a run that has rows left, the first of which came then, waits on."""
        if not self._seconds:
            return False
        due = first + self._patience if self._looked is None else max(first, self._looked) + self._seconds
        self.due = due if due > now else None
        return self.due is not None
