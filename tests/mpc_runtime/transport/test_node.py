"""Servers over real connections in one process: who may come in, what is refused, and that lengths are kept."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from mpc_runtime.errors import InputError, MaterialError, PeerError
from mpc_runtime.transport import invitation, records
from mpc_runtime.transport import node as node_module
from mpc_runtime.transport.door import ROUTE_BYTES
from mpc_runtime.transport.front import STREAM_MARK
from mpc_runtime.transport.guests import Quota
from mpc_runtime.transport.hello import Hello
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.line import Limits
from mpc_runtime.transport.messages import PARTY, Message
from mpc_runtime.transport.node import Node
from mpc_runtime.transport.records import MaterialSink, MaterialSource
from mpc_runtime.transport.sealed import FRAME_BYTES, Sealer
from tests.lines import connected
from tests.mpc_runtime.transport.nodes import channel, meet, meet_in_vain, mesh
from tests.waiting import SECONDS, in_thread, until

NAMES = ("p0", "p1", "dealer")
HAD = {"stage": "run", "role": "client", "id": "7"}
HAVE = {"kind": "have", "submissions": [HAD], "runs": 0}


@pytest.mark.parametrize("nbytes", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 7])
def test_messages_of_any_length_arrive_whole(nbytes: int) -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        channels = channel(nodes["p0"], "p1"), channel(nodes["p1"], "p0")
        data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
        channels[0].send(data)
        nodes["p0"].say("p1", HAVE)
        channels[1].send(data[::-1].copy())
        assert (np.frombuffer(channels[1].recv(nbytes, "op"), np.uint8) == data).all()
        assert (np.frombuffer(channels[0].recv(nbytes, "op"), np.uint8) == data[::-1]).all()
        note = None
        while note is None:
            note = channels[1].control()
        assert (note.kind, note.sender) == ("have", "p0")


@pytest.mark.parametrize(
    ("sent", "expected", "message"),
    [
        (5, 4, "p0 sent 5 bytes at conv1, where the plan has 4"),
        (0, 4, "p0 sent 0 bytes at conv1, where the plan has 4"),
        (2 * FRAME_BYTES, 4, "p0 sent more than 4 bytes at conv1, where the plan has 4"),
        (2 * FRAME_BYTES, 3 * FRAME_BYTES, f"p0 sent {2 * FRAME_BYTES} bytes at conv1, where the plan has"),
    ],
)
def test_another_length_is_refused(sent: int, expected: int, message: str) -> None:
    with mesh() as nodes:
        meet(nodes)
        channel(nodes["p0"], "p1").send(bytes(sent))
        with pytest.raises(PeerError, match=message) as caught:
            channel(nodes["p1"], "p0").recv(expected, "conv1")
        assert (caught.value.peer, caught.value.op) == ("p0", "conv1")


def test_data_of_another_execution_is_refused() -> None:
    with mesh() as nodes:
        meet(nodes)
        channel(nodes["p0"], "p1", execution=3).send(b"data")
        with pytest.raises(PeerError, match="p0 sent data of execution 3 in execution 4"):
            channel(nodes["p1"], "p0", execution=4).recv(4, "conv1")


def test_control_messages_among_data_wait_their_turn() -> None:
    with mesh() as nodes:
        meet(nodes)
        nodes["p0"].say("p1", HAVE)
        channel(nodes["p0"], "p1").send(b"data")
        receiving = channel(nodes["p1"], "p0")
        assert bytes(receiving.recv(4, "op")) == b"data"
        assert receiving.controls.popleft().kind == "have"


@pytest.mark.parametrize("so_far", ["invited", "welcomed"])
def test_a_server_that_leaves_before_it_has_met_another_tells_it(so_far: str) -> None:
    """p1 was invited by p0, and has perhaps opened its stream; then p0 begins anew. p1 has to, too: it would take what
    p0 says next to its session for the other half of the last one."""
    with mesh() as nodes:
        p0, p1 = nodes["p0"], nodes["p1"]
        call = p1.links["p0"].call
        until(lambda: p0.missing(["p1"], 0.01) and call.state[2])
        until(lambda: so_far == "invited" or p1.comes("p0") or (p0.missing(["p1"], 0.01) and call.welcomed))
        p0.part("dealer", "", "the dealer is gone")
        p0.connect("p1", p1.address, p1.keys.public, PARTY)
        with pytest.raises(PeerError, match=r"^p0 has ended the session"):
            until(lambda: p0.missing(["p1"], 0.01) and not p1.missing(["p0"], 0.01))
            pytest.fail("p1 has taken half of a session for one")


def test_a_stream_that_came_before_another_hello_is_not_taken_for_what_that_leads_to() -> None:
    with mesh() as nodes:
        p0, p1 = nodes["p0"], nodes["p1"]
        until(lambda: p1.hear_clients() or p0.links["p1"].call.state[2])
        p0.comes("p1")
        until(lambda: not p1.doors()["servers"].tickets)
        p0.part("dealer", "", "the dealer is gone")
        call = p0.connect("p1", p1.address, p1.keys.public, PARTY).call
        until(lambda: p1.doors()["servers"].messages)
        until(lambda: p1.hear_clients() or any(call.state))
        assert not call.failure


def test_all_that_clients_may_have_left_is_told_in_an_execution() -> None:
    quota, at_once = Quota(Limits()), 64
    with mesh() as nodes:
        meet(nodes)
        for _ in range(quota.connections * quota.messages // at_once):
            nodes["p0"].say("p1", {**HAVE, "submissions": [HAD] * at_once})
        channel(nodes["p0"], "p1").send(b"data")
        assert bytes(channel(nodes["p1"], "p0").recv(4, "conv1")) == b"data"


def test_what_comes_between_executions_may_not_come_in_one() -> None:
    with mesh() as nodes:
        meet(nodes)
        nodes["p0"].say("p1", {"kind": "begin", "procedure": "run", "index": 4, "ids": {}})
        with pytest.raises(PeerError, match="p0 sent 'begin' at conv1, in an execution"):
            channel(nodes["p1"], "p0").recv(4, "conv1")


@pytest.mark.parametrize("at_once", [1, 64])
def test_a_party_that_says_too_much_in_an_execution_is_given_up(at_once: int) -> None:
    with mesh() as nodes:
        meet(nodes)
        for _ in range(records.CONTROLS_AHEAD // at_once + 1):
            nodes["p0"].say("p1", {**HAVE, "submissions": [HAD] * at_once})
        with pytest.raises(PeerError, match=f"p0 sent {records.CONTROLS_AHEAD} messages, where the plan has 4 bytes"):
            channel(nodes["p1"], "p0").recv(4, "conv1")


def test_a_control_message_that_the_receiver_does_not_know_is_the_sender_s_fault() -> None:
    for body in ({"kind": "note"}, {**HAVE, "submissions": [{**HAD, "stage": 7}]}):
        with mesh() as nodes:
            meet(nodes)
            nodes["p0"].say("p1", body)
            with pytest.raises(PeerError, match="p0 sent a control message that cannot be read") as caught:
                while True:
                    channel(nodes["p1"], "p0").recv(1, "op")
            assert caught.value.peer == "p0"


def test_a_peer_that_closes_is_named_with_the_op() -> None:
    with mesh() as nodes:
        meet(nodes)
        other = nodes.pop("p1")
        closing = in_thread(other.close)
        with pytest.raises(PeerError, match="p1 is gone") as caught:
            channel(nodes["p0"], "p1").recv(1, "relu (lenet.ppml:14)")
        assert (caught.value.peer, caught.value.op) == ("p1", "relu (lenet.ppml:14)")
        closing.join(SECONDS)


def test_a_farewell_is_a_better_error_than_a_lost_connection() -> None:
    with mesh() as nodes:
        meet(nodes)
        channel(nodes["p1"], "p0").send(b"unread")
        nodes["p1"].farewell("dealer", "op 7", "dealer is gone")
        with pytest.raises(PeerError, match=r"dealer is gone \[reported by p1\]") as caught:
            receiving = channel(nodes["p0"], "p1")
            receiving.recv(6, "op 8")
            receiving.recv(1, "op 9")
        assert (caught.value.peer, caught.value.op) == ("dealer", "op 7")


def test_another_plan_is_refused_by_both_with_both_named() -> None:
    with mesh(plans={"p1": "other"}) as nodes:
        errors = meet(nodes)
        assert len(errors) == 2
        for error in errors:
            assert "p0 has plan plan, p1 has other" in str(error) or "p1 has plan other, p0 has plan" in str(error)


@pytest.mark.parametrize("own", [True, False])
def test_an_unknown_key_and_a_wrong_server_key_get_nowhere(own: bool) -> None:
    with mesh() as nodes:
        meet(nodes)
        server = nodes["p0"]
        stranger = Node(Hello("p1", "plan", 1), KeyPair.generate(), 1.0)
        try:
            stranger.listen({server.keys.public: "p0"})
            key = server.keys.public if own else KeyPair.generate().public
            stranger.connect("p0", server.address, key, PARTY)
            expected = "does not accept our key" if own else "does not have the key of p0 that we know"
            with pytest.raises(PeerError, match=f"{expected}|no answer from p0"):
                stranger.meet(["p0"], 20.0)
        finally:
            stranger.close()
        assert not server.hear_clients()
        channel(server, "p1").send(b"as before")
        assert bytes(channel(nodes["p1"], "p0").recv(9, "op")) == b"as before"


def test_a_second_connection_of_a_server_that_is_there_is_refused() -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        again = Node(Hello("p1", "plan", 1), nodes["p1"].keys, 5.0)
        try:
            again.listen({nodes["p0"].keys.public: "p0"})
            again.connect("p0", nodes["p0"].address, nodes["p0"].keys.public, PARTY)
            refused = threading.Event()

            def serve() -> None:
                while not refused.is_set():
                    nodes["p0"].wait((), listen=True, seconds=0.1)
                    assert not nodes["p0"].hear_clients()

            serving = in_thread(serve)
            with pytest.raises(PeerError, match="p1 is connected to p0 already"):
                again.meet(["p0"], 20.0)
            refused.set()
            serving.join(SECONDS)
        finally:
            again.close()
        channel(nodes["p0"], "p1").send(b"as before")
        assert bytes(channel(nodes["p1"], "p0").recv(9, "op")) == b"as before"


def test_a_server_without_the_keys_of_its_invitation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that somebody else invited: the proof is not the one that belongs to our keys."""
    monkeypatch.setattr(node_module.Keys, "proves", lambda keys, proof: False)
    with mesh() as nodes:
        assert "does not have the keys of its own invitation" in str(meet_in_vain(nodes))


def test_material_is_read_wherever_the_reader_cuts_it_and_dropped_records_are_passed_over() -> None:
    with mesh(NAMES) as nodes:
        assert meet(nodes) == []
        dealer, party = nodes["dealer"], nodes["p0"]
        sink = MaterialSink(dealer, "p0", 1 << 24, lambda: None)
        stream = {}
        for index in range(3):
            sink.begin("run", index)
            stream[index] = np.random.default_rng(index).integers(0, 256, 1_500_001, np.uint8)
            for place, piece in enumerate(
                np.split(stream[index], [9, 250_000, 250_000, 300_000, 1_200_000, 1_450_000])
            ):
                given = sink.room(piece.size) if place % 2 == index % 2 else piece.copy()
                given[:] = piece
                sink.write(given)
            sink.end(0.5, stream[index].size)
        source = MaterialSource(party, 1 << 24)
        source.open("run", 1, "start")
        got = [source.read(n, "op") for n in (1, 999_999, 0, 500_001)]
        assert b"".join(got) == stream[1].tobytes()
        assert source.finish("end")["seconds"] == 0.5
        with pytest.raises(MaterialError, match="expected material 2 for setup, the dealer sent 2 for run"):
            source.open("setup", 2, "start")
        while (message := dealer.await_item(dealer.links["p0"], 0.5)) is not None:
            assert isinstance(message, Message)
            sink.credit(message)
        assert sink.used == 1


def test_the_dealer_is_held_back_by_its_window() -> None:
    with mesh(NAMES) as nodes:
        meet(nodes)
        written, waits = 0, []
        sink: MaterialSink

        def party_reads() -> None:
            waits.append(written)
            read = Message("p0", 0, {"kind": "credit", "bytes": 3 << 20, "used": None}, [])
            sink.credit(read)

        sink = MaterialSink(nodes["dealer"], "p0", 3 << 20, party_reads)
        for _ in range(10):
            sink.write(bytes(1 << 20))
            written += 1
        assert waits == [3, 6, 9]
        with pytest.raises(PeerError, match="p0 gave credit for more than it was sent"):
            sink.credit(Message("p0", 0, {"kind": "credit", "bytes": 3 << 20, "used": None}, []))


def test_a_party_reads_no_more_ahead_than_its_window() -> None:
    """Whatever a dealer sends that gives nothing for credit: the rest stays in the network, and at the dealer."""
    window = 4 << 20
    with mesh(NAMES) as nodes:
        meet(nodes)
        dealer, party = nodes["dealer"], nodes["p0"]
        MaterialSource(party, window)
        for _ in range(200):
            dealer.send("p0", bytes(1 << 20), 0)
        link = party.links["dealer"]
        for _ in range(50):
            party.wait(("p1",), listen=False, seconds=0.02)
        assert window <= link.ahead_bytes < window + FRAME_BYTES
        got = 0
        while got < 200 << 20:
            item = party.await_item(link, 1.0)
            got += item.data.nbytes if item is not None else 0  # type: ignore[union-attr]


def test_a_signal_in_the_middle_of_a_message_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        p0 = nodes["p0"]
        frames = Sealer.frames

        def interrupted(sealer: Sealer, *args: Any, **options: Any) -> Iterator[memoryview]:
            for i, frame in enumerate(frames(sealer, *args, **options)):
                if i == 1:
                    p0.interrupt()  # as a signal's handler does
                yield frame

        monkeypatch.setattr(Sealer, "frames", interrupted)
        with pytest.raises(KeyboardInterrupt):
            channel(p0, "p1").send(bytes(3 * FRAME_BYTES))
        receiving = channel(nodes["p1"], "p0")
        assert len(receiving.recv(3 * FRAME_BYTES, "op")) == 3 * FRAME_BYTES
        p0.farewell("", "", "p0 was stopped")  # over the call too, where it may be faster than what is on the stream
        with pytest.raises(PeerError, match="p0 was stopped"):
            receiving.recv(1, "op")
        with pytest.raises(KeyboardInterrupt):
            p0.interrupt()


def test_a_server_that_dies_while_others_are_awaited_is_named() -> None:
    with mesh(NAMES) as nodes:
        errors: list[Exception] = []

        def wait_for_all(name: str) -> None:
            try:
                nodes[name].meet([n for n in NAMES if n != name], 60.0)
            except PeerError as error:
                errors.append(error)

        def meet_and_die() -> None:
            nodes["p0"].meet(["p1"], 60.0)
            nodes["p0"].close()

        threads = [threading.Thread(target=wait_for_all, args=("p1",)), threading.Thread(target=meet_and_die)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert ["p0 is gone" in str(error) for error in errors] == [True]  # the dealer took no part in the meeting


def test_a_stream_that_nobody_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitation, "STREAM_SECONDS", 0.5)
    with mesh(by=lambda address: swallowing_streams(address)) as nodes:
        assert "has not taken the stream to which it invited us" in str(meet_in_vain(nodes))


def swallowing_streams(target: str) -> str:
    """The address of a relay to `target` that keeps what is no TLS to itself."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            near, _ = server.accept()
            route = near.recv(1 + ROUTE_BYTES, socket.MSG_WAITALL)
            first = near.recv(1, socket.MSG_PEEK)
            if first == STREAM_MARK:
                kept.append(near)
                continue
            far = connected(target)
            far.sendall(route)
            for source, sink in ((near, far), (far, near)):
                in_thread(lambda source=source, sink=sink: carry(source, sink))  # type: ignore[misc]

    kept: list[socket.socket] = []
    in_thread(accept)
    return f"127.0.0.1:{server.getsockname()[1]}"


def carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        source.settimeout(None)
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_port_in_use_is_named() -> None:
    with mesh(("p0",)) as nodes:
        other = Node(Hello("p1", "plan", 1), KeyPair.generate(), 1.0)
        try:
            with pytest.raises(InputError, match=r"p1's address 127.0.0.1:\d+ is in use"):
                other.listen({}, nodes["p0"].address)
        finally:
            other.close()


def test_closing_leaves_no_connection_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with mesh(NAMES) as nodes:
            assert meet(nodes) == []
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_patient_server_finishes_what_it_does_before_a_signal_ends_it() -> None:
    node = Node(Hello("p0", "plan", 1), KeyPair.generate(), SECONDS, patient=True)
    try:
        done = []
        with pytest.raises(KeyboardInterrupt), node.finished():
            node.interrupt()
            done.append("all")
        assert done == ["all"]
        with pytest.raises(KeyboardInterrupt), node.finished():
            node.interrupt()
            node.interrupt()  # asked for again: at once
            done.append("more")
        assert done == ["all"]
        with pytest.raises(KeyboardInterrupt):
            node.interrupt()
    finally:
        node.close()
