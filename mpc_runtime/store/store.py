"""One party's store, in use: records under the keys that the ledger gives out, each once.

    store = Store(path, plan, party)
    store.reserve(to)                    # on the disk when it returns; a crash burns what is not used of it
    key = store.key(number, procedure)   # once the other party has said that it has done the same (servers/stored.py)
    store.open(...), store.read(...), store.finish(...)

A store has one user at a time, which holds a lock that ends with its process. What two parties say to each other about
their stores is `servers/stored.py`'s business.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MaterialError
from ..execution.keys import SeedChain
from ..plan import Plan
from .data import DATA_PREFIX, TAG_KEY_BYTES, DataFiles, DataWriter, Record, sync_folder
from .faults import disk_faults
from .files import KeptFiles
from .ledger import LEDGER, Dealing, Ledger

__all__ = ["LOCK", "Store", "data_files", "erase", "locked", "open_ledger"]

LOCK = "lock"


class Store:
    """The store of a party in a folder. MaterialError says what is wrong with it, and what to do."""

    def __init__(self, path: str | os.PathLike[str], plan: Plan, party: int) -> None:
        self.path = Path(path)
        self._resources = ExitStack()
        self._used: dict[int, int] = {}
        self.ledger = open_ledger(self.path)
        self._resources.callback(self.ledger.close)
        self.id = self.ledger.identity.id
        try:
            _check_owner(self.path, self.ledger, plan, party)
            self._resources.enter_context(locked(self.path))
            self.next = self.ledger.next
            """The lowest record whose key the ledger still has."""
            self.dealings = self.ledger.dealings()
            self._data = data_files(self.path, self.ledger)
            self._resources.callback(self._data.close)
            self._check_data()
            self._remove_unknown()
            self.kept = KeptFiles(self.path, self.ledger)
            self._erased = self._first_there()
        except BaseException:
            self.close()
            raise
        self._chains: dict[int, SeedChain] = {}
        self._reserved = range(self.next, self.next)
        self._reading: tuple[int, Record] | None = None
        self._pieces: Iterator[memoryview] = iter(())
        self._rest = memoryview(b"")

    @property
    def confirmed(self) -> int:
        """Where the other party's ledger stood, at least, when ours last moved."""
        return self.ledger.confirmed

    @property
    def end(self) -> int:
        """One more than the last record."""
        return self.dealings[-1].end if self.dealings else 0

    def dealing(self, number: int) -> Dealing:
        """The dealing of record `number`."""
        return next(dealing for dealing in self.dealings if dealing.first <= number < dealing.end)

    def next_of(self, procedure: str, start: int, end: int) -> int | None:
        """The first record of a procedure from `start` on, below `end`; None when there is none."""
        return self.ledger.next_of(procedure, start, end)

    def count(self, procedure: str, start: int, end: int) -> int:
        """How many records of a procedure there are from `start` on, below `end`."""
        return self.ledger.count(procedure, start, end)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def reserve(self, to: int, confirmed: int) -> None:
        """Burns all records below `to`, on the disk; their keys can be had from now on until the process ends.
        confirmed: where the other party's ledger is known to stand."""
        if to <= self.next:
            return
        for number, chain in self.ledger.advance(to, confirmed, self._used).items():
            self._chains.setdefault(number, chain)
        self._used = {}
        self._reserved = range(self._reserved.start, to)
        self.next = to

    def check_writable(self) -> None:
        """MaterialError unless the ledger can be written now."""
        self.ledger.advance(self.next, 0, {})

    def key(self, number: int, procedure: str) -> bytes:
        """The material key of a reserved record, which is used up with all before it. MaterialError when there is no
        such record."""
        record = self.ledger.record(number)
        if record is None or record.procedure != procedure or number not in self._reserved:
            raise MaterialError(f"{self.path}: no record {number} for {procedure} that may be used")
        self._reserved = range(number + 1, self._reserved.stop)
        return self._chains[record.dealing].take(record.place, procedure)

    # -- data: the `Records` of an execution --------------------------------------------------------------------------

    def open(self, procedure: str, index: int, at: object) -> None:
        """Begins to read a record; data of those before it are erased."""
        record = self.ledger.record(index)
        if record is None or record.procedure != procedure:
            raise MaterialError(f"{self.path}: no record {index} for {procedure}, at {at}")
        self._erase(index)
        self._reading = index, record
        self._pieces, self._rest = self._data.pieces(record), memoryview(b"")

    def read(self, nbytes: int, at: object) -> memoryview:
        """The next `nbytes` bytes of the record."""
        if not self._rest.nbytes and nbytes:
            self._rest = self._piece(at)
        if nbytes <= self._rest.nbytes:
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            return piece
        out = np.empty(nbytes, np.uint8)
        filled = 0
        while filled < nbytes:
            if not self._rest.nbytes:
                self._rest = self._piece(at)
            step = min(nbytes - filled, self._rest.nbytes)
            out[filled : filled + step] = self._rest[:step]
            self._rest = self._rest[step:]
            filled += step
        return out.data

    def finish(self, at: object) -> dict[str, Any]:
        """Ends the record: it is erased. What the dealer said of it; MaterialError if there is more of it."""
        assert self._reading is not None, "open a record first"
        index, record = self._reading
        if self._rest.nbytes or next(self._pieces, None) is not None:
            raise MaterialError(f"{self.path}: record {index} is longer than the plan's, found at {at}")
        self._reading = None
        self._used[record.dealing] = self._used.get(record.dealing, 0) + 1
        self._erase(index + 1)
        return {"seconds": record.seconds, "bytes": record.size}

    def _piece(self, at: object) -> memoryview:
        piece = next(self._pieces, None)
        if piece is None:
            raise MaterialError(f"{self.path}: the record ends too early, at {at}")
        return piece

    def erase_passed(self, to: int) -> None:
        """Erases the data of the records below `to`, which will not be used."""
        self._erase(min(to, self.next))

    def _erase(self, below: int) -> None:
        """Erases data of records below a number: a file as a whole where all its records are."""
        if below <= self._erased:
            return
        erase(self.ledger, self._data, self._erased, below)
        self._erased = below

    def _first_there(self) -> int:
        """The first record whose data file is there."""
        files: dict[str, bool] = {}
        for number, record in enumerate(self.ledger.records(0, self.next)):
            if record.file not in files:
                files[record.file] = (self.path / record.file).exists()
            if files[record.file]:
                return number
        return self.next

    # -- dealings that come while the store is in use -----------------------------------------------------------------

    def writer(self, id_: str) -> DataWriter:
        """For the data of a new dealing."""
        return DataWriter(self.path, len(self.dealings), id_, secrets.token_bytes(TAG_KEY_BYTES))

    def append(self, id_: str, seed: bytes, writer: DataWriter, records: Sequence[Record]) -> None:
        """A new dealing, whose data the writer has written: it is on the disk when this returns."""
        writer.close()
        with disk_faults(self.path, "be written"):
            sync_folder(self.path)
        dealing = Dealing(len(self.dealings), id_, self.end, len(records), 0, writer.tag_key)
        self.ledger.add([(dealing, seed, records)])
        self.dealings.append(dealing)
        self._data.know(dealing.number, dealing.tag_key)

    def drop(self, number: int) -> None:
        """Removes the dealings from this number on, of which nothing was used because the other party has not got
        them."""
        if number >= len(self.dealings):
            return
        if self.next > self.dealings[number].first:
            raise ValueError(f"dealing {number} has been used")
        self.ledger.drop(number)
        self.dealings = self.dealings[:number]
        self._remove_unknown()

    # -- the folder ---------------------------------------------------------------------------------------------------

    def _check_data(self) -> None:
        for file, record in last_of_files(self.ledger, self.next).items():
            if problem := self._data.missing(record):
                raise MaterialError(
                    f"{problem}: {file} was cut short or lost; copy the store from the dealer's machine again, if it "
                    "has not been used there or here, or deal a new one with `mpcc deal`"
                )

    def _remove_unknown(self) -> None:
        """Data files of dealings whose coming was interrupted."""
        known = self.ledger.data_files()
        with disk_faults(self.path, "be written"):
            for file in self.path.glob(f"{DATA_PREFIX}*"):
                if file.name not in known:
                    file.unlink()

    def close(self) -> None:
        """Lets go of the store. Closing again does nothing."""
        with suppress(MaterialError):
            if self._used:
                self.ledger.advance(self.next, 0, self._used)
        self._used = {}
        self._resources.close()


def open_ledger(path: Path) -> Ledger:
    """The ledger of a whole store that only its owner can read."""
    if not (path / LEDGER).is_file():
        inside = [name for name in ("p0", "p1") if (path / name / LEDGER).is_file()]
        made = "`mpcc deal PLAN -o material/` makes material/p0 and material/p1"
        hint = f"did you mean {path / inside[0]}?" if inside else made
        raise MaterialError(f"{path}: no stored material here; {hint}")
    with disk_faults(path, "be read"):
        mode = max(stat.S_IMODE(p.stat().st_mode) & 0o077 for p in (path, path / LEDGER))
    if mode:
        raise MaterialError(f"{path}: others may read this store, which is as secret as a key; run chmod -R go= {path}")
    ledger = Ledger(path)
    if not ledger.whole:
        ledger.close()
        raise MaterialError(f"{path}: dealing this store was interrupted; remove it and run `mpcc deal` again")
    return ledger


def data_files(path: Path, ledger: Ledger) -> DataFiles:
    """The data files that a ledger knows."""
    return DataFiles(path, {dealing.number: dealing.tag_key for dealing in ledger.dealings()})


def last_of_files(ledger: Ledger, start: int) -> dict[str, Record]:
    """Data file -> the last of its records, of those from `start` on."""
    return {record.file: record for record in ledger.records(start)}


def erase(ledger: Ledger, data: DataFiles, start: int, end: int) -> None:
    """Erases the data of records from `start` on, below `end`. Files hold records in order, so that only the last one
    can still be needed."""
    following = ledger.record(end)
    removed = set()
    for record in ledger.records(start, end):
        if following is not None and record.file == following.file:
            data.erase(record)
        elif record.file not in removed:
            removed.add(record.file)
            data.remove(record.file)


def _check_owner(path: Path, ledger: Ledger, plan: Plan, party: int) -> None:
    identity = ledger.identity
    if identity.plan_hash != plan.hash:
        raise MaterialError(
            f"{path}: this material is for plan {identity.plan_name} {identity.plan_hash[:16]}, but p{party} runs "
            f"{plan.name} {plan.hash[:16]}; deal for that plan with `mpcc deal`"
        )
    if identity.party != party:
        raise MaterialError(f"{path}: this is the store of p{identity.party}; p{party} has one of its own")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else gets the store within; nor after this process, if it is killed within."""
    with disk_faults(path / LOCK, "be written"):
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(path, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MaterialError(
            f"{path}: another process uses this store; a store has one user at a time, stop the other one first"
        ) from None
