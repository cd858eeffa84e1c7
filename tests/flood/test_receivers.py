"""A process that is sent far more than it looks at, before and after the other end has proved a key: it stays small."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.messages import PARTY
from mpc_runtime.transport.node import Hello, Node
from tests.flood.floods import Watch, resident
from tests.terminal import environment
from tests.waiting import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SENT = 200
"""Megabytes."""
ROOM = 16 << 20
LOOKS = 50
PROGRAM = """
import json, sys
from mpc_runtime.transport.call import Call, drive
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.line import Limits
from mpc_runtime.transport.messages import HOST, PARTY
from mpc_runtime.transport.node import Hello, Node, new_nonce

given = json.loads(sys.stdin.readline())
keys, hello = KeyPair.from_secret(given["secret"]), Hello("p0", "plan", 1)
if given["meet"]:
    node = Node(hello, keys, 60.0)
    node.listen({given["peer"]: "p1"})
    print(node.address, flush=True)
    node.connect("p1", given["address"], given["peer"], PARTY)
    node.meet(["p1"], 60.0)
    print("met", flush=True)
    sys.stdin.read()
else:
    call = Call("p1", given["address"], keys, given["peer"], hello.body(new_nonce()), HOST, Limits())
    while call.failure is None:
        drive([call], 0.05)
"""


@contextmanager
def receiver(**given: object) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(given) + "\n")
    child.stdin.flush()
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_stream_that_nobody_reads_takes_no_memory() -> None:
    keys, other = KeyPair.generate(), KeyPair.generate()
    node = Node(Hello("p1", "plan", 1), keys, 60.0)
    try:
        node.listen({other.public: "p0"})
        with receiver(secret=other.secret, peer=keys.public, address=node.address, meet=True) as child:
            assert child.stdout is not None
            node.connect("p0", child.stdout.readline().strip(), other.public, PARTY)
            node.meet(["p0"], 60.0)
            assert child.stdout.readline() == "met\n"
            before = resident(child.pid)
            for _ in range(SENT):
                node.send("p0", bytes(1 << 20), 3)
            most = 0
            for _ in range(LOOKS):
                most = max(most, resident(child.pid))
                time.sleep(0.02)
        assert most - before < ROOM
    finally:
        node.close()


def test_whoever_answers_at_a_server_s_address_fills_nothing() -> None:
    """It has no key, and sends what looks like the beginning of a handshake for as long as somebody takes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with receiver(
            secret=KeyPair.generate().secret, peer=KeyPair.generate().public, address=address, meet=False
        ) as child:
            server.settimeout(60.0)
            connection, _ = server.accept()
            before, watch = resident(child.pid), Watch(child.pid)
            connection.settimeout(1.0)
            with connection, suppress(OSError):
                for _ in range(SENT):
                    connection.sendall((b"\x16\x03\x03\x3f\xff" + os.urandom(0x3FFF)) * 64)
            until(lambda: server.accept())  # it has given up, and tries again
            assert watch.most() - before < ROOM
            watch.close()
