from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mpc_runtime.kernels._prg import Prg

Words = NDArray[np.uint64]
Kind = Literal["lt", "eq"]

__all__ = ["combine_deal", "combine_eval", "combine_planes", "leaf_deal", "leaf_read", "table_planes", "word_bit"]

def table_planes(widths: Sequence[int]) -> int: ...
def word_bit(c: Words, bit: int) -> Words: ...
def leaf_deal(r: Words, t: int, widths: Sequence[int], out: Words | None = None) -> Words: ...
def leaf_read(
    c: Words,
    t: int,
    widths: Sequence[int],
    tables: Words | None,
    party: int,
    kind: Kind = "lt",
    out: Words | None = None,
    *,
    prg: Prg | None = None,
    stream: int = 0,
    start: int = 0,
) -> Words: ...
def combine_planes(q: int, g: int, kind: Kind = "lt", leaf: bool = True) -> tuple[int, int, int]: ...
def combine_deal(masks: Words, q: int, g: int, kind: Kind = "lt", leaf: bool = True) -> tuple[Words, Words]: ...
def combine_eval(
    hats: Words,
    q: int,
    g: int,
    kind: Kind,
    leaf: bool,
    monomials: Words | None,
    singles: Words | None,
    party: int,
    out: Words | None = None,
    *,
    prg: Prg | None = None,
    stream: int = 0,
    start: int = 0,
) -> Words: ...
