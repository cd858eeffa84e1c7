"""Nodes over real CURVE sockets in one process: who may connect, what is refused, and that lengths are kept."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_runtime.errors import InputError, MaterialError, PeerError
from mpc_runtime.transport.curve import KeyPair
from mpc_runtime.transport.link import Message
from mpc_runtime.transport.node import Hello, Node, check_loopback
from mpc_runtime.transport.records import MaterialSink, MaterialSource, PeerChannel
from mpc_runtime.transport.sealed import FRAME_BYTES
from tests.mpc_runtime.transport.nodes import meet, mesh
from tests.waiting import in_thread

NAMES = ("p0", "p1", "dealer")


@pytest.mark.parametrize("nbytes", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 7])
def test_messages_of_any_length_arrive_whole(nbytes: int) -> None:
    with mesh() as nodes:
        assert meet(nodes) == []
        channels = PeerChannel(nodes["p0"], "p1"), PeerChannel(nodes["p1"], "p0")
        data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
        channels[0].send(data)
        nodes["p0"].say("p1", {"kind": "note"})
        channels[1].send(data[::-1].copy())
        assert (np.frombuffer(channels[1].recv(nbytes, "op"), np.uint8) == data).all()
        assert (np.frombuffer(channels[0].recv(nbytes, "op"), np.uint8) == data[::-1]).all()
        note = None
        while note is None:
            note = channels[1].control()
        assert (note.kind, note.sender) == ("note", "p0")


def test_another_length_is_refused() -> None:
    with mesh() as nodes:
        meet(nodes)
        PeerChannel(nodes["p0"], "p1").send(b"12345")
        with pytest.raises(PeerError, match="p0 sent 5 bytes at conv1, where the plan has 4") as caught:
            PeerChannel(nodes["p1"], "p0").recv(4, "conv1")
        assert (caught.value.peer, caught.value.op) == ("p0", "conv1")


def test_control_messages_among_data_wait_their_turn() -> None:
    with mesh() as nodes:
        meet(nodes)
        nodes["p0"].say("p1", {"kind": "have"})
        nodes["p0"].send("p1", b"data")
        channel = PeerChannel(nodes["p1"], "p0")
        assert bytes(channel.recv(4, "op")) == b"data"
        assert channel.controls.popleft().kind == "have"


def test_a_peer_that_closes_is_named_with_the_op() -> None:
    with mesh() as nodes:
        meet(nodes)
        other = nodes.pop("p1")
        in_thread(other.close)
        with pytest.raises(PeerError, match="p1 is gone") as caught:
            PeerChannel(nodes["p0"], "p1").recv(1, "relu (lenet.ppml:14)")
        assert (caught.value.peer, caught.value.op) == ("p1", "relu (lenet.ppml:14)")


def test_a_farewell_is_a_better_error_than_a_lost_connection() -> None:
    with mesh() as nodes:
        meet(nodes)
        nodes["p1"].send("p0", b"unread")
        nodes["p1"].farewell("dealer", "op 7", "dealer is gone")
        with pytest.raises(PeerError, match=r"dealer is gone \[reported by p1\]") as caught:
            channel = PeerChannel(nodes["p0"], "p1")
            channel.recv(6, "op 8")
            channel.recv(1, "op 9")
        assert (caught.value.peer, caught.value.op) == ("dealer", "op 7")


def test_another_plan_is_refused_by_both_with_both_named() -> None:
    with mesh(plans={"p1": "other"}) as nodes:
        errors = meet(nodes)
        assert len(errors) == 2
        for error in errors:
            assert "p0 has plan plan, p1 has other" in str(error) or "p1 has plan other, p0 has plan" in str(error)


def test_an_unknown_key_and_a_wrong_server_key_get_nowhere() -> None:
    with mesh() as nodes:
        meet(nodes)
        server = nodes["p0"]
        for server_key in (server.keys.public, KeyPair.generate().public):
            stranger = Node(Hello("client", "plan", 1), KeyPair.generate(), 1.0)
            try:
                stranger.connect("p0", server.address, server_key)
                with pytest.raises(PeerError, match=r"does not accept our key|no answer from p0"):
                    stranger.meet(["p0"], 1.0)
            finally:
                stranger.close()
        assert server.receive() is None
        assert not server.guests


def test_material_is_read_wherever_the_reader_cuts_it_and_dropped_records_are_passed_over() -> None:
    with mesh(NAMES) as nodes:
        assert meet(nodes) == []
        dealer, party = nodes["dealer"], nodes["p0"]
        sink = MaterialSink(dealer, "p0", 1 << 24, lambda: None)
        stream = {}
        for index in range(3):
            dealer.say("p0", {"kind": "record", "procedure": "run", "index": index})
            stream[index] = np.random.default_rng(index).integers(0, 256, 1_500_001, np.uint8)
            for start in range(0, 1_500_001, 250_000):
                sink.write(stream[index][start : start + 250_000])
            sink.flush()
            dealer.say("p0", {"kind": "dealt", "seconds": 0.5, "bytes": stream[index].size})
        source = MaterialSource(party, 1 << 24)
        source.open("run", 1, "start")
        got = [source.read(n, "op") for n in (1, 999_999, 0, 500_001)]
        assert b"".join(got) == stream[1].tobytes()
        assert source.finish("end")["seconds"] == 0.5
        with pytest.raises(MaterialError, match="expected material 2 for setup, the dealer sent 2 for run"):
            source.open("setup", 2, "start")
        while (message := dealer.links["p0"].next(wait=True)) is not None:
            sink.credit(message)  # type: ignore[arg-type]
        assert sink.used == 1


def test_the_dealer_is_held_back_by_its_window() -> None:
    with mesh(NAMES) as nodes:
        meet(nodes)
        written, waits = 0, []
        sink: MaterialSink

        def party_reads() -> None:
            waits.append(written)
            read = Message("p0", b"", {"kind": "credit", "bytes": 3 << 20, "used": None}, [])
            sink.credit(read)

        sink = MaterialSink(nodes["dealer"], "p0", 3 << 20, party_reads)
        for _ in range(10):
            sink.write(bytes(1 << 20))
            written += 1
        assert waits == [3, 6, 9]


def test_addresses_elsewhere_are_refused() -> None:
    assert check_loopback("127.0.0.1:7100", "here") == "tcp://127.0.0.1:7100"
    assert check_loopback("localhost:7100", "here") == "tcp://127.0.0.1:7100"
    assert check_loopback("[::1]:7100", "here") == "tcp://[::1]:7100"
    for address in ("192.168.0.1:7100", "0.0.0.0:7100", "example.org:7100"):
        with pytest.raises(InputError, match=f"cluster.toml:3: {address} is not on this machine"):
            check_loopback(address, "cluster.toml:3")


def test_a_port_in_use_is_named() -> None:
    with mesh(("p0",)) as nodes:
        other = Node(Hello("p1", "plan", 1), KeyPair.generate(), 1.0)
        try:
            with pytest.raises(InputError, match=r"p1's address 127.0.0.1:\d+ is in use"):
                other.listen(nodes["p0"].address, {}, {})
        finally:
            other.close()
