"""Who may use a session's connections now: first come, first served, for threads and for asyncio.

Only one thread at a time may use a ZeroMQ socket, so every use of a session's sockets takes a turn. A thread waits for
its turn (`turn`). Work for asyncio runs on a thread of its own when its turn comes (`later`), so that a long queue
needs no threads. The end of a session is recorded here too, because waiting callers must be told.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import Error, PeerError
from ..limits import WAIT_SECONDS

__all__ = ["MEND_SECONDS", "Ending", "Turns", "on_a_thread"]

T = TypeVar("T")
MEND_SECONDS = 0.5  # how often waiting callers check whether one was interrupted while leaving


@dataclass(frozen=True)
class Ending:
    """Why a session has ended. peer, op: as of a PeerError, if another machine was to blame; None if none was."""

    message: str
    peer: str | None = None
    op: str = ""

    def error(self) -> Error:
        """A new error for each caller: threads must not share one."""
        return Error(self.message) if self.peer is None else PeerError(self.message, self.peer, self.op)


class _Ticket:
    """A place in the queue of a thread that waits for it.

    `here` is locked as long as the thread is in the queue. A `with` locks it, which the interpreter closes whatever
    interrupts it. Ctrl-C may interrupt the rest of leaving the queue; `here` then shows that the place is abandoned.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.here = threading.Lock()
        self.called = threading.Event()

    @property
    def left(self) -> bool:
        """Whether this place is abandoned."""
        return not self.here.locked()

    def call(self) -> bool:
        """Tells it that its turn has come; False if the work was cancelled. Calling again does nothing."""
        self.called.set()
        return True

    def end(self, ending: Ending) -> bool:
        """Tells it that the session has ended. True if it must be removed from the queue, False if it leaves by
        itself."""
        self.called.set()
        return False


class _Later(_Ticket):
    """A place in the queue of work that has no thread yet."""

    def __init__(self, turns: Turns, work: Callable[[], Any]) -> None:
        super().__init__()
        self.thread = 0
        self.future: Future[Any] = Future()
        self._turns = turns
        self._work = work
        self._started = False
        self._begun = threading.Lock()

    @property
    def left(self) -> bool:
        return self.future.done()

    def call(self) -> bool:
        if self._started:
            return True
        if not self.future.running() and not self.future.set_running_or_notify_cancel():
            return False
        try:
            threading.Thread(target=self._do, name="mpc-session", daemon=True).start()
        except RuntimeError as error:
            self.future.set_exception(Error(f"the system does not start a thread for this call: {error}"))
            return False
        self._started = True
        return True

    def end(self, ending: Ending) -> bool:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(ending.error())
        return True

    def _do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return  # an interrupt kept another thread from saying that it had started one
        self.thread = threading.get_ident()
        turns, work, future, error = self._turns, self._work, self.future, None
        try:
            turns.check()
            result = work()
        except BaseException as raised:
            error = raised
        turns.leave(self)
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
            del self, work, future, error  # or the error's traceback would keep them, and they the session


class Turns:
    """The queue of a session. patience: seconds that a caller waits at most for the callers before it."""

    def __init__(self, patience: float = WAIT_SECONDS) -> None:
        self.patience = patience
        self._guard = threading.RLock()  # held for a moment only; a signal's handler may come in between
        self._queue: deque[_Ticket] = deque()  # the first one has its turn
        self._ending: Ending | None = None
        self._process = os.getpid()

    # -- the end --------------------------------------------------------------------------------------------------

    @property
    def ending(self) -> Ending | None:
        """Why the session has ended; None while it has not."""
        return self._ending

    @property
    def elsewhere(self) -> bool:
        """Whether this process is a fork of the one whose session it is."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raises the reason if the session cannot be used. The holder of the turn calls it repeatedly."""
        if self.elsewhere:
            raise Error(
                f"this session belongs to process {self._process}, of which this one is a fork: a process needs a "
                "session of its own"
            )
        if self._ending is not None:
            raise self._ending.error()

    def end(self, ending: Ending) -> None:
        """Ends the session: for waiting callers now, for the holder of the turn at its next `check`. The first reason
        stays."""
        with self._guard:
            if self._ending is not None:
                return  # those in the queue now wait for their turn to close
            self._ending = ending
            for ticket in list(self._queue)[1:]:
                if ticket.end(self._ending):
                    self._queue.remove(ticket)

    # -- the queue ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many are in the queue, with the one that has its turn."""
        with self._guard:
            return len(self._queue)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for this thread's turn and holds it. Raises Error after `patience`, or when the session has ended."""
        self.check()
        ticket = _Ticket()
        with ticket.here:
            try:
                self._join(ticket)
                if not self._wait(ticket, self.patience):
                    raise self.too_late()
                self.check()
                yield
            finally:
                self.leave(ticket)

    @contextmanager
    def last(self, seconds: float) -> Iterator[bool]:
        """A turn after the session has ended: True if it came within so many seconds."""
        ticket = _Ticket()
        with ticket.here:
            try:
                self._join(ticket)
                yield self._wait(ticket, seconds)
            finally:
                self.leave(ticket)

    def later(self, work: Callable[[], T]) -> Future[T]:
        """Runs `work` on another thread when its turn comes. Until then the future can be cancelled."""
        ticket = _Later(self, work)
        self.check()
        self._join(ticket)
        return ticket.future

    @property
    def mine(self) -> bool:
        """Whether this thread has the turn."""
        with self._guard:
            first = self._queue[0] if self._queue else None
            return first is not None and first.thread == threading.get_ident() and not first.left

    def too_late(self) -> Error:
        """What to raise when `patience` is over."""
        return Error(f"other calls of this session have kept it busy for {self.patience:g} s; {len(self)} are waiting")

    def _join(self, ticket: _Ticket) -> None:
        if self.mine:
            raise Error("this thread is within a call of this session already: a signal's handler cannot make another")
        with self._guard:
            self._queue.append(ticket)
        self.mend()

    def _wait(self, ticket: _Ticket, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not ticket.called.wait(min(MEND_SECONDS, max(0.0, until - time.monotonic()))):
            self.mend()
            if time.monotonic() > until:
                return False
        return True

    def leave(self, ticket: _Ticket) -> None:
        """Gives up a place, and the turn if the place has it. Leaving again does nothing."""
        if self.elsewhere:
            return
        with self._guard:
            if ticket in self._queue:
                self._queue.remove(ticket)
        self.mend()

    def mend(self) -> None:
        """Drops abandoned places and tells the first caller in the queue that its turn has come. Waiting callers do
        this from time to time, because an interrupt may have kept the caller before them from doing it."""
        with self._guard:
            while self._queue and (self._queue[0].left or not self._queue[0].call()):
                self._queue.popleft()


def on_a_thread(work: Callable[[], T]) -> Future[T]:
    """Runs `work`, which may block, on a thread of its own."""
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=do, name="mpc-session", daemon=True).start()
    return future
