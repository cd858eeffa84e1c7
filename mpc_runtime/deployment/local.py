"""The dealer and both parties as child processes of this one, with fresh keys and ports.

A child ends when its standard input does, so that none outlives this process, even a killed one. What a child writes to
standard error is kept, and shown when it dies. Children also end when the last reference to their `Processes` is gone.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError, PeerError
from ..plan import Plan
from ..servers.heap import environment, program
from ..servers.process import SERVERS
from ..transport.identity import KeyPair
from .keys import load_key, save_key

__all__ = ["Processes", "SeenBy", "explained"]

SeenBy = Callable[[str, Mapping[str, str]], Mapping[str, str]]

START_SECONDS = 1.5  # for a child that could not start to end
LISTEN_SECONDS = 30.0  # for children to start and listen, which takes a busy machine long, whatever peers may take
END_SECONDS = 0.5  # for a child to see the end of its standard input, which it waits for, before it is killed
KILL_SECONDS = 10.0  # that the system may take to end a killed child; a moment on all but a stuck machine
DEALER_NICE = 10  # dealing ahead gives way to the online phase where they share cores
STDERR_SHOWN = 2000  # characters of a dead child's last words


@dataclass(frozen=True)
class Death:
    """How a child ended, and the last that it wrote to standard error."""

    name: str
    how: str
    killed: bool
    words: str


def explained(codes: Mapping[str, int | None], missed: str) -> bool:
    """Whether the exit codes of processes, by name, say why one is missed: it has ended, or one was killed."""
    return codes.get(missed) is not None or any(code is not None and code < 0 for code in codes.values())


class Processes:
    """Starts the three servers; `addresses` and `server_keys` are where and how to reach them (a party's address for
    clients is under the name of `clients_of`), `role_keys` ours, and `more_keys` those of other machines of a role.

    seen_by: server, addresses of all servers -> those that it uses (benchmarks put a delaying relay between). material:
    the folder with both parties' stores, with which no dealer is started. linger: as of `Party`. machines: how many
    each role has. data: the folder of what servers keep, and of the roles' keys, by which a ledger knows them again.
    """

    def __init__(
        self,
        plan: Plan,
        roles: Sequence[str],
        timeout: float,
        window: int,
        seen_by: SeenBy = lambda _, all_: all_,
        material: Path | None = None,
        linger: float = 0.0,
        machines: int = 1,
        data: Path | None = None,
    ) -> None:
        keys = {name: KeyPair.generate() for name in SERVERS}
        self.server_keys = {name: pair.public for name, pair in keys.items()}
        self.role_keys = {role: KeyPair.generate() if data is None else _kept_key(data, role) for role in roles}
        self.more_keys = {role: [KeyPair.generate() for _ in range(machines - 1)] for role in roles}
        members = {key.public: role for role in roles for key in (self.role_keys[role], *self.more_keys[role])}
        self.addresses: dict[str, str] = {}
        self._names = tuple(name for name in SERVERS if material is None or name != "dealer")
        self._stderr: dict[str, IO[bytes]] = {
            name: tempfile.TemporaryFile()  # noqa: SIM115
            for name in self._names
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._finalizer = weakref.finalize(self, _end, self._children, self._stderr, os.getpid())
        plan_bytes = plan.to_bytes()
        try:
            for name in self._names:
                self._children[name] = self._start(name)
            for name in self._names:
                given = {
                    "name": name,
                    "keys": {"public": keys[name].public, "secret": keys[name].secret},
                    "server_keys": self.server_keys,
                    "roles": members,
                    "timeout": timeout,
                    "window": window,
                    "linger": linger,
                    "nice": DEALER_NICE if name == "dealer" else 0,
                    "material": str(material.absolute() / name) if material is not None else "",
                    "data": str(data.absolute() / name) if data is not None else "",
                    "plan_bytes": len(plan_bytes),
                }
                self._tell(name, json.dumps(given).encode() + b"\n" + plan_bytes)
            self._collect_addresses(time.monotonic() + max(timeout, LISTEN_SECONDS))
            for name in self._names:
                self._tell(name, json.dumps(dict(seen_by(name, self.addresses))).encode() + b"\n")
        except BaseException:
            self.close()
            raise

    def pids(self) -> Mapping[str, int]:
        """Process ids by name."""
        return {name: child.pid for name, child in self._children.items()}

    def check(self) -> None:
        """Raises PeerError when a child has ended."""
        if deaths := self.deaths(0.0):
            raise PeerError(
                f"{deaths[0].name} {deaths[0].how}: {deaths[0].words or 'without a message'}", deaths[0].name
            )

    def deaths(self, seconds: float, missed: str = "") -> list[Death]:
        """The children that have ended, those killed first; waits up to `seconds` for `missed`, or one that was killed:
        others end because it has, and may be seen to end before it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not explained({n: c.poll() for n, c in self._children.items()}, missed):
            time.sleep(0.01)
        deaths = []
        for name, child in self._children.items():
            if (code := child.poll()) is not None:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                deaths.append(Death(name, how, code < 0, self._last_words(name)))
        return sorted(deaths, key=lambda death: not death.killed)

    def close(self) -> None:
        """Ends all children, by force those that do not end by themselves. Closing again does nothing."""
        self._finalizer()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        """A child in a session of its own, so that Ctrl-C reaches only this process, which then ends the child."""
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
        return subprocess.Popen(
            [sys.executable, "-c", program("process")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr[name],
            start_new_session=True,
            env=environment({**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}),
        )

    def _tell(self, name: str, line: bytes) -> None:
        stdin = self._children[name].stdin
        assert stdin is not None
        try:
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"{name} did not start: {self._last_words(name)}", name) from None

    def _collect_addresses(self, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            for name, child in self._children.items():
                assert child.stdout is not None
                selector.register(child.stdout, selectors.EVENT_READ, name)
            while missing := [name for name in self._names if name not in self.addresses]:
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    stdout = self._children[key.data].stdout
                    assert stdout is not None
                    line = stdout.readline()
                    if not line:
                        self._children[key.data].wait(START_SECONDS)
                        raise PeerError(f"{key.data} did not start: {self._last_words(key.data)}", key.data)
                    self.addresses.update(json.loads(line))
                    selector.unregister(stdout)
                if time.monotonic() > deadline:
                    raise PeerError(f"{missing[0]} did not start in time", missing[0])

    def _last_words(self, name: str) -> str:
        file = self._stderr[name].fileno()
        size = os.fstat(file).st_size
        start = max(0, size - STDERR_SHOWN)
        end = os.pread(file, size - start, start)  # not read(): the child shares our position in the file
        return end.decode(errors="replace").strip()


def _kept_key(data: Path, role: str) -> KeyPair:
    """A role's key, made where it is not there yet."""
    path = data / "roles" / f"{role}.key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}") from None
    if not path.exists():
        save_key(path, KeyPair.generate())
    return load_key(path)


def _end(children: Mapping[str, subprocess.Popen[bytes]], stderr: Mapping[str, IO[bytes]], parent: int) -> None:
    """Ends the children of process `parent`; a fork of it leaves them alone."""
    if os.getpid() != parent:
        return
    for child in children.values():
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
    until = time.monotonic() + END_SECONDS
    for child in children.values():
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:  # noqa: PERF203
            child.kill()
            child.wait(KILL_SECONDS)
    for file in stderr.values():
        file.close()
