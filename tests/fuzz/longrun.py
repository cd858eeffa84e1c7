"""Long runs of mutated inputs: each case judged in a process with bounded time and memory; its death is a finding too.

A case is a number of a run with a seed, so that it can be had again alone. Time is processor time, so that a busy
machine does not look like a slow program.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2.0  # of processor time for one case
MEGABYTES = 1000  # of resident memory
ADDRESS_SPACE = 3 << 30  # a case that wants more is stopped before the machine feels it
DOGGED = 30.0  # seconds after which a case is given up
ANSWERS_AT_ONCE = 100

Judge = Callable[[int, int], "str | None"]
"""(seed, number) -> what is wrong with the answer to that case, or None. A function of a module, so that it can be sent
to a process."""

Prepare = Callable[[], object]
"""Makes what all cases start from, which is not the time of the first one. A function of a module."""


@dataclass(frozen=True)
class Answer:
    number: int
    finding: str | None
    seconds: float
    megabytes: float


class _TooSlow(BaseException):
    """The time of a case is up."""


def _alarm(signum: int, frame: object) -> None:
    raise _TooSlow


def megabytes() -> float:
    """The most resident memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def crash(error: BaseException) -> str:
    """An exception that nobody should have seen, as a finding."""
    if isinstance(error, _TooSlow):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}: {str(error)[:200]}"


def measured(judge: Judge, seed: int, number: int) -> Answer:
    """A case judged with time and memory bounded."""
    signal.signal(signal.SIGPROF, _alarm)
    signal.setitimer(signal.ITIMER_PROF, DOGGED)
    start = time.process_time()
    try:
        found = judge(seed, number)
    except _TooSlow:
        found = None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - start
    if found is None and seconds > SECONDS:
        found = f"too slow: {seconds:.1f} s"
    if found is None and megabytes() > MEGABYTES:
        found = f"too much memory: {megabytes():.0f} MB"
    return Answer(number, found, seconds, megabytes())


def _share(results: multiprocessing.Queue, judge: Judge, prepare: Prepare, seed: int, numbers: list[int]) -> None:
    """One process's work; it ends early behind a case that left it large."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    prepare()
    for number in numbers:
        answer = measured(judge, seed, number)
        results.put(answer)
        if answer.megabytes > MEGABYTES:
            return


def run(judge: Judge, seed: int, count: int, processes: int = 2, prepare: Prepare = bool) -> Iterator[Answer]:
    """The answers to all cases of a run, in the order in which they are done."""
    context = multiprocessing.get_context("spawn")
    waiting = [list(range(first, count, processes)) for first in range(processes)]
    workers: list[tuple[multiprocessing.process.BaseProcess, multiprocessing.Queue, list[int]]] = []
    while any(waiting) or workers:
        while len(workers) < processes and any(waiting):
            numbers = waiting.pop(next(place for place, each in enumerate(waiting) if each))
            results: multiprocessing.Queue = context.Queue()
            worker = context.Process(target=_share, args=(results, judge, prepare, seed, numbers), daemon=True)
            worker.start()
            workers.append((worker, results, numbers))
        for entry in list(workers):
            worker, results, numbers = entry
            alive = worker.is_alive()
            for _ in range(ANSWERS_AT_ONCE):  # then the next one's: a process whose queue is full stands still
                if results.empty():
                    break
                answer = results.get()
                numbers.remove(answer.number)
                yield answer
            if not alive and results.empty():
                if numbers and worker.exitcode:
                    yield Answer(numbers.pop(0), f"the process died with status {worker.exitcode}", 0.0, 0.0)
                workers.remove(entry)
                waiting.append(numbers)
        time.sleep(0.05)


def main(
    description: str | None,
    judge: Judge,
    what: str,
    count: int,
    only: Callable[[int, int], None],
    prepare: Prepare = bool,
) -> int:
    """The command line of a long run. what: cases in the plural, and the option that says how many.

    only: prints one case and what is found in it.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument(f"--{what}", dest="count", type=int, default=count, help=f"how many ({count})")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--only", type=int, help="this one alone")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (2)")
    options = parser.parse_args()
    if options.only is not None:
        prepare()
        only(options.seed, options.only)
        answer = measured(judge, options.seed, options.only)
        print(f"-- {answer.finding or 'as it should be'} ({answer.seconds:.2f} s, {answer.megabytes:.0f} MB)")
        return answer.finding is not None
    findings: Counter[str] = Counter()
    slowest, largest = (0.0, -1), 0.0
    for done, answer in enumerate(run(judge, options.seed, options.count, options.processes, prepare), 1):
        if done % 1000 == 0:
            print(f"{done} {what}", flush=True)
        slowest, largest = max(slowest, (answer.seconds, answer.number)), max(largest, answer.megabytes)
        if answer.finding is not None:
            findings[answer.finding.split(":")[0]] += 1
            print(f"number {answer.number}: {answer.finding}", flush=True)
    print(f"{options.count} {what}, seed {options.seed}: {sum(findings.values())} findings")
    for kind, found in findings.most_common():
        print(f"  {found} x {kind}")
    print(f"slowest: {slowest[0]:.2f} s of processor time (number {slowest[1]}); largest process: {largest:.0f} MB")
    return bool(findings)
