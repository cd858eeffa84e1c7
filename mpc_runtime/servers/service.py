"""A service: the server p0, p1 or dealer of any number of plans, each in a process of its own.

    the service   has the addresses, the data folder (`catalogue.py`) and a lobby for what is about no plan it serves
    a process     is a server of one plan (`hosted.py`), and is given the connections that are for it

The plans share addresses and nothing else: no memory, no thread, no connection. A plan whose process is killed, or runs
out of memory, leaves the others alone, and is started again: at once if it has run for a while, else with a pause that
doubles. Its operator approves a plan in the data folder (`mpcc approve`), which the service looks at every second.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import InputError
from ..plan import FORMAT
from ..transport.door import LOBBY, Handed
from ..transport.front import Front
from ..transport.guests import Quota, Wake
from ..transport.hello import PROTOCOL_VERSION
from ..transport.line import Limits
from ..transport.messages import VISITOR, Message
from .catalogue import Catalogue
from .heap import environment
from .hosted import Hosting, Teller
from .members import DEPLOY
from .process import MachineConfig
from .reception import Reception

__all__ = ["PLAN_BYTES", "Service"]

PLAN_BYTES = 64 << 20
"""Of a plan that is offered; those of networks of a hundred layers take a few million."""
LOBBY_QUOTA = Quota(
    Limits(body=4096, parts=1, payload=PLAN_BYTES), connections=64, per_key=4, unsent_bytes=PLAN_BYTES + (1 << 20)
)
LOOK_SECONDS = 1.0  # between looks at the data folder
TICK_SECONDS = 0.2
STEADY_SECONDS = 30.0  # a process that has run for so long is started again at once
AGAIN_SECONDS, AGAIN_AT_MOST = 0.5, 4.0
END_SECONDS = 30.0  # for a process to finish the run in progress, and to take leave


@dataclass
class _Plan:
    """One that is served. due: when to start its process, if it has none."""

    name: str
    hash: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = AGAIN_SECONDS


@dataclass
class Service:
    """Of the machine in `config`, whose addresses it listens at. addresses: of all servers, for servers."""

    config: MachineConfig
    addresses: Mapping[str, str]
    folder: Path
    tell: Teller = field(default_factory=lambda: Teller("service"))

    def __post_init__(self) -> None:
        if not isinstance(self.config.address, str) or not isinstance(self.config.clients, str):
            raise InputError("a service listens at addresses of its own")
        self._catalogue = Catalogue(self.folder)
        self._plans: dict[str, _Plan] = {}
        self._examined: dict[str, float] = {}
        self._examining: subprocess.Popen[bytes] | None = None
        self._bell = Wake()
        self._stopping = False
        self._receptions: dict[str, Reception] = {}
        self._lobbies: list[Front] = []
        try:
            self._open("servers", self.config.address)
            if self.config.computes:
                self._open("clients", self.config.clients)
        except BaseException:
            self.close()
            raise

    @property
    def listens(self) -> dict[str, str]:
        """Where, for "servers" and (a party) for "clients"."""
        return {to: reception.address for to, reception in self._receptions.items()}

    def serve(self) -> None:
        """Runs until `stop`."""
        threads = [
            threading.Thread(target=self._receive, args=(reception,), name=f"reception of {to}", daemon=True)
            for to, reception in self._receptions.items()
        ]
        for thread in threads:
            thread.start()
        looked = -LOOK_SECONDS
        try:
            while not self._stopping:
                self._answer()
                if time.monotonic() - looked > LOOK_SECONDS:
                    looked = time.monotonic()
                    self._look()
                self._tend()
                select.select([self._bell], [], [], TICK_SECONDS)
                self._bell.clear()
        finally:
            self._stopping = True
            for thread in threads:
                thread.join(END_SECONDS)  # a daemon: it does not outlive the process
            self.close()

    def stop(self) -> None:
        """Ends `serve` soon; may be called from a signal's handler, or another thread."""
        self._stopping = True
        self._bell.set()

    def close(self) -> None:
        """Ends the processes, which take leave, and all connections. Closing again does nothing."""
        running = [plan.process for plan in self._plans.values() if plan.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_SECONDS
        for process in running:
            _end(process, max(0.0, until - time.monotonic()))
        self._plans.clear()
        for front in self._lobbies:
            front.close()
        for reception in self._receptions.values():
            reception.close()
        self._lobbies, self._receptions = [], {}

    # -- connections ----------------------------------------------------------------------------------------------

    def _open(self, to: str, address: str) -> None:
        reception = self._receptions[to] = Reception(self.config.name, address)
        servers = {key: name for name, key in self.config.server_keys.items() if name != self.config.name}
        roles = {key: member.role for key, member in self.config.members.items()}
        names = servers if to == "servers" else roles
        if not self.config.computes:
            names |= roles  # who may offer plans offers them to the dealer too
        door = Handed(reception.lobby_end, reception.address)
        self._lobbies.append(Front(self.config.name, door, self.config.keys, names, VISITOR, LOBBY_QUOTA, self._bell))

    def _receive(self, reception: Reception) -> None:
        while not self._stopping:
            reception.attend(TICK_SECONDS)

    def _answer(self) -> None:
        """What has been said in the lobbies."""
        for front in self._lobbies:
            while (message := front.receive()) is not None:
                if message.kind == "hello":
                    self._greet(front, message)
                elif message.sender in self.config.server_keys:
                    front.refuse(message.route, f"{self.config.name} takes no plans from servers")
                elif message.kind == "offer":
                    self._consider(front, message)
                else:
                    self._show(front, message)

    def _greet(self, front: Front, message: Message) -> None:
        name, told = self.config.name, message.body
        if (told["version"], told["format"]) != (PROTOCOL_VERSION, FORMAT):
            theirs = f"{told['version']} and {told['format']}"
            front.refuse(
                message.route,
                f"{name} has protocol version {PROTOCOL_VERSION} and plan format {FORMAT}, {message.sender} {theirs}",
            )
        elif told["plan"] != LOBBY:
            served = ", ".join(f"{p.name} ({p.hash[:16]})" for p in self._plans.values()) or "none yet"
            front.refuse(message.route, f"{name} does not serve plan {told['plan'][:16]}; it serves {served}")
        else:
            front.answer(message.route, {"kind": "welcome", "name": name})

    def _consider(self, front: Front, message: Message) -> None:
        if len(message.payload) != 1:
            front.refuse(message.route, "expected one plan")
            return
        if DEPLOY not in self.config.members[message.key].may:
            text = f"{message.sender} may not deploy: {self.config.name}'s cluster.toml does not allow it to"
            front.refuse(message.route, text)
            return
        name = message.body["name"]
        if problem := self._catalogue.offer(name, message.payload[0], message.sender):
            front.refuse(message.route, problem)
            return
        self.tell(f"{message.sender} offers a plan as {name}; `mpcc approve {name}` shows and approves it")
        front.answer(message.route, {"kind": "offered", "name": name})

    def _show(self, front: Front, message: Message) -> None:
        name = message.body["name"]
        if name not in self._catalogue.deployed():
            known = ", ".join(self._catalogue.deployed()) or "none yet"
            front.refuse(message.route, f"{self.config.name} serves no plan of the name {name!r}; it serves {known}")
            return
        try:
            plan = self._catalogue.plan_file(name).read_bytes()
        except OSError as error:
            front.refuse(message.route, f"{self.config.name} cannot read the plan of {name}: {error.strerror}")
            return
        front.answer(message.route, {"kind": "plan", "name": name}, plan)

    # -- plans ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Takes note of what the operator has approved or removed, and examines offers that a policy may approve."""
        deployed = self._catalogue.deployed()
        for plan in [plan for plan in self._plans.values() if deployed.get(plan.name) != plan.hash]:
            self.tell(f"serves {plan.name} ({plan.hash[:16]}) no more")
            del self._plans[plan.name]
            if plan.process is not None:
                plan.process.send_signal(signal.SIGTERM)
                _end(plan.process, END_SECONDS)
            for reception in self._receptions.values():
                reception.forget(plan.hash)
        for name, plan_hash in deployed.items():
            if name not in self._plans:
                self.tell(f"serves {name} ({plan_hash[:16]})")
                self._plans[name] = _Plan(name, plan_hash)
        self._examine()

    def _examine(self) -> None:
        """Has a process of its own verify an offer, if there is a policy by which it may be approved."""
        if self._examining is not None and self._examining.poll() is None:
            return
        self._examining = None
        try:
            if not self._catalogue.allowed():
                return
        except InputError as error:
            self.tell(str(error))
            return
        for offer in self._catalogue.offers():
            with suppress(OSError):
                made = offer.path.stat().st_mtime
                if self._examined.get(offer.name) != made:
                    self._examined[offer.name] = made
                    code = "from mpc_runtime.servers.approval import main; main()"
                    words = [sys.executable, "-c", code, str(self.folder), offer.name]
                    self._examining = subprocess.Popen(words, env=_environment(), stdin=subprocess.DEVNULL)
                    return

    def _tend(self) -> None:
        """Starts the processes of plans that have none."""
        now = time.monotonic()
        for plan in self._plans.values():
            if plan.process is not None and plan.process.poll() is not None:
                code, plan.process = plan.process.returncode, None
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                if now - plan.started > STEADY_SECONDS:
                    plan.pause = AGAIN_SECONDS
                plan.due, plan.pause = now + plan.pause, min(2 * plan.pause, AGAIN_AT_MOST)
                self.tell(f"the process of {plan.name} {how}; it is started again")
            if plan.process is None and now >= plan.due:
                plan.process, plan.started = self._started(plan), now

    def _started(self, plan: _Plan) -> subprocess.Popen[bytes]:
        ends = {to: reception.end_for(plan.hash) for to, reception in self._receptions.items()}
        hosting = Hosting(
            name=self.config.name,
            label=plan.name,
            plan=str(self._catalogue.plan_file(plan.name)),
            keys=asdict(self.config.keys),
            server_keys=dict(self.config.server_keys),
            members={key: {**asdict(member), "may": sorted(member.may)} for key, member in self.config.members.items()},
            addresses=dict(self.addresses),
            doors={to: (end.fileno(), self._receptions[to].address) for to, end in ends.items()},
            timeout=self.config.timeout,
            window=self.config.window,
            shelf=str(self._catalogue.parameters(plan.name)),
            key_file=str(self._catalogue.key),
            uses=str(self._catalogue.plan_file(plan.name).parent),
            ledger=str(self._catalogue.folder),
        )
        process = subprocess.Popen(
            [sys.executable, "-c", "from mpc_runtime.servers.hosted import main; main()"],
            stdin=subprocess.PIPE,
            pass_fds=[end.fileno() for end in ends.values()],
            start_new_session=True,  # Ctrl-C is ours, and we tell it
            env=_environment(),
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(hosting)).encode() + b"\n")
            process.stdin.flush()
        return process


def _environment() -> dict[str, str]:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    return environment({**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits for the end of a process, which comes by force if not by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # the system keeps it a while; it runs nothing any more
            process.wait(END_SECONDS)
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
