"""Whose keys may come to a server now, as its cluster.toml is read again while it runs: in a session, between two of
them, and before the first.
"""

from __future__ import annotations

import threading

from ..transport.node import Node
from .dealer import Dealer
from .members import Members
from .party import Party

__all__ = ["Admission"]


class Admission:
    """To a node that takes the keys of `members`."""

    def __init__(self, node: Node, members: Members) -> None:
        self._node = node
        self._members = self._before = members  # now, and when the last session began
        self._party: Party | None = None
        self._lock = threading.Lock()

    def revise(self, members: Members) -> None:
        """Takes these members from now on. Any thread may call it."""
        with self._lock:
            before, self._members = self._members, members
            if self._party is not None:
                self._party.revise(members)
            else:
                lost = frozenset(key for key, member in before.items() if member.loses(members.get(key)))
                self._node.revise_clients({key: member.role for key, member in members.items()}, lost)

    def joined(self, server: Party | Dealer) -> None:
        """A session begins. What keys have left with a party that have lost a right since the last one began is
        withdrawn."""
        with self._lock:
            if isinstance(server, Party):
                self._party = server
                server.consent.members, before = self._before, self._before
                self._before = self._members
                if self._members != before:
                    server.revise(self._members)

    def left(self) -> None:
        """The session has ended."""
        with self._lock:
            self._party = None
