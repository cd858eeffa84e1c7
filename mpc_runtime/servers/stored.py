"""Material that lies on both parties' disks (`store/`): which record is next, and when its key may be had.

A record that was used in any session must not be used again. Each party's ledger says from which record on it may; at
the start they tell each other, and the higher one counts. A key is derived only when both ledgers have passed its
record on the disk:

    p0 -> p1    persisted (n)     p0's ledger stands at n: a block of records is reserved
    p1 -> p0    persisted (n)     so does p1's: both may use what is below n
    both        added (dealing)   more material has come (`refill.py`): it is used when both have it

p0 reserves the next block while records of the last one are left, so a run waits for no disk and no round trip. A block
that a process leaves behind is burnt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MaterialError, PeerError
from ..plan import Plan
from ..procedure import Procedure
from ..store.files import packed, unpacked
from ..store.ledger import Dealing
from ..store.store import Store
from ..transport.messages import DEALINGS, Message
from ..transport.node import Node
from .refill import Refill
from .submissions import Key
from .supply import Kept, UsedUp, unlike

__all__ = ["BLOCK", "StoreSupply"]

BLOCK = 8
"""Records that are reserved ahead. A crash burns as many; the parties write to their disks once for half of them."""

BEHIND_SECONDS = 2.0
"""After which a party that has less material than the other one waits no longer for the dealer to begin with it."""

SETUP = "setup"  # the kept file with what standing procedures have left
PARAMETERS = "parameters/"  # and those with shares of parameters


class StoreSupply:
    """The records of a store. refill: the way in which new ones come from a dealer that is online, if one is."""

    def __init__(self, plan: Plan, number: int, node: Node, store: Store, refill: Refill | None = None) -> None:
        self.records = store
        self._plan = plan
        self._number = number
        self._node = node
        self._peer = f"p{1 - number}"
        self._store = store
        self._lowest = store.next
        self._confirmed = 0  # below this, both ledgers have passed on the disk what was then reserved
        self._dealing: Dealing | None = None  # the one whose setup stands
        self._end = 0  # of the records that both parties have
        self._theirs: list[str] = []  # dealings that the other party has
        self._behind = 0.0  # when it was last heard of one
        self._refill = refill
        self._bound = any(p.standing and p.ops for p in plan.procedures)

    def heard(self, idle: bool) -> tuple[str, ...]:
        return self._refill.sources if self._refill is not None else ()

    def receive(self) -> bool:
        """What the dealer has sent; p0 asks it for more when little is left."""
        if self._refill is None:
            return False
        if self._number == 0 and len(self._theirs) == len(self._store.dealings):
            self._refill.ask(self._left())
        busy = self._refill.receive()
        if not busy and self.patience == 0.0:
            raise PeerError(f"{self._peer} has got material of the dealer that did not come here", self._peer)
        if (id_ := self._refill.taken()) is not None:
            self._node.say(self._peer, {"kind": "added", "dealing": id_})
            self._end = self._common()
        return busy

    @property
    def patience(self) -> float | None:
        """How long a dealing that the other party has may take to begin here. A dealer that was lost in between does
        not send it again; parties that begin anew drop it."""
        refill = self._refill
        if refill is None or refill.begun or not self._behind or len(self._theirs) <= len(self._store.dealings):
            return None
        return max(0.0, self._behind + BEHIND_SECONDS - time.monotonic())

    def _left(self) -> int:
        """How many runs both parties have left, without those of a dealing whose setup was burnt."""
        ahead, found = [p.name for p in self._plan.procedures if p.ahead], 0
        stands = self._dealing.first if self._dealing is not None else None
        for dealing in reversed(self._store.dealings):
            if dealing.end <= self._lowest:
                break
            if not self._bound or dealing.first >= self._lowest or dealing.first == stands:
                start, end = max(self._lowest, dealing.first), min(self._end, dealing.end)
                found += sum(self._store.count(name, start, end) for name in ahead)
        return found

    # -- the start ----------------------------------------------------------------------------------------------------

    def offer(self) -> dict[str, Any]:
        return {
            "store": self._store.id,
            "number": max(0, len(self._store.dealings) - DEALINGS),
            "dealings": [dealing.id for dealing in self._store.dealings[-DEALINGS:]],
            "refill": self._refill is not None,
            "next": self._store.next,
            "confirmed": self._store.confirmed,
            "standing": self._facts(),
        }

    def begin(self, offered: Mapping[str, Any] | None) -> None:
        """The higher of the two ledgers counts. What setups have left is used if both parties have it."""
        mine = self.offer()
        if offered is None:
            raise MaterialError(unlike(self._node.hello.name))
        if offered["store"] != mine["store"]:
            raise MaterialError(
                f"{self._store.path}: p0's and p1's stores are of two different dealings ({mine['store'][:16]} here, "
                f"{offered['store'][:16]} at {self._peer}); give them the two that one `mpcc deal` made"
            )
        older = [dealing.id for dealing in self._store.dealings[: offered["number"]]]
        self._theirs = [*older, *offered["dealings"]]
        self._end = self._common()
        if self._refill is not None and offered["refill"]:  # what is refilled goes behind what both have
            shared = min(len(self._theirs), len(self._store.dealings))
            self._store.drop(shared)
            self._theirs = self._theirs[:shared]
        theirs = self._position(offered)
        for name, behind, least in (
            (self._peer, theirs[0], mine["confirmed"]),
            (self._node.hello.name, mine["next"], theirs[1]),
        ):
            if behind < least:
                raise MaterialError(
                    f"{name}'s store stands at record {behind}, though it stood at {least} before: it is an older "
                    f"copy, a restored backup for example. Stop all copies but one; then `mpcc store burn DIR --to "
                    f"{least}` at {name} gives up the records that may have been used"
                )
        self._lowest = max(mine["next"], theirs[0])
        self._store.erase_passed(self._lowest)
        if offered["standing"] != mine["standing"] or self._stateful:
            self._store.kept.remove(SETUP)
        elif mine["standing"]:
            self._dealing = self._store.dealing(max(each["record"] for each in mine["standing"].values()))

    def _common(self) -> int:
        """The end of the dealings that both have. Either may have got others, which wait until the other has them."""
        end = 0
        for dealing, other in zip(self._store.dealings, self._theirs, strict=False):
            if dealing.id != other:
                raise MaterialError(
                    f"{self._store.path}: dealing {dealing.number} is {dealing.id[:16]} here and {other[:16]} at "
                    f"{self._peer}; add the same material in the same order at both parties"
                )
            end = dealing.end
        return end

    def _position(self, offered: Mapping[str, Any]) -> tuple[int, int]:
        """The other party's `next` and `confirmed`."""
        found = int(offered["next"]), int(offered["confirmed"])
        if max(found) > self._end:
            raise PeerError(f"{self._peer} sent a position {found} that its store cannot have", self._peer)
        return found

    @property
    def _stateful(self) -> bool:
        """Whether runs change what setups have left, which is kept only as the setups left it."""
        return any(p.keeps for p in self._plan.procedures if not p.standing)

    # -- which record -------------------------------------------------------------------------------------------------

    @property
    def lowest(self) -> int:
        return self._lowest

    def next_index(self, procedure: Procedure) -> int | None:
        """Reserves the record, if it is not: alone for a standing procedure, since a crash before its execution is
        complete burns the dealing, else with those that follow it."""
        index = self._candidate(procedure)
        if index is None:
            renewable = not procedure.standing and self._another_dealing
            if self._more_comes and not renewable:
                return None
            raise UsedUp(self._used_up(procedure), renewable)
        if index < self._confirmed:
            return index
        if self._store.next <= index:
            self._persist(index + 1 if procedure.standing else self._block(index))
        return None

    def ahead(self, procedure: Procedure) -> int | None:
        if self._bound and self._dealing is None:
            return None
        index = self._candidate(procedure)
        return index if index is not None and index < self._confirmed else None

    def key(self, index: int, procedure: Procedure) -> bytes:
        if not self._lowest <= index < self._confirmed:
            raise PeerError(f"{self._peer} began {procedure.name} {index}, which was not agreed on", self._peer)
        key = self._store.key(index, procedure.name)
        self._lowest = index + 1
        if procedure.standing:
            self._dealing = self._store.dealing(index)
        return key

    def hear(self, message: Message) -> bool:
        if message.kind == "added" and self._refill is not None:
            self._theirs.append(message.body["dealing"])
            self._behind = time.monotonic()
            self._end = self._common()
            return True
        if message.kind != "persisted":
            return False
        to = message.body["next"]
        most = self._store.next if self._number == 0 else self._end
        if not self._confirmed < to <= most:
            raise PeerError(f"{self._peer} has persisted {to!r}, where {most} is the most", self._peer)
        if self._number == 1:
            self._persist(to)
        self._confirmed = to
        return True

    def finished(self, index: int, procedure: Procedure) -> None:
        """p0 reserves the next block when half of the last one is used."""
        if self._number == 1 or not procedure.ahead or self._store.next - self._lowest > BLOCK // 2:
            return
        following = self._candidate(procedure)
        if following is not None and self._store.next < (to := self._block(following)):
            self._persist(to)

    def lacks(self, procedure: Procedure) -> str:
        lacking = procedure.ops and self._candidate(procedure) is None and not self._more_comes
        return self._used_up(procedure) if lacking else ""

    @property
    def _more_comes(self) -> bool:
        """Whether a dealing is on its way to both, or to the other party."""
        refill = self._refill
        return refill is not None and (refill.comes or len(self._theirs) != len(self._store.dealings))

    def _block(self, index: int) -> int:
        """The end of a block that begins with this record; it leaves the next setup alone."""
        return min(index + BLOCK, self._store.dealing(index).end)

    def _candidate(self, procedure: Procedure) -> int | None:
        """The next record of a procedure; of one that needs a setup, for the setup that stands."""
        bound = self._dealing if self._bound and not procedure.standing else None
        return self._store.next_of(procedure.name, self._lowest, bound.end if bound else self._end)

    def _persist(self, to: int) -> None:
        """Reserves our records below `to`, on the disk, and says so. p1 does what p0 has done."""
        self._store.reserve(to, to if self._number == 1 else self._confirmed)
        self._node.say(self._peer, {"kind": "persisted", "next": to})

    @property
    def _another_dealing(self) -> bool:
        return any(self._lowest <= d.first < self._end for d in self._store.dealings)

    def _used_up(self, procedure: Procedure) -> str:
        return (
            f"the stored material is used up: no record is left for {procedure.name} in {self._store.path}, of "
            f"{self._store.end}; deal more with `mpcc deal`, and `mpcc store add` it at both parties"
        )

    # -- across restarts ----------------------------------------------------------------------------------------------

    def remember(self, key: Key, payload: memoryview) -> None:
        stage, role, number = key
        self._store.kept.write(_parameters(key), {"stage": stage, "role": role, "id": number}, [payload])

    def forget(self, key: Key) -> None:
        self._store.kept.remove(_parameters(key))

    def remembered(self) -> Iterator[tuple[Key, bytes]]:
        for name in self._store.kept.names(PARAMETERS):
            facts = self._store.kept.facts(name) or {}
            yield (facts["stage"], facts["role"], facts["id"]), self._store.kept.read(name)

    def keep(self, name: str, index: int, ids: Mapping[str, str], kept: Kept, told: Mapping[str, Any]) -> None:
        facts = {"standing": {name: {"record": index, "ids": dict(ids)}}, "told": dict(told)}
        self._store.kept.write(SETUP, facts, [packed(kept)])

    def standing(self) -> Mapping[str, Mapping[str, str]]:
        needless: dict[str, Mapping[str, str]] = {p.name: {} for p in self._plan.procedures if p.standing and not p.ops}
        return {**needless, **{name: each["ids"] for name, each in self._facts().items()}}

    def left(self) -> tuple[Kept, Mapping[str, Any]] | None:
        facts = self._store.kept.facts(SETUP)
        return (unpacked(self._store.kept.read(SETUP)), facts["told"]) if facts else None

    def _facts(self) -> Mapping[str, Any]:
        """Standing procedure -> the record and the ids of parameters of its last execution."""
        standing: Mapping[str, Any] = (self._store.kept.facts(SETUP) or {}).get("standing", {})
        return standing


def _parameters(key: Key) -> str:
    return PARAMETERS + "/".join(key)
