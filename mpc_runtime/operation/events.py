"""What a server tells those who operate it: facts of its life and of its executions, never anything that was computed.

An event is all that a log, a metric or a trace ever gets to see. None has a field for an array, a key or a payload, so
none of them can leak one. An event says how important it is, what it is in words, and its fields for programs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

__all__ = [
    "KINDS",
    "Aborted",
    "Configured",
    "Dealt",
    "Event",
    "Executed",
    "KeysRefused",
    "Listening",
    "Noted",
    "Place",
    "Ready",
    "Refused",
    "Stopped",
    "Waits",
]

HASH_DIGITS = 12  # of a plan's hash, to tell plans of one name apart


@dataclass(frozen=True)
class Place:
    """Where something happened. plan: its name and the beginning of its hash; session: what both parties call it."""

    machine: str
    plan: str = ""
    session: str = ""

    @staticmethod
    def of(machine: str, plan_name: str, plan_hash: str, session: str = "") -> Place:
        return Place(machine, f"{plan_name}:{plan_hash[:HASH_DIGITS]}", session)


class Event(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def level(self) -> int:
        """Of `logging`."""

    def facts(self) -> Mapping[str, Any]:
        """Numbers and short texts by name."""

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Listening:
    """address: for servers; clients: a party's, for clients."""

    kind: ClassVar[str] = "listening"
    level: ClassVar[int] = logging.INFO
    address: str
    clients: str = ""

    def facts(self) -> Mapping[str, Any]:
        return {"address": self.address, **({"clients": self.clients} if self.clients else {})}

    def __str__(self) -> str:
        return f"listens at {self.address}" + (f" (clients: {self.clients})" if self.clients else "")


@dataclass(frozen=True)
class Ready:
    """The servers have met."""

    kind: ClassVar[str] = "ready"
    level: ClassVar[int] = logging.INFO

    def facts(self) -> Mapping[str, Any]:
        return {}

    def __str__(self) -> str:
        return "is ready"


@dataclass(frozen=True)
class Waits:
    """For other servers, after some seconds without them."""

    kind: ClassVar[str] = "waits"
    level: ClassVar[int] = logging.INFO
    servers: str

    def facts(self) -> Mapping[str, Any]:
        return {"servers": self.servers}

    def __str__(self) -> str:
        return f"waits for {self.servers}"


@dataclass(frozen=True)
class Executed:
    """A party has executed a procedure, and sent what leaves for the roles.

    ended: seconds since 1970. queued: seconds from the arrival of the last submission to the beginning; online: from
    there to the sending of the results; offline: the dealer's, and what the party computed ahead.
    """

    kind: ClassVar[str] = "executed"
    procedure: str
    run: int
    standing: bool
    """Whether it was one for parameters, not for a query."""
    ended: float
    queued: float
    online: float
    offline: float
    rounds: int
    online_bytes: int
    offline_bytes: int
    queries: int = 1
    """Of how many clients' submissions it is the answer."""
    rows: int = 1

    @property
    def level(self) -> int:
        return logging.INFO if self.standing else logging.DEBUG

    @property
    def seconds(self) -> float:
        """From the arrival of the last submission to the sending of the results."""
        return self.queued + self.online

    def facts(self) -> Mapping[str, Any]:
        return {
            "procedure": self.procedure,
            "run": self.run,
            "queued_seconds": round(self.queued, 6),
            "online_seconds": round(self.online, 6),
            "offline_seconds": round(self.offline, 6),
            "rounds": self.rounds,
            "online_bytes": self.online_bytes,
            "offline_bytes": self.offline_bytes,
            "queries": self.queries,
            "rows": self.rows,
        }

    def __str__(self) -> str:
        return f"executed {self.procedure} {self.run} in {self.online:.4f} s"


@dataclass(frozen=True)
class Dealt:
    """The dealer has dealt a record. ahead: records that the parties have not used yet."""

    kind: ClassVar[str] = "dealt"
    level: ClassVar[int] = logging.DEBUG
    procedure: str
    run: int
    ended: float
    seconds: float
    bytes: int
    ahead: int

    def facts(self) -> Mapping[str, Any]:
        return {
            "procedure": self.procedure,
            "run": self.run,
            "offline_seconds": round(self.seconds, 6),
            "offline_bytes": self.bytes,
            "ahead": self.ahead,
        }

    def __str__(self) -> str:
        return f"dealt {self.procedure} {self.run} in {self.seconds:.4f} s"


@dataclass(frozen=True)
class Refused:
    """A submission was refused, or is not used."""

    kind: ClassVar[str] = "refused"
    level: ClassVar[int] = logging.WARNING
    role: str
    why: str

    def facts(self) -> Mapping[str, Any]:
        return {"role": self.role}

    def __str__(self) -> str:
        return f"refused a submission of {self.role}: {self.why}"


@dataclass(frozen=True)
class Noted:
    """Something else that whoever operates the server should know."""

    kind: ClassVar[str] = "noted"
    level: ClassVar[int] = logging.WARNING
    what: str

    def facts(self) -> Mapping[str, Any]:
        return {}

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Configured(Noted):
    """The cluster.toml was changed while the server runs; what has come of it."""

    kind: ClassVar[str] = "configured"


@dataclass(frozen=True)
class KeysRefused:
    """Keys were shown that are not known, by their fingerprints."""

    kind: ClassVar[str] = "keys_refused"
    level: ClassVar[int] = logging.WARNING
    what: str

    def facts(self) -> Mapping[str, Any]:
        return {}

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Aborted:
    """What was being done cannot go on. peer: the machine at fault, empty if it is this one; op: where."""

    kind: ClassVar[str] = "aborted"
    level: ClassVar[int] = logging.ERROR
    peer: str
    op: str
    why: str

    def facts(self) -> Mapping[str, Any]:
        return {"peer": self.peer, "op": self.op}

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class Stopped:
    """The operator has stopped the server."""

    kind: ClassVar[str] = "stopped"
    level: ClassVar[int] = logging.INFO

    def facts(self) -> Mapping[str, Any]:
        return {}

    def __str__(self) -> str:
        return "was stopped"


_ALL = Listening, Ready, Waits, Executed, Dealt, Refused, Configured, Noted, KeysRefused, Aborted, Stopped
KINDS: Mapping[str, Callable[..., Event]] = {event.kind: event for event in _ALL}
"""The events by kind, each made from its fields."""
