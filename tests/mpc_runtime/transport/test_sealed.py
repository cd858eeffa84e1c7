"""The servers' second connection: what is sealed opens once, in order and unchanged; strangers are let in nowhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import zmq

from mpc_runtime.errors import PeerError
from mpc_runtime.transport import link
from mpc_runtime.transport.curve import TICKET_BYTES, TICKET_USER, Gatekeeper, KeyPair
from mpc_runtime.transport.link import Message
from mpc_runtime.transport.node import Hello, Node
from mpc_runtime.transport.records import PeerChannel
from mpc_runtime.transport.sealed import FRAME_BYTES, KEY_BYTES, Opener, Sealer
from mpc_runtime.transport.socket import configure
from tests.mpc_runtime.transport.nodes import meet, mesh
from tests.waiting import SECONDS, in_thread

KEY = bytes(range(KEY_BYTES))


def frame(data: bytes, more: bool = False) -> zmq.Frame:
    """As a frame that has arrived."""
    made = zmq.Frame(data)
    made.more = more
    return made


def sealed(*messages: list[bytes], control: bool = False) -> list[zmq.Frame]:
    """The frames of these messages under one key, as they arrive."""
    sealer = Sealer(KEY)
    return [
        frame(bytes(piece))
        for parts in messages
        for piece in sealer.frames([memoryview(part) for part in parts], control=control)
    ]


def opened(frames: list[zmq.Frame]) -> list[tuple[bool, list[bytes]]]:
    """The messages that these frames make."""
    opener = Opener("p0", KEY)
    return [(m[0], [bytes(part) for part in m[1]]) for f in frames if (m := opener.open(f)) is not None]


def test_what_is_sealed_opens() -> None:
    long = np.random.default_rng(0).bytes(2 * FRAME_BYTES + 5)
    messages = [[b"a", b"", b"ccc"], [long], [b""], [b"x" * FRAME_BYTES, long]]
    assert len(sealed(*messages)) == 3 + 3 + 1 + 4
    assert opened(sealed(*messages)) == [(False, parts) for parts in messages]
    assert opened(sealed(*messages, control=True)) == [(True, parts) for parts in messages]


def test_equal_messages_look_different() -> None:
    frames = sealed(*[[bytes(32)]] * 50)
    assert len({f.bytes[:32] for f in frames}) == 50


def flipped(f: zmq.Frame, at: int) -> zmq.Frame:
    data = bytearray(f.bytes)
    data[at] ^= 1
    return frame(bytes(data))


ATTACKS: dict[str, Callable[[list[zmq.Frame]], list[zmq.Frame]]] = {
    "a bit of the text": lambda f: [flipped(f[0], 0)],
    "a bit of the tag": lambda f: [flipped(f[0], -2)],
    "a bit of the header": lambda f: [flipped(f[0], -1)],
    "a header that is none": lambda f: [frame(f[0].bytes[:-1] + b"\xff")],
    "repeated": lambda f: [f[0], f[0]],
    "dropped": lambda f: [f[1]],
    "exchanged": lambda f: [f[1], f[0]],
    "joined by ZeroMQ": lambda f: [frame(f[0].bytes, True)],
    "too short for a tag": lambda f: [frame(b"short")],
    "none of ours": lambda f: [frame(bytes(48))],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_was_changed_on_the_way_does_not_open(attack: Callable[..., list[zmq.Frame]]) -> None:
    with pytest.raises(PeerError, match="a message of p0 was altered on the way") as caught:
        opened(attack(sealed([b"one", b"two"], [b"three"])))
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
    taps: list[Tap] = []

    def by(address: str) -> str:
        taps.append(Tap(address))
        return taps[0].address

    with mesh(by=by) as nodes:
        assert meet(nodes) == []
        yield nodes, taps[0]


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
                    stranger.routing_id = nodes["p0"].met["p1"]
                    monitor = stranger.get_monitor_socket(
                        zmq.EVENT_HANDSHAKE_SUCCEEDED
                        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
                        | zmq.EVENT_DISCONNECTED
                    )
                    stranger.connect(nodes["p0"].stream_address)
                    with suppress(zmq.Again):  # it may have been sent away already
                        stranger.send(b"let me in", zmq.NOBLOCK)
                    assert monitor.poll(5000)
                    event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
                    assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
                    stranger.disable_monitor()
                    monitor.close(linger=0)
                    nodes["p0"].send("p1", b"for p1 only")
                    assert bytes(PeerChannel(nodes["p1"], "p0").recv(11, "op")) == b"for p1 only"
                    assert not stranger.poll(100)


def statuses(context: zmq.Context[zmq.Socket[bytes]], ticket: bytes) -> list[bytes]:
    """What the gatekeeper of the context answers, asked twice as ZeroMQ asks (ZAP) for who shows this ticket."""
    with context.socket(zmq.REQ) as asking:
        asking.rcvtimeo = 1000 * int(SECONDS)
        asking.connect("inproc://zeromq.zap.01")
        found = []
        for _ in range(2):
            asking.send_multipart([b"1.0", b"1", b"mpc", b"", b"", b"PLAIN", TICKET_USER, ticket.hex().encode()])
            found.append(asking.recv_multipart()[2])
        return found


def test_a_ticket_is_good_for_one_connection() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        assert statuses(nodes["p0"].context, nodes["p0"].met["p1"][1:]) == [b"400", b"400"]  # p1 has shown it
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        ticket = bytes(range(TICKET_BYTES))
        Gatekeeper(context, {}).admit(ticket, "p1")
        assert statuses(context, ticket) == [b"200", b"400"]
    finally:
        context.term()  # which ends the gatekeeper; a `with` would close its socket under its thread


def test_a_second_connection_of_a_server_that_is_there_is_refused() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        again = Node(Hello("p1", "plan", 1), nodes["p1"].keys, 5.0)
        try:
            again.connect("p0", nodes["p0"].address, nodes["p0"].keys.public)
            refused = threading.Event()

            def serve() -> None:
                while not refused.is_set():
                    nodes["p0"].wait((), listen=True, seconds=0.1)
                    assert nodes["p0"].receive() is None

            serving = in_thread(serve)
            with pytest.raises(PeerError, match="p1 is connected to p0 already"):
                again.meet(["p0"], 5.0)
            refused.set()
            serving.join(SECONDS)
        finally:
            again.close()
        nodes["p0"].send("p1", b"as before")
        assert bytes(PeerChannel(nodes["p1"], "p0").recv(9, "op")) == b"as before"


def test_a_closed_second_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "STREAM_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with mesh(by=lambda _: address) as nodes:
            errors = meet(nodes)
    assert any(f"but not at {address}, where it sends its data: is that port open?" in str(e) for e in errors)


def test_a_large_control_message_arrives_whole() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        payload = np.random.default_rng(1).bytes(FRAME_BYTES + 1)
        nodes["p0"].say("p1", {"kind": "note", "names": ["x" * 100] * 20_000}, payload)
        note = nodes["p1"].links["p0"].next(wait=True)
        while note is None:
            note = nodes["p1"].links["p0"].next(wait=True)
        assert isinstance(note, Message)
        assert len(note.body["names"]) == 20_000
        assert [bytes(part) for part in note.payload] == [payload]


def test_a_signal_in_the_middle_of_a_message_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        p0 = nodes["p0"]
        frames = Sealer.frames

        def interrupted(sealer: Sealer, parts: list[memoryview], *, control: bool) -> Iterator[memoryview]:
            for i, piece in enumerate(frames(sealer, parts, control=control)):
                if i == 1:
                    p0.interrupt()  # as a signal's handler does
                yield piece

        monkeypatch.setattr(Sealer, "frames", interrupted)
        with pytest.raises(KeyboardInterrupt):
            p0.send("p1", bytes(3 * FRAME_BYTES))
        p0.farewell("", "", "p0 was stopped")
        channel = PeerChannel(nodes["p1"], "p0")
        assert len(channel.recv(3 * FRAME_BYTES, "op")) == 3 * FRAME_BYTES
        with pytest.raises(PeerError, match="p0 was stopped"):
            channel.recv(1, "op")
        with pytest.raises(KeyboardInterrupt):
            p0.interrupt()


def test_a_server_that_dies_while_others_are_awaited_is_named() -> None:
    with mesh(("p0", "p1", "dealer")) as nodes:
        dealer = nodes.pop("dealer")  # which takes no part in the meeting
        errors: list[Exception] = []

        def wait_for_all(name: str) -> None:
            try:
                nodes[name].meet([n for n in ("p0", "p1", "dealer") if n != name], 30.0)
            except PeerError as error:
                errors.append(error)

        def meet_and_die() -> None:
            nodes["p0"].meet(["p1"], 5.0)
            nodes["p0"].close()

        threads = [threading.Thread(target=wait_for_all, args=("p1",)), threading.Thread(target=meet_and_die)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert ["p0 is gone" in str(error) for error in errors] == [True]
        dealer.close()


def test_clients_that_come_before_the_servers_have_met_are_taken_within_limits() -> None:
    keys = {name: KeyPair.generate() for name in ("p0", "p1", "client")}
    server = Node(Hello("p0", "plan", 1), keys["p0"], 5.0)
    client = Node(Hello("client", "plan", 1), keys["client"], 5.0)
    try:
        server.listen("tcp://127.0.0.1:*", {keys["p1"].public: "p1"}, {keys["client"].public: "client"}, (1000, 3))
        server.open_stream()
        server.connect("p1", "tcp://127.0.0.1:1", keys["p1"].public)
        client.connect("p0", server.address, keys["p0"].public)

        def wait_in_vain() -> None:
            with pytest.raises(PeerError, match="no answer from p1"):
                server.meet(["p1"], 1.5)

        waiting = threading.Thread(target=wait_in_vain)
        waiting.start()
        client.meet(["p0"], 5.0)
        for number in range(10):
            client.links["p0"].say({"kind": "submit", "id": str(number)}, bytes(500))
        waiting.join()
        with pytest.raises(PeerError, match="p0 waits for other servers"):
            while True:
                assert client.links["p0"].next(wait=True) is None
                client.links["p0"].check("")
        assert [(m := server.receive()) and m.body["id"] for _ in range(4)] == ["0", "1", "2", None]
    finally:
        client.close()
        server.close()
