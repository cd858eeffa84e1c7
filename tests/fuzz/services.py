"""Kills services at random moments while clients query: every query is answered right, or refused with a typed error.

    python -m tests.fuzz.services --kills 200 --seed 7

Half of the clients try again by themselves, half do not. A kill is of a whole service or of its process for the plan;
after each, a client waits for its first answer. What is wrong ends the program with exit code 1.
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import mpc_runtime as mpc
from tests.services import NAMES, Services, services

MODEL = """model scaled
dim batch = 2
role client, modeller
input x : [batch, 3] from client   in [-4, 4]
param w : [3]        from modeller in [-4, 4]
output y = relu(x * w) to client
"""
W = np.array([1.0, -2.0, 0.5])
CLIENTS = 4
RETRIES = 60


@dataclass
class Found:
    """What the clients have seen."""

    right: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    """Seconds from each kill to the next answer to a query asked after it."""


def storm(kills: int, seed: int, folder: Path) -> Found:
    """So many kills."""
    found, chance = Found(), random.Random(seed)
    with services(folder, MODEL, "scaled") as running:
        program = mpc.load(folder / "scaled.plan")
        with mpc.connect(running.cluster, program, role="modeller", retries=RETRIES) as session:
            session.provide({"w": W})
        over = threading.Event()
        clients = [
            threading.Thread(target=_query, args=(running, program, i, RETRIES * (i % 2), over, found))
            for i in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for _ in range(kills):
                time.sleep(chance.uniform(0, 0.5))
                _kill(running, chance)
                began = time.monotonic()
                with mpc.connect(running.cluster, program, role="client", retries=RETRIES) as session:
                    _ask(session, np.full((2, 3), chance.uniform(-4, 4)), found)
                found.back.append(time.monotonic() - began)
        finally:
            over.set()
            for client in clients:
                client.join()
    return found


def _kill(running: Services, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    children = running.children(name)
    if chance.random() < 0.5 and children:
        with suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
    else:
        running.kill(name)
        running.start(name)


def _query(
    running: Services, program: mpc.Program, number: int, retries: int, over: threading.Event, found: Found
) -> None:
    """Queries until the storm is over; connects again when told that a query has failed."""
    values = np.random.default_rng(number)
    while not over.is_set():
        try:
            with mpc.connect(running.cluster, program, role="client", retries=retries) as session:
                while not over.is_set():
                    _ask(session, values.uniform(-4, 4, (2, 3)), found)
        except mpc.PeerError:  # noqa: PERF203
            found.refused += 1
        except Exception as error:
            found.wrong.append(f"{type(error).__name__}: {error}")
            return


def _ask(session: mpc.Session, x: np.ndarray, found: Found) -> None:
    y = session.run(x=x)["y"]
    if np.allclose(y, np.maximum(x * W, 0), atol=1e-2):
        found.right += 1
    else:
        found.wrong.append(f"{x} gave {y}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = storm(options.kills, options.seed, Path(folder))
    back = sorted(found.back)
    print(f"{found.right} queries answered right, {found.refused} refused, {len(found.wrong)} wrong")
    print(f"back after {back[len(back) // 2]:.1f} s (median), {back[-1]:.1f} s at most")
    print("\n".join(found.wrong[:10]))
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
