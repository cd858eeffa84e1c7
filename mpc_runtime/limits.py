"""Limits of a session that several machines, and the count of their memory, must agree on."""

from __future__ import annotations

import math
from numbers import Integral, Real

from .errors import InputError

TIMEOUT_SECONDS = 60.0
"""How long a machine waits for another that is alive; a dead one is noticed within seconds."""

WINDOW_BYTES = 64 << 20
"""Material that may wait at a party: batches of a small model, and no more memory than a large one needs anyway."""

RECORDS_AHEAD = 8
"""Records that the dealer may be ahead: enough that a burst of single queries never waits for it."""

WAIT_SECONDS = 3600.0
"""How long a role waits for the other roles of a run, and a server for the other servers to start: people take time."""


def check_seconds(**given: object) -> None:
    """InputError unless these are numbers of seconds that pass."""
    for name, value in given.items():
        if not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise InputError(f"{name}: expected a number of seconds above 0, found {value!r}")


def check_window(window: object) -> None:
    """InputError unless it is a number of bytes."""
    if not isinstance(window, Integral) or window < 0:
        raise InputError(f"window: expected a whole number of bytes from 0, such as {WINDOW_BYTES}, found {window!r}")
