"""One session and many who use it: threads, web servers of both kinds, tasks that are cancelled, and its end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.opening import launch_plan
from mpc_runtime.program import prepare_feed
from mpc_runtime.session import Session
from mpc_runtime.sessions.turns import on_a_thread
from tests.mpc_runtime.plans import linear
from tests.waiting import SECONDS, all_gone, at_once, gone, in_thread, interrupt_run

W = np.arange(12).reshape(3, 4) - 5
X = np.arange(6).reshape(2, 3)


def launch(**sizes: int) -> Session:
    session = launch_plan(linear(**sizes), prepare_feed)
    session.provide({"w": W})
    return session


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with launch(chain=3) as session:
        yield session


def question(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 9, (2, 3))


# -- threads ------------------------------------------------------------------------------------------------------


def test_eight_threads_get_each_its_own_answers(session: Session) -> None:
    def ask(thread: int) -> None:
        for n in range(10):
            x = question(100 * thread + n)
            assert (session.run(x=x)["y"] == x @ W).all()
            if n == thread:
                with pytest.raises(mpc.InputError, match="x: expected shape"):
                    session.run(x=x[:1])

    assert at_once(*(lambda thread=thread: ask(thread) for thread in range(8))) == [None] * 8


def test_stats_are_of_the_threads_own_last_call(session: Session) -> None:
    session.run(x=X)

    def count(rows: int) -> int:
        session.run_batches(x=np.zeros((rows, 3)))
        return session.stats.runs

    assert at_once(*(lambda rows=rows: count(rows) for rows in (2, 4, 6, 8))) == [1, 2, 3, 4]
    assert session.stats.runs == 1
    assert at_once(lambda: session.stats.runs)[0] in (1, 2, 3, 4)  # a thread without a call of its own: the last of all


def test_a_short_run_need_not_wait_for_many_rows(session: Session) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (9, 3))
    parts = []
    for part in session.iter_batches(x=x):
        parts.append(part["y"])
        assert session.stats.runs == len(parts)
        assert (session.run(x=X)["y"] == X @ W).all()
        assert (at_once(lambda: session.run(x=X))[0]["y"] == X @ W).all()
    assert (np.concatenate(parts) == x @ W).all()


def test_an_iterator_that_is_let_go_of_disturbs_nobody(session: Session) -> None:
    x = question(0)
    for _ in range(10):
        assert (next(session.iter_batches(x=np.concatenate([x, -x, x])))["y"] == x @ W).all()
        assert (session.run(x=X)["y"] == X @ W).all()


def test_an_iterator_of_two_roles_that_is_let_go_of_mixes_no_rows() -> None:
    text = "model pair\nrole a, b\ndim batch = 1\ninput x : int[batch] from a in [-9, 9]\n"
    text += "input q : int[batch] from b in [-9, 9]\noutput y = x * q to a\n"
    with mpc.launch(mpc.compile(text=text)) as session:
        for n in range(1, 9):
            assert next(session.iter_batches(x=[n, 2, 3], q=[n, 5, 7]))["y"] == n * n
            assert session.run(x=[n], q=[-n])["y"] == -n * n


def test_rows_are_computed_with_the_same_parameters_or_refused(session: Session) -> None:
    parts = session.iter_batches(x=np.zeros((6, 3)))
    next(parts)
    session.provide({"w": -W})
    with pytest.raises(mpc.Error, match="the parameters were replaced while these rows were computed"):
        next(parts)
    assert (session.run(x=X)["y"] == X @ -W).all()
    session.provide({"w": W})
    assert (session.run(x=X)["y"] == X @ W).all()


def test_a_name_that_python_does_not_take_comes_in_a_dict(session: Session) -> None:
    assert (session.run({"x": X})["y"] == X @ W).all()
    assert (session.run_batches({"x": X[:1]})["y"] == X[:1] @ W).all()
    with pytest.raises(mpc.InputError, match="x: given twice"):
        session.run({"x": X}, x=X)
    with pytest.raises(mpc.InputError, match=r"by name.*found a ndarray"):
        session.run(X)  # type: ignore[arg-type]


# -- web servers --------------------------------------------------------------------------------------------------


def asked(port: int, x: np.ndarray) -> tuple[int, Any]:
    """The status and the answer of a web server on this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", "/", json.dumps(x.tolist()))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def assert_serves(port: int) -> None:
    """Eight clients at once: right answers to right questions, a client's own error to a wrong one."""

    def ask(client: int) -> None:
        for n in range(5):
            x = question(1000 + 10 * client + n)
            assert asked(port, x) == (200, (x @ W).tolist())
            status, message = asked(port, x[:1])
            assert status == 400 and "expected shape [2, 3], found [1, 3]" in message

    assert at_once(*(lambda client=client: ask(client) for client in range(8))) == [None] * 8


def test_a_web_server_of_threads(session: Session) -> None:
    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, session.run(x=question)["y"].tolist()
            except mpc.InputError as error:
                status, answer = 400, str(error)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert_serves(server.server_address[1])
        server.shutdown()
        thread.join(SECONDS)


def test_a_web_server_of_asyncio(session: Session) -> None:
    async def endpoint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length"))
        question = json.loads(await reader.readexactly(int(length)))
        before = len(beating)
        try:
            status, answer = b"200 OK", (await session.run_async(x=question))["y"].tolist()
            went_on.append(len(beating) > before)
        except mpc.InputError as error:
            status, answer = b"400 Bad Request", str(error)
        writer.write(b"HTTP/1.0 " + status + b"\r\n\r\n" + json.dumps(answer).encode())
        await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(endpoint, "127.0.0.1", 0)
        async with server:
            beats = asyncio.create_task(count_beats())
            await asyncio.wait_for(
                asyncio.wrap_future(on_a_thread(lambda: assert_serves(server.sockets[0].getsockname()[1]))), SECONDS
            )
            beats.cancel()

    async def count_beats() -> None:
        while True:
            beating.append(None)
            await asyncio.sleep(0)

    beating: list[None] = []
    went_on: list[bool] = []
    asyncio.run(serve())
    assert len(went_on) == 8 * 5 and all(went_on)  # the loop went on while runs were computed


# -- asyncio ------------------------------------------------------------------------------------------------------


def test_tasks_share_a_session_and_have_stats_of_their_own(session: Session) -> None:
    async def ask(n: int) -> tuple[bool, int]:
        x = np.random.default_rng(n).integers(-9, 9, (2 * n, 3))
        right = ((await session.run_batches_async(x=x))["y"] == x @ W).all()
        return bool(right), session.stats.runs

    async def main() -> None:
        await session.provide_async({"w": W})
        assert await asyncio.gather(*map(ask, range(1, 5))) == [(True, n) for n in range(1, 5)]
        with pytest.raises(mpc.InputError, match="x: missing"):
            await session.run_async()

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_a_cancelled_task_leaves_the_queue_and_the_others_get_their_answers(session: Session) -> None:
    async def main() -> None:
        x = question(5)
        runs = [asyncio.create_task(session.run_async(x=x + n)) for n in range(6)]
        await asyncio.sleep(0)
        for run in runs[::2]:
            run.cancel()
        found = await asyncio.gather(*runs, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found[::2])
        assert all((each["y"] == (x + n) @ W).all() for n, each in enumerate(found) if n % 2)
        many = asyncio.create_task(session.run_batches_async(x=np.zeros((2000, 3))))
        await session.run_async(x=x)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        assert ((await session.run_async(x=x))["y"] == x @ W).all()

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_async_with_closes_and_ends_what_waits() -> None:
    async def main() -> list[int]:
        async with launch(chain=600) as session:
            pids = list(session.pids.values())
            runs = [asyncio.create_task(session.run_async(x=X)) for _ in range(5)]
            await asyncio.sleep(0)
        found = await asyncio.gather(*runs, return_exceptions=True)
        assert all(isinstance(each, mpc.Error) and "the session is closed" in str(each) for each in found[1:])
        return pids

    assert all(map(gone, asyncio.run(asyncio.wait_for(main(), SECONDS))))


# -- the end ------------------------------------------------------------------------------------------------------


def test_closing_ends_the_calls_of_other_threads() -> None:
    session = launch(chain=600)
    pids, began = list(session.pids.values()), threading.Event()

    def ask() -> None:
        while True:
            session.run(x=X)
            began.set()

    def close() -> None:
        assert began.wait(SECONDS)
        session.close()

    *found, closed = at_once(*[ask] * 7, close)
    assert closed is None
    assert all(isinstance(each, mpc.Error) and "the session is closed" in str(each) for each in found)
    assert all(map(gone, pids))
    session.close()


def test_a_machine_that_dies_is_named_to_all_who_wait() -> None:
    with launch(chain=600) as session:
        pids, began = session.pids, threading.Event()

        def ask() -> None:
            while True:
                session.run(x=X)
                began.set()

        def kill() -> None:
            assert began.wait(SECONDS)
            os.kill(pids["p1"], signal.SIGKILL)

        *found, _ = at_once(*[ask] * 7, kill)
        assert all(isinstance(each, mpc.PeerError) and each.peer == "p1" for each in found)
        assert all("p1 was killed by SIGKILL" in str(each) for each in found)
        assert all(map(gone, pids.values()))


def test_a_call_that_is_interrupted_ends_the_session_for_all() -> None:
    with launch(chain=600) as session:
        pids, began = list(session.pids.values()), threading.Event()

        def interrupt() -> None:
            assert began.wait(SECONDS)
            interrupt_run(session.pids["p1"])

        in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            while True:
                session.run(x=X)
                began.set()
        with pytest.raises(mpc.Error, match="it was interrupted"):
            session.run(x=X)
        assert all(map(gone, pids))


def test_a_session_that_nobody_refers_to_takes_its_processes_along() -> None:
    found = []
    session = launch()
    for _ in range(2):
        found += list(session.pids.values())
        session = launch()  # as a cell of a notebook that is run again
    session.run(x=X)
    parts = session.iter_batches(x=np.zeros((6, 3)))
    next(parts)
    last = list(session.pids.values())
    del session
    gc.collect()
    assert len(set(found)) == 6 and all_gone(found)
    assert not any(map(gone, last))  # the iterator still needs them
    del parts
    gc.collect()
    assert all_gone(last)


def test_a_session_that_has_failed_a_caller_does_not_stay_for_its_error() -> None:
    session = launch()
    pids = list(session.pids.values())
    with pytest.raises(mpc.InputError):
        session.run(x=X[:1])
    del session
    gc.collect()
    assert all_gone(pids)


LEFT = """
    import asyncio, sys, threading
    from contextlib import suppress
    sys.path.insert(0, {top!r})
    import mpc_runtime as mpc
    from tests.mpc_runtime.test_session_shared import X, launch
    session = launch(chain=600)
    print(*session.pids.values(), flush=True)
    began = threading.Event()

    def ask():
        with suppress(mpc.Error):  # the end of the program may reach the session first
            while True:
                session.run(x=X)
                began.set()

    async def wait():
        runs = [asyncio.create_task(session.run_async(x=X)) for _ in range(3)]
        await runs[0]

    if sys.argv[1] == "thread":
        threading.Thread(target=ask, daemon=True).start()
        began.wait()
    else:
        asyncio.run(wait())
"""


@pytest.mark.parametrize("how", ["thread", "asyncio"])
def test_a_program_that_ends_within_a_call_ends_its_processes(tmp_path: Path, how: str) -> None:
    script = tmp_path / "left.py"
    script.write_text(textwrap.dedent(LEFT).format(top=str(Path(__file__).resolve().parents[2])))
    done = subprocess.run([sys.executable, script, how], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 3 and all_gone(pids)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks a process with threads")
def test_a_fork_cannot_use_a_session_nor_end_it(session: Session) -> None:
    child = os.fork()
    if child == 0:
        try:
            session.run(x=X)
        except mpc.Error as error:
            session.close()
            os._exit(0 if "a fork" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (session.run(x=X)["y"] == X @ W).all()


def test_a_session_says_what_it_is() -> None:
    with launch_plan(linear(), prepare_feed) as session:
        assert repr(session) == "<Session linear: local, roles client, modeller; parameters not provided here; 0 runs>"
        session.provide({"w": W})
        session.run(x=X)
        assert repr(session) == "<Session linear: local, roles client, modeller; parameters provided; 1 run>"
    assert repr(session).endswith("1 run; the session is closed>")
