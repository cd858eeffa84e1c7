"""Material that is added to a store in use: it goes on where the old one ends, and is nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mpc_runtime import InputError, MaterialError
from mpc_runtime.store import adding
from mpc_runtime.store.adding import add
from mpc_runtime.store.deal import deal
from mpc_runtime.store.ledger import Ledger
from mpc_runtime.store.report import status, verify
from mpc_runtime.store.store import Store
from tests.mpc_runtime.store.stored import OTHER, PLAN, dealt


@pytest.fixture
def material(tmp_path: Path) -> Path:
    return dealt(tmp_path, runs=3)


@pytest.fixture
def more(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    return dealt(tmp_path / "more", runs=4, setups=2)


def keys_and_data(folder: Path, party: int, first: int, end: int) -> list[tuple[bytes, bytes]]:
    """All of a store's records: it is used up."""
    store = Store(folder, PLAN, party)
    store.reserve(end, 0)
    found = []
    for number in range(first, end):
        record = store.ledger.record(number)
        assert record is not None
        key = store.key(number, record.procedure)
        store.open(record.procedure, number, "a test")
        found.append((key, bytes(store.read(record.size, "a test"))))
        store.finish("a test")
    store.close()
    return found


@pytest.mark.parametrize("linked", [True, False])
def test_added_records_are_those_that_were_dealt(material: Path, more: Path, monkeypatch, linked: bool) -> None:
    twin = more.parent / "twin"
    shutil.copytree(more / "p1", twin)
    twin.chmod(0o700)
    if not linked:

        def unlike(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(adding.os, "link", unlike)
    assert add(material / "p1", more / "p1") == 10
    assert not (more / "p1").exists()
    assert verify(material / "p1") == []
    assert [(d.number, d.first, d.records) for d in status(material / "p1").dealings] == [
        (0, 0, 4),
        (1, 4, 5),
        (2, 9, 5),
    ]
    assert keys_and_data(material / "p1", 1, 4, 14) == keys_and_data(twin, 1, 0, 10)


def test_a_store_that_is_used_up_goes_on(material: Path, more: Path) -> None:
    keys_and_data(material / "p0", 0, 0, 4)
    assert status(material / "p0").left == {"run": 0, "setup": 0}
    add(material / "p0", more / "p0")
    assert status(material / "p0").left == {"run": 8, "setup": 2}
    assert len(keys_and_data(material / "p0", 0, 4, 14)) == 10


def test_what_does_not_go_together_stays_where_it_is(tmp_path: Path, material: Path, more: Path) -> None:
    deal(OTHER.plan, tmp_path / "other", 1)
    shutil.copytree(more / "p0", tmp_path / "again")
    for source, words in (
        (tmp_path / "other/p0", "its plan is .*, that of .* is"),
        (more / "p1", "its party is p1, that of .* is p0"),
        (tmp_path / "nowhere", "no stored material here"),
    ):
        with pytest.raises(MaterialError, match=words):
            add(material / "p0", source)
    add(material / "p0", more / "p0")
    with pytest.raises(MaterialError, match=r"has been added to .* before"):
        add(material / "p0", tmp_path / "again")
    with pytest.raises(InputError, match="cannot be added to itself"):
        add(material / "p0", material / "p0")
    assert status(material / "p0").records == 14 and status(tmp_path / "again").left["run"] == 8


def test_material_in_use_is_not_moved(material: Path, more: Path) -> None:
    for place in (material, more):
        store = Store(place / "p0", PLAN, 0)
        with pytest.raises(MaterialError, match="another process uses this store"):
            add(material / "p0", more / "p0")
        store.close()
    store = Store(more / "p0", PLAN, 0)
    store.reserve(1, 0)
    store.close()
    with pytest.raises(MaterialError, match="has been used already"):
        add(material / "p0", more / "p0")


@pytest.mark.parametrize("step", ["add", "advance", "admit"])
def test_an_interruption_leaves_it_in_one_place_and_it_goes_on(
    material: Path, more: Path, monkeypatch, step: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, step, stop)
    with pytest.raises(KeyboardInterrupt):
        add(material / "p0", more / "p0")
    monkeypatch.undo()
    assert status(material / "p0").records == 4
    assert sum(status(more / "p0").left.values()) == (0 if step == "admit" else 10)
    Store(material / "p0", PLAN, 0).close()
    add(material / "p0", more / "p0")
    assert status(material / "p0").records == 14 and verify(material / "p0") == []
    assert len(os.listdir(material / "p0")) == 2 + 3  # ledger, lock, a file for each dealing
    assert len(keys_and_data(material / "p0", 0, 0, 14)) == 14


def test_another_source_takes_the_place_of_one_that_was_not_finished(
    tmp_path: Path, material: Path, more: Path, monkeypatch
) -> None:
    (tmp_path / "other").mkdir()
    other = dealt(tmp_path / "other", runs=1)
    monkeypatch.setattr(Ledger, "advance", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add(material / "p0", more / "p0")
    monkeypatch.undo()
    add(material / "p0", other / "p0")
    add(material / "p0", more / "p0")
    assert [d.records for d in status(material / "p0").dealings] == [4, 2, 5, 5]
    assert verify(material / "p0") == []
