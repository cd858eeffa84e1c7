"""One connection to a server's door, made to find out about it: who answers, whether it accepts our key, how far away
it is, how much gets through, and what time it has.

It says what machines of ours say anyway, hello and ping, so it needs nothing of the server that it looks at. A ping may
end in spaces, as any JSON, which is how bytes are moved to measure how many get through. Every step has a deadline.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..transport.address import host_and_port
from ..transport.identity import KeyPair, calling_context

__all__ = ["CLIENTS_PAD", "SERVERS_PAD", "Fault", "Measured", "Unreached", "measure", "told"]

SECONDS = 5.0
"""For each step."""
PINGS = 5
SERVERS_PAD, CLIENTS_PAD = 1 << 16, 1 << 11
"""Spaces behind a ping: servers and clients may say so much at once, and more."""
MOVED_BYTES = 1 << 20
UNANSWERED_BYTES = 1 << 18  # pings on their way; a front reads on while it answers
ANSWER_BYTES = 1 << 17
_HEAD, _SIZE = struct.Struct(">IH"), struct.Struct(">Q")
_REFUSALS = {"TLSV1_ALERT_UNKNOWN_CA", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"}
_OTHER_KEY = "CERTIFICATE_VERIFY_FAILED"


class Fault(Enum):
    NAME = "its name cannot be resolved"
    CLOSED = "nobody listens there"
    SILENT = "no answer from there"
    OTHER_PROGRAM = "what listens there is no server of ours"
    BUSY = "it has no room for another connection"
    OTHER_KEY = "whoever answers there has another key"
    OUR_KEY = "it does not accept our key"


class Unreached(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True)
class Measured:
    """round_trip: seconds, the shortest of a few; bytes_per_second: at least so many get there; clock: theirs minus
    ours, known to half a round trip."""

    round_trip: float
    bytes_per_second: float
    clock: float


def measure(address: str, keys: KeyPair, host: str, pad: int) -> Measured:
    """Pings the holder of the public key `host`. pad: of a ping, in spaces. Unreached when there is none to be."""
    with _connected(address, keys, host) as line:
        rounds = [_ping(line) for _ in range(PINGS)]
        round_trip, clock = min(rounds)
        began = time.perf_counter()
        _move(line, pad)
        moving = max(time.perf_counter() - began - round_trip, 1e-6)
    return Measured(round_trip, MOVED_BYTES / moving, clock)


def told(address: str, keys: KeyPair, host: str, hello: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the server says to a client's hello."""
    with _connected(address, keys, host) as line:
        _say(line, json.dumps(hello).encode())
        return _hear(line)


@contextmanager
def _connected(address: str, keys: KeyPair, host: str) -> Iterator[ssl.SSLSocket]:
    _, name, port = host_and_port(address)
    try:
        connection = socket.create_connection((name, port), SECONDS)
    except (socket.gaierror, UnicodeError):
        raise Unreached(Fault.NAME) from None
    except TimeoutError:
        raise Unreached(Fault.SILENT) from None
    except OSError:
        raise Unreached(Fault.CLOSED) from None
    try:
        with calling_context(keys, host).wrap_socket(connection, do_handshake_on_connect=False) as line:
            line.settimeout(SECONDS)
            _shake_hands(line)
            yield line
    except ssl.SSLError as error:
        raise Unreached(_of_tls(error)) from None
    except TimeoutError:
        raise Unreached(Fault.SILENT) from None
    except (OSError, ValueError):
        raise Unreached(Fault.OTHER_PROGRAM) from None
    finally:
        with suppress(OSError):
            connection.close()


def _shake_hands(line: ssl.SSLSocket) -> None:
    try:
        line.do_handshake()
    except TimeoutError:
        raise Unreached(Fault.OTHER_PROGRAM) from None


def _of_tls(error: ssl.SSLError) -> Fault:
    reason = error.reason or ""
    if reason in _REFUSALS:
        return Fault.OUR_KEY
    return Fault.OTHER_KEY if reason == _OTHER_KEY else Fault.OTHER_PROGRAM


def _ping(line: ssl.SSLSocket) -> tuple[float, float]:
    """Seconds to the answer, and how far the other clock is ahead."""
    before, began = time.time(), time.perf_counter()
    _say(line, b'{"kind": "ping"}')
    answer = _hear(line)
    seconds = time.perf_counter() - began
    if answer.get("kind") != "pong":
        raise Unreached(Fault.BUSY)
    return seconds, float(answer.get("clock", before)) - (before + seconds / 2)


def _move(line: ssl.SSLSocket, pad: int) -> None:
    """Sends `MOVED_BYTES` in pings, and hears all their answers."""
    ping = b'{"kind": "ping"}' + b" " * pad
    ahead, sent, heard = max(1, UNANSWERED_BYTES // pad), 0, 0
    whole = -(-MOVED_BYTES // pad)
    while heard < whole:
        if sent < whole and sent - heard < ahead:
            _say(line, ping)
            sent += 1
        else:
            _hear(line)
            heard += 1


def _say(line: ssl.SSLSocket, body: bytes) -> None:
    line.sendall(_HEAD.pack(len(body), 0) + body)


def _hear(line: ssl.SSLSocket) -> Mapping[str, Any]:
    """The next message, without its payload. ValueError for what is none."""
    size, parts = _HEAD.unpack(_read(line, _HEAD.size))
    sizes = [_SIZE.unpack(_read(line, _SIZE.size))[0] for _ in range(parts)] if parts < 8 else [ANSWER_BYTES]
    if size + sum(sizes) > ANSWER_BYTES:
        raise ValueError("too long for an answer")
    body = json.loads(_read(line, size))
    _read(line, sum(sizes))
    if not isinstance(body, dict):
        raise ValueError("no object")
    return body


def _read(line: ssl.SSLSocket, nbytes: int) -> bytes:
    data = b""
    while len(data) < nbytes:
        if not (more := line.recv(nbytes - len(data))):
            raise ConnectionResetError
        data += more
    return data
