"""What a server is lent to tell its events, and to be asked about its state. By itself it tells nobody.

    watch = Watch(Place("p0"), (Log(logger), metrics), metrics.asked)
    watch.at(plan.name, plan.hash, session).tell(Ready())

A watcher must not wait: it is called by the thread that computes. State (who is connected, how much material is left)
is not told but asked for, plan by plan, by the threads of those who want to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .events import Event, Place

__all__ = ["NOBODY", "Asked", "Door", "State", "Watch", "Watcher"]

Watcher = Callable[[Place, Event], None]


@dataclass(frozen=True)
class Door:
    """Where a server takes connections. refused: how many it did not take, or ended, by reason."""

    connections: int
    strangers: int
    """Of the connections, those that have not proved a key."""
    waiting_bytes: int
    """Of messages that nobody has looked at."""
    refused: Mapping[str, int]


@dataclass(frozen=True)
class State:
    """Of the server of a plan now. peers: other servers, and whether they are there; doors: by whom they are for,
    "servers" or "clients"; material: records left, None where none are stored; memory: bytes of the process."""

    ready: bool = False
    peers: Mapping[str, bool] = field(default_factory=dict)
    doors: Mapping[str, Door] = field(default_factory=dict)
    material: int | None = None
    optional: frozenset[str] = frozenset()
    """Of the peers, those without which it can serve."""
    memory: int = 0
    trouble: str = ""
    """Why it takes no queries, though all are there."""

    @property
    def well(self) -> bool:
        """Whether it can serve."""
        there = all(up for name, up in self.peers.items() if name not in self.optional)
        return self.ready and there and not self.trouble


Asked = Callable[[], State | None]
"""The state of a plan at this server; None when it is not served any more."""


@dataclass(frozen=True)
class Watch:
    """Who is told, and from where. asked: takes a plan (as of `Place`) and the way to ask for its state."""

    place: Place = field(default_factory=lambda: Place(""))
    watchers: tuple[Watcher, ...] = ()
    asked: Callable[[str, Asked], None] = lambda _plan, _state: None

    def at(self, plan_name: str, plan_hash: str, session: str = "") -> Watch:
        """The same, for a plan and a session."""
        return replace(self, place=Place.of(self.place.machine, plan_name, plan_hash, session))

    def also(self, *watchers: Watcher, asked: Callable[[str, Asked], None] | None = None) -> Watch:
        """The same, with more who are told, or with another who asks."""
        return replace(self, watchers=(*self.watchers, *watchers), asked=asked or self.asked)

    def tell(self, event: Event) -> None:
        for watcher in self.watchers:
            watcher(self.place, event)

    def answers(self, state: Asked) -> None:
        """From now on `state` says how the server of this plan is. It is called by another thread."""
        self.asked(self.place.plan, state)


NOBODY = Watch()
"""Nobody is told."""
