"""Many random kills of parties with stored material, while clients ask.

    python -m tests.fuzz.kills --kills 200 --seed 1

At each, a random party is killed at a random moment, both are started again, and clients go on. In the end both
journals and ledgers are read: no record, key or message was used twice (`tests/kills.py`).
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.kills import PARTIES, Deployment
from tests.waiting import holds

RUNS = 300  # of each setup; a kill while one is executed burns them all
LONGEST_SECONDS = 0.05  # a kill comes at any moment of a run, or before the parties have met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices; the time if not given")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.kills} kills, {options.clients} clients", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = storm(Path(folder), options.kills, options.seed, options.clients)
    for name, count in sorted(found.items()):
        print(f"{name:<14}{count:>8}")
    return 0


def storm(folder: Path, kills: int, seed: int, clients: int) -> Counter[str]:
    """So many kills; what happened, after everything was checked."""
    chance = random.Random(seed)
    over = threading.Event()
    answered: Counter[str] = Counter()
    killed: float | None = None  # when, until somebody is answered again
    away: list[float] = []
    wrong: list[BaseException] = []
    with Deployment(folder, runs=RUNS, setups=4 + kills // 4) as deployment:
        deployment.provide()

        def back(well: bool) -> None:
            nonlocal killed
            if well and killed is not None:
                away.append(time.monotonic() - killed)
                killed = None

        def ask(number: int) -> None:
            values = np.random.default_rng([seed, number])
            try:
                while not over.is_set():
                    with deployment.session("client") as session:
                        while not over.is_set():
                            well = deployment.ask(session, values.uniform(-8, 8, 4))
                            answered["answered" if well else "refused"] += 1
                            back(well)
                            if not well:
                                break
            except BaseException as error:
                wrong.append(error)
                over.set()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(clients)]
        for thread in threads:
            thread.start()
        try:
            for number in range(kills):
                more = answered["answered"] + chance.choice((0, 1, 2, 5, 12))
                holds(lambda more=more: over.is_set() or answered["answered"] >= more)
                over.wait(chance.uniform(0, LONGEST_SECONDS))
                deployment.kill(chance.choice(PARTIES))
                killed = killed or time.monotonic()
                if number % 20 == 19:
                    print(f"{number + 1} kills, {answered['answered']} answers", flush=True)
            more = answered["answered"] + clients
            holds(lambda: over.is_set() or answered["answered"] >= more)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if wrong:
            raise wrong[0]
    print(f"back after {statistics.median(away):.1f} s, the slowest after {max(away):.1f} s", flush=True)
    return deployment.check() + answered


if __name__ == "__main__":
    raise SystemExit(main())
