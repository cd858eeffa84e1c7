"""A wire between the parties, in a process of its own: every byte arrives late, and no faster than the rate.

    with Relay(round_trip=0.04, rate=100e6) as relay:
        session = launch_plan(plan, prepare_feed, seen_by=relay.between_parties)

Each direction between p0 and p1 is one wire of `rate` bits a second, shared by the connections that use it, and half a
round trip long: a byte that enters at t leaves at max(t, when the wire was free) + its own time + `round_trip` / 2. The
kernel's queue discipline `netem` would need privileges. Roles and dealer reach the parties directly, so only the online
phase is slowed. On its own: `python -m benchmarks.relay --round-trip 0.04 --rate 1e8 p0=HOST:PORT p1=HOST:PORT`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

__all__ = ["Relay", "round_trip_seconds"]

CHUNK = 1 << 16
PINGS = 30
ECHO = "echo"
SPIN = 6e-5  # seconds that a sleep is late by; what remains of a delay is spent awake


class Wire:
    """One direction: when does a chunk that enters now arrive at the other end?"""

    def __init__(self, delay: float, rate: float) -> None:
        self.delay, self.rate = delay, rate
        self._free = 0.0
        self._lock = threading.Lock()

    def arrival(self, nbytes: int) -> float:
        with self._lock:
            self._free = max(time.monotonic(), self._free) + 8 * nbytes / self.rate
            return self._free + self.delay


def _pump(source: socket.socket, sink: socket.socket, wire: Wire) -> None:
    """Carries one direction of one connection: a thread takes what comes, another lets it go when its time has come."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def take() -> None:
        while data := _received(source):
            waiting.put((wire.arrival(len(data)), data))
        waiting.put((0.0, b""))

    def release() -> None:
        while True:
            due, data = waiting.get()
            if (left := due - time.monotonic() - SPIN) > 0:
                time.sleep(left)
            while time.monotonic() < due:
                pass
            try:
                if not data:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(data)
            except OSError:
                return None

    for work in (take, release):
        threading.Thread(target=work, daemon=True).start()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(CHUNK)
    except OSError:
        return b""


def _listen(target: tuple[str, int], there: Wire, back: Wire) -> int:
    """Accepts connections meant for `target`; the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            near, _ = server.accept()
            far = socket.create_connection(target)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _pump(near, far, there)
            _pump(far, near, back)

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def _party(name: str) -> str:
    """The party whose address this is the name of, "p0" or "p0.clients"; empty for another machine's."""
    party = name.partition(".")[0]
    return party if party in ("p0", "p1") else ""


def _serve(targets: Mapping[str, str], round_trip: float, rate: float) -> None:
    """Writes the addresses to use, as JSON, and relays until standard input ends."""
    to = {machine: Wire(round_trip / 2, rate) for machine in ("p0", "p1", "")}
    opposite = {"p0": "p1", "p1": "p0", "": ""}
    addresses = {}
    for name, address in targets.items():
        host, _, port = address.rpartition(":")
        party = _party(name)
        port = _listen((host, int(port)), to[party], to[opposite[party]])
        addresses[name] = f"127.0.0.1:{port}"
    print(json.dumps(addresses), flush=True)
    while os.read(0, 4096):
        continue


class Relay:
    """The relay's process. round_trip: seconds; rate: bits a second, of each direction."""

    def __init__(self, round_trip: float, rate: float) -> None:
        self.round_trip, self.rate = round_trip, rate
        self._child: subprocess.Popen[str] | None = None
        self._addresses: dict[str, str] = {}

    def between_parties(self, server: str, addresses: Mapping[str, str]) -> Mapping[str, str]:
        """The `seen_by` of `launch_plan`: p0 and p1 reach each other through the relay."""
        if not self._addresses:
            self.start({name: address for name, address in addresses.items() if _party(name)})
        return {
            name: self._addresses[name] if _party(server) and _party(name) and _party(name) != server else address
            for name, address in addresses.items()
        }

    def start(self, targets: Mapping[str, str]) -> Mapping[str, str]:
        """Starts relaying to these addresses; the ones to use instead."""
        command = [sys.executable, os.path.abspath(__file__)]
        command += ["--round-trip", repr(self.round_trip), "--rate", repr(self.rate)]
        command += [f"{name}={address}" for name, address in targets.items()]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self._addresses = json.loads(self._child.stdout.readline())
        return self._addresses

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            assert self._child.stdin is not None
            self._child.stdin.close()
            self._child.wait()


def round_trip_seconds(round_trip: float, rate: float) -> float:
    """What a one-byte message and its echo take through such a relay: the median of a few."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo() -> None:
        end, _ = server.accept()
        with end:
            while data := _received(end):
                end.sendall(data)

    threading.Thread(target=echo, daemon=True).start()
    times = []
    with Relay(round_trip, rate) as relay:
        address = relay.start({ECHO: f"127.0.0.1:{server.getsockname()[1]}"})[ECHO]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PINGS):
                begin = time.perf_counter()
                end.sendall(b"?")
                end.recv(1)
                times.append(time.perf_counter() - begin)
    return sorted(times)[PINGS // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trip", type=float, required=True, help="seconds")
    parser.add_argument("--rate", type=float, default=1e9, help="bits a second, of each direction")
    parser.add_argument("targets", nargs="+", metavar="NAME=HOST:PORT", help="p0=… and p1=…, or echo=…")
    given = parser.parse_args()
    _serve(dict(target.split("=", 1) for target in given.targets), given.round_trip, given.rate)


if __name__ == "__main__":
    main()
