"""A plan's byte streams between servers: the channel between the parties, and the material from the dealer.

Material travels as records. A record is a control message `record` (procedure, index), data messages, and a control
message `dealt` (seconds, bytes). A party takes records in the order of their indices and drops those it passes over: a
dropped record is burnt. The dealer may be ahead by `window` bytes per party and `RECORDS_AHEAD` records; parties
grant new credit as they read, and read no more than the window ahead, whatever a dealer sends.

Data belongs to an execution, which its sender names in every frame; data of another one is the sender's fault.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import MaterialError, PeerError
from .call import GLANCE_SECONDS
from .channel import Buffer, as_bytes
from .link import Item, Link, Piece
from .messages import Message
from .node import Node
from .sealed import NO_EXECUTION

__all__ = ["MaterialSink", "MaterialSource", "PeerChannel"]

PATIENCE = 10  # a peer may compute this many times the timeout before it answers; its death is noticed long before
COALESCE_BYTES = 1 << 19  # small writes of material are gathered into frames of about this size
GATHERED_BYTES = COALESCE_BYTES + (1 << 18)  # at most; in memory that stays in the cache
CREDIT_SHARE = 4  # credit is granted again when this fraction of the window has been read
BETWEEN_EXECUTIONS = ("begin", "contribution")
CONTROLS_AHEAD = 1 << 13
"""Things that the other party says and that wait while we compute. In one look at its clients it may find a message of
theirs for each place of its front, 4096 (`guests.Quota`), and it may look twice before it hears that we have begun."""


def _await(node: Node, link: Link, at: object) -> Item:
    """The next thing that the server at the other end of `link` says."""
    deadline = time.monotonic() + PATIENCE * node.timeout
    while (item := node.await_item(link, GLANCE_SECONDS)) is None:
        node.check(at)
        if time.monotonic() > deadline:
            raise PeerError(
                f"{link.name} sent nothing for {PATIENCE * node.timeout:g} s while we wait at {at}; "
                "if it still computes, give it more with --timeout",
                link.name,
                str(at),
            )
    return item


def _things(message: Message) -> int:
    """How many things it says: several where it lists submissions."""
    return max(1, len(message.body.get("submissions", ())))


class PeerChannel:
    """The `PartyChannel` to the other party. Control messages that arrive among the data wait in `controls`."""

    def __init__(self, node: Node, peer: str) -> None:
        self._node = node
        self._link = node.links[peer]
        self._peer = peer
        self.controls: deque[Message] = deque()
        self._waiting = 0  # things that they say
        self.execution = NO_EXECUTION

    def send(self, buffer: Buffer) -> None:
        self._node.send(self._peer, buffer, self.execution)

    def recv(self, nbytes: int, at: object) -> memoryview:
        piece = self._piece(at, nbytes)
        if piece.data.nbytes == nbytes and not piece.more:
            return piece.data
        out, filled = np.empty(nbytes, np.uint8).data, 0
        while True:
            end = filled + piece.data.nbytes
            if end <= nbytes:
                out[filled:end] = piece.data
            filled = end
            if filled > nbytes or not piece.more:
                break
            piece = self._piece(at, nbytes)
        if filled != nbytes:
            found = f"more than {nbytes}" if piece.more else f"{filled}"
            raise self._misfit(f"sent {found} bytes at {at}, where the plan has {nbytes}", at)
        return out

    def _piece(self, at: object, nbytes: int) -> Piece:
        """The next data, which is to belong to the execution in progress."""
        while isinstance(item := _await(self._node, self._link, at), Message):
            if item.kind in BETWEEN_EXECUTIONS:
                raise self._misfit(f"sent {item.kind!r} at {at}, in an execution", at)
            if self._waiting >= CONTROLS_AHEAD:
                raise self._misfit(f"sent {CONTROLS_AHEAD} messages, where the plan has {nbytes} bytes", at)
            self.controls.append(item)
            self._waiting += _things(item)
        if item.execution != self.execution:
            raise self._misfit(f"sent data of execution {item.execution} in execution {self.execution}", at)
        return item

    def _misfit(self, what: str, at: object) -> PeerError:
        return PeerError(f"{self._peer} {what}", self._peer, str(at))

    def control(self) -> Message | None:
        """The next control message, if one has arrived; between executions nothing else may arrive."""
        if self.controls:
            message = self.controls.popleft()
            self._waiting -= _things(message)
            return message
        item = self._link.next()
        if item is None or isinstance(item, Message):
            return item
        raise PeerError(f"{self._peer} sent {item.data.nbytes} bytes of data between executions", self._peer)


class MaterialSource:
    """The party's end of the dealer's `Records`."""

    def __init__(self, node: Node, window: int, dealer: str = "dealer") -> None:
        self._node = node
        self._link = node.links[dealer]
        self._dealer = dealer
        self._grant_at = window // CREDIT_SHARE
        self._rest = memoryview(b"")
        self._read = 0
        self._record: tuple[str, int] | None = None
        self._announced: Message | None = None
        self._index = NO_EXECUTION  # of the record that data is to belong to
        node.ahead = window

    def announced(self, procedure: str) -> int | None:
        """The index of the next record, if it has been announced and is one of `procedure`; does not wait."""
        while self._announced is None and (item := self._link.next()) is not None:
            self._note(item)
        if self._announced is None or self._announced.body["procedure"] != procedure:
            return None
        return int(self._announced.body["index"])

    def next_of(self, procedure: str) -> int:
        """Passes over records up to the next one of `procedure`; its index."""
        while True:
            message = self._announcement(procedure)
            if message.body["procedure"] == procedure:
                return int(message.body["index"])
            self._announced = None

    def open(self, procedure: str, index: int, at: object) -> None:
        """Passes over records below `index` and begins to read that one, which must be of `procedure`."""
        while int(self._announcement(at).body["index"]) < index:
            self._announced = None
        found = self._announcement(at).body
        if (found["procedure"], found["index"]) != (procedure, index):
            raise MaterialError(
                f"expected material {index} for {procedure}, the dealer sent {found['index']} for {found['procedure']}"
            )
        self._announced = None
        self._record = procedure, index
        self._rest = memoryview(b"")

    def read(self, nbytes: int, at: object) -> memoryview:
        if not self._rest.nbytes and nbytes:
            self._rest = self._piece(at)
        if nbytes <= self._rest.nbytes:
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            return piece
        out = np.empty(nbytes, np.uint8)
        filled = 0
        while filled < nbytes:
            if not self._rest.nbytes:
                self._rest = self._piece(at)
            step = min(nbytes - filled, self._rest.nbytes)
            out[filled : filled + step] = self._rest[:step]
            self._rest = self._rest[step:]
            filled += step
        return out.data

    def finish(self, at: object) -> dict[str, Any]:
        """The dealer's summary (`seconds`, `bytes`) at the end of the record; what was read is credited."""
        item = _await(self._node, self._link, at)
        if self._rest.nbytes or not isinstance(item, Message) or item.kind != "dealt":
            raise MaterialError(f"the dealer's record is longer than the plan's, found at {at}")
        self._grant(self._record[1] if self._record else None)
        self._record = None
        return item.body

    def _piece(self, at: object) -> memoryview:
        item = _await(self._node, self._link, at)
        if isinstance(item, Message):
            raise MaterialError(f"the dealer's record ends too early, at {at}")
        return self._counted(item)

    def _counted(self, item: Piece) -> memoryview:
        """The data of the record in hand, for which credit is granted in time."""
        if item.execution != self._index:
            raise PeerError(
                f"{self._dealer} sent data of record {item.execution} in record {self._index}", self._dealer
            )
        self._read += item.data.nbytes
        if self._read >= self._grant_at:
            self._grant(None)
        return item.data

    def _announcement(self, at: object) -> Message:
        """The next `record` message."""
        while self._announced is None:
            self._note(_await(self._node, self._link, at))
        return self._announced

    def _note(self, item: Item) -> None:
        """Something that arrived between records: an announcement, or a piece of a record passed over."""
        if isinstance(item, Piece):
            self._counted(item)
        elif item.kind == "record":
            self._announced = item
            self._index = int(item.body["index"])
            self._grant(self._index - 1)

    def _grant(self, used: int | None) -> None:
        """Tells the dealer how many bytes were read since the last time, and which record is done with."""
        self._node.say(self._dealer, {"kind": "credit", "bytes": self._read, "used": used})
        self._read = 0


class MaterialSink:
    """The dealer's end of one party's records; a `RecordSink`. `wait` is called while the window is full."""

    def __init__(self, node: Node, party: str, window: int, wait: Callable[[], None]) -> None:
        self._node = node
        self._party = party
        self._window = window
        self._wait = wait
        self._gathered = np.empty(GATHERED_BYTES, np.uint8)
        self._filled = 0
        self._lent: np.ndarray | None = None  # what of it may have been filled already
        self._ahead_bytes = 0
        self._index = NO_EXECUTION
        self.used = -1
        """The last record that the party is done with."""

    def room(self, nbytes: int) -> np.ndarray:
        if self._filled + nbytes > GATHERED_BYTES:
            self._pass_on()
        if nbytes > GATHERED_BYTES:
            return np.empty(nbytes, np.uint8)
        self._lent = self._gathered[self._filled : self._filled + nbytes]
        return self._lent

    def write(self, buffer: Buffer) -> None:
        view = as_bytes(buffer)
        if buffer is not self._lent:
            if self._filled + view.nbytes > GATHERED_BYTES:
                self._pass_on()
            if view.nbytes > GATHERED_BYTES:
                self._pass_on(view.nbytes)
                self._send(view)
                return
            self._gathered.data[self._filled : self._filled + view.nbytes] = view
        self._lent = None
        self._filled += view.nbytes
        if self._filled >= COALESCE_BYTES:
            self._pass_on()

    def _pass_on(self, more: int = 0) -> None:
        """Sends what has been gathered, as soon as the window has room for it and for so many bytes more."""
        while self._ahead_bytes and self._ahead_bytes + self._filled + more > self._window:
            self._wait()
        self.flush()

    def begin(self, procedure: str, index: int) -> None:
        """Announces a record."""
        self._index = index
        self._node.say(self._party, {"kind": "record", "procedure": procedure, "index": index})

    def end(self, seconds: float, written: int) -> None:
        """Sends the rest of the record, and its end."""
        self.flush()
        self._node.say(self._party, {"kind": "dealt", "seconds": seconds, "bytes": written})

    def flush(self) -> None:
        """Sends what has been gathered."""
        if self._filled:
            self._send(self._gathered[: self._filled].data)
            self._filled = 0
            self._lent = None

    def _send(self, data: memoryview) -> None:
        self._ahead_bytes += data.nbytes
        self._node.send(self._party, data, self._index)

    def drop(self) -> None:
        """Forgets what has been gathered, when a record is abandoned."""
        self._filled = 0
        self._lent = None

    def credit(self, message: Message) -> None:
        """Takes note of what the party has read."""
        self._ahead_bytes -= message.body["bytes"]
        if self._ahead_bytes < 0:
            raise PeerError(f"{self._party} gave credit for more than it was sent", self._party)
        if message.body["used"] is not None:
            self.used = max(self.used, message.body["used"])
