"""`/metrics` and `/health` over HTTP, in a thread of its own, for one machine's monitoring.

    200  GET /metrics   what Prometheus reads
    200  GET /health    JSON; 503 while the server cannot serve
    400, 404, 405, 500  with a line of text

It reads a request's head and nothing else, answers once and closes. Whatever a client does, it has one of `CLIENTS`
places (the oldest gives way), `SECONDS` in all, and `HEAD_BYTES` of memory; and connections are taken at a fixed pace.
There is no authentication: what it says is for whoever may reach the address, which is why that is this machine unless
another is asked for.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import InputError

__all__ = ["Endpoint", "Page"]

CLIENTS = 16
SECONDS = 5.0
HEAD_BYTES = 4096
BACKLOG = 16
ACCEPT_SECONDS = 0.01  # between two connections: a hundred a second, far more than any monitoring asks for
TICK_SECONDS = 0.25
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Failed", 503: "Not Now"}


@dataclass(frozen=True)
class Page:
    status: int
    kind: str
    body: bytes

    @staticmethod
    def of_text(status: int, text: str) -> Page:
        return Page(status, "text/plain; charset=utf-8", text.encode() + b"\n")

    @staticmethod
    def of_json(status: int, data: object) -> Page:
        return Page(status, "application/json", json.dumps(data).encode() + b"\n")


@dataclass
class _Client:
    connection: socket.socket
    until: float
    head: bytearray = field(default_factory=bytearray)
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class Endpoint:
    """Listens at `host` and `port` (0: any, see `port`) until it is closed. pages: what a path shows, made by the
    endpoint's thread each time it is asked for."""

    def __init__(self, host: str, port: int, pages: dict[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._listener = _listening(host, port)
        self.port: int = self._listener.getsockname()[1]
        self.clients: list[_Client] = []
        """Who is connected now."""
        self._selector = selectors.DefaultSelector()
        self._near, self._far = socket.socketpair()
        self._selector.register(self._near, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends at once. Closing again does nothing."""
        with suppress(OSError):
            self._far.send(b"\0")
        self._thread.join(2 * SECONDS)

    def _serve(self) -> None:
        closing = False
        while not closing:
            for key, _ in self._selector.select(TICK_SECONDS if self.clients else None):
                if key.fileobj is self._near:
                    closing = True
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Client):
                    self._attend(key.data)
            now = time.monotonic()
            for client in [client for client in self.clients if now > client.until]:
                self._drop(client)
        for client in list(self.clients):
            self._drop(client)
        self._selector.close()
        for each in (self._listener, self._near, self._far):
            each.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self.clients) >= CLIENTS:
            self._drop(self.clients[0])
        client = _Client(connection, time.monotonic() + SECONDS)
        self.clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)
        time.sleep(ACCEPT_SECONDS)

    def _attend(self, client: _Client) -> None:
        try:
            if client.answer.nbytes:
                client.answer = client.answer[client.connection.send(client.answer) :]
            elif data := client.connection.recv(HEAD_BYTES + 1 - len(client.head)):
                client.head += data
                self._answer(client)
                return
            if not client.answer.nbytes:
                self._drop(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _answer(self, client: _Client) -> None:
        """Answers when the request's head is there."""
        end = client.head.find(b"\r\n\r\n")
        if end < 0 and len(client.head) <= HEAD_BYTES:
            return
        client.answer = memoryview(_encoded(self._page(bytes(client.head[: max(end, 0)]))))
        self._selector.modify(client.connection, selectors.EVENT_WRITE, client)

    def _page(self, head: bytes) -> Page:
        words = head.split(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Page.of_text(400, "expected a request such as GET /metrics HTTP/1.1")
        if words[0] != b"GET":
            return Page.of_text(405, "only GET is answered")
        path = words[1].partition(b"?")[0].decode("ascii", "replace")
        if path not in self._pages:
            return Page.of_text(404, f"there are {' and '.join(self._pages)}")
        try:
            return self._pages[path]()
        except Exception as error:  # a server in the middle of a change; the endpoint outlives it
            return Page.of_text(500, f"this page could not be made ({type(error).__name__}); try again")

    def _drop(self, client: _Client) -> None:
        self.clients.remove(client)
        self._selector.unregister(client.connection)
        with suppress(OSError):
            client.connection.shutdown(socket.SHUT_WR)
        client.connection.close()


def _encoded(page: Page) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status} {REASONS[page.status]}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + page.body


def _listening(host: str, port: int) -> socket.socket:
    """InputError when the address cannot be listened at."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--metrics {host}:{port} cannot be listened at: {reason}; use another port") from None
    listener.setblocking(False)
    return listener
