"""A party's shares of the masks of wires, at that party and at the dealer, who expands them too.

Most are the stream of the opening that made the wire, perhaps with other axes: words get them while they are expanded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..gates import Gate
from ..gates.streams import PURPOSE_MASK, stream
from ..kernels import Kernels, Prg

Array = np.ndarray


class MaskShares(ABC):
    """Shares of the masks of wires, expanded as party `party` does."""

    kernels: Kernels
    party: int
    prg: Prg

    @abstractmethod
    def mask(self, register: int) -> Array:
        """The share of a wire's mask, in the register's shape."""

    @abstractmethod
    def _maker(self, register: int) -> tuple[int, Gate] | None:
        """The op that makes a wire, and its gate; None if the share of its mask is there already."""

    @abstractmethod
    def _turn_to(self, op: int, mask: bool = False) -> tuple[int, bool]:
        """Op `op` is at work from now on; returns what was. mask: to expand its share of a mask."""

    def _streamed(self, register: int) -> int | None:
        """The op whose stream is the share of a wire's mask as it is."""
        made = self._maker(register)
        return made[0] if made is not None and made[1].mask_is_stream(self.party) else None

    def with_mask(self, register: int, words: Array, sign: int = 1, twice: bool = False) -> Array:
        """`words`, or `twice` them, plus or minus (sign 1 or -1) the share of a wire's mask: in one pass if that is a
        stream, and else in the order in which the words lie in memory."""
        op, gate = self._maker(register) or (0, None)
        turned = gate.turned() if gate is not None else None
        if turned is not None:
            x, axes = turned
            turned_back = words.transpose(np.argsort(axes))
            return np.transpose(self.with_mask(x, turned_back, sign, twice), axes)
        if gate is None or not gate.mask_is_stream(self.party):
            words = np.asarray(words << np.uint64(1)) if twice else words
            combine = self.kernels.add if sign > 0 else self.kernels.subtract
            found: Array = np.asarray(combine(words, self.mask(register), out=words if twice else None))
            return found
        expand = self.prg.add_words if sign > 0 else self.prg.sub_words
        was = self._turn_to(op, mask=True)
        found = expand(stream(PURPOSE_MASK, op), np.asarray(words, order="C"), twice=twice)
        self._turn_to(*was)
        return found
