"""What an element is, who may know a value, the number format, and how an op refuses: the words of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from compiler.graph.interval import BITS, Interval
from mpc_runtime.errors import number

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]

INT_LIMIT = 2.0**30  # an `int` holds |v| below this (LANGUAGE.md, "Types and numbers")
MAX_ELEMENTS = 2**31  # of a tensor: a share of it takes 16 GiB in each party
MAX_FOLDED = 2**22  # elements of a constant: 32 MiB in the plan, and several times as much while it is computed
MAX_RANK = 32  # axes of a tensor, NumPy's own limit
FOLD_LIMIT = 2.0**62  # whole constants beyond this would wrap in int64 while they are folded


class Kind(Enum):
    """What an element is. Plaintext arrays are float64, int64 and bool."""

    FIXED = "fixed"
    INT = "int"
    BIT = "bit"

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self]


_DTYPES = {Kind.FIXED: np.dtype(np.float64), Kind.INT: np.dtype(np.int64), Kind.BIT: np.dtype(np.bool_)}


class Visibility(IntEnum):
    """Who may know a value. What depends on several values is as hidden as the most hidden one."""

    CONSTANT = 0  # the compiler knows it
    PUBLIC = 1  # both compute parties know it at run time
    SECRET = 2


class OpError(Exception):
    """A tensor op refuses its arguments; the front end adds the place and formats it.

    `arg` says which argument is to blame, when one is: its index, or its name when it was given by name.
    """

    def __init__(self, message: str, help: str | None = None, arg: int | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.arg = arg


@dataclass(frozen=True)
class Precision:
    """The number format: `bits` of the ring, of which `frac` are after the point."""

    bits: int = 64
    frac: int = 16

    @property
    def limit(self) -> float:
        """A fixed-point value holds |v| below this; a product carries twice the fraction bits until it is truncated."""
        return 2.0 ** (self.bits - 2 - 2 * self.frac)

    @property
    def step(self) -> float:
        return 2.0**-self.frac

    def holds(self, kind: Kind) -> str:
        """`fixed(bits=64, frac=16) holds |v| < 1073741824`, for messages."""
        if kind is Kind.INT:
            return f"an int holds |v| < {number(INT_LIMIT)}"
        return f"fixed(bits={self.bits}, frac={self.frac}) holds |v| < {number(self.limit)}"

    def format_range(self, kind: Kind) -> Interval:
        """All that a value of this kind can hold."""
        if kind is Kind.BIT:
            return BITS
        limit, step = (INT_LIMIT, 1.0) if kind is Kind.INT else (self.limit, self.step)
        return Interval(-limit + step, limit - step)
