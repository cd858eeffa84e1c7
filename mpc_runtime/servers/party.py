"""A compute party: takes shares from the roles, agrees with the other party on what runs next, executes, sends results.

    role  -> p0, p1   submit (stage, id)        shares of its feeds of a procedure; `withdraw` takes it back
    p1    -> p0       have (submission)         it has arrived here too
    p0    -> dealer   wanted (procedure)        a record that is not dealt ahead: new parameters need fresh masks
    p0    -> p1       begin (procedure, index, id of each role's submission)
    p0   <-> p1       the openings of the execution
    both  -> roles    result, then stats

p0 decides, so both parties take the same submissions in the same order, whichever way they arrived. A run begins when
each role that feeds it or learns from it has a submission at both, whose client is still there. What is not to be used
is dropped by p0 as well:

    p1    -> p0       lost (submission)         it was withdrawn, its client is gone, or it never came here
    p0    -> p1       seek (submission)         say so if you do not have it
    p0    -> p1       drop (submission, why)    forget it

One thread and one loop. Executions are `executions.py`'s, the book of submissions `submissions.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PeerError
from ..procedure import Procedure
from ..transport.messages import Message
from .executions import Executions
from .shelf import Shelf
from .submissions import Key, Submission, Submissions

__all__ = ["Desk", "Party"]


NOTHING = "the run was broken off, and nothing was computed"


@dataclass(frozen=True)
class Desk:
    """What outlives a session. shelf: where parameters outlive the process, if they do."""

    submissions: Submissions
    shelf: Shelf | None = None


class Party:
    """The party of these executions, on the node of theirs. `serve` returns only by an exception."""

    def __init__(self, executions: Executions, desk: Desk | None = None) -> None:
        """desk: what clients have left at the same party in an earlier session."""
        self.executions = executions
        self.plan, self.number = executions.plan, executions.number
        self.node, self.peer = executions.node, executions.peer
        desk = desk or Desk(Submissions(self.plan, self.number))
        self._submissions, self._shelf = desk.submissions, desk.shelf
        self._current: tuple[Key, ...] = ()
        self._order = sorted(self.plan.procedures, key=lambda p: not p.standing)
        self._standing: dict[str, dict[str, str]] = {}  # procedure -> the ids that it was executed with

    @property
    def doing(self) -> str:
        """The execution in progress, for messages."""
        return self.executions.doing

    def serve(self) -> None:
        """Runs until a machine is gone (PeerError), the material does not fit (MaterialError) or the process is
        stopped.
        """
        self.executions.exchange_secrets()
        for key in self._submissions.anew(time.perf_counter()):
            if self.number == 1:
                self._tell("have", key)
        while True:
            busy = self._take_submissions() | self._take_controls()
            if self.number == 0 and self._begin_next():
                continue
            if busy:
                continue
            waiting = [self.peer]
            if self._stands and not self.executions.preprocessed:
                if self.executions.preprocess():
                    continue
                waiting.append("dealer")
            seconds = self._chase() if self.number == 0 else None
            self.node.check("")
            self.node.wait(waiting, listen=True, seconds=seconds)

    def broken_off(self, error: PeerError) -> None:
        """Tells those whose run was not finished when the session ended that nothing was computed for them. What others
        have left stays."""
        body = {"kind": "failed", "peer": error.peer, "op": error.op or self.doing}
        for key in self._current:
            submission = self._submissions.finish(key)
            if submission is not None:
                self.node.reply(submission.route, key[1], {**body, "message": f"{error}; {NOTHING}"})
        self._current = ()

    # -- what arrives between executions --------------------------------------------------------------------------

    def _take_submissions(self) -> bool:
        """Takes what clients have sent; True if there was any."""
        busy = False
        while (message := self.node.receive()) is not None:
            busy = True
            key = message.body["stage"], message.sender, message.body["id"]
            if message.kind == "submit":
                self._hold(key, message)
            elif message.kind == "withdraw":
                held = self._submissions.get(key)
                if held is not None and held.route == message.route:
                    self._lose(key)
        return busy

    def _hold(self, key: Key, message: Message) -> None:
        stage, role, number = key
        problem = self._submissions.problem(key, [len(p) for p in message.payload])
        if not problem and self._crowded(stage, role):
            many = self._submissions.ahead(stage, role)
            problem = f"{role} has {many} submissions waiting for other roles; wait for their results first"
        if problem or (problem := self._put_away(key, message.payload)):
            self.node.refuse(message.route, problem)
            return
        self._submissions.add(key, Submission(message.route, message.payload[0], time.perf_counter()))
        if self.number == 1:
            self._tell("have", key)
        self._replace(stage, role)
        if self.plan.procedure(stage).standing:
            self.node.answer(message.route, {"kind": "held", "id": number})

    def _put_away(self, key: Key, payload: Sequence[memoryview]) -> str:
        """Keeps parameters beyond this process; why that cannot be, or nothing."""
        if self._shelf is None or not self.plan.procedure(key[0]).standing:
            return ""
        try:
            self._shelf.put(key, payload[0])
        except OSError as error:
            return f"p{self.number} cannot store parameters: {error.strerror}; provide them again later"
        return ""

    def _crowded(self, stage: str, role: str) -> bool:
        """Whether the role has as many submissions here as it may, not counting those whose clients are gone."""
        waiting = dict(self._submissions.waiting(stage, role))
        if len(waiting) < self._submissions.ahead(stage, role):
            return False
        standing = self.plan.procedure(stage).standing
        gone = [] if standing else [n for n, s in waiting.items() if not self.node.reaches(s.route, role)]
        for number in gone:
            self._lose((stage, role, number))
        return len(waiting) - len(gone) >= self._submissions.ahead(stage, role)

    def _take_controls(self) -> bool:
        """Takes what the other party has said; p1 does what p0 decides. True if there was any."""
        busy = False
        while (message := self.executions.channel.control()) is not None:
            busy = True
            body, kind = message.body, message.kind
            if self.number == 1 and kind == "begin":
                self._take_part(body)
                continue
            key = body["stage"], body["role"], body["id"]
            if self.number == 0 and kind == "have" and self._submissions.finished(key):
                self._drop(key, NOTHING)
            elif self.number == 0 and kind == "have":
                self._submissions.elsewhere(key, time.perf_counter())
                self._replace(key[0], key[1])
            elif self.number == 0 and kind == "lost":
                self._lose(key, body["why"])
            elif self.number == 1 and kind == "seek":
                if self._submissions.get(key) is None:
                    self._lose(key, f"p1 got no such submission of {key[1]} in {self.node.timeout:g} s, only p0 did")
            elif self.number == 1 and kind == "drop":
                self._drop(key, body["why"])
            else:
                raise PeerError(f"{self.peer} sent {kind!r} out of place", self.peer)
        return busy

    def _tell(self, kind: str, key: Key, **more: str) -> None:
        self.node.say(self.peer, {"kind": kind, "stage": key[0], "role": key[1], "id": key[2], **more})

    # -- submissions that will not be used ------------------------------------------------------------------------

    def _lose(self, key: Key, why: str = "") -> None:
        """A submission will not be used. p1 says so to p0, which drops it at both, unless it is parameters in use."""
        if self.number == 1:
            self._tell("lost", key, why=why)
        elif self._standing.get(key[0], {}).get(key[1]) != key[2]:
            self._drop(key, why)

    def _drop(self, key: Key, why: str = "") -> None:
        """Forgets a submission; p0 has p1 forget it too. why: what its client is told, if anything."""
        if self.number == 0:
            self._tell("drop", key, why=why)
        submission = self._submissions.drop(key)
        if self._shelf is not None and self.plan.procedure(key[0]).standing:
            self._shelf.remove(key)
        if submission is not None and why and self.node.guests.get(submission.route) == key[1]:
            self.node.refuse(submission.route, why)

    def _replace(self, stage: str, role: str) -> None:
        """p0 drops parameters that newer ones replace."""
        if self.number == 0:
            for key in self._submissions.superseded(stage, role):
                self._drop(key)

    def _chase(self) -> float | None:
        """p0 drops what only one party has had for `timeout` seconds in which both could listen; p1 is asked first.
        Seconds until this is to be done again."""
        now = time.perf_counter()
        due = []
        for key, since in self._submissions.lone().items():
            left = max(since, self.executions.free_since) + self.node.timeout - now
            if left > 0:
                due.append(left)
            elif self._submissions.get(key) is None:
                self._drop(key, f"p0 got no such submission of {key[1]} in {self.node.timeout:g} s, only p1 did")
            else:
                self._tell("seek", key)
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
            or any(self._submissions.get((name, role, number)) is None for role, number in ids.items())
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
        for procedure in self._order:
            ids = self._submissions.next(procedure.name)
            if procedure.standing:
                if ids is not None and ids != self._standing.get(procedure.name):
                    self._begin(procedure, ids)
                    return True
            elif ids is not None and self._stands:
                keys = [(procedure.name, role, number) for role, number in ids.items()]
                gone = [key for key in keys if not self._attended(key)]
                for key in gone:
                    self._drop(key)
                if not gone:
                    self._begin(procedure, ids)
                return True
        return False

    def _attended(self, key: Key) -> bool:
        """Whether the client of a submission is still there to take its result."""
        submission = self._submissions.get(key)
        return submission is not None and self.node.reaches(submission.route, key[1])

    def _begin(self, procedure: Procedure, ids: dict[str, str]) -> None:
        if not procedure.ahead:
            self.node.say("dealer", {"kind": "wanted", "procedure": procedure.name})
        index = self.executions.next_index(procedure)
        self.node.say(self.peer, {"kind": "begin", "procedure": procedure.name, "index": index, "ids": ids})
        self._execute(procedure, index, ids)

    def _execute(self, procedure: Procedure, index: int, ids: dict[str, str]) -> None:
        keys = {role: (procedure.name, role, number) for role, number in ids.items()}
        submissions = {role: s for role, key in keys.items() if (s := self._submissions.get(key)) is not None}
        self._current = () if procedure.standing else tuple(keys.values())
        self.executions.execute(procedure, index, ids, submissions)
        if procedure.standing:
            self._standing[procedure.name] = ids  # what was given stays: another role's new parameters join it
        for key in self._current:
            self._submissions.finish(key)
        self._current = ()
