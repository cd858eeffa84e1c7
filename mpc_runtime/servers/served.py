"""A plan that a service serves, and the process in which it does: started, told, heard, and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..operation.events import Event, Place
from ..operation.watch import State
from ..operation.wire import Hearer
from .heap import environment, program
from .hosted import Hosting

__all__ = ["END_SECONDS", "Served", "environment_of_children"]

STEADY_SECONDS = 30.0  # a process that has run for so long is started again at once
AGAIN_SECONDS, AGAIN_AT_MOST = 0.5, 4.0
END_SECONDS = 30.0  # for a process to finish the run in progress, and to take leave


@dataclass
class Served:
    """material: the plan's store, if it has one; looked: the stores that were there when last one was looked for."""

    name: str
    hash: str
    material: str = ""
    looked: tuple[Path, ...] = ()
    removed: bool = False
    """Whether it is not served any more."""
    _process: subprocess.Popen[bytes] | None = None
    _hearer: Hearer | None = None
    _started: float = 0.0
    _due: float = field(default_factory=time.monotonic)
    _pause: float = AGAIN_SECONDS

    @property
    def runs(self) -> bool:
        """Whether it has a process."""
        return self._process is not None

    @property
    def due(self) -> bool:
        """Whether a process is to be started now."""
        return self._process is None and time.monotonic() >= self._due

    def state(self) -> State | None:
        """As its process has told it last. Any thread may ask."""
        if self.removed:
            return None
        return self._hearer.state if self._hearer is not None else State()

    def start(
        self, hosting: Callable[[int], Hosting], ends: Collection[socket.socket], tell: Callable[[Place, Event], None]
    ) -> None:
        """Starts a process. hosting: what it is told, from the number of the socket on which it tells; ends: of those
        by which its connections come; tell: as of `Hearer`."""
        near, far = socket.socketpair()
        with far:
            told = hosting(far.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-c", program("hosted")],
                stdin=subprocess.PIPE,
                pass_fds=[far.fileno(), *(end.fileno() for end in ends)],
                start_new_session=True,  # Ctrl-C is the service's, which tells it
                env=environment_of_children(),
            )
        self._started = time.monotonic()
        self._hearer = Hearer(told.name, near, tell)
        self.write(asdict(told))

    def write(self, told: object) -> None:
        """Tells the process something, if it is there to hear it."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(json.dumps(told).encode() + b"\n")
                self._process.stdin.flush()

    def ended(self) -> str:
        """How the process has ended, once; empty while it runs, or there is none. Another one is due after a pause."""
        if self._process is None or (code := self._process.poll()) is None:
            return ""
        self._heard_out()
        now = time.monotonic()
        if now - self._started > STEADY_SECONDS:
            self._pause = AGAIN_SECONDS
        self._due, self._pause = now + self._pause, min(2 * self._pause, AGAIN_AT_MOST)
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def ask_to_end(self) -> None:
        """The process ends when its run has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def end(self, seconds: float = END_SECONDS) -> None:
        """Waits for the end of the process, which comes by force if not by itself."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # the system keeps it a while; it runs nothing any more
                self._process.wait(END_SECONDS)
        self._heard_out()

    def _heard_out(self) -> None:
        """The process has ended: what it has told is heard."""
        if self._hearer is not None:
            self._hearer.finish()
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process = None


def environment_of_children() -> dict[str, str]:
    """Of the processes of a service, which find the packages that it has."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    return environment({**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})
