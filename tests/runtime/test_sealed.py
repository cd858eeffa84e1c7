"""The servers' second connection: what is sealed opens once, in order and unchanged; strangers are let in nowhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import zmq
from nodes import meet, mesh

from mpc_runtime.errors import PeerError
from mpc_runtime.transport import link
from mpc_runtime.transport.curve import TICKET_USER
from mpc_runtime.transport.link import configure
from mpc_runtime.transport.node import Hello, Node
from mpc_runtime.transport.sealed import FRAME_BYTES, KEY_BYTES, Opener, Sealer
from mpc_runtime.transport.zmq import PeerChannel

KEY = bytes(range(KEY_BYTES))


def frame(data: bytes, more: bool = False) -> zmq.Frame:
    """As a frame that has arrived."""
    made = zmq.Frame(data)
    made.more = more
    return made


def sealed(*messages: list[bytes]) -> list[list[zmq.Frame]]:
    """These messages under one key, as they arrive."""
    sealer = Sealer(KEY)
    return [
        [frame(bytes(piece), bool(flags)) for piece, flags in sealer.message([memoryview(part) for part in parts])]
        for parts in messages
    ]


def test_what_is_sealed_opens() -> None:
    long = np.random.default_rng(0).bytes(2 * FRAME_BYTES + 5)
    opener = Opener("p0", KEY)
    first, second, third = sealed([b"a", b"", b"ccc"], [long], [b""])
    assert [bytes(part) for part in opener.each(first)] == [b"a", b"", b"ccc"]
    assert len(second) == 3
    assert bytes(opener.joined(second)) == long
    assert bytes(opener.joined(third)) == b""


def test_equal_messages_look_different() -> None:
    messages = sealed(*[[bytes(32)]] * 50)
    assert len({message[0].bytes[:32] for message in messages}) == 50


def flipped(frames: list[zmq.Frame], at: int) -> list[zmq.Frame]:
    data = bytearray(frames[0].bytes)
    data[at] ^= 1
    return [frame(bytes(data), frames[0].more), *frames[1:]]


ATTACKS: dict[str, Callable[[list[list[zmq.Frame]]], list[list[zmq.Frame]]]] = {
    "a bit of the text": lambda m: [flipped(m[0], 0)],
    "a bit of the tag": lambda m: [flipped(m[0], -1)],
    "repeated": lambda m: [m[0], m[0]],
    "dropped": lambda m: [m[1]],
    "exchanged": lambda m: [m[1], m[0]],
    "cut after its first frame": lambda m: [[frame(m[0][0].bytes)]],
    "joined with the next": lambda m: [[m[0][0], frame(m[0][1].bytes, True), *m[1]]],
    "too short for a tag": lambda m: [[frame(b"15 bytes of text")][:1], [frame(b"short")]],
    "none of ours": lambda m: [[frame(bytes(48))]],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_was_changed_on_the_way_does_not_open(attack: Callable[..., list[list[zmq.Frame]]]) -> None:
    opener = Opener("p0", KEY)
    with pytest.raises(PeerError, match="a message of p0 was altered on the way") as caught:
        for message in attack(sealed([b"one", b"two"], [b"three"])):
            opener.joined(message)
    assert caught.value.peer == "p0"


class Tap:
    """A wire that keeps what it carries, from one listening port to another."""

    def __init__(self, address: str) -> None:
        self.carried = bytearray()
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._target = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        near, _ = self._server.accept()
        far = socket.create_connection(self._target)
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        self._carry(far, near)

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
    """p0 and p1, with a tap on what p0 says to p1."""
    with mesh() as nodes:
        link_to_p0 = nodes["p1"].links["p0"]
        tap = Tap(nodes["p0"].stream_address)
        link_to_p0._stream_address = tap.address
        assert meet(nodes) == []
        yield nodes, tap


def test_nothing_readable_is_on_the_wire() -> None:
    with tapped() as (nodes, tap):
        before = len(tap.carried)
        nodes["p0"].send("p1", bytes(1 << 18))
        nodes["p0"].say("p1", {"kind": "note", "text": "a text that nobody may read"}, b"a payload " * 10)
        channel = PeerChannel(nodes["p1"], "p0")
        assert not any(channel.recv(1 << 18, "op"))
        while (note := channel.control()) is None:
            continue
        assert bytes(note.payload[0]) == b"a payload " * 10
        carried = bytes(tap.carried[before:])
    assert len(carried) > 1 << 18
    assert all(word not in carried for word in (b"note", b"nobody", b"payload", bytes(12)))
    counts = np.bincount(np.frombuffer(carried, np.uint8), minlength=256)
    mean = len(carried) / 256
    assert ((counts - mean) ** 2 / mean).sum() < 400  # chi-square, 255 degrees: beyond it once in 10^8


def test_a_stranger_is_not_let_in_and_takes_nothing_away() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        with zmq.Context() as context:
            for user, password in ((b"", b""), (TICKET_USER, bytes(16).hex().encode()), (TICKET_USER, b"")):
                with context.socket(zmq.DEALER) as stranger:
                    configure(stranger, nodes["p0"].stream_address)
                    if user:
                        stranger.plain_username, stranger.plain_password = user, password or b"x"
                    stranger.routing_id = nodes["p0"].streams["p1"]
                    monitor = stranger.get_monitor_socket(
                        zmq.EVENT_HANDSHAKE_SUCCEEDED
                        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
                        | zmq.EVENT_DISCONNECTED
                    )
                    stranger.connect(nodes["p0"].stream_address)
                    stranger.send(b"let me in")
                    assert monitor.poll(5000)
                    event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
                    assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
                    stranger.disable_monitor()
                    monitor.close(linger=0)
                    nodes["p0"].send("p1", b"for p1 only")
                    assert bytes(PeerChannel(nodes["p1"], "p0").recv(11, "op")) == b"for p1 only"
                    assert not stranger.poll(100)


def test_a_ticket_is_good_for_one_connection() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        used = nodes["p0"].streams["p1"][1:]
        gatekeeper = nodes["p0"]._gatekeeper
        assert gatekeeper is not None
        asked = [b"1.0", b"1", b"mpc", b"127.0.0.1", b"", b"PLAIN", TICKET_USER, used.hex().encode()]
        assert gatekeeper._answer(asked)[2] == b"400"
        gatekeeper.admit(used, "p1")
        assert [gatekeeper._answer(asked)[2] for _ in range(2)] == [b"200", b"400"]


def test_a_second_connection_of_a_server_that_is_there_is_refused() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        again = Node(Hello("p1", "plan", 1), nodes["p1"].keys, 5.0)
        try:
            again.connect("p0", nodes["p0"].address, nodes["p0"].keys.public)
            serve = threading.Timer(0.2, nodes["p0"].receive)
            serve.start()
            with pytest.raises(PeerError, match="p1 is connected to p0 already"):
                again.meet(["p0"], 5.0)
            serve.join()
        finally:
            again.close()
        nodes["p0"].send("p1", b"as before")
        assert bytes(PeerChannel(nodes["p1"], "p0").recv(9, "op")) == b"as before"


def test_a_closed_second_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "STREAM_SECONDS", 0.5)
    with mesh() as nodes, socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        nodes["p1"].links["p0"]._stream_address = address
        errors = meet(nodes)
    assert any(f"but not at {address}, where it sends its data: is that port open?" in str(e) for e in errors)
