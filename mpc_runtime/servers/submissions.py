"""What roles have left at a party for coming executions: how much they may leave, what both parties have, what is
next.

A submission goes to both parties and reaches them at different times, or only one of them. Each party keeps what it
has; p0 also keeps which of them p1 has, since p0 decides what runs. No sockets and no clock here: `party.py` talks to
the clients and to the other party, and says what time it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..encoding.sharing import payload_sizes, result_size
from ..plan import Plan
from ..privacy.ledger import Charge
from ..transport.guests import Quota
from ..transport.line import Limits

__all__ = ["Key", "Meeting", "Submission", "Submissions", "client_quota", "meeting_of"]

AHEAD_AT_LEAST, AHEAD_AT_MOST = 4, 64  # submissions that one role may have waiting for others
AHEAD_BYTES = 256 << 20  # and how much memory they may take, if that allows AHEAD_AT_LEAST
IN_TRANSIT_BYTES = 1 << 20  # of messages that a key may have here before the party looks at them
ANSWERS_UNREAD = 4  # answers, with their reports, that may wait for a client that does not read
REPORT_BYTES = 1 << 16
FINISHED_KNOWN = 1 << 10  # a party that has missed an end learns it when the session begins anew
BODY_BYTES = 4096  # JSON of a message of a client; hello, submit and withdraw take a few hundred

Key = tuple[str, str, str]
"""Stage (the name of a procedure), role and id of a submission."""

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
    charge: Charge | None = None
    """What it was charged in the privacy ledger."""


def meeting_of(body: Mapping[str, Any]) -> Meeting:
    """What a message says of its submission's meeting."""
    given = body.get("meeting")
    return (given["name"], given["run"]) if given is not None else None


def client_quota(plan: Plan, number: int) -> Quota:
    """What clients may take of party `number` before it looks: of one message, of a key, of all; and what may wait to
    be sent to one of them."""
    largest = max(_sizes(plan, number).values(), default=0)
    answers = max((sum(result_size(r) for r in plan.results_of(role)) for role in plan.roles), default=0)
    return Quota(
        Limits(body=BODY_BYTES, parts=1, payload=largest),
        key_bytes=max(IN_TRANSIT_BYTES, 2 * largest),
        all_bytes=max(4 * IN_TRANSIT_BYTES, 4 * largest),
        unsent_bytes=ANSWERS_UNREAD * (answers + REPORT_BYTES + 24 * max(len(p.ops) for p in plan.procedures)),
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
        self._standing = {p.name for p in plan.procedures if p.standing}
        self._sizes = _sizes(plan, number)
        self._held: dict[tuple[str, str], dict[str, Submission]] = {place: {} for place in self._sizes}
        self._lone: dict[Key, float] = {}  # known to be at one party only -> since when
        self._there: dict[Key, Meeting] = {}  # of those that are known to be at the other party
        self._finished: deque[Key] = deque(maxlen=FINISHED_KNOWN)
        self._turns = 0
        self._turn_of: dict[str, int] = {}  # key of a client -> when it had its last turn, of those who are here

    def problem(self, key: Key, sizes: Sequence[int]) -> str:
        """Why a submission with payload frames of these sizes cannot be taken; empty when it can."""
        stage, role, number = key
        if (stage, role) not in self._held:
            return f"{role} has no part in {stage!r} of this plan"
        if not number or number in self._held[stage, role]:
            return f"expected a new id, {role} sent {number!r}"
        if list(sizes) != [self._sizes[stage, role]]:
            found = f"{sizes[0]} bytes" if len(sizes) == 1 else f"{len(sizes)} frames"
            return f"{role} sent {found} of shares, where the plan has {self._sizes[stage, role]} bytes"
        return ""

    def ahead(self, stage: str, role: str) -> int:
        """How many submissions the role may have waiting here."""
        return _ahead(self._sizes[stage, role])

    def waiting(self, stage: str, role: str) -> Mapping[str, Submission]:
        """The role's submissions here by id."""
        return self._held[stage, role]

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
        self._met(key, submission.arrived)

    def elsewhere(self, key: Key, now: float, meeting: Meeting = None) -> bool:
        """A submission has arrived at the other party, for this meeting. False if that cannot be: the plan has no such
        stage or role, or the role has more of them there than it may."""
        if key[:2] not in self._held:
            return False
        here = self.get(key)
        if here is not None:
            here.arrived = now
        elif sum(lone[:2] == key[:2] and self.get(lone) is None for lone in self._lone) >= AHEAD_AT_MOST:
            return False
        self._there[key] = meeting
        self._met(key, now)
        return True

    def _met(self, key: Key, now: float) -> None:
        if self._lone.pop(key, None) is None:
            self._lone[key] = now

    def drop(self, key: Key) -> Submission | None:
        """Forgets a submission, here and what is known of the other party; what was here."""
        stage, role, number = key
        self._lone.pop(key, None)
        self._there.pop(key, None)
        return self._held.get((stage, role), {}).pop(number, None)

    def finish(self, key: Key) -> Submission | None:
        """Forgets a submission that was used, for good or in vain, but for that."""
        self._finished.append(key)
        submission = self.drop(key)
        if submission is not None:
            self._turns += 1
            here = {each.key for held in self._held.values() for each in held.values()}
            self._turn_of = {client: turn for client, turn in self._turn_of.items() if client in here}
            self._turn_of[submission.key] = self._turns
        return submission

    def finished(self, key: Key) -> bool:
        """Whether a submission was used."""
        return key in self._finished

    def anew(self, now: float) -> dict[Key, Meeting]:
        """A session begins: nothing is known of the other party. The submissions that are here, and their meetings."""
        here = {(*place, number): s.meeting for place, held in self._held.items() for number, s in held.items()}
        self._lone = dict.fromkeys(here, now)
        self._there = {}
        return here

    # -- p0 decides -----------------------------------------------------------------------------------------------

    def next(self, stage: str) -> dict[str, str] | None:
        """For each role the id of the submission that is next, of those that both parties have; None while a role has
        none. Where they stand it is the last; where a role takes part alone, its keys take turns; else it is the first
        of a meeting for which every role has one."""
        roles = self.roles[stage]
        if len(roles) == 1 and stage not in self._standing:
            return self._next_turn(stage, roles[0])
        if stage in self._standing:
            whole = {role: self._whole(stage, role) for role in roles}
            return {role: ids[-1] for role, ids in whole.items()} if all(whole.values()) else None
        if not roles:
            return {}
        firsts = {role: self._firsts(stage, role) for role in roles}
        complete = [meeting for meeting in firsts[roles[0]] if all(meeting in ids for ids in firsts.values())]
        return {role: ids[complete[0]] for role, ids in firsts.items()} if complete else None

    def _next_turn(self, stage: str, role: str) -> dict[str, str] | None:
        """The first submission of the key whose last turn is longest ago."""
        held, whole = self._held[stage, role], self._whole(stage, role)
        first = min(whole, key=lambda number: self._turn_of.get(held[number].key, 0), default=None)
        return {role: first} if first is not None else None

    def _firsts(self, stage: str, role: str) -> dict[Meeting, str]:
        """The role's first submission for each meeting."""
        firsts: dict[Meeting, str] = {}
        for number in self._whole(stage, role):
            firsts.setdefault(self._held[stage, role][number].meeting, number)
        return firsts

    def differs(self, key: Key) -> bool:
        """Whether both parties have the submission, for different meetings."""
        here = self.get(key)
        return here is not None and key in self._there and self._there[key] != here.meeting

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
