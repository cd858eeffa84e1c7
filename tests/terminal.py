"""Commands as a user types them, each in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[1]
SERVERS = {"dealer": ["dealer"], "p0": ["party", "0"], "p1": ["party", "1"]}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from compiler.cli import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def mpcc(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def free_port() -> int:
    """The first of five neighbouring ports that are free now."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(5)]
            sockets[0].bind(("127.0.0.1", 0))
            first: int = sockets[0].getsockname()[1]
            try:
                for i in range(1, 5):
                    sockets[i].bind(("127.0.0.1", first + i))
            except OSError:
                continue
            return first


def start(folder: Path, name: str, *words: object) -> subprocess.Popen[str]:
    """A server of folder's cluster.toml; what it says goes to NAME.log."""
    with (folder / f"{name}.log").open("a") as log:
        return subprocess.Popen(command(*words), cwd=folder, env=environment(), stderr=log, text=True)


@contextmanager
def started(
    folder: Path, file: str, material: str = "", low_water: int = 0, options: Sequence[object] = ()
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The three servers of folder's cluster.toml, or with stored material the two parties, and a dealer that refills it
    if there is a low water; what they say goes to NAME.log. options: more of them, for all."""
    processes = {}
    servers = dict(SERVERS)
    if material:
        more = ["--low-water", str(low_water)] if low_water else []
        servers |= {name: [*SERVERS[name], "--material", f"{material}/{name}", *more] for name in ("p0", "p1")}
    if material and not low_water:
        del servers["dealer"]
    try:
        for name, words in servers.items():
            processes[name] = start(folder, name, *words, file, *options)
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
