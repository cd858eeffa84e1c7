"""Where the material of executions comes from, which record is next, and when its key may be had.

`DealerSupply`: the dealer is online. Its seed is fresh for the session, so an index is one of this session only, and p0
chooses it. Records that lie on both parties' disks are `stored.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import MaterialError, PeerError
from ..execution.keys import SeedChain
from ..plan import Plan
from ..procedure import Procedure
from ..transport.channel import DealtRecords, Records
from ..transport.messages import Message
from ..transport.node import Node
from .shelf import Shelf
from .submissions import Key

__all__ = ["DealerSupply", "Kept", "Supply", "UsedUp", "expect", "unlike"]

Array = np.ndarray
Kept = Mapping[str, Array]
"""What executions have left at a party, by a name of the executor's."""


class UsedUp(MaterialError):
    """No record of a procedure is left for the masks that stand. `renewable`: whether another dealing has one."""

    def __init__(self, message: str, renewable: bool) -> None:
        super().__init__(message)
        self.renewable = renewable


class Supply(Protocol):
    """Of one party."""

    def heard(self, idle: bool) -> tuple[str, ...]:
        """Servers beside the other party whose messages are of use now. idle: nothing is computed ahead, though it
        could be."""

    def receive(self) -> bool:
        """Takes some of what they have sent, between executions; True if there was any. PeerError when the parties have
        to begin anew."""

    @property
    def patience(self) -> float | None:
        """Seconds after which to `receive` though nothing has arrived; None where that changes nothing."""

    @property
    def records(self) -> Records:
        """Their data."""

    def offer(self) -> dict[str, Any] | None:
        """What the other party is told at the start; None for what has no store."""

    def begin(self, offered: Mapping[str, Any] | None) -> None:
        """Takes what the other party has told; MaterialError when the two do not go together."""

    @property
    def lowest(self) -> int:
        """The lowest index that this party can still use."""

    def next_index(self, procedure: Procedure) -> int | None:
        """The index at which p0 begins a procedure; None while the parties have to agree first. UsedUp when there is
        none."""

    def ahead(self, procedure: Procedure) -> int | None:
        """The index of a procedure that is dealt ahead for which something may be computed before it begins; None
        while there is none."""

    def key(self, index: int, procedure: Procedure) -> bytes:
        """The material key of a record, which is used up with all before it."""

    def hear(self, message: Message) -> bool:
        """Whether a message of the other party's was for us."""

    def finished(self, index: int, procedure: Procedure) -> None:
        """An execution is complete, and its results have left."""

    def lacks(self, procedure: Procedure) -> str:
        """Why there can be no other execution of this standing procedure; empty while there can."""

    def remember(self, key: Key, payload: memoryview) -> None:
        """Parameters have arrived that stay with the parties; they are kept across restarts if we can."""

    def forget(self, key: Key) -> None:
        """They are not needed any more."""

    def remembered(self) -> Iterator[tuple[Key, bytes]]:
        """The parameters that were kept."""

    def keep(self, name: str, index: int, ids: Mapping[str, str], kept: Kept, told: Mapping[str, Any]) -> None:
        """What the executions of standing procedures have left, now that this one is complete."""

    def standing(self) -> Mapping[str, Mapping[str, str]]:
        """The standing procedures that need not be executed, with the ids of their parameters."""

    def left(self) -> tuple[Kept, Mapping[str, Any]] | None:
        """What `keep` was given last, in this session or one before it: what was left, and what is told of it."""


class DealerSupply:
    """The dealer's records, under the seed that it says on the node. shelf: where parameters outlive the process."""

    def __init__(self, plan: Plan, node: Node, records: DealtRecords, shelf: Shelf | None = None) -> None:
        self.records = records
        self._shelf = shelf
        self._plan = plan
        self._node = node
        self._chain: SeedChain
        self._dealt_ahead = next((p.name for p in plan.procedures if p.ahead), "")

    def heard(self, idle: bool) -> tuple[str, ...]:
        return ("dealer",) if idle else ()

    def receive(self) -> bool:
        return False  # records are received where they are used

    @property
    def patience(self) -> float | None:
        return None

    def offer(self) -> dict[str, Any] | None:
        return None

    def begin(self, offered: Mapping[str, Any] | None) -> None:
        if offered is not None:
            raise MaterialError(unlike(self._node.hello.name))
        self._chain = SeedChain(bytes(expect(self._node, "dealer", "seed").payload[0]), self._plan.hash)

    @property
    def lowest(self) -> int:
        return self._chain.next

    def next_index(self, procedure: Procedure) -> int | None:
        """The lowest, where the dealer deals this procedure ahead; else that of the record which it is asked for."""
        if procedure.name == self._dealt_ahead:
            return self.lowest
        self._node.say("dealer", {"kind": "wanted", "procedure": procedure.name})
        if procedure.ahead:
            self._dealt_ahead = procedure.name
        return self.records.next_of(procedure.name)

    def ahead(self, procedure: Procedure) -> int | None:
        """The lowest, once the dealer has announced it: before, it might become that of a record which it is asked
        for."""
        return self.lowest if self.records.announced(procedure.name) == self.lowest else None

    def key(self, index: int, procedure: Procedure) -> bytes:
        try:
            return self._chain.take(index, procedure.name)
        except ValueError as error:
            raise MaterialError(str(error)) from None

    def hear(self, message: Message) -> bool:
        return False

    def finished(self, index: int, procedure: Procedure) -> None:
        pass

    def lacks(self, procedure: Procedure) -> str:
        return ""

    def remember(self, key: Key, payload: memoryview) -> None:
        if self._shelf is not None:
            self._shelf.put(key, payload)

    def forget(self, key: Key) -> None:
        if self._shelf is not None:
            self._shelf.remove(key)

    def remembered(self) -> Iterator[tuple[Key, bytes]]:
        return iter(())

    def keep(self, name: str, index: int, ids: Mapping[str, str], kept: Kept, told: Mapping[str, Any]) -> None:
        pass

    def standing(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    def left(self) -> tuple[Kept, Mapping[str, Any]] | None:
        return None


def unlike(party: str) -> str:
    return (
        f"one party runs with stored material, the other with a dealer: {party} does not do as the other; start both "
        "with --material, or both without"
    )


def expect(node: Node, machine: str, kind: str) -> Message:
    """This machine's first message; PeerError when it is late or of another kind."""
    link = node.links[machine]
    deadline = time.monotonic() + node.timeout
    while (item := link.next()) is None:
        node.check("the start")
        if time.monotonic() > deadline:
            late = f"{machine} sent no {kind} for {node.timeout:g} s; it may still wait for another server"
            raise PeerError(late, machine, "the start")
        node.wait((machine,), listen=False, seconds=1.0)
    if not isinstance(item, Message) or item.kind != kind:
        raise PeerError(f"{machine} sent something other than its {kind}", machine, "the start")
    return item
