"""How many queries the holder of each key has made, in all and lately, and whether one more is within its limits.

The count of all outlives the process where there is a folder to keep it in. It is written ahead, some queries at a
time: after a crash up to `AHEAD` of a key's queries count as made, and never one too few.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, amount
from .members import Member

__all__ = ["Uses"]

FILE = "queries.json"
AHEAD = 16  # queries that are written down before they are made, so that not every one waits for the disk
MINUTE = 60.0


@dataclass
class _Lately:
    """Queries that a key may make at once, and since when; they come back evenly."""

    left: float
    since: float


class Uses:
    """Of all keys at one party. `close` it in the end."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """InputError when the count cannot be read or written."""
        self._path = Path(folder) / FILE if folder else None
        self._counts: Counter[str] = Counter()
        self._written: dict[str, int] = {}
        self._lately: dict[str, _Lately] = {}
        if self._path is not None:
            self._counts.update(_read(self._path))
            self._write(dict(self._counts))

    def count(self, key: str, member: Member, now: float) -> str:
        """Counts one query, at this time in seconds; why it may not be made, else."""
        if member.queries is not None and self._counts[key] >= member.queries:
            return f"has made {amount(member.queries, 'query', 'queries')}, as many as it may"
        if (wait := self._wait(key, member, now)) > 0:
            return f"has made its {member.queries_per_minute} queries a minute; the next is taken in {wait:.1f} s"
        if self._path is not None and member.queries is not None and self._counts[key] >= self._written.get(key, 0):
            try:
                self._write({**self._written, key: self._counts[key] + AHEAD})
            except InputError as error:
                return f"has a limit of queries, and the count cannot be kept: {error}"
        self._counts[key] += 1
        if key in self._lately:
            self._lately[key].left -= 1
        return ""

    def give_back(self, key: str) -> None:
        """A query that was counted has not been computed."""
        self._counts[key] -= 1

    def close(self) -> None:
        """Writes down what was used."""
        if self._path is not None:
            with suppress(InputError):  # more stays written down than was used
                self._write({key: count for key, count in self._counts.items() if count > 0})

    def _wait(self, key: str, member: Member, now: float) -> float:
        """Seconds until the key may make a query."""
        most = member.queries_per_minute
        if most is None:
            self._lately.pop(key, None)
            return 0.0
        lately = self._lately.setdefault(key, _Lately(most, now))
        lately.left = min(most, lately.left + (now - lately.since) * most / MINUTE)
        lately.since = now
        return max(0.0, 1 - lately.left) * MINUTE / most

    def _write(self, counts: dict[str, int]) -> None:
        assert self._path is not None
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                json.dump(counts, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._written = counts


def _read(path: Path) -> dict[str, int]:
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the count of queries cannot be read: {error}") from None
    if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise InputError(f"{path}: expected the count of queries by public key; restore it from a backup, or remove it")
    return counts
