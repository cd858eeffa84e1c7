"""`mpcc bench`: how fast this machine's kernels are, against NumPy and memory where that says something."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from compiler.cli.options import echo_json

SECONDS = 0.25  # for each measurement
MODEL = """
model bench
role client, owner
input x : [1, 16] from client in [-1, 1]
param w : [16, 16] from owner in [-1, 1]
output y = relu(x @ w) to client
"""
RUNS = 30


@dataclass(frozen=True)
class Speed:
    """One measurement. ratio: to the yardstick named, measured in the same moment; 0 where there is none."""

    what: str
    value: float
    unit: str
    ratio: float = 0.0
    yardstick: str = ""


@click.command(help="The speed of this machine's kernels and of its loopback network.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def bench(as_json: bool) -> None:
    from mpc_runtime import kernels

    speeds = []
    if not as_json:
        click.echo(f"kernels: {kernels.variant()}")
    for speed in (*_kernels(), *_network()):
        speeds.append(speed)
        if not as_json:
            ratio = f"   {speed.ratio:.2f} of {speed.yardstick}" if speed.yardstick else ""
            click.echo(f"{speed.what:<34}{speed.value:>10.2f} {speed.unit}{ratio}")
    if as_json:
        echo_json({"kernels": kernels.variant(), "speeds": [speed.__dict__ for speed in speeds]})


def _kernels() -> Iterator[Speed]:
    import numpy as np

    from mpc_runtime import kernels

    random = np.random.default_rng(0)
    n = 384
    a, b = (random.integers(0, 2**64, (n, n), np.uint64) for _ in "ab")
    a_float, b_float = a.astype(np.float64), b.astype(np.float64)
    ours, floats = _seconds(lambda: kernels.matmul(a, b)), _seconds(lambda: a_float @ b_float)
    yield Speed(f"ring matrix product, {n}³", n**3 / ours / 1e9, "G MAC/s", floats / ours, "NumPy float64")

    words, other = np.empty(1 << 20, np.uint64), random.integers(0, 2**64, 1 << 20, np.uint64)
    prg = kernels.Prg(bytes(16))
    copy = _seconds(lambda: np.copyto(words, other))
    seconds = _seconds(lambda: prg.fill(1, words))
    yield Speed("AES-128-CTR", words.nbytes / seconds / 1e9, "GB/s", copy / seconds, "memcpy")

    packed = np.empty(kernels.packed_size(words.size, 33), np.uint8)
    seconds = _seconds(lambda: kernels.pack(other, 33, packed))
    yield Speed("packing to 33 bits", words.nbytes / seconds / 1e9, "GB/s", copy / seconds, "memcpy")


def _network() -> Iterator[Speed]:
    import numpy as np

    from mpc_runtime.program import compile, launch

    program = compile(text=MODEL)
    with launch(program) as session:
        session.provide({"w": np.zeros((16, 16))})
        online = []
        for _ in range(RUNS):
            session.run(x=np.zeros((1, 16)))
            online.append(session.stats.online_seconds)
    rounds = program.cost.rounds
    yield Speed(f"a round ({rounds} in a small model)", sorted(online)[RUNS // 2] / rounds * 1e6, "µs")


def _seconds(task: Callable[[], object]) -> float:
    """The least time that the task took, of as many tries as fit."""
    best = float("inf")
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        task()
        best = min(best, time.perf_counter() - began)
    return best
