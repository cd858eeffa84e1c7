"""Clients that leave, and clients that misbehave: the living are paired with each other, and no party ends."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc_runtime as mpc
from mpc_runtime.deployment.local import Processes
from mpc_runtime.errors import PeerError
from mpc_runtime.limits import WINDOW_BYTES
from mpc_runtime.plan import FORMAT
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.client import RoleClient, encode_feeds
from mpc_runtime.servers.submissions import AHEAD_AT_MOST
from mpc_runtime.session import Session
from mpc_runtime.sessions.connections import Connections
from mpc_runtime.sessions.deployed import launched
from mpc_runtime.sessions.turns import Turns
from mpc_runtime.sessions.variants import Variants
from mpc_runtime.transport.address import clients_of
from mpc_runtime.transport.call import drive
from mpc_runtime.transport.hello import Hello
from tests.lines import framed, proved, said_by
from tests.waiting import SECONDS, at_once

MODEL = """model pair
role a, b
input x : [2] from a in [-100, 100]
input q : [2] from b in [-100, 100]
param one : [] from a in [0, 2]
output y = x * q to b
output z = x * q + one to a
"""
PROGRAM = mpc.compile(text=MODEL)
TIMEOUT = 3.0
PARTIES = ("p0", "p1")


@dataclass(frozen=True)
class Local:
    """A session that plays all roles, and its servers."""

    session: Session
    processes: Processes


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    turns = Turns()
    base = launched(PROGRAM.plan, prepare_feed, TIMEOUT, WINDOW_BYTES, lambda _, addresses: addresses, turns.check)
    assert base.processes is not None
    with Session(Connections(turns, Variants(base))) as session:
        session.provide({"one": 1})
        yield Local(session, base.processes)


@contextmanager
def client(local: Local, role: str) -> Iterator[RoleClient]:
    """One more connection of a role."""
    processes = local.processes
    found = RoleClient(
        PROGRAM.plan, role, processes.role_keys[role], processes.addresses, processes.server_keys, SECONDS
    )
    try:
        yield found
    finally:
        found.close()


@contextmanager
def connection(local: Local, role: str, party: str) -> Iterator[ssl.SSLSocket]:
    """One more connection to a party under a role's key, on which anything may be written."""
    processes = local.processes
    hello = Hello(role, PROGRAM.plan.hash, FORMAT)
    address, key = processes.addresses[clients_of(party)], processes.server_keys[party]
    with proved(address, processes.role_keys[role], key, hello) as made:
        yield made


def encoded(role: str, *values: float) -> dict[str, np.ndarray]:
    return encode_feeds(PROGRAM.plan, role, "run", {"x" if role == "a" else "q": np.array(values)}, prepare_feed)[0]


def arrive(client: RoleClient) -> None:
    """Returns when all that a client of `a` has sent is at both parties: they take it in order, and answer this."""
    held, problems = encode_feeds(PROGRAM.plan, "a", "setup", {"one": np.array(1.0)}, prepare_feed)
    assert not problems
    client.wait_held(client.submit("setup", held))


def leave(client: RoleClient) -> None:
    """As a process that dies: the connections end, and nothing is withdrawn."""
    for call in client.calls.values():
        call.close()


def until_refused(client: RoleClient, party: str) -> None:
    """Takes what the party says until it says why it refuses this client, which is then raised."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        drive(client.calls.values(), 0.1)
        client.calls[party].next()
        client.calls[party].check("")


def assert_runs(local: Local) -> None:
    """The session's own roles are paired with each other; if one of them waits in vain, the session is ended."""
    x, q = np.random.default_rng().uniform(-9, 9, (2, 2))
    hanging = threading.Timer(SECONDS, os.kill, (local.session.pids["p1"], signal.SIGKILL))
    hanging.start()
    try:
        found = local.session.run(x=x, q=q)
    finally:
        hanging.cancel()
    assert np.allclose(found["y"], x * q, atol=1e-2)
    assert np.allclose(found["z"], x * q + 1, atol=1e-2)


@pytest.mark.parametrize("how", [RoleClient.close, leave])
def test_the_submission_of_a_client_that_left_is_not_computed(local: Local, how: Callable[[RoleClient], None]) -> None:
    with client(local, "a") as gone:
        for _ in range(3):
            gone.submit("run", encoded("a", 55, 66))
        arrive(gone)
        how(gone)
    for _ in range(2):
        assert_runs(local)


def test_one_that_is_still_there_is_answered_though_another_of_its_role_left(local: Local) -> None:
    with client(local, "a") as first, client(local, "a") as second, client(local, "b") as other:
        first.submit("run", encoded("a", 55, 66))
        number = second.submit("run", encoded("a", 3, 4))
        arrive(first)
        leave(first)
        asked = other.submit("run", encoded("b", 10, 20))
        assert np.allclose(other.wait_answer(asked).results["y"], [30, 80], atol=1e-2)
        assert np.allclose(second.wait_answer(number).results["z"], [31, 81], atol=1e-2)


def submit_to(client: RoleClient, party: str, number: str) -> None:
    """Half of a submission."""
    size = 16 if party == "p0" else client.plan.feeds_of(client.role, "run")[0].bits * 2 // 8
    client.calls[party].say({"kind": "submit", "stage": "run", "id": number}, bytes(size))


@pytest.mark.parametrize("party", PARTIES)
def test_halves_of_submissions_do_not_lock_a_role_out(local: Local, party: str) -> None:
    with client(local, "a") as odd:
        for i in range(64):
            submit_to(odd, party, f"half {i}")
        arrive(odd)
        leave(odd)
    assert_runs(local)


def test_halves_of_a_client_that_stays_are_dropped_in_time_and_it_is_told(local: Local) -> None:
    with client(local, "a") as odd, client(local, "a") as even:
        for i in range(64):
            submit_to(odd, "p0", f"half {i}")
            submit_to(even, "p1", f"half {i} of others")
        for half, here, there in ((odd, "p0", "p1"), (even, "p1", "p0")):
            with pytest.raises(PeerError, match=f"{there} got no such submission of a in 3 s, only {here} did"):
                until_refused(half, here)
    assert_runs(local)


SUBMIT = b'{"kind": "submit", "stage": "run", "id": "i"}'
MISBEHAVIOUR: dict[str, tuple[bytes, list[bytes]]] = {
    "nested deeply": (b"[" * 200_000, []),
    "nested a little": (b"[" * 4000, []),
    "too long": (json.dumps({"kind": "submit", "stage": "run", "id": "i" * 5000}).encode(), [bytes(16)]),
    "no object": (b"7", []),
    "no text": (b"\xff\xfe", []),
    "no kind": (b"{}", []),
    "no such stage": (b'{"kind": "submit", "stage": "never", "id": "i"}', [bytes(16)]),
    "no id": (b'{"kind": "submit", "stage": "run", "id": ""}', [bytes(16)]),
    "a long id": (json.dumps({"kind": "submit", "stage": "run", "id": "i" * 65}).encode(), [bytes(16)]),
    "one field more": (b'{"kind": "submit", "stage": "run", "id": "i", "of": 1}', [bytes(16)]),
    "no shares": (SUBMIT, []),
    "many parts": (SUBMIT, [b""] * 1000),
    "too large for the connection": (SUBMIT, [bytes(1 << 20)]),
}


@pytest.mark.parametrize(("body", "payload"), MISBEHAVIOUR.values(), ids=list(MISBEHAVIOUR))
def test_a_misbehaving_client_is_refused_and_others_go_on(local: Local, body: bytes, payload: list[bytes]) -> None:
    with connection(local, "a", "p0") as bad:
        said = said_by(bad, body, payload)
        assert len(said) < 1000
        assert re.search(rb"refused.*(p0|a sent|no part|expected a new id)", said)
    assert_runs(local)


def test_a_client_that_asks_for_too_much_waits_and_is_told_nothing(local: Local) -> None:
    with client(local, "b") as greedy:
        for i in range(2 * AHEAD_AT_MOST):
            greedy.submit("run", encoded("b", 1, 1), "with nobody", i)
        for _ in range(3):  # questions that the parties answer while submissions find no room
            drive(greedy.calls.values(), 0.1)
        assert all(call.failure is None and call.next() is None for call in greedy.calls.values())
    assert_runs(local)


@settings(max_examples=25, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["kind", "stage", "id", "version", "plan"]),
        st.sampled_from(["hello", "submit", "withdraw", "run", "setup", "x"])
        | st.integers()
        | st.none()
        | st.just([[]]),
    ).map(lambda body: json.dumps(body).encode()),
    payload=st.lists(st.binary(max_size=60), max_size=2),
)
def test_no_message_of_a_client_ends_a_party(local: Local, body: bytes, payload: list[bytes]) -> None:
    for party in PARTIES:
        with connection(local, "a", party) as odd:
            odd.sendall(framed(body, *payload) + framed(b'{"kind": "withdraw", "stage": "run", "id": "x"}'))
    with client(local, "a") as even:
        assert even.calls.keys() == set(PARTIES)  # both have welcomed it


def test_a_death_is_noticed_while_the_parties_are_busy_with_something_else() -> None:
    with mpc.launch(PROGRAM) as session:
        session.provide({"one": 1})
        for party in PARTIES:
            os.kill(session.pids[party], signal.SIGSTOP)  # as in an op that takes long: they do not look up
        dealer = session.pids["dealer"]
        found, _ = at_once(lambda: session.run(x=np.zeros(2), q=np.zeros(2)), lambda: os.kill(dealer, signal.SIGKILL))
        assert isinstance(found, PeerError) and found.peer == "dealer"
        assert str(found).count("dealer was killed by SIGKILL") == str(found).count("SIGKILL") == 1
