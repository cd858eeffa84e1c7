"""Kills machines at random moments of trainings with checkpoints, and compares with an undisturbed training.

    python -m tests.fuzz.training --kills 50 --seed 1 [--lenet]

Each kill is `kill -9` of a random machine, some steps after the training has gone on from its last checkpoint. In the
end the losses are within 1 % of the undisturbed training's with the same seed or, for LeNet on MNIST, the accuracy on
held-out images is within 0.01; and no key, and no message, was used twice (`tests/journaled`). What is wrong ends the
program with exit code 1.
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import mpc_runtime as mpc
from benchmarks.training import MODELS
from examples.lenet import mnist
from tests.trained import LOGISTIC, people

Array = np.ndarray
TOP = Path(__file__).parents[2]
MACHINES = "p0", "p1", "dealer"
CHECK_EVERY = 3
MOST_STEPS = 8  # from a start to the next kill
LOSS_SHARE, ACCURACY_DIFFERENCE = 0.01, 0.01


@dataclass
class Task:
    """What is trained: the program, its rows and first weights. fresh: the inputs of held-out rows; right: their
    labels."""

    program: mpc.Program
    rows: dict[str, Array]
    start: dict[str, Array]
    epochs: int
    seed: int
    fresh: dict[str, Array] = field(default_factory=dict)
    right: Array | None = None

    def fit(self, session: mpc.Session, **options: Any) -> mpc.History:
        session.provide(self.start)
        return session.fit(self.rows, epochs=self.epochs, seed=self.seed, **options)

    def accuracy(self, weights: dict[str, Array]) -> float:
        read = self.program.reference(self.fresh, weights)["probabilities"]
        return float((read.argmax(axis=1) == self.right).mean())


def logistic(seed: int) -> Task:
    start = {"fc.weight": np.zeros((1, 5)), "fc.bias": np.zeros(1)}
    return Task(mpc.compile(text=LOGISTIC.replace("lr=0.5", "lr=0.05")), people(16 * 50, seed), start, 10, seed)


def lenet(seed: int) -> Task:
    images, labels = mnist.load()
    source = MODELS["lenet"].replace("    output weights", "    output loss to client\n    output weights")
    program = mpc.compile(text=source)
    count = mnist.TRAINED_ON
    rows = {"x": images[:count].astype(float), "label": labels[:count]}
    fresh = {"x": images[count:].astype(float)}
    return Task(program, rows, program.initial_weights(seed), 3, seed, fresh, labels[count:])


def undisturbed(task: Task) -> tuple[Array, dict[str, Array]]:
    """The losses and the weights of the training when nothing is killed."""
    with mpc.launch(task.program) as session:
        losses = task.fit(session).outputs["loss"]
        return losses, session.finish()


def storm(task: Task, kills: int, seed: int, folder: Path) -> tuple[int, mpc.History, dict[str, Array]]:
    """Trains with so many kills, or until the training is complete; how many there were, the last part's history and
    the weights."""
    chance, done = random.Random(seed), 0
    while True:
        last = done >= kills
        with mpc.launch(task.program, data_dir=folder) as session:
            killer = _killer(session, chance)
            options = {} if last else {"progress": killer}
            try:
                resumed = any((folder / "p0" / "checkpoints").glob("*/*.checkpoint"))
                history = task.fit(session, checkpoint="storm", check_every=CHECK_EVERY, resume=resumed, **options)
                return done, history, session.finish()
            except mpc.PeerError:
                done += 1
        if done % 10 == 0:
            print(f"{done} kills", flush=True)


def _killer(session: mpc.Session, chance: random.Random) -> Any:
    """A progress function that kills a machine at some moment of some step."""
    victim, step, share = chance.choice(MACHINES), chance.randint(1, MOST_STEPS), chance.random()
    times = [time.monotonic()]

    def kill() -> None:
        time.sleep(share * (times[-1] - times[-2]))
        with suppress(ProcessLookupError, KeyError):
            os.kill(session.pids[victim], signal.SIGKILL)

    def progress(*_: int) -> None:
        times.append(time.monotonic())
        if len(times) == step + 1:
            threading.Thread(target=kill, daemon=True).start()

    return progress


def repeated(journal: Path) -> list[str]:
    """What was used twice."""
    used = Counter(line for line in journal.read_text().splitlines() if not line.startswith("record"))
    assert {line.split()[0] for line in used} == {"key", "message"}
    return [line for line, times in used.items() if times > 1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lenet", action="store_true", help="LeNet on MNIST instead of logistic regression")
    given = parser.parse_args()
    task = (lenet if given.lenet else logistic)(given.seed)
    losses, weights = undisturbed(task)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = folder / "journal"
        path = (str(TOP), str(TOP / "tests/journaled"), os.environ.get("PYTHONPATH", ""))
        os.environ.update(PYTHONPATH=os.pathsep.join(path), MPC_JOURNAL=str(journal))
        kills, history, found = storm(task, given.kills, given.seed, folder)
        twice = repeated(journal)
    share = float(np.abs(history.outputs["loss"] / losses[history.resumed :] - 1).max())
    complete = history.resumed + history.steps == len(losses)
    print(f"{kills} kills; {len(losses)} steps, the last {history.steps} of them in one piece: {complete=}")
    apart = max(np.abs(found[name] - weights[name]).max() for name in found)
    print(f"losses differ by {share:.2%} at most, weights by {apart:.2g}")
    print(f"used twice: {len(twice)}")
    wrong = not complete or bool(twice)
    if task.right is None:
        return wrong or share > LOSS_SHARE
    task.program = mpc.compile(text=task.program.source, dims={"batch": len(task.right)})
    accuracies = task.accuracy(found), task.accuracy(weights)
    print("accuracy {:.2%}, undisturbed {:.2%}".format(*accuracies))
    return wrong or abs(accuracies[0] - accuracies[1]) > ACCURACY_DIFFERENCE


if __name__ == "__main__":
    sys.exit(main())
