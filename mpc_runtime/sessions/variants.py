"""In which batches a session computes many rows: with the plan it was given, or with one compiled for another `batch`.

A run has a fixed part (its rounds) and a part for each row, so a plan for one row is slow for thousands, and one for
thousands is slow for one. A local session starts more servers for a better batch once this saves more time than the
start takes; it keeps a few. A connected session uses what is deployed, and says once what would be better.
"""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from ..analysis.cost import Cost, cost
from ..errors import Error, PerformanceWarning
from ..plan import Plan
from ..roles.batches import BATCH
from .deployed import Deployment
from .rows import Rows

__all__ = ["Variants"]

RUN_SECONDS = 2e-3  # what a run takes besides its rounds and bytes; as the next two, measured on 2 cores of an EPYC
ROUND_SECONDS = 2e-4
BYTE_SECONDS = 8e-10  # of what crosses the wire, with all the computing that is behind it
RUN_BYTES = 128e6  # that a run moves at most: from here on larger batches are no faster (caches), and only take memory
START_SECONDS = 1.0  # to compile a plan and to start three servers
BETTER = 0.8  # another batch has to take less than this part of the time to be thought of
KEPT = 2  # sets of servers beside the first
MEMORY_SHARE = 0.5  # of the memory that is free now, for the three servers of another batch
SERVERS = 3

CGROUP = Path("/sys/fs/cgroup")


class Variants:
    """The deployments of a session: `base`, and those for other batches.

    compile: a batch -> the plan that computes each row as the base's does; None where rows would mean something else,
    Error when it cannot be compiled. start: starts servers of a plan; not given for a connected session. alive: raises
    the reason if the session has ended.
    """

    def __init__(
        self,
        base: Deployment,
        compile: Callable[[int], Plan | None] | None = None,
        start: Callable[[Plan], Deployment] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.base = base
        self.all = [base]
        """In the order of their last use, the base first."""
        self._compile = compile  # None: there is nothing to be gained
        self._start = start
        self._alive = alive
        self._lost = 0.0  # seconds that another batch would have saved so far
        self._users: weakref.WeakKeyDictionary[Rows, Deployment] = weakref.WeakKeyDictionary()

    def best(self, rows: int) -> Deployment:
        """Where to compute so many rows. Starts servers if that saves time, and uses those it has if the start
        fails."""
        size = self._size(self.base)
        if not size or any(BATCH not in r.dims for r in self.base.plan.outputs) or self.base.plan.trains:
            return self.base  # rows meet, so there is one right batch; or what was trained is nowhere else
        here = min(self.all, key=lambda deployment: self.seconds(rows, self._size(deployment)))
        wanted = min(self._sizes(rows), key=lambda size: self.seconds(rows, size))
        taken, less = self.seconds(rows, self._size(here)), self.seconds(rows, wanted)
        if self._compile is not None and less < BETTER * taken:
            self._lost += taken - less
            if self._lost >= START_SECONDS:
                self._lost = 0.0
                here = self._started(rows, wanted) or here
        if here is not self.base:
            self.all.remove(here)
            self.all.append(here)
        return here

    def use(self, rows: Rows, deployment: Deployment) -> None:
        """Records that these rows are computed there: the deployment is kept as long as they exist."""
        self._users[rows] = deployment

    def close(self) -> None:
        """Ends all of them."""
        while self.all:
            self.all.pop().close()

    # -- starting -------------------------------------------------------------------------------------------------

    def _started(self, rows: int, size: int) -> Deployment | None:
        """A new deployment for this batch, or a smaller one that fits memory; None when there is none."""
        assert self._compile is not None
        try:
            plan = self._compile(size)
            while plan is not None and SERVERS * cost(plan).peak_memory > MEMORY_SHARE * free_memory():
                size //= 2
                if size <= self._size(self.base):
                    return None
                plan = self._compile(size)
            if plan is None:
                self._compile = None
                return None
            if self._start is not None:
                return self._kept(self._start(plan)) if self._make_room() else None
        except (Error, OSError, MemoryError):
            self._alive()
        self._compile = None  # no use to try again
        self._advise(rows, size)
        return None

    def _kept(self, deployment: Deployment) -> Deployment:
        self.all.append(deployment)
        return deployment

    def _make_room(self) -> bool:
        """Ends the deployment that has not been used for longest, if there are too many; False when all are in use."""
        if len(self.all) <= KEPT:
            return True
        used = set(map(id, self._users.values()))
        idle = next((each for each in self.all[1:] if id(each) not in used), None)
        if idle is None:
            return False
        self.all.remove(idle)
        idle.close()
        return True

    def _advise(self, rows: int, size: int) -> None:
        base = self._size(self.base)
        times = self.seconds(rows, base) / self.seconds(rows, size)
        warnings.warn(
            f"{rows} rows take {-(-rows // base)} runs of the plan, which is compiled for a batch of {base}; compiled "
            f"and deployed with `--dim batch={size}` they would be about {times:.0f} times faster",
            PerformanceWarning,
            stacklevel=_outside(),
        )

    # -- estimates ------------------------------------------------------------------------------------------------

    @cached_property
    def _cost(self) -> Cost:
        return cost(self.base.plan)

    @staticmethod
    def _size(deployment: Deployment) -> int:
        return dict(deployment.plan.dims).get(BATCH, 0)

    @property
    def _row_bytes(self) -> float:
        c = self._cost
        return (c.online_bytes + c.offline_bytes + c.client_bytes) / self._size(self.base)

    def seconds(self, rows: int, size: int) -> float:
        """About how long so many rows take in batches of this size. A run overlaps with the encoding and the dealing of
        the next one; nothing hides those of the first."""
        batch = size * self._row_bytes * BYTE_SECONDS
        return -(-rows // size) * (RUN_SECONDS + self._cost.rounds * ROUND_SECONDS + batch) + batch

    def _sizes(self, rows: int) -> Iterator[int]:
        """Batches worth considering: four per doubling, so that little is filled up and few plans serve any number of
        rows."""
        size, step = 1, 1
        while True:
            yield size
            if size >= rows or (size + step) * self._row_bytes > RUN_BYTES:
                return
            size += step
            if size == 8 * step:
                step *= 2


def free_memory() -> float:
    """Bytes that this process and its children could still take."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no Linux: half of all
    try:
        most, taken = ((CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        return min(free, int(most) - int(taken)) if most != "max" else free
    except (OSError, ValueError):
        return free  # no limit of a container


def _outside() -> int:
    """How many frames above the caller's the code lies that called the package."""
    frame, levels = sys._getframe(1), 1
    package = str(Path(__file__).parents[1])
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, levels = frame.f_back, levels + 1
    return levels
