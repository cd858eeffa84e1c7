"""A compute party: takes shares from the roles, agrees with the other party on what runs next, executes, sends results.

    role  -> p0, p1   submit (stage, id)        shares of its feeds of a procedure; `withdraw` takes it back
    role  -> p0, p1   budget (dataset, limit)   what is spent of its dataset, and what may be
    p1    -> p0       have (submissions)        they have arrived here too, for this meeting, with so many rows
    p0    -> dealer   wanted (procedure)        a record that is not dealt ahead: new parameters need fresh masks
    p0   <-> p1       persisted (n)             with stored material: which records may be used (`stored.py`)
    p0    -> p1       begin (procedure, index, ids of each role's submissions)
    p0   <-> p1       the openings of the execution
    both  -> roles    result                    with what the execution took

p0 decides, so both parties take the same submissions in the same order, whichever way they arrived. A run begins when
each role that feeds it or learns from it has a submission at both, whose client is still there: of the same meeting, a
name that the roles have agreed on, or in the order of arrival where each role is one machine. Where rows do not meet,
submissions of one role share a run: p0 takes what is there, or waits for more, but not longer than it may let one
`linger`. What is not to be used is dropped by p0 as well:

    p1    -> p0       lost (submission)         it was withdrawn, its client is gone, or it never came here
    p0    -> p1       seek (submission)         say so if you do not have it
    p0    -> p1       drop (submission, why)    forget it

One thread and one loop. Executions are `executions.py`'s, the book of submissions `submissions.py`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MaterialError, PeerError
from ..operation.events import Refused
from ..operation.watch import NOBODY, Watch
from ..procedure import Procedure
from ..transport.messages import MATERIAL, REASON, Message
from .consent import Consent
from .executions import Executions
from .haves import Haves, said_of
from .lingering import Linger
from .members import Members
from .submissions import Group, Key, Submission, Submissions, firsts_of, keys_of, meeting_of
from .supply import UsedUp

__all__ = ["Party"]

NOTHING = "the run was broken off, and nothing was computed"
NOWHERE = 0  # the way back to whoever gave parameters in an earlier session


class Party:
    """The party of these executions, on the node of theirs, with what its clients may do. `serve` returns only by an
    exception."""

    def __init__(
        self,
        executions: Executions,
        consent: Consent,
        watch: Watch = NOBODY,
        submissions: Submissions | None = None,
        linger: float = 0.0,
    ) -> None:
        """submissions: left here in an earlier session. linger: seconds that p0 lets one wait for others in its run."""
        self.executions = executions
        self.consent = consent
        self.plan, self.number = executions.plan, executions.number
        self.node, self.peer = executions.node, executions.peer
        self._watch = watch
        self._submissions = submissions or Submissions(self.plan, self.number)
        self._haves = Haves(lambda body: self.node.say(self.peer, body))
        self._stalled = False  # whether a submission waits for room
        self._linger = Linger(linger, self.node.timeout)
        self._current: tuple[Key, ...] = ()
        self._order = sorted(self.plan.procedures, key=lambda p: not p.standing)
        self._revoked: deque[tuple[frozenset[str], str]] = deque()  # keys that have lost a right, and what to say
        self._standing: dict[str, dict[str, str]] = {}  # procedure -> the ids that it was executed with

    def revise(self, members: Members) -> None:
        """Takes these members from now on; whoever has lost a right loses its connections, and what it has submitted.
        Any thread may call it."""
        before = self.consent.members
        lost = frozenset(key for key, member in before.items() if member.loses(members.get(key)))
        self.node.revise_clients({key: member.role for key, member in members.items()}, lost)
        self.consent.members = members
        self._revoked.append((lost, f"what its key may do at p{self.number} was changed or revoked"))
        self.node.wake()

    @property
    def doing(self) -> str:
        """The execution in progress, for messages."""
        return self.executions.doing

    def serve(self) -> None:
        """Runs until a machine is gone (PeerError), the material does not fit (MaterialError) or we are stopped."""
        self.executions.begin()
        for key, submission in self._submissions.anew(time.perf_counter()).items():
            self._tell_have(key, submission)
        self._restore()
        while True:
            busy = self._take_revisions() | self._take_submissions() | self._take_controls()
            busy |= self.executions.supply.receive()
            if self.number == 0 and self._begin_next():
                continue
            if busy:
                continue
            idle = self._stands and not self.executions.preprocessed
            if idle and self.executions.preprocess():
                continue
            seconds, heard = self._until_due(), self.executions.supply.heard(idle)
            self.node.check("")
            self.node.wait((self.peer, *heard), listen=True, seconds=seconds)

    def _restore(self) -> None:
        """What roles gave to stay, in sessions before this one, is as if it had arrived now."""
        for key, payload in self.executions.supply.remembered():
            if self._submissions.problem(key, [len(payload)]):
                continue
            submission = Submission(NOWHERE, memoryview(payload), time.perf_counter())
            self._submissions.add(key, submission)
            self._tell_have(key, submission)
        self._standing = {name: dict(ids) for name, ids in self.executions.supply.standing().items()}

    def broken_off(self, error: PeerError | MaterialError) -> None:
        """Tells those whose run was not finished when the session ended that nothing was computed for them. What others
        have left stays."""
        peer, op = (error.peer, error.op) if isinstance(error, PeerError) else (self.node.hello.name, "")
        kind = MATERIAL if isinstance(error, MaterialError) else ""
        body = {"kind": "failed", "peer": peer, "op": op or self.doing, "error": kind}
        for key in self._current:
            submission = self._submissions.finish(key)
            if submission is not None:
                self.consent.give_back(key[0], submission, begun=True)
                self.node.reply(submission.route, key[1], {**body, "message": f"{error}; {NOTHING}"})
        self._current = ()

    # -- what arrives between executions --------------------------------------------------------------------------

    def _take_revisions(self) -> bool:
        """Withdraws what keys have left here that may not do so any more."""
        busy = bool(self._revoked)
        while self._revoked:
            keys, why = self._revoked.popleft()
            for key in self._submissions.of_keys(keys):
                self._lose(key, f"a submission of {key[1]} was withdrawn: {why}")
        return busy

    def _take_submissions(self) -> bool:
        """Takes what clients have sent, as far as there is room; True if there was any."""
        self._stalled = False
        heard = self.node.hear_clients(self._take)
        if self.number == 1:
            self._haves.tell(looked=True)
        return heard | (self._stalled and self._lose_gone())

    def _take(self, message: Message) -> bool:
        """Takes a message of a client; False for what has to wait: for room, or for what it has withdrawn before."""
        if message.kind in ("budget", "trained"):
            return not self._submissions.withdraws(message.sender) and self._tell(message)
        key = message.body["stage"], message.sender, message.body["id"]
        if message.kind == "submit":
            return self._hold(key, message)
        held = self._submissions.get(key)
        if held is not None and held.route == message.route:
            self._lose(key)
        return True

    def _hold(self, key: Key, message: Message) -> bool:
        stage, role, number = key
        rows, meeting = message.body.get("rows"), meeting_of(message.body)
        problem = self._submissions.problem(key, [len(p) for p in message.payload], rows)
        problem = problem or self.consent.problem(stage, role, message.key, named=meeting is not None)
        problem = problem or self.executions.trained.problem(stage, message.body.get("training"))
        count = self._submissions.rows(stage, rows)
        if not problem and not self._submissions.has_room(key, message.key, count):
            self._stalled = True
            return not self.node.reaches(message.route, role)
        now = time.perf_counter()
        if problem := problem or self.consent.count(stage, message.key, now):
            return self._turned_away(message, problem)
        procedure = self.plan.procedure(stage)
        if procedure.standing and (lacking := self.executions.supply.lacks(procedure)):
            return self._turned_away(message, lacking, MATERIAL)  # what stands goes on
        if procedure.standing and (problem := self._put_away(key, message.payload)):
            return self._turned_away(message, problem)
        receives = self.consent.receives(message.key)
        submission = Submission(message.route, message.payload[0], now, meeting, message.key, receives, count)
        submission.step = message.body.get("training")
        charge = self.consent.charge(stage, role, message.key, message.body)
        if isinstance(charge, str):
            self.consent.give_back(stage, submission)
            return self._denied(message, charge)
        submission.charge = charge
        self._submissions.add(key, submission)
        self._tell_have(key, submission)
        self._met(key)
        if procedure.standing:
            self.node.answer(message.route, {"kind": "held", "id": number})
        return True

    def _turned_away(self, message: Message, problem: str, error: str = "") -> bool:
        """Refuses what a client has sent, which is taken therewith."""
        self._watch.tell(Refused(message.sender, problem))
        self.node.refuse(message.route, problem, error)
        return True

    def _denied(self, message: Message, why: str) -> bool:
        """Says no to what the privacy ledger does not allow; the client stays."""
        self._watch.tell(Refused(message.sender, why))
        self.node.answer(message.route, {"kind": "denied", "id": message.body["id"], "message": why})
        return True

    def _tell(self, message: Message) -> bool:
        """Answers an owner that asks for its dataset, and has perhaps stated a limit; or for the training."""
        body = message.body
        if message.kind == "budget":
            told, kind = self.consent.spending.tell(message.key, body["dataset"], body.get("limit")), "spent"
        else:
            announced, begins = self._submissions.announced(message), self._submissions.renewed(self._standing)
            told, kind = self.executions.trained.tell(message, announced, begins=begins), "progress"
        if isinstance(told, str):
            return self._denied(message, told)
        self.node.answer(message.route, {"kind": kind, "id": body["id"], **told})
        return True

    def _put_away(self, key: Key, payload: Sequence[memoryview]) -> str:
        """Keeps parameters beyond this process, where that is done; why it cannot be, or nothing."""
        try:
            self.executions.supply.remember(key, payload[0])
        except (OSError, MaterialError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return f"p{self.number} cannot store parameters: {reason}; provide them again later"
        return ""

    def _lose_gone(self) -> bool:
        """Makes room: what clients have left for runs who are gone will not be used. True if there was any."""
        for key in (gone := [k for k, held in self._submissions.for_runs() if not self.node.reaches(held.route, k[1])]):
            self._lose(key)
        return bool(gone)

    def _take_controls(self) -> bool:
        """Takes what the other party has said; p1 does what p0 decides. True if there was any."""
        busy = False
        while (message := self.executions.channel.control()) is not None:
            busy = True
            body, kind = message.body, message.kind
            key = body.get("stage", ""), body.get("role", ""), body.get("id", "")
            if self.number == 1 and kind == "begin":
                self._take_part(body)
            elif self.executions.supply.hear(message):
                continue
            elif self.number == 0 and kind == "have":
                self._take_haves(body["submissions"], body["runs"])
            elif self.number == 0 and kind == "lost":
                self._lose(key, body["why"])
            elif self.number == 1 and kind == "seek":
                if self._submissions.get(key) is None:
                    self._lose(key, f"p1 got no such submission of {key[1]} in {self.node.timeout:g} s, only p0 did")
            elif self.number == 1 and kind == "drop":
                self._drop(key, body["why"], body["error"])
            else:
                raise PeerError(f"{self.peer} sent {kind!r} out of place", self.peer)
        return busy

    def _take_haves(self, submissions: Sequence[Mapping[str, Any]], runs: int) -> None:
        """p0 learns what p1 has too. runs: as of `Linger.looked`."""
        now = time.perf_counter()
        self._linger.looked(runs, now)
        for key, said in map(said_of, submissions):
            if self._submissions.finished(key):
                self._drop(key, NOTHING)
            elif self._submissions.elsewhere(key, now, *said):
                self._met(key)
            else:
                raise PeerError(f"{self.peer} has a submission of {key[1]} that it cannot have", self.peer)

    def _tell_have(self, key: Key, submission: Submission) -> None:
        if self.number == 1:
            self._haves.add(key, submission)

    def _say(self, kind: str, key: Key, **more: object) -> None:
        self._haves.tell()
        self.node.say(self.peer, {"kind": kind, "stage": key[0], "role": key[1], "id": key[2], **more})

    # -- submissions that will not be used ------------------------------------------------------------------------

    def _lose(self, key: Key, why: str = "") -> None:
        """A submission will not be used. p1 says so to p0, which drops it at both, unless it is parameters in use."""
        if self.number == 1:
            if (held := self._submissions.get(key)) is not None:
                held.lost = True
            self._say("lost", key, why=why[:REASON])
        elif self._standing.get(key[0], {}).get(key[1]) != key[2]:
            if why:
                self._warn(key, why)
            self._drop(key, why)

    def _warn(self, lost: Key, why: str) -> None:
        """p0 tells the other roles that wait for a submission that it will not be used."""
        submission = self._submissions.get(lost)
        if submission is None or self.plan.procedure(lost[0]).standing:
            return
        for role in self._submissions.roles[lost[0]]:
            waiting = self._submissions.waiting(lost[0], role) if role != lost[1] else {}
            for number, each in waiting.items():
                if each.meeting == submission.meeting:
                    self.node.reply(each.route, role, {"kind": "word", "id": number, "message": why})

    def _drop(self, key: Key, why: str = "", error: str = "") -> None:
        """Forgets a submission; p0 has p1 forget it too. why: what its client is told, if anything; error: as of
        `Node.refuse`."""
        if self.number == 0:
            self._say("drop", key, why=why[:REASON], error=error)
        submission = self._submissions.drop(key)
        if submission is not None:
            self.consent.give_back(key[0], submission)
        if any(p.standing and p.name == key[0] for p in self.plan.procedures):
            self.executions.supply.forget(key)
        if why:
            self._watch.tell(Refused(key[1], why))
        if submission is not None and why and self.node.guests.get(submission.route) == key[1]:
            self.node.refuse(submission.route, why, error)

    def _met(self, key: Key) -> None:
        """p0 drops what a submission that has arrived replaces or cannot be paired with."""
        if self.number != 0:
            return
        for old in self._submissions.superseded(key[0], key[1]):
            self._drop(old)
        if different := self._submissions.differs(key):
            self._drop(key, f"{key[1]} has named {different}")
        elif (twin := self._submissions.twin(key)) is not None and self._attended(twin):
            self._drop(key, f"another submission of {key[1]} waits for the same meeting; a run has one of each role")
        elif twin is not None:
            self._drop(twin)

    def _until_due(self) -> float | None:
        """p0 drops what only one party has had for `timeout` seconds in which both could listen; p1 is asked first.
        Seconds until this is to be done again, a run begins that waits for others, or material is given up."""
        now, at = time.perf_counter(), self._linger.due
        due = [left for left in (self.executions.supply.patience, at and at - now) if left is not None]
        for key, since in self._submissions.lone().items() if self.number == 0 else ():
            left = max(since, self.executions.free_since) + self.node.timeout - now
            if left > 0:
                due.append(left)
            elif self._submissions.get(key) is None:
                self._drop(key, f"p0 got no such submission of {key[1]} in {self.node.timeout:g} s, only p1 did")
            else:
                self._say("seek", key)
                self._submissions.asked_for(key, now)
                due.append(self.node.timeout)
        return min(due, default=None)

    # -- executions -----------------------------------------------------------------------------------------------

    def _take_part(self, body: dict[str, Any]) -> None:
        """p1 follows a `begin`; the submissions it names are here, since p1 has said so."""
        name, index, ids = body["procedure"], body["index"], body["ids"]
        procedure = next((p for p in self.plan.procedures if p.name == name), None)
        if (
            procedure is None
            or tuple(ids) != self._submissions.roles[name]
            or index < self.executions.lowest(procedure)
            or not self._submissions.may_share(name, ids)
            or self._unfit(procedure, ids)
        ):
            raise PeerError(
                f"{self.peer} began {name} {index}, which does not fit what {self.peer} was told", self.peer
            )
        self._execute(procedure, index, ids)

    @property
    def _stands(self) -> bool:
        """Whether every standing procedure has been executed, so that others can be."""
        return all(p.name in self._standing for p in self.plan.procedures if p.standing)

    def _begin_next(self) -> bool:
        """p0 begins what is ready at both parties, new parameters first; False when nothing is."""
        self._linger.due = None
        for procedure in self._order:
            group = self._submissions.next(procedure.name)
            if procedure.standing:
                if group is not None and firsts_of(group) != self._standing.get(procedure.name):
                    return self._begin(procedure, group)
            elif group is not None and self._stands:
                gone = [key for key in keys_of(procedure.name, group) if not self._attended(key)]
                problem = "" if gone else self._unfit(procedure, group)
                for key in keys_of(procedure.name, group) if problem else gone:
                    self._drop(key, problem)
                if gone or problem:
                    return True
                return not self._lingers(procedure.name, group) and self._begin(procedure, group)
        return False

    def _unfit(self, procedure: Procedure, group: Group) -> str:
        """Why a group cannot be the next step of training; empty where it can, or is none."""
        taken = self._submissions.taken(procedure.name, group)
        return self.executions.trained.unfit(procedure.name, [s.step for s in taken if s.step is not None])

    def _lingers(self, name: str, group: Group) -> bool:
        """Whether a run waits for others to share it."""
        if self._submissions.fills(name, group):
            return False
        first = min(each.arrived for each in self._submissions.taken(name, group))
        return self._linger.holds(first, time.perf_counter())

    def _attended(self, key: Key) -> bool:
        """Whether the client of a submission is still there to take its result."""
        submission = self._submissions.get(key)
        return submission is not None and self.node.reaches(submission.route, key[1])

    def _begin(self, procedure: Procedure, group: Group) -> bool:
        """Begins a procedure with these submissions; False when there is no record for it, or not yet."""
        try:
            index = self.executions.next_index(procedure)
        except UsedUp as error:
            return self._do_without(procedure, error)
        if index is None:
            return False
        self.node.say(self.peer, {"kind": "begin", "procedure": procedure.name, "index": index, "ids": group})
        self._execute(procedure, index, group)
        return True

    def _do_without(self, procedure: Procedure, error: UsedUp) -> bool:
        """There is no record: parameters are opened anew under the masks of other records, or all who wait are told.
        False when nobody was."""
        if error.renewable:
            self._standing.clear()
            return True
        return self.turn_away(error)

    def turn_away(self, error: MaterialError) -> bool:
        """Tells all who wait for a run that there is no material for it; False when nobody does."""
        waiting = self._submissions.for_runs(lost=True)
        for key, _ in waiting:
            self._drop(key, str(error), MATERIAL)
        return bool(waiting)

    def _execute(self, procedure: Procedure, index: int, group: Group) -> None:
        name = procedure.name
        taking = {role: self._submissions.taken(name, {role: ids}) for role, ids in group.items()}
        self._current = () if procedure.standing else tuple(keys_of(name, group))
        with self.node.finished():
            self.executions.execute(procedure, index, group, taking)
        if procedure.standing:
            self._standing[name] = firsts_of(group)  # what was given stays: another role's new parameters join it
        for key in self._current:
            self._submissions.finish(key)
        self._current = ()
        self._linger.ran()
        self._haves.ran()
