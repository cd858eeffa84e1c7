"""Commands as a user types them, each in a process of its own.

Imports take most of a short command's time: it is a fork of a process that has imported what commands need. Servers,
and what asks for it, are started as a user starts them.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.cli import main
from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["compiler.pipeline", "mpc_runtime.session", "mpc_runtime.sessions.deployed", __name__]
    + [f"compiler.cli.{name}" for name in ("cluster", "inspect", "material", "roles", "run")]
)
STARTED_AGAIN = ("party", "dealer", "serve")
"""Commands that replace their process by one with another environment."""
SERVERS = {"dealer": ["dealer"], "p0": ["party", "0"], "p1": ["party", "1"]}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from compiler.cli import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def typed(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a process that imports what it needs by itself."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def mpcc(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a fork."""
    words = [str(word) for word in arguments]
    if words[0] in STARTED_AGAIN:
        return typed(folder, *words)
    with TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = FORKS.Process(target=_forked, args=(words, folder, environment(), out, err))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        done = subprocess.CompletedProcess(words, process.exitcode or 0, out.read_text(), err.read_text())
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _forked(words: Sequence[str], folder: Path, variables: dict[str, str], out: Path, err: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["-c", *words]
    main()


def free_port() -> int:
    """The first of five neighbouring ports that are free now, and that no system hands out by itself: whoever listens
    or calls somewhere meanwhile gets none of them. Who else looks for some at this moment is likely to find others."""
    while True:
        first = random.SystemRandom().randrange(10_000, 32_000, 5)
        with ExitStack() as stack:
            try:
                for port in range(first, first + 5):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
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
