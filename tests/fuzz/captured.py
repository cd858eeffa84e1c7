"""What a network sees of a deployment: frames taken from a bridge, put together into the connections they belong to.

    with Capture("br0") as capture: …
    problems = found(capture.flows(), secrets)

Of TLS, only its hellos are readable, and of a stream its route, its ticket and the heads of its frames. The rest has to
look like noise that never comes twice. Two messages under the same key and nonce would, as soon as they begin alike.
"""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from mpc_runtime.transport.door import ROUTE_BYTES, ROUTE_MARK
from mpc_runtime.transport.front import STREAM_MARK
from mpc_runtime.transport.messages import TICKET_BYTES
from mpc_runtime.transport.sealed import HEAD

__all__ = ["Capture", "Flow", "Seen", "found", "read"]

ALL, IPV4, TCP, SYN = 3, 0x0800, 6, 2
PACKET_BYTES, BUFFER_BYTES = 1 << 17, 1 << 28
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
HELLO, CLIENT_HELLO, SERVER_HELLO, CHANGE, DATA = 22, 1, 2, 20, 23
KEY_SHARE = 51
BLOCK = 16
NOISE = 1 << 14  # of so many bytes it can be said whether they are noise
SPREAD = np.uint64(0x9E3779B97F4A7C15)

Ends = tuple[str, int, str, int]


@dataclass
class Flow:
    """One direction of a connection."""

    ends: Ends
    first: int | None = None
    """The sequence number of its first byte."""
    pieces: dict[int, bytes] = field(default_factory=dict)

    def data(self) -> bytes:
        """What was sent; ValueError if some of it was not captured."""
        assert self.first is not None
        data = bytearray()
        for at, piece in sorted(((seq - self.first) % (1 << 32), piece) for seq, piece in self.pieces.items()):
            if at > len(data):
                raise ValueError(f"{self.ends}: bytes {len(data)} to {at} were not captured")
            data[at : at + len(piece)] = piece
        return bytes(data)


class Capture:
    """Of an interface, from here to the end of the `with`."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with suppress(PermissionError):  # beyond what the system lets everybody have
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.bind((interface, 0))
        self._socket.settimeout(0.2)
        self._flows: dict[Ends, Flow] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self.lost = 0

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        _, self.lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()

    def flows(self) -> list[Flow]:
        """Those that carried anything, whole."""
        return [flow for flow in self._flows.values() if flow.first is not None and flow.pieces]

    def _take(self) -> None:
        while not self._over.is_set():
            try:
                frame = self._socket.recv(PACKET_BYTES)
            except TimeoutError:
                continue
            self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        if len(frame) < 54 or struct.unpack_from(">H", frame, 12)[0] != IPV4 or frame[23] != TCP:
            return
        at = 14 + 4 * (frame[14] & 15)
        end = 14 + struct.unpack_from(">H", frame, 16)[0] or len(frame)
        source, to, seq = struct.unpack_from(">HHI", frame, at)
        ends = socket.inet_ntoa(frame[26:30]), source, socket.inet_ntoa(frame[30:34]), to
        flow = self._flows.setdefault(ends, Flow(ends))
        if frame[at + 13] & SYN:
            flow.first = (seq + 1) % (1 << 32)
        if data := frame[at + 4 * (frame[at + 12] >> 4) : end]:
            flow.pieces[seq] = max(data, flow.pieces.get(seq, b""), key=len)


@dataclass
class Seen:
    """What a flow shows. once: what may not come twice, by what it is; sealed: all that is encrypted."""

    once: list[tuple[str, bytes]] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list)


def read(data: bytes) -> Seen:
    """ValueError if there is something in it that is neither a head that we know nor sealed."""
    seen = Seen()
    if data[:1] == ROUTE_MARK:
        data = data[1 + ROUTE_BYTES :]
    if data[:1] == STREAM_MARK:
        seen.once.append(("ticket", data[1 : 1 + TICKET_BYTES]))
        _read_frames(data[1 + TICKET_BYTES :], seen)
    else:
        _read_records(data, seen)
    return seen


def _read_frames(data: bytes, seen: Seen) -> None:
    at = 0
    while at + HEAD.size < len(data):  # a machine may have been stopped within the last one
        nbytes, _, _ = HEAD.unpack_from(data, at)
        seen.sealed.append(data[at + HEAD.size : at + HEAD.size + nbytes])
        at += HEAD.size + nbytes


def _read_records(data: bytes, seen: Seen) -> None:
    at = 0
    while at + 5 < len(data):
        kind, _, nbytes = struct.unpack_from(">BHH", data, at)
        record = data[at + 5 : at + 5 + nbytes]
        at += 5 + nbytes
        if kind == DATA:
            seen.sealed.append(record)
        elif kind == HELLO and record[0] in (CLIENT_HELLO, SERVER_HELLO) and not seen.sealed:
            seen.once += [("random", record[6:38]), *(("key share", share) for share in _key_shares(record))]
        elif kind != CHANGE:
            raise ValueError(f"a record of kind {kind} that is not encrypted")


def _key_shares(hello: bytes) -> Iterator[bytes]:
    at = 38 + 1 + hello[38]
    if hello[0] == CLIENT_HELLO:
        at += 2 + struct.unpack_from(">H", hello, at)[0]
        at += 1 + hello[at]
    else:
        at += 3
    at += 2
    while at + 4 <= len(hello):
        kind, nbytes = struct.unpack_from(">HH", hello, at)
        if kind == KEY_SHARE:
            yield hello[at + 4 : at + 4 + nbytes]
        at += 4 + nbytes


def found(flows: Sequence[Flow], secrets: Mapping[str, Sequence[bytes]]) -> list[str]:
    """What is wrong. secrets: bytes that may not be seen, by what they are."""
    problems, once, blocks = [], Counter[tuple[str, bytes]](), defaultdict[str, list[np.ndarray]](list)
    for flow in flows:
        data = flow.data()
        problems += [
            f"{name} is seen from {flow.ends}" for name, all_ in secrets.items() if any(s in data for s in all_)
        ]
        seen = read(data)
        once.update(seen.once)
        sealed = b"".join(seen.sealed)
        if len(sealed) > NOISE and len(zlib.compress(sealed[: 1 << 24])) < min(len(sealed), 1 << 24):
            problems.append(f"what is sent from {flow.ends} is no noise")
        blocks["all"] += [_blocks(each) for each in seen.sealed]
    problems += [f"the same {what} {count} times" for (what, _), count in once.items() if count > 1]
    every = np.concatenate(blocks["all"])
    if repeated := len(every) - len(np.unique(every)):
        problems.append(f"{repeated} blocks of what is sealed come again")
    return problems


def _blocks(sealed: bytes) -> np.ndarray:
    """A number for each block, different for different ones but by a chance of 2^-64."""
    halves = np.frombuffer(sealed, np.uint64, len(sealed) // BLOCK * 2).reshape(-1, 2)
    return halves[:, 0] * SPREAD ^ halves[:, 1]
