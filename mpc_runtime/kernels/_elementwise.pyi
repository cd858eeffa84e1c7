import numpy as np
from numpy.typing import NDArray

from mpc_runtime.kernels._prg import Prg

Words = NDArray[np.uint64]
Bits = NDArray[np.uint8]

__all__ = [
    "b2a_eval",
    "choose_eval",
    "mul_eval",
    "open_deal",
    "select_deal",
    "select_eval",
    "square_eval",
    "square_sums",
    "trunc_deal",
    "trunc_eval",
]

def trunc_eval(
    c: Words, l: int, f: int, off: int, lo: int, party: int, narrow: Words | None, out: Words | None = None
) -> Words: ...
def trunc_deal(r: Words, l: int, f: int, lo: int, u0: Words | None = None) -> tuple[Words, Words | None]: ...
def select_eval(
    c: Words,
    d: Bits,
    l: int,
    f: int,
    off: int,
    lo: int,
    party: int,
    delta: Words | int,
    k10: Words | int,
    n0: Words | int | None,
    n1: Words | int | None,
    out: Words | None = None,
    *,
    prg: Prg | None = None,
    start: int = 0,
) -> Words: ...
def select_deal(
    r: Words, delta: Bits, l: int, f: int, lo: int, k00: Words | None = None
) -> tuple[Words, Words, Words | None, Words | None]: ...
def choose_eval(
    c: Words, d: Bits, mask: Words, party: int, delta: Words, w: Words, out: Words | None = None
) -> Words: ...
def mul_eval(xh: Words, ax: Words, yh: Words, ay: Words, party: int, out: Words | None = None) -> Words: ...
def square_eval(xh: Words, ax: Words, party: int, out: Words | None = None) -> Words: ...
def square_sums(
    xh: Words,
    ax: Words | None,
    shape: tuple[int, int, int],
    party: int,
    bits: int = 64,
    shift: int = 0,
    prg: Prg | None = None,
    pad: int = 0,
) -> Words: ...
def open_deal(first: Prg, second: Prg, pad: int, offset: Words | None, bits: int, out: Words) -> Words: ...
def b2a_eval(d: Bits, delta: Words, party: int, out: Words | None = None) -> Words: ...
