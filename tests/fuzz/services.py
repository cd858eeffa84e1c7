"""Kills services at random moments while clients query: every query is answered right, or refused with a typed error.

    python -m tests.fuzz.services --kills 200 --seed 7 [--stored] [--refill]

Half of the clients try again by themselves, half do not. A kill is of a whole service or of its process for the plan;
after each, a client waits for its first answer. `--stored`: the parties have stored material and there is no dealer;
`--refill`: there is one, which refills it, and is killed too. Then both journals and ledgers are read in the end: no
record, key or message was used twice (`tests/kills.py`). What is wrong ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from mpc_runtime.store.deal import deal
from tests.kills import checked
from tests.mpc_runtime.store.stored import PARTIES, PROGRAM, expected
from tests.services import NAMES, Services, deployed

W = np.random.default_rng(5).uniform(-1, 1, (4, 4))
CLIENTS = 4
RETRIES = 60
RUNS, LOW_WATER = 400, 60
PAUSE_SECONDS = 0.1
BACK_SECONDS = 10.0  # the promise to operators
START_SECONDS = 600.0  # for services to start where much else runs; what they take is told
ERRORS = mpc.PeerError, mpc.MaterialError


@dataclass
class Found:
    """What the clients have seen."""

    right: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    """Seconds from each kill to the next answer to a query asked after it."""
    used: Counter[str] = field(default_factory=Counter)
    """Of stored material."""


def storm(kills: int, seed: int, folder: Path, *, stored: bool = False, refill: bool = False) -> Found:
    """So many kills. stored, refill: as the program's options."""
    found, chance = Found(), random.Random(seed)
    names = NAMES if refill or not stored else PARTIES
    with _running(folder, names, kills, stored=stored, refill=refill) as running:
        with _connected(running, "modeller") as session:
            session.provide({"w": W})
        over = threading.Event()
        clients = [
            threading.Thread(target=_query, args=(running, i, RETRIES * (i % 2), over, found)) for i in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for number in range(kills):
                time.sleep(chance.uniform(0, 0.5))
                _kill(running, names, chance)
                began = time.monotonic()
                _answered(running, np.full(4, chance.uniform(-8, 8)), found)
                found.back.append(time.monotonic() - began)
                if number % 20 == 19:
                    print(f"{number + 1} kills, {found.right} answers", flush=True)
        finally:
            over.set()
            for client in clients:
                client.join()
    if stored:
        found.used = checked(folder, {name: folder / "material" / name for name in PARTIES})
    return found


@contextmanager
def _running(folder: Path, names: tuple[str, ...], kills: int, *, stored: bool, refill: bool) -> Iterator[Services]:
    PROGRAM.save(folder / "stored.plan")
    options: dict[str, list[object]] = {}
    if stored:
        deal(PROGRAM.plan, folder / "material", RUNS, 2 if refill else 4 + kills // 4)
        more = ["--low-water", LOW_WATER] if refill else []
        options = {name: ["--material", f"material/{name}", *more] for name in PARTIES}
    running = deployed(folder, folder / "stored.plan", options=options)
    running.journals = stored
    try:
        running.start(*names)
        yield running
    finally:
        running.close()


def _kill(running: Services, names: tuple[str, ...], chance: random.Random) -> None:
    name = chance.choice(names)
    children = running.children(name)
    if chance.random() < 0.5 and children:
        with suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
    else:
        running.kill(name)
        running.start(name)


def _connected(running: Services, role: str) -> mpc.Session:
    return mpc.connect(running.cluster, PROGRAM, role=role, timeout=START_SECONDS, wait=START_SECONDS, retries=RETRIES)


def _answered(running: Services, x: np.ndarray, found: Found) -> None:
    """Asks until there is an answer; a store may have run dry while its dealer was away."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with _connected(running, "client") as session:
                _ask(session, x, found)
            return
        except mpc.MaterialError:
            found.refused += 1
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)


def _query(running: Services, number: int, retries: int, over: threading.Event, found: Found) -> None:
    """Queries until the storm is over; connects again when told that a query has failed."""
    values = np.random.default_rng(number)
    while not over.is_set():
        try:
            with mpc.connect(running.cluster, PROGRAM, role="client", retries=retries) as session:
                while not over.is_set():
                    _ask(session, values.uniform(-8, 8, 4), found)
        except ERRORS:  # noqa: PERF203
            found.refused += 1
        except Exception as error:
            found.wrong.append(f"{type(error).__name__}: {error}")
            return


def _ask(session: mpc.Session, x: np.ndarray, found: Found) -> None:
    y = session.run(x=x)["y"]
    if np.allclose(y, expected(x, W), atol=1e-2):
        found.right += 1
    else:
        found.wrong.append(f"{x} gave {y}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stored", action="store_true")
    parser.add_argument("--refill", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored = options.stored or options.refill
        found = storm(options.kills, options.seed, Path(folder), stored=stored, refill=options.refill)
    back = sorted(found.back)
    late = sum(seconds > BACK_SECONDS for seconds in back)
    print(f"{found.right} queries answered right, {found.refused} refused, {len(found.wrong)} wrong")
    print(
        f"back after {back[len(back) // 2]:.1f} s (median), {back[-1]:.1f} s at most, {late} times after more than 10 s"
    )
    for name, count in sorted(found.used.items()):
        print(f"{name:<14}{count:>8}")
    print("\n".join(found.wrong[:10]))
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
