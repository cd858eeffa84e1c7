"""Where machines are: `HOST:PORT`, for this version on this machine only."""

from __future__ import annotations

import errno
import socket

from ..errors import InputError

__all__ = ["ANY_PORT", "check_loopback", "clients_of", "host_and_port", "listening"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANY_PORT = "127.0.0.1:0"
BACKLOG = 64  # connections that the system keeps until they are accepted


def check_loopback(address: str, where: str) -> str:
    """The address; `InputError` (with `where` it was written) unless it is one on this machine."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise InputError(f"{where}: expected an address such as 127.0.0.1:7100, found {address!r}")
    if host not in LOOPBACK:
        raise InputError(
            f"{where}: {address} is not on this machine; other hosts come in a later version, use 127.0.0.1:{port}"
        )
    return f"{'127.0.0.1' if host == 'localhost' else host}:{int(port)}"


def clients_of(server: str) -> str:
    """The name that a server's address for clients has in a mapping of addresses, beside its address for servers: the
    server's name."""
    return f"{server}.clients"


def host_and_port(address: str) -> tuple[socket.AddressFamily, str, int]:
    host, _, port = address.rpartition(":")
    return (socket.AF_INET6 if "[" in host else socket.AF_INET), host.strip("[]"), int(port)


def listening(name: str, address: str) -> socket.socket:
    """A socket of the server `name` that listens (port 0: one that the system chooses). InputError when that cannot
    be."""
    family, host, port = host_and_port(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened at: {error.strerror}"
        raise InputError(f"{name}'s address {address} {reason}") from None
    listener.setblocking(False)
    return listener
