"""The process of one plan of a service: as a server of one plan (`process.py`), but that it outlives the others.

    meet the others -> serve -> one of them is gone, or has sent what fits nothing -> part from all -> meet again

Whoever sees a session end tells the others, so all three begin the next one: with new seeds, new keys and new streams,
so that nothing of the old one is used or accepted again. What clients have left for runs that had not begun stays
where it is, and so do parameters, which are opened under fresh masks. Clients of the run that was broken off are told.

Configuration and plan come on standard input, connections by way of sockets that the service has left open, and what
is to be told to whoever operates it goes to standard error. The process ends with the service, however that ends, and
with whatever is no other machine's fault: the service then starts another.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Error, PeerError
from ..plan import Plan
from ..plan_file import load
from ..transport.door import Handed
from ..transport.identity import KeyPair
from ..transport.node import Node
from .members import Member
from .party import Party
from .process import (
    EXIT_ERROR,
    Desk,
    MachineConfig,
    at_work,
    call_others,
    end_with_stdin,
    opened,
    opened_ledger,
    take_leave,
)
from .shelf import Shelf, shelf_key
from .submissions import Submission, Submissions
from .uses import Uses

__all__ = ["Hosting", "Teller", "host", "main"]

MISSING_SECONDS = 5.0  # after which whoever operates the service is told who has not come
AGAIN_SECONDS, AGAIN_AT_MOST = 0.1, 2.0  # between sessions: the others notice, and none is called without a pause


class Teller:
    """Tells whoever operates a service what has changed, and nothing twice in a row."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            print(f"{self._who}: {text}", file=sys.stderr, flush=True)
        self._last = text


def host(plan: Plan, config: MachineConfig, addresses: Mapping[str, str], desk: Desk | None, tell: Teller) -> None:
    """Serves until it is stopped (KeyboardInterrupt) or cannot go on for a reason of its own."""
    node = opened(plan, config)
    node.patient = True
    uses = Uses(config.data or None)
    spending = opened_ledger(plan, config)
    pause = AGAIN_SECONDS
    doing = "the start"
    try:
        while True:
            server = None
            try:
                call_others(node, config, addresses)
                _meet(node, config, tell)
                tell("is ready")
                server, pause = at_work(plan, config, node, uses, spending, desk=desk), AGAIN_SECONDS
                server.serve()
            except PeerError as error:
                doing = server.doing if server else "the start"
                tell(f"{_told(error, doing)}; goes on when all are there")
                node.part(error.peer, error.op or doing or "between executions", str(error))
                if isinstance(server, Party):
                    server.broken_off(error)
            time.sleep(pause * random.uniform(0.5, 1))  # so that machines do not try in step
            pause = min(2 * pause, AGAIN_AT_MOST)
    except BaseException as error:
        take_leave(node, error, doing)
        raise
    finally:
        node.close()
        uses.close()
        spending.close()


def _meet(node: Node, config: MachineConfig, tell: Teller) -> None:
    while missing := node.missing(config.others, MISSING_SECONDS):
        tell(f"waits for {' and '.join(missing)}")


def _told(error: PeerError, doing: str) -> str:
    where = f" (at {doing})" if doing and doing not in str(error) else ""
    return f"{error}{where}"


@dataclass(frozen=True)
class Hosting:
    """What a service tells the process of a plan, as JSON. ends: file numbers of the sockets by which connections of
    servers and of clients (a party) come. shelf: where parameters
    are kept, and key_file: under which key. uses: where queries are counted. ledger: where
    releases of all plans are entered."""

    name: str
    label: str
    plan: str
    keys: Mapping[str, str]
    server_keys: Mapping[str, str]
    members: Mapping[str, Mapping[str, Any]]
    addresses: Mapping[str, str]
    doors: Mapping[str, tuple[int, str]]
    timeout: float
    window: int
    shelf: str
    key_file: str
    uses: str
    ledger: str

    def config(self) -> MachineConfig:
        doors = {to: Handed(socket.socket(fileno=number), at) for to, (number, at) in self.doors.items()}
        return MachineConfig(
            name=self.name,
            keys=KeyPair(**self.keys),
            address=doors["servers"],
            clients=doors.get("clients", ""),
            server_keys=self.server_keys,
            members={key: _member(told) for key, told in self.members.items()},
            timeout=self.timeout,
            window=self.window,
            data=self.uses,
            ledger=self.ledger,
        )


def _member(told: Mapping[str, Any]) -> Member:
    return Member(**{**told, "may": frozenset(told["may"])})


def _desk(plan: Plan, hosting: Hosting, tell: Teller) -> Desk:
    """With the parameters that were given to an earlier process."""
    number = int(hosting.name[1])
    shelf = Shelf(Path(hosting.shelf), shelf_key(Path(hosting.key_file)), plan.hash, number)
    submissions = Submissions(plan, number)
    stored, problems = shelf.read()
    for problem in problems:
        tell(problem)
    for key, payload in stored.items():
        if problem := submissions.problem(key, [payload.nbytes]):
            tell(f"stored parameters do not fit the plan and are not used: {problem}")
        else:
            submissions.add(key, Submission(0, payload, time.perf_counter()))
    return Desk(submissions, shelf)


def main() -> None:
    """The process."""
    told: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    hosting = Hosting(**told)
    tell = Teller(f"{hosting.name} {hosting.label}")
    threading.Thread(target=end_with_stdin, name="end-with-parent", daemon=True).start()
    try:
        plan = load(hosting.plan)
        config = hosting.config()
        desk = _desk(plan, hosting, tell) if config.computes else None
        host(plan, config, hosting.addresses, desk, tell)
    except Error as error:
        tell(str(error))
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(0)
