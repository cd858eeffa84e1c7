"""What the endpoint of a server shows."""

from __future__ import annotations

from collections.abc import Callable

from .endpoint import Page
from .metrics import CONTENT_TYPE, Metrics

__all__ = ["pages"]


def pages(metrics: Metrics) -> dict[str, Callable[[], Page]]:
    return {"/metrics": lambda: Page(200, CONTENT_TYPE, metrics.text()), "/health": lambda: health(metrics)}


def health(metrics: Metrics) -> Page:
    """Whether the server can serve: 503 until it has met the others, and when one of them is gone."""
    state = metrics.state
    told = {"machine": metrics.machine, "well": state.well, "ready": state.ready, "peers": dict(state.peers)}
    return Page.of_json(200 if state.well else 503, told)
