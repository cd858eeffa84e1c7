"""The data files of a store: records of corrections one after the other, written once, read in order, erased after use.

A record is tagged in pieces, so that damage is found before a damaged word is used, at the speed of AES-GMAC. The key
of the tags lies in the same store: they find damage, not forgery. What a record is for, and where it lies, is the
ledger's knowledge.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import MaterialError
from ..transport.channel import Buffer, Keeper, as_bytes
from .faults import disk_faults

__all__ = ["DATA_PREFIX", "PIECE", "TAG_KEY_BYTES", "DataFiles", "DataWriter", "Record", "sync_folder"]

PIECE = 1 << 20
"""Bytes that are read, and checked, at once: large enough that their cost is that of their bytes."""

AHEAD = 8
"""Pieces that the system is asked to read ahead."""

FILE_BYTES = 256 << 20
"""A data file ends with the record that reaches this size. It is removed as a whole when all its records are gone,
which gives the space back on every file system."""

DATA_PREFIX = "records-"
"""Of the names of data files."""

TAG_KEY_BYTES = 16
_TAG_BYTES = 16
_NONCE = struct.Struct("<QI")
_PUNCH_HOLE, _KEEP_SIZE = 2, 1  # fallocate(2)


@dataclass(frozen=True)
class Record:
    """Where a record lies. dealing: the one that it belongs to, by number; place: in that, from 0. seconds: the
    dealer's time for it. tags: one for each piece."""

    dealing: int
    place: int
    procedure: str
    file: str
    start: int
    size: int
    seconds: float
    tags: bytes


class DataWriter(Keeper):
    """Appends records to data files of a folder; a `Sink` between `begin` and `end`."""

    def __init__(self, folder: Path, dealing: int, id_: str, tag_key: bytes) -> None:
        """dealing: the number of the dealing, id_: its name, from which those of files are made."""
        self._folder = folder
        self._dealing = dealing
        self._id = id_
        self.tag_key = tag_key
        self._tags = AESGCM(tag_key)
        self._files = 0
        self._file = -1
        self._name = ""
        self._size = 0  # of the file
        self._begun: tuple[int, str, int] = 0, "", 0
        self._gathered: list[memoryview] = []
        self._gathered_bytes = 0
        self._record_tags: list[bytes] = []

    def begin(self, place: int, procedure: str) -> None:
        """A record begins, at this place of its dealing."""
        if self._file < 0 or self._size >= FILE_BYTES:
            self._next_file()
        self._begun = place, procedure, self._size
        self._record_tags = []

    def write(self, buffer: Buffer) -> None:
        view = as_bytes(buffer)
        while view.nbytes:
            part = view[: PIECE - self._gathered_bytes]
            view = view[part.nbytes :]
            self._gathered.append(part)
            self._gathered_bytes += part.nbytes
            if self._gathered_bytes == PIECE:
                self._flush()

    def end(self, seconds: float) -> Record:
        """The record is complete."""
        self._flush()
        place, procedure, start = self._begun
        tags = b"".join(self._record_tags)
        return Record(self._dealing, place, procedure, self._name, start, self._size - start, seconds, tags)

    def close(self) -> None:
        """What was written is on the disk when this returns. Closing again does nothing."""
        if self._file < 0:
            return
        with disk_faults(self._folder / self._name, "be written"):
            file, self._file = self._file, -1
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def discard(self) -> None:
        """Nothing comes of it: its files are removed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with disk_faults(self._folder, "be written"):
            for file in self._folder.glob(f"{DATA_PREFIX}{self._id}-*"):
                file.unlink()

    def _next_file(self) -> None:
        self.close()
        self._files += 1
        self._name, self._size = f"{DATA_PREFIX}{self._id}-{self._files:04}.bin", 0
        path = self._folder / self._name
        with disk_faults(path, "be written"):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def _flush(self) -> None:
        if not self._gathered_bytes:
            return
        piece = self._gathered[0] if len(self._gathered) == 1 else memoryview(b"".join(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
        nonce = _NONCE.pack(self._begun[0], len(self._record_tags))
        self._record_tags.append(self._tags.encrypt(nonce, b"", piece))
        self._size += piece.nbytes
        with disk_faults(self._folder / self._name, "be written"):
            while piece.nbytes:
                piece = piece[os.write(self._file, piece) :]


class DataFiles:
    """The data files of a folder, for reading and erasing. One record is read at a time. tag_keys: by dealing."""

    def __init__(self, folder: Path, tag_keys: Mapping[int, bytes]) -> None:
        self._folder = folder
        self._tags = {dealing: AESGCM(key) for dealing, key in tag_keys.items()}
        self._open: dict[str, int] = {}

    def know(self, dealing: int, tag_key: bytes) -> None:
        """One more dealing."""
        self._tags[dealing] = AESGCM(tag_key)

    def pieces(self, record: Record) -> Iterator[memoryview]:
        """The record's bytes in order, each piece checked before it is handed out; MaterialError for a damaged one."""
        path = self._folder / record.file
        for piece in range(len(record.tags) // _TAG_BYTES):
            offset = piece * PIECE
            size = min(PIECE, record.size - offset)
            with disk_faults(path, "be read"):
                data = self._read(record, offset, size)
            tag = record.tags[piece * _TAG_BYTES : (piece + 1) * _TAG_BYTES]
            try:
                self._tags[record.dealing].decrypt(_NONCE.pack(record.place, piece), tag, data)
            except InvalidTag:
                raise MaterialError(
                    f"{path}: the data are damaged at byte {record.start + offset}; copy the file from the dealer's "
                    "machine again if it is still there, or deal new material with `mpcc deal`"
                ) from None
            yield data

    def missing(self, record: Record) -> str:
        """What is not there of a record's bytes; empty when all are."""
        try:
            size = (self._folder / record.file).stat().st_size
        except OSError as error:
            return f"{self._folder / record.file}: {error.strerror}"
        wanted = record.start + record.size
        return f"{self._folder / record.file}: expected {wanted} bytes, found {size}" if size < wanted else ""

    def remove(self, name: str) -> None:
        """Removes a data file all of whose records are gone."""
        self._forget(name)
        with disk_faults(self._folder / name, "be removed"):
            (self._folder / name).unlink(missing_ok=True)

    def erase(self, record: Record) -> None:
        """Takes a record's bytes out of its file: the system gives the space back where it can, else zeros are written
        over it."""
        path = self._folder / record.file
        if not record.size or not path.exists():
            return
        with disk_faults(path, "be erased"):
            file = os.open(path, os.O_RDWR)
            try:
                if not punch_hole(file, record.start, record.size):
                    _write_zeros(file, record.start, record.size)
            finally:
                os.close(file)

    def close(self) -> None:
        """Closes all files. Closing again does nothing."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _read(self, record: Record, offset: int, size: int) -> memoryview:
        file = self._open.get(record.file)
        if file is None:
            self.close()
            file = self._open[record.file] = os.open(self._folder / record.file, os.O_RDONLY)
        start = record.start + offset
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, start, AHEAD * PIECE, os.POSIX_FADV_WILLNEED)
        data = np.empty(size, np.uint8).data
        filled = 0
        while filled < size:
            read = os.preadv(file, [data[filled:]], start + filled)
            if not read:
                raise MaterialError(f"{self._folder / record.file}: ends within a record, at byte {start + filled}")
            filled += read
        return data

    def _forget(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            os.close(file)


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def punch_hole(file: int, start: int, size: int) -> bool:
    """Whether the system has taken these bytes out of the file."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, start, size) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))


def _write_zeros(file: int, start: int, size: int) -> None:
    zeros = bytes(min(size, PIECE))
    end = start + size
    while start < end:
        start += os.pwrite(file, zeros[: end - start], start)
