"""Addresses: what is one, where one listens, and names that are looked up when a connection is made."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.transport.address import Lookup, check_address, host_and_port, is_wildcard, listening, numeric
from mpc_runtime.transport.call import Call, drive
from mpc_runtime.transport.front import Front
from mpc_runtime.transport.guests import Wake
from mpc_runtime.transport.line import Limits
from mpc_runtime.transport.messages import CLIENT, PARTY_TO_CLIENT
from mpc_runtime.transport.node import Hello, new_nonce
from tests.mpc_runtime.transport.fronts import ALICE, HOST, NAMES, QUOTA, heard
from tests.waiting import until

NOBODY = "no-such-host.invalid"  # RFC 6761: never resolves


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:7100",
        "p0.example.org:1",
        "localhost:65535",
        "under_score:7",
        "[::1]:7100",
        "[fe80::1%eth0]:9",
        "a.:1",
    ],
)
def test_what_is_an_address(address: str) -> None:
    assert check_address(address, "here") == address


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("7100", "expected an address"),
        (":7100", "expected an address"),
        ("a b:7100", "expected an address"),
        ("-a:7100", "expected an address"),
        ("1.2.3:7100", "expected an address"),
        ("256.1.1.1:7100", "expected an address"),
        ("http://a:7100", "brackets around an IPv6 address"),
        ("fe80::1:7100", "brackets around an IPv6 address"),
        ("[fe80::1::2]:7100", "an IPv6 address in the brackets"),
        ("a" * 64 + ":7100", "expected an address"),
        ("a:0", "expected a port from 1 to 65535"),
        ("a:65536", "expected a port"),
        ("a:١", "expected a port"),
        ("[::1]", "brackets around an IPv6 address"),
    ],
)
def test_what_is_none(address: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"^cluster.toml:3: .*{problem}"):
        check_address(address, "cluster.toml:3")


def test_wildcards() -> None:
    assert [is_wildcard(a) for a in ("0.0.0.0:1", "[::]:1", "[0:0::0]:1")] == [True] * 3
    assert [is_wildcard(a) for a in ("127.0.0.1:1", "[::1]:1", "a:1", "[fe80::1%lo]:1")] == [False] * 4


def test_a_name_is_looked_up_on_another_thread() -> None:
    assert Lookup("127.0.0.1:80").done  # nothing to look up
    found = Lookup("localhost:80")
    until(lambda: found.done)
    assert found.found and all(where[1] == 80 for _, where in found.found)
    lost = Lookup(f"{NOBODY}:80")
    until(lambda: lost.done)
    assert not lost.found and "cannot be resolved" in lost.problem


@pytest.mark.parametrize(
    ("listen", "reach"), [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "[::1]")]
)
def test_listening_at_all_addresses(listen: str, reach: str) -> None:
    try:
        listener = listening("p0", listen)
    except InputError as error:
        pytest.skip(f"no such addresses here: {error}")
    with closing(listener):
        listener.setblocking(True)
        family, host, _ = host_and_port(f"{reach}:0")
        with socket.socket(family) as connection:
            try:
                connection.connect((host, listener.getsockname()[1]))
            except OSError as error:
                pytest.skip(f"{reach} cannot be reached here: {error}")
            assert numeric(connection) == f"{reach}:{listener.getsockname()[1]}"


def test_an_address_that_is_not_ours_says_what_to_write() -> None:
    with pytest.raises(
        InputError, match=r"192\.0\.2\.7:7100 is not one of this machine's; write where to listen under"
    ):
        listening("p0", "192.0.2.7:7100")
    with pytest.raises(InputError, match=f"{NOBODY}:7100 cannot be resolved"):
        listening("p0", f"{NOBODY}:7100")


def call_to(address: str) -> Call:
    hello = Hello("alice", "plan", 1).body(new_nonce())
    return Call("p0", address, ALICE, HOST.public, hello, PARTY_TO_CLIENT, Limits(), "cluster.toml:4")


def test_a_call_by_name_tries_what_the_name_stands_for() -> None:
    """Whichever of the machine's loopback addresses comes first: the front listens at one of them."""
    bell = Wake()
    front = Front("p0", "127.0.0.1:0", HOST, NAMES, CLIENT, QUOTA, bell)
    call = call_to(f"localhost:{host_and_port(front.address)[2]}")
    try:
        assert heard(front, call).sender == "alice"
        assert call.reached == front.address
    finally:
        call.close()
        front.close()
        bell.close()


def test_a_call_says_what_it_has_met_and_where_the_address_was_written() -> None:
    call = call_to(f"{NOBODY}:7100")
    try:
        until(lambda: drive([call], 0.01) or call.trouble)
        assert call.place.startswith(f"p0 at {NOBODY}:7100 (cluster.toml:4; its name cannot be resolved: ")
    finally:
        call.close()
