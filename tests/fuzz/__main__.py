"""`make fuzz`: many random programs, in parts that run side by side; a finding is written out as a script.

    python -m tests.fuzz --programs 20000 --launched 500 --seed 1

Each part has a seed of its own, so that `--seed` repeats a run exactly. Hypothesis makes a finding small before it is
written; the other parts go on.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.parts import run_part

PART, LAUNCHED_PART = 200, 20
"""Programs with one seed: few enough that one finding hides few others."""


def _sizes(programs: int, each: int) -> list[int]:
    return [min(each, programs - start) for start in range(0, programs, each)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random programs against their meaning.")
    parser.add_argument("--programs", type=int, default=20000, help="in the simulator, one in four in executors too")
    parser.add_argument("--launched", type=int, default=500, help="in processes of their own")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a run; the time if not given")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="parts that run side by side")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for what is found")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.programs} programs in the simulator, {options.launched} launched", flush=True)
    began = time.monotonic()
    numbers = itertools.count(options.seed * 1_000_000)
    counts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    kinds: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        work = [
            pool.submit(run_part, next(numbers), size, launched)
            for launched, total, each in ((False, options.programs, PART), (True, options.launched, LAUNCHED_PART))
            for size in _sizes(total, each)
        ]
        for done in as_completed(work):
            report = done.result()
            counts[report.launched] += report.counts
            if report.finding is not None:
                kind, script = report.finding
                kinds[kind] += 1
                options.findings.mkdir(parents=True, exist_ok=True)
                path = options.findings / f"finding_{report.seed}.py"
                path.write_text(script, encoding="utf-8")
                print(f"\nfound: {kind}: {path}", flush=True)
            simulated, launched = counts[False]["programs"], counts[True]["programs"]
            minutes = (time.monotonic() - began) / 60
            done_so_far = f"{simulated} simulated, {launched} launched, {sum(kinds.values())} findings"
            print(f"\r{done_so_far}, {minutes:.1f} minutes ", end="", flush=True)
    print()
    for launched, word in ((False, "simulated"), (True, "launched")):
        print(f"{word}: " + ", ".join(f"{n} {name}" for name, n in sorted(counts[launched].items())))
    for kind, n in kinds.most_common():
        print(f"{n:5d} x {kind}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
