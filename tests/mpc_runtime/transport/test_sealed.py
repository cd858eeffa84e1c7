"""Streams between servers: what is sealed opens once, in order and unchanged, under keys that both ends have shown."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.messages import Message
from mpc_runtime.transport.node import Node
from mpc_runtime.transport.sealed import CONTROL, END, FRAME_BYTES, HEAD, KEY_BYTES, MORE, PART, Sealer
from mpc_runtime.transport.stream import Inlet, Keys, StreamEnded
from tests.mpc_runtime.transport.nodes import channel, meet, mesh
from tests.waiting import until

KEYS = Keys(bytes(range(KEY_BYTES)), "")
Frame = tuple[int, int, bytes]
"""Flags, execution, what is in it."""


def sealed(*messages: list[bytes], control: bool = False, execution: int = 7) -> list[bytes]:
    """The frames of these messages under one key, as they travel."""
    sealer = Sealer(KEYS.data)
    return [
        bytes(frame)
        for parts in messages
        for frame in sealer.frames([memoryview(part) for part in parts], control=control, execution=execution)
    ]


def opened(wire: bytes, cuts: list[int] | None = None) -> list[Frame]:
    """The frames that are on the wire, which delivers it in these pieces."""
    near, far = socket.socketpair()
    near.setblocking(False)
    inlet = Inlet("p0", near, KEYS)

    def send() -> None:
        with far:
            start = 0
            for cut in [*(cuts or []), len(wire)]:
                far.sendall(wire[start:cut])
                start = cut

    sending = threading.Thread(target=send)
    sending.start()
    found: list[Frame] = []
    try:
        while True:
            if (frame := inlet.take()) is not None:
                found.append((frame[0].flags, frame[0].execution, bytes(frame[1])))
    except StreamEnded:
        return found
    finally:
        near.close()
        sending.join()


def test_what_is_sealed_opens() -> None:
    long = np.random.default_rng(0).bytes(2 * FRAME_BYTES + 5)
    frames = opened(b"".join(sealed([b"a", b"", b"ccc"], [long], [b""])))
    assert [(flags, execution) for flags, execution, _ in frames] == [
        *((flags, 7) for flags in (PART | MORE, PART | MORE, PART)),
        *((flags, 7) for flags in (PART | MORE, MORE, 0)),
        (PART, 7),
    ]
    assert b"".join(data for _, _, data in frames[3:6]) == long
    assert [data for _, _, data in (*frames[:3], frames[6])] == [b"a", b"", b"ccc", b""]
    ((flags, _, data),) = opened(b"".join(sealed([b"control"], control=True)))
    assert (flags, data) == (PART | CONTROL, b"control")


@pytest.mark.parametrize("seed", range(20))
def test_frames_open_however_the_network_cuts_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.choice([0, 1, 100, 1 << 16, (1 << 16) + 1, 200_000], 12)
    messages = [[random.bytes(int(size))] for size in sizes]
    wire = b"".join(sealed(*messages))
    cuts = sorted(int(cut) for cut in random.integers(0, len(wire), 30))
    assert [data for _, _, data in opened(wire, cuts)] == [parts[0] for parts in messages]


def test_equal_messages_look_different() -> None:
    frames = sealed(*[[bytes(32)]] * 50)
    assert len({frame[HEAD.size : HEAD.size + 32] for frame in frames}) == 50


def flipped(frame: bytes, at: int) -> bytes:
    data = bytearray(frame)
    data[at] ^= 1
    return bytes(data)


def headed(frame: bytes, **changes: int) -> bytes:
    """The frame with another head."""
    head = dict(zip(("nbytes", "flags", "execution"), HEAD.unpack_from(frame), strict=True)) | changes
    return HEAD.pack(*head.values()) + frame[HEAD.size :]


ATTACKS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a bit of the text": lambda f: [flipped(f[0], HEAD.size)],
    "a bit of the tag": lambda f: [flipped(f[0], -1)],
    "another flag": lambda f: [headed(f[0], flags=PART)],
    "the end": lambda f: [headed(f[0], flags=END)],
    "another execution": lambda f: [headed(f[0], execution=8)],
    "shorter": lambda f: [headed(f[0], nbytes=18)],
    "longer": lambda f: [headed(f[0], nbytes=20), f[1]],
    "repeated": lambda f: [f[0], f[0]],
    "dropped": lambda f: [f[1]],
    "exchanged": lambda f: [f[1], f[0]],
    "none of ours": lambda f: [headed(bytes(48), nbytes=48 - HEAD.size)],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_was_changed_on_the_way_does_not_open(attack: Callable[[list[bytes]], list[bytes]]) -> None:
    with pytest.raises(PeerError, match="a message of p0 was altered on the way") as caught:
        opened(b"".join(attack(sealed([b"one", b"two"], [b"three"]))))
    assert caught.value.peer == "p0"


@pytest.mark.parametrize(
    "head",
    [
        HEAD.pack(FRAME_BYTES + 17, 0, 0),
        HEAD.pack(0xFFFFFFFF, 0, 0),
        HEAD.pack(15, 0, 0),
        HEAD.pack(16, 16, 0),
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_cannot_be_a_frame_is_refused_before_it_is_read(head: bytes) -> None:
    with pytest.raises(PeerError, match="p0 sent a frame that is none"):
        opened(head)


def test_a_stream_that_is_cut_is_told_from_one_that_has_ended() -> None:
    sealer = Sealer(KEYS.data)
    whole = bytes(next(iter(sealer.frames([memoryview(b"data")], control=False))))
    end = bytes(sealer.end())
    assert [flags for flags, _, _ in opened(whole + end)] == [PART, END]
    for cut in range(len(whole), len(whole + end)):
        assert [flags for flags, _, _ in opened((whole + end)[:cut])] == [PART]


def test_the_keys_are_of_one_invitation_one_plan_and_one_direction() -> None:
    secret, nonces = os.urandom(32), (os.urandom(32).hex(), os.urandom(32).hex())
    keys = Keys.derive(secret, nonces, "plan", "p0", "p1")
    assert keys == Keys.derive(secret, nonces, "plan", "p0", "p1")
    others = [
        Keys.derive(os.urandom(32), nonces, "plan", "p0", "p1"),
        Keys.derive(secret, (nonces[1], nonces[0]), "plan", "p0", "p1"),
        Keys.derive(secret, (nonces[0], os.urandom(32).hex()), "plan", "p0", "p1"),
        Keys.derive(secret, nonces, "other", "p0", "p1"),
        Keys.derive(secret, nonces, "plan", "p1", "p0"),
        Keys.derive(secret, nonces, "plan", "p0", "dealer"),
    ]
    assert len({each.data for each in (keys, *others)}) == len({each.proof for each in (keys, *others)}) == 7
    assert keys.proves(keys.proof) and not keys.proves(others[0].proof)
    assert keys.data.hex() not in repr(keys) and keys.proof not in repr(keys)


class Tap:
    """A wire that keeps what it carries, from one listening port to another."""

    def __init__(self, address: str) -> None:
        self.carried = bytearray()
        host, _, port = address.rpartition(":")
        self._target = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            far = socket.create_connection(self._target)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self.carried += data
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()


@contextmanager
def tapped() -> Iterator[tuple[dict[str, Node], Tap]]:
    """p0 and p1, with a tap on what p1 says to p0."""
    taps: list[Tap] = []

    def by(address: str) -> str:
        taps.append(Tap(address))
        return taps[0].address

    with mesh(by=by) as nodes:
        assert meet(nodes) == []
        yield nodes, taps[0]


def test_nothing_readable_is_on_the_wire() -> None:
    with tapped() as (nodes, tap):
        channel(nodes["p1"], "p0").send(bytes(1 << 18))
        seed = b"a payload 123456"
        nodes["p1"].say("p0", {"kind": "contribution"}, seed)
        receiving = channel(nodes["p0"], "p1")
        assert not any(receiving.recv(1 << 18, "op"))
        until(lambda: isinstance(receiving.controls or receiving.control(), Message))
        carried = bytes(tap.carried)
    assert len(carried) > 1 << 18
    assert all(word not in carried for word in (b"hello", b"contribution", b"payload", b"plan", bytes(48)))
    counts = np.bincount(np.frombuffer(carried[-(1 << 18) :], np.uint8), minlength=256)
    mean = (1 << 18) / 256
    assert ((counts - mean) ** 2 / mean).sum() < 400  # chi-square, 255 degrees: beyond it once in 10^8
