"""What is looked for in captures is found where it is."""

from __future__ import annotations

import os
import struct

import pytest

from mpc_runtime.transport.door import ROUTE_BYTES, ROUTE_MARK
from mpc_runtime.transport.front import STREAM_MARK
from mpc_runtime.transport.messages import TICKET_BYTES
from tests.fuzz.captured import Flow, found

SECRETS = {"a secret": [b"what nobody may see"]}
ROUTE = ROUTE_MARK + bytes(ROUTE_BYTES)


def flow(data: bytes, port: int = 1) -> Flow:
    """In packets that came out of order, and one of them twice."""
    cut = len(data) // 2
    first = 2**32 - 7
    made = Flow(("10.0.0.1", port, "10.0.0.2", 7100), first)
    made.pieces = {(first + cut) % 2**32: data[cut:], first: data[:cut]}
    made.pieces[(first + cut // 2) % 2**32] = data[cut // 2 : cut]
    return made


def record(kind: int, data: bytes) -> bytes:
    return struct.pack(">BHH", kind, 0x303, len(data)) + data


def hello(random: bytes, share: bytes) -> bytes:
    body = random + b"\0" + struct.pack(">H", 2) + b"\x13\x01" + b"\1\0"
    extension = struct.pack(">HH", 51, len(share)) + share
    body += struct.pack(">H", len(extension)) + extension
    return record(22, b"\1" + (len(body) + 2).to_bytes(3, "big") + b"\3\3" + body)


def tls(sealed: bytes, random: bytes | None = None, share: bytes | None = None) -> bytes:
    return ROUTE + hello(random or os.urandom(32), share or os.urandom(36)) + record(23, sealed)


def stream(sealed: bytes, ticket: bytes | None = None) -> bytes:
    return ROUTE + STREAM_MARK + (ticket or os.urandom(TICKET_BYTES)) + struct.pack(">IBq", len(sealed), 0, 3) + sealed


def test_noise_is_well() -> None:
    assert found([flow(tls(os.urandom(30_000))), flow(stream(os.urandom(30_000)))], SECRETS) == []


@pytest.mark.parametrize(
    ("flows", "problem"),
    [
        ([stream(b"so this is what nobody may see")], "a secret is seen"),
        ([stream(os.urandom(64) * 500)], "is no noise"),
        ([tls(os.urandom(64), share=b"s" * 36), tls(os.urandom(64), share=b"s" * 36)], "the same key share 2 times"),
        ([tls(os.urandom(64), b"r" * 32), tls(os.urandom(64), b"r" * 32)], "the same random 2 times"),
        ([stream(os.urandom(64), b"t" * 16), stream(os.urandom(64), b"t" * 16)], "the same ticket 2 times"),
        ([stream(bytes(range(64))), tls(bytes(range(64)))], "4 blocks of what is sealed come again"),
    ],
)
def test_each_fault_is_found(flows: list[bytes], problem: str) -> None:
    problems = found([flow(data, port) for port, data in enumerate(flows)], SECRETS)
    assert any(problem in each for each in problems), problems


def test_what_was_not_captured_or_is_not_encrypted_is_an_error() -> None:
    gap = flow(tls(os.urandom(100)))
    assert gap.first is not None
    del gap.pieces[gap.first]
    with pytest.raises(ValueError, match="were not captured"):
        found([gap], SECRETS)
    with pytest.raises(ValueError, match="not encrypted"):
        found([flow(tls(os.urandom(64)) + record(21, b"\2\50"))], SECRETS)
