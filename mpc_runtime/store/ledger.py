"""The ledger of a store: which records may still be used, and the only place where seeds are. One SQLite file in WAL
mode.

Every change is on the disk when the method that makes it returns. Seeds of records that are passed are overwritten in
the file and gone from the write-ahead log. Data files are `data.py`'s, what is done with a record `store.py`'s.

    next         the lowest record that may still be used
    confirmed    what the other party's ledger stood at, at least, when this one last moved
    dealings     each with a seed chain of its own, which stands at `next` or, if that is higher, at its first record
    records      where each lies, with the tags of its pieces
    kept         files beside the ledger: parameters that roles provided, and what an execution of `setup` left
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import MaterialError
from ..execution.keys import SeedChain
from .data import Record, sync_folder
from .faults import disk_faults

__all__ = ["FORMAT", "LEDGER", "PARTIES", "Dealing", "Identity", "Kept", "Ledger"]

PARTIES = ("p0", "p1")
"""The folders of a dealing, by party."""

LEDGER = "ledger.db"
FORMAT = 1
"""Raised whenever a ledger would mean something else."""

APPLICATION = 0x4D50434D  # "MPCM", in the header of the SQLite file
BUSY_SECONDS = 10.0  # for somebody who looks at the store to finish

_SCHEMA = """
CREATE TABLE store (id TEXT, party INTEGER, plan TEXT, name TEXT, next INTEGER, confirmed INTEGER, whole INTEGER);
CREATE TABLE dealings (number INTEGER PRIMARY KEY, id TEXT, first INTEGER, records INTEGER, used INTEGER,
    tag_key BLOB, seed BLOB, pending INTEGER);
CREATE TABLE records (number INTEGER PRIMARY KEY, dealing INTEGER, procedure TEXT, file TEXT, start INTEGER,
    size INTEGER, seconds REAL, tags BLOB);
CREATE TABLE kept (name TEXT PRIMARY KEY, file TEXT, size INTEGER, hash TEXT, facts TEXT);
"""


@dataclass(frozen=True)
class Identity:
    """What a store is. `id` is common to the stores of both parties."""

    id: str
    party: int
    plan_hash: str
    plan_name: str


@dataclass(frozen=True)
class Dealing:
    """Records that were dealt together: one for each standing procedure, then runs for their masks. `id` is common to
    both parties. used: records whose executions were completed, as far as the ledger was told."""

    number: int
    id: str
    first: int
    records: int
    used: int
    tag_key: bytes = field(repr=False)

    @property
    def end(self) -> int:
        return self.first + self.records


@dataclass(frozen=True)
class Kept:
    """A file beside the ledger. hash: SHA-256 of its bytes; facts: what else is known of it."""

    name: str
    file: str
    size: int
    hash: str
    facts: Mapping[str, Any]


class Ledger:
    """The ledger in a folder. Opening it checks that it is one; who may use the store is `store.py`'s business."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LEDGER
        with disk_faults(self._path, "be read as a ledger"):
            self.db = _connected(self._path)
            try:
                self._check_format()
                self.identity = self._read_identity()
            except BaseException:
                self.db.close()
                raise

    @staticmethod
    def create(folder: Path, identity: Identity) -> Ledger:
        """A new ledger, of a store that is not whole until `complete`."""
        path = folder / LEDGER
        with disk_faults(path, "be written"):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            db = _connected(path)
            db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
            row = identity.id, identity.party, identity.plan_hash, identity.plan_name
            db.execute("INSERT INTO store VALUES (?, ?, ?, ?, 0, 0, 0)", row)
            db.close()
            sync_folder(folder)
        return Ledger(folder)

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether the dealer finished it."""
        return bool(self.one("SELECT whole FROM store"))

    @property
    def next(self) -> int:
        """The lowest record that may still be used."""
        return int(self.one("SELECT next FROM store"))

    @property
    def confirmed(self) -> int:
        """At least where the other party's ledger stands."""
        return int(self.one("SELECT confirmed FROM store"))

    @property
    def end(self) -> int:
        """One more than the last record."""
        return int(self.one("SELECT coalesce(max(first + records), 0) FROM dealings WHERE NOT pending"))

    def dealings(self, pending: bool = False) -> list[Dealing]:
        """In the order of their records. pending: those that are being moved here, and may not be used yet."""
        columns = "number, id, first, records, used, tag_key"
        rows = self.rows(f"SELECT {columns} FROM dealings WHERE pending = ? ORDER BY number", pending)
        return [Dealing(*row) for row in rows]

    def record(self, number: int) -> Record | None:
        """The record of this number, used or not; None where there is none."""
        return next(self._records("WHERE records.number = ?", number), None)

    def records(self, start: int = 0, end: int | None = None) -> Iterator[Record]:
        """Records from `start` on, below `end`, in order."""
        below = self.end if end is None else end
        return self._records("WHERE records.number >= ? AND records.number < ? ORDER BY records.number", start, below)

    def next_of(self, procedure: str, start: int, end: int) -> int | None:
        """The first record of a procedure from `start` on, below `end`."""
        where = "procedure = ? AND number >= ? AND number < ? ORDER BY number LIMIT 1"
        rows = self.rows(f"SELECT number FROM records WHERE {where}", procedure, start, end)
        return int(rows[0][0]) if rows else None

    def count(self, procedure: str, start: int, end: int) -> int:
        """How many records of a procedure there are from `start` on, below `end`."""
        where = "procedure = ? AND number >= ? AND number < ?"
        return int(self.one(f"SELECT count(*) FROM records WHERE {where}", procedure, start, end))

    def seeds(self) -> dict[int, bytes]:
        """By dealing, the seed of its first record, of those that are untouched. For whoever moves them elsewhere."""
        rows = self.rows("SELECT number, seed FROM dealings WHERE first >= (SELECT next FROM store)")
        return dict(rows)

    def data_files(self) -> set[str]:
        """The names of all data files that it knows."""
        return {file for (file,) in self.rows("SELECT DISTINCT file FROM records")}

    def kept(self) -> list[Kept]:
        """The files beside the ledger."""
        rows = self.rows("SELECT name, file, size, hash, facts FROM kept ORDER BY name")
        return [Kept(name, file, size, hash_, json.loads(facts)) for name, file, size, hash_, facts in rows]

    # -- what changes it ----------------------------------------------------------------------------------------------

    def add(self, given: Iterable[tuple[Dealing, bytes, Iterable[Record]]], pending: bool = False) -> None:
        """Dealings whose data are on the disk, each with the seed of its first record. pending: they may not be used
        until `admit`; they take the place of others that are."""
        with self._change():
            self.db.execute("DELETE FROM records WHERE dealing IN (SELECT number FROM dealings WHERE pending)")
            self.db.execute("DELETE FROM dealings WHERE pending")
            for dealing, seed, records in given:
                row = dealing.number, dealing.id, dealing.first, dealing.records, dealing.used, dealing.tag_key
                self.db.execute("INSERT INTO dealings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, seed, pending))
                rows = (
                    (dealing.first + r.place, dealing.number, r.procedure, r.file, r.start, r.size, r.seconds, r.tags)
                    for r in records
                )
                self.db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def drop(self, number: int) -> None:
        """Forgets the dealings from this number on."""
        with self._change():
            self.db.execute("DELETE FROM records WHERE dealing >= ?", (number,))
            self.db.execute("DELETE FROM dealings WHERE number >= ?", (number,))

    def admit(self) -> None:
        """What was pending may be used."""
        with self._change():
            self.db.execute("UPDATE dealings SET pending = 0")

    def complete(self) -> None:
        """The store is whole."""
        with self._change():
            self.db.execute("UPDATE store SET whole = 1")

    def advance(self, to: int, confirmed: int, used: Mapping[int, int]) -> dict[int, SeedChain]:
        """Burns all records below `to`: their seeds are overwritten. Returns, by dealing, chains that stand where the
        ledger's stood, for whoever may still use the records that it has just passed.

        confirmed: where the other party's ledger is known to stand. used: dealing -> executions that were completed
        since this was last said.
        """
        chains: dict[int, SeedChain] = {}
        identity = self.identity
        with self._change():
            start = self.one("SELECT next FROM store")
            if not start <= to <= self.end:
                raise ValueError(f"the ledger stands at {start} of {self.end}; it does not go to {to}")
            query = "SELECT number, first, records, seed FROM dealings WHERE first < ? AND seed IS NOT NULL"
            for number, first, records, seed in self.db.execute(query, (to,)).fetchall():
                at = max(0, start - first)
                chains[number] = SeedChain(seed, identity.plan_hash, at)
                left = SeedChain(seed, identity.plan_hash, at).skip(to - first) if to < first + records else None
                self.db.execute("UPDATE dealings SET seed = ? WHERE number = ?", (left, number))
            for number, completed in used.items():
                self.db.execute("UPDATE dealings SET used = used + ? WHERE number = ?", (completed, number))
            self.db.execute("UPDATE store SET next = ?, confirmed = max(confirmed, ?)", (to, confirmed))
        return chains

    def keep(self, kept: Kept) -> None:
        """A file beside the ledger, which is on the disk; it takes the place of another of its name."""
        with self._change():
            row = kept.name, kept.file, kept.size, kept.hash, json.dumps(kept.facts)
            self.db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", row)

    def let_go(self, name: str) -> None:
        """The file of this name is no longer known."""
        with self._change():
            self.db.execute("DELETE FROM kept WHERE name = ?", (name,))

    def close(self) -> None:
        """Closing again does nothing."""
        self.db.close()

    # -- SQLite -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction. Afterwards the log is emptied, so that what was overwritten is nowhere."""
        with disk_faults(self._path, "be written"):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.db.in_transaction:  # where the disk is full, SQLite has rolled back already
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def one(self, query: str, *given: object) -> Any:
        """The first value of the first row that a query gives."""
        with disk_faults(self._path, "be read"):
            row = self.db.execute(query, given).fetchone()
        return row[0]

    def rows(self, query: str, *given: object) -> list[Any]:
        """All rows that a query gives."""
        with disk_faults(self._path, "be read"):
            return self.db.execute(query, given).fetchall()

    def _records(self, where: str, *given: object) -> Iterator[Record]:
        names = "dealing, records.number - first, procedure, file, start, size, seconds, tags"
        with disk_faults(self._path, "be read"):
            tables = "records JOIN dealings ON dealings.number = dealing"
            cursor = self.db.execute(f"SELECT {names} FROM {tables} {where}", given)
            while rows := cursor.fetchmany(256):
                yield from (Record(*row) for row in rows)

    def _check_format(self) -> None:
        if self.one("PRAGMA application_id") != APPLICATION:
            raise MaterialError(f"{self._path}: not the ledger of a store; `mpcc deal` makes stores")
        found = self.one("PRAGMA user_version")
        if found != FORMAT:
            raise MaterialError(
                f"{self._path}: store format {found}, but this version reads format {FORMAT}; "
                "deal again with `mpcc deal`"
            )

    def _read_identity(self) -> Identity:
        row = self.rows("SELECT id, party, plan, name FROM store")
        if len(row) != 1:
            raise MaterialError(f"{self._path}: the ledger is damaged; deal again with `mpcc deal`")
        return Identity(*row[0])


def _connected(path: Path) -> sqlite3.Connection:
    """In autocommit mode: transactions are begun and ended by us."""
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone leaves data in the disk's cache
        db.execute("PRAGMA checkpoint_fullfsync = ON")
    except BaseException:
        db.close()
        raise
    return db
