"""A store in use: each record once, its data as the dealer wrote them and gone afterwards, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import InputError, MaterialError
from mpc_runtime.store import data
from mpc_runtime.store.data import TAG_KEY_BYTES, DataFiles, DataWriter, Record
from mpc_runtime.store.ledger import Ledger
from mpc_runtime.store.report import burn, check_stores, prune, status, verify
from mpc_runtime.store.store import Store
from tests.mpc_runtime.store.stored import OTHER, PLAN, dealt

TOP = Path(__file__).parents[3]
KEY = bytes(TAG_KEY_BYTES)


@pytest.fixture
def material(tmp_path: Path) -> Path:
    return dealt(tmp_path, runs=5, setups=2)


def read(store: Store, number: int, procedure: str) -> bytes:
    """A record's bytes, read in pieces of odd sizes."""
    store.open(procedure, number, "a test")
    size = store.ledger.record(number).size  # type: ignore[union-attr]
    found = b""
    while len(found) < size:
        found += bytes(store.read(min(7, size - len(found)), "a test"))
    store.finish("a test")
    return found


def bytes_of(store: Store, number: int) -> bytes:
    record = store.ledger.record(number)
    assert record is not None
    return (store.path / record.file).read_bytes()[record.start : record.start + record.size]


def files_of(material: Path, dealing: int) -> str:
    """A pattern of the names of a dealing's data files."""
    ledger = Ledger(material / "p0")
    found = ledger.dealings()[dealing].id
    ledger.close()
    return f"records-{found}-*"


# -- data -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data())
def test_what_is_written_is_read(data_: st.DataObject) -> None:
    """Any records in any cuts, with pieces and files so small that they end everywhere."""
    sizes = data_.draw(st.lists(st.integers(0, 70), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "PIECE", 16)
        patched.setattr(data, "FILE_BYTES", 50)
        writer = DataWriter(Path(name), 0, "d", KEY)
        records, contents = [], []
        for number, size in enumerate(sizes):
            content = os.urandom(size)
            writer.begin(number, "run")
            at = 0
            while at < size:
                step = data_.draw(st.integers(1, size - at))
                writer.write(np.frombuffer(content[at : at + step], np.uint8))
                at += step
            records.append(writer.end(0.0))
            contents.append(content)
        writer.close()
        files = DataFiles(Path(name), {0: KEY})
        assert [b"".join(files.pieces(record)) for record in records] == contents
        files.close()


@pytest.mark.parametrize("hole", [True, False])
def test_an_erased_record_is_gone_and_its_neighbours_are_not(tmp_path: Path, monkeypatch, hole: bool) -> None:
    if not hole:
        monkeypatch.setattr(data, "punch_hole", lambda *_: False)
    writer = DataWriter(tmp_path, 0, "d", KEY)
    records = []
    for number in range(3):
        writer.begin(number, "run")
        writer.write(os.urandom(10_000))
        records.append(writer.end(0.0))
    writer.close()
    files = DataFiles(tmp_path, {0: KEY})
    files.erase(records[1])
    there = (tmp_path / records[1].file).read_bytes()
    assert there[10_000:20_000] == bytes(10_000)
    assert [len(b"".join(files.pieces(record))) for record in (records[0], records[2])] == [10_000, 10_000]
    files.close()


@pytest.mark.parametrize("at", [0, 40, 99])
def test_a_damaged_piece_is_never_handed_out(tmp_path: Path, monkeypatch, at: int) -> None:
    monkeypatch.setattr(data, "PIECE", 16)
    writer = DataWriter(tmp_path, 0, "d", KEY)
    writer.begin(0, "run")
    writer.write(os.urandom(100))
    record = writer.end(0.0)
    writer.close()
    path = tmp_path / record.file
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    pieces = DataFiles(tmp_path, {0: KEY}).pieces(record)
    for _ in range(at // 16):
        next(pieces)
    with pytest.raises(MaterialError, match=f"the data are damaged at byte {at // 16 * 16}; copy the file"):
        next(pieces)


def test_a_record_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    writer = DataWriter(tmp_path, 0, "d", KEY)
    records = []
    for number in range(2):
        writer.begin(number, "run")
        writer.write(os.urandom(64))
        records.append(writer.end(0.0))
    writer.close()
    one, two = records
    swapped = Record(0, 1, "run", one.file, one.start, one.size, 0.0, one.tags)
    with pytest.raises(MaterialError, match="the data are damaged at byte 0"):
        next(DataFiles(tmp_path, {0: KEY}).pieces(swapped))
    assert two.start == 64


# -- keys and records -------------------------------------------------------------------------------------------------


def test_a_key_is_had_when_it_is_reserved_and_once(material: Path) -> None:
    store = Store(material / "p0", PLAN, 0)
    with pytest.raises(MaterialError, match="no record 0 for setup that may be used"):
        store.key(0, "setup")
    store.reserve(3, 0)
    with pytest.raises(MaterialError, match="no record 0 for run"):
        store.key(0, "run")
    keys = [store.key(0, "setup"), store.key(2, "run")]
    for number, procedure in ((0, "setup"), (1, "run"), (2, "run"), (3, "run")):
        with pytest.raises(MaterialError, match="that may be used"):
            store.key(number, procedure)
    store.reserve(5, 0)
    assert len({*keys, store.key(4, "run")}) == 3
    store.close()
    again = Store(material / "p0", PLAN, 0)
    with pytest.raises(MaterialError, match="that may be used"):
        again.key(4, "run")
    again.close()


def test_a_record_is_read_as_it_was_written_and_then_gone(material: Path) -> None:
    store = Store(material / "p1", PLAN, 1)
    wanted = bytes_of(store, 2)
    assert wanted.strip(b"\0")
    store.reserve(4, 0)
    store.key(2, "run")
    assert read(store, 2, "run") == wanted
    for number in range(3):
        assert not bytes_of(store, number).strip(b"\0")
    assert bytes_of(store, 3).strip(b"\0")
    store.close()


def test_a_file_goes_with_its_last_record(material: Path) -> None:
    store = Store(material / "p0", PLAN, 0)
    later = [file.name for file in (material / "p0").glob(files_of(material, 1))]
    store.reserve(6, 0)
    store.key(5, "run")
    read(store, 5, "run")
    assert [file.name for file in (material / "p0").glob("records-*")] == later
    store.close()
    assert verify(material / "p0") == []


def test_records_that_are_too_long_or_too_short_are_found(material: Path) -> None:
    store = Store(material / "p0", PLAN, 0)
    store.reserve(3, 0)
    size = store.ledger.record(1).size  # type: ignore[union-attr]
    store.open("run", 1, "a test")
    store.read(size - 1, "a test")
    with pytest.raises(MaterialError, match="record 1 is longer than the plan's, found at a test"):
        store.finish("a test")
    store.open("run", 2, "a test")
    with pytest.raises(MaterialError, match="the record ends too early, at a test"):
        store.read(size + 1, "a test")
    store.close()


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_folder_without_a_store(tmp_path: Path, material: Path) -> None:
    with pytest.raises(MaterialError, match=r"no stored material here; `mpcc deal PLAN -o material/` makes"):
        Store(tmp_path / "nowhere", PLAN, 0)
    with pytest.raises(MaterialError, match=rf"did you mean {material / 'p0'}\?"):
        Store(material, PLAN, 0)


def test_the_store_of_another_plan_or_party(material: Path) -> None:
    words = f"for plan stored {PLAN.hash[:16]}, but p0 runs stored {OTHER.plan.hash[:16]}"
    with pytest.raises(MaterialError, match=words):
        Store(material / "p0", OTHER.plan, 0)
    with pytest.raises(MaterialError, match="this is the store of p1; p0 has one of its own"):
        Store(material / "p1", PLAN, 0)


def test_stores_of_two_dealings(tmp_path: Path, material: Path) -> None:
    (tmp_path / "other").mkdir()
    other = dealt(tmp_path / "other")
    shutil.rmtree(material / "p1")
    shutil.move(other / "p1", material / "p1")
    with pytest.raises(MaterialError, match="of two different dealings"):
        check_stores(material, PLAN)


def test_a_second_user(material: Path) -> None:
    first = Store(material / "p0", PLAN, 0)
    for use in (
        lambda: Store(material / "p0", PLAN, 0),
        lambda: prune(material / "p0"),
        lambda: burn(material / "p0", 1),
    ):
        with pytest.raises(MaterialError, match="another process uses this store"):
            use()
    assert status(material / "p0").next == 0
    first.close()
    Store(material / "p0", PLAN, 0).close()


def test_the_lock_ends_with_its_process(material: Path) -> None:
    code = (
        "import sys, time; from mpc_runtime.plan_file import load; from mpc_runtime.store.store import Store\n"
        f"store = Store({str(material / 'p0')!r}, load(sys.argv[1]), 0)\n"
        "print('mine', flush=True); time.sleep(600)"
    )
    PLAN.save(material / "plan")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(material / "plan")], cwd=TOP, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"mine\n"
        with pytest.raises(MaterialError, match="another process uses this store"):
            Store(material / "p0", PLAN, 0)
        child.send_signal(signal.SIGKILL)
        child.wait()
    Store(material / "p0", PLAN, 0).close()


@pytest.mark.parametrize("path", [".", "ledger.db"])
def test_a_store_that_others_can_read(material: Path, path: str) -> None:
    (material / "p0" / path).chmod(0o744)
    with pytest.raises(MaterialError, match=r"as secret as a key; run chmod -R go= "):
        Store(material / "p0", PLAN, 0)


def test_data_that_were_cut_short_or_lost(material: Path) -> None:
    file = next((material / "p0").glob(files_of(material, 1)))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(
        MaterialError, match=f"expected {len(content)} bytes, found {len(content) - 1}: .* was cut short"
    ):
        Store(material / "p0", PLAN, 0)
    assert len(verify(material / "p0")) == 1
    file.unlink()
    with pytest.raises(MaterialError, match="No such file"):
        Store(material / "p0", PLAN, 0)
    assert len(verify(material / "p0")) == 5  # all runs of that dealing; its setup has no corrections


def test_damage_is_found_without_using_anything(material: Path) -> None:
    file = next((material / "p0").glob(files_of(material, 0)))
    content = bytearray(file.read_bytes())
    content[3] ^= 128
    file.write_bytes(content)
    assert [problem.split(";")[0] for problem in verify(material / "p0")] == [f"{file}: the data are damaged at byte 0"]
    assert status(material / "p0").next == 0


def test_a_folder_that_cannot_be_written(material: Path, monkeypatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (material / "p0").chmod(0o500)
    with pytest.raises(MaterialError, match="cannot be written"):
        Store(material / "p0", PLAN, 0)


# -- what an operator does --------------------------------------------------------------------------------------------


def test_prune_gives_back_what_was_passed_and_not_erased(material: Path) -> None:
    store = Store(material / "p0", PLAN, 0)
    store.reserve(4, 0)
    assert bytes_of(store, 2).strip(b"\0")
    store.close()
    assert prune(material / "p0") >= 0
    store = Store(material / "p0", PLAN, 0)
    assert [bool(bytes_of(store, number).strip(b"\0")) for number in (1, 2, 3, 4)] == [False, False, False, True]
    store.close()


def test_burn_goes_forward_only(material: Path) -> None:
    assert burn(material / "p0", 4) == 4
    assert status(material / "p0").next == 4
    for to in (3, 13):
        with pytest.raises(InputError, match=f"expected a record from 4, the next one, to 12, found {to}"):
            burn(material / "p0", to)
    store = Store(material / "p0", PLAN, 0)
    store.reserve(6, 0)
    with pytest.raises(MaterialError, match="may be used"):
        store.key(3, "run")
    store.close()
