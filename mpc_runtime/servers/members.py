"""Whose keys may come to a party, as which role, and what they may do there.

This is data, from a cluster.toml. What is refused because of it is `consent.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..transport.identity import fingerprint

__all__ = ["DEPLOY", "PROVIDE", "RECEIVE", "RIGHTS", "SUBMIT", "USUAL", "Member", "Members", "roles_of"]

PROVIDE, SUBMIT, RECEIVE, DEPLOY = "provide", "submit", "receive", "deploy"
RIGHTS = (PROVIDE, SUBMIT, RECEIVE, DEPLOY)
"""Give parameters, give inputs of a run, get results, offer plans."""
USUAL = frozenset({PROVIDE, SUBMIT, RECEIVE})
"""What a key may do of which nothing else is said: to speak for its role."""


@dataclass(frozen=True)
class Member:
    """The holder of a key. queries: submissions to runs."""

    role: str
    may: frozenset[str] = USUAL
    name: str = ""
    queries_per_minute: int | None = None
    queries: int | None = None

    def loses(self, after: Member | None) -> bool:
        """Whether it may do less as this member; None if it is none any more."""
        return after is None or after.role != self.role or not self.may <= after.may

    def title(self, key: str) -> str:
        """Who it is, for messages."""
        return f"{self.name} ({self.role})" if self.name else f"{self.role}, key {fingerprint(key)[:9]}"


Members = Mapping[str, Member]
"""By public key."""


def roles_of(members: Members) -> dict[str, tuple[str, ...]]:
    """The keys of each role."""
    found: dict[str, tuple[str, ...]] = {}
    for key, member in members.items():
        found[member.role] = (*found.get(member.role, ()), key)
    return found
