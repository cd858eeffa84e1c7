"""Frames, messages and handshakes that no program of ours would send: typed errors only, and nothing above the limits.

A case is one of these, by its number:

    stream    sealed frames that somebody between two servers changes: what opens is what was sealed, in its order
    peer      frames that a server seals as it likes: flags, executions, contents, control messages
    line      what comes on a TLS connection: lengths, parts, bodies
    control   the JSON of a control message, from those of every dialect
    front     what strangers write to a front: half handshakes, tickets, noise; whoever has a key is served after it

    python -m tests.fuzz.frames --cases 1000000 --seed 1              # in two processes
    python -m tests.fuzz.frames --seed 1 --only 4711                  # one of them
"""

from __future__ import annotations

import json
import ssl
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.front import Front
from mpc_runtime.transport.identity import calling_context
from mpc_runtime.transport.line import Limits, Line, LineClosed
from mpc_runtime.transport.link import Link
from mpc_runtime.transport.messages import (
    BODY_BYTES,
    CALLER,
    CLIENT,
    DEALER,
    HOST,
    PARTY,
    PARTY_TO_CLIENT,
    PARTY_TO_DEALER,
    Dialect,
    Message,
    read,
)
from mpc_runtime.transport.sealed import CONTROL, END, KEY_BYTES, MORE, PART, Sealer
from mpc_runtime.transport.stream import Inlet, Keys, StreamEnded
from tests.fuzz import longrun
from tests.lines import connected, framed
from tests.mpc_runtime.transport.fronts import ALICE, QUOTA, calling, fronted, raw, reached
from tests.mpc_runtime.transport.fronts import HOST as HOST_KEYS

KEYS = Keys(bytes(KEY_BYTES), "")
LIMITS = Limits(body=4096, parts=3, payload=1 << 16)
DIALECTS: Mapping[str, Dialect] = {
    "client": CLIENT,
    "party to client": PARTY_TO_CLIENT,
    "caller": CALLER,
    "host": HOST,
    "party": PARTY,
    "dealer": DEALER,
    "party to dealer": PARTY_TO_DEALER,
}
RARE = 200  # one case in so many is a connection, which takes milliseconds

NUMBERS = (0, 1, -1, 7, 255, 256, 65535, 1 << 31, 1 << 32, (1 << 48) + 1, 1 << 63, 1 << 64, 10**30, 0.5, -0.5, 1e300)
VALUES: tuple[Any, ...] = (
    *NUMBERS, None, True, False, "", "x", "0" * 64, "f" * 64, "é", "\ud800", "\0", "run", "x" * 300, "x" * 70_000,
    [], [[]], ["x"], [1], {}, {"x": "y"}, {"": None}, {"kind": "x"},
)  # fmt: skip
BODIES = (
    b"", b"{", b"{}", b"[]", b"7", b"null", b'"x"', b"NaN", b'{"kind": Infinity}', b"\xff\xfe", b"[" * 4000,
    b'{"a":' * 2000, b'{"kind": 1e999}', b'{"kind": ' + b"9" * 4000 + b"}", b'{"kind": "submit", "kind": "x"}',
)  # fmt: skip
LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x10", b"\x7f\xff\xff\xff")
FLAGS = (0, PART, PART, PART | MORE, MORE, CONTROL, CONTROL | MORE, PART | CONTROL, END, 15, 16, 255)


# -- what is changed ---------------------------------------------------------------------------------------------------


def damaged(random: Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, left out, doubled or moved."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at, size = random.randrange(len(changed) + 1), random.choice((1, 1, 2, 4, 13, 29, 300))
        match random.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = random.randbytes(size)
            case 3:
                changed[at:at] = changed[at : at + size]
            case 4:
                changed[at : at + 4] = random.choice(LENGTHS)
            case _:
                piece = changed[at : at + size]
                del changed[at : at + size]
                to = random.randrange(len(changed) + 1)
                changed[to:to] = piece
    return bytes(changed)


def sample(random: Random, dialect: Dialect) -> dict[str, Any]:
    """A body that fits a dialect, or nearly does."""
    kind = random.choice(list(dialect))
    body: dict[str, Any] = {"kind": kind}
    for name in dialect[kind].shape.fields:
        if name != "kind":
            body[name] = _fitting(random, name)
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        name = random.choice([*body, "id", "stage", "x", "x" * 300])
        if random.random() < 0.2:
            body.pop(name, None)
        else:
            body[name] = random.choice(VALUES)
    return body


def _fitting(random: Random, name: str) -> Any:
    match name:
        case "nonce" | "session" | "proof":
            return random.randbytes(32).hex()
        case "names":
            return ["y"] * random.randrange(3)
        case "ids":
            return {"a": "1", "b": "2"}
        case "setup" | "used":
            return None
        case "version" | "format" | "index" | "bytes" | "rounds" | "sent_bytes" | "material_bytes" | "peak_memory":
            return random.randrange(1000)
        case "seconds" | "online_seconds" | "offline_seconds":
            return random.random()
    return "text"


def written(random: Random, body: Mapping[str, Any]) -> bytes:
    if random.random() < 0.1:
        return random.choice(BODIES)
    text = json.dumps(body).encode()
    return damaged(random, text) if random.random() < 0.2 else text


# -- the cases ---------------------------------------------------------------------------------------------------------


def stream(random: Random) -> str | None:
    sealer = Sealer(KEYS.data)
    contents = [random.randbytes(random.choice((0, 1, 40, 2000))) for _ in range(random.randrange(1, 5))]
    frames = [
        bytes(next(iter(sealer.frames([memoryview(text)], control=random.random() < 0.5, execution=3))))
        for text in contents
    ]
    if random.random() < 0.3:
        random.shuffle(frames)
        wire = b"".join(frames * random.choice((1, 2)))
    else:
        wire = damaged(random, b"".join(frames))
    opened: list[bytes] = []
    inlet = Inlet("p0", _Written(random, wire), KEYS)  # type: ignore[arg-type]
    with suppress(PeerError, StreamEnded):
        while (frame := inlet.take()) is not None:
            opened.append(bytes(frame[1]))
    return None if opened == contents[: len(opened)] else "something opened that was not sealed so"


def peer(random: Random) -> str | None:
    forger = _Forger(KEYS.data)
    name, dialect = random.choice(list(DIALECTS.items()))
    wire = b""
    for _ in range(random.randrange(1, 12)):
        if random.random() < 0.5:
            parts = [written(random, sample(random, dialect))]
            parts += [random.randbytes(random.choice((0, 16, 17))) for _ in _few(random)]
            for i, part in enumerate(parts):
                wire += forger.frame(part, PART | CONTROL | (MORE if i + 1 < len(parts) else 0), -1)
        else:
            text, execution = random.randbytes(random.choice((0, 5, 3000))), random.choice((-1, 0, 3, 1 << 62))
            wire += forger.frame(text, random.choice(FLAGS), execution)
    link = Link(name, _Silent(), dialect)  # type: ignore[arg-type]
    link.inlet = Inlet(name, _Written(random, wire), KEYS)  # type: ignore[arg-type]
    with suppress(PeerError):
        while (item := link.next()) is not None or link.failure is None:
            if isinstance(item, Message) and (found := _misfit(item, dialect)):
                return found
    return None


def line(random: Random) -> str | None:
    wire = b""
    for _ in _few(random):
        body = written(random, sample(random, CLIENT))
        wire += framed(body[: 1 << 13], *[random.randbytes(random.choice((0, 1, 100, 70_000))) for _ in _few(random)])
    wire = damaged(random, wire) if random.random() < 0.7 else wire
    made = Line(_Written(random, wire), LIMITS)  # type: ignore[arg-type]
    try:
        while (parts := made.receive()) is not None:
            sizes = [part.nbytes for part in parts]
            if sizes[0] > LIMITS.body or len(sizes) > 1 + LIMITS.parts or sum(sizes[1:]) > LIMITS.payload:
                return f"a message above the limits: {sizes}"
            with suppress(PeerError):
                message = read("a", 1, parts, CLIENT, LIMITS.body)
                if found := _misfit(message, CLIENT):
                    return found
    except LineClosed:
        return None
    return "a line that neither ends nor goes on"


def control(random: Random) -> str | None:
    name, dialect = random.choice(list(DIALECTS.items()))
    body = written(random, sample(random, dialect))
    payload = [memoryview(random.randbytes(random.choice((0, 15, 16, 32)))) for _ in _few(random)]
    try:
        return _misfit(read(name, 0, [memoryview(body), *payload], dialect, BODY_BYTES), dialect)
    except PeerError as error:
        return None if error.peer == name and len(str(error)) < 1000 else f"an error without its peer, or long: {error}"


def front(random: Random) -> str | None:
    made = _fronted()
    noise = damaged(random, _greeting()), b"\x01" + random.randbytes(random.randrange(40)), random.randbytes(80), b""
    with ExitStack() as stack:
        for _ in _few(random):
            with suppress(OSError):
                stack.enter_context(connected(made.address, random.choice(noise)))
        with suppress(OSError), raw(made) as guest:  # which damages what it says within TLS
            guest.sendall(damaged(random, framed(written(random, sample(random, CLIENT)), bytes(100))))
        with calling(made) as call:
            reached(made, call)
    return None


CASES: tuple[Callable[[Random], str | None], ...] = (stream, peer, line, control)


def case(seed: int, number: int) -> tuple[Callable[[Random], str | None], Random]:
    """Case `number` of a run."""
    random = Random(f"{seed}/{number}")
    return (front if number % RARE == RARE - 1 else CASES[number % len(CASES)]), random


def judged(seed: int, number: int) -> str | None:
    """What is wrong with the answer to it, or None."""
    kind, random = case(seed, number)
    try:
        found = kind(random)
    except BaseException as error:
        found = longrun.crash(error)
    return found and f"{kind.__name__}: {found}"


# -- what they are made of ---------------------------------------------------------------------------------------------


_KEPT = ExitStack()


class _Silent:
    """A call of which nothing is heard."""

    address = "127.0.0.1:1"
    failure = None


class _Forger:
    """Seals frames as a server could that does not run our program: any flags, any execution."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._frames = 0

    def frame(self, text: bytes, flags: int, execution: int) -> bytes:
        self._frames += 1
        bound = struct.pack(">Bq", flags, execution)
        sealed = self._aead.encrypt(self._frames.to_bytes(12, "big"), text, bound)
        return struct.pack(">I", len(sealed)) + bound + sealed


class _Written:
    """A connection that delivers these bytes, in pieces, and ends."""

    def __init__(self, random: Random, data: bytes) -> None:
        self._random, self._data = random, memoryview(data)

    def recv(self, most: int) -> bytes:
        if self._random.random() < 0.01:
            raise ssl.SSLError("an alert")
        count = min(most, len(self._data), self._random.choice((1, 7, 100, 1 << 16)))
        given, self._data = self._data[:count], self._data[count:]
        return bytes(given)

    def recv_into(self, room: memoryview) -> int:
        given = self.recv(len(room))
        room[: len(given)] = given
        return len(given)


def _few(random: Random) -> range:
    return range(random.choice((0, 1, 1, 1, 2, 3)))


def _misfit(message: Message, dialect: Dialect) -> str | None:
    """Whether somebody who reads a message by its dialect finds something else."""
    kind = dialect[message.kind]
    fields = kind.shape.fields
    if not kind.shape.open and message.body.keys() != fields.keys():
        return f"a message with other fields: {message.body}"
    sizes = tuple(part.nbytes for part in message.payload)
    return None if kind.payload in (None, sizes) else f"a message with another payload: {sizes}"


@lru_cache(maxsize=1)
def _fronted() -> Front:
    """A front of this process, which takes connections as they come."""
    return _KEPT.enter_context(fronted(replace(QUOTA, accepts_per_second=1e6, accepts_at_once=1e6)))


@lru_cache(maxsize=1)
def _greeting() -> bytes:
    """The first message of a handshake."""
    outgoing = ssl.MemoryBIO()
    handshake = calling_context(ALICE, HOST_KEYS.public).wrap_bio(ssl.MemoryBIO(), outgoing)
    with suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def _printed(seed: int, number: int) -> None:
    print(f"a case of {case(seed, number)[0].__name__}")


if __name__ == "__main__":
    sys.exit(longrun.main(__doc__, judged, "cases", 1_000_000, _printed))
