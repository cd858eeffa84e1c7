"""One party's executions, one after the other: agrees on the session's secrets, derives keys, computes, answers.

What is executed when is `party.py`'s decision, and the arithmetic the executor's. This is where they meet the outside:
records of material and the other party's openings, which are handed in, and the results that leave for the roles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import shake_256
from typing import Any

import numpy as np

from ..analysis.rows import rows_apart
from ..encoding.sharing import gather, parted
from ..execution.keys import SEED_BYTES, pair_key, pair_secret
from ..execution.party import ExecutionKeys, PartyExecutor
from ..execution.stats import op_report, report
from ..kernels import CPU, Kernels
from ..operation.events import Executed
from ..operation.watch import NOBODY, Watch
from ..plan import Plan
from ..procedure import Procedure
from ..transport.channel import PartyChannel
from ..transport.node import Node
from .submissions import Group, Submission
from .supply import Supply, expect
from .trained import Trained

__all__ = ["Executions", "Taking"]

Array = np.ndarray
BATCH = "batch"  # the dim of rows
Taking = Mapping[str, Sequence[Submission]]
"""The submissions of a group, by role in the group's order."""


@dataclass(frozen=True)
class Preprocessed:
    """What was done ahead of the execution of a procedure with this index, and how long it took."""

    procedure: str
    index: int
    keys: ExecutionKeys
    seconds: float


class Executions:
    """Of party `number` on a node that has met the other party and what else its supply hears from.

    channel: to the other party. supply: where the material comes from. kernels: what gates compute with. watch: is
    told of executions. trained: how far the training is.
    """

    def __init__(
        self,
        plan: Plan,
        number: int,
        node: Node,
        channel: PartyChannel,
        supply: Supply,
        kernels: Kernels = CPU,
        watch: Watch = NOBODY,
        trained: Trained | None = None,
    ) -> None:
        self.plan = plan
        self.number = number
        self.node = node
        self.peer = f"p{1 - number}"
        self.channel = channel
        self.supply = supply
        self.executor = PartyExecutor(plan, number, self.channel, kernels)
        self.trained = trained or Trained(plan, number, None)
        self._watch = watch
        self.doing = ""
        """The execution in progress, for messages."""
        self.free_since = time.perf_counter()
        """When the last execution ended."""
        self._apart = {p.name: rows_apart(plan, p.name) for p in plan.procedures}
        self._setup_report: dict[str, Any] | None = None
        self._preprocessed: Preprocessed | None = None
        self._pair: bytes

    def begin(self) -> None:
        """At the start of a session: a key with the other party, and where both stand with their material."""
        mine = os.urandom(SEED_BYTES)
        offer = self.supply.offer()
        self.node.say(self.peer, {"kind": "contribution", **({} if offer is None else {"offer": offer})}, mine)
        message = expect(self.node, self.peer, "contribution")
        theirs = bytes(message.payload[0])
        self._pair = pair_secret(*((mine, theirs) if self.number == 0 else (theirs, mine)))
        self.supply.begin(message.body.get("offer"))
        if (left := self.supply.left()) is not None:
            kept, self._setup_report = left[0], dict(left[1])
            self.executor.restore(kept)

    def keys(self, procedure: Procedure, index: int) -> ExecutionKeys:
        """Of an execution: to be had once."""
        material = self.supply.key(index, procedure)
        return ExecutionKeys(material, pair_key(self._pair, self.plan.hash, procedure.name, index))

    # -- which record is next -------------------------------------------------------------------------------------

    def next_index(self, procedure: Procedure) -> int | None:
        """The index at which p0 begins the procedure; None while the parties have to agree on one. UsedUp when there
        is none."""
        ready = self._ready(procedure)
        return self.supply.next_index(procedure) if ready is None else ready.index

    def lowest(self, procedure: Procedure) -> int:
        """The lowest index that this party can still use for the procedure."""
        ready = self._ready(procedure)
        return self.supply.lowest if ready is None else ready.index

    def _ready(self, procedure: Procedure) -> Preprocessed | None:
        """What was computed ahead of an execution of this procedure."""
        ready = self._preprocessed
        return ready if ready is not None and ready.procedure == procedure.name else None

    @property
    def preprocessed(self) -> bool:
        """Whether what the next execution that is dealt ahead needs no input for is done."""
        return self._preprocessed is not None

    def preprocess(self) -> bool:
        """Does that now; False while it is not certain which record will be its."""
        for procedure in self.plan.procedures:
            index = self.supply.ahead(procedure) if procedure.ahead else None
            if index is not None:
                keys = self.keys(procedure, index)
                began = time.perf_counter()
                self.executor.preprocess(procedure.name, keys, self.supply.records)
                self._preprocessed = Preprocessed(procedure.name, index, keys, time.perf_counter() - began)
                return True
        return False

    # -- executions -----------------------------------------------------------------------------------------------

    def execute(self, procedure: Procedure, index: int, group: Group, taking: Taking) -> None:
        """From the submissions of all roles that have a part to what leaves for them. Where rows do not meet, several
        of one role share the execution: each has its own rows of it, in the group's order, and the rest are zeros."""
        name = procedure.name
        self.doing = f"{name} {index}"
        arrived = max((s.arrived for each in taking.values() for s in each), default=self.free_since)
        began = max(self.free_since, arrived)
        preprocessing_seconds = 0.0
        ready = self._ready(procedure)
        if ready is not None and ready.index == index:
            keys, preprocessing_seconds = ready.keys, ready.seconds
        else:
            keys = self.keys(procedure, index)
        self._preprocessed = None
        self.channel.execution = index
        if self.number == 0 and not procedure.standing and self.plan.has_meetings:
            for role, each in taking.items():
                for (route, _), places in _together(each).items():
                    said = {"kind": "begun", "ids": [group[role][place] for place in places]}
                    self.node.reply(route, role, said, later=len(taking) == 1)  # no other role waits to hear of it
        feeds: dict[str, Array] = {}
        for role, each in taking.items():
            feeds |= self._gathered(name, role, each)
        steps = {role: each[0].step for role, each in taking.items() if each[0].step is not None}
        if steps:
            self._go_on(name, steps, index)
        records = self.supply.records
        records.open(name, index, self.doing)
        outputs = self.executor.execute(name, keys, records, feeds)
        online_seconds = time.perf_counter() - began
        dealt = records.finish(self.doing)
        told = report(self.executor.last, online_seconds, float(dealt["seconds"]) + preprocessing_seconds)
        if procedure.standing:
            self._setup_report = told
            self.trained.begin()
            self.supply.keep(name, index, {role: ids[0] for role, ids in group.items()}, self.executor.kept, told)
        else:
            self._answer(procedure, group, taking, outputs, told)
        self.supply.finished(index, procedure)
        if steps:
            self.trained.made(name)
        self._watch.tell(self._executed(procedure, index, told, began - arrived, taking))
        self.free_since = time.perf_counter()
        self.doing = ""

    def _go_on(self, procedure: str, said: Mapping[str, Mapping[str, Any]], index: int) -> None:
        """Before a step: writes a checkpoint where it is asked for one, and puts the states of one in place from which
        it goes on. said: by role."""

        def fresh(count: int) -> bytes:
            return shake_256(pair_key(self._pair, self.plan.hash, "checkpoint", index)).digest(count)

        self.trained.keep(said, lambda: {s.register: self.executor.value(s.register) for s in self.plan.states})
        states = self.trained.states(procedure, next(iter(said.values())), fresh)
        if states:
            self.executor.restore({f"value {register}": array for register, array in states.items()})

    def _gathered(self, procedure: str, role: str, submissions: Sequence[Submission]) -> dict[str, Array]:
        """This party's share of each feed of a role: the rows of its submissions one behind the other, then zeros."""
        feeds, apart = self.plan.feeds_of(role, procedure), self._apart[procedure]
        if apart is None or submissions[0].rows == apart.size:
            return gather(feeds, self.number, submissions[0].payload, role)
        cut = {rows: apart.of_feeds(feeds, rows) for rows in {s.rows for s in submissions}}
        parts = [gather(cut[s.rows], self.number, s.payload, role) for s in submissions]
        return {
            feed.name: _filled([part[feed.name] for part in parts], apart.feeds[feed.name], feed.shape)
            for feed in feeds
        }

    def _executed(
        self, procedure: Procedure, index: int, told: Mapping[str, Any], queued: float, taking: Taking
    ) -> Executed:
        size = dict(self.plan.dims).get(BATCH, 1)
        one = next(iter(taking.values()), ())
        return Executed(
            procedure.name,
            index,
            procedure.standing,
            ended=time.time(),
            queued=queued,
            online=told["online_seconds"],
            offline=told["offline_seconds"],
            rounds=told["rounds"],
            online_bytes=told["sent_bytes"],
            offline_bytes=told["material_bytes"],
            queries=len(one),
            rows=sum(s.rows for s in one) if self._apart[procedure.name] else size,
        )

    def _answer(
        self,
        procedure: Procedure,
        group: Group,
        taking: Taking,
        outputs: Mapping[tuple[str, str], Array],
        told: Mapping[str, Any],
    ) -> None:
        """Sends the results, and what the execution took: in one message what goes one way, share behind share."""
        ops = op_report(self.executor.last)
        for role, each in taking.items():
            results = self.plan.results_of(role, procedure.name)
            counts, apart = [s.rows for s in each], self._apart[procedure.name]
            parts: dict[str, list[Array]] = {r.name: [outputs[r.name, role]] for r in results}
            if apart is not None and counts != [apart.size]:
                parts = {r.name: parted(r, parts[r.name][0], apart.results[r.name], counts) for r in results}
            for (route, receives), places in _together(each).items():
                names = list(parts) if receives else []
                ids = [group[role][place] for place in places]
                body = {"kind": "result", "ids": ids, "names": names, **told, "setup": self._setup_report}
                shares = [_joined([parts[name][place] for place in places]) for name in names]
                self.node.reply(route, role, body, *shares, ops)


def _together(submissions: Sequence[Submission]) -> dict[tuple[int, bool], list[int]]:
    """By the way back and whether results take it: the places of its submissions."""
    places: dict[tuple[int, bool], list[int]] = {}
    for place, each in enumerate(submissions):
        places.setdefault((each.route, each.receives), []).append(place)
    return places


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _filled(parts: Sequence[Array], axis: int, shape: tuple[int, ...]) -> Array:
    """An array of this shape: the parts along an axis, then zeros."""
    rest = shape[axis] - sum(part.shape[axis] for part in parts)
    return np.concatenate([*parts, np.zeros((*shape[:axis], rest, *shape[axis + 1 :]), parts[0].dtype)], axis)
