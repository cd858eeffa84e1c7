"""Tests that wait for a fact, and never for a time: whoever waits here goes on as soon as it holds.

    until(lambda: path.exists())
    assert all_gone(pids)
    found = at_once(lambda: session.run(x=x), session.close)

The deadline turns a wait without an end into a failure. It is far more than anything takes on a loaded machine, so it
measures nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SECONDS = 120.0
STEP = 0.005


def until(fact: Callable[[], object]) -> None:
    """Returns when the fact holds; an error when it never does."""
    assert holds(fact), "what the test waits for has not happened"


def holds(fact: Callable[[], object]) -> bool:
    """Whether it holds now, or soon."""
    end = time.monotonic() + SECONDS
    while not fact():
        if time.monotonic() > end:
            return False
        time.sleep(STEP)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return sys.platform.startswith("linux")


def all_gone(pids: Iterable[int]) -> bool:
    """Whether these processes end, which takes them a moment."""
    pids = list(pids)
    return holds(lambda: all(map(gone, pids)))


def interrupt_run(party: int) -> None:
    """Interrupts this program, as Ctrl-C does, while its main thread waits for the answer of a run. party: the process
    of a party, which is stopped so that the run does not end before."""
    os.kill(party, signal.SIGSTOP)
    until(lambda: "wait_answer" in calls_of_main())
    os.kill(os.getpid(), signal.SIGINT)


def calls_of_main() -> list[str]:
    """The names of the functions that the main thread is in."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return [each.f_code.co_name for each, _ in traceback.walk_stack(frame)] if frame else []


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    """Begins the work beside the test; it does not keep a test from ending."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """What each returns or raises, done at the same time by threads; an error when one of them does not end."""
    found: list[Any] = [None] * len(work)
    start = threading.Barrier(len(work))

    def do(i: int) -> None:
        start.wait(SECONDS)
        try:
            found[i] = work[i]()
        except BaseException as error:
            found[i] = error

    threads = [threading.Thread(target=do, args=(i,), daemon=True) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a call has not returned"
    return found
