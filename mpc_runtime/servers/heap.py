"""How a server's process keeps its memory between ops, and the environment that it is started with.

glibc gives large arrays back to the system as soon as they are freed, and every new one then costs a page fault for
each 4 KiB: a third of a party's time for a product of a million elements (benchmarks/gates.py). A server runs the same
op-list again and again, so it keeps what it has (`keep_memory`). What it does ask for is cheapest in huge pages:
with them, dealing for LeNet on 1024 images into fresh memory took less than half of the time, and runs that follow each
other 0.84 of it (one pair of sessions). glibc takes that wish from the environment only, when a program starts.

A server multiplies no floating-point matrices. OpenBLAS, which NumPy brings along, would start a thread for each core
all the same, and these look for work for a while: a fifth of the CPU time of a server's start.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of mallopt(3)."""

_RESTARTED = "MPC_RESTARTED"
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_NEVER_TRIM = 2**31 - 1
_GROW_BY = 16 << 20


def machine_memory() -> int:
    """Bytes of this machine's memory; a number that no plan reaches where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def resident_memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def keep_memory() -> bool:
    """Serve arrays of every size, and all threads, from one heap that does not shrink; to be called before there are
    threads. False where the C library has no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER_TRIM), (_TOP_PAD, _GROW_BY), (_ARENA_MAX, 1))
    done = [mallopt(parameter, value) for parameter, value in settings]
    return all(done)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment with which to start a server, so that its memory comes in huge pages where the system has them,
    and no threads for floating-point matrices.

    A choice that `given` makes already is kept.
    """
    tunables = [setting for setting in given.get(_TUNABLES, "").split(":") if setting]
    if not any(setting.startswith(_HUGE_PAGES) for setting in tunables):
        tunables.append(f"{_HUGE_PAGES}=1")
    return {_BLAS_THREADS: "1", **given, _TUNABLES: ":".join(tunables)}


def program(module: str) -> str:
    """What a child that runs the `main` of a module of this package is started with.

    All that it imports stays, so garbage is looked for only afterwards, and not there: a tenth of a start.
    """
    start = f"import gc; gc.disable(); from {__package__}.{module} import main"
    return f"{start}; gc.freeze(); gc.enable(); main()"


def restart_with_environment() -> None:
    """Starts this program again, in the same process and with the same arguments, if its environment is not the one for
    a server yet. Tries once, and goes on as it is where that cannot be: it is for speed only."""
    wanted = environment(os.environ)
    again = os.environ.get(_RESTARTED) == str(os.getpid())  # something took the tunable away: a privileged program, say
    if again or not sys.platform.startswith("linux") or not sys.executable or wanted == dict(os.environ):
        return
    with suppress(OSError):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**wanted, _RESTARTED: str(os.getpid())})
