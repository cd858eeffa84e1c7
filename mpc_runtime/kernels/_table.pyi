import numpy as np
from numpy.typing import NDArray

from mpc_runtime.kernels._prg import Prg

Words = NDArray[np.uint64]

__all__ = ["stencil_weights", "table_deal", "table_eval"]

def stencil_weights(P: int, g: int, index_bits: int) -> NDArray[np.int64]: ...
def table_deal(
    r: Words,
    s: int,
    t: int,
    coef: NDArray[np.float64],
    lv: int,
    prg: Prg,
    stream: int,
    out_packed: NDArray[np.uint8],
    offset: int = 0,
) -> None: ...
def table_eval(
    c: Words,
    s: int,
    t: int,
    weights: NDArray[np.int64],
    lv: int,
    tables: NDArray[np.uint8] | None,
    prg: Prg | None = None,
    stream: int = 0,
    offset: int = 0,
    out: Words | None = None,
) -> Words: ...
