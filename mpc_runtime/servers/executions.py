"""One party's executions, one after the other: agrees on the session's secrets, derives keys, computes, answers.

What is executed when is `party.py`'s decision, and the arithmetic the executor's. This is where they meet the outside:
the dealer's records and the other party's openings, which are handed in, and the results that leave for the roles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..encoding.sharing import gather
from ..errors import MaterialError, PeerError
from ..execution.keys import SEED_BYTES, SeedChain, pair_key, pair_secret
from ..execution.party import ExecutionKeys, PartyExecutor
from ..execution.stats import op_report, report
from ..kernels import CPU, Kernels
from ..plan import Plan
from ..procedure import Procedure
from ..transport.channel import PartyChannel, Records
from ..transport.messages import Message
from ..transport.node import Node
from .submissions import Submission

__all__ = ["Executions"]

Array = np.ndarray


class Executions:
    """Of party `number` on a node that has met the other party and the dealer.

    channel: to the other party. material: the dealer's records, under the seeds that it says on the node. kernels: what
    gates compute with.
    """

    def __init__(
        self,
        plan: Plan,
        number: int,
        node: Node,
        channel: PartyChannel,
        material: Records,
        kernels: Kernels = CPU,
    ) -> None:
        self.plan = plan
        self.number = number
        self.node = node
        self.peer = f"p{1 - number}"
        self.channel = channel
        self.material = material
        self.executor = PartyExecutor(plan, number, self.channel, kernels)
        self.doing = ""
        """The execution in progress, for messages."""
        self.free_since = time.perf_counter()
        """When the last execution ended."""
        self._ahead = next((p for p in plan.procedures if p.ahead), None)
        self._setup_report: dict[str, Any] | None = None
        self._preprocessed: tuple[int, ExecutionKeys, float] | None = None
        self._chain: SeedChain
        self._pair: bytes

    # -- secrets --------------------------------------------------------------------------------------------------

    def exchange_secrets(self) -> None:
        """At the start of a session: a key with the other party, and the dealer's seed."""
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
            raise PeerError(f"{machine} sent something other than its {kind}", machine, "the start")
        return bytes(item.payload[0])

    def _keys(self, procedure: str, index: int) -> ExecutionKeys:
        try:
            material = self._chain.take(index, procedure)
        except ValueError as error:
            raise MaterialError(str(error)) from None
        return ExecutionKeys(material, pair_key(self._pair, self.plan.hash, procedure, index))

    # -- which record is next -------------------------------------------------------------------------------------

    def next_index(self, procedure: Procedure) -> int:
        """The index at which p0 begins the procedure: the lowest, or that of the record which the dealer was asked
        for."""
        return self.lowest(procedure) if procedure.ahead else self.material.next_of(procedure.name)

    def lowest(self, procedure: Procedure) -> int:
        """The lowest index that this party can still use for the procedure."""
        return self._preprocessed[0] if self._preprocessed and procedure.ahead else self._chain.next

    @property
    def preprocessed(self) -> bool:
        """Whether what the next execution that is dealt ahead needs no input for is done."""
        return self._preprocessed is not None

    def preprocess(self) -> bool:
        """Does that now; False while the dealer has not announced the record, whose index might still become that of
        one it is asked for."""
        index = self._chain.next
        if self._ahead is None or self.material.announced(self._ahead.name) != index:
            return False
        keys = self._keys(self._ahead.name, index)
        began = time.perf_counter()
        self.executor.preprocess(self._ahead.name, keys, self.material)
        self._preprocessed = index, keys, time.perf_counter() - began
        return True

    # -- executions -----------------------------------------------------------------------------------------------

    def execute(
        self, procedure: Procedure, index: int, ids: Mapping[str, str], submissions: Mapping[str, Submission]
    ) -> None:
        """From the submissions of all roles that have a part to what leaves for them."""
        name = procedure.name
        self.doing = f"{name} {index}"
        began = max([self.free_since, *(s.arrived for s in submissions.values())])
        preprocessing_seconds = 0.0
        if self._preprocessed and procedure.ahead and self._preprocessed[0] == index:
            _, keys, preprocessing_seconds = self._preprocessed
        else:
            keys = self._keys(name, index)
        self._preprocessed = None
        self.channel.execution = index
        if self.number == 0 and not procedure.standing and self.plan.has_meetings:
            for role, submission in submissions.items():
                self.node.reply(submission.route, role, {"kind": "begun", "id": ids[role]})
        feeds: dict[str, Array] = {}
        for role, submission in submissions.items():
            feeds |= gather(self.plan.feeds_of(role, name), self.number, submission.payload, role)
        self.material.open(name, index, self.doing)
        outputs = self.executor.execute(name, keys, self.material, feeds)
        if not procedure.standing:
            self._send_results(name, ids, submissions, outputs)
        online_seconds = time.perf_counter() - began
        dealt = self.material.finish(self.doing)
        told = report(self.executor.last, online_seconds, float(dealt["seconds"]) + preprocessing_seconds)
        if procedure.standing:
            self._setup_report = told
        else:
            self._send_reports(procedure, ids, submissions, told)
        self.free_since = time.perf_counter()
        self.doing = ""

    def _send_results(
        self,
        procedure: str,
        ids: Mapping[str, str],
        submissions: Mapping[str, Submission],
        outputs: Mapping[tuple[str, str], Array],
    ) -> None:
        for role, submission in submissions.items():
            results = self.plan.results_of(role, procedure) if submission.receives else ()
            names = [result.name for result in results]
            body = {"kind": "result", "id": ids[role], "names": names}
            self.node.reply(submission.route, role, body, *(outputs[name, role] for name in names))

    def _send_reports(
        self,
        procedure: Procedure,
        ids: Mapping[str, str],
        submissions: Mapping[str, Submission],
        told: Mapping[str, Any],
    ) -> None:
        ops = op_report(self.executor.last, len(procedure.ops))
        for role, submission in submissions.items():
            body = {"kind": "stats", "id": ids[role], **told, "setup": self._setup_report}
            self.node.reply(submission.route, role, body, *ops)
