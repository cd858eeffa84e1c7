"""Plans between a role's machine and the services of a cluster: offered to them, fetched from them, and pinned.

Fetching asks both parties and takes a plan only if it is the same at both. The first time that a machine fetches a
plan by its name, it pins the hash and what the plan reveals in `ROLE.pins.json`, beside its key; from then on a change
is an error that says what is different, until it is accepted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.leakage import manifest
from ..errors import InputError, PeerError
from ..plan import FORMAT, Plan
from ..plan_file import read
from ..servers.catalogue import check_name
from ..servers.process import SERVERS
from ..servers.service import PLAN_BYTES
from ..servers.shelf import write_durably
from ..transport.address import clients_of
from ..transport.call import GLANCE_SECONDS, Call, drive
from ..transport.door import LOBBY
from ..transport.hello import Hello, new_nonce
from ..transport.identity import KeyPair
from ..transport.line import Limits
from ..transport.messages import LOBBY_HOST, Message
from .cluster import Cluster

__all__ = ["Pins", "fetch", "offer"]

PARTIES = SERVERS[:2]


def offer(cluster: Cluster, role: str, keys: KeyPair, plan: Plan, name: str, timeout: float) -> None:
    """Offers a plan to all three services, under a name. PeerError when one is not there or does not want it."""
    check_name(name)
    data = plan.to_bytes()
    if len(data) > PLAN_BYTES:
        raise InputError(f"the plan has {len(data)} bytes, and services take at most {PLAN_BYTES}")
    with ExitStack() as stack:
        for server in SERVERS:
            call = _called(cluster, server, role, keys)
            stack.callback(call.close)
            until = time.monotonic() + timeout
            _answer(call, until, timeout)
            call.say({"kind": "offer", "name": name}, data)
            _answer(call, until, timeout)


def fetch(cluster: Cluster, role: str, keys: KeyPair, name: str, timeout: float) -> Plan:
    """The verified plan that both parties serve under a name. PeerError when they do not serve the same."""
    found: list[bytes] = []
    with ExitStack() as stack:
        for server in PARTIES:
            call = _called(cluster, server, role, keys)
            stack.callback(call.close)
            until = time.monotonic() + timeout
            _answer(call, until, timeout)
            call.say({"kind": "fetch", "name": name})
            answer = _answer(call, until, timeout)
            if answer.kind != "plan" or len(answer.payload) != 1:
                raise PeerError(f"{server} sent {answer.kind!r} in place of a plan", server)
            found.append(bytes(answer.payload[0]))
    plans = [read(data, f"{name}, as {server} serves it") for server, data in zip(PARTIES, found, strict=True)]
    if plans[0].hash != plans[1].hash:
        hashes = " and ".join(plan.hash[:16] for plan in plans)
        raise PeerError(f"p0 and p1 serve different plans as {name}: {hashes}; their operators have to agree", "p1")
    return plans[0]


def _called(cluster: Cluster, server: str, role: str, keys: KeyPair) -> Call:
    place = clients_of(server) if server in PARTIES else server
    hello = Hello(role, LOBBY, FORMAT).body(new_nonce())
    limits = Limits(body=1 << 17, parts=1, payload=PLAN_BYTES)
    return Call(server, cluster.addresses[place], keys, cluster.server_keys[server], hello, LOBBY_HOST, limits)


def _answer(call: Call, until: float, seconds: float) -> Message:
    while (message := call.next()) is None:
        call.check("")
        drive([call], GLANCE_SECONDS)
        if time.monotonic() > until:
            raise PeerError(
                f"no answer from {call.name} at {call.address} for {seconds:g} s: is it running, and is its key right?",
                call.name,
            )
    return message


@dataclass(frozen=True)
class Pins:
    """What a machine knows of the plans that it has fetched, in a file of its own."""

    path: Path

    def problem(self, name: str, plan: Plan) -> str:
        """What has changed since the plan of this name was pinned; empty if nothing, or if it never was."""
        pin = self._read().get(name)
        if pin is None or pin["hash"] == plan.hash:
            return ""
        now = manifest(plan)
        lines = [f"  no longer: {line}" for line in pin["revealed"] if line not in now]
        lines += [f"  new:       {line}" for line in now if line not in pin["revealed"]]
        told = "\n".join(lines) or "  it reveals what it revealed before"
        return f"the plan of {name} has changed, from {pin['hash'][:16]} to {plan.hash[:16]}:\n{told}"

    def pin(self, name: str, plan: Plan) -> None:
        """From now on, this is the plan of the name."""
        pins = {**self._read(), name: {"hash": plan.hash, "revealed": list(manifest(plan))}}
        try:
            write_durably(self.path, lambda file: file.write(json.dumps(pins, indent=2).encode() + b"\n"))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def known(self, name: str) -> bool:
        return name in self._read()

    def _read(self) -> dict[str, Any]:
        try:
            pins = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: the pins cannot be read: {error}") from None
        if not isinstance(pins, dict) or not all(map(_is_pin, pins.values())):
            raise InputError(f"{self.path}: expected the hash and what is revealed for each name; restore the file")
        return pins


def _is_pin(pin: object) -> bool:
    if not isinstance(pin, dict) or not isinstance(pin.get("hash"), str):
        return False
    revealed: Sequence[object] = pin.get("revealed", ())
    return isinstance(revealed, list) and all(isinstance(line, str) for line in revealed)
