"""A short look at this machine, for `mpcc bench`: kernels beside what it can do at best, its loopback, one small model.

Ratios compare two measurements that alternate on one thread, so that they also hold on a busy machine. The long form,
with peers and other networks, is in the repository's `benchmarks/`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from . import kernels

__all__ = ["Row", "rows"]

SECONDS = 0.25  # for one kernel and its yardstick together
SIDE = 512  # of the matrix product: larger than the L2 cache, and done in 10 ms
WORDS = 1 << 15  # 256 KiB: streams and packing stay in the L2 cache, as the tiles of a run do
COMPARED = 1 << 14
DIGITS = (5, 5, 5, 5, 5, 6)  # of a 31-bit comparison
FAN_IN = 6
PINGS = 200
RUNS = 20

MODEL = """model digit
role client, modeller
input image : [1, 1, 28, 28] from client in [0, 1]
layer conv1 = conv2d(16, kernel=5)
layer conv2 = conv2d(16, kernel=5)
layer fc1   = dense(100)
layer fc2   = dense(10)
weights from modeller in [-0.5, 0.5]
features = image |> conv1 |> relu |> maxpool2d(2)
                 |> conv2 |> relu |> maxpool2d(2)
output logits = features |> flatten |> fc1 |> relu |> fc2 to client
"""


@dataclass(frozen=True)
class Row:
    """One measurement. ratio: to the yardstick named, measured in alternation with it; None if there is none."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    yardstick: str = ""


def rows() -> Iterator[Row]:
    """Measures one after the other: kernels, the loopback, LeNet on one image in real processes. About ten seconds."""
    yield from _kernels()
    yield _ping()
    yield from _model()


def _kernels() -> Iterator[Row]:
    """In a process of their own: NumPy's library takes its number of threads from the environment as it is loaded."""
    single = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "VECLIB")}
    package = str(Path(__file__).resolve().parent.parent)
    child = subprocess.run(
        [sys.executable, "-c", "from mpc_runtime import bench; bench.print_kernels()"],
        env={**os.environ, **single, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        check=True,
    )
    yield from (Row(**json.loads(line)) for line in child.stdout.splitlines())


def print_kernels() -> None:
    """The rows of the kernels as JSON lines: what the child process does."""
    for row in (*_linear(), *_streams(), *_comparison()):
        print(json.dumps(asdict(row)))


def _best(*tasks: Callable[[], object]) -> list[float]:
    """Seconds of this thread for each task: the least of the turns that fit."""
    best = [float("inf")] * len(tasks)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        for i, task in enumerate(tasks):
            began = time.thread_time()
            task()
            best[i] = min(best[i], time.thread_time() - began)
    return best


def _words(*shape: int) -> np.ndarray:
    """Numbers to measure with, the same each time. Nothing secret depends on them."""
    return np.random.default_rng(0).integers(0, 2**64, shape, np.uint64)


def _linear() -> Iterator[Row]:
    a, b, out = _words(SIDE, SIDE), _words(SIDE, SIDE), np.empty((SIDE, SIDE), np.uint64)
    x, y, z = a / 2.0**64, b / 2.0**64, np.empty((SIDE, SIDE))
    for bits in (52, 64):  # where the processor is quicker in narrow rings, it is up to 52 bits
        ring, floats = _best(partial(kernels.matmul, a, b, out, bits=bits), partial(np.matmul, x, y, out=z))
        rate, name = SIDE**3 / ring, f"ring matrix product, {SIDE}³, {bits} bits"
        yield Row(name, rate / 1e9, "G MAC/s", floats / ring, "NumPy float64 on one thread")

    images, weights = _words(32, 16, 12, 12), _words(16, 16, 5, 5)
    maps = np.empty((32, 16, 8, 8), np.uint64)
    (used,) = _best(partial(kernels.conv2d, images, weights, out=maps))
    convolution = maps.size * 16 * 25 / used
    yield Row("convolution 5x5, 16 to 16", convolution / 1e9, "G MAC/s", convolution / rate, "the matrix product")


def _streams() -> Iterator[Row]:
    words, out = _words(WORDS), np.empty(WORDS, np.uint64)
    prg = kernels.Prg(bytes(16))
    fill, bare = _best(partial(prg.fill, 1, out), partial(prg._bare, WORDS // 2))
    yield Row("AES-128-CTR to memory", out.nbytes / fill / 1e9, "GB/s", bare / fill, "the cipher in registers")

    packed = np.empty(kernels.packed_size(WORDS, 33), np.uint8)
    pack, copy = _best(partial(kernels.pack, words, 33, packed), partial(np.copyto, out, words))
    yield Row("packing to 33 bits", words.nbytes / pack / 1e9, "GB/s", copy / pack, "memcpy")


def _comparison() -> Iterator[Row]:
    """What a party computes for a comparison, once it is opened."""
    c = _words(COMPARED)
    tables = kernels.leaf_deal(c, 16, DIGITS)
    leaves = kernels.leaf_read(c, 16, DIGITS, tables, 0)
    monomials, offset = kernels.combine_deal(leaves, len(DIGITS), FAN_IN)
    spare, nothing = np.empty_like(leaves), np.empty_like(offset)

    def both() -> None:
        kernels.leaf_read(c, 16, DIGITS, tables, 0, "lt", spare)
        kernels.combine_eval(leaves, len(DIGITS), FAN_IN, "lt", True, monomials, leaves, 0, nothing)

    used, copy = _best(both, partial(np.copyto, tables, tables.copy()))
    yield Row("31-bit comparisons", COMPARED / used / 1e6, "M/s", copy / used, "memcpy of their tables")


def _ping() -> Row:
    """A byte to another thread and back, over TCP on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def echo() -> None:
            with far:
                while data := far.recv(1):
                    far.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        times = []
        for _ in range(PINGS):
            began = time.perf_counter()
            near.sendall(b"?")
            near.recv(1)
            times.append(time.perf_counter() - began)
    return Row("loopback, a byte and its echo", median(times) * 1e6, "µs")


def _model() -> Iterator[Row]:
    """LeNet on one image: dealer and both parties as processes on this machine."""
    from .program import compile, launch

    program = compile(text=MODEL)
    random = np.random.default_rng(0)  # for a model and an image that nobody owns
    weights = {t.name: random.uniform(-0.1, 0.1, t.shape) for t in program.plan.params}
    online, offline = [], []
    with launch(program) as session:
        session.provide(weights)
        for _ in range(RUNS):
            session.run(image=random.uniform(0, 1, (1, 1, 28, 28)))
            online.append(session.stats.online_seconds)
            offline.append(session.stats.offline_seconds)
    cores = f"on {os.cpu_count()} cores"
    yield Row(f"LeNet, one image, online, {cores}", median(online) * 1e3, "ms")
    yield Row("LeNet, one image, the dealer", median(offline) * 1e3, "ms")
    yield Row(f"each of its {program.cost.rounds} rounds", median(online) / program.cost.rounds * 1e6, "µs")
