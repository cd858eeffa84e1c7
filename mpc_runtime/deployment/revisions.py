"""A cluster.toml while a server runs: read again when it has changed, or on SIGHUP.

What a new file says of the roles' keys holds at once. Where servers are and which keys they have was agreed on when
they met, so changes of these wait for a restart, and are reported. A file with a mistake changes nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Error
from ..servers.members import Members
from ..transport.identity import fingerprint
from .cluster import Cluster, load_cluster

__all__ = ["Revisions"]

PACE_SECONDS = 1.0  # between two looks at the file


class Revisions:
    """Of the file from which a server was started. say: tells its operator something."""

    def __init__(self, cluster: Cluster, say: Callable[[str], None], pace: float = PACE_SECONDS) -> None:
        self._began = cluster
        self._members = cluster.members
        self._path = cluster.path
        self._say = say
        self._pace = pace
        self._read = self._seen = _look(self._path)
        self._waiting = ""  # the changes that wait for a restart
        self._asked = self._ended = False
        self._woken = threading.Event()

    @contextmanager
    def watching(self, revise: Callable[[Members], None]) -> Iterator[None]:
        """Watches in a thread of its own. revise: takes the roles' keys of a new file."""
        thread = threading.Thread(target=self._run, args=(revise,), name="revisions", daemon=True)
        thread.start()
        self._on_signal()
        try:
            yield
        finally:
            self._ended = True
            self._woken.set()
            thread.join(2 * self._pace)

    def _on_signal(self) -> None:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self.ask())

    def ask(self) -> None:
        """Has the file read again now."""
        self._asked = True
        self._woken.set()

    def _run(self, revise: Callable[[Members], None]) -> None:
        while not self._ended:
            self._woken.wait(self._pace)
            self._woken.clear()
            asked, self._asked = self._asked, False
            before, self._seen = self._seen, _look(self._path)
            if asked or (self._seen != self._read and self._seen == before):  # nobody is writing it any more
                self._read = self._seen
                self.reload(revise)

    def reload(self, revise: Callable[[Members], None]) -> None:
        """Reads the file, takes what may be taken, and says what was done."""
        try:
            cluster = load_cluster(self._path)
            if cluster.members != self._members:
                revise(cluster.members)
        except (Error, OSError) as error:
            self._say(f"{self._path} was changed and is not used, the keys of before hold: {error}")
            return
        if cluster.members != self._members:
            self._say(f"{self._path} was read again: {_changes(self._members, cluster.members)}")
        self._members = cluster.members
        waiting = " and ".join(_elsewhere(self._began, cluster))
        if waiting and waiting != self._waiting:
            self._say(f"{self._path}: a change of {waiting} takes effect when this server is restarted")
        self._waiting = waiting


def _look(path: Path) -> tuple[int, int, int] | None:
    """What differs when the file was written; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _changes(before: Members, after: Members) -> str:
    """What has become of whose keys."""
    parts = []
    for what, keys, of in (
        ("new", after.keys() - before.keys(), after),
        ("revoked", before.keys() - after.keys(), before),
        ("changed", {key for key in before.keys() & after.keys() if before[key] != after[key]}, after),
    ):
        if keys:
            titles = sorted(f"{of[key].name or of[key].role}, key {fingerprint(key)[:9]}" for key in keys)
            parts.append(f"{what} {'; '.join(titles)}")
    return " / ".join(parts)


def _elsewhere(before: Cluster, after: Cluster) -> list[str]:
    """The changes of servers."""
    placed = [
        f"the address of {place}"
        for place in before.addresses
        if (before.addresses[place], before.listens[place]) != (after.addresses[place], after.listens[place])
    ]
    return placed + [f"the key of {name}" for name, key in before.server_keys.items() if key != after.server_keys[name]]
