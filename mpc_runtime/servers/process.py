"""The process of a server: p0, p1 or the dealer, from its keys and addresses to its end.

    listen -> link to the other two -> meet -> serve until one of them is gone or the process is stopped

`run` is used by `mpcc party` and `mpcc dealer`, with addresses from a `cluster.toml`. `main` is the process that
`mpc.launch` starts: plan and keys come on standard input, the port chosen goes out on standard output, and the end of
standard input, which the death of the parent brings about however it dies, ends the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ..analysis.verify import expect_room
from ..errors import Error, InputError, MaterialError, PeerError
from ..limits import TIMEOUT_SECONDS, WAIT_SECONDS, WINDOW_BYTES, check_seconds, check_window
from ..operation.events import Aborted, KeysRefused, Listening, Noted, Ready, Stopped
from ..operation.watch import NOBODY, Door, State, Watch
from ..plan import FORMAT, Plan
from ..plan_file import read
from ..store.store import Store
from ..transport.address import ANY_PORT, clients_of
from ..transport.door import Door as Entrance
from ..transport.guests import Occupancy
from ..transport.hello import Hello
from ..transport.identity import KeyPair
from ..transport.messages import DEALER, MATERIAL, PARTY, PARTY_TO_DEALER, Dialect
from ..transport.node import Node
from ..transport.records import MaterialSink, MaterialSource, PeerChannel
from .admission import Admission
from .consent import Consent
from .dealer import Dealer
from .executions import Executions
from .heap import keep_memory, machine_memory, resident_memory
from .members import Member, Members
from .party import Party
from .refill import Refill
from .shelf import Shelf
from .spending import MEMORY, Spending
from .stored import StoreSupply
from .submissions import Submissions, client_quota
from .supply import DealerSupply, Supply
from .trained import Trained
from .uses import Uses

__all__ = [
    "SERVERS",
    "Desk",
    "MachineConfig",
    "Revisions",
    "at_work",
    "call_others",
    "door",
    "opened",
    "opened_ledger",
    "run",
    "state",
    "stored",
    "take_leave",
]

SERVERS = ("p0", "p1", "dealer")
EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
Revisions = Callable[[Callable[[Members], None]], AbstractContextManager[None]]
"""While it lasts, calls what it is given with the members that are to take the place of those before."""


@dataclass(frozen=True)
class MachineConfig:
    """What one server needs to know besides the plan.

    address: where it listens for servers; clients: where a party listens for clients. server_keys: public keys of p0,
    p1 and the dealer. members: who may connect to a party.
    wait: seconds to wait for the other servers at the start.
    """

    name: str
    keys: KeyPair
    address: Entrance | str
    server_keys: Mapping[str, str]
    members: Members
    timeout: float = TIMEOUT_SECONDS
    window: int = WINDOW_BYTES
    wait: float = WAIT_SECONDS
    clients: Entrance | str = ""
    origin: str = ""
    """Where the address was written, for messages; clients_origin: where the one for clients was."""
    clients_origin: str = ""
    data: str = ""
    """The folder in which a party keeps what outlives it."""
    ledger: str = ""
    """The folder of its privacy ledger, where that is not `data`; MEMORY for one that ends with the process."""
    material: str = ""
    """The folder with a party's stored material; then no dealer is needed."""
    low_water: int = 0
    """With stored material: below so many runs, a dealer that is online deals as many more. 0: there is none."""
    linger: float = 0.0
    """Seconds that p0 lets a query wait for others to share its run."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where the addresses of the other servers were."""

    @property
    def others(self) -> tuple[str, ...]:
        """Those without which it does not begin."""
        return tuple(name for name in SERVERS if name != self.name and not (self.material and name == "dealer"))

    @property
    def refilled(self) -> bool:
        """Whether a dealer may come to refill its store."""
        return bool(self.material and self.low_water)

    @property
    def computes(self) -> bool:
        """Whether it is a party, which has clients."""
        return self.name != "dealer"


def run(
    plan: Plan,
    config: MachineConfig,
    addresses: Callable[[str, str], Mapping[str, str]],
    watch: Watch = NOBODY,
    revisions: Revisions = lambda _: nullcontext(),
) -> None:
    """Serves until an error, which is raised here after all who are connected were told.

    addresses: from the addresses that this server listens at, for servers and (a party) for clients, the addresses of
    all servers for servers. watch: is told what happens. revisions: of the members in `config`.
    """
    check_seconds(timeout=config.timeout, wait=config.wait)
    check_window(config.window)
    uses = Uses(config.data or None)
    spending = opened_ledger(plan, config)
    store = stored(plan, config)
    server: Party | Dealer | None = None
    watch = watch.at(plan.name, plan.hash)
    met = threading.Event()
    node = opened(plan, config, watch)
    admission = Admission(node, config.members)
    try:
        watch.answers(lambda: state(node, met.is_set(), store))
        watch.tell(Listening(node.address, node.clients_address))
        with revisions(admission.revise):
            others = addresses(node.address, node.clients_address)
            call_others(node, config, others)
            node.meet(config.others, config.wait)
            met.set()
            watch = watch.at(plan.name, plan.hash, node.links[config.others[0]].label)
            watch.tell(Ready())
            server = at_work(plan, config, node, uses, spending, watch, store, addresses=others)
            admission.joined(server)
            server.serve()
    except BaseException as error:
        take_leave(node, error, server.doing if server else "the start", watch)
        raise
    finally:
        node.close()
        uses.close()
        spending.close()
        if store is not None:
            store.close()


def stored(plan: Plan, config: MachineConfig) -> Store | None:
    """The party's stored material, if it has some."""
    return Store(config.material, plan, int(config.name[1])) if config.material else None


def opened(plan: Plan, config: MachineConfig, watch: Watch = NOBODY) -> Node:
    """The node of a server, which takes connections. To be called once in a process, before there are threads."""
    expect_room(plan, machine_memory())
    keep_memory()
    node = Node(Hello(config.name, plan.hash, FORMAT), config.keys, config.timeout)
    node.told = lambda text: watch.tell(Noted(text))
    try:
        node.optional |= {"dealer"} if config.refilled else set()
        others = [*config.others, *node.optional]
        machines = {config.server_keys[name]: name for name in others}
        with _naming(config.origin):
            node.listen(machines, config.address)
        if config.computes:
            with _naming(config.clients_origin):
                roles = {key: member.role for key, member in config.members.items()}
                quota = client_quota(plan, int(config.name[1]))
                node.open_to_clients(roles, quota, config.clients, lambda text: watch.tell(KeysRefused(text)))
        _stop_between_messages(node)
    except BaseException:
        node.close()
        raise
    return node


def opened_ledger(plan: Plan, config: MachineConfig) -> Spending:
    """Of a party; the dealer has none."""
    if not config.computes:
        return Spending(plan, -1, MEMORY)
    return Spending(plan, int(config.name[1]), config.ledger or config.data)


def call_others(node: Node, config: MachineConfig, addresses: Mapping[str, str]) -> None:
    """Begins the links to the other servers, at their addresses for servers."""
    for name in (*config.others, *node.optional):
        _call(node, config, addresses, name)


def _call(node: Node, config: MachineConfig, addresses: Mapping[str, str], name: str, pause: float = 0.0) -> None:
    dialect = _dialect(config.name, name)
    node.connect(name, addresses[name], config.server_keys[name], dialect, config.origins.get(name, ""), pause)


@dataclass(frozen=True)
class Desk:
    """What outlives the sessions of a party: what clients have left, and where parameters outlive the process."""

    submissions: Submissions
    shelf: Shelf


def at_work(
    plan: Plan,
    config: MachineConfig,
    node: Node,
    uses: Uses,
    spending: Spending,
    watch: Watch = NOBODY,
    store: Store | None = None,
    desk: Desk | None = None,
    addresses: Mapping[str, str] | None = None,
) -> Party | Dealer:
    """What serves on a node that has met the others. addresses: where a dealer is that refills its store."""
    if not config.computes:
        return Dealer(plan, node, lambda party, wait: MaterialSink(node, party, config.window, wait), watch=watch)
    channel = PeerChannel(node, "p1" if config.name == "p0" else "p0")
    number = int(config.name[1])
    supply = _supply(plan, config, node, store, desk.shelf if desk else None, addresses or {})
    trained = Trained(plan, number, Path(config.data) if config.data else None)
    executions = Executions(plan, number, node, channel, supply, watch=watch, trained=trained)
    consent = Consent(plan, number, config.members, uses, spending)
    return Party(executions, consent, watch, desk.submissions if desk else None, config.linger)


def _supply(
    plan: Plan,
    config: MachineConfig,
    node: Node,
    store: Store | None,
    shelf: Shelf | None,
    addresses: Mapping[str, str],
) -> Supply:
    number = int(config.name[1])
    if store is not None and config.refilled:

        def call(pause: float) -> None:
            _call(node, config, addresses, "dealer", pause)

        refill = Refill(plan, number, node, store, config.low_water, config.window, call)
        return StoreSupply(plan, number, node, store, refill)
    if store is not None:
        return StoreSupply(plan, number, node, store)
    return DealerSupply(plan, node, MaterialSource(node, config.window), shelf)


def take_leave(node: Node, error: BaseException, doing: str, watch: Watch = NOBODY) -> None:
    """Tells all who are connected why a server ends."""
    name = node.hello.name
    if isinstance(error, PeerError):
        watch.tell(Aborted(error.peer, error.op or doing, str(error)))
        node.farewell(error.peer, error.op or doing or "between executions", str(error))
    elif isinstance(error, MaterialError):
        watch.tell(Aborted("", doing, str(error)))
        node.farewell("", doing, f"{name}: {error}", MATERIAL)
    elif isinstance(error, KeyboardInterrupt):
        watch.tell(Stopped())
        node.farewell("", "", f"{name} was stopped")
    elif isinstance(error, Exception):
        watch.tell(Aborted("", doing, f"{type(error).__name__}: {error}"))
        node.farewell("", doing, f"{name} failed at {doing}: {type(error).__name__}: {error}")


def state(node: Node, ready: bool, store: Store | None) -> State:
    """What those who operate the server may ask, on any thread."""
    doors = {name: door(found) for name, found in node.doors().items()}
    peers = {name: link.up for name, link in list(node.links.items())}
    left = max(0, store.end - store.next) if store is not None else None
    return State(ready, peers, doors, left, frozenset(node.optional), resident_memory())


def door(found: Occupancy) -> Door:
    """What a front holds, as it is told."""
    return Door(found.connections, found.strangers, sum(found.bytes.values()), found.refused)


def _dialect(listener: str, speaker: str) -> Dialect:
    """What one server may say to another."""
    if listener == "dealer":
        return PARTY_TO_DEALER
    return DEALER if speaker == "dealer" else PARTY


@contextmanager
def _naming(origin: str) -> Iterator[None]:
    """Puts the place in a file before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{origin}: {error}" if origin else str(error)) from None


def _stop_between_messages(node: Node) -> None:
    """Ctrl-C and SIGTERM (a service manager's way to say it) end this process, though not within a message, after which
    the others could not read the farewell."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: node.interrupt())


def main() -> None:
    """The launched process: configuration, plan and addresses on standard input, the addresses bound on standard
    output.
    """
    stdin, stdout = sys.stdin.buffer, sys.stdout
    given = json.loads(stdin.readline())
    plan = read(stdin.read(given["plan_bytes"]))
    config = MachineConfig(
        name=given["name"],
        keys=KeyPair(**given["keys"]),
        address=ANY_PORT,
        clients=ANY_PORT,
        server_keys=given["server_keys"],
        members={key: Member(role) for key, role in given["roles"].items()},
        timeout=given["timeout"],
        window=given["window"],
        linger=given["linger"],
        wait=given["timeout"],
        material=given["material"],
        data=given["data"],
        ledger="" if given["data"] else MEMORY,
    )

    def addresses(own: str, clients: str) -> Mapping[str, str]:
        print(json.dumps({config.name: own, clients_of(config.name): clients}), file=stdout, flush=True)
        line = stdin.readline()
        if not line:
            os._exit(EXIT_ERROR)  # the parent has gone already
        threading.Thread(target=_end_with_stdin, name="end-with-parent", daemon=True).start()
        if given["nice"]:
            os.nice(given["nice"])  # after the I/O threads have started, which keep their priority
        return dict(json.loads(line))

    try:
        run(plan, config, addresses)
    except Error as error:
        print(f"{config.name}: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_ERROR)


def _end_with_stdin() -> None:
    """Ends this process as soon as its standard input is closed: its parent has ended."""
    while os.read(0, 4096):
        continue
    os._exit(0)
