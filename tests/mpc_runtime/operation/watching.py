"""Events of a server that does not exist, and how its endpoint is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from mpc_runtime.operation.endpoint import Endpoint
from mpc_runtime.operation.events import (
    Aborted,
    Configured,
    Dealt,
    Event,
    Executed,
    KeysRefused,
    Listening,
    Noted,
    Place,
    Ready,
    Refused,
    Stopped,
    Waits,
)
from mpc_runtime.operation.metrics import Metrics
from mpc_runtime.operation.pages import pages
from tests.waiting import SECONDS

PLACE = Place.of("p0", "digits", "0123456789abcdef", "5e55")
RUN = Executed("run", 7, False, 1e9, 0.25, 0.5, 2.0, 12, 1000, 3000, queries=3, rows=24)
SETUP = Executed("setup", 0, True, 1e9, 0.0, 0.1, 0.2, 1, 10, 20)
EVENTS: tuple[Event, ...] = (
    Listening("127.0.0.1:7100", "127.0.0.1:7103"),
    Ready(),
    SETUP,
    RUN,
    Dealt("run", 8, 1e9, 0.5, 3000, 4),
    Refused("client", "too many"),
    Waits("p1 and dealer"),
    Configured("read again"),
    Noted("serves digits"),
    KeysRefused("a key of nobody"),
    Aborted("p1", "line 7: relu", "p1 is gone"),
    Stopped(),
)


@contextmanager
def shown(metrics: Metrics) -> Iterator[Endpoint]:
    endpoint = Endpoint("127.0.0.1", 0, pages(metrics))
    try:
        yield endpoint
    finally:
        endpoint.close()


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and text of a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)
