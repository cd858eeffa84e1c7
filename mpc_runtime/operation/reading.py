"""A server's metrics and health, read over HTTP by whoever watches several: bounded, and with a deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Health", "Reading", "read"]

SECONDS = 3.0
MOST_BYTES = 1 << 22

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Health:
    """Of a plan at a server. trouble: why it takes no queries, if it does not."""

    well: bool
    peers: Mapping[str, bool]
    trouble: str


@dataclass(frozen=True)
class Reading:
    """What one endpoint said. problem: why it said nothing."""

    address: str
    machine: str = ""
    problem: str = ""
    well: bool = False
    peers: Mapping[str, bool] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    """By plan."""
    samples: Mapping[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name that have these labels; None if there is none."""
        wanted = labels.items()
        found = [v for (n, have), v in self.samples.items() if n == name and wanted <= dict(have).items()]
        return sum(found) if found else None

    def plans(self) -> list[str]:
        return sorted({plan for _, labels in self.samples if (plan := dict(labels).get("plan"))})

    def session(self, plan: str) -> str:
        """The last session of a plan."""
        have = [dict(labels) for name, labels in self.samples if name == "mpc_session_info"]
        return next((labels["session"] for labels in have if labels.get("plan") == plan), "")


def read(address: str, seconds: float = SECONDS) -> Reading:
    """What the endpoint at HOST:PORT says now."""
    host, _, port = address.rpartition(":")
    try:
        _, health = _page(host.strip("[]"), int(port), "/health", seconds)
        told = json.loads(health)
        status, text = _page(host.strip("[]"), int(port), "/metrics", seconds)
        if status != 200:
            return Reading(address, problem=f"/metrics answers {status}")
        families = list(text_string_to_metric_families(text))
        samples = {(s.name, frozenset(s.labels.items())): float(s.value) for family in families for s in family.samples}
        plans = {str(plan): _health(each) for plan, each in told["plans"].items()}
        return Reading(address, str(told["machine"]), "", bool(told["well"]), _peers(told), plans, samples)
    except OSError as error:
        return Reading(address, problem=(error.strerror or str(error) or "no answer").lower())
    except (HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return Reading(address, problem="what answers there is no server of ours")


def _health(told: Mapping[str, Any]) -> Health:
    return Health(bool(told["well"]), _peers(told), str(told.get("trouble", "")))


def _peers(told: Mapping[str, Any]) -> dict[str, bool]:
    return {str(name): bool(up) for name, up in told["peers"].items()}


def _page(host: str, port: int, path: str, seconds: float) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError("too long")
        return answer.status, data.decode()
    finally:
        connection.close()
