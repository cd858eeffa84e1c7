"""Files that a party keeps beside its ledger across restarts: shares of parameters, and what a setup has left.

A file is written whole under a name of its own, then the ledger learns of it, then what it replaces is removed. A file
that the ledger does not know, or that is damaged, is not there.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MaterialError
from ..transport.channel import Buffer, as_bytes
from .data import sync_folder
from .faults import disk_faults
from .ledger import Kept, Ledger

__all__ = ["KeptFiles", "packed", "unpacked"]

Array = np.ndarray

_PREFIX = "kept-"


class KeptFiles:
    """The kept files of a store's folder."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._known = {kept.name: kept for kept in ledger.kept()}
        known = {kept.file for kept in self._known.values()}
        with disk_faults(folder, "be written"):
            for path in folder.glob(f"{_PREFIX}*"):
                if path.name not in known:
                    path.unlink()  # its writing, or its removal, was interrupted
        for name in list(self._known):
            if not self._intact(name):
                print(f"{folder}: {name} is damaged and was removed; it has to be provided again", file=sys.stderr)
                self.remove(name)

    def names(self, prefix: str) -> list[str]:
        """The names that begin so."""
        return [name for name in self._known if name.startswith(prefix)]

    def facts(self, name: str) -> Mapping[str, Any] | None:
        """What is known of a file; None when there is none of this name."""
        kept = self._known.get(name)
        return kept.facts if kept else None

    def write(self, name: str, facts: Mapping[str, Any], parts: Iterable[Buffer]) -> None:
        """Keeps a file; it is on the disk when this returns, and the one it replaces is gone."""
        file = f"{_PREFIX}{secrets.token_hex(8)}.bin"
        path = self._folder / file
        digest, size = hashlib.sha256(), 0
        with disk_faults(path, "be written"), _new_file(path) as descriptor:
            for part in parts:
                view = as_bytes(part)
                digest.update(view)
                size += view.nbytes
                while view.nbytes:
                    view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        with disk_faults(path, "be written"):
            sync_folder(self._folder)
        kept = Kept(name, file, size, digest.hexdigest(), dict(facts))
        self._ledger.keep(kept)
        replaced = self._known.get(name)
        self._known[name] = kept
        if replaced is not None:
            self._unlink(replaced)

    def read(self, name: str) -> bytes:
        """A file's bytes; MaterialError when they are not what was written."""
        kept = self._known[name]
        path = self._folder / kept.file
        with disk_faults(path, "be read"):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != kept.hash:
            raise MaterialError(f"{path}: damaged")
        return data

    def remove(self, name: str) -> None:
        """Lets go of a file, if there is one of this name."""
        kept = self._known.pop(name, None)
        if kept is not None:
            self._ledger.let_go(name)
            self._unlink(kept)

    def _intact(self, name: str) -> bool:
        try:
            self.read(name)
        except MaterialError:
            return False
        return True

    def _unlink(self, kept: Kept) -> None:
        with disk_faults(self._folder / kept.file, "be removed"):
            (self._folder / kept.file).unlink(missing_ok=True)


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name, as a file holds them."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, Array]:
    """The arrays in such a file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A file of ours, removed if writing it fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
