"""What a step of private training costs, and what it learns: `python -m benchmarks.training`, on an idle machine.

For each model a session in real processes makes `--steps` steps of one batch of 128. Of every step but the first ones:

    seconds     from one step's results to the next one's: checking, encoding, sharing, dealing, computing and what a
                step tells; median. Dealer, parties and roles share the cores.
    online      of them from the arrival of the rows at a party to the departure of its results; median
    rounds, MB  as `program.cost` says, of which the session's own counts have to be equal
    memory      the largest resident size of a party

`--accuracy` trains LeNet on the first 8,000 of MNIST's test images, three epochs, beside its float64 twin, and says how
many of the other 2,000 images both read right. Where MNIST is looked for is said in `examples/lenet/mnist.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mpc_runtime as mpc
from examples.lenet import mnist

__all__ = ["MODELS", "Accuracy", "Step", "accuracy", "measure"]

Array = np.ndarray
FIRST = 3  # steps that are not counted: the dealer's lead
BATCH, CLASSES = 128, 10

_IMAGES = """
layer conv1 = conv2d(16, kernel=5)
layer conv2 = conv2d(16, kernel=5)
layer fc1 = dense(100)
layer fc2 = dense(10)
weights from modeller in [-1, 1]
features = x |> conv1 |> relu |> maxpool2d(2) |> conv2 |> relu |> maxpool2d(2)
logits = features |> flatten |> fc1 |> relu |> fc2
output probabilities = softmax(logits) to client
"""
_DENSE = """
layer fc1 = dense(128)
layer fc2 = dense(128)
layer fc3 = dense(10)
weights from modeller in [-1, 1]
logits = x |> fc1 |> relu |> fc2 |> relu |> fc3
output probabilities = softmax(logits) to client
"""
_CLASSES = """
train {
    input label : int[batch] from client
    loss = cross_entropy(logits, label)
    optimizer = sgd(lr=0.05, momentum=0.9)
    output weights to modeller
}
"""
_LOGISTIC = """
layer fc = dense(1)
weights from modeller in [-1, 1]
score = fc(x)
output risk = sigmoid(score) to client
train {
    input label : [batch, 1] from client in [0, 1]
    loss = binary_cross_entropy_with_logits(score, label)
    optimizer = sgd(lr=0.1)
    output weights to modeller
}
"""


def _model(name: str, shape: str, text: str) -> str:
    head = f"model {name}\nrole client, modeller\ndim batch = {BATCH}\n"
    return f"{head}input x : [batch, {shape}] from client in [0, 1]{text}"


MODELS = {
    "lenet": _model("lenet", "1, 28, 28", _IMAGES + _CLASSES),
    "mlp": _model("mlp", "784", _DENSE + _CLASSES),
    "logistic": _model("logistic", "100", _LOGISTIC),
}
"""LeNet, 784-128-128-10, and logistic regression with 100 features."""


@dataclass(frozen=True)
class Step:
    """What was measured of a model's steps, as the module says."""

    name: str
    steps: int
    seconds: float
    online: float
    rounds: int
    online_megabytes: float
    offline_megabytes: float
    memory_megabytes: float


@dataclass(frozen=True)
class Accuracy:
    """Of one seed: the parts of held-out images that were read right."""

    seed: int
    private: float
    float64: float
    largest_loss_difference: float
    steps: int
    seconds: float


def measure(name: str, steps: int) -> Step:
    """Steps of one of MODELS."""
    program = mpc.compile(text=MODELS[name])
    rows = _rows(program)
    cost = program.cost
    with mpc.launch(program) as session:
        session.provide(program.initial_weights(1))
        times = [time.perf_counter()]
        many = {key: np.concatenate([array] * (steps + FIRST)) for key, array in rows.items()}
        session.fit(many, seed=1, progress=lambda *_: times.append(time.perf_counter()))
        told = session.stats
        counted = told.rounds, told.online_bytes, told.offline_bytes
        planned = cost.train_rounds, cost.train_online_bytes, cost.train_offline_bytes
        if counted != planned:
            raise AssertionError(f"{name}: the plan says {planned}, a step took {counted}")
        memory = max(_megabytes(session.pids[party]) for party in ("p0", "p1"))
        online = []
        for _ in range(steps):
            session.train(rows)
            online.append(session.stats.online_seconds)
    taken = [after - before for before, after in zip(times[FIRST:], times[FIRST + 1 :], strict=False)]
    sizes = cost.train_online_bytes / 1e6, cost.train_offline_bytes / 1e6
    return Step(name, steps, median(taken), median(online), cost.train_rounds, *sizes, memory)


def accuracy(seed: int, count: int = mnist.TRAINED_ON, epochs: int = 3) -> Accuracy:
    """LeNet on MNIST, privately and in float64 on the same batches."""
    images, labels = mnist.load()
    known = {"x": images[:count].astype(float), "label": labels[:count]}
    fresh, right = images[mnist.TRAINED_ON :].astype(float), labels[mnist.TRAINED_ON :]
    source = MODELS["lenet"].replace("    output weights", "    output loss to client\n    output weights")
    program = mpc.compile(text=source)
    start = program.initial_weights(seed)
    with mpc.launch(program) as session:
        session.provide(start)
        began = time.perf_counter()
        history = session.fit(known, epochs=epochs, seed=seed)
        seconds = time.perf_counter() - began
        private = session.run_batches(x=fresh)["probabilities"]
    plain = program.reference_fit(known, start, epochs=epochs, seed=seed)
    reading = mpc.compile(text=source, dims={"batch": len(fresh)}).reference({"x": fresh}, plain.weights)
    parts = (float((each.argmax(axis=1) == right).mean()) for each in (private, reading["probabilities"]))
    largest = float(np.abs(history.outputs["loss"] / plain.losses - 1).max())
    return Accuracy(seed, *parts, largest, history.steps, seconds)


def _rows(program: mpc.Program) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    found = {}
    for tensor in program.plan.inputs:
        if "train_step" in tensor.stages:
            whole = tensor.kind == "int"
            found[tensor.name] = rng.integers(0, CLASSES, tensor.shape) if whole else rng.uniform(0, 1, tensor.shape)
    return found


def _megabytes(pid: int) -> float:
    """The largest resident size of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1e3 if found is not None else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--accuracy", type=int, nargs="*", metavar="SEED", help="train LeNet with these seeds instead")
    parser.add_argument("--out", help="append JSON lines to this file")
    given = parser.parse_args()
    for each in (
        (accuracy(seed) for seed in given.accuracy)
        if given.accuracy
        else (measure(name, given.steps) for name in given.models)
    ):
        print("  ".join(f"{key} {_shown(value)}" for key, value in asdict(each).items()), flush=True)
        if given.out:
            with open(given.out, "a", encoding="utf-8") as file:
                file.write(json.dumps({"training": asdict(each)}) + "\n")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
