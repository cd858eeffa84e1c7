"""A compute party: takes shares from the roles, agrees with the other party on what runs next, executes, sends results.

    role  -> p0, p1   submit (stage, id)        shares of its setup or run feeds
    p1    -> p0       have (role, stage, id)    a submission has arrived here too
    p0    -> dealer   setup                     new parameters need fresh masks
    p0    -> p1       begin (procedure, index, id of each role's submission)
    p0   <-> p1       the openings of the execution
    both  -> roles    result, then stats

p0 decides, so both parties take the same submissions in the same order, whichever way they arrived. A run begins when
each role that feeds it or learns from it has a submission at both. One thread and one loop; arithmetic is the
executor's.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MaterialError, PeerError
from .executor import ExecutionKeys, PartyExecutor
from .keys import SEED_BYTES, SeedChain, pair_key, pair_secret
from .plan import Plan
from .sharing import gather, payload_sizes
from .transport.link import Message
from .transport.node import Node
from .transport.zmq import MaterialSource, PeerChannel

__all__ = ["Party", "roles_of"]

Array = np.ndarray
SUBMISSIONS_AHEAD = 64  # that one role may have waiting; a client that sends more is told so


@dataclass(frozen=True)
class Submission:
    """What a role has left here for one execution."""

    route: bytes
    payload: memoryview
    arrived: float


def roles_of(plan: Plan, stage: str) -> tuple[str, ...]:
    """The roles whose submissions an execution of this stage waits for, in the plan's order."""
    if stage == "setup":
        return tuple(r for r in plan.roles if plan.feeds_of(r, stage))
    return tuple(r for r in plan.roles if plan.feeds_of(r, stage) or plan.results_of(r))


class Party:
    """Party `number` on a node that has met the other party and the dealer. `serve` returns only by an exception."""

    def __init__(self, plan: Plan, number: int, node: Node, window: int) -> None:
        self.plan = plan
        self.number = number
        self.node = node
        self.peer = f"p{1 - number}"
        self.channel = PeerChannel(node, self.peer)
        self.material = MaterialSource(node, window)
        self.executor = PartyExecutor(plan, number, self.channel)
        self._roles = {stage: roles_of(plan, stage) for stage in ("setup", "run")}
        self._held: dict[tuple[str, str], dict[str, Submission]] = {
            (stage, role): {} for stage in self._roles for role in self._roles[stage]
        }
        self._theirs: set[tuple[str, str, str]] = set()
        self._setup_ids: dict[str, str] | None = None
        self._setup_stats: dict[str, Any] = {}
        self._prepared: tuple[int, ExecutionKeys, float] | None = None
        self._free_since = time.perf_counter()
        self._chain: SeedChain
        self._pair: bytes
        self.doing = ""
        """The execution in progress, for messages."""

    def serve(self) -> None:
        """Runs until a machine is gone (PeerError), the material does not fit (MaterialError) or the process is
        stopped.
        """
        self._exchange_secrets()
        while True:
            busy = self._take_submissions() | self._take_controls()
            if self.number == 0 and self._begin_next():
                continue
            if busy:
                continue
            waiting = [self.peer]
            if self._setup_ids is not None and self._prepared is None:
                if self.material.announced_run() == self._chain.next:
                    self._prepare()
                    continue
                waiting.append("dealer")
            self.node.check("")
            self.node.wait(waiting, listen=True, seconds=None)

    # -- the session's secrets ------------------------------------------------------------------------------------

    def _exchange_secrets(self) -> None:
        mine = os.urandom(SEED_BYTES)
        self.node.say(self.peer, {"kind": "contribution"}, mine)
        theirs = self._expect(self.peer, "contribution")
        self._pair = pair_secret(*((mine, theirs) if self.number == 0 else (theirs, mine)))
        self._chain = SeedChain(self._expect("dealer", "seed"), self.plan.hash)

    def _expect(self, machine: str, kind: str) -> bytes:
        """The payload of this machine's first message, SEED_BYTES long."""
        link = self.node.links[machine]
        deadline = time.monotonic() + self.node.timeout
        while (item := link.next()) is None:
            self.node.check("the start")
            if time.monotonic() > deadline:
                raise PeerError(f"{machine} sent no {kind} for {self.node.timeout:g} s", machine, "the start")
            self.node.wait((machine,), listen=False, seconds=1.0)
        if not isinstance(item, Message) or item.kind != kind or [len(p) for p in item.payload] != [SEED_BYTES]:
            raise PeerError(f"{machine} sent something else than its {kind}", machine, "the start")
        return bytes(item.payload[0])

    # -- what arrives between executions --------------------------------------------------------------------------

    def _take_submissions(self) -> bool:
        """Takes what clients have sent; True if there was any."""
        busy = False
        while (message := self.node.receive()) is not None:
            busy = True
            if message.kind == "submit":
                self._hold(message)
        return busy

    def _hold(self, message: Message) -> None:
        role, stage, number = message.sender, str(message.body.get("stage")), str(message.body.get("id"))
        problem = self._problem(role, stage, message.payload)
        if problem:
            self.node.answer(message.route, {"kind": "refused", "message": problem})
            return
        payload = message.payload[0] if message.payload else memoryview(b"")
        self._held[stage, role][number] = Submission(message.route, payload, time.perf_counter())
        if self.number == 1:
            self.node.say(self.peer, {"kind": "have", "stage": stage, "role": role, "id": number})
        if stage == "setup":
            self.node.answer(message.route, {"kind": "held", "id": number})

    def _problem(self, role: str, stage: str, payload: Sequence[memoryview]) -> str:
        """Why a submission cannot be taken; empty when it can."""
        if (stage, role) not in self._held:
            return f"{role} has no part in {stage!r} of this plan"
        sizes = [len(p) for p in payload]
        expected = payload_sizes(self.plan.feeds_of(role, stage))[self.number]
        if sizes != [expected]:
            return f"{role} sent {sizes} bytes of shares, where the plan has {expected}"
        if len(self._held[stage, role]) >= SUBMISSIONS_AHEAD:
            return f"{role} has {SUBMISSIONS_AHEAD} submissions waiting for other roles; wait for their results first"
        return ""

    def _take_controls(self) -> bool:
        """Takes what the other party has said; p1 executes what p0 begins. True if there was any."""
        busy = False
        while (message := self.channel.control()) is not None:
            busy = True
            body = message.body
            if self.number == 0 and message.kind == "have":
                self._theirs.add((body["stage"], body["role"], body["id"]))
            elif self.number == 1 and message.kind == "begin":
                self._take_part(body)
            else:
                raise PeerError(f"{self.peer} sent {message.kind!r} out of place", self.peer)
        return busy

    def _take_part(self, body: dict[str, Any]) -> None:
        """p1 follows a `begin`; the submissions it names are here, since p1 has said so."""
        procedure, index, ids = body["procedure"], body["index"], body["ids"]
        known = procedure in self._roles and tuple(ids) == self._roles[procedure]
        if (
            not known
            or index < self._lowest(procedure)
            or any(i not in self._held[procedure, r] for r, i in ids.items())
        ):
            raise PeerError(
                f"{self.peer} began {procedure} {index}, which does not fit what {self.peer} was told", self.peer
            )
        self._execute(procedure, index, ids)

    def _lowest(self, procedure: str) -> int:
        """The lowest index that this party can still use for the procedure."""
        return self._prepared[0] if self._prepared and procedure == "run" else self._chain.next

    # -- executions -----------------------------------------------------------------------------------------------

    def _begin_next(self) -> bool:
        """p0 begins what is ready at both parties, new parameters first; False when nothing is."""
        ids = self._ready("setup")
        if ids is not None and ids != self._setup_ids:
            self.node.say("dealer", {"kind": "setup"})
            self._begin("setup", self.material.next_setup("setup"), ids)
            return True
        ids = self._ready("run") if self._setup_ids is not None else None
        if ids is None:
            return False
        self._begin("run", self._lowest("run"), ids)
        return True

    def _ready(self, stage: str) -> dict[str, str] | None:
        """Each role's submission that is next (for `setup`: the newest), or None while one is missing."""
        ids = {}
        for role in self._roles[stage]:
            both = [i for i in self._held[stage, role] if (stage, role, i) in self._theirs]
            if not both:
                return None
            ids[role] = both[-1 if stage == "setup" else 0]
        return ids

    def _begin(self, procedure: str, index: int, ids: dict[str, str]) -> None:
        self.node.say(self.peer, {"kind": "begin", "procedure": procedure, "index": index, "ids": ids})
        self._execute(procedure, index, ids)

    def _execute(self, procedure: str, index: int, ids: dict[str, str]) -> None:
        """One execution, from the submissions held to what leaves for the roles."""
        self.doing = f"{procedure} {index}"
        submissions = {role: self._held[procedure, role][i] for role, i in ids.items()}
        began = max([self._free_since, *(s.arrived for s in submissions.values())])
        prepare_seconds = 0.0
        if self._prepared and procedure == "run" and self._prepared[0] == index:
            _, keys, prepare_seconds = self._prepared
        else:
            keys = self._keys(procedure, index)
        self._prepared = None
        feeds: dict[str, Array] = {}
        for role, submission in submissions.items():
            feeds |= gather(self.plan.feeds_of(role, procedure), self.number, submission.payload, role)
        self.material.open(procedure, index, self.doing)
        execute = self.executor.setup if procedure == "setup" else self.executor.run
        outputs = execute(keys, self.material, feeds)
        for role, submission in submissions.items():
            names = [r.name for r in self.plan.results_of(role)] if procedure == "run" else []
            if procedure == "run":
                result = {"kind": "result", "id": ids[role], "names": names}
                self.node.answer(submission.route, result, *(outputs[name, role] for name in names))
        online_seconds = time.perf_counter() - began
        dealt = self.material.finish(self.doing)
        stats = self._stats(online_seconds, float(dealt["seconds"]) + prepare_seconds)
        if procedure == "setup":
            self._setup_ids, self._setup_stats = ids, stats
        else:
            for role, submission in submissions.items():
                body: dict[str, Any] = {"kind": "stats", "id": ids[role], **stats, "setup": self._setup_stats}
                self.node.answer(submission.route, body, *self._op_stats())
        self._forget(procedure, ids)
        self._free_since = time.perf_counter()
        self.doing = ""

    def _keys(self, procedure: str, index: int) -> ExecutionKeys:
        try:
            material = self._chain.take(index, procedure)
        except ValueError as error:
            raise MaterialError(str(error)) from None
        return ExecutionKeys(material, pair_key(self._pair, self.plan.hash, procedure, index))

    def _prepare(self) -> None:
        """Does now what the next run needs no input for; only after the dealer has announced that run, so that its
        index cannot become a setup's."""
        index = self._chain.next
        keys = self._keys("run", index)
        began = time.perf_counter()
        self.executor.prepare(keys, self.material)
        self._prepared = index, keys, time.perf_counter() - began

    def _forget(self, procedure: str, ids: dict[str, str]) -> None:
        """Drops submissions that are done with: of `run` those used, of `setup` those older than the ones in use."""
        for role, used in ids.items():
            held = self._held[procedure, role]
            done = [used] if procedure == "run" else list(held)[: list(held).index(used)]
            for i in done:
                del held[i]
                self._theirs.discard((procedure, role, i))

    # -- statistics -----------------------------------------------------------------------------------------------

    def _stats(self, online_seconds: float, offline_seconds: float) -> dict[str, Any]:
        last = self.executor.last
        return {
            "rounds": last.rounds,
            "sent_bytes": last.sent_bytes,
            "material_bytes": last.material_bytes,
            "online_seconds": online_seconds,
            "offline_seconds": offline_seconds,
            "peak_memory": _peak_memory(),
        }

    def _op_stats(self) -> tuple[Array, Array, Array]:
        """Of the last execution, for each op: bytes sent, bytes of material, seconds."""
        last, ops = self.executor.last, range(len(self.plan.procedure("run").ops))
        return (
            np.array([last.op_sent[i] for i in ops], np.int64),
            np.array([last.op_material[i] for i in ops], np.int64),
            np.array([last.op_seconds[i] for i in ops], np.float64),
        )


def _peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")  # Linux: ru_maxrss begins with the parent's peak
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
