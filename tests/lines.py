"""Connections to a front as somebody makes them who does not use our program: sockets, TLS, and whatever is written."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from mpc_runtime.transport.address import host_and_port
from mpc_runtime.transport.hello import Hello, new_nonce
from mpc_runtime.transport.identity import KeyPair, calling_context
from mpc_runtime.transport.messages import encode
from tests.waiting import SECONDS

__all__ = ["connected", "framed", "is_closed", "proved", "said_by"]


def framed(body: bytes, *payload: bytes) -> bytes:
    """A message as a line carries it."""
    sizes = b"".join(struct.pack(">Q", len(part)) for part in payload)
    return b"".join([struct.pack(">IH", len(body), len(payload)), sizes, body, *payload])


def connected(address: str, data: bytes = b"", seconds: float = SECONDS) -> socket.socket:
    """A plain connection, over which something is sent."""
    family, host, port = host_and_port(address)
    connection = socket.socket(family)
    connection.settimeout(seconds)
    connection.connect((host, port))
    with suppress(OSError):  # it may have been sent away already
        connection.sendall(data)
    return connection


@contextmanager
def proved(
    address: str, keys: KeyPair, host: str, hello: Hello | None = None, seconds: float = SECONDS
) -> Iterator[ssl.SSLSocket]:
    """A connection to the holder of the key `host` that proves a key, and says hello if there is one."""
    with calling_context(keys, host).wrap_socket(connected(address, seconds=seconds)) as connection:
        if hello is not None:
            connection.sendall(framed(encode(hello.body(new_nonce()))))
        yield connection


def said_by(connection: ssl.SSLSocket, body: bytes, payload: Sequence[bytes] = ()) -> bytes:
    """All that the other end says until it closes the connection, when this message is sent."""
    with suppress(OSError):  # it may be cut while it is sent
        connection.sendall(framed(body, *payload))
    said = b""
    with suppress(OSError):
        while data := connection.recv(1 << 16):
            said += data
    return said


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed it; waits until it has."""
    try:
        while connection.recv(1 << 16):
            continue
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
