"""The parameters that a party has been given, on its disk: a process that starts anew finds them.

A file for each submission, in the order of their arrival:

    length (u32) | JSON: plan, party, stage, role, id, size, salt | pieces, each sealed with AES-256-GCM

A file's key is derived from the service's key file, the plan's hash and the salt. The JSON, with the size of it all, is
authenticated with every piece, and a piece's nonce is its number. What is sealed is the party's share, which says
nothing without the other party's. A file is complete or not there at all: it is written beside, made durable and
renamed.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import InputError
from .submissions import Key

__all__ = ["Shelf", "shelf_key", "write_durably"]

KEY_BYTES, SALT_BYTES, TAG_BYTES = 32, 16, 16
PIECE_BYTES = 1 << 24
_LENGTH = struct.Struct("<I")
_COUNTER = struct.Struct("<QI")
SUFFIX = ".share"


def shelf_key(path: Path) -> bytes:
    """The key of a key file, which is made, readable by its owner only, if it is not there. InputError when it cannot
    be used."""
    try:
        if not path.exists():
            write_durably(path, lambda file: file.write(os.urandom(KEY_BYTES)))
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a key file: {error.strerror}") from None
    if mode & 0o077:
        raise InputError(f"{path}: others may read this secret key; run chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: expected a key of {KEY_BYTES} bytes, found {len(key)}; restore it from your backup")
    return key


def write_durably(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Puts a file in the place of `path`, if any, complete and on the disk, or raises OSError and changes nothing. Only
    its owner may read it."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Shelf:
    """The parameters of one plan at party `number`, in a folder that is made if it is not there."""

    def __init__(self, folder: Path, secret: bytes, plan_hash: str, number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._about = {"plan": plan_hash, "party": number}
        self._secret = secret
        self._files: dict[Key, Path] = {}
        self._next = 0

    def read(self) -> tuple[dict[Key, memoryview], list[str]]:
        """What is there, in the order in which it came; and a line for each file that cannot be read."""
        found, problems = {}, []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                self._next = max(self._next, int(path.name.removesuffix(SUFFIX)) + 1)
                key, payload = self._opened(path)
            except (OSError, ValueError, KeyError, TypeError, struct.error, InvalidTag):
                text = "these parameters cannot be opened with the key file, so they are not used"
                problems.append(f"{path}: {text}; restore both from one backup, or remove the file and provide again")
                continue
            found[key], self._files[key] = payload, path
        return found, problems

    def put(self, key: Key, payload: memoryview) -> None:
        """Keeps a submission. OSError when it cannot be; nothing has changed then."""
        stage, role, number = key
        salt = os.urandom(SALT_BYTES)
        about = {**self._about, "stage": stage, "role": role, "id": number, "size": payload.nbytes}
        head = json.dumps({**about, "salt": salt.hex()}).encode()
        cipher = self._cipher(salt)
        path = self._folder / f"{self._next:012d}{SUFFIX}"

        def write(file: IO[bytes]) -> None:
            file.write(_LENGTH.pack(len(head)) + head)
            for count, start in enumerate(_starts(payload.nbytes)):
                piece = payload[start : start + PIECE_BYTES]
                file.write(cipher.encrypt(_COUNTER.pack(0, count), piece, head))

        write_durably(path, write)
        self._files[key] = path
        self._next += 1

    def remove(self, key: Key) -> None:
        """Forgets a submission, if it is there."""
        path = self._files.pop(key, None)
        if path is not None:
            with suppress(OSError):
                path.unlink()

    def _cipher(self, salt: bytes) -> AESGCM:
        info = f"mpc shelf\0{self._about['plan']}".encode()
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(self._secret))

    def _opened(self, path: Path) -> tuple[Key, memoryview]:
        data = memoryview(path.read_bytes())
        (length,) = _LENGTH.unpack_from(data)
        head = bytes(data[_LENGTH.size : _LENGTH.size + length])
        told = json.loads(head)
        if any(told[name] != value for name, value in self._about.items()):
            raise ValueError("of another plan or party")
        cipher, at, pieces = self._cipher(bytes.fromhex(told["salt"])), _LENGTH.size + length, []
        for count, start in enumerate(_starts(told["size"])):
            size = min(PIECE_BYTES, told["size"] - start) + TAG_BYTES
            pieces.append(cipher.decrypt(_COUNTER.pack(0, count), data[at : at + size], head))
            at += size
        return (told["stage"], told["role"], told["id"]), memoryview(b"".join(pieces))


def _starts(nbytes: int) -> range:
    """Where the pieces of so many bytes begin; an empty payload has one."""
    return range(0, max(nbytes, 1), PIECE_BYTES)
