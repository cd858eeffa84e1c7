"""Whatever answers at an endpoint, reading it ends, and says what was wrong."""

from __future__ import annotations

import socket

import pytest

from mpc_runtime.operation import reading as reading_module
from mpc_runtime.operation.endpoint import Endpoint, Page
from mpc_runtime.operation.reading import read


@pytest.mark.parametrize(
    "health", [b"", b"[]", b"{}", b'{"peers": []}', b"\xff", b'{"peers": {}, "machine": "p0", "well": true']
)
def test_what_is_no_server_is_told_apart(health: bytes) -> None:
    pages = {"/health": lambda: Page(200, "", health), "/metrics": lambda: Page.of_text(200, "")}
    endpoint = Endpoint("127.0.0.1", 0, pages)
    try:
        assert read(f"127.0.0.1:{endpoint.port}").problem == "what answers there is no server of ours"
    finally:
        endpoint.close()


def test_a_page_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MOST_BYTES", 1 << 10)
    pages = {"/health": lambda: Page.of_text(200, " " * (1 << 11))}
    endpoint = Endpoint("127.0.0.1", 0, pages)
    try:
        assert read(f"127.0.0.1:{endpoint.port}").problem
    finally:
        endpoint.close()


def test_one_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = read(f"127.0.0.1:{silent.getsockname()[1]}", seconds=0.1)
    assert found.problem and not found.well
