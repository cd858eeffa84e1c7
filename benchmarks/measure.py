"""One workload in real processes on this machine, and what the numbers are.

online: `session.stats.online_seconds`, from the arrival of all submissions at a party (at p0: at both) to the departure
of its outputs, the slower party counting; the dealer had finished ahead and is stopped, and all processes were quiet
when the run began. Median.

offline: `session.stats.offline_seconds`, the dealer's work for that run and what the parties computed before its input
came, with nothing else running. Median.

total: online + offline of the same run, one after the other, as if nothing overlapped. Median.

sustained: wall time of one run when runs follow each other at once, dealer, both parties and all roles sharing the
cores, after the dealer's lead has been used up, so that every run waits for the dealing of one. It includes checking,
encoding and sharing of the inputs and decoding of the outputs, which `total` (as the peers' times) does not.

memory: the largest resident size of a party's process, in the sustained session, whose dealer is held back by the
default window; in the other one the window is opened so that two whole records fit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mpc_runtime as mpc
from benchmarks.workloads import Workload, wrong
from mpc_runtime import kernels
from mpc_runtime.deployment.local import SeenBy
from mpc_runtime.limits import RECORDS_AHEAD, WINDOW_BYTES
from mpc_runtime.opening import launch_plan
from mpc_runtime.program import prepare_feed
from mpc_runtime.session import Session
from mpc_runtime.transport.call import SILENCE_SECONDS

__all__ = [
    "Column",
    "Measured",
    "Output",
    "arguments",
    "busy_seconds",
    "check",
    "compiled",
    "measure",
    "measure_all",
    "online",
    "run_quietly",
    "seconds",
    "size",
]

QUIET_SECONDS = 0.01  # between two looks at the processes of a session
QUIET_LOOKS = 3  # one after the other between which nobody worked: what was sent has arrived, and nothing is prepared
QUIET_AT_MOST = 120.0
STOPPED_AT_MOST = SILENCE_SECONDS / 3  # seconds that a process may be stopped: the others must hear it again
SUSTAINED_SECONDS = 1.0  # measured for at least as long, and for as many runs as were asked for


@dataclass(frozen=True)
class Measured:
    """Seconds as above, counts of one run beside those of the plan (`planned_…`)."""

    name: str
    what: str
    runs: int
    online: float
    offline: float
    total: float
    sustained: float
    rounds: int
    online_bytes: int
    offline_bytes: int
    memory: int
    planned_rounds: int
    planned_online_bytes: int
    planned_offline_bytes: int
    planned_memory: int
    max_error: float
    wrong: int
    elements: int
    compile_seconds: float
    setup_seconds: float


def compiled(work: Workload, network: str = "lan") -> tuple[mpc.Program, float]:
    """The workload's program, and the seconds that compiling it took."""
    began = time.perf_counter()
    program = mpc.compile(text=work.source, network=network)
    return program, time.perf_counter() - began


def measure(work: Workload, runs: int) -> Measured:
    """Measures a workload in two sessions: one that waits between runs, one that does not."""
    program, compile_seconds = compiled(work)
    cost = program.cost
    stats, setup_seconds, error, bad = online(work, program, runs)
    sustained, memory = _sustained(work, program, runs)
    return Measured(
        work.name,
        work.what,
        runs,
        median(s.online_seconds for s in stats),
        median(s.offline_seconds for s in stats),
        median(s.online_seconds + s.offline_seconds for s in stats),
        sustained,
        stats[-1].rounds,
        stats[-1].online_bytes,
        stats[-1].offline_bytes,
        memory,
        cost.rounds,
        cost.online_bytes,
        cost.offline_bytes,
        cost.peak_memory,
        error,
        bad,
        work.elements,
        compile_seconds,
        setup_seconds,
    )


def online(
    work: Workload, program: mpc.Program, runs: int, seen_by: SeenBy = lambda _, addresses: addresses
) -> tuple[list[mpc.Stats], float, float, int]:
    """Runs with quiet before each: their stats, the seconds of `provide`, the largest error of any run and the number
    of clearly wrong elements.

    The window holds two records at least, so that one is there before the run that needs it. Runs that use what was
    dealt when the session began, into memory that no process had touched yet, warm up and are not counted.
    """
    window = max(WINDOW_BYTES, program.cost.offline_bytes)  # of both parties, and a window is of one
    dealt_cold = min(RECORDS_AHEAD, 2 * window // max(1, program.cost.offline_bytes)) + 1
    stats, error, bad = [], 0.0, 0
    with launch_plan(program.plan, prepare_feed, window=window, seen_by=seen_by) as session:
        began = time.perf_counter()
        if work.params:
            session.provide(work.params)
        setup_seconds = time.perf_counter() - began
        for i in range(dealt_cold + runs):
            result = run_quietly(session, work.inputs)
            here, clearly = check(work, program, result)
            error, bad = max(error, here), bad + clearly
            if i >= dealt_cold:
                stats.append(session.stats)
    return stats, setup_seconds, error, bad


def _sustained(work: Workload, program: mpc.Program, runs: int) -> tuple[float, int]:
    """Wall seconds of a run among many, and a party's peak memory."""
    memory = 0
    with mpc.launch(program) as session:
        if work.params:
            session.provide(work.params)
        for _ in range(RECORDS_AHEAD + 1):
            session.run(**work.inputs)
        done, began = 0, time.perf_counter()
        while done < runs or time.perf_counter() - began < SUSTAINED_SECONDS:
            session.run(**work.inputs)
            memory = max(memory, session.stats.peak_memory)
            done += 1
        return (time.perf_counter() - began) / done, memory


def check(work: Workload, program: mpc.Program, result: Mapping[str, np.ndarray]) -> tuple[float, int]:
    """The largest error of a result, and how many of its elements are clearly wrong."""
    reference = work.reference
    if reference is None:
        reference = program.reference(work.inputs, work.params)[work.result]
    found = np.asarray(result[work.result], np.float64).reshape(reference.shape)
    return float(np.abs(found - reference).max()), wrong(found, reference)


def run_quietly(
    session: Session, inputs: Mapping[str, Any], at_start: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """One run, begun when neither the dealer nor a party has anything left to do. at_start: called just before it.

    The dealer, which has dealt for the run, is stopped during it, for it would deal for a later one on the same cores.
    A run of seconds sees it go on, since a machine that is silent for long counts as gone.
    """
    by_name = session.pids
    wait_until_quiet(list(by_name.values()))
    at_start()
    with stopped(by_name["dealer"], STOPPED_AT_MOST):
        return session.run(**inputs)


def wait_until_quiet(pids: Sequence[int]) -> None:
    """Returns when nobody has anything left to do: every thread of these processes sleeps, and none has run since the
    last look. On a busy machine a thread that waits for a core has work, however little it gets done.

    Raises TimeoutError after QUIET_AT_MOST seconds.
    """
    until = time.monotonic() + QUIET_AT_MOST
    calm, last = 0, None
    while calm < QUIET_LOOKS:
        if time.monotonic() > until:
            raise TimeoutError(f"the session's processes were not quiet for {QUIET_AT_MOST:g} s")
        time.sleep(QUIET_SECONDS)
        look = asleep(pids)
        calm = calm + 1 if look is not None and look == last else 0
        last = look


def asleep(pids: Iterable[int]) -> dict[str, int] | None:
    """How often each thread has run, if all of them sleep now, else None. Where the system does not tell: {}, after a
    pause that is long enough."""
    runs = {}
    try:
        for task in (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()):
            if (task / "stat").read_text().rpartition(")")[2].split()[0] != "S":
                return None
            runs[task.name] = int((task / "schedstat").read_text().split()[2])
    except OSError:
        time.sleep(1.0)
        return {}
    return runs


@contextmanager
def stopped(pid: int, seconds: float) -> Iterator[None]:
    """The process does not run inside, for this long at most."""
    resume = threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))
    os.kill(pid, signal.SIGSTOP)
    resume.start()
    try:
        yield
    finally:
        resume.cancel()
        os.kill(pid, signal.SIGCONT)


def busy_seconds(pids: Iterable[int]) -> float:
    """Seconds that these processes have computed; where the system does not tell, 0, and a pause long enough."""
    try:
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        time.sleep(1.0)
        return 0.0


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    cpu = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux on x86: the platform module's word stands
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernels": kernels.variant(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(),
        "mpc_runtime": mpc.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


Column = tuple[str, str, Callable[[Any], str]]
"""A key of the rows, its title, and how its value is shown."""


class Output:
    """Rows printed as a table while they come, and appended to a file of JSON lines for `benchmarks.report`."""

    def __init__(self, section: str, path: str | None, columns: Sequence[Column]) -> None:
        self.section, self.path, self.columns = section, path, columns
        self._write({"section": "machine", **machine()})
        self._line([title for _, title, _ in columns])

    def row(self, row: Mapping[str, Any]) -> None:
        self._write({"section": self.section, **row})
        self._line([show(row[key]) if row.get(key) is not None else "" for key, _, show in self.columns])

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.path:
            with Path(self.path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _line(self, cells: Sequence[str]) -> None:
        first, *rest = cells
        print(f"{first:16}" + "".join(f"{cell:>12}" if len(cell) < 12 else f"{cell:>24}" for cell in rest), flush=True)


def seconds(value: float) -> str:
    return f"{value:.4g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def size(value: int) -> str:
    return f"{value / 1e6:.4g} MB" if value >= 1e6 else f"{value / 1e3:.4g} kB"


COLUMNS: tuple[Column, ...] = (
    ("name", "", str),
    ("online", "online", seconds),
    ("offline", "offline", seconds),
    ("total", "total", seconds),
    ("sustained", "sustained", seconds),
    ("rounds", "rounds", str),
    ("planned_rounds", "planned", str),
    ("online_bytes", "online", size),
    ("planned_online_bytes", "planned", size),
    ("offline_bytes", "offline", size),
    ("planned_offline_bytes", "planned", size),
    ("memory", "memory", size),
    ("planned_memory", "planned", size),
    ("max_error", "max error", "{:.1e}".format),
    ("wrong", "wrong", str),
)


def arguments(description: str | None, names: Sequence[str]) -> argparse.Namespace:
    """The options that all benchmarks of workloads share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(names), help=f"some of {', '.join(names)}; default all")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each, after one that warms up")
    parser.add_argument("--out", help="append JSON lines to this file")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in names]:
        sys.exit(f"unknown workload {', '.join(unknown)}; expected some of {', '.join(names)}")
    return given


def measure_all(section: str, works: Iterable[Workload], runs: int, out: str | None) -> None:
    """Measures and prints one workload after the other."""
    output = Output(section, out, COLUMNS)
    for work in works:
        output.row(asdict(measure(work, runs)))
