"""The privacy ledger of one party: what was released from which dataset, and what may be. One SQLite file in WAL mode.

A dataset is its owner's public key and the name that the owner gives with the data. Every release is entered before it
is computed, and stays entered if the computation fails; what has not begun can be given back. Limits are only ever
added, and all of them hold, so the smallest counts: neither a later plan nor a restart widens one. What is written is
on the disk when a call returns, and several processes may share a ledger: what takes long, the accountant, is asked
outside transactions, and what it has said is entered if nothing has changed since.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError, number
from .accountant import ACCOUNTANT, Event, composed, installed, within

__all__ = ["FILE", "Charge", "Dataset", "Ledger", "Limit", "Spent"]

FILE = "privacy.db"
APPLICATION = 0x4D504350  # "MPCP", in the header of the SQLite file
FORMAT = 1
BUSY_SECONDS = 10.0  # for another process with the ledger to finish
TRIES = 50  # of a charge, whose dataset other processes charge too

_SCHEMA = """
CREATE TABLE limits (owner TEXT, dataset TEXT, epsilon REAL, delta REAL, UNIQUE (owner, dataset, epsilon, delta));
CREATE TABLE charges (owner TEXT, dataset TEXT, event TEXT, count INTEGER, PRIMARY KEY (owner, dataset, event));
"""


@dataclass(frozen=True)
class Dataset:
    """owner: a public key."""

    owner: str
    name: str


@dataclass(frozen=True)
class Limit:
    """All releases together may cost so much."""

    epsilon: float
    delta: float

    def __str__(self) -> str:
        return f"epsilon {number(self.epsilon)}" + (f", delta {number(self.delta)}" if self.delta else "")


@dataclass(frozen=True)
class Spent:
    """What was released from a dataset costs this epsilon at this delta, by this bound. limits: those that hold."""

    epsilon: float
    delta: float
    by: str
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Charge:
    """What was entered, to be given back."""

    dataset: Dataset
    events: Mapping[Event, int]


class Ledger:
    """In a folder, or in memory without one. Used by one thread. `close` it in the end."""

    def __init__(self, folder: Path | None = None) -> None:
        """InputError when the file cannot be read or written, or is no ledger."""
        self._path = folder / FILE if folder is not None else None
        with self._faults():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            where = ":memory:" if self._path is None else str(self._path)
            self._db = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                self._check_format()

    def close(self) -> None:
        self._db.close()

    def limit(self, dataset: Dataset, limit: Limit) -> None:
        """From now on this limit holds too."""
        with self._faults(), self._transaction():
            self._add(dataset, limit)

    def charge(self, dataset: Dataset, events: Mapping[Event, int], limits: tuple[Limit, ...] = ()) -> Charge | str:
        """Enters releases, and limits before them; why they would exceed one, else, and then the limits are entered
        alone. InputError where other processes charge the dataset so often that nothing can be said."""
        with self._faults():
            with self._transaction():
                for limit in limits:
                    self._add(dataset, limit)
                state = self._state(dataset)
            for _ in range(TRIES):
                problem = _problem(*state, events)
                with self._transaction():
                    seen, state = state, self._state(dataset)
                    if seen != state:
                        continue
                    if problem:
                        return problem
                    for event, count in events.items():
                        self._count(dataset, event, count)
                    return Charge(dataset, events)
        raise InputError(f"{self._path}: other processes charge the dataset {dataset.name!r} all the time; try again")

    def give_back(self, charge: Charge) -> None:
        """What was entered has not begun."""
        with self._faults(), self._transaction():
            for event, count in charge.events.items():
                self._count(charge.dataset, event, -count)

    def spent(self, dataset: Dataset) -> Spent:
        """At the delta of the narrowest limit, or the sum of those of the releases, and that of training."""
        with self._faults():
            limits, events = self._state(dataset)
        own = sum(event.delta * count for event, count in events.items() if event.kind != "sampled")
        own += max((event.delta for event in events if event.kind == "sampled"), default=0.0)
        delta = min((limit.delta for limit in limits), default=own)
        epsilon, by = composed(events, delta)
        return Spent(epsilon, delta, by, limits)

    # -- the file ------------------------------------------------------------------------------------------------------

    def _check_format(self) -> None:
        (application,), (version,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if application == 0 and not self._db.execute("SELECT name FROM sqlite_master").fetchall():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
        elif (application, version) != (APPLICATION, FORMAT):
            raise InputError(f"{self._path}: expected a privacy ledger of format {FORMAT}; restore it from a backup")

    def _add(self, dataset: Dataset, limit: Limit) -> None:
        row = dataset.owner, dataset.name, limit.epsilon, limit.delta
        self._db.execute("INSERT OR IGNORE INTO limits VALUES (?, ?, ?, ?)", row)

    def _state(self, dataset: Dataset) -> tuple[tuple[Limit, ...], dict[Event, int]]:
        return self._limits(dataset), self._events(dataset)

    def _limits(self, dataset: Dataset) -> tuple[Limit, ...]:
        query = "SELECT epsilon, delta FROM limits WHERE owner = ? AND dataset = ? ORDER BY epsilon, delta"
        return tuple(Limit(*row) for row in self._db.execute(query, (dataset.owner, dataset.name)))

    def _events(self, dataset: Dataset) -> dict[Event, int]:
        query = "SELECT event, count FROM charges WHERE owner = ? AND dataset = ? AND count > 0 ORDER BY event"
        rows = self._db.execute(query, (dataset.owner, dataset.name))
        return {Event(**json.loads(text)): count for text, count in rows}

    def _count(self, dataset: Dataset, event: Event, count: int) -> None:
        text = json.dumps(asdict(event), sort_keys=True)
        self._db.execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (dataset.owner, dataset.name, text, count),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise InputError(f"{self._path}: the privacy ledger cannot be used: {error}") from None


def _problem(limits: tuple[Limit, ...], before: Mapping[Event, int], events: Mapping[Event, int]) -> str:
    """Why these events are beyond one of the limits; empty when they are not."""
    after = {event: before.get(event, 0) + events.get(event, 0) for event in {**before, **events}}
    return next((problem for limit in limits if (problem := _exceeded(limit, before, after))), "")


def _exceeded(limit: Limit, before: Mapping[Event, int], after: Mapping[Event, int]) -> str:
    """Why these events are beyond a limit; empty when they are not."""
    if any(event.kind == "bare" for event in after):
        new = not any(event.kind == "bare" for event in before)
        what = "a result without noise" if new else "a result that was released without noise before"
        return f"has a budget of {limit}, which {what} exceeds"
    if within(after, limit.epsilon, limit.delta):
        return ""
    if any(event.kind == "sampled" for event in after) and not installed() and limit.delta:
        needed = f"needs {ACCOUNTANT} (pip install 'mpc-runtime[dp]')"
        return f"has a budget of {limit}, and to count the steps of training against it {needed}"
    epsilon, by = composed(after, limit.delta)
    spent, _ = composed(before, limit.delta)
    delta = f" at delta {number(limit.delta)}" if limit.delta else ""
    found = f"has spent epsilon {number(spent)} of its budget of {limit}; this would make it {number(epsilon)}{delta}"
    if math.isinf(epsilon):
        found = f"has a budget of {limit}, and this would exceed its delta"
    hint = (
        ""
        if installed() or not limit.delta
        else f"; with {ACCOUNTANT} (pip install 'mpc-runtime[dp]'), many releases cost less"
    )
    return f"{found}, by {by}{hint}"
