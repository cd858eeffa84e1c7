"""Whether the rows of several queries may share a run: whether each row of the results comes from its own row alone.

This decides what one client may learn of another, so nothing that a plan says of itself is believed. Where the rows lie
in what roles give and get is only a guess from the names of dims, and what gates do to rows are their own rules
(`Gate.rows`): if the guess were wrong, the rows that it names would still not meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..gates import Constant, Gate
from ..gates.rows import Batch, RowsMeet, expect_apart, stride_of, uniform_axes
from ..plan import Feed, Plan, Result
from ..procedure import Procedure

__all__ = ["Apart", "rows_apart"]

BATCH = "batch"  # the dim of rows


@dataclass(frozen=True)
class Apart:
    """The rows of a procedure in which they do not meet. size: how many an execution has. feeds, results: the axis on
    which they lie, by name."""

    size: int
    feeds: Mapping[str, int]
    results: Mapping[str, int]

    def of_feeds(self, feeds: Sequence[Feed], rows: int) -> tuple[Feed, ...]:
        """The same for so many rows."""
        return tuple(replace(feed, shape=_cut(feed.shape, self.feeds[feed.name], rows)) for feed in feeds)

    def of_results(self, results: Sequence[Result], rows: int) -> tuple[Result, ...]:
        return tuple(replace(each, shape=_cut(each.shape, self.results[each.name], rows)) for each in results)


def rows_apart(plan: Plan, stage: str) -> Apart | None:
    """Where the rows of a verified plan's procedure lie; None where they meet, where there are no two of them, or no
    such procedure, and where several roles have a part in it, whose rows would have to be paired."""
    procedure, size = next((p for p in plan.procedures if p.name == stage), None), dict(plan.dims).get(BATCH, 0)
    if procedure is None or size < 2 or procedure.standing or procedure.keeps or len(plan.roles_of(stage)) != 1:
        return None
    try:
        return _Walk(plan, size).apart(procedure)
    except RowsMeet:
        return None


def _cut(shape: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    return (*shape[:axis], rows, *shape[axis + 1 :])


class _Walk:
    """Through the op-lists of a plan, in the order of execution."""

    def __init__(self, plan: Plan, size: int) -> None:
        self._plan = plan
        self._strides: dict[int, int] = {}
        self._uniform: dict[int, frozenset[int]] = {}
        self._batch = Batch(size, plan.registers, self._strides, self._uniform)

    def apart(self, procedure: Procedure) -> Apart:
        for standing in self._plan.procedures:
            for i in standing.order if standing.standing else ():
                self._note_uniform(standing.ops[i].gate)
        results: dict[str, int] = {}
        for i in procedure.order:
            gate = procedure.ops[i].gate
            if gate.feeds or self._strides.keys() & set(gate.ins):
                self._pass(gate, results)
            else:
                expect_apart(not gate.results)  # all clients would get the same, which has no rows
                self._note_uniform(gate)
        return Apart(self._batch.count, {name: self._guess[name] for name in procedure.takes}, results)

    def _pass(self, gate: Gate, results: dict[str, int]) -> None:
        """A gate in which rows take part."""
        if gate.results:
            (name,) = gate.results
            results[name] = self._end(name, gate.ins[0])
            return
        shape = self._plan.registers[gate.outs[0]].shape
        expect_apart(self._guess.keys() >= set(gate.feeds))
        stride = stride_of(shape, self._guess[gate.feeds[0]], 1) if gate.feeds else gate.rows(self._batch)
        self._strides.update(dict.fromkeys(gate.outs, stride))

    def _end(self, name: str, register: int) -> int:
        """The axis of a result's rows, which is the one that its roles think it is."""
        axis, each = self._batch.place(register)
        result = next(result for result in self._plan.results if result.name == name)
        expect_apart(each == 1 and result.shape[axis] == self._batch.count and result.dims[axis] == BATCH)
        return axis

    def _note_uniform(self, gate: Gate) -> None:
        for register in gate.outs:
            shape = self._plan.registers[register].shape
            if isinstance(gate, Constant):
                array = self._plan.constants[gate.index]
                self._uniform[register] = frozenset(a for a in range(array.ndim) if _same_along(array, a))
            elif gate.elementwise:
                self._uniform[register] = uniform_axes(self._batch, gate.ins, shape)

    @cached_property
    def _guess(self) -> dict[str, int]:
        """The axis of the rows in each feed: by its tensor's dims, or the first that is as long."""
        tensors = {(t.role, t.name): t for t in self._plan.inputs}
        found = {}
        for feed in self._plan.feeds:
            tensor = tensors.get((feed.role, feed.source))
            dims = (BATCH,) * len(feed.shape) if tensor is None else tensor.dims
            for axis, (dim, n) in reversed(list(enumerate(zip(dims, feed.shape, strict=True)))):
                if dim == BATCH and n == self._batch.count:
                    found[feed.name] = axis
        return found


def _same_along(array: np.ndarray, axis: int) -> bool:
    return bool(array.size and np.all(array == array.take([0], axis=axis)))
