"""Keys that were shown at a front and are not known there: counted, and told at a bounded pace.

Whoever shows one has not proved to hold it, so a count says what was tried, and not by whom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .identity import fingerprint

__all__ = ["Refusals"]

KEPT = 64  # keys that are counted one by one
TELL_SECONDS = 10.0  # between two lines
TOLD = 4  # keys of a line
OTHERS = "other keys"
NO_KEY = "no Ed25519 key"


class Refusals:
    """At one front, used by its thread. told: is told of them, in words."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        """By fingerprint; those of keys beyond `KEPT` together."""
        self._tell = told
        self._untold: Counter[str] = Counter()
        self._told = -TELL_SECONDS

    @property
    def pending(self) -> bool:
        """Whether there is something to be told."""
        return bool(self._untold)

    def note(self, key: str) -> None:
        """A public key was refused; empty if what was shown is none."""
        name = fingerprint(key) if key else NO_KEY
        if name not in self.counts and len(self.counts) >= KEPT:
            name = OTHERS
        self.counts[name] += 1
        self._untold[name] += 1

    def tell(self, now: float) -> None:
        """Tells what has not been told, if the last line was long enough ago."""
        if not self._untold or now - self._told < TELL_SECONDS:
            return
        self._told = now
        most = self._untold.most_common(TOLD)
        listed = ", ".join(f"{name} ({count} {'time' if count == 1 else 'times'})" for name, count in most)
        more = f", and {len(self._untold) - TOLD} more" if len(self._untold) > TOLD else ""
        self._untold.clear()
        self._tell(f"refused keys that its cluster.toml does not list: {listed}{more}")
