"""The in-memory channel and material pipe against a plain byte string."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime.errors import Error, PeerError
from tests.memory_channel import channel_pair, material_pipe
from tests.waiting import in_thread


def test_messages_arrive_whole_and_in_order() -> None:
    p0, p1 = channel_pair()
    words = np.arange(6, dtype=np.uint64).reshape(2, 3)
    p0.send(words)
    p0.send(b"")
    p0.send(b"abc")
    assert bytes(p1.recv(48, "open")) == words.tobytes()
    assert bytes(p1.recv(0, "open")) == b""
    assert bytes(p1.recv(3, "open")) == b"abc"
    assert (p0.sent_messages, p0.sent_bytes, p1.received_bytes) == (3, 51, 51)


def test_another_length_is_the_peers_fault() -> None:
    p0, p1 = channel_pair()
    p1.send(b"four")
    with pytest.raises(PeerError, match=r"p1 sent 4 bytes at relu, where the plan has 5") as caught:
        p0.recv(5, "relu")
    assert (caught.value.peer, caught.value.op) == ("p1", "relu")
    assert isinstance(caught.value, Error)


def test_a_deadline_names_the_peer_and_the_op() -> None:
    _, p1 = channel_pair(deadline=0.02)
    with pytest.raises(PeerError, match=r"p0 sent nothing for 0\.02 s while we wait at conv1"):
        p1.recv(1, "conv1")


def test_closing_wakes_a_waiting_peer_after_what_was_sent() -> None:
    p0, p1 = channel_pair()
    p0.send(b"last")
    in_thread(lambda: p0.close("killed"))
    assert bytes(p1.recv(4, "a")) == b"last"
    with pytest.raises(PeerError, match="p0 is gone while we wait at b: killed"):
        p1.recv(4, "b")


@settings(max_examples=50, deadline=None)
@given(writes=st.lists(st.binary(max_size=9), max_size=8), data=st.data())
def test_reads_slice_the_stream_wherever_they_like(writes: list[bytes], data: st.DataObject) -> None:
    sink, source = material_pipe(deadline=0.01)
    for piece in writes:
        sink.write(piece)
    stream = b"".join(writes)
    position = 0
    while position < len(stream):
        length = data.draw(st.integers(0, len(stream) - position))
        assert bytes(source.read(length, "op")) == stream[position : position + length]
        position += length
        if not length:
            break
    assert sink.written_bytes == len(stream)


def test_material_that_ends_early_is_an_error() -> None:
    sink, source = material_pipe()
    sink.write(b"12")
    sink.close("dealer died")
    with pytest.raises(PeerError, match="dealer died"):
        source.read(3, "op 7")
