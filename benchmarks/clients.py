"""Small queries of many clients beside whole batches of one: `python -m benchmarks.clients`.

Each client is a process with a key of its own. It keeps some rows under way, as queries of one row and then of more,
and compares every answer with the model's meaning. latency: from the sharing of a query to its decoded answer. rows/s:
of all clients together, beside one client that sends whole batches, two of them under way. memory and files: of the
busiest server, when a tenth of the queries is done, and the most from there on.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

import mpc_runtime as mpc
from benchmarks.measure import Column, Output, seconds, size
from benchmarks.workloads import make, wrong
from mpc_runtime.deployment.local import Processes
from mpc_runtime.encoding.fixed_point import encode
from mpc_runtime.limits import TIMEOUT_SECONDS, WINDOW_BYTES
from mpc_runtime.plan_file import read
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.client import RoleClient, encode_feeds
from mpc_runtime.transport.identity import KeyPair

Array = np.ndarray
SAMPLE_SECONDS = 0.2
WARM = 0.1  # the part of the queries after which servers have all the memory that they should ever take
BATCHES_AHEAD = 2
COLUMNS: tuple[Column, ...] = (
    ("name", "", lambda name: f"{name:16}"),
    ("queries", "queries", str),
    ("wrong", "wrong", str),
    ("rows_per_second", "rows/s", lambda rate: f"{rate:.1f}"),
    ("p50", "p50", seconds),
    ("p99", "p99", seconds),
    ("warm_memory", "memory", size),
    ("most_memory", "at most", size),
    ("warm_files", "files", str),
    ("most_files", "at most", str),
)


@dataclass(frozen=True)
class Asking:
    """What one client is to do. rows: of each query; ahead: queries under way at a time; place: of the client."""

    plan: bytes
    keys: KeyPair
    addresses: Mapping[str, str]
    server_keys: Mapping[str, str]
    image: Array
    expected: Array
    queries: int
    rows: int
    ahead: int
    place: int


def ask(asking: Asking, told: Queue[tuple[int, list[float]]], ready: Any, done: Any) -> None:
    """A client's process: how many numbers were wrong, which is counted in the end, and each query's latency. done: how
    many queries each client has behind it, which no lock guards: a client writes its own."""
    plan = read(asking.plan)
    client = RoleClient(plan, "client", asking.keys, asking.addresses, asking.server_keys, TIMEOUT_SECONDS)
    (feed,), batch = plan.feeds_of("client", "run"), len(asking.image)
    chosen_of = np.random.default_rng(asking.place).integers(batch, size=(asking.queries, asking.rows))
    under_way: deque[tuple[str, float, Array]] = deque()
    latencies: list[float] = []
    answers: list[tuple[Array, Array]] = []
    sent = 0
    ready.wait()
    while len(latencies) < asking.queries:
        while sent < asking.queries and len(under_way) < asking.ahead:
            began, chosen = time.perf_counter(), chosen_of[sent]
            words = {feed.name: encode(asking.image[chosen], feed.scale)}
            number = client.submit("run", words, rows=asking.rows if asking.rows < batch else None, later=True)
            under_way.append((number, began, chosen))
            sent += 1
        number, began, chosen = under_way.popleft()
        found = client.wait_answer(number).results["logits"]
        latencies.append(time.perf_counter() - began)
        answers.append((found, chosen))
        done[asking.place] += 1
    client.close()
    told.put((sum(wrong(found, asking.expected[chosen]) for found, chosen in answers), latencies))


class Samples:
    """Memory and open files of the server that has most of them."""

    def __init__(self, pids: Mapping[str, int], done: Any, queries: int) -> None:
        self.warm = self.most = (0, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(list(pids.values()), done, queries))
        self._thread.start()

    def _sample(self, pids: list[int], done: Any, queries: int) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            if sum(done) < WARM * queries:
                continue
            found = [(resident(pid), len(os.listdir(f"/proc/{pid}/fd"))) for pid in pids]
            now = max(memory for memory, _ in found), max(files for _, files in found)
            if self.warm == (0, 0):
                self.warm = now
            self.most = max(self.most[0], now[0]), max(self.most[1], now[1])

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(name: str, model: str, clients: int, queries: int, rows: int, ahead: int, linger: float) -> dict[str, Any]:
    """A row of the table: `queries` in all."""
    work = make(model)
    plan = mpc.compile(text=work.source).plan
    image = work.inputs["image"]
    assert work.reference is not None
    processes = Processes(plan, plan.roles, TIMEOUT_SECONDS, WINDOW_BYTES, linger=linger, machines=clients)
    try:
        where = processes.addresses, processes.server_keys
        with_weights = RoleClient(plan, "modeller", processes.role_keys["modeller"], *where, TIMEOUT_SECONDS)
        weights, problems = encode_feeds(plan, "modeller", "setup", dict(work.params), prepare_feed)
        assert not problems, problems
        with_weights.wait_held(with_weights.submit("setup", weights))
        keys = [processes.role_keys["client"], *processes.more_keys["client"]]
        context = mp.get_context("spawn")
        told: Queue[tuple[int, list[float]]] = context.Queue()
        ready, done = context.Barrier(clients + 1), context.RawArray("q", clients)
        each = queries // clients
        asking = [
            Asking(plan.to_bytes(), key, *where, image, work.reference, each, rows, ahead, i)
            for i, key in enumerate(keys)
        ]
        workers = [context.Process(target=ask, args=(one, told, ready, done)) for one in asking]
        for worker in workers:
            worker.start()
        ready.wait()
        began = time.perf_counter()
        samples = Samples(processes.pids(), done, each * clients)
        answers = [told.get() for _ in workers]
        taken = time.perf_counter() - began
        samples.end()
        for worker in workers:
            worker.join()
    finally:
        processes.close()
    latencies = [latency for _, found in answers for latency in found]
    return {
        "name": name,
        "queries": len(latencies),
        "wrong": sum(errors for errors, _ in answers),
        "rows_per_second": len(latencies) * rows / taken,
        "p50": float(np.percentile(latencies, 50)),
        "p99": float(np.percentile(latencies, 99)),
        "warm_memory": samples.warm[0],
        "most_memory": samples.most[0],
        "warm_files": samples.warm[1],
        "most_files": samples.most[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="append JSON lines to this file")
    parser.add_argument("--queries", type=int, default=20_000, help="those of one row; fewer of more rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16], help="of each query; a table's row for each")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--ahead", type=int, default=32, help="rows that a client has under way")
    parser.add_argument("--linger", type=float, default=0.005, help="seconds")
    given = parser.parse_args()
    output, model = Output("clients", given.out, COLUMNS), f"lenet_b{given.batch}"
    whole = max(2 * BATCHES_AHEAD, given.queries // given.batch)
    one = measured("one, batches", model, 1, whole, given.batch, BATCHES_AHEAD, 0.0)
    output.row(one)
    for rows in given.rows:
        who = f"{given.clients} with {rows}"
        ahead, queries = max(BATCHES_AHEAD, given.ahead // rows), given.queries // rows
        many = measured(who, model, given.clients, queries, rows, ahead, given.linger)
        output.row(many)
        print(f"{who}: {many['rows_per_second'] / one['rows_per_second']:.2f} of the rate of whole batches", flush=True)


if __name__ == "__main__":
    main()
