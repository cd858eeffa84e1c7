"""Parameters on a party's disk: what was put is found, nothing else is believed, and a full disk changes nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.servers import shelf as shelf_module
from mpc_runtime.servers.shelf import Shelf, shelf_key

PLAN = "a" * 64
ONE, TWO = ("setup", "modeller", "one"), ("setup", "dr. X/é", "two")


def opened(folder: Path, plan: str = PLAN, number: int = 0) -> Shelf:
    return Shelf(folder / "params", shelf_key(folder / "store.key"), plan, number)


def test_what_was_put_is_found_in_order_and_what_was_removed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "PIECE_BYTES", 1000)  # so that a payload has several pieces
    payloads = {TWO: os.urandom(2500), ONE: b"", ("setup", "modeller", "three"): os.urandom(1000)}
    shelf = opened(tmp_path)
    for key, payload in payloads.items():
        shelf.put(key, memoryview(payload))
    found, problems = opened(tmp_path).read()
    assert {key: bytes(payload) for key, payload in found.items()} == payloads
    assert list(found) == list(payloads) and not problems
    later = opened(tmp_path)
    later.read()
    later.remove(TWO)
    later.put(TWO, memoryview(b"new"))  # comes after what is there
    assert list(opened(tmp_path).read()[0]) == [*list(payloads)[1:], TWO]


def test_no_share_and_no_name_of_another_plan_or_party_is_read(tmp_path: Path) -> None:
    opened(tmp_path).put(ONE, memoryview(b"secret share"))
    (file,) = (tmp_path / "params").iterdir()
    assert b"secret share" not in file.read_bytes()
    for other in (opened(tmp_path, plan="b" * 64), opened(tmp_path, number=1)):
        found, problems = other.read()
        assert not found and len(problems) == 1
    (tmp_path / "store.key").unlink()  # another key is made
    assert not opened(tmp_path).read()[0]


def test_any_change_of_a_file_is_seen(tmp_path: Path) -> None:
    opened(tmp_path).put(ONE, memoryview(b"secret share"))
    (file,) = (tmp_path / "params").iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found, problems = opened(tmp_path).read()
        assert not found and "cannot be opened with the key file" in problems[0], at
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert not opened(tmp_path).read()[0], size


def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = opened(tmp_path)
    shelf.put(ONE, memoryview(b"share"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            shelf.put(TWO, memoryview(b"share"))
    found, problems = opened(tmp_path).read()
    assert list(found) == [ONE] and not problems
    shelf.put(TWO, memoryview(b"share"))  # there is room again
    assert list(opened(tmp_path).read()[0]) == [ONE, TWO]


def test_a_key_file_is_secret_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.key"
    key = shelf_key(path)
    assert path.stat().st_mode & 0o777 == 0o600 and shelf_key(path) == key
    path.chmod(0o644)
    with pytest.raises(InputError, match="others may read"):
        shelf_key(path)
    path.chmod(0o600)
    path.write_bytes(key[:-1])
    with pytest.raises(InputError, match="expected a key of 32 bytes, found 31"):
        shelf_key(path)
