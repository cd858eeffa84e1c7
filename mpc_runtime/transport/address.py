"""Where machines are: `HOST:PORT`, the host a name, an IPv4 address, or an IPv6 address in brackets.

A name is looked up when a connection is made, each time anew and on a thread of its own, since the system may take long
to answer and whoever makes the connection must not wait for it.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import threading

from ..errors import InputError

__all__ = ["ANY_PORT", "Lookup", "check_address", "clients_of", "host_and_port", "is_wildcard", "listening", "numeric"]

ANY_PORT = "127.0.0.1:0"
BACKLOG = 64  # connections that the system keeps until they are accepted
PORTS = 1 << 16
NAME_LENGTH = 253  # RFC 1035
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")

Endpoint = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
"""A family of addresses, and an address as sockets want it."""


def check_address(address: str, where: str) -> str:
    """The address; `InputError` (with `where` it was written) unless it is `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    if problem := _host_problem(host):
        raise InputError(f"{where}: {problem}, found {address!r}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < PORTS):
        raise InputError(f"{where}: expected a port from 1 to {PORTS - 1} after the last colon, found {address!r}")
    return f"{host}:{int(port)}"


def _host_problem(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return "" if _is_ip(host[1:-1], ipaddress.IPv6Address) else "expected an IPv6 address in the brackets"
    if ":" in host:
        return "expected HOST:PORT, with brackets around an IPv6 address, such as [2001:db8::7]:7100"
    if _is_ip(host, ipaddress.IPv4Address):
        return ""
    if len(host) > NAME_LENGTH or not _NAME.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdigit():
        return "expected an address such as p0.example.org:7100, 192.0.2.7:7100 or [2001:db8::7]:7100"
    return ""


def _is_ip(host: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return True


def is_wildcard(address: str) -> bool:
    """Whether it means all addresses of a machine, where one can listen but nobody can be reached."""
    host = host_and_port(address)[1]
    return host == "0.0.0.0" or (":" in host and "%" not in host and ipaddress.IPv6Address(host).is_unspecified)


def clients_of(server: str) -> str:
    """The name that a server's address for clients has in a mapping of addresses, beside its address for servers: the
    server's name."""
    return f"{server}.clients"


def host_and_port(address: str) -> tuple[socket.AddressFamily, str, int]:
    """Of a name, the family means nothing."""
    host, _, port = address.rpartition(":")
    return (socket.AF_INET6 if "[" in host else socket.AF_INET), host.strip("[]"), int(port)


def numeric(connection: socket.socket) -> str:
    """The address that a connection has at its other end, without a name."""
    host, port, *_ = connection.getpeername()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoints(address: str, flags: int = 0) -> list[Endpoint]:
    """What an address stands for, in the order in which to try it. OSError when that cannot be said."""
    _, host, port = host_and_port(address)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, where) for family, _, _, _, where in found]  # type: ignore[misc]  # both families are ours


class Lookup:
    """What an address stands for, looked up without making anybody wait."""

    def __init__(self, address: str) -> None:
        self.done = False
        self.found: list[Endpoint] = []
        self.problem = ""
        """Why nothing was found."""
        self._address = address
        try:
            self.found, self.done = endpoints(address, socket.AI_NUMERICHOST), True
        except OSError:
            threading.Thread(target=self._ask, name=f"lookup of {address}", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.found = endpoints(self._address)
        except (OSError, UnicodeError) as error:
            self.problem = f"its name cannot be resolved: {getattr(error, 'strerror', None) or error}"
        self.done = True


def listening(name: str, address: str) -> socket.socket:
    """A socket of the server `name` that listens (port 0: one that the system chooses). InputError when that cannot
    be. `[::]` takes connections over IPv4 too."""
    try:
        family, where = endpoints(address, socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InputError(f"{name}'s address {address} cannot be resolved: {error.strerror}") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and is_wildcard(address):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InputError(f"{name}'s address {address} {_unusable(error)}") from None
    listener.setblocking(False)
    return listener


def _unusable(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    if error.errno == errno.EADDRNOTAVAIL:
        return "is not one of this machine's; write where to listen under `listen`, such as 0.0.0.0:7100"
    return f"cannot be listened at: {error.strerror}"
