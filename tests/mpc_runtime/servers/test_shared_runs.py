"""Queries of several clients in one run: each gets its own rows and nothing else, whatever the others do.

A run begins as soon as its batch is full, so that who shares it is certain; a query alone would wait longer than a test
may take.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.deployment.local import Processes
from mpc_runtime.encoding.sharing import split
from mpc_runtime.errors import PeerError
from mpc_runtime.limits import WINDOW_BYTES
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.client import PARTIES, Answer, RoleClient, encode_feeds
from mpc_runtime.transport.call import drive
from tests.waiting import SECONDS, until

Array = np.ndarray
MODEL = """model rows
role client, modeller
dim batch = 4
input x : int[batch, 3] from client in [-100, 100]
param w : int[3, 2] from modeller in [-100, 100]
output y = relu(x @ w) to client
output positive = x @ w > 0 to client
"""
PROGRAM = mpc.compile(text=MODEL)
PLAN = PROGRAM.plan
BATCH = 4
W = np.array([[1, -2], [-3, 4], [5, 6]])
CLIENTS = 4
LINGER = 10 * SECONDS


@dataclass
class Servers:
    processes: Processes
    seeds: Iterator[int]

    def client(self, machine: int) -> RoleClient:
        processes = self.processes
        keys = [processes.role_keys["client"], *processes.more_keys["client"]]
        return RoleClient(PLAN, "client", keys[machine], processes.addresses, processes.server_keys, SECONDS)

    def rows(self, count: int) -> Array:
        return np.random.default_rng(next(self.seeds)).integers(-100, 101, (count, 3))


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    processes = Processes(PLAN, PLAN.roles, SECONDS, WINDOW_BYTES, linger=LINGER, machines=CLIENTS)
    try:
        key = processes.role_keys["modeller"]
        modeller = RoleClient(PLAN, "modeller", key, processes.addresses, processes.server_keys, SECONDS)
        held, problems = encode_feeds(PLAN, "modeller", "setup", {"w": W}, prepare_feed)
        assert not problems
        modeller.wait_held(modeller.submit("setup", held))
        modeller.close()
        yield Servers(processes, itertools.count())
    finally:
        processes.close()


@pytest.fixture
def clients(servers: Servers) -> Iterator[list[RoleClient]]:
    found = [servers.client(machine) for machine in range(CLIENTS)]
    yield found
    for each in found:
        each.close()


def ask(client: RoleClient, x: Array) -> str:
    """Submits rows, and returns when both parties must have them, whatever else is under way."""
    number = client.submit("run", {"x": x.astype(np.int64).view(np.uint64)}, rows=len(x) if len(x) < BATCH else None)
    until(lambda: drive(client.calls.values(), 0.01) or not any(call.writes for call in client.calls.values()))
    return number


def assert_own(answer: Answer, x: Array) -> None:
    assert np.array_equal(answer.results["y"], np.maximum(x @ W, 0))
    assert np.array_equal(answer.results["positive"], x @ W > 0)


def indices(answers: Sequence[Answer]) -> set[tuple[float, ...]]:
    """One for each run: the seconds that its two parties took."""
    return {tuple(report.body["online_seconds"] for report in answer.reports) for answer in answers}


def test_each_gets_its_own_rows(servers: Servers, clients: list[RoleClient]) -> None:
    for counts in ((1, 1, 1, 1), (1, 3), (2, 1, 1), (4,)):
        xs = [servers.rows(count) for count in counts]
        numbers = [ask(client, x) for client, x in zip(clients, xs, strict=False)]
        answers = [client.wait_answer(number) for client, number in zip(clients, numbers, strict=False)]
        for answer, x in zip(answers, xs, strict=True):
            assert_own(answer, x)
        assert len(indices(answers)) == 1


def test_several_queries_of_one_client_in_one_run(servers: Servers, clients: list[RoleClient]) -> None:
    xs = [servers.rows(1), servers.rows(2), servers.rows(1)]
    numbers = [ask(clients[0], x) for x in xs]
    answers = {i: clients[0].wait_answer(numbers[i]) for i in (1, 0, 2)}  # in any order
    for i, x in enumerate(xs):
        assert_own(answers[i], x)
    assert len(indices(list(answers.values()))) == 1
    assert (
        len({id(report.payload[-1].obj) for a in answers.values() for report in a.reports}) == 2
    )  # of each party, one


def test_queries_that_may_leave_later_leave_when_their_client_waits(
    servers: Servers, clients: list[RoleClient]
) -> None:
    xs = [servers.rows(1) for _ in range(4 * BATCH)]
    words = [x.astype(np.int64).view(np.uint64) for x in xs]
    numbers = [clients[0].submit("run", {"x": each}, rows=1, later=True) for each in words]
    assert all(call.writes for call in clients[0].calls.values())
    for number, x in zip(numbers, xs, strict=True):
        assert_own(clients[0].wait_answer(number), x)


def test_queries_that_have_not_left_are_withdrawn(servers: Servers, clients: list[RoleClient]) -> None:
    clients[0].submit("run", {"x": np.zeros((1, 3), np.uint64)}, rows=1, later=True)
    clients[0].close()
    xs = [servers.rows(1) for _ in range(BATCH)]
    numbers = [ask(clients[1], x) for x in xs]
    answers = [clients[1].wait_answer(number) for number in numbers]
    for answer, x in zip(answers, xs, strict=True):
        assert_own(answer, x)


def test_what_was_forgotten_is_taken_out_of_an_answer(servers: Servers, clients: list[RoleClient]) -> None:
    xs = [servers.rows(1), servers.rows(3)]
    numbers = [ask(clients[0], x) for x in xs]
    clients[0].forget(numbers[0], withdraw=False)
    assert_own(clients[0].wait_answer(numbers[1]), xs[1])


def test_a_small_query_costs_the_bytes_of_its_rows(servers: Servers, clients: list[RoleClient]) -> None:
    found = {}
    for counts in ((1, 3), (4,)):
        xs = [servers.rows(count) for count in counts]
        numbers = [ask(client, x) for client, x in zip(clients, xs, strict=False)]
        found |= {len(x): c.wait_answer(n).client_bytes for c, n, x in zip(clients, numbers, xs, strict=False)}
    assert found[1] < found[3] < found[4] == PROGRAM.cost.client_bytes
    assert found[1] <= 16 + (found[4] - 16) / 4 + 5  # a seed, and each tensor of its own is rounded up to bytes


def test_who_leaves_during_a_run_changes_nothing_for_others(servers: Servers, clients: list[RoleClient]) -> None:
    xs = [servers.rows(1), servers.rows(2), servers.rows(1)]
    numbers = [ask(client, x) for client, x in zip(clients, xs, strict=False)]
    for call in clients[0].calls.values():  # as a process that dies, anywhere in the run
        call.close()
    more = servers.rows(1)
    last = ask(clients[3], more)  # for the place of the first, if it has left in time
    for each, number, x in list(zip(clients, numbers, xs, strict=False))[1:]:
        assert_own(each.wait_answer(number), x)
    clients[3].forget(last, withdraw=True)


def test_garbage_of_one_client_stays_in_its_own_rows(servers: Servers, clients: list[RoleClient]) -> None:
    x = servers.rows(3)
    number = ask(clients[0], x)
    assert clients[1].apart is not None
    feeds = clients[1].apart.of_feeds(PLAN.feeds_of("client", "run"), 1)
    payloads = split(feeds, {"x": np.zeros((1, 3), np.uint64)})
    body = {"kind": "submit", "stage": "run", "id": "7" * 32, "rows": 1}
    for party, payload in zip(PARTIES, payloads, strict=True):
        clients[1].calls[party].say(body, np.full_like(payload, 0xFF))
    until(lambda: drive(clients[1].calls.values(), 0.01) or clients[1].calls["p1"].state[2])
    assert_own(clients[0].wait_answer(number), x)
    told = [message for party in PARTIES if (message := _next(clients[1], party, "result"))]
    sizes = [[len(part) for part in message.payload[:2]] for message in told]
    results = clients[1].apart.of_results(PLAN.results_of("client", "run"), 1)
    assert sizes == [[-(-2 * results[0].bits // 8), 1]] * 2  # one row of its own, from each party


def _next(client: RoleClient, party: str, kind: str) -> object:
    found = []
    until(lambda: found or drive(client.calls.values(), 0.01) or found.append(client.calls[party].next()))
    while found[-1] is None or found[-1].kind != kind:
        drive(client.calls.values(), 0.01)
        found.append(client.calls[party].next())
    return found[-1]


@pytest.mark.parametrize("told", [(1, 2), (2, 1)])
def test_who_tells_the_parties_different_rows_is_refused_alone(
    servers: Servers, clients: list[RoleClient], told: tuple[int, int]
) -> None:
    x = servers.rows(2)
    number = ask(clients[0], x)
    assert clients[1].apart is not None
    for party, rows in zip((0, 1), told, strict=True):
        feeds = clients[1].apart.of_feeds(PLAN.feeds_of("client", "run"), rows)
        payload = split(feeds, {"x": np.zeros((rows, 3), np.uint64)})[party]
        body = {"kind": "submit", "stage": "run", "id": "8" * 32, "rows": rows}
        clients[1].calls[PARTIES[party]].say(body, payload)
    with pytest.raises(PeerError, match="client has named one number of rows to p0 and another to p1"):
        until(lambda: drive(clients[1].calls.values(), 0.01) or clients[1].calls["p0"].check(""))
    more = servers.rows(2)
    other = ask(clients[2], more)
    assert_own(clients[0].wait_answer(number), x)
    assert_own(clients[2].wait_answer(other), more)


@pytest.mark.parametrize(("rows", "size"), [(5, 16), (0, 16), (1, 15)])
def test_rows_that_no_run_has_are_refused(clients: list[RoleClient], rows: int, size: int) -> None:
    body = {"kind": "submit", "stage": "run", "id": "9" * 32, "rows": rows}
    clients[0].calls["p0"].say(body, bytes(size))
    with pytest.raises(PeerError, match=r"(where|expected) (the plan takes at most 4|a whole number|the plan has 16)"):
        until(lambda: drive(clients[0].calls.values(), 0.01) or clients[0].calls["p0"].check(""))
