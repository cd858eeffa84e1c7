"""Messages sealed with AES-256-GCM, for the connection on which servers send each other data (`stream.py`).

A key serves one direction of one connection. Nonces are a counter that both ends keep, so a frame that was altered,
dropped, repeated or moved does not open. A message is one part (data) or several (control), and travels in frames:

    ciphertext, tag (16 bytes), header (1 byte, authenticated): MORE frames follow | begins a PART | CONTROL
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import zmq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import PeerError

__all__ = ["FRAME_BYTES", "KEY_BYTES", "SEAL_BYTES", "Opener", "Sealer"]

KEY_BYTES = 32
TAG_BYTES = 16
SEAL_BYTES = TAG_BYTES + 1  # tag and header
FRAME_BYTES = 1 << 20  # larger parts go in frames, so that what was just sealed is still in the cache when it is sent
NONCE_BYTES = 12
MORE, PART, CONTROL = 1, 2, 4
_HEADERS = [bytes([header]) for header in range(8)]


class _Counter:
    """The nonces of a key, each once."""

    def __init__(self) -> None:
        self._used = 0

    def next(self) -> bytes:
        self._used += 1
        return self._used.to_bytes(NONCE_BYTES, "big")


class Sealer:
    """The sender's end of a sealed direction. key: KEY_BYTES random bytes, used for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._nonces = _Counter()
        self._frame = np.empty(FRAME_BYTES + SEAL_BYTES, np.uint8).data

    def frames(self, parts: Sequence[memoryview], *, control: bool) -> Iterator[memoryview]:
        """The frames of one message. Each is to be sent, by copy, before the next one is asked for: all are sealed in
        the same memory, which stays in the cache."""
        for i, part in enumerate(parts):
            start = 0
            while start == 0 or start < part.nbytes:
                piece = part[start : start + FRAME_BYTES]
                header = (PART if start == 0 else 0) | (CONTROL if control else 0)
                start += FRAME_BYTES
                header |= MORE if start < part.nbytes or i + 1 < len(parts) else 0
                frame = self._frame[: piece.nbytes + SEAL_BYTES]
                self._aead.encrypt_into(self._nonces.next(), piece, _HEADERS[header], frame[:-1])
                frame[-1] = header
                yield frame


class Opener:
    """The receiver's end of a sealed direction: opens its frames in the order in which they were sealed."""

    def __init__(self, sender: str, key: bytes) -> None:
        self._sender = sender
        self._aead = AESGCM(key)
        self._nonces = _Counter()
        self._parts: list[list[memoryview]] = []

    def open(self, frame: zmq.Frame) -> tuple[bool, list[memoryview]] | None:
        """Whether it is a control message, and its parts, when `frame` was the last of a message; else None. PeerError
        if it was altered."""
        sealed = frame.buffer
        nbytes = len(sealed) - SEAL_BYTES
        if nbytes < 0 or frame.more or sealed[-1] >= len(_HEADERS):
            raise self._altered()
        header = sealed[-1]
        piece = np.empty(nbytes, np.uint8).data
        try:
            self._aead.decrypt_into(self._nonces.next(), sealed[:-1], _HEADERS[header], piece)
        except InvalidTag:
            raise self._altered() from None
        if header & PART:
            self._parts.append([])
        self._parts[-1].append(piece)
        if header & MORE:
            return None
        parts, self._parts = self._parts, []
        return bool(header & CONTROL), [_joined(pieces) for pieces in parts]

    def _altered(self) -> PeerError:
        return PeerError(f"a message of {self._sender} was altered on the way, or one before it was lost", self._sender)


def _joined(pieces: Sequence[memoryview]) -> memoryview:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces).data
