"""The progress of a call with many rows, told to the user's function or shown on a terminal."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Report", "check_called", "check_report", "shown"]

Report = Callable[[int, int], object]
"""Called after each run: how many rows are done, of how many."""

QUIET_SECONDS = 1.0  # a call that takes no longer shows nothing


def check_called(name: str, function: object, *arguments: str) -> None:
    """InputError for what cannot be called with such arguments, before work is done in vain. None is no function."""
    if function is None:
        return
    if callable(function):
        try:
            inspect.signature(function).bind(*arguments)
            return
        except ValueError:  # a built-in that does not say what it takes
            return
        except TypeError:
            pass
    raise InputError(f"{name}: expected a function of ({', '.join(arguments)}), found {function!r}")


def check_report(report: object) -> None:
    """As `check_called`, of a `Report`."""
    check_called("progress", report, "done", "total")


@contextmanager
def shown(report: Report | None, what: str = "rows") -> Iterator[Report]:
    """`report`, or a bar on standard error if there is none and that is a terminal. what: is counted. InputError for a
    report that cannot be one."""
    check_report(report)
    if report is not None:
        yield report
    elif not sys.stderr.isatty():
        yield lambda done, rows: None
    else:
        bar = _Bar(what)
        try:
            yield bar
        finally:
            bar.close()


class _Bar:
    """A bar that appears when it is worth it, and goes when the work is done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._progress: Progress | None = None

    def __call__(self, done: int, rows: int) -> None:
        if self._progress is None:
            if time.monotonic() - self._began < QUIET_SECONDS or done == rows:
                return
            self._progress = self._started()
        self._progress.update(self._progress.task_ids[0], completed=done, total=rows)

    def _started(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.add_task(self._what, total=None)
        progress.start()
        return progress

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
