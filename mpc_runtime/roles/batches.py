"""Any number of rows through a plan of a fixed batch: cut into batches, the last shorter or filled up, the results cut
to size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..encoding.arrays import as_array
from ..errors import InputError, amount
from ..plan import Plan, Result, Tensor

__all__ = ["Batches"]

Array = np.ndarray
BATCH = "batch"


class Batches:
    """The rows of `inputs` along the dim `batch`. stacked: names whose arrays have a first axis of an array role's
    members. short: whether a run may have fewer rows than the plan is for.
    """

    def __init__(
        self,
        plan: Plan,
        tensors: Sequence[Tensor],
        results: Sequence[Result],
        inputs: Mapping[str, Any],
        stacked: frozenset[str],
        *,
        single: str = "run",
        short: bool = False,
    ) -> None:
        """single: what takes one batch, for messages."""
        self._single = single
        self.size = dict(plan.dims).get(BATCH, 0)
        self._short = short
        self._inputs = {name: as_array(name, value) for name, value in inputs.items()}
        self._axes = {t.name: t.dims.index(BATCH) + (t.name in stacked) for t in tensors if BATCH in t.dims}
        self._result_axes = {r.name: r.dims.index(BATCH) if BATCH in r.dims else None for r in results}
        self._ranks = {t.name: len(t.shape) + (t.name in stacked) for t in tensors}
        self.rows = self._count()
        if not self.rows:
            raise InputError("expected at least one row, found none")
        if self.rows != self.size and (whole := [n for n, axis in self._result_axes.items() if axis is None]):
            raise InputError(
                f"output {whole[0]} is not computed row by row along the dim `{BATCH}`, so it takes exactly the "
                f"{amount(self.size, 'row')} that the plan is for, found {self.rows}; compile with "
                f"{BATCH}={self.rows}, or give {amount(self.size, 'row')}"
            )

    @property
    def runs(self) -> int:
        """How many runs the rows take."""
        return -(-self.rows // self.size)

    def count(self, runs: int) -> int:
        """How many of the rows the first `runs` runs compute."""
        return min(self.rows, runs * self.size)

    def _count(self) -> int:
        counts = {
            name: self._inputs[name].shape[axis]
            for name, axis in self._axes.items()
            if name in self._inputs and self._inputs[name].ndim == self._ranks[name]
        }
        if not self.size or not self._axes:
            raise InputError(f"the plan has no input along a dim `{BATCH}`; use {self._single}")
        if len(set(counts.values())) > 1:
            raise InputError(f"expected as many rows in each input, found {counts}")
        return next(iter(counts.values()), self.size)

    def tensors(self, tensors: Sequence[Tensor], rows: int | None = None) -> list[Tensor]:
        """The tensors as they would be for so many rows; for all at once, to check everything before the first run."""
        count = self.rows if rows is None else rows
        return [
            replace(t, shape=tuple(count if d == BATCH else n for d, n in zip(t.dims, t.shape, strict=True)))
            for t in tensors
        ]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """The inputs of each run; the last row is repeated where rows are missing, so that ranges hold, unless the run
        may be `short`."""
        for start in range(0, self.rows, self.size):
            count = min(self.size, self.rows - start) if self._short else self.size
            yield self.take(np.minimum(np.arange(start, start + count), self.rows - 1))

    def take(self, rows: Array) -> dict[str, Array]:
        """The inputs of these rows."""
        return {
            name: value.take(rows, axis=self._axes[name]) if name in self._axes else value
            for name, value in self._inputs.items()
        }

    def cut(self, results: Mapping[str, Array], start: int) -> dict[str, Array]:
        """The results of a run whose first row is `start`, without those of the rows that only filled it up."""
        rows = np.arange(min(self.size, self.rows - start))
        return {
            name: value if (axis := self._result_axes[name]) is None else value.take(rows, axis)
            for name, value in results.items()
        }

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """The results of all runs, each `cut`, as if they had been one."""
        joined = {}
        for name in parts[0] if parts else ():
            axis = self._result_axes[name]
            joined[name] = parts[0][name] if axis is None else np.concatenate([part[name] for part in parts], axis)
        return joined
