"""How a server's process keeps its memory between ops.

glibc gives large arrays back to the system as soon as they are freed, and every new one then costs a page fault for
each 4 KiB: a third of a party's time for a product of a million elements (benchmarks/gates.py). A server runs the same
op-list again and again, so it keeps what it has.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""

_NEVER_TRIM = 2**31 - 1
_GROW_BY = 16 << 20


def keep_memory() -> bool:
    """Serve arrays of every size from a heap that does not shrink. False where the C library has no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER_TRIM), (_TOP_PAD, _GROW_BY))
    done = [mallopt(parameter, value) for parameter, value in settings]
    return all(done)
