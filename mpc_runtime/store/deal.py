"""Dealing ahead of time: one store for each party, on the dealer's disk.

    deal(plan, "material", runs=1000, setups=2)         # material/p0 and material/p1

A dealing is a record for each standing procedure and `runs` records for the masks that those leave; `setups` of them
follow each other, each from seeds of its own, of which nothing stays with the dealer. The folder has its name only when
both stores are whole and on the disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from ..analysis.cost import material_bytes
from ..analysis.units import human
from ..errors import InputError, MaterialError
from ..execution.dealer import DealerExecutor
from ..execution.keys import SEED_BYTES, SeedChain
from ..plan import Plan
from ..procedure import Procedure
from .data import TAG_KEY_BYTES, DataWriter, Record, sync_folder
from .faults import disk_faults
from .ledger import PARTIES, Dealing, Identity, Ledger

__all__ = ["ID_BYTES", "Batch", "Dealt", "deal"]

ID_BYTES = 16
SPARE_BYTES = 64 << 20  # of the disk, beside the material: ledgers, and what others write meanwhile

Progress = Callable[[int, int], object]
"""Called after each record: how many are dealt, of how many."""


@dataclass(frozen=True)
class Dealt:
    """What was dealt: where, the stores' common id, records of runs and setups, bytes for each party."""

    path: Path
    id: str
    runs: int
    setups: int
    bytes: tuple[int, int]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {**asdict(self), "path": str(self.path)}


def deal(
    plan: Plan, path: str | os.PathLike[str], runs: int, setups: int = 1, progress: Progress = lambda done, all_: None
) -> Dealt:
    """Deals `setups` times `runs` runs into `path`/p0 and `path`/p1.

    Raises InputError when the numbers are not positive or there is something at the path, MaterialError when the disk
    cannot hold the stores or fails. In these cases nothing is left at the path.
    """
    for name, number in (("runs", runs), ("setups", setups)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{name}: expected a whole number from 1, found {number!r}")
    path = Path(path)
    batch = Batch.of(plan, runs)
    began = time.perf_counter()
    sizes = [setups * batch.bytes(plan, party) for party in (0, 1)]
    _check_target(path, sum(sizes))
    identity = secrets.token_hex(ID_BYTES)
    with _whole(path) as folder:
        makers = [_StoreMaker(folder / name, plan, i, identity) for i, name in enumerate(PARTIES)]
        try:
            done, all_ = 0, setups * batch.records
            for number in range(setups):
                for _ in _deal_once(plan, makers, number, batch):
                    done += 1
                    progress(done, all_)
            for maker in makers:
                maker.complete()
        finally:
            for maker in makers:
                maker.close()
    return Dealt(path, identity, runs * setups, setups, (sizes[0], sizes[1]), time.perf_counter() - began)


@dataclass(frozen=True)
class Batch:
    """The records of a dealing in order: one of each standing procedure with ops, then `runs` of the one that is dealt
    ahead."""

    standing: tuple[Procedure, ...]
    ahead: tuple[Procedure, ...]
    runs: int

    @staticmethod
    def of(plan: Plan, runs: int) -> Batch:
        ahead = tuple(p for p in plan.procedures if p.ahead)
        odd = [p.name for p in plan.procedures if not p.standing and p not in ahead[:1]]
        standing = tuple(p for p in plan.procedures if p.standing and p.ops)
        if odd or len(standing) > 1:
            name = odd[0] if odd else standing[1].name
            raise InputError(f"{plan.name}: when {name} is executed is not known ahead, so it cannot be stored")
        return Batch(standing, ahead, runs)

    @property
    def records(self) -> int:
        return len(self.standing) + len(self.ahead) * self.runs

    def procedures(self) -> Iterator[Procedure]:
        yield from self.standing
        for ahead in self.ahead:
            yield from repeat(ahead, self.runs)

    def bytes(self, plan: Plan, party: int) -> int:
        """Of data for a party."""
        standing = sum(material_bytes(plan, p, party) for p in self.standing)
        return standing + self.runs * sum(material_bytes(plan, p, party) for p in self.ahead)


def _check_target(path: Path, nbytes: int) -> None:
    if path.is_symlink() or path.exists():
        raise InputError(f"{path}: exists already, and material is never overwritten; remove it, or give another name")
    parent = path.absolute().parent
    with disk_faults(parent, "be used"):
        free = shutil.disk_usage(parent).free
    if nbytes + SPARE_BYTES > free:
        raise MaterialError(
            f"{path}: the stores take {human(nbytes)}, and {parent} has {human(free)} free; make room, deal fewer "
            "runs, or deal onto another disk"
        )


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A folder that takes its name when all went well, and is gone otherwise."""
    parent = path.absolute().parent
    with disk_faults(path, "be written"):
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".unfinished", dir=parent))
    try:
        yield folder
        with disk_faults(path, "be written"):
            sync_folder(folder)
            folder.rename(path)  # fails where somebody has put something there meanwhile
            sync_folder(parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _StoreMaker:
    """A store in the making. `sink` takes the record that was begun."""

    def __init__(self, folder: Path, plan: Plan, party: int, identity: str) -> None:
        with disk_faults(folder, "be written"):
            folder.mkdir(mode=0o700)
        self._folder = folder
        self._plan_hash = plan.hash
        self._ledger = Ledger.create(folder, Identity(identity, party, plan.hash, plan.name))
        self._tag_key = b""
        self._seed = b""
        self._chain = SeedChain(b"", "")
        self._records: list[Record] = []
        self.sink = DataWriter(folder, 0, "", bytes(TAG_KEY_BYTES))

    def begin_dealing(self, number: int, id_: str) -> None:
        self._tag_key = secrets.token_bytes(TAG_KEY_BYTES)
        self._seed = secrets.token_bytes(SEED_BYTES)
        self._chain = SeedChain(self._seed, self._plan_hash)
        self._records = []
        self.sink = DataWriter(self._folder, number, id_, self._tag_key)

    def begin(self, place: int, procedure: str) -> bytes:
        """A record begins, at this place of its dealing; its key."""
        self.sink.begin(place, procedure)
        return self._chain.take(place, procedure)

    def end(self, seconds: float) -> None:
        self._records.append(self.sink.end(seconds))

    def end_dealing(self, number: int, id_: str, first: int) -> None:
        self.sink.close()
        dealing = Dealing(number, id_, first, len(self._records), 0, self._tag_key)
        self._ledger.add([(dealing, self._seed, self._records)])

    def complete(self) -> None:
        with disk_faults(self._folder, "be written"):
            sync_folder(self._folder)
        self._ledger.complete()

    def close(self) -> None:
        self.sink.close()
        self._ledger.close()


def _deal_once(plan: Plan, makers: list[_StoreMaker], number: int, batch: Batch) -> Iterator[None]:
    """One dealing, record by record."""
    executor = DealerExecutor(plan)
    first, id_ = number * batch.records, secrets.token_hex(ID_BYTES)
    for maker in makers:
        maker.begin_dealing(number, id_)
    for place, procedure in enumerate(batch.procedures()):
        keys = [maker.begin(place, procedure.name) for maker in makers]
        began = time.perf_counter()
        executor.execute(procedure.name, (keys[0], keys[1]), (makers[0].sink, makers[1].sink))
        seconds = time.perf_counter() - began
        for maker in makers:
            maker.end(seconds)
        yield
    for maker in makers:
        maker.end_dealing(number, id_, first)
