"""How a session uses its connections: in turns, until one of its exchanges is broken off or it is closed.

Whose turn it is says `turns.py`, who is to blame `deployment/blame.py`. Whoever has the turn when the session ends, or
takes the last one, closes the connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..deployment.blame import best_witness
from ..errors import BudgetError, InputError, PeerError, RangeError
from .deployed import Deployment
from .turns import MEND_SECONDS, Ending, Turns
from .variants import Variants

__all__ = ["Connections"]

T = TypeVar("T")
CLOSE_SECONDS = 5.0  # for a call in another thread to see that the session is closed; it looks five times a second
INTERRUPTED = Ending("the session has ended: it was interrupted")


class Connections:
    """The deployments of a session, and the turns in which they are used."""

    def __init__(self, turns: Turns, variants: Variants) -> None:
        self.variants = variants
        self._turns = turns
        self._exchanging = False

    @property
    def ending(self) -> Ending | None:
        """Why the session has ended; None while it has not."""
        return self._turns.ending

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A turn of this thread."""
        with self._turns.turn():
            try:
                yield
            finally:
                if self.ending is not None:
                    self.release()

    async def later(self, work: Callable[[], T]) -> T:
        """Does `work` on another thread in a turn, and waits for it."""

        def done() -> T:
            try:
                return work()
            finally:
                if self.ending is not None:
                    self.release()

        future = self._turns.later(done)
        waiting = asyncio.wrap_future(future)
        until = time.monotonic() + self._turns.patience
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=MEND_SECONDS)
                self._turns.mend()
                if time.monotonic() > until and not waiting.done() and future.cancel():
                    raise self._turns.too_late()
            return await waiting
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        finally:
            del future, waiting  # or an error's traceback would keep them, and they the error

    @contextmanager
    def exchange(self, deployment: Deployment) -> Iterator[None]:
        """Turns the loss of a machine into one error that says who died, how, and at which op; and ends the session.

        So does whatever else comes in between: a submission that not all roles have made would meet the next one.
        """
        if self._exchanging:  # an interrupt has come where the one before it was seen to
            self._turns.end(INTERRUPTED)
            self._turns.check()
        self._exchanging = True
        try:
            yield
        except (InputError, BudgetError, RangeError):
            self._exchanging = False
            raise
        except PeerError as error:
            if (ending := self.ending) is not None:
                raise ending.error() from None  # the machine is gone because the session is
            best = best_witness(error, deployment.clients, deployment.processes)
            if isinstance(best, PeerError):
                self._turns.end(Ending(f"the session has ended: {best}", best.peer, best.op))
            else:
                self._turns.end(Ending(f"the session has ended: {type(best).__name__}: {best}"))
            raise best from None
        except (KeyboardInterrupt, SystemExit):
            self._turns.end(INTERRUPTED)
            raise
        except Exception as error:
            self._turns.end(Ending(f"the session has ended: {type(error).__name__}: {error}"))
            raise
        self._exchanging = False

    def close(self) -> None:
        """Ends the session. Closing again does nothing."""
        if self._turns.elsewhere:
            return
        self._turns.end(Ending("the session is closed"))
        if self._turns.mine:
            return  # a signal's handler has come in between; the call that it interrupts closes
        with self._turns.last(CLOSE_SECONDS) as come:
            if come:
                self.release()
                return
            for deployment in list(self.variants.all):
                if deployment.processes is not None:
                    deployment.processes.close()  # the connections are left to the call that still uses them

    def release(self) -> None:
        """Ends what the session holds, in the process that made it."""
        if not self._turns.elsewhere:
            self.variants.close()
