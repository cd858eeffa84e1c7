"""The leakage manifest: what is revealed to whom, read off the instructions of a verified plan, so that it can omit
nothing. It is never stored: a plan cannot say of itself what it does not do."""

from __future__ import annotations

from ..plan import Plan
from ..procedure import FINISH, TRAIN_STEP
from .verify import verify

WHEN = {TRAIN_STEP: "in every step of training, ", FINISH: "whenever training is finished, "}
"""Before what a procedure reveals; `setup` and `run` go without saying."""


def manifest(plan: Plan) -> tuple[str, ...]:
    """One sentence a revelation, in the order of the plan. Raises CompileError for a plan that does not verify."""
    verify(plan)
    owners = {feed.name: (feed.role, feed.source or feed.name) for feed in plan.feeds}
    found = [
        (WHEN.get(p.name, ""), each)
        for p in plan.procedures
        for gate in p.gates
        for each in gate.revelations(owners, plan.registers)
    ]
    lines = [when + each.sentence for when, each in found if not each.whole]
    lines += dict.fromkeys(each.sentence for _, each in found if each.whole)
    lines.append("p0, p1 and the dealer know this plan: shapes, ranges, constants and the order of the ops")
    return tuple(lines)
