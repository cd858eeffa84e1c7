"""What the holders of keys may do at this party, by its own cluster.toml.

Each party decides by itself, so that neither has to believe the other. No sockets here: what becomes of a refused
submission is `party.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plan import Plan
from ..privacy.ledger import Charge
from .members import PROVIDE, RECEIVE, RIGHTS, SUBMIT, Members, roles_of
from .spending import Spending
from .submissions import Submission
from .uses import Uses

__all__ = ["Consent"]

_WHAT = {PROVIDE: "provide parameters", SUBMIT: "submit inputs", RECEIVE: "receive outputs"}


class Consent:
    """Of party `number`. members: who may come now. uses: counts their queries. spending: and their releases."""

    def __init__(self, plan: Plan, number: int, members: Members, uses: Uses, spending: Spending) -> None:
        self.members = members
        self.uses = uses
        self.spending = spending
        self._plan = plan
        self._number = number
        self._roles = {p.name: plan.roles_of(p.name) for p in plan.procedures}
        self._given = {p.name: {role for role in plan.roles if plan.feeds_of(role, p.name)} for p in plan.procedures}

    def problem(self, stage: str, role: str, key: str, *, named: bool) -> str:
        """Why this key's submission to a procedure cannot be taken; empty when it can. named: whether for a meeting."""
        member = self.members.get(key)
        if member is None or member.role != role:
            return f"the key of {role} is not in p{self._number}'s cluster.toml any more"
        if (right := self._needed(stage, role)) not in member.may:
            allowed = " and ".join(each for each in RIGHTS if each in member.may) or "nothing"
            who = member.title(key)
            return f"{who} may not {_WHAT[right]}: p{self._number}'s cluster.toml allows it to {allowed}"
        if not named and not self._plan.procedure(stage).standing:
            return self._unpaired(stage, role)
        return ""

    def count(self, stage: str, key: str, now: float) -> str:
        """Counts a submission that could be taken; why its key has made too many of them, else."""
        if self._plan.procedure(stage).standing:
            return ""
        member = self.members[key]
        problem = self.uses.count(key, member, now)
        return f"{member.title(key)} {problem} [p{self._number}]" if problem else ""

    def charge(self, stage: str, role: str, key: str, said: Mapping[str, Any]) -> Charge | str | None:
        """Enters what a submission's run will release of its owner's data; why it may not, else. said: with it, as in
        messages."""
        if self._plan.procedure(stage).standing:
            return None
        rows = said.get("training", {}).get("rows", 0)
        return self.spending.charge(stage, role, key, said.get("dataset"), rows)

    def give_back(self, stage: str, submission: Submission, *, begun: bool = False) -> None:
        """A submission that was counted has not been computed. begun: its run had begun, so its releases stay spent."""
        if self._plan.procedure(stage).standing:
            return
        self.uses.give_back(submission.key)
        if not begun:
            self.spending.give_back(submission.charge)

    def receives(self, key: str) -> bool:
        """Whether the results of its runs are sent to this key."""
        member = self.members.get(key)
        return member is not None and RECEIVE in member.may

    def _needed(self, stage: str, role: str) -> str:
        """The right that a role's submission to a procedure takes."""
        if self._plan.procedure(stage).standing:
            return PROVIDE
        return SUBMIT if role in self._given[stage] else RECEIVE

    def _unpaired(self, stage: str, speaker: str) -> str:
        """Why a run's submissions cannot be paired in the order of their arrival: several machines speak for a role,
        so whose is meant cannot be told. Empty when they can."""
        roles = self._roles[stage]
        if len(roles) < 2:
            return ""
        for role, keys in roles_of(self.members).items():
            machines = sum(bool(self.members[key].may & {SUBMIT, RECEIVE}) for key in keys)
            if role in roles and machines > 1:
                others = " and ".join(each for each in roles if each != speaker)
                return (
                    f"{machines} machines may speak for {role} at p{self._number}, so it has to be said whose run this "
                    f"is: agree on a name with {others}, and give it as run(..., meeting=NAME) or --meeting NAME"
                )
        return ""
