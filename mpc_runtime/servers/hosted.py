"""The process of one plan of a service: as a server of one plan (`process.py`), but that it outlives the others.

    meet the others -> serve -> one of them is gone, or has sent what fits nothing -> part from all -> meet again

Whoever sees a session end tells the others, so all three begin the next one: with new seeds, new keys and new streams,
so that nothing of the old one is used or accepted again. What clients have left for runs that had not begun stays
where it is, and so do parameters, which are opened under fresh masks. Clients of the run that was broken off are told.

Configuration comes on standard input, and later the members of a new cluster.toml; connections come by way of sockets
that the service has left open, and by another one events go back to it (`operation/wire.py`). The process ends with the
service, however that ends, and with whatever is no other machine's fault: the service then starts another.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Error, MaterialError, PeerError
from ..operation.events import Aborted, Event, Noted, Place, Ready, Waits
from ..operation.watch import NOBODY, State, Watch
from ..operation.wire import Speaker
from ..plan import Plan
from ..plan_file import load
from ..store.store import Store
from ..transport.call import GLANCE_SECONDS
from ..transport.door import Handed
from ..transport.identity import KeyPair
from ..transport.messages import MATERIAL
from ..transport.node import Node
from .admission import Admission
from .members import Member, Members
from .party import Party
from .process import (
    EXIT_ERROR,
    Desk,
    MachineConfig,
    Revisions,
    at_work,
    call_others,
    opened,
    opened_ledger,
    state,
    stored,
    take_leave,
)
from .shelf import Shelf, shelf_key
from .submissions import Submission, Submissions
from .uses import Uses

__all__ = ["Hosting", "host", "main", "told_members"]

MISSING_SECONDS = 5.0  # after which whoever operates the service is told who has not come
STORE_SECONDS = 1.0  # between two looks whether a store can be written again
READ_BYTES = 1 << 16
HOLD_AT_MOST, STEADY_SECONDS = 30.0, 90.0  # before another session, where sessions end for want of material soon
AGAIN_SECONDS, AGAIN_AT_MOST = 0.1, 2.0  # between sessions: the others notice, and none is called without a pause


def host(
    plan: Plan,
    config: MachineConfig,
    addresses: Mapping[str, str],
    desk: Desk | None,
    watch: Watch = NOBODY,
    revisions: Revisions = lambda _: nullcontext(),
) -> None:
    """Serves until it is stopped (KeyboardInterrupt) or cannot go on for a reason of its own. watch, revisions: as of
    `process.run`."""
    uses = Uses(config.data or None)
    spending = opened_ledger(plan, config)
    store = stored(plan, config)
    try:
        node = opened(plan, config, watch)
    except BaseException:
        _close(store)
        raise
    node.patient = True
    admission = Admission(node, config.members)
    sessions = _Sessions(plan, config, node, watch)
    watch.answers(lambda: sessions.state(store))
    pause = AGAIN_SECONDS
    doing = "the start"
    try:
        with revisions(admission.revise):
            while True:
                server = None
                try:
                    call_others(node, config, addresses)
                    session = sessions.meet()
                    server = at_work(plan, config, node, uses, spending, session, store, desk, addresses)
                    admission.joined(server)
                    pause = AGAIN_SECONDS
                    server.serve()
                except PeerError as found:
                    doing, error = server.doing if server else "the start", _traced(node, found)
                    sessions.ended(error, doing)
                    node.part(error.peer, error.op or doing or "between executions", str(error))
                    if isinstance(server, Party):
                        server.broken_off(error)
                except MaterialError as error:
                    if store is None:
                        raise
                    doing = server.doing if server else "the start"
                    sessions.halted(error, doing)
                    if isinstance(server, Party):
                        server.broken_off(error)
                        with suppress(PeerError):
                            server.turn_away(error)
                    node.part("", doing or "between executions", f"{config.name}: {error}")
                    store.close()
                    store = sessions.usable_store()
                admission.left()
                time.sleep(pause * random.uniform(0.5, 1))  # so that machines do not try in step
                pause = min(2 * pause, AGAIN_AT_MOST)
    except BaseException as error:
        take_leave(node, error, doing, watch)
        raise
    finally:
        node.close()
        uses.close()
        spending.close()
        _close(store)


def _traced(node: Node, error: PeerError) -> PeerError:
    """The cause of an error, if it comes to light within a moment: a machine that leaves because another is gone says
    so, but what is sent to it may fail before that is read. It may have ended the session only, and still be there. Its
    own word alone counts: others may leave for its sake."""
    until = time.monotonic() + GLANCE_SECONDS
    link = node.links.get(error.peer)
    while link is not None and time.monotonic() < until:
        try:
            while link.next() is not None:  # what came before its last word is of no use any more
                continue
            link.check("", drain=True)
        except PeerError as cause:
            return cause if cause.peer != error.peer else error
        except MaterialError:
            return error
        time.sleep(GLANCE_SECONDS / 10)
    return error


def _close(store: Store | None) -> None:
    if store is not None:
        store.close()


class _Sessions:
    """Meets the others again and again, and tells whoever operates this machine what has changed, once."""

    def __init__(self, plan: Plan, config: MachineConfig, node: Node, watch: Watch) -> None:
        self._plan = plan
        self._config = config
        self._node = node
        self._watch = watch
        self._ready = False
        self._told = self._trouble = ""
        self._halted, self._hold = -STEADY_SECONDS, STORE_SECONDS

    def meet(self) -> Watch:
        """The watch of the session that begins."""
        others = self._config.others
        while missing := self._node.missing(others, MISSING_SECONDS):
            self._tell(Waits(" and ".join(missing)))
        self._ready, self._told = True, ""
        place = self._watch.place
        session = replace(self._watch, place=replace(place, session=self._node.links[others[0]].label))
        session.tell(Ready())
        return session

    def ended(self, error: PeerError, doing: str) -> None:
        where = f" (at {doing})" if doing and doing not in str(error) else ""
        self._ready = False
        self._tell(Aborted(error.peer, error.op or doing, f"{error}{where}; goes on when all are there"))

    def halted(self, error: MaterialError, doing: str) -> None:
        """A session has ended because of our material: no more queries until there is some that can be used."""
        now = time.monotonic()
        again = now - self._halted < STEADY_SECONDS
        self._halted, self._hold = now, min(2 * self._hold, HOLD_AT_MOST) if again else STORE_SECONDS
        self._ready, self._trouble = False, str(error)
        self._tell(Aborted("", doing, f"takes no queries: {error}"))

    def usable_store(self) -> Store:
        """The store, opened anew as soon as its ledger can be written. Clients who come meanwhile are told why they
        have to wait."""
        self._refuse_for(self._hold)
        while True:
            try:
                store = Store(self._config.material, self._plan, int(self._config.name[1]))
                try:
                    store.check_writable()
                except BaseException:
                    store.close()
                    raise
            except MaterialError as again:
                self._trouble = str(again)
            else:
                self._trouble = ""
                return store
            self._refuse_for(STORE_SECONDS)

    def _refuse_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._node.wait((), listen=True, seconds=left)
            self._node.refuse_all(self._trouble, MATERIAL)

    def state(self, store: Store | None) -> State:
        """What those who operate the server may ask, on any thread."""
        found = state(self._node, self._ready, store)
        peers = {**dict.fromkeys(self._config.others, False), **found.peers}
        return replace(found, peers=peers, trouble=self._trouble)

    def _tell(self, event: Event) -> None:
        if str(event) != self._told:
            self._watch.tell(event)
        self._told = str(event)


@dataclass(frozen=True)
class Hosting:
    """What a service tells the process of a plan, as JSON. doors: file numbers of the sockets by which connections of
    servers and of clients (a party) come, and to which address. wire: that of the socket for what is told. shelf: where
    parameters are kept, and key_file: under which key. uses: where queries are counted. ledger: where releases of all
    plans are entered. material: the plan's store, if it has one, and low_water as of `MachineConfig`."""

    name: str
    label: str
    plan: str
    keys: Mapping[str, str]
    server_keys: Mapping[str, str]
    members: Mapping[str, Mapping[str, Any]]
    addresses: Mapping[str, str]
    doors: Mapping[str, tuple[int, str]]
    wire: int
    timeout: float
    window: int
    linger: float
    shelf: str
    key_file: str
    uses: str
    ledger: str
    material: str
    low_water: int

    def config(self) -> MachineConfig:
        doors = {to: Handed(socket.socket(fileno=number), at) for to, (number, at) in self.doors.items()}
        return MachineConfig(
            name=self.name,
            keys=KeyPair(**self.keys),
            address=doors["servers"],
            clients=doors.get("clients", ""),
            server_keys=self.server_keys,
            members=members_of(self.members),
            timeout=self.timeout,
            window=self.window,
            linger=self.linger,
            data=self.uses,
            ledger=self.ledger,
            material=self.material,
            low_water=self.low_water,
        )


def told_members(members: Members) -> dict[str, dict[str, Any]]:
    """As JSON has them."""
    return {key: {**asdict(member), "may": sorted(member.may)} for key, member in members.items()}


def members_of(told: Mapping[str, Mapping[str, Any]]) -> Members:
    return {key: Member(**{**each, "may": frozenset(each["may"])}) for key, each in told.items()}


def _desk(plan: Plan, hosting: Hosting, watch: Watch) -> Desk:
    """With the parameters that were given to an earlier process; a store keeps them itself."""
    number = int(hosting.name[1])
    shelf = Shelf(Path(hosting.shelf), shelf_key(Path(hosting.key_file)), plan.hash, number)
    submissions = Submissions(plan, number)
    if hosting.material:
        return Desk(submissions, shelf)
    stored, problems = shelf.read()
    for problem in problems:
        watch.tell(Noted(problem))
    for key, payload in stored.items():
        if problem := submissions.problem(key, [payload.nbytes]):
            watch.tell(Noted(f"stored parameters do not fit the plan and are not used: {problem}"))
        else:
            submissions.add(key, Submission(0, payload, time.perf_counter()))
    return Desk(submissions, shelf)


def _lines_of(file: int) -> Iterator[bytes]:
    """The lines that come from a file, without Python's buffer, whose lock a thread would hold as the process ends."""
    rest = b""
    while got := os.read(file, READ_BYTES):
        *lines, rest = (rest + got).split(b"\n")
        yield from lines


class _Orders:
    """What the service says later: new members, a line of JSON each. Its end is ours."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._members: Members | None = None
        self._revise: Callable[[Members], None] = lambda _: None
        self._lock = threading.Lock()

    def follow(self) -> None:
        """In a thread of its own."""
        for line in self._lines:
            with self._lock:
                self._members = members_of(json.loads(line))
                self._revise(self._members)
        os._exit(0)

    @contextmanager
    def watching(self, revise: Callable[[Members], None]) -> Iterator[None]:
        with self._lock:
            self._revise = revise
            if self._members is not None:
                revise(self._members)
        yield


def main() -> None:
    """The process."""
    lines = _lines_of(0)
    hosting = Hosting(**json.loads(next(lines)))
    orders = _Orders(lines)
    threading.Thread(target=orders.follow, name="orders", daemon=True).start()
    speaker = Speaker(socket.socket(fileno=hosting.wire))
    watch = Watch(Place(hosting.name), (speaker,), speaker.asked)
    try:
        plan = load(hosting.plan)
        watch = watch.at(hosting.label, plan.hash)
        config = hosting.config()
        desk = _desk(plan, hosting, watch) if config.computes else None
        host(plan, config, hosting.addresses, desk, watch, orders.watching)
    except Error as error:
        watch.tell(Aborted("", "", str(error)))
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(0)
    finally:
        speaker.close()
