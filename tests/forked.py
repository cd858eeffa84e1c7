"""The servers of `mpc.launch` as forks of one process that has imported what they need, for tests in whose processes
starts would take most of the time: a server's imports take a third of a second, three times a session.

Each is a process of its own all the same, in a session of its own, with pipes, an exit code and signals, and runs the
same `main`. What is launched by a program of its own (a command, a demo, a script in a test), and in an environment
that a test has changed, is started as it always is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import IO
from unittest.mock import patch

from mpc_runtime.deployment import local

CHANGES = "PYTEST_CURRENT_TEST"
"""The variable that pytest sets anew for each test."""
NOT_YET, ENDED = b"-", b"0"
ORIGIN = (
    "import gc; gc.disable(); from mpc_runtime.servers.process import main; gc.freeze(); gc.enable()\n"
    "from tests.forked import wait_for_work\n"
    "wait_for_work(); main()"
)


class Origin:
    """The process that forks. It ends when the one that started it does."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-c", ORIGIN, str(theirs.fileno())]
            self._process = subprocess.Popen(words, env=env, pass_fds=[theirs.fileno()], start_new_session=True)

    def ask(self, words: bytes, *files: int) -> bytes:
        """What it says to a number of a process (its exit code, if it has one), or to three files (a fork's number)."""
        with self._lock:
            if self._process.returncode is not None:
                return ENDED  # a session that a failed test has left: its servers end with its pipes
            socket.send_fds(self._line, [words], files)
            return self._line.recv(1 << 10)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


class Fork:
    """A server, with what is used of `subprocess.Popen`."""

    def __init__(self, origin: Origin, stderr: IO[bytes]) -> None:
        self._origin = origin
        self._code: int | None = None
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(our_out, "wb"), os.fdopen(our_in, "rb")
        self.pid = int(origin.ask(b"fork", their_in, their_out, stderr.fileno()))
        os.close(their_in)
        os.close(their_out)

    def poll(self) -> int | None:
        if self._code is None and (said := self._origin.ask(b"%d" % self.pid)) != NOT_YET:
            self._code = int(said)
        return self._code

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.001)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, 9)


@contextmanager
def servers_forked() -> Iterator[None]:
    """While it lasts, what this process launches are forks, where forks of a process with libraries are safe."""
    if not sys.platform.startswith("linux"):
        yield
        return
    usual = {**os.environ, CHANGES: ""}
    origins: list[Origin] = []

    def popen(words: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes], **options: object) -> object:
        if {**os.environ, CHANGES: ""} != usual:
            return subprocess.Popen(words, env=env, stderr=stderr, **options)  # type: ignore[call-overload]
        if not origins:
            origins.append(Origin(env))
        return Fork(origins[0], stderr)

    stand_in = SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    with patch.object(local, "subprocess", stand_in):
        yield
    for origin in origins:
        origin.close()


def wait_for_work() -> None:
    """In the process that forks: returns in each fork, whose standard streams are those that were sent."""
    line = socket.socket(fileno=int(sys.argv[1]))
    while True:
        words, files, _, _ = socket.recv_fds(line, 1 << 10, 3)
        if not words:
            sys.exit()
        if not files:
            found, status = os.waitpid(int(words), os.WNOHANG)
            line.send(b"%d" % os.waitstatus_to_exitcode(status) if found else NOT_YET)
            continue
        if child := os.fork():
            line.send(b"%d" % child)
        else:
            os.setsid()
            line.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
        for file in files:
            os.close(file)
        if not child:
            return
