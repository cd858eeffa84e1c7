"""A service: the server p0, p1 or dealer of any number of plans, each in a process of its own.

    the service   has the addresses, the data folder (`catalogue.py`) and a lobby for what is about no plan it serves
    a process     is a server of one plan (`hosted.py`), and is given the connections that are for it

The plans share addresses and nothing else: no memory, no thread, no connection. A plan whose process is killed, or runs
out of memory, leaves the others alone, and is started again: at once if it has run for a while, else with a pause that
doubles. Its operator approves a plan in the data folder (`mpcc approve`), which the service looks at every second. What
the processes tell, the service tells on; what its cluster.toml says anew of who may do what, it tells them.
"""

from __future__ import annotations

import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import InputError, MaterialError
from ..operation.events import Event, KeysRefused, Listening, Noted, Place, Stopped
from ..operation.watch import NOBODY, State, Watch
from ..plan import FORMAT
from ..store.folder import store_of, stores
from ..transport.door import LOBBY, Handed
from ..transport.front import Front
from ..transport.guests import Quota, Wake
from ..transport.hello import PROTOCOL_VERSION
from ..transport.line import Limits
from ..transport.messages import VISITOR, Message
from .catalogue import Catalogue
from .heap import program
from .hosted import Hosting, told_members
from .members import DEPLOY, Members
from .process import MachineConfig, door
from .reception import Reception
from .served import END_SECONDS, Served, environment_of_children

__all__ = ["PLAN_BYTES", "Service"]

PLAN_BYTES = 64 << 20
"""Of a plan that is offered; those of networks of a hundred layers take a few million."""
LOBBY_QUOTA = Quota(
    Limits(body=4096, parts=1, payload=PLAN_BYTES), connections=64, per_key=4, unsent_bytes=PLAN_BYTES + (1 << 20)
)
LOOK_SECONDS = 1.0  # between looks at the data folder
TICK_SECONDS = 0.2


@dataclass
class Service:
    """Of the machine in `config`, whose addresses it listens at. addresses: of all servers, for servers. In `config`,
    material is the folder of its stores, one for each plan that has one."""

    config: MachineConfig
    addresses: Mapping[str, str]
    folder: Path
    watch: Watch = NOBODY

    def __post_init__(self) -> None:
        if not isinstance(self.config.address, str) or not isinstance(self.config.clients, str):
            raise InputError("a service listens at addresses of its own")
        self._catalogue = Catalogue(self.folder)
        self._lock = threading.Lock()
        self._revised: Members | None = None
        self._plans: dict[str, Served] = {}
        self._examined: dict[str, float] = {}
        self._examining: subprocess.Popen[str] | None = None
        self._policy = ""  # what is wrong with it
        self._bell = Wake()
        self._stopping = False
        self._receptions: dict[str, Reception] = {}
        self._lobbies: dict[str, Front] = {}
        try:
            self._open("servers", self.config.address)
            if self.config.computes:
                self._open("clients", self.config.clients)
            self.watch.answers(self._state)
        except BaseException:
            self.close()
            raise

    @property
    def listens(self) -> dict[str, str]:
        """Where, for "servers" and (a party) for "clients"."""
        return {to: reception.address for to, reception in self._receptions.items()}

    def serve(self) -> None:
        """Runs until `stop`."""
        self._tell(Listening(self.listens["servers"], self.listens.get("clients", "")))
        self._look()  # so that no connection that has waited for us finds its plan not served
        threads = [
            threading.Thread(target=self._receive, args=(reception,), name=f"reception of {to}", daemon=True)
            for to, reception in self._receptions.items()
        ]
        for thread in threads:
            thread.start()
        looked = time.monotonic()
        try:
            while not self._stopping:
                self._take_revision()
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
            self._tell(Stopped())
            self.close()

    def revise(self, members: Members) -> None:
        """Takes these members from now on. Any thread may call it."""
        self._revised = members
        self._bell.set()

    def stop(self) -> None:
        """Ends `serve` soon; may be called from a signal's handler, or another thread."""
        self._stopping = True
        self._bell.set()

    def close(self) -> None:
        """Ends the processes, which take leave, and all connections. Closing again does nothing."""
        for plan in self._plans.values():
            plan.ask_to_end()
        until = time.monotonic() + END_SECONDS
        for plan in self._plans.values():
            plan.end(max(0.0, until - time.monotonic()))
        self._plans.clear()
        for front in self._lobbies.values():
            front.close()
        for reception in self._receptions.values():
            reception.close()
        self._lobbies, self._receptions = {}, {}

    # -- connections ----------------------------------------------------------------------------------------------

    def _open(self, to: str, address: str) -> None:
        reception = self._receptions[to] = Reception(self.config.name, address)
        door, names = Handed(reception.lobby_end, reception.address), self._visitors(to)
        config, bell = self.config, self._bell

        def told(text: str) -> None:
            self._tell(KeysRefused(text))

        self._lobbies[to] = Front(config.name, door, config.keys, names, VISITOR, LOBBY_QUOTA, bell, told)

    def _visitors(self, to: str) -> dict[str, str]:
        """Whose keys the lobby behind an address takes."""
        servers = {key: name for name, key in self.config.server_keys.items() if name != self.config.name}
        roles = {key: member.role for key, member in self.config.members.items()}
        if not self.config.computes:
            return servers | roles  # who may offer plans offers them to the dealer too
        return servers if to == "servers" else roles

    def _receive(self, reception: Reception) -> None:
        while not self._stopping:
            reception.attend(TICK_SECONDS)

    def _answer(self) -> None:
        """What has been said in the lobbies."""
        for front in self._lobbies.values():
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
        self._note(f"{message.sender} offers a plan as {name}; `mpcc approve {name}` shows and approves it")
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

    # -- what is told, and what changes -----------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        self._tell_on(self.watch.place, event)

    def _tell_on(self, place: Place, event: Event) -> None:
        """One at a time: processes tell, each to a thread of its own."""
        with self._lock:
            replace(self.watch, place=place).tell(event)

    def _note(self, text: str) -> None:
        self._tell(Noted(text))

    def _state(self) -> State:
        """Of the lobbies."""
        return State(ready=True, doors={to: door(front.occupancy) for to, front in self._lobbies.items()})

    def _take_revision(self) -> None:
        members, self._revised = self._revised, None
        if members is None:
            return
        lost = {key for key, member in self.config.members.items() if member.loses(members.get(key))}
        self.config = replace(self.config, members=members)
        for to, front in self._lobbies.items():
            front.revise(self._visitors(to), lost)
        for plan in self._plans.values():
            plan.write(told_members(members))

    # -- plans ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Takes note of what the operator has approved, removed, or brought, and examines offers that a policy may
        approve."""
        deployed = self._catalogue.deployed()
        for plan in [plan for plan in self._plans.values() if deployed.get(plan.name) != plan.hash]:
            self._note(f"serves {plan.name} ({plan.hash[:16]}) no more")
            del self._plans[plan.name]
            plan.removed = True
            plan.ask_to_end()
            plan.end()
            for reception in self._receptions.values():
                reception.forget(plan.hash)
        for name, plan_hash in deployed.items():
            if name not in self._plans:
                self._note(f"serves {name} ({plan_hash[:16]})")
                plan = self._plans[name] = Served(name, plan_hash)
                for reception in self._receptions.values():
                    reception.end_for(plan_hash)
                self.watch.at(name, plan_hash).answers(plan.state)
        for plan in self._plans.values():
            if plan.runs and not plan.material and self._has_store(plan):
                self._note(f"there is stored material for {plan.name} now; its process is started again with it")
                plan.ask_to_end()
        self._examine()

    def _has_store(self, plan: Served) -> bool:
        """Whether stored material has been brought for a plan that has none."""
        found = tuple(stores(Path(self.config.material))) if self.config.material else ()
        looked, plan.looked = plan.looked, found
        return looked != found and self._store_of(plan) != ""

    def _store_of(self, plan: Served) -> str:
        """The store of a plan; empty where there is none, or none that can be used."""
        if not self.config.material:
            return ""
        try:
            return str(store_of(Path(self.config.material), plan.hash) or "")
        except MaterialError as error:
            self._note(str(error))
            return ""

    def _examine(self) -> None:
        """Has a process of its own verify an offer, if there is a policy by which it may be approved."""
        if self._examining is not None and self._examining.poll() is None:
            return
        self._hear_examined()
        try:
            if not self._catalogue.allowed():
                return
        except InputError as error:
            if self._policy != str(error):
                self._note(str(error))
            self._policy = str(error)
            return
        for offer in self._catalogue.offers():
            with suppress(OSError):
                made = offer.path.stat().st_mtime
                if self._examined.get(offer.name) != made:
                    self._examined[offer.name] = made
                    words = [sys.executable, "-c", program("approval"), str(self.folder), offer.name]
                    self._examining = subprocess.Popen(
                        words,
                        env=environment_of_children(),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                    return

    def _hear_examined(self) -> None:
        """What has come of an offer that was examined."""
        examined, self._examining = self._examining, None
        if examined is not None and examined.stdout is not None:
            with examined.stdout as said:
                if text := said.read().strip():
                    self._note(text)

    def _tend(self) -> None:
        """Starts the processes of plans that have none."""
        for plan in self._plans.values():
            if how := plan.ended():
                self._note(f"the process of {plan.name} {how}; it is started again")
            if plan.due:
                self._start(plan)

    def _start(self, plan: Served) -> None:
        ends = {to: reception.end_for(plan.hash) for to, reception in self._receptions.items()}
        plan.material = self._store_of(plan)
        if self.config.material and not plan.material:
            self._note(f"no stored material for {plan.name} in {self.config.material}: it needs the dealer")

        def hosting(wire: int) -> Hosting:
            return Hosting(
                name=self.config.name,
                label=plan.name,
                plan=str(self._catalogue.plan_file(plan.name)),
                keys=asdict(self.config.keys),
                server_keys=dict(self.config.server_keys),
                members=told_members(self.config.members),
                addresses=dict(self.addresses),
                doors={to: (end.fileno(), self._receptions[to].address) for to, end in ends.items()},
                wire=wire,
                timeout=self.config.timeout,
                window=self.config.window,
                linger=self.config.linger,
                shelf=str(self._catalogue.parameters(plan.name)),
                key_file=str(self._catalogue.key),
                uses=str(self._catalogue.plan_file(plan.name).parent),
                ledger=str(self._catalogue.folder),
                material=plan.material,
                low_water=self.config.low_water if plan.material else 0,
            )

        plan.start(hosting, ends.values(), self._tell_on)
