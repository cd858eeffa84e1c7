"""A front by itself, and those who come to it, over real calls or whatever is written."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mpc_runtime.transport.address import ANY_PORT
from mpc_runtime.transport.call import Call, drive
from mpc_runtime.transport.front import Front
from mpc_runtime.transport.guests import Quota, Wake
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.line import Limits
from mpc_runtime.transport.messages import CLIENT, PARTY_TO_CLIENT, Message
from mpc_runtime.transport.node import Hello, new_nonce
from tests.lines import proved
from tests.waiting import until

HOST = KeyPair.generate()
ALICE = KeyPair.generate()
BOB = KeyPair.generate()
NAMES = {ALICE.public: "alice", BOB.public: "bob"}
QUOTA = Quota(Limits(body=4096, parts=1, payload=1 << 16), per_key=3, messages=4, key_bytes=1 << 17, all_bytes=1 << 18)


@contextmanager
def fronted(
    quota: Quota = QUOTA, names: Mapping[str, str] = NAMES, told: Callable[[str], None] = lambda _: None
) -> Iterator[Front]:
    bell = Wake()
    front = Front("p0", ANY_PORT, HOST, names, CLIENT, quota, bell, told)
    try:
        yield front
    finally:
        front.close()
        bell.close()


def called(front: Front, keys: KeyPair, host: str = HOST.public) -> Call:
    """A call that has not begun."""
    hello = Hello("alice", "plan", 1).body(new_nonce())
    return Call("p0", front.address, keys, host, hello, PARTY_TO_CLIENT, Limits())


@contextmanager
def calling(front: Front, keys: KeyPair = ALICE, host: str = HOST.public) -> Iterator[Call]:
    call = called(front, keys, host)
    try:
        yield call
    finally:
        call.close()


def reached(front: Front, call: Call) -> Message:
    """The call's hello, when it has arrived."""
    return heard(front, call, lambda message: message.kind == "hello")


def heard(front: Front, call: Call, wanted: Callable[[Message], bool] = lambda _: True) -> Message:
    """The next message at the front that is wanted; others are dropped."""
    found: list[Message] = []

    def look() -> bool:
        drive([call], 0.01)
        while (message := front.receive()) is not None:
            if wanted(message):
                found.append(message)
                return True
        return False

    until(look)
    return found[0]


def ended(call: Call) -> str:
    """Why the call has failed, when it has."""
    until(lambda: drive([call], 0.01) or call.failure)
    return str(call.failure)


@contextmanager
def raw(front: Front, keys: KeyPair = ALICE) -> Iterator[ssl.SSLSocket]:
    """A connection that has proved a key and said hello, on which anything may be written."""
    with proved(front.address, keys, HOST.public, Hello("alice", "plan", 1)) as connection:
        yield connection
