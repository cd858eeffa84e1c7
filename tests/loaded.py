"""Plans as servers hold them, saved and read again, and arrays laid out as no gate would wish them.

What executes in a test is `loaded`: a plan fresh from the compiler is one that no server ever sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from unittest.mock import patch

import numpy as np

from mpc_runtime.analysis.constants import Constants
from mpc_runtime.execution.dealer import MaskExpansion, Record
from mpc_runtime.execution.party import Run
from mpc_runtime.plan import Plan
from mpc_runtime.plan_file import read
from mpc_runtime.registers import Domain

Array = np.ndarray
Context = Run | Record | MaskExpansion | Constants
WORD = 8
HEADER = 20
"""Bytes before the JSON of a plan file: magic, format, and the length of the JSON in the last eight."""


@lru_cache(maxsize=16)
def loaded(plan: Plan, place: int = 1) -> Plan:
    """The plan from its bytes, in memory where the constants begin `place` bytes behind a word's boundary."""
    return read(plan_bytes(plan, place))


def plan_bytes(plan: Plan, place: int) -> memoryview:
    data = plan.to_bytes()
    constants = HEADER + int.from_bytes(data[HEADER - 8 : HEADER], "little")
    return _placed(data, constants, place)


def stubborn(x: Array) -> Array:
    """The array read-only, and a byte behind a word's boundary."""
    view = np.frombuffer(_placed(x.tobytes(), 0, 1), x.dtype).reshape(x.shape)
    view.flags.writeable = False
    return view


def scattered(x: Array) -> Array:
    """The array in Fortran's order, with gaps between its elements, and its last axis backwards in memory."""
    if not x.ndim:
        return scattered(x.reshape(1)).reshape(())
    wide = np.zeros((2 * x.shape[-1] + 1, *x.shape[-2::-1]), x.dtype)
    view: Array = wide[2 * x.shape[-1] - 1 :: -2].T
    view[...] = x
    return view


def scattered_and_read_only(x: Array) -> Array:
    view = scattered(x)
    view.flags.writeable = False
    return view


@contextmanager
def registers_laid(lay: Callable[[Array], Array]) -> Iterator[None]:
    """Inside, what parties and dealer hold (values, masks, offsets, constants) lies as `lay` puts it.

    Bit planes stay in one piece, as kernels make them.
    """

    def laid(context: Context, register: int, value: Array | None) -> Array | None:
        return value if value is None or context.types[register].domain is Domain.PLANES else lay(value)

    def patched(cls: type[Context], name: str) -> object:
        usual = getattr(cls, name)
        if name == "mask":
            return patch.object(cls, name, lambda self, register: laid(self, register, usual(self, register)))
        return patch.object(cls, name, lambda self, register, value: usual(self, register, laid(self, register, value)))

    with (
        patched(Run, "__setitem__"),
        patched(Run, "mask"),
        patched(Record, "__setitem__"),
        patched(MaskExpansion, "mask"),
        patched(Constants, "__setitem__"),
    ):
        yield


def displaced(message: memoryview) -> memoryview:
    """A message as a connection may hand it over: read-only, and anywhere in memory."""
    return _placed(bytes(message), 0, 1).toreadonly()


def _placed(data: bytes, mark: int, place: int) -> memoryview:
    """A copy of the bytes in memory where byte `mark` lies `place` bytes behind a word's boundary."""
    room = np.zeros(len(data) + WORD, np.uint8)
    start = (place - room.ctypes.data - mark) % WORD
    room[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return room.data[start : start + len(data)]
