"""How a store is refilled while it is in use, by a dealer that is online.

    both   -> dealer   a call                     when the last one was lost
    p0     -> dealer   refill (runs)              little is left
    dealer -> both     dealing (id, runs), seed   then its records, as those of a session (`transport/records.py`)
    both   -> dealer   credit                     what has been written to the disk

A party takes some of it between executions, and has the dealing when its last record, and the ledger's entry, are on
the disk. It goes on without a dealer that is gone or sends something wrong, and without more material when the disk is
full; what had come of a dealing is then removed, and the dealer is called again after a pause.
"""

from __future__ import annotations

from collections.abc import Callable

from ..analysis.cost import material_bytes
from ..errors import PeerError
from ..plan import Plan
from ..procedure import Procedure
from ..store.data import DataWriter, Record
from ..store.deal import Batch
from ..store.store import Store
from ..transport.link import Piece
from ..transport.messages import Message
from ..transport.node import Node

__all__ = ["Refill"]

DEALER = "dealer"
AT_ONCE_BYTES = 4 << 20  # are taken between two executions: a few milliseconds of writing
GRANT_BYTES = 4 << 20  # after so many, or a part of the window, the dealer may send as many more
CREDIT_SHARE = 4
AGAIN_SECONDS, AGAIN_AT_MOST = 1.0, 5.0  # before a dealer that is gone, or refuses us, is called again


class Refill:
    """Of a party's store. low_water: below so many runs, p0 asks for as many more. call: begins another link to the
    dealer, after so many seconds."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        node: Node,
        store: Store,
        low_water: int,
        window: int,
        call: Callable[[float], None],
    ) -> None:
        self._plan = plan
        self._number = number
        self._node = node
        self._store = store
        self._low_water = low_water
        self._grant_at = min(GRANT_BYTES, window // CREDIT_SHARE)
        self._asked = False
        self._coming: _Dealing | None = None
        self._taken: str | None = None
        self._read = 0  # bytes that the dealer has no credit for yet
        self._call = call
        self._pause = AGAIN_SECONDS
        self._met = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The dealer, while it is there."""
        return (DEALER,) if self._met and DEALER in self._node.links else ()

    @property
    def comes(self) -> bool:
        """Whether more was asked for, of a dealer that is there."""
        return self._asked and bool(self.sources)

    @property
    def begun(self) -> bool:
        """Whether a dealing is coming."""
        return self._coming is not None

    def ask(self, left: int) -> None:
        """Asks for more, if little is left and nothing is on the way."""
        if left < self._low_water and not self._asked and self.sources:
            self._asked = True
            with self._node.without(DEALER):
                self._node.say(DEALER, {"kind": "refill", "runs": self._low_water})

    def receive(self) -> bool:
        """Takes some of what has come; True if there was any."""
        busy = False
        if DEALER in self._node.links:
            with self._node.without(DEALER):
                busy = self._receive() if self._met else self._meet()
        if DEALER not in self._node.links:
            self._begin_again()
        return busy

    def _meet(self) -> bool:
        """Whether the dealer has come, which is for the first time or again."""
        self._met = self._node.comes(DEALER)
        if self._met:
            self._pause = AGAIN_SECONDS
        return self._met

    def _begin_again(self) -> None:
        """Without what the dealer had begun, or was asked for."""
        if self._coming is not None:
            self._coming.writer.discard()
        self._coming, self._asked, self._met, self._read = None, False, False, 0
        self._call(self._pause)
        self._pause = min(2 * self._pause, AGAIN_AT_MOST)

    def taken(self) -> str | None:
        """The id of a dealing that is complete and on the disk, once."""
        taken, self._taken = self._taken, None
        return taken

    def _receive(self) -> bool:
        link = self._node.links[DEALER]
        some, left = False, AT_ONCE_BYTES
        while left > 0 and self._taken is None and (item := link.next()) is not None:
            some = True
            if not isinstance(item, Message):
                left -= item.data.nbytes
                self._read += item.data.nbytes
                self._current.write(item)
            elif item.kind == "dealing":
                self._begin(item)
            elif item.kind == "record":
                self._current.begin(item.body["procedure"], item.body["index"])
            elif item.kind == "dealt":
                self._end_record(float(item.body["seconds"]))
            elif item.kind != "seed":  # that of a session, which is not this one's way
                raise PeerError(f"{DEALER} sent {item.kind!r} out of place", DEALER)
            if self._read >= self._grant_at:
                self._grant(None)
        return some

    @property
    def _current(self) -> _Dealing:
        if self._coming is None:
            raise PeerError(f"{DEALER} sent a record that belongs to no dealing", DEALER)
        return self._coming

    def _begin(self, message: Message) -> None:
        id_, runs = message.body["dealing"], message.body["runs"]
        if self._coming is not None or runs != self._low_water or any(d.id == id_ for d in self._store.dealings):
            raise PeerError(f"{DEALER} sent a dealing that nobody has asked for", DEALER)
        seed, batch = bytes(message.payload[0]), Batch.of(self._plan, runs)
        self._coming = _Dealing(self._plan, self._number, id_, seed, batch, self._store.writer(id_))

    def _end_record(self, seconds: float) -> None:
        coming = self._current
        coming.end(seconds)
        if coming.whole:
            self._store.append(coming.id, coming.seed, coming.writer, coming.records)
            self._coming, self._asked, self._taken = None, False, coming.id
        self._grant(len(coming.records) - 1)

    def _grant(self, used: int | None) -> None:
        self._node.say(DEALER, {"kind": "credit", "bytes": self._read, "used": used})
        self._read = 0


class _Dealing:
    """A dealing of which records are coming. The plan says which, and how long they are."""

    def __init__(self, plan: Plan, number: int, id_: str, seed: bytes, batch: Batch, writer: DataWriter) -> None:
        self.id = id_
        self.seed = seed
        self.writer = writer
        self.records: list[Record] = []
        self._expected = batch.procedures()
        self._plan = plan
        self._number = number
        self._count = batch.records
        self._procedure: Procedure | None = None
        self._missing = 0

    @property
    def whole(self) -> bool:
        return len(self.records) == self._count

    def begin(self, procedure: str, index: int) -> None:
        expected = next(self._expected, None)
        if self._procedure is not None or expected is None or (procedure, index) != (expected.name, len(self.records)):
            raise PeerError(f"{DEALER} sent record {index!r} for {procedure!r} out of place", DEALER)
        self._procedure = expected
        self._missing = material_bytes(self._plan, expected, self._number)
        self.writer.begin(len(self.records), expected.name)

    def write(self, piece: Piece) -> None:
        self._missing -= piece.data.nbytes
        if self._procedure is None or self._missing < 0 or piece.execution != len(self.records):
            raise PeerError(f"{DEALER} sent data that belong to no record, or more than the plan has", DEALER)
        self.writer.write(piece.data)

    def end(self, seconds: float) -> None:
        if self._procedure is None or self._missing:
            raise PeerError(f"{DEALER} ended a record too early", DEALER)
        self._procedure = None
        self.records.append(self.writer.end(seconds))
