"""The dealer's process: seeds at the start of a session, then records of material, ahead of the parties.

It hears three things: `wanted` from p0 (deal a record of a procedure now, and if it is one that is dealt ahead, more of
it from then on; with new parameters `setup`, for whose masks it deals runs from then on), `refill` from p0 (deal a
whole dealing for both parties' stores, under its own seeds) and `credit` from both parties (what they have read). A
record that it is dealing ahead when another is wanted is abandoned; the parties pass over what has left. It is never
sent an input, a share or an opened value.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable

from ..errors import PeerError
from ..execution.dealer import DealerExecutor
from ..execution.keys import SEED_BYTES, SeedChain
from ..kernels import CPU, Kernels
from ..limits import RECORDS_AHEAD
from ..operation.events import Dealt
from ..operation.watch import NOBODY, Watch
from ..plan import Plan
from ..procedure import Procedure
from ..store.deal import ID_BYTES, Batch
from ..transport.channel import RecordSink
from ..transport.messages import Message
from ..transport.node import Node

__all__ = ["Dealer"]

PARTIES = ("p0", "p1")
WANTED_AT_MOST = 8  # records; p0 asks for one at a time


class _Abandoned(Exception):
    """Another record is wanted while one is being dealt ahead."""


class Dealer:
    """The dealer on a node that has met both parties. `serve` returns only by an exception.

    sink: the way of a party's records, from its name and what is to be called while the way is blocked. kernels: what
    gates compute with. watch: is told of records.
    """

    def __init__(
        self,
        plan: Plan,
        node: Node,
        sink: Callable[[str, Callable[[], None]], RecordSink],
        kernels: Kernels = CPU,
        watch: Watch = NOBODY,
    ) -> None:
        self.plan = plan
        self.node = node
        self._kernels = kernels
        self.executor = DealerExecutor(plan, kernels)
        self.doing = ""
        self._watch = watch
        self._sinks = sink("p0", self._wait_for_credit), sink("p1", self._wait_for_credit)
        self._ahead = next((p for p in plan.procedures if p.ahead), None)  # what is dealt ahead now
        self._missing = {p.name for p in plan.procedures if p.standing}  # of which no record has been dealt yet
        self._wanted: deque[str] = deque()
        self._refills: deque[int] = deque()
        self._index = 0
        self._held_back = 0.0  # seconds of the record in hand that were spent waiting for the parties to read
        self._chains: tuple[SeedChain, SeedChain]

    def serve(self) -> None:
        """Runs until a party is gone (PeerError) or the process is stopped."""
        seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
        for party, seed in zip(PARTIES, seeds, strict=True):
            self.node.say(party, {"kind": "seed"}, seed)
        self._chains = SeedChain(seeds[0], self.plan.hash), SeedChain(seeds[1], self.plan.hash)
        while True:
            self._listen(block=not self._wanted and not self._refills and self._next_ahead() is None)
            if self._refills:
                self._refill(self._refills.popleft())
            elif self._wanted:
                self._deal(self._wanted.popleft())
            elif (procedure := self._next_ahead()) is not None:
                self._deal(procedure.name)

    @property
    def _ahead_by(self) -> int:
        """Records that were dealt, and that a party is not done with."""
        return self._index - 1 - min(sink.used for sink in self._sinks)

    def _next_ahead(self) -> Procedure | None:
        """The procedure of which a record may be dealt ahead."""
        return None if self._missing or self._ahead_by >= RECORDS_AHEAD else self._ahead

    def _want(self, procedure: str) -> None:
        if len(self._wanted) >= WANTED_AT_MOST:
            raise PeerError(f"p0 wants more than {WANTED_AT_MOST} records at once", "p0", self.doing)
        self._wanted.append(procedure)

    def _may_want(self, party: str, message: Message) -> bool:
        return party == "p0" and message.body.get("procedure") in {p.name for p in self.plan.procedures}

    def _may_refill(self, party: str) -> bool:
        """p0 asks for one dealing after the other."""
        return party == "p0" and not self._refills

    def _refill(self, runs: int) -> None:
        """A dealing for both parties' stores. Nothing of it stays here."""
        batch, id_ = Batch.of(self.plan, runs), secrets.token_hex(ID_BYTES)
        seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
        for party, seed in zip(PARTIES, seeds, strict=True):
            self.node.say(party, {"kind": "dealing", "dealing": id_, "runs": runs}, seed)
        chains = SeedChain(seeds[0], self.plan.hash), SeedChain(seeds[1], self.plan.hash)
        executor = DealerExecutor(self.plan, self._kernels)
        for place, procedure in enumerate(batch.procedures()):
            self._deal_record(executor, chains, procedure.name, place)

    def _deal(self, procedure: str) -> None:
        """One record to both parties; its index is spent in any case."""
        index, self._index = self._index, self._index + 1
        try:
            self._deal_record(self.executor, self._chains, procedure, index)
        except _Abandoned:
            for sink in self._sinks:
                sink.drop()
            return
        self._missing.discard(procedure)
        self._ahead = next((p for p in self.plan.procedures if p.name == procedure and p.ahead), self._ahead)

    def _deal_record(
        self, executor: DealerExecutor, chains: tuple[SeedChain, SeedChain], procedure: str, index: int
    ) -> None:
        self.doing = f"dealing {procedure} {index}"
        keys = chains[0].take(index, procedure), chains[1].take(index, procedure)
        for sink in self._sinks:
            sink.begin(procedure, index)
        began, self._held_back = time.perf_counter(), 0.0
        written = executor.execute(procedure, keys, self._sinks)
        for sink in self._sinks:
            sink.flush()
        seconds = time.perf_counter() - began - self._held_back
        for sink in self._sinks:
            sink.end(seconds, written)
        self._watch.tell(Dealt(procedure, index, time.time(), seconds, written, self._ahead_by))
        self.doing = ""

    def _wait_for_credit(self) -> None:
        """A party's window is full: what has been gathered for both is sent, and we listen."""
        for sink in self._sinks:
            sink.flush()
        began = time.perf_counter()
        self._listen(block=True)
        self._held_back += time.perf_counter() - began
        if self._wanted:
            raise _Abandoned

    def _listen(self, *, block: bool) -> None:
        """Takes all that the parties have said; waits for something if told to."""
        while True:
            busy = False
            for party, sink in zip(PARTIES, self._sinks, strict=True):
                while (item := self.node.links[party].next()) is not None:
                    busy = True
                    if isinstance(item, Message) and item.kind == "credit":
                        sink.credit(item)
                    elif isinstance(item, Message) and item.kind == "wanted" and self._may_want(party, item):
                        self._want(item.body["procedure"])
                    elif isinstance(item, Message) and item.kind == "refill" and self._may_refill(party):
                        self._refills.append(item.body["runs"])
                    else:
                        raise PeerError(f"{party} sent the dealer something out of place", party, self.doing)
            self.node.check(self.doing)
            if busy or not block:
                return
            self.node.wait(PARTIES, listen=False, seconds=None)
            self.node.hear_clients()  # other servers' hellos come this way, and are answered there
