"""Dependent secrets: what the dealer shares between the parties, as specifications.

One party expands its half from its stream, the other is sent the correction: the secret less that half, packed. A
specification knows the sizes, the expansion, the packing and the unpacking; executors ask for nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..kernels.sizes import packed_size, planes_size
from ..registers import BLOCK

if TYPE_CHECKING:
    from ..kernels import Kernels, Prg

Array: TypeAlias = np.ndarray


class Secret(ABC):
    """A secret of every element of a gate. `pad` is a stream, `start` the first of the elements that are meant."""

    @abstractmethod
    def size(self, n: int) -> int:
        """Bytes of the correction of n elements."""

    @abstractmethod
    def unpack(self, k: Kernels, data: memoryview, n: int) -> Array:
        """The half of n elements that was sent."""

    def add(self, k: Kernels, data: memoryview, out: Array) -> None:
        """Adds the half that was sent, in the ring of the secret, to as many words."""
        raise AssertionError(f"{type(self).__name__} are not added to words")

    def expand(self, k: Kernels, prg: Prg, pad: int, start: int, n: int) -> Array:
        """The half of elements [start, start + n) that its party expands itself."""
        raise AssertionError(f"{type(self).__name__} are expanded by the kernel that reads them")

    def pack(self, k: Kernels, prg: Prg, pad: int, start: int, n: int, value: Array, packed: Array) -> None:
        """Puts the correction of n elements, whose secret is `value`, for the party that does not expand, where it is
        wanted."""
        raise AssertionError(f"{type(self).__name__} are packed by the kernel that makes them")


@dataclass(frozen=True)
class Words(Secret):
    """A word of `bits` bits for every element."""

    bits: int

    def size(self, n: int) -> int:
        return packed_size(n, self.bits)

    def unpack(self, k: Kernels, data: memoryview, n: int) -> Array:
        return k.unpack(data, n, self.bits)

    def add(self, k: Kernels, data: memoryview, out: Array) -> None:
        k.unpack_add(data, self.bits, out)

    def expand(self, k: Kernels, prg: Prg, pad: int, start: int, n: int) -> Array:
        return prg.words(pad, n, start)

    def pack(self, k: Kernels, prg: Prg, pad: int, start: int, n: int, value: Array, packed: Array) -> None:
        k.share_pack(prg, pad, value, self.bits, packed, start)


@dataclass(frozen=True)
class Planes(Secret):
    """`planes` bits for every element, xor-shared. `start` is a multiple of BLOCK."""

    planes: int

    def size(self, n: int) -> int:
        return planes_size(n, self.planes)

    def unpack(self, k: Kernels, data: memoryview, n: int) -> Array:
        return k.planes_unpack(data, n, self.planes)

    def expand(self, k: Kernels, prg: Prg, pad: int, start: int, n: int) -> Array:
        return k.planes_fill(prg, pad, n, self.planes, start_block=start // BLOCK)

    def pack(self, k: Kernels, prg: Prg, pad: int, start: int, n: int, value: Array, packed: Array) -> None:
        k.planes_share_pack(prg, pad, value, n, packed, start_block=start // BLOCK)


@dataclass(frozen=True)
class Samples(Secret):
    """A table of `nodes` entries of `bits` bits (a multiple of 8) for every element."""

    nodes: int
    bits: int

    def size(self, n: int) -> int:
        return n * self.nodes * self.bits // 8

    def unpack(self, k: Kernels, data: memoryview, n: int) -> Array:
        return np.frombuffer(data, np.uint8)
