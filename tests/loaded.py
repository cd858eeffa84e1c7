"""Plans as servers hold them, saved and read again, and arrays laid out as no gate would wish them.

What executes in a test is `loaded`: a plan fresh from the compiler is one that no server ever sees.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mpc_runtime.plan import Plan

Array = np.ndarray
WORD = 8
HEADER = 20
"""Bytes before the JSON of a plan file: magic, format, and the length of the JSON in the last eight."""


@lru_cache(maxsize=16)
def loaded(plan: Plan, place: int = 1) -> Plan:
    """The plan from its bytes, in memory where the constants begin `place` bytes behind a word's boundary."""
    return Plan.from_bytes(plan_bytes(plan, place))


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
    """The array read-only, with gaps between its elements, and its last axis backwards in memory."""
    if not x.ndim:
        return scattered(x.reshape(1)).reshape(())
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
    view = wide[..., 2 * x.shape[-1] - 1 :: -2]
    view[...] = x
    view.flags.writeable = False
    return view


def displaced(message: memoryview) -> memoryview:
    """A message as a connection may hand it over: read-only, and anywhere in memory."""
    return _placed(bytes(message), 0, 1).toreadonly()


def _placed(data: bytes, mark: int, place: int) -> memoryview:
    """A copy of the bytes in memory where byte `mark` lies `place` bytes behind a word's boundary."""
    room = np.zeros(len(data) + WORD, np.uint8)
    start = (place - room.ctypes.data - mark) % WORD
    room[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return room.data[start : start + len(data)]
