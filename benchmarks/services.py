"""Services beside `mpc.launch`, and stored material beside online dealing, by turns: `python -m benchmarks.services`.

Three services (`mpcc serve`) answer a client, each with a data folder, on this machine. seconds: of a batch among many
that follow each other, checking, encoding, sharing and decoding included, as `sustained` in `measure.py`. Each pair is
measured `--pairs` times in turns, in as many sessions; ratio: the median of theirs, and how far they spread.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import mpc_runtime as mpc
from benchmarks.measure import Column, Output, check, seconds
from benchmarks.workloads import Workload, make
from mpc_runtime.limits import RECORDS_AHEAD
from mpc_runtime.servers.approval import approve
from mpc_runtime.servers.catalogue import Catalogue

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("p0", "p1", "dealer")
PORTS = 5  # that `init-cluster` gives away, one behind the other
FREE_PORTS = range(20_000, 60_000, 10)
MODELS = ("lenet_b1", "lenet_b128")
COLUMNS: tuple[Column, ...] = (
    ("name", "", lambda name: f"{name:32}"),
    ("one", "one", seconds),
    ("other", "other", seconds),
    ("ratio", "ratio", lambda ratio: f"{ratio:.3f}"),
    ("least", "least", lambda ratio: f"{ratio:.2f}"),
    ("largest", "largest", lambda ratio: f"{ratio:.2f}"),
    ("wrong", "wrong", str),
)


def mpcc(*words: object) -> list[str]:
    return [sys.executable, "-c", "from compiler.cli import main; main()", *map(str, words)]


@contextmanager
def served(work: Workload, program: mpc.Program, material: Path | None = None) -> Iterator[mpc.Session]:
    """A client's session with services that hold the weights; with a folder of stores, without a dealer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name, ExitStack() as open_:
        folder = Path(name)
        program.save(folder / "model.plan")
        words = mpcc("init-cluster", "model.plan", "--port", _free_ports())
        subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        for service in SERVICES if material is None else SERVICES[:2]:
            approve(Catalogue(folder / f"{service}.data"), "model", program.plan)
            stores = [] if material is None else ["--material", material / service]
            words = mpcc("serve", service, "--data", f"{service}.data", *stores)
            log = open_.enter_context((folder / f"{service}.log").open("w"))
            process = subprocess.Popen(words, cwd=folder, env=environment, stderr=log)
            open_.callback(process.wait)
            open_.callback(process.send_signal, signal.SIGTERM)
        cluster = folder / "cluster.toml"
        with mpc.connect(cluster, program, role="modeller") as modeller:
            modeller.provide(work.params)
        yield open_.enter_context(mpc.connect(cluster, program, role="client"))


def _free_ports() -> int:
    for first in FREE_PORTS:
        with ExitStack() as held:
            try:
                for port in range(first, first + PORTS):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise OSError("no free ports")


@contextmanager
def launched(work: Workload, program: mpc.Program) -> Iterator[mpc.Session]:
    with mpc.launch(program) as session:
        session.provide(work.params)
        yield session


def batches(work: Workload, program: mpc.Program, session: mpc.Session, runs: int) -> tuple[float, int]:
    """Seconds of one of so many batches that follow each other, and how many numbers were wrong."""
    for _ in range(RECORDS_AHEAD + 1):
        session.run(**work.inputs)
    began = time.perf_counter()
    results = [session.run(**work.inputs) for _ in range(runs)]
    taken = (time.perf_counter() - began) / runs
    return taken, sum(check(work, program, result)[1] for result in results)


def by_turns(
    name: str, pairs: int, one: Callable[[], tuple[float, int]], other: Callable[[], tuple[float, int]]
) -> dict[str, Any]:
    """A row of the table: each of two ways, in pairs; the second goes first in every second pair."""
    found: list[tuple[float, float]] = []
    bad = 0
    for pair in range(pairs):
        order = (one, other) if pair % 2 == 0 else (other, one)
        told = [way() for way in order]
        bad += sum(wrong for _, wrong in told)
        first, second = (taken for taken, _ in (told if pair % 2 == 0 else told[::-1]))
        found.append((first, second))
    ratios = [first / second for first, second in found]
    return {
        "name": name,
        "one": median(first for first, _ in found),
        "other": median(second for _, second in found),
        "ratio": median(ratios),
        "least": min(ratios),
        "largest": max(ratios),
        "wrong": bad,
    }


def beside_launch(model: str, pairs: int, runs: int) -> dict[str, Any]:
    work = make(model)
    program = mpc.compile(text=work.source)
    with served(work, program) as services, launched(work, program) as local:
        return by_turns(
            f"{model}: services, launch",
            pairs,
            lambda: batches(work, program, services, runs),
            lambda: batches(work, program, local, runs),
        )


def stored_beside_dealt(model: str, pairs: int, runs: int) -> dict[str, Any]:
    work = make(model)
    program = mpc.compile(text=work.source)
    with tempfile.TemporaryDirectory() as name:
        mpc.deal(program, Path(name, "material"), runs=pairs * (runs + RECORDS_AHEAD + 1), setups=1)
        with served(work, program, Path(name, "material")) as stored, served(work, program) as dealt:
            return by_turns(
                f"{model}: stored, dealt online",
                pairs,
                lambda: batches(work, program, stored, runs),
                lambda: batches(work, program, dealt, runs),
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--runs", type=int, default=30, help="of each turn")
    parser.add_argument("--out", help="append JSON lines to this file")
    given = parser.parse_args(arguments)
    output = Output("services", given.out, COLUMNS)
    for model in given.models:
        output.row(beside_launch(model, given.pairs, given.runs))
    output.row(stored_beside_dealt(given.models[-1], given.pairs, given.runs))


if __name__ == "__main__":
    main()
