"""Adding newly dealt material to a store that is in use already, with its parameters and what its setups have left.

The same material is added at both parties, in the same order. What one party has not got yet waits at the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, MaterialError
from .data import DATA_PREFIX, Record, sync_folder
from .faults import disk_faults
from .ledger import Dealing, Ledger
from .store import locked, open_ledger

__all__ = ["add"]


def add(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> int:
    """Moves what was dealt into the folder `source` to the store in `path`; how many records. `source` is empty then,
    and removed.

    MaterialError when the two do not go together, or somebody uses them. If it is interrupted, it goes on when it is
    called again; the material can never be used in both places.
    """
    path, source = Path(path), Path(source)
    if path.resolve() == source.resolve():
        raise InputError(f"{path}: cannot be added to itself")
    target = open_ledger(path)
    try:
        given = open_ledger(source)
        try:
            with locked(path), locked(source):
                return _move(path, target, source, given)
        finally:
            given.close()
    finally:
        target.close()


def _move(path: Path, target: Ledger, source: Path, given: Ledger) -> int:
    dealings = given.dealings()
    ids = [d.id for d in dealings]
    if ids != [d.id for d in target.dealings(pending=True)]:
        _check(path, target, source, given)
        _copy_data(path, target, source, given)
        target.add(_renumbered(target, given), pending=True)
    given.advance(given.end, given.end, {})  # before it may be used here, it may not be used there any more
    target.admit()
    with disk_faults(source, "be removed"):
        shutil.rmtree(source)
    return sum(d.records for d in dealings)


def _renumbered(target: Ledger, given: Ledger) -> Iterator[tuple[Dealing, bytes, Iterable[Record]]]:
    """The dealings with the numbers that they have behind those of the target."""
    seeds = given.seeds()
    number, first = len(target.dealings()), target.end
    for dealing in given.dealings():
        moved = replace(dealing, number=number, first=first)
        yield moved, seeds[dealing.number], given.records(dealing.first, dealing.end)
        number, first = number + 1, moved.end


def _check(path: Path, target: Ledger, source: Path, given: Ledger) -> None:
    ours, theirs = target.identity, given.identity
    for what, here, there in (
        ("plan", ours.plan_hash[:16], theirs.plan_hash[:16]),
        ("party", f"p{ours.party}", f"p{theirs.party}"),
    ):
        if here != there:
            raise MaterialError(f"{source}: its {what} is {there}, that of {path} is {here}; add what was dealt for it")
    if known := {d.id for d in target.dealings()} & {d.id for d in given.dealings()}:
        raise MaterialError(f"{source}: dealing {min(known)[:16]} has been added to {path} before")
    if given.next or given.kept():
        raise MaterialError(f"{source}: has been used already; only material as `mpcc deal` made it can be added")


def _copy_data(path: Path, target: Ledger, source: Path, given: Ledger) -> None:
    """The data files, on the disk; those that an interrupted copy left are written over."""
    known = target.data_files()
    with disk_faults(path, "be written"):
        for left in path.glob(f"{DATA_PREFIX}*"):
            if left.name not in known:
                left.unlink()
        for name in given.data_files():
            _copy(source / name, path / name)
        sync_folder(path)


def _copy(source: Path, target: Path) -> None:
    """A file in another folder, without a copy where both are on one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o600)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())
