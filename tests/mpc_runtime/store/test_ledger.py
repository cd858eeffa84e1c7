"""The ledger goes forward only, gives each key once, and nothing of a key that it has passed stays on the disk."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import MaterialError
from mpc_runtime.execution.keys import SeedChain
from mpc_runtime.store.ledger import LEDGER, Dealing, Identity, Ledger
from mpc_runtime.store.report import status
from tests.mpc_runtime.store.stored import PARTIES, PLAN, dealt

HASH = "aa" * 32
SEEDS = [bytes([i]) * 8 + b"seedseed" for i in (1, 2, 3)]
SIZES = (5, 1, 7)
END = sum(SIZES)


def ledger(folder: Path) -> Ledger:
    """Three dealings whose seeds a test knows."""
    made = Ledger.create(folder, Identity("ab" * 16, 0, HASH, "plan"))
    first = 0
    for number, (seed, records) in enumerate(zip(SEEDS, SIZES, strict=True)):
        made.add([(Dealing(number, f"{number}", first, records, 0, bytes(16)), seed, [])])
        first += records
    made.complete()
    return made


def place(number: int) -> tuple[int, int]:
    """The dealing of a record, and its place there."""
    for dealing, size in enumerate(SIZES):
        if number < size:
            return dealing, number
        number -= size
    raise IndexError


def held(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, END), st.booleans()), max_size=6))
def test_keys_are_the_chains_and_given_once(steps: list[tuple[int, bool]]) -> None:
    """Against chains of the same seeds. A step: advance so far, then perhaps be opened anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = ledger(folder)
        stands, given_out = 0, set()
        for to, again in steps:
            if to < stands:
                with pytest.raises(ValueError, match="does not go"):
                    found.advance(to, 0, {})
                continue
            chains = found.advance(to, 0, {})
            for number in range(stands, to):
                dealing, index = place(number)
                key = chains[dealing].take(index, "run")
                assert key == SeedChain(SEEDS[dealing], HASH).take(index, "run")
                assert number not in given_out
                given_out.add(number)
            stands = to
            if again:
                found.close()
                found = Ledger(folder)
            assert found.next == stands
        found.close()


@pytest.mark.parametrize("to", [1, 3, 5, 6, 9, END])
def test_passed_seeds_are_nowhere_on_the_disk(tmp_path: Path, to: int) -> None:
    found = ledger(tmp_path)
    assert all(seed in held(tmp_path) for seed in SEEDS)
    found.advance(to, 0, {})
    there = held(tmp_path)
    for number in range(END):
        dealing, index = place(number)
        seed = SeedChain(SEEDS[dealing], HASH).skip(index)
        assert (seed in there) == (number == to or (number > to and index == 0)), number
    found.close()


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    found = ledger(tmp_path)
    before = found.dealings()
    with pytest.raises(MaterialError):
        found.add([(Dealing(0, "again", 0, 1, 0, bytes(16)), bytes(16), [])])
    assert found.dealings() == before
    found.close()


def test_it_writes_through(tmp_path: Path) -> None:
    """What SQLite calls this: a commit that returns is on the disk, and what is deleted is overwritten."""
    found = ledger(tmp_path)
    modes = {name: found.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "secure_delete")}
    assert modes == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
    found.close()


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    found = ledger(tmp_path)
    found.db.execute(f"PRAGMA max_page_count = {found.one('PRAGMA page_count')}")
    with pytest.raises(MaterialError, match="the disk is full"):
        found.add([(Dealing(9, "x" * 100_000, 99, 1, 0, bytes(16)), bytes(16), [])])
    assert len(found.dealings()) == 3
    found.close()


@pytest.mark.parametrize(
    ("content", "words"), [(b"not a database" * 100, "file is not a database"), (b"", "not the ledger of a store")]
)
def test_another_file_is_no_ledger(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / LEDGER).write_bytes(content)
    with pytest.raises(MaterialError, match=words):
        Ledger(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    ledger(tmp_path).close()
    db = sqlite3.connect(tmp_path / LEDGER)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(MaterialError, match=r"store format 7, but this version reads format 1; deal again"):
        Ledger(tmp_path)


def test_somebody_may_look_while_it_moves(tmp_path: Path) -> None:
    material = dealt(tmp_path)
    found = Ledger(material / PARTIES[0])
    found.advance(2, 0, {0: 1})
    seen = status(material / PARTIES[0])
    assert (seen.next, seen.dealings[0].used, seen.dealings[0].burnt) == (2, 1, 5)  # the setup has left nothing
    assert seen.plan_hash == PLAN.hash
    found.advance(3, 0, {})
    assert status(material / PARTIES[0]).next == 3
    found.close()
