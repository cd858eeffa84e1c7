"""Registers: the static types of what an op-list computes.

Every value of a plan lives in a register whose shape, ring and form are known before anything runs, so that every
machine knows the length of every message and takes no shape or type from the wire. Here types are only described.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np


def wrapping() -> np.errstate:
    """A context for ring arithmetic: it wraps on purpose, and NumPy would say so for every scalar."""
    return np.errstate(over="ignore")


def held(value: np.ndarray) -> np.ndarray:
    """A value as every machine holds it in a register: an array, aligned, in the machine's byte order.

    Contexts apply this to whatever a gate, a role or a plan gives them, so that gates need not ask: NumPy makes scalars
    of arrays without axes, and a buffer may lie anywhere. The strides are free (views are not copied) and the array may
    be read-only: a gate takes `flat` of what a kernel wants in one piece, and writes over nothing but what
    `may_overwrite` grants and is writeable. Bit planes are always in one piece.
    """
    array = np.asarray(value)
    if array.flags.aligned and array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")


class Form(str, Enum):
    """How a value is held (PROTOCOLS section 0)."""

    SHARED = "shared"  # x = x0 + x1 (bits: x0 xor x1)
    OFFSET = "offset"  # x = x0 + x1 + offset, and only the dealer knows the offset
    WIRE = "wire"  # both parties know X = x + mask and hold shares of the mask; the dealer knows the mask
    BARE = "bare"  # as WIRE, but the mask has absorbed an offset: nobody holds shares of it
    PUBLIC = "public"  # both parties know x; the dealer does not
    CONSTANT = "constant"  # written in the plan: everybody knows x

    @property
    def masked(self) -> bool:
        return self in (Form.WIRE, Form.BARE)

    @property
    def additive(self) -> bool:
        return self in (Form.SHARED, Form.OFFSET)


class Domain(str, Enum):
    """What the elements are and how parties add them."""

    WORDS = "words"  # elements of Z_2^bits, one uint64 each
    BITS = "bits"  # single bits under xor, one uint8 each
    PLANES = "planes"  # `planes` bits for every element under xor, bit-sliced in blocks of 512 elements


BLOCK = 512
"""Elements in one block of bit planes: one AVX-512 register a plane (kernels rely on it)."""

TILE = 1 << 16
"""Elements that elementwise gates take at a time: a tile's words and material fit the second-level cache, and its
frames are large enough that their overhead does not count. A multiple of BLOCK."""


@dataclass(frozen=True)
class Register:
    """Static type of one value.

    shape: the tensor's shape (for PLANES the shape of the tensor whose elements have `planes` bits each).
    bits:  ring width l for WORDS (1..64), 1 for BITS and PLANES.
    scale: fraction bits: the value is the ring element times 2^-scale.
    """

    shape: tuple[int, ...]
    form: Form
    domain: Domain = Domain.WORDS
    bits: int = 64
    scale: int = 0
    planes: int = 1

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def wire_bytes(self) -> int:
        """Bytes of one message that carries this value."""
        if self.domain is Domain.WORDS:
            return (self.size * self.bits + 7) // 8
        return self.planes * ((self.size + 7) // 8)

    @property
    def memory_bytes(self) -> int:
        """Bytes one array of this value takes at a party."""
        if self.domain is Domain.WORDS:
            return 8 * self.size
        if self.domain is Domain.BITS:
            return self.size
        return -(-self.size // BLOCK) * self.planes * (BLOCK // 8)
