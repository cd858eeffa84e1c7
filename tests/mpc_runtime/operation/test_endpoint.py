"""The endpoint answers those who ask, and those who do not cannot keep it from that."""

from __future__ import annotations

import socket
import threading

import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.operation.endpoint import CLIENTS, HEAD_BYTES, Endpoint, Page
from mpc_runtime.operation.metrics import Metrics
from tests.mpc_runtime.operation.watching import asked, connected, shown
from tests.waiting import SECONDS, until


def test_pages_and_refusals() -> None:
    with shown(Metrics("p0")) as endpoint:
        status, text = asked(endpoint.port, "/metrics")
        assert status == 200 and 'mpc_build_info{machine="p0"' in text
        assert asked(endpoint.port, "/metrics?name=x")[0] == 200
        assert asked(endpoint.port, "/") == (404, "there are /metrics and /health\n")
        assert asked(endpoint.port, "/metrics", "POST")[0] == 405


@pytest.mark.parametrize(
    "said", [b"\r\n\r\n", b"GET /metrics\r\n\r\n", b"\xff" * 9 + b"\r\n\r\n", b"x" * (HEAD_BYTES + 1)]
)
def test_what_is_no_request_is_told_so(said: bytes) -> None:
    with shown(Metrics("p0")) as endpoint, connected(endpoint.port) as connection:
        connection.sendall(said)
        assert everything(connection).startswith(b"HTTP/1.1 400 ")


def everything(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found


def test_silent_clients_give_way_and_run_out_of_time() -> None:
    with shown(Metrics("p0")) as endpoint:
        silent = [connected(endpoint.port) for _ in range(3 * CLIENTS)]
        assert asked(endpoint.port, "/health")[0] == 503
        assert len(endpoint.clients) <= CLIENTS
        assert silent[0].recv(1) == b""
        for connection in silent:
            connection.close()
        with connected(endpoint.port) as late:
            late.sendall(b"GET /metrics")
            until(lambda: any(client.head for client in endpoint.clients))
            its_time_is_over(endpoint)
            assert late.recv(1) == b""


def its_time_is_over(endpoint: Endpoint) -> None:
    for client in list(endpoint.clients):
        client.until = 0.0


def test_one_who_does_not_read_keeps_nobody() -> None:
    pages = {"/": lambda: Page.of_text(200, "x" * (64 << 20)), "/small": lambda: Page.of_text(200, "y")}
    large = Endpoint("127.0.0.1", 0, pages)
    try:
        with connected(large.port) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert asked(large.port, "/small") == (200, "y\n")
            its_time_is_over(large)
            until(lambda: not large.clients)
    finally:
        large.close()


def test_a_page_that_cannot_be_made_does_not_end_it() -> None:
    def broken() -> Page:
        raise ValueError("the secret is 42")

    endpoint = Endpoint("127.0.0.1", 0, {"/": broken, "/well": lambda: Page.of_text(200, "well")})
    try:
        status, text = asked(endpoint.port, "/")
        assert status == 500 and "ValueError" in text and "42" not in text
        assert asked(endpoint.port, "/well")[0] == 200
    finally:
        endpoint.close()


def test_it_ends_when_it_is_closed_and_frees_its_port() -> None:
    with shown(Metrics("p0")) as endpoint:
        idle = connected(endpoint.port)
        with pytest.raises(InputError, match=rf"--metrics 127.0.0.1:{endpoint.port} cannot be listened at: .*in use"):
            Endpoint("127.0.0.1", endpoint.port, {})
    assert idle.recv(1) == b""
    idle.close()
    endpoint.close()
    assert "endpoint" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", endpoint.port), SECONDS)
    with pytest.raises(InputError, match="cannot be listened at"):
        Endpoint("no.such.host.invalid", 0, {})
