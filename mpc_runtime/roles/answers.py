"""What a party says of several submissions at once, taken apart: each gets its own shares, and the report of the run
that they shared. Nothing about it is believed: all of them are ours, and the plan knows every length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..analysis.rows import Apart
from ..encoding.sharing import result_size
from ..errors import PeerError
from ..execution.stats import OP_BYTES
from ..plan import Feed, Plan, Result
from ..transport.messages import Message

__all__ = ["Part", "Parts", "Sent", "apart_of"]


@dataclass(frozen=True)
class Sent:
    """What was shared and has no answer yet."""

    stage: str
    nbytes: int
    meeting: str | None
    rows: int | None
    """None: all of them."""


@dataclass(frozen=True)
class Part:
    """Of a role in an execution: what it shares, what it is sent, and the bytes of a share of that."""

    feeds: tuple[Feed, ...]
    results: tuple[Result, ...]
    sizes: tuple[int, ...]


class Parts:
    """Of a role in the executions of a plan; rows lie as `apart` says."""

    def __init__(self, plan: Plan, role: str, apart: Apart | None) -> None:
        self.plan, self.role, self._apart = plan, role, apart
        self._known: dict[tuple[str, int | None], Part] = {}

    def of(self, stage: str, rows: int | None) -> Part:
        """Of a submission with so many rows; None: all of them."""
        if (part := self._known.get((stage, rows))) is not None:
            return part
        feeds, results = self.plan.feeds_of(self.role, stage), self.plan.results_of(self.role, stage)
        if rows is not None and self._apart is not None:
            feeds, results = self._apart.of_feeds(feeds, rows), self._apart.of_results(results, rows)
        part = self._known[stage, rows] = Part(feeds, results, tuple(map(result_size, results)))
        return part


def apart_of(parts: Parts, message: Message, sent: Sequence[Sent | None]) -> Iterator[tuple[str, Message]]:
    """What a `begun` or `result` says of each submission, by id: of a result, its own shares before the report.

    sent: the submissions, in the message's order; None for one that we do not know. PeerError when it does not fit.
    """
    body, ids, party = message.body, message.body["ids"], message.sender
    known = [each for each in sent if each is not None]
    if not ids or len(known) < len(ids) or len(set(ids)) < len(ids) or len({each.stage for each in known}) > 1:
        raise PeerError(f"{party} sent {message.kind!r} for something that we have not submitted", party)
    if message.kind == "begun":
        yield from ((number, message) for number in ids)
        return
    expected = [result.name for result in parts.of(known[0].stage, None).results]
    names, shares, report = body["names"], message.payload[:-1], message.payload[-1:]
    if names not in (expected, []) or len(shares) != len(names):
        raise PeerError(f"{party} sent results {names}, where the plan has {expected}", party)
    if list(map(len, report)) != [OP_BYTES * len(parts.plan.procedure(known[0].stage).ops)]:
        raise PeerError(f"{party} sent a report that does not fit the plan", party)
    sizes = [parts.of(each.stage, each.rows).sizes[: len(names)] for each in known]
    for name, share, of_it in zip(names, shares, zip(*sizes, strict=True), strict=True):
        if len(share) != sum(of_it):
            raise PeerError(f"{party} sent {len(share)} bytes for {name}, where the plan has {sum(of_it)}", party)
    at = [0] * len(names)
    for number, of_one in zip(ids, sizes, strict=True):
        own = [share[begin : begin + size] for share, begin, size in zip(shares, at, of_one, strict=True)]
        at = [begin + size for begin, size in zip(at, of_one, strict=True)]
        yield number, Message(party, 0, body, [*own, *report])
