"""The runs that many rows take, one after the other: each is computed while the next is encoded, shared and sent.

`roles/batches.py` decides which rows a run has, the session whose turn it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import Error, InputError, Interrupted
from ..execution.stats import Stats
from ..procedure import RUN
from ..roles.batches import Batches
from ..roles.inputs import ByRole
from .deployed import Deployment, Submitted

__all__ = ["Rows", "keeping"]

Array = np.ndarray
BATCHES_AHEAD = 2  # one is computed while the next is encoded, shared and sent


class Rows:
    """The rows of one call. edition: of the parameters, with which all rows are computed. meeting: whose runs they
    are, in their order. datasets: how roles call their data."""

    def __init__(
        self,
        deployment: Deployment,
        inputs: Mapping[str, Any],
        edition: int,
        meeting: str | None = None,
        datasets: Mapping[str, str] | None = None,
    ) -> None:
        self.stats = Stats()
        """Of the runs that are done."""
        self.done = 0
        """How many rows are done."""
        self.deployment = deployment
        self._edition = edition
        self._meeting = meeting
        self._datasets = datasets
        self._submitted = 0
        self._tensors = deployment.given.tensors(RUN)
        plan = deployment.plan
        self._apart = deployment.apart is not None
        prepared = any(feed.expression for feed in plan.feeds if feed.name in plan.procedure("run").takes)
        self._short = self._apart and not prepared  # expressions are for whole batches
        outputs, stacked = plan.outputs, deployment.given.stacked
        self.batches = Batches(plan, self._tensors, outputs, inputs, stacked, short=self._short)
        self._coming = iter(self.batches)
        self._inputs = inputs
        self._waiting: deque[Submitted] = deque()
        self._refused = ""  # what comes next is wrong; what was before it is still computed

    def check(self) -> None:
        """Raises InputError with all that is wrong with the rows, before the first run."""
        self.deployment.given.check(self.batches.tensors(self._tensors), self._inputs, "input")

    def check_edition(self, edition: int) -> None:
        """Raises Error if the parameters have been replaced."""
        if edition != self._edition:
            raise Error("the parameters were replaced while these rows were computed, half of them with the old ones")

    def step(self, params: ByRole) -> dict[str, Array] | None:
        """The results of the next run, cut to the rows given; None when there is none left."""
        while len(self._waiting) < BATCHES_AHEAD and not self._refused:
            batch = next(self._coming, None)
            if batch is None:
                break
            count = self.batches.count(self._submitted + 1) - self.batches.count(self._submitted)
            try:
                given = self.deployment.given
                tensors = self.batches.tensors(self._tensors, count) if self._short else self._tensors
                encoded = given.encode(RUN, given.check(tensors, batch, "input"), params)
            except InputError as error:
                self._refused = str(error)
                break
            rows = count if self._apart and count < self.batches.size else None
            named = self._meeting, self._submitted, rows, self._datasets
            self._waiting.append(self.deployment.submit(encoded, *named))
            self._submitted += 1
        if not self._waiting:
            if self._refused:
                raise InputError(self._refused)
            return None
        computed = self.deployment.wait(self._waiting.popleft())
        self.stats = self.stats.plus(computed.stats)
        part = self.batches.cut(computed.results, self.done)
        self.done = self.batches.count(self.stats.runs)
        return part

    def abandon(self) -> None:
        """Drops the results of the runs that are under way."""
        while self._waiting:
            self.deployment.abandon(self._waiting.popleft())


@contextmanager
def keeping(rows: Rows, parts: list[dict[str, Array]]) -> Iterator[None]:
    """An error within carries the results of the rows that are done."""
    try:
        yield
    except Error as error:
        error.partial, error.done_rows = rows.batches.join(parts), rows.batches.count(len(parts))
        raise
    except KeyboardInterrupt:
        raise Interrupted(rows.batches.join(parts), rows.batches.count(len(parts))) from None
