"""Keys of executions (PROTOCOLS.md section 8): a chain of seeds between dealer and party, a key between the parties.

    seed_{j+1} = KDF(seed_j, "next")      material key_j = KDF(seed_j, "use" | plan hash | procedure)
    pair secret = KDF(r0 | r1, "pair")    pair key_j = KDF(pair secret, "output" | plan hash | procedure | j)

KDF is HMAC-SHA256 cut to 128 bits. An index is used once, by any procedure; skipping it burns it.
"""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["SEED_BYTES", "SeedChain", "pair_key", "pair_secret"]

SEED_BYTES = 16


def _kdf(key: bytes, *parts: str) -> bytes:
    """Parts are joined by a byte that none of them contains."""
    return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).digest()[:SEED_BYTES]


class SeedChain:
    """The seeds that a party has in common with the dealer. Only the next one is held: earlier ones cannot be had
    again.
    """

    def __init__(self, seed: bytes, plan_hash: str, at: int = 0) -> None:
        """at: the index whose seed this is."""
        self._seed = seed
        self._plan_hash = plan_hash
        self.next = at
        """The lowest index that has not been used or burnt."""

    def take(self, index: int, procedure: str) -> bytes:
        """The material key of execution `index`, which together with all before it is used up."""
        if index < self.next:
            raise ValueError(f"material {index} has been used or discarded; the next is {self.next}")
        self.skip(index)
        key = _kdf(self._seed, "use", self._plan_hash, procedure)
        self._step()
        return key

    def skip(self, index: int) -> bytes:
        """Burns all below `index`; the seed of `index`, or of the next if that is higher, for whoever stores it."""
        while self.next < index:
            self._step()
        return self._seed

    def _step(self) -> None:
        self._seed = _kdf(self._seed, "next")
        self.next += 1


def pair_secret(contribution0: bytes, contribution1: bytes) -> bytes:
    """What p0 and p1 have in common and the dealer never sees; each contributes fresh random bytes once a session."""
    return _kdf(contribution0 + contribution1, "pair")


def pair_key(secret: bytes, plan_hash: str, procedure: str, index: int) -> bytes:
    """The key of one execution's output masks (PROTOCOLS.md section 7)."""
    return _kdf(secret, "output", plan_hash, procedure, str(index))
