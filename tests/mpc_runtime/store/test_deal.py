"""Two stores are dealt whole or not at all, and take the bytes that `cost` says."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpc_runtime import InputError, MaterialError
from mpc_runtime.analysis.cost import cost
from mpc_runtime.store import data
from mpc_runtime.store.deal import deal
from mpc_runtime.store.ledger import Dealing, Identity, Ledger
from mpc_runtime.store.report import status, verify
from mpc_runtime.store.store import Store
from tests.mpc_runtime.store.stored import PARTIES, PLAN, dealt


def data_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("records-*"))


def test_the_bytes_on_the_disk_are_those_of_the_cost(tmp_path: Path) -> None:
    counted = cost(PLAN)
    assert counted.offline_bytes > 0
    found = deal(PLAN, tmp_path / "material", runs=7, setups=3)
    assert sum(found.bytes) == 3 * (counted.setup_offline_bytes + 7 * counted.offline_bytes)
    for name, size in zip(PARTIES, found.bytes, strict=True):
        assert data_bytes(tmp_path / "material" / name) == size == status(tmp_path / "material" / name).bytes


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    material = dealt(tmp_path)
    for path in (material, *material.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_stores_have_one_id_and_no_seed_in_common(tmp_path: Path) -> None:
    material = dealt(tmp_path, setups=2)
    ledgers = [Ledger(material / name) for name in PARTIES]
    assert ledgers[0].identity.id == ledgers[1].identity.id
    assert [d.id for d in ledgers[0].dealings()] == [d.id for d in ledgers[1].dealings()]
    seeds = [seed for ledger in ledgers for (seed,) in ledger.rows("SELECT seed FROM dealings")]
    assert len(set(seeds)) == 4
    for name, own in zip(PARTIES, (seeds[:2], seeds[2:]), strict=True):
        others = set(seeds) - set(own)
        held = b"".join(file.read_bytes() for file in (material / name).iterdir())
        assert all(seed in held for seed in own) and not any(seed in held for seed in others)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    path = tmp_path / "material"
    if there == "file":
        path.write_text("mine")
    elif there == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="exists already, and material is never overwritten"):
        deal(PLAN, path, runs=1)
    assert there != "file" or path.read_text() == "mine"


@pytest.mark.parametrize("number", [0, -1, 1.5, "3", True, None])
def test_numbers_are_whole_and_positive(tmp_path: Path, number: object) -> None:
    for given in ({"runs": number}, {"runs": 1, "setups": number}):
        with pytest.raises(InputError, match="expected a whole number from 1"):
            deal(PLAN, tmp_path / "material", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_hold_it_is_found_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(MaterialError, match=r"the stores take .*, and .* has 1,000 B free"):
        deal(PLAN, tmp_path / "material", runs=5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fills_meanwhile_leaves_nothing(tmp_path: Path, monkeypatch, call: str) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data.os, call, full)
    with pytest.raises(MaterialError, match="the disk is full"):
        deal(PLAN, tmp_path / "material", runs=5)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_dealing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def progress(done: int, all_: int) -> None:
        assert all_ == 12
        if done == 8:
            raise error

    with pytest.raises(error):
        deal(PLAN, tmp_path / "material", runs=5, setups=2, progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_not_finished_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "p0"
    folder.mkdir(mode=0o700)
    ledger = Ledger.create(folder, Identity("ab", 0, PLAN.hash, PLAN.name))
    ledger.add([(Dealing(0, "cd", 0, 0, 0, bytes(16)), bytes(16), [])])
    ledger.close()
    with pytest.raises(MaterialError, match="was interrupted; remove it and run `mpcc deal` again"):
        Store(folder, PLAN, 0)


def test_what_was_dealt_verifies(tmp_path: Path) -> None:
    material = dealt(tmp_path, runs=3)
    assert [verify(material / name) for name in PARTIES] == [[], []]
