"""Executions on channels, records and sinks that are handed in: no socket, and a dealer that put its records into lists
and is gone. What stores material elsewhere fits in the same places.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.encoding.sharing import rebuild, split
from mpc_runtime.errors import MaterialError, PeerError
from mpc_runtime.kernels import CPU, Kernels, Prg
from mpc_runtime.limits import RECORDS_AHEAD
from mpc_runtime.servers.dealer import Dealer
from mpc_runtime.servers.executions import Executions
from mpc_runtime.servers.submissions import Submission
from mpc_runtime.servers.supply import DealerSupply
from mpc_runtime.transport.channel import Buffer, Keeper, as_bytes
from mpc_runtime.transport.messages import Message
from tests.loaded import loaded
from tests.machines import encoded
from tests.memory_channel import MemoryChannel, channel_pair

Array = np.ndarray

MODEL = """model stored
role a, b
input x : int[3, 4] from a in [-100, 100]
param w : int[4, 2] from b in [-100, 100]
output y = relu(x @ w) to a
output positive = x @ w > 0 to a, b
"""
PROGRAM = mpc.compile(text=MODEL)
PLAN = loaded(PROGRAM.plan)
W = np.array([[1, -2], [-100, 100], [7, 0], [3, 5]])
XS = [np.arange(12).reshape(3, 4) - 6, np.full((3, 4), 100)]
PATIENCE = 30.0


@dataclass
class Stored:
    """A record as it lies in a list."""

    procedure: str
    index: int
    data: bytearray = field(default_factory=bytearray)
    summary: dict[str, Any] = field(default_factory=dict)


class Shelf(Keeper):
    """A `RecordSink`: the dealer's records for one party, put into a list."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.used = -1

    def begin(self, procedure: str, index: int) -> None:
        self.records.append(Stored(procedure, index))

    def write(self, buffer: Buffer) -> None:
        self.records[-1].data += as_bytes(buffer)

    def flush(self) -> None:
        """Nothing is held back."""

    def end(self, seconds: float, written: int) -> None:
        self.records[-1].summary = {"seconds": seconds, "bytes": written}

    def drop(self) -> None:
        self.records.pop()

    def credit(self, message: Message) -> None:
        raise AssertionError("nobody reads while the records are dealt")


class FromShelf:
    """`Records` that lie in a list."""

    def __init__(self, records: list[Stored]) -> None:
        self.records = deque(records)
        self.at = 0

    def announced(self, procedure: str) -> int | None:
        first = self.records[0] if self.records else None
        return first.index if first is not None and first.procedure == procedure else None

    def next_of(self, procedure: str) -> int:
        while self.records[0].procedure != procedure:
            self.records.popleft()
        return self.records[0].index

    def open(self, procedure: str, index: int, at: object) -> None:
        while self.records and self.records[0].index < index:
            self.records.popleft()
        if self.announced(procedure) != index:
            raise MaterialError(f"no record {index} of {procedure} is left")
        self.at = 0

    def read(self, nbytes: int, at: object) -> memoryview:
        self.at += nbytes
        return memoryview(self.records[0].data)[self.at - nbytes : self.at]

    def finish(self, at: object) -> dict[str, Any]:
        record = self.records.popleft()
        assert self.at == len(record.data), "a record is read to its end"
        return record.summary


class Desk:
    """A node that reaches others by lists: what machines say to each other between executions, and say to roles."""

    timeout = PATIENCE

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self.name, self.patience = name, patience
        self.links: dict[str, Heard] = {}
        self.others: dict[str, Desk] = {}
        self.replies: list[tuple[str, dict[str, Any], tuple[Array, ...]]] = []
        self.something = threading.Condition()

    def say(self, to: str, body: dict[str, Any], *payload: bytes) -> None:
        other = self.others[to]
        with other.something:
            other.links[self.name].messages.append(Message(self.name, 0, body, [memoryview(p) for p in payload]))
            other.something.notify_all()

    def reply(self, route: bytes, role: str, body: dict[str, Any], *payload: Array, later: bool = False) -> None:
        assert route == role.encode()
        self.replies.append((role, body, payload))

    def check(self, at: object) -> None:
        """All are well."""

    def receive(self) -> None:
        """No client speaks."""

    def wait(self, machines: object, listen: bool, seconds: float | None) -> None:
        with self.something:
            if not self.something.wait_for(lambda: any(h.messages for h in self.links.values()), self.patience):
                raise PeerError("nothing more is said", "", "")


class Heard:
    """What one machine has said."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()

    def next(self) -> Message | None:
        return self.messages.popleft() if self.messages else None


class QuietChannel:
    """A `PartyChannel` of parties that say nothing to each other between executions."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.send, self.recv, self.close = channel.send, channel.recv, channel.close

    def control(self) -> Message | None:
        return None


def desks() -> dict[str, Desk]:
    made = {"p0": Desk("p0"), "p1": Desk("p1"), "dealer": Desk("dealer", patience=0.0)}
    for name, desk in made.items():
        desk.others = {other: made[other] for other in made if other != name}
        desk.links = {other: Heard() for other in desk.others}
    return made


class Watched(Kernels):
    """Kernels that know which keys streams were made of."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def Prg(self, key: bytes, **named: Any) -> Prg:
        self.keys.append(key)
        return Prg(key, **named)


def dealt(made: dict[str, Desk], kernels: Kernels = CPU) -> dict[str, Shelf]:
    """The records of a dealer that was asked for `setup` and is gone when it has dealt as far ahead as it may."""
    shelves = {"p0": Shelf(), "p1": Shelf()}
    made["p0"].say("dealer", {"kind": "wanted", "procedure": "setup"})
    dealer = Dealer(PLAN, made["dealer"], lambda party, wait: shelves[party], kernels)  # type: ignore[arg-type]
    with pytest.raises(PeerError, match="nothing more is said"):
        dealer.serve()
    return shelves


def parties(made: dict[str, Desk], shelves: dict[str, Shelf], kernels: Kernels) -> list[Executions]:
    ends = [QuietChannel(channel) for channel in channel_pair(PATIENCE)]
    made_of = []
    for i, (end, name) in enumerate(zip(ends, shelves, strict=True)):
        supply = DealerSupply(PLAN, made[name], FromShelf(shelves[name].records))  # type: ignore[arg-type]
        made_of.append(Executions(PLAN, i, made[name], end, supply, kernels))  # type: ignore[arg-type]
    return made_of


def at_both(work: Callable[[int], None], channels: list[QuietChannel]) -> None:
    """The work of party 0 and of party 1, each on its thread."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as e:
            errors.append(e)
            channels[i].close(str(e))

    threads = [threading.Thread(target=guarded, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    if errors:
        raise errors[0]


def submitted(stage: str, x: Array) -> list[dict[str, list[Submission]]]:
    """What each party has of every role for an execution."""
    found: list[dict[str, list[Submission]]] = [{}, {}]
    for role, feeds in encoded(PLAN, stage, {"x": x}, {"w": W}).items():
        if role in PLAN.roles_of(stage):
            for i, payload in enumerate(split(PLAN.feeds_of(role, stage), feeds)):
                found[i][role] = [Submission(role.encode(), payload.data, 0.0)]
    return found


class Served:
    """Both parties at work on a shelf."""

    def __init__(self, made: dict[str, Desk], shelves: dict[str, Shelf], kernels: Kernels = CPU) -> None:
        self.desks = [made["p0"], made["p1"]]
        self.parties = parties(made, shelves, kernels)
        self.channels: list[Any] = [party.channel for party in self.parties]
        at_both(lambda i: self.parties[i].begin(), self.channels)

    def execute(self, stage: str, x: Array, index: int | None = None, preprocess: bool = False) -> dict[str, Array]:
        """The results at role a; the index is the next, or a later one."""
        given = submitted(stage, x)
        procedure = PLAN.procedure(stage)

        def work(i: int) -> None:
            party = self.parties[i]
            assert not preprocess or party.preprocess()
            number = party.next_index(procedure) if index is None else index
            party.execute(procedure, number, dict.fromkeys(given[i], ("7",)), given[i])

        at_both(work, self.channels)
        return self._results()

    def _results(self) -> dict[str, Array]:
        told = [[r for r in desk.replies if r[0] == "a" and r[1]["kind"] == "result"] for desk in self.desks]
        for desk in self.desks:
            desk.replies.clear()
        shares = [dict(zip(r[1]["names"], r[2], strict=False)) for mine in told for r in mine]
        if not shares:
            return {}
        return {r.name: rebuild(r, shares[0][r.name], shares[1][r.name]) for r in PLAN.results_of("a", "run")}


def assert_right(found: dict[str, Array], x: Array) -> None:
    assert np.array_equal(found["y"], np.maximum(x @ W, 0))
    assert np.array_equal(found["positive"], x @ W > 0)


def test_runs_from_records_that_were_dealt_earlier() -> None:
    made = desks()
    shelves = dealt(made)
    records = [[(r.procedure, r.index) for r in shelf.records] for shelf in shelves.values()]
    assert records[0] == records[1] == [("setup", 0), *(("run", i) for i in range(1, RECORDS_AHEAD))]
    sizes = {len(shelves["p0"].records[i].data) + len(shelves["p1"].records[i].data) for i in range(1, RECORDS_AHEAD)}
    assert sizes == {PROGRAM.cost.offline_bytes} != {0}

    served = Served(made, shelves)
    assert served.execute("setup", XS[0]) == {}
    assert_right(served.execute("run", XS[0]), XS[0])
    assert_right(served.execute("run", XS[1], preprocess=True), XS[1])


def test_a_record_that_is_passed_over_or_used_is_burnt() -> None:
    made = desks()
    served = Served(made, dealt(made))
    served.execute("setup", XS[0])
    assert_right(served.execute("run", XS[0], index=3), XS[0])
    run, given = PLAN.procedure("run"), submitted("run", XS[1])
    for party, burnt in itertools.product((0, 1), (2, 3)):
        with pytest.raises(MaterialError, match=f"material {burnt} has been used or discarded; the next is 4"):
            served.parties[party].execute(run, burnt, dict.fromkeys(given[party], ("7",)), given[party])
    assert_right(served.execute("run", XS[1]), XS[1])


def test_a_record_that_is_not_there_is_named() -> None:
    made = desks()
    shelves = dealt(made)
    del shelves["p0"].records[1:], shelves["p1"].records[1:]
    served = Served(made, shelves)
    served.execute("setup", XS[0])
    with pytest.raises(MaterialError, match="no record 1 of run is left"):
        served.execute("run", XS[0])


def test_kernels_are_handed_in_too() -> None:
    """The streams of both seeds are made by the dealer's kernels, and those of the parties' keys by theirs."""
    made, dealing, running = desks(), Watched(), Watched()
    served = Served(made, dealt(made, dealing), running)
    served.execute("setup", XS[0])
    assert_right(served.execute("run", XS[0]), XS[0])
    assert len(set(dealing.keys)) == len(dealing.keys) == 2 * RECORDS_AHEAD
    pairs = set(running.keys) - set(dealing.keys)
    assert len(pairs) == 2 and len(set(running.keys) - pairs) == 2 * 2
