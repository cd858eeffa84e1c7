"""The dealer's process: seeds at the start of a session, then records of material, ahead of the parties.

It hears two things: `wanted` from p0 (deal a record of a procedure now; with new parameters `setup`, for whose masks it
deals runs from then on) and `credit` from both parties (what they have read). A record that it is dealing ahead when
another is wanted is abandoned; the parties pass over what has left. It is never sent an input, a share or an opened
value.
"""

from __future__ import annotations

import os
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
from ..transport.channel import RecordSink
from ..transport.messages import Message
from ..transport.node import Node

__all__ = ["Dealer"]

PARTIES = ("p0", "p1")


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
        self.executor = DealerExecutor(plan, kernels)
        self.doing = ""
        self._watch = watch
        self._sinks = sink("p0", self._wait_for_credit), sink("p1", self._wait_for_credit)
        self._ahead = next((p for p in plan.procedures if p.ahead), None)
        self._missing = {p.name for p in plan.procedures if p.standing}  # of which no record has been dealt yet
        self._wanted: deque[str] = deque()
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
            self._listen(block=not self._wanted and self._next_ahead() is None)
            if self._wanted:
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

    def _may_want(self, party: str, message: Message) -> bool:
        return party == "p0" and message.body.get("procedure") in {p.name for p in self.plan.procedures if not p.ahead}

    def _deal(self, procedure: str) -> None:
        """One record to both parties; its index is spent in any case."""
        index, self._index = self._index, self._index + 1
        self.doing = f"dealing {procedure} {index}"
        keys = self._chains[0].take(index, procedure), self._chains[1].take(index, procedure)
        for sink in self._sinks:
            sink.begin(procedure, index)
        began, self._held_back = time.perf_counter(), 0.0
        try:
            written = self.executor.execute(procedure, keys, self._sinks)
        except _Abandoned:
            for sink in self._sinks:
                sink.drop()
            return
        for sink in self._sinks:
            sink.flush()
        seconds = time.perf_counter() - began - self._held_back
        for sink in self._sinks:
            sink.end(seconds, written)
        self._missing.discard(procedure)
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
                        self._wanted.append(item.body["procedure"])
                    else:
                        raise PeerError(f"{party} sent the dealer something out of place", party, self.doing)
            self.node.check(self.doing)
            if busy or not block:
                return
            self.node.wait(PARTIES, listen=False, seconds=None)
            self.node.receive()  # other servers' hellos come this way, and are answered there
