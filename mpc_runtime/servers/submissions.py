"""What roles have left at a party for coming executions: how much they may leave, what both parties have, what is
next.

Room is counted in rows of a batch where clients submit some of them, else in submissions. A role's is shared by its
keys: whoever has something here while others have too gets no more than an even share, and whoever has nothing here
always gets in. What finds no room waits in the network (`Node.offer`).

A submission goes to both parties and reaches them at different times, or only one of them. Each party keeps what it
has; p0 also keeps which of them p1 has, since p0 decides what runs. No sockets and no clock here: `party.py` talks to
the clients and to the other party, and says what time it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..analysis.rows import Apart, rows_apart
from ..encoding.sharing import payload_sizes, result_size
from ..errors import amount
from ..execution.stats import OP_BYTES
from ..plan import Plan
from ..privacy.ledger import Charge
from ..transport.guests import Quota
from ..transport.line import Limits
from ..transport.messages import TOGETHER, Message

__all__ = [
    "Group",
    "Key",
    "Meeting",
    "Submission",
    "Submissions",
    "client_quota",
    "firsts_of",
    "keys_of",
    "meeting_of",
]

AHEAD_AT_LEAST, AHEAD_AT_MOST = 4, 64  # submissions of whole batches that one role may have waiting
AHEAD_BYTES = 256 << 20  # and how much memory they may take, if that allows AHEAD_AT_LEAST
KEYS = 1 << 10  # of a role, that have room for one submission at the other party beyond that, as far as we believe it
IN_TRANSIT_BYTES = 1 << 20  # of messages that a key may have here before the party looks at them
ANSWERS_UNREAD = 4  # answers, with their reports, that may wait for a client that does not read
REPORT_BYTES = 1 << 16
FINISHED_KNOWN = 1 << 10  # a party that has missed an end learns it when the session begins anew
BODY_BYTES = 4096  # JSON of a message of a client; hello, submit and withdraw take a few hundred

Key = tuple[str, str, str]
"""Stage (the name of a procedure), role and id of a submission."""

Group = Mapping[str, Sequence[str]]
"""By role, the ids of the submissions that an execution takes: one each, or several of one role that share it."""

Meeting = tuple[str, int] | None
"""What the roles of a run have agreed on to pair their submissions by, and which of its runs it is; None where they are
paired in the order of their arrival."""


@dataclass
class Submission:
    """What a client has left here for one execution, and the way back to it."""

    route: int
    payload: memoryview
    arrived: float
    """When it came; at p0, which waits for that, when p1's half was known to have come too."""
    meeting: Meeting = None
    key: str = ""
    """The public key of its client."""
    receives: bool = True
    """Whether it is sent the results."""
    rows: int = 1
    """How many rows of a batch it has, where it could have fewer than all."""
    lost: bool = False
    """Whether the other party, which is to drop it, knows that it will not be used."""
    charge: Charge | None = None
    """What it was charged in the privacy ledger."""
    step: Mapping[str, Any] | None = None
    """Which step of training it is for, and what it says of checkpoints."""


def meeting_of(body: Mapping[str, Any]) -> Meeting:
    """What a message says of its submission's meeting."""
    given = body.get("meeting")
    return (given["name"], given["run"]) if given is not None else None


def keys_of(stage: str, group: Group) -> Iterator[Key]:
    """Of the submissions of a group."""
    return ((stage, role, number) for role, ids in group.items() for number in ids)


def firsts_of(group: Group) -> dict[str, str]:
    """By role, of a group with one submission of each."""
    return {role: ids[0] for role, ids in group.items()}


def client_quota(plan: Plan, number: int) -> Quota:
    """What clients may take of party `number` before it looks: of one message, of a key, of all; and what may wait to
    be sent to one of them."""
    largest = max(_sizes(plan, number).values(), default=0)
    answers = max((sum(result_size(r) for r in plan.results_of(role)) for role in plan.roles), default=0)
    return Quota(
        Limits(body=BODY_BYTES, parts=1, payload=largest),
        key_bytes=max(IN_TRANSIT_BYTES, 2 * largest),
        all_bytes=max(4 * IN_TRANSIT_BYTES, 4 * largest),
        unsent_bytes=ANSWERS_UNREAD * (answers + REPORT_BYTES + OP_BYTES * max(len(p.ops) for p in plan.procedures)),
    )


def _sizes(plan: Plan, number: int) -> dict[tuple[str, str], int]:
    """Bytes of a submission to party `number` by stage and role."""
    stages = [p.name for p in plan.procedures]
    return {(s, r): payload_sizes(plan.feeds_of(r, s))[number] for s in stages for r in plan.roles_of(s)}


def _ahead(nbytes: int) -> int:
    """How many submissions of this size a role may have waiting."""
    return max(AHEAD_AT_LEAST, min(AHEAD_AT_MOST, AHEAD_BYTES // max(nbytes, 1)))


class Submissions:
    """The submissions at party `number`, by stage and role in the order of their arrival."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.roles = {p.name: plan.roles_of(p.name) for p in plan.procedures}
        self._plan, self._number = plan, number
        self._standing = {p.name for p in plan.procedures if p.standing}
        self._apart = {p.name: rows_apart(plan, p.name) for p in plan.procedures}
        self._sizes = _sizes(plan, number)
        self._sizes_of: dict[tuple[str, str, int], int] = {}  # of so many rows
        self._held: dict[tuple[str, str], dict[str, Submission]] = {place: {} for place in self._sizes}
        self._room: dict[tuple[str, str], Counter[str]] = {place: Counter() for place in self._sizes}  # taken by key
        self._lone: dict[Key, float] = {}  # known to be at one party only -> since when
        self._there: dict[
            Key, tuple[Meeting, int, Any]
        ] = {}  # known to be at the other party: what was said of it there
        self._only_there: Counter[tuple[str, str]] = Counter()
        self._finished: dict[Key, None] = {}  # the last FINISHED_KNOWN, in their order
        self._turns = 0
        self._turn_of: dict[str, int] = {}  # key of a client -> when it had its last turn

    def problem(self, key: Key, sizes: Sequence[int], rows: int | None = None) -> str:
        """Why a submission of so many rows (None: all), with payload frames of these sizes, cannot be taken; empty when
        it can."""
        stage, role, number = key
        if (stage, role) not in self._held:
            return f"{role} has no part in {stage!r} of this plan"
        if not number or number in self._held[stage, role]:
            return f"expected a new id, {role} sent {number!r}"
        apart, size = self._apart[stage], self._sizes[stage, role]
        if rows is not None and (apart is None or rows > apart.size):
            most = "only whole batches, whose rows meet" if apart is None else f"at most {apart.size}"
            return f"{role} sent {amount(rows, 'row')}, where the plan takes {most}"
        if rows is not None and apart is not None:
            size = self._size(stage, role, rows, apart)
        if list(sizes) != [size]:
            found = f"{sizes[0]} bytes" if len(sizes) == 1 else f"{len(sizes)} frames"
            return f"{role} sent {found} of shares, where the plan has {size} bytes"
        return ""

    def _size(self, stage: str, role: str, rows: int, apart: Apart) -> int:
        """Bytes of a submission here that has so many rows, no more than an execution."""
        if (size := self._sizes_of.get((stage, role, rows))) is None:
            size = payload_sizes(apart.of_feeds(self._plan.feeds_of(role, stage), rows))[self._number]
            self._sizes_of[stage, role, rows] = size
        return size

    def rows(self, stage: str, rows: int | None) -> int:
        """`Submission.rows` of a submission with so many rows; None: all."""
        apart = self._apart.get(stage)
        return rows or (apart.size if apart is not None else 1)

    def ahead(self, stage: str, role: str) -> int:
        """How much the role may have waiting here, as `Submission.rows` counts it."""
        return _ahead(self._sizes[stage, role]) * self.rows(stage, None)

    def has_room(self, key: Key, client: str, rows: int) -> bool:
        """Whether the client with this public key may leave a submission here now."""
        room = self._room.get(key[:2])
        if room is None or not (mine := room[client]):
            return True
        most = self.ahead(*key[:2])
        return room.total() + rows <= most and mine + rows <= most // len(room)

    def waiting(self, stage: str, role: str) -> Mapping[str, Submission]:
        """The role's submissions here by id."""
        return self._held[stage, role]

    def renewed(self, standing: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether there are parameters here that no execution has taken yet. standing: by stage and role, those that
        the last one has taken."""
        return any(
            held and next(reversed(held)) != standing.get(stage, {}).get(role)
            for (stage, role), held in self._held.items()
            if stage in self._standing
        )

    def for_runs(self, *, lost: bool = False) -> list[tuple[Key, Submission]]:
        """The submissions here that do not stay; without `lost`, but for those that the other party knows not to be
        used."""
        return [
            ((*place, number), submission)
            for place, held in self._held.items()
            for number, submission in held.items()
            if place[0] not in self._standing and (lost or not submission.lost)
        ]

    def withdraws(self, role: str) -> bool:
        """Whether p0 has yet to drop what p1 has said that this role will not use."""
        return any(key[1] == role and submission.lost for key, submission in self.for_runs(lost=True))

    def announced(self, asked: Message) -> Mapping[str, Any] | None:
        """What another role than the one that asks says of the training whose next step it waits for, as in
        messages."""
        role, meeting = asked.sender, asked.body.get("meeting")
        for key, held in self.for_runs():
            named = held.meeting[0] if held.meeting is not None else None
            if key[1] != role and named == meeting and held.step is not None and "fit" in held.step:
                return held.step["fit"]  # type: ignore[no-any-return]
        return None

    def get(self, key: Key) -> Submission | None:
        stage, role, number = key
        return self._held.get((stage, role), {}).get(number)

    def of_keys(self, keys: Collection[str]) -> list[Key]:
        """The submissions here that came under these public keys."""
        return [
            (stage, role, number)
            for (stage, role), held in self._held.items()
            for number, submission in held.items()
            if submission.key in keys
        ]

    def add(self, key: Key, submission: Submission) -> None:
        """A submission has arrived here."""
        stage, role, number = key
        self._held[stage, role][number] = submission
        self._room[stage, role][submission.key] += submission.rows
        self._only_there[stage, role] -= key in self._there
        self._met(key, submission.arrived)

    def elsewhere(
        self, key: Key, now: float, meeting: Meeting = None, rows: int | None = None, step: Any = None
    ) -> bool:
        """A submission has arrived at the other party, for this meeting, of so many rows and for this step. False if
        that cannot be: the plan has no such stage or role, or the role has more of them there than it may."""
        if key[:2] not in self._held or key in self._there:
            return False
        here = self.get(key)
        if here is not None:
            here.arrived = now
        elif self._only_there[key[:2]] >= AHEAD_AT_MOST * self.rows(key[0], None) + KEYS:
            return False
        self._only_there[key[:2]] += here is None
        self._there[key] = meeting, self.rows(key[0], rows), step
        self._met(key, now)
        return True

    def _met(self, key: Key, now: float) -> None:
        if self._lone.pop(key, None) is None:
            self._lone[key] = now

    def drop(self, key: Key) -> Submission | None:
        """Forgets a submission, here and what is known of the other party; what was here."""
        stage, role, number = key
        self._lone.pop(key, None)
        there = self._there.pop(key, None)
        submission = self._held.get((stage, role), {}).pop(number, None)
        if submission is not None:
            room = self._room[stage, role]
            room[submission.key] -= submission.rows
            if not room[submission.key]:
                del room[submission.key]  # keys that have nothing here are not counted among them
        elif there is not None:
            self._only_there[stage, role] -= 1
        return submission

    def finish(self, key: Key) -> Submission | None:
        """Forgets a submission that was used, for good or in vain, but for that."""
        self._finished[key] = None
        if len(self._finished) > FINISHED_KNOWN:
            del self._finished[next(iter(self._finished))]
        submission = self.drop(key)
        if submission is not None:
            self._turns += 1
            self._turn_of[submission.key] = self._turns
        return submission

    def finished(self, key: Key) -> bool:
        """Whether a submission was used."""
        return key in self._finished

    def anew(self, now: float) -> dict[Key, Submission]:
        """A session begins: nothing is known of the other party. The submissions that are here."""
        here = {(*place, number): s for place, held in self._held.items() for number, s in held.items()}
        for submission in here.values():
            submission.lost = False
        self._lone = dict.fromkeys(here, now)
        self._there, self._only_there = {}, Counter()
        return here

    # -- p0 decides -----------------------------------------------------------------------------------------------

    def next(self, stage: str) -> Group | None:
        """The submissions that are next, of those that both parties have; None while a role has none. Where they stand
        it is the last of each role; where a role takes part alone, its keys take turns; else it is the first of a
        meeting for which every role has one."""
        roles = self.roles[stage]
        if len(roles) == 1 and stage not in self._standing:
            turn = self._next_turn(stage, roles[0], self._apart[stage])
            return {roles[0]: turn} if turn else None
        if stage in self._standing:
            whole = {role: self._whole(stage, role) for role in roles}
            return {role: ids[-1:] for role, ids in whole.items()} if all(whole.values()) else None
        if not roles:
            return None  # nobody asks for it
        firsts = {role: self._firsts(stage, role) for role in roles}
        complete = [meeting for meeting in firsts[roles[0]] if all(meeting in ids for ids in firsts.values())]
        return {role: [ids[complete[0]]] for role, ids in firsts.items()} if complete else None

    def _next_turn(self, stage: str, role: str, apart: Apart | None) -> list[str]:
        """One submission of each key, whose last turn is longest ago first; then another of each, as long as there are
        rows left. The first key's is taken whatever it has, so nobody waits for ever."""
        queues: dict[str, deque[str]] = {}
        for number in self._whole(stage, role):
            queues.setdefault(self._held[stage, role][number].key, deque()).append(number)
        left, taken = apart.size if apart is not None else 1, list[str]()
        order = deque(sorted(queues, key=lambda client: self._turn_of.get(client, 0)))
        while order and left and len(taken) < TOGETHER:
            queue = queues[client := order.popleft()]
            rows = self._held[stage, role][queue[0]].rows
            if rows > left:
                continue
            taken.append(queue.popleft())
            left -= rows
            if queue:
                order.append(client)
        return taken

    def may_share(self, stage: str, group: Group) -> bool:
        """Whether a group of all roles is one that an execution can take: each submission is here, and stands in it
        once; one of each role and of one meeting, or several whose rows have room."""
        numbers = [number for ids in group.values() for number in ids]
        found = self.taken(stage, group)
        if len(found) < len(numbers) or any(len(set(ids)) < max(1, len(ids)) for ids in group.values()):
            return False
        if self._apart[stage] is not None:
            return sum(submission.rows for submission in found) <= self.rows(stage, None)
        return len(numbers) == len(group) and len({submission.meeting for submission in found}) <= 1

    def fills(self, stage: str, group: Group) -> bool:
        """Whether nothing that comes could join a group."""
        found = self.taken(stage, group)
        return len(found) == TOGETHER or sum(s.rows for s in found) >= self.rows(stage, None)

    def taken(self, stage: str, group: Group) -> list[Submission]:
        """The submissions of a group that are here."""
        keys = [(stage, role, number) for role, ids in group.items() for number in ids]
        return [submission for key in keys if (submission := self.get(key)) is not None]

    def _firsts(self, stage: str, role: str) -> dict[Meeting, str]:
        """The role's first submission for each meeting."""
        firsts: dict[Meeting, str] = {}
        for number in self._whole(stage, role):
            firsts.setdefault(self._held[stage, role][number].meeting, number)
        return firsts

    def differs(self, key: Key) -> str:
        """What the two parties were told of a submission that both have, if it was not the same."""
        here, there = self.get(key), self._there.get(key)
        if here is None or there is None or there == (here.meeting, here.rows, here.step):
            return ""
        what = "step of training" if there[:2] == (here.meeting, here.rows) else "number of rows"
        what = "meeting" if there[0] != here.meeting else what
        return f"one {what} to p0 and another to p1"

    def twin(self, key: Key) -> Key | None:
        """Another submission of the role that both parties have for the same meeting, if there is one."""
        stage, role, number = key
        here = self.get(key)
        if here is None or here.meeting is None or key in self._lone or stage in self._standing:
            return None
        held = self._held[stage, role]
        same = (n for n in self._whole(stage, role) if n != number and held[n].meeting == here.meeting)
        return next(((stage, role, n) for n in same), None)

    def superseded(self, stage: str, role: str) -> list[Key]:
        """Submissions of the role that stand until newer ones, which both parties have, replace them."""
        if stage not in self._standing:
            return []
        whole, held = self._whole(stage, role), list(self._held[stage, role])
        return [(stage, role, number) for number in held[: held.index(whole[-1])]] if whole else []

    def lone(self) -> Mapping[Key, float]:
        """Submissions that only one of the parties has, and since when; `get` tells which of them."""
        return dict(self._lone)

    def asked_for(self, key: Key, now: float) -> None:
        """The other party has been asked for a submission that only we have: its time begins anew."""
        self._lone[key] = now

    def _whole(self, stage: str, role: str) -> list[str]:
        return [number for number in self._held[stage, role] if (stage, role, number) not in self._lone]
