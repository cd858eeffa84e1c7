"""The queue of a session: one at a time, in the order of asking, whoever asks; and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from mpc_runtime.errors import Error, PeerError
from mpc_runtime.sessions.turns import Ending, Turns
from tests.waiting import SECONDS, until


class Holder:
    """A thread that has a turn until it is told to go."""

    def __init__(self, turns: Turns) -> None:
        self.go = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(turns,))
        self._thread.start()
        until(lambda: len(turns) == 1)

    def _hold(self, turns: Turns) -> None:
        with turns.turn():
            assert self.go.wait(SECONDS)

    def leave(self) -> None:
        self.go.set()
        self._thread.join(SECONDS)


def test_turns_come_one_at_a_time_in_the_order_of_asking() -> None:
    turns, order, inside = Turns(), [], []
    holder = Holder(turns)

    def work(n: int) -> None:
        inside.append(n)
        assert len(inside) == 1
        order.append(n)
        inside.remove(n)

    def take(n: int) -> None:
        with turns.turn():
            work(n)

    threads = []
    for n in range(8):
        if n % 2:
            turns.later(lambda n=n: work(n))
        else:
            threads.append(threading.Thread(target=take, args=(n,)))
            threads[-1].start()
        until(lambda n=n: len(turns) == n + 2)
    holder.leave()
    until(lambda: len(turns) == 0)
    assert order == list(range(8))
    for thread in threads:
        thread.join(SECONDS)


def test_a_queue_of_work_takes_no_threads_until_its_turn() -> None:
    turns = Turns()
    holder = Holder(turns)
    before = threading.active_count()
    futures = [turns.later(threading.get_ident) for _ in range(200)]
    assert threading.active_count() == before
    holder.leave()
    assert threading.get_ident() not in [future.result(SECONDS) for future in futures]


def test_an_error_within_a_turn_is_the_callers_and_the_next_has_its_turn() -> None:
    turns = Turns()
    with pytest.raises(KeyboardInterrupt), turns.turn():
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError):
        turns.later(lambda: 1 // 0).result(SECONDS)
    with turns.turn():
        assert turns.mine
    assert not turns.mine


def test_who_is_cancelled_leaves_the_queue() -> None:
    turns, done = Turns(), []
    holder = Holder(turns)
    first, second = turns.later(lambda: done.append(1)), turns.later(lambda: done.append(2))
    assert first.cancel()
    holder.leave()
    second.result(SECONDS)
    assert done == [2]
    with pytest.raises(CancelledError):
        first.result(SECONDS)


def test_who_is_interrupted_while_it_waits_leaves_the_queue() -> None:
    turns = Turns()
    holder = Holder(turns)

    def interrupt() -> None:
        until(lambda: len(turns) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), turns.turn():
        pass
    thread.join(SECONDS)
    assert len(turns) == 1 and turns.ending is None
    holder.leave()
    with turns.turn():
        pass


INTERRUPTED = """
    import os, random, signal, sys, threading, time
    sys.path.insert(0, {root!r})
    from mpc_runtime.sessions.turns import Turns

    turns, inside, stop, hits = Turns(), [], threading.Event(), 0

    def thread():
        while not stop.is_set():
            with turns.turn():
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    def task():
        while not stop.is_set():
            turns.later(int).result(30)

    def interrupt():
        while not stop.is_set():
            time.sleep(random.uniform(0.0005, 0.003))
            os.kill(os.getpid(), signal.SIGINT)

    threads = [threading.Thread(target=f, daemon=True) for f in (thread, thread, task, interrupt)]
    for each in threads:
        each.start()
    while hits < 500:
        try:
            while True:
                with turns.turn():
                    pass
        except KeyboardInterrupt:
            hits += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop.set()
    for each in threads:
        each.join(30)
    assert not any(each.is_alive() for each in threads)
    with turns.turn():
        assert len(turns) == 1
    print("done")
"""


def test_an_interrupt_at_any_moment_leaves_nobody_waiting_for_ever(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED).format(root=str(Path(__file__).resolve().parents[3])))
    for _ in range(3):  # a signal may hit the script itself, between its loop and the end of the signals
        ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=SECONDS, check=False)
        if "KeyboardInterrupt" not in ran.stderr:
            break
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    turns = Turns(patience=0.05)
    holder = Holder(turns)
    with pytest.raises(Error, match=r"kept it busy for 0\.05 s"), turns.turn():
        pass
    assert len(turns) == 1
    holder.leave()
    with turns.turn():
        pass


def test_the_end_reaches_all_who_wait_and_all_who_come() -> None:
    turns = Turns()
    holder = Holder(turns)
    caught: list[BaseException] = []

    def take() -> None:
        try:
            with turns.turn():
                pass
        except Error as error:
            caught.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: len(turns) == 2)
    future = turns.later(int)
    turns.end(Ending("p0 is gone", "p0", "line 3"))
    turns.end(Ending("the session is closed"))  # the first reason stays
    thread.join(SECONDS)
    caught.append(future.exception(SECONDS))
    for ask in (turns.check, lambda: turns.later(int), lambda: turns.turn().__enter__()):
        with pytest.raises(Error) as found:
            ask()
        caught.append(found.value)
    assert len(caught) == len(set(map(id, caught))) == 5
    assert all(isinstance(e, PeerError) and (e.peer, e.op, str(e)) == ("p0", "line 3", "p0 is gone") for e in caught)
    with turns.last(0.01) as come:
        assert not come  # the holder is still there
    holder.leave()
    with turns.last(SECONDS) as come:
        assert come
    assert len(turns) == 0


def test_many_may_end_it_and_each_waits_for_the_holder() -> None:
    turns, inside, found = Turns(), [], []
    holder = Holder(turns)

    def close() -> None:
        turns.end(Ending("the session is closed"))
        with turns.last(SECONDS) as come:
            found.append((come, holder.go.is_set(), len(inside)))
            inside.append(None)
            inside.pop()

    threads = [threading.Thread(target=close) for _ in range(3)]
    for n, thread in enumerate(threads):
        thread.start()
        until(lambda n=n: len(turns) == n + 2)
    assert found == []
    holder.leave()
    for thread in threads:
        thread.join(SECONDS)
    assert found == [(True, True, 0)] * 3


def test_a_thread_does_not_wait_for_itself() -> None:
    turns = Turns()
    with turns.turn(), pytest.raises(Error, match="already"), turns.turn():
        pass
    with pytest.raises(Error, match="already"):
        turns.later(lambda: turns.later(int)).result(SECONDS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_is_told() -> None:
    turns = Turns()
    holder = Holder(turns)  # a lock that is held at the fork must not stop the child
    child = os.fork()
    if child == 0:
        try:
            turns.check()
        except Error as error:
            os._exit(0 if "a fork" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    holder.leave()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_loop_that_closes_does_not_harm_the_queue() -> None:
    turns, began = Turns(), threading.Event()
    go = threading.Event()

    async def ask() -> None:
        future = turns.later(lambda: (began.set(), go.wait(SECONDS)))
        assert began.wait(SECONDS)
        await asyncio.wait_for(asyncio.wrap_future(future), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask())
    go.set()
    with turns.turn():
        pass
