"""Frames sealed with AES-256-GCM, for the streams on which servers send each other data (`stream.py`).

    sealed bytes (4) | flags (1) | execution (8) | ciphertext, tag (16)

A key serves one direction of one connection. A frame's nonce is its position, which both ends count, and its head is
authenticated with it, so that a frame that was altered, dropped, repeated, moved, or taken for another execution does
not open. A message is one part (data) or several (control), and travels in frames: MORE of them follow, one begins a
PART, is of a CONTROL message, or is the END, after which nothing comes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import PeerError

__all__ = [
    "CONTROL",
    "END",
    "FRAME_BYTES",
    "HEAD",
    "KEY_BYTES",
    "MORE",
    "NO_EXECUTION",
    "PART",
    "TAG_BYTES",
    "Head",
    "Opener",
    "Sealer",
]

KEY_BYTES = 32
TAG_BYTES = 16
FRAME_BYTES = 1 << 20  # larger parts go in frames, so that what was just sealed is still in the cache when it is sent
NONCE_BYTES = 12
MORE, PART, CONTROL, END = 1, 2, 4, 8
FLAGS = MORE | PART | CONTROL | END
HEAD = struct.Struct(">IBq")
_BOUND = struct.Struct(">Bq")  # what of the head is authenticated; the length is by itself
NO_EXECUTION = -1


class Head(NamedTuple):
    """What stands before a frame: bytes of what is sealed, flags, and the execution it belongs to."""

    nbytes: int
    flags: int
    execution: int

    @staticmethod
    def read(sender: str, data: memoryview) -> Head:
        """PeerError when no frame of ours begins so."""
        head = Head._make(HEAD.unpack_from(data))
        if not TAG_BYTES <= head.nbytes <= FRAME_BYTES + TAG_BYTES or head.flags > FLAGS:
            raise PeerError(f"{sender} sent a frame that is none, of {head.nbytes} bytes", sender)
        return head


class _Positions:
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
        self._positions = _Positions()
        self._frame = np.empty(HEAD.size + FRAME_BYTES + TAG_BYTES, np.uint8).data

    def frames(
        self, parts: Sequence[memoryview], *, control: bool, execution: int = NO_EXECUTION
    ) -> Iterator[memoryview]:
        """The frames of one message. Each is to be sent, by copy, before the next one is asked for: all are sealed in
        the same memory, which stays in the cache."""
        for i, part in enumerate(parts):
            start = 0
            while start == 0 or start < part.nbytes:
                piece = part[start : start + FRAME_BYTES]
                flags = (PART if start == 0 else 0) | (CONTROL if control else 0)
                start += FRAME_BYTES
                flags |= MORE if start < part.nbytes or i + 1 < len(parts) else 0
                yield self._sealed(piece, flags, execution)

    def end(self) -> memoryview:
        """The frame after which there are none."""
        return self._sealed(memoryview(b""), END, NO_EXECUTION)

    def _sealed(self, piece: memoryview, flags: int, execution: int) -> memoryview:
        nbytes = piece.nbytes + TAG_BYTES
        frame = self._frame[: HEAD.size + nbytes]
        HEAD.pack_into(frame, 0, nbytes, flags, execution)
        self._aead.encrypt_into(self._positions.next(), piece, _BOUND.pack(flags, execution), frame[HEAD.size :])
        return frame


class Opener:
    """The receiver's end of a sealed direction: opens its frames in the order in which they were sealed."""

    def __init__(self, sender: str, key: bytes) -> None:
        self._sender = sender
        self._aead = AESGCM(key)
        self._positions = _Positions()

    def open(self, head: Head, sealed: memoryview) -> memoryview:
        """What a frame holds. PeerError when it is not as it was sealed."""
        piece = np.empty(head.nbytes - TAG_BYTES, np.uint8).data
        try:
            bound = _BOUND.pack(head.flags, head.execution)
            self._aead.decrypt_into(self._positions.next(), sealed, bound, piece)
        except InvalidTag:
            raise PeerError(
                f"a message of {self._sender} was altered on the way, or one before it was lost", self._sender
            ) from None
        return piece
