"""What the holders of keys may do at this party, by its own cluster.toml.

Each party decides by itself, so that neither has to believe the other. No sockets here: what becomes of a refused
submission is `party.py`'s.
"""

from __future__ import annotations

from ..plan import Plan
from .members import RECEIVE, SUBMIT, Members, roles_of

__all__ = ["Consent"]


class Consent:
    """Of party `number`. members: who may come now."""

    def __init__(self, plan: Plan, number: int, members: Members) -> None:
        self.members = members
        self._plan = plan
        self._number = number

    def problem(self, stage: str, role: str, key: str, *, named: bool) -> str:
        """Why this key's submission to a procedure cannot be taken; empty when it can. named: whether for a meeting."""
        if not named and not self._plan.procedure(stage).standing:
            return self._unpaired(stage, role)
        return ""

    def _unpaired(self, stage: str, speaker: str) -> str:
        """Why a run's submissions cannot be paired in the order of their arrival: several machines speak for a role,
        so whose is meant cannot be told. Empty when they can."""
        roles = self._plan.roles_of(stage)
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
