"""Matrix product and convolution over Z_2^64; see `_linear.pyx`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

__all__: list[str]

def matmul(a: Words, b: Words, out: Words | None = None, sign: int = 0, bits: int = 64) -> Words: ...
def conv2d(
    x: Words,
    w: Words,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0, 0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    out: Words | None = None,
    sign: int = 0,
    bits: int = 64,
) -> Words: ...
def _level() -> int: ...
def _level_available(level: int) -> bool: ...
def _set_level(level: int) -> None: ...
