"""A probe tells apart why a server cannot be reached, and measures one that can."""

from __future__ import annotations

import socket

import pytest

from mpc_runtime.deployment import probe as probe_module
from mpc_runtime.deployment.probe import CLIENTS_PAD, MOVED_BYTES, Fault, Unreached, measure, told
from mpc_runtime.transport.identity import KeyPair, calling_context
from mpc_runtime.transport.messages import encode
from tests.lines import connected, framed
from tests.mpc_runtime.transport.fronts import ALICE, HOST, QUOTA, fronted
from tests.terminal import free_port


def fault(address: str, keys: KeyPair = ALICE, host: str = HOST.public) -> Fault:
    with pytest.raises(Unreached) as error:
        measure(address, keys, host, CLIENTS_PAD)
    return error.value.fault


def test_a_server_is_measured() -> None:
    with fronted() as front:
        found = measure(front.address, ALICE, HOST.public, CLIENTS_PAD)
        assert 0 < found.round_trip < probe_module.SECONDS
        assert 0 < found.bytes_per_second <= MOVED_BYTES * 1e6
        assert abs(found.clock) <= found.round_trip  # of the same machine
        assert front.receive() is None  # a ping is nothing for the server


def test_every_fault_has_its_name() -> None:
    with fronted() as front:
        assert fault(front.address, KeyPair.generate()) is Fault.OUR_KEY
        assert fault(front.address, host=KeyPair.generate().public) is Fault.OTHER_KEY
    assert fault(f"127.0.0.1:{free_port()}") is Fault.CLOSED
    assert fault("no.such.host.invalid:7100") is Fault.NAME


def test_a_host_that_does_not_answer_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", late)
    assert fault("127.0.0.1:7100") is Fault.SILENT


def test_one_that_takes_connections_and_says_nothing_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert fault(f"127.0.0.1:{silent.getsockname()[1]}") is Fault.OTHER_PROGRAM


def test_a_server_without_room_says_so() -> None:
    with fronted() as front:
        lines = [_held(front.address) for _ in range(QUOTA.per_key)]
        assert fault(front.address) is Fault.BUSY
        for line in lines:
            line.close()


def _held(address: str) -> socket.socket:
    line = calling_context(ALICE, HOST.public).wrap_socket(connected(address))
    line.sendall(framed(encode({"kind": "ping"})))
    assert line.recv(1)
    return line


def test_what_is_said_to_a_hello_is_told() -> None:
    with fronted() as front:
        answer = told(front.address, ALICE, HOST.public, {"kind": "dance"})
        assert answer["kind"] == "refused"
