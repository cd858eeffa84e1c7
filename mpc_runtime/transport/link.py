"""What one server has with another: a call to its front, a stream from it, and a stream to it.

What the other says arrives on its stream, in order: control messages and pieces of data. Its end is noticed on the
stream, its death and its silence on the call too, which the thread of our front watches while we compute. Who is linked
to whom is `node.py`'s business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ..errors import MaterialError, PeerError
from .call import Call, relayed
from .messages import BODY_BYTES, SEED_BYTES, Dialect, Message, encode, read
from .sealed import CONTROL, END, MORE, PART
from .stream import Inlet, Outlet, StreamEnded

__all__ = ["Item", "Link", "Piece"]

CONTROL_BYTES = BODY_BYTES + SEED_BYTES  # of a control message between servers
CONTROL_PARTS = 2


class Piece(NamedTuple):
    """Some data: a message, or what of it came in one frame. execution: the one that it belongs to."""

    data: memoryview
    execution: int
    first: bool
    more: bool
    """Whether the message goes on in the next piece."""


Item: TypeAlias = "Message | Piece"


class Link:
    """To the server `name`. dialect: what it may say."""

    def __init__(self, name: str, call: Call, dialect: Dialect) -> None:
        self.name = name
        self.call = call
        self.failure: PeerError | MaterialError | None = None
        self.inlet: Inlet | None = None
        self.outlet: Outlet | None = None
        self.label = ""
        """What both ends call it in public, when they have met: the label of the stream of whoever comes first by
        name."""
        self._dialect = dialect
        self._ahead: deque[Item] = deque()
        self.ahead_bytes = 0
        """Bytes of data that were read ahead of who asks for them."""
        self._parts: list[list[memoryview]] = []  # of the control message in hand
        self._parts_bytes = 0
        self._goes_on = False  # whether the data message in hand does

    @property
    def address(self) -> str:
        return self.call.address

    @property
    def up(self) -> bool:
        """Whether the server at the other end has been met, and is there as far as we know. Any thread may ask."""
        return self.inlet is not None and self.failure is None and self.call.failure is None

    def next(self) -> Item | None:
        """The next control message or piece of data; None when nothing has arrived. Farewells are kept for `check`."""
        if not self._ahead:
            return self._take()
        item = self._ahead.popleft()
        if isinstance(item, Piece):
            self.ahead_bytes -= item.data.nbytes
        return item

    def read_ahead(self, most: int) -> None:
        """Takes what has arrived, up to so many bytes of data, for `next`."""
        while self.ahead_bytes < most and self.failure is None and (item := self._take()) is not None:
            self._ahead.append(item)
            if isinstance(item, Piece):
                self.ahead_bytes += item.data.nbytes

    def has_room(self, most: int) -> bool:
        """Whether `read_ahead` would take something."""
        return self.ahead_bytes < most and self.failure is None

    def _take(self) -> Item | None:
        while self.inlet is not None and self.failure is None:
            try:
                frame = self.inlet.take()
            except StreamEnded:
                self.failure = PeerError(f"{self.name} is gone: its connection to {self.address} was lost", self.name)
                return None
            except PeerError as error:
                self.failure = error
                raise
            if frame is None:
                return None
            head, piece = frame
            if head.flags & END:
                self.failure = PeerError(f"{self.name} is gone: it has ended", self.name)
            elif head.flags & CONTROL:
                message = self._collect(head.flags, piece)
                if message is not None:
                    return message
            else:
                return self._piece(head.flags, head.execution, piece)
        return None

    def _piece(self, flags: int, execution: int, data: memoryview) -> Piece:
        first = bool(flags & PART)
        if first == self._goes_on or self._parts:
            raise self._out_of_place()
        self._goes_on = bool(flags & MORE)
        return Piece(data, execution, first, self._goes_on)

    def _collect(self, flags: int, piece: memoryview) -> Message | None:
        """The control message that ends with this frame; None when it goes on, or was a farewell."""
        if flags & PART:
            self._parts.append([])
        self._parts_bytes += piece.nbytes
        if not self._parts or self._goes_on or len(self._parts) > CONTROL_PARTS or self._parts_bytes > CONTROL_BYTES:
            raise self._out_of_place()
        self._parts[-1].append(piece)
        if flags & MORE:
            return None
        parts, self._parts, self._parts_bytes = self._parts, [], 0
        message = read(self.name, 0, [_joined(pieces) for pieces in parts], self._dialect)
        if message.kind != "failed":
            return message
        self.failure = relayed(self.name, message.body)
        return None

    def _out_of_place(self) -> PeerError:
        error = self.failure = PeerError(f"{self.name} sent a frame out of place, or too much at once", self.name)
        return error

    # -- what we say ----------------------------------------------------------------------------------------------

    def say(self, body: Mapping[str, Any], payload: Sequence[memoryview] = ()) -> None:
        """Sends a control message."""
        self._way().send([memoryview(encode(body)), *payload], control=True)

    def send(self, data: memoryview, execution: int) -> None:
        """Sends data of an execution."""
        self._way().send([data], control=False, execution=execution)

    def _way(self) -> Outlet:
        if self.outlet is None:
            raise PeerError(f"{self.name} has not been met", self.name)
        return self.outlet

    # -- what becomes of it ---------------------------------------------------------------------------------------

    def check(self, at: object, *, drain: bool = False) -> None:
        """Raises PeerError if something has happened to the server at the other end.

        drain: look for a farewell among what has arrived (its cause is the better error), dropping the rest.
        """
        if self.failure is None and self.call.failure is not None:
            while drain and self.next() is not None:
                continue
            self.failure = self.failure or self.call.failure
        if isinstance(self.failure, MaterialError):
            raise MaterialError(str(self.failure))
        if self.failure is not None:
            where = f" (at {at})" if str(at) and not self.failure.op else ""
            raise PeerError(f"{self.failure}{where}", self.failure.peer, self.failure.op or str(at))

    def close(self) -> None:
        self.end_streams()
        self.call.close()

    def end_streams(self) -> None:
        """What was sent has a moment to leave."""
        if self.outlet is not None:
            self.outlet.end()
            self.outlet.close()
        if self.inlet is not None:
            self.inlet.close()


def _joined(pieces: Sequence[memoryview]) -> memoryview:
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
