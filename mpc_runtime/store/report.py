"""What can be asked of a store, and done to it, without using it: `mpcc store status`, `verify`, `prune` and `burn`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, MaterialError
from ..plan import Plan
from ..procedure import SETUP
from .data import DataFiles, Record
from .ledger import PARTIES, Ledger
from .store import Store, data_files, erase, locked, open_ledger

__all__ = ["DealingStatus", "Status", "burn", "check_stores", "holds_parameters", "prune", "status", "verify"]


@dataclass(frozen=True)
class DealingStatus:
    """One dealing of a store; both parties have it under this id. left: records by procedure that may still be used;
    burnt: those that were passed over, interrupted, or reserved by a process that ended, and runs whose setup was."""

    number: int
    id: str
    first: int
    records: int
    left: dict[str, int]
    used: int
    burnt: int


@dataclass(frozen=True)
class Status:
    """A store. next: its lowest record that may still be used, of `records`. bytes: of the data that are still there;
    disk_bytes: what all its files take. parameters: the roles whose parameters it holds; setup: the record whose
    execution left what runs need, None if there is none."""

    path: str
    id: str
    party: int
    plan: str
    plan_hash: str
    next: int
    records: int
    left: dict[str, int]
    bytes: int
    disk_bytes: int
    parameters: tuple[str, ...]
    setup: int | None
    dealings: tuple[DealingStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self)


def status(path: str | os.PathLike[str]) -> Status:
    """What a store holds. May be asked while a party uses it."""
    with _ledger(path) as ledger:
        identity, next_ = ledger.identity, ledger.next
        procedures = sorted({record.procedure for record in ledger.records()})
        kept = {each.name: each for each in ledger.kept()}
        roles = dict.fromkeys(str(each.facts["role"]) for each in kept.values() if "role" in each.facts)
        state = kept.get("setup")
        setup = max(each["record"] for each in state.facts["standing"].values()) if state else None
        dealings = []
        for d in ledger.dealings():
            lost = SETUP in procedures and d.first < next_ and not (setup is not None and d.first <= setup < d.end)
            start = d.end if lost else min(max(next_, d.first), d.end)
            left = {name: ledger.count(name, start, d.end) for name in procedures}
            dealings.append(DealingStatus(d.number, d.id, d.first, d.records, left, d.used, start - d.first - d.used))
        return Status(
            str(path),
            identity.id,
            identity.party,
            identity.plan_name,
            identity.plan_hash,
            next_,
            ledger.end,
            {name: sum(d.left[name] for d in dealings) for name in procedures},
            sum(record.size for record in ledger.records(next_)),
            _blocks(Path(path)),
            tuple(roles),
            setup,
            tuple(dealings),
        )


def check_stores(folder: Path, plan: Plan) -> None:
    """MaterialError unless there are a store of each party for this plan in the folder, of one dealing, which nobody
    uses."""
    ids = []
    for party, name in enumerate(PARTIES):
        store = Store(folder / name, plan, party)
        ids.append(store.id)
        store.close()
    if ids[0] != ids[1]:
        raise MaterialError(f"{folder}: p0's and p1's stores are of two different dealings; give both of one")


def holds_parameters(folder: Path, plan: Plan) -> bool:
    """Whether both stores in the folder hold the parameters of all roles that give some."""
    roles = {role for p in plan.procedures if p.standing for role in plan.roles if plan.feeds_of(role, p.name)}
    return all(roles <= set(status(folder / name).parameters) for name in PARTIES)


def verify(path: str | os.PathLike[str], progress: Callable[[int, int], object] = lambda done, all_: None) -> list[str]:
    """Reads all that may still be used, and compares it with what the dealer wrote; what is wrong, nothing if all is
    well. May be done while a party uses it. progress: called with the number of records done and of all."""
    path = Path(path)
    wrong = []
    with _ledger(path) as ledger:
        start, end = ledger.next, ledger.end
        data = data_files(path, ledger)
        try:
            for done, record in enumerate(ledger.records(start), 1):
                problem = _problem(data, record)
                if problem and start + done - 1 >= ledger.next:  # else a party has used it meanwhile
                    wrong.append(problem)
                progress(done, end - start)
        finally:
            data.close()
        for kept in ledger.kept():
            file = path / kept.file
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != kept.hash:
                wrong.append(f"{file}: damaged; it is made again by `mpcc provide`")
    return wrong


def prune(path: str | os.PathLike[str]) -> int:
    """Erases the data of all records that can no longer be used; the bytes that this gave back to the disk. Nobody may
    use the store meanwhile."""
    path = Path(path)
    with _ledger(path) as ledger, locked(path):
        before = _blocks(path)
        data = data_files(path, ledger)
        erase(ledger, data, 0, ledger.next)
        return max(0, before - _blocks(path))


def burn(path: str | os.PathLike[str], to: int) -> int:
    """Burns all records below `to`, as an operator who knows that they may have been used elsewhere decides; how many
    these were. Nobody may use the store meanwhile."""
    path = Path(path)
    with _ledger(path) as ledger, locked(path):
        next_, end = ledger.next, ledger.end
        if not next_ <= to <= end:
            raise InputError(f"{path}: expected a record from {next_}, the next one, to {end}, found {to}")
        ledger.advance(to, 0, {})
        data = data_files(path, ledger)
        erase(ledger, data, 0, to)
        return to - next_


def _problem(data: DataFiles, record: Record) -> str:
    """What is wrong with a record's data; empty when nothing is."""
    try:
        for _ in data.pieces(record):
            continue
    except MaterialError as error:
        return str(error)
    return ""


@contextmanager
def _ledger(path: str | os.PathLike[str]) -> Iterator[Ledger]:
    ledger = open_ledger(Path(path))
    try:
        yield ledger
    finally:
        ledger.close()


def _blocks(path: Path) -> int:
    """Bytes that the folder's files take on the disk; they may go while we look."""
    total = 0
    for file in path.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_blocks * 512
    return total
