"""Messages between servers on their second connection, sealed with AES-256-GCM.

CURVE's cipher has no hardware help: with it, a party's half of the CPU went into encryption. So a server hands whoever
links to it a fresh key over their CURVE connection, which authenticates both ends, and says everything else on a second
connection under that key (`node.py`, `link.py`). A key serves one direction of one connection. Nonces are a counter
that both ends keep, so a frame that was altered, dropped, repeated or moved does not open, nor does one that has become
the last of its message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import zmq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import PeerError

__all__ = ["FRAME_BYTES", "KEY_BYTES", "TAG_BYTES", "Opener", "Sealer"]

KEY_BYTES = 32
TAG_BYTES = 16
FRAME_BYTES = 1 << 20  # larger buffers go in frames, so that what was just sealed is still in the cache when it is sent
_NONCE_BYTES = 12
_LAST, _MORE = b"\0", b"\1"


class _Counter:
    """The nonces of a key, each once."""

    def __init__(self) -> None:
        self._used = 0

    def next(self) -> bytes:
        self._used += 1
        return self._used.to_bytes(_NONCE_BYTES, "big")


class Sealer:
    """The sender's end of a sealed direction. key: KEY_BYTES random bytes, used for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._nonces = _Counter()
        self._sealed = np.empty(FRAME_BYTES + TAG_BYTES, np.uint8).data

    def message(self, parts: Sequence[memoryview]) -> Iterator[tuple[memoryview, int]]:
        """The frames of one message and the flags to send each with; every part begins a frame of its own.

        A frame is to be sent, by copy, before the next one is asked for: all are sealed in the same memory, which stays
        in the cache.
        """
        for i, part in enumerate(parts):
            start = 0
            while True:
                piece = part[start : start + FRAME_BYTES]
                start += FRAME_BYTES
                more = start < part.nbytes or i + 1 < len(parts)
                sealed = self._sealed[: piece.nbytes + TAG_BYTES]
                self._aead.encrypt_into(self._nonces.next(), piece, _MORE if more else _LAST, sealed)
                yield sealed, zmq.SNDMORE if more else 0
                if start >= part.nbytes:
                    break


class Opener:
    """The receiver's end of a sealed direction: opens its frames in the order in which they were sealed."""

    def __init__(self, sender: str, key: bytes) -> None:
        self._sender = sender
        self._aead = AESGCM(key)
        self._nonces = _Counter()

    def each(self, frames: Iterable[zmq.Frame]) -> list[memoryview]:
        """The frames of a message, opened; PeerError when one is not as it was sealed."""
        return [self.joined([frame]) for frame in frames]

    def joined(self, frames: Sequence[zmq.Frame]) -> memoryview:
        """As `each`, in one buffer."""
        sizes = [len(frame) - TAG_BYTES for frame in frames]
        if min(sizes) < 0:
            raise self._altered()
        out = np.empty(sum(sizes), np.uint8).data
        start = 0
        for frame, size in zip(frames, sizes, strict=True):
            aad = _MORE if frame.more else _LAST
            try:
                self._aead.decrypt_into(self._nonces.next(), frame.buffer, aad, out[start : start + size])
            except InvalidTag:
                raise self._altered() from None
            start += size
        return out

    def _altered(self) -> PeerError:
        return PeerError(f"a message of {self._sender} was altered on the way, or one before it was lost", self._sender)
