"""What the endpoint of a server shows."""

from __future__ import annotations

from collections.abc import Callable

from .endpoint import Page
from .metrics import CONTENT_TYPE, Metrics
from .watch import State

__all__ = ["pages"]


def pages(metrics: Metrics) -> dict[str, Callable[[], Page]]:
    return {"/metrics": lambda: Page(200, CONTENT_TYPE, metrics.text()), "/health": lambda: health(metrics)}


def health(metrics: Metrics) -> Page:
    """Whether the server can serve: 503 until it has met the others, when one of them is gone, and when it takes no
    queries. A service of several plans is well while it can serve one of them, or has none yet."""
    states = metrics.states
    plans = {plan: state for plan, state in states.items() if plan} or states
    peers = {name for state in plans.values() for name in state.peers}
    told = {
        "machine": metrics.machine,
        "well": any(state.well for state in plans.values()),
        "ready": any(state.ready for state in plans.values()),
        "peers": {name: any(state.peers.get(name, False) for state in plans.values()) for name in sorted(peers)},
        "plans": {plan: _of_plan(state) for plan, state in plans.items() if plan},
    }
    return Page.of_json(200 if told["well"] else 503, told)


def _of_plan(state: State) -> dict[str, object]:
    trouble = {"trouble": state.trouble} if state.trouble else {}
    return {"well": state.well, "ready": state.ready, "peers": dict(state.peers), **trouble}
