"""How far one person can move a value: what ranges, `clip_norm` and `one_hot` prove.

A person is a row: the first axis of an input, and for an array role the member too. The person is taken out, so that
the row does not enter the sums that it was in; how many rows a mean divides by stays, as it is public. (To replace a
row by another is to take one out and to add one, so at most twice as far.)

A value is `Rows` while each element depends on one row alone (`TensorOp.rows`), and `Moved` once rows have met in a sum
or a mean: then so far, in L1 and in L2, and a little further in what is stored. Linear ops carry that on; behind
others nothing is known. What an author promises of a value, `x = EXPR in [lo, hi]`, proves nothing: nobody checks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from compiler.graph import NO_ROWS, ROWS_MEET, Graph, Input, Kind, Leaf, Prepared, Value, topological
from compiler.graph.interval import Interval
from compiler.ops import Add, ClipNorm, Concat, Mean, Mul, Neg, OneHot, Sub, Sum, ToFixed, ToInt
from compiler.ops.shapes import BroadcastTo, Move
from compiler.passes.stored_ranges import CONSTANT_ERROR, SMOOTH_ERROR, with_rounding

__all__ = ["Distance", "inputs_of", "sensitivity"]


@dataclass(frozen=True)
class Distance:
    """In L1 and L2."""

    l1: float = math.inf
    l2: float = math.inf

    def __add__(self, other: Distance) -> Distance:
        return Distance(self.l1 + other.l1, self.l2 + other.l2)

    def times(self, factor: float) -> Distance:
        return Distance(self.l1 * factor, self.l2 * factor)

    def least(self, other: Distance) -> Distance:
        return Distance(min(self.l1, other.l1), min(self.l2, other.l2))


NOWHERE = Distance(0.0, 0.0)


@dataclass(frozen=True)
class Free:
    """Depends on no input."""


@dataclass(frozen=True)
class Rows:
    """One row a person, on these axes of these sizes. norm: of the elements of a person, where more is known of them
    than their range; slack: how much larger it may be in what is stored."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    norm: Distance = Distance()
    slack: Distance = NOWHERE


@dataclass(frozen=True)
class Moved:
    """One person moves it by `by` at most, and what is stored by `slack` more."""

    by: Distance
    slack: Distance


Known: TypeAlias = Free | Rows | Moved | None
"""None: nothing is known."""


def sensitivity(graph: Graph) -> Callable[[Value], Moved | None]:
    """Of each value of a graph that the expansion takes; None where nothing is known."""
    stored = dict(zip(graph.values(), (value.range for value in with_rounding(graph).values()), strict=True))
    known = _Analysis(graph, stored)

    def of(value: Value) -> Moved | None:
        found = known.of(value)
        if isinstance(found, Rows):
            return Moved(*known.person(value, found))
        return found if isinstance(found, Moved) else None

    return of


def inputs_of(graph: Graph, value: Value) -> set[Input]:
    """The inputs on which a value depends, those from which clients prepare others among them."""
    found: set[Input] = set()
    for each in topological([value]):
        if isinstance(each.op, Input):
            found.add(each.op)
        elif isinstance(each.op, Prepared):
            found |= inputs_of(graph, graph.prepared[each.op.index].value)
    return found


class _Analysis:
    """Of one graph. stored: the ranges of what is stored; for what clients compute in float64, there are none."""

    def __init__(self, graph: Graph, stored: Mapping[Value, Interval]) -> None:
        self._graph = graph
        self._stored = stored
        self._known: dict[Value, Known] = {}

    def of(self, root: Value) -> Known:
        for value in topological([root]):
            if value not in self._known:
                self._known[value] = self._infer(value)
        return self._known[root]

    def person(self, value: Value, rows: Rows) -> tuple[Distance, Distance]:
        """The largest norm of one person's elements, and how much larger it is in what is stored."""
        count = value.size // math.prod(rows.sizes)
        exact, stored = value.range.magnitude, self._stored.get(value, value.range).magnitude
        wide, more = _alike(count, exact), _alike(count, stored - exact if stored > exact else 0.0)
        l1, l2 = rows.norm.l1 < wide.l1, rows.norm.l2 < wide.l2
        slack = Distance(rows.slack.l1 if l1 else more.l1, rows.slack.l2 if l2 else more.l2)
        return wide.least(rows.norm), slack

    def _infer(self, value: Value) -> Known:
        if value.is_constant:
            return Free()
        if isinstance(value.op, Leaf):
            return self._leaf(value)
        args = [self._known[arg] for arg in value.args]
        if value.declared is not None or None in args:
            return None if not all(isinstance(arg, Free) for arg in args) else Free()
        if all(isinstance(arg, Free) for arg in args):
            return Free()
        if any(isinstance(arg, Moved) for arg in args):
            return self._linear(value, args)
        return self._members(value, args) or self._rows(value, args) or self._met(value, args)

    def _leaf(self, value: Value) -> Known:
        op = value.op
        if isinstance(op, Input):
            return Rows((0,), op.shape[:1]) if op.shape else Rows((), ())
        if not isinstance(op, Prepared):
            return Free()
        made = self._graph.prepared[op.index].value
        found = _Analysis(self._graph, {}).of(made)  # its client checks what is promised inside
        count, step = value.size, self._graph.precision.step if value.kind is Kind.FIXED else 0.0
        if isinstance(found, Moved):
            return replace(found, slack=found.slack + _alike(count, step))
        if isinstance(found, Rows):
            return replace(found, slack=found.slack + _alike(count // math.prod(found.sizes), step))
        return found

    # -- while every element depends on one row ------------------------------------------------------------------------

    def _rows(self, value: Value, args: list[Known]) -> Rows | None:
        """The rows of the result, where no two have met."""
        rows = [arg for arg in args if isinstance(arg, Rows)]
        first = rows[0]
        if any(each.sizes != first.sizes for each in rows):
            return None
        axes = []
        for place, size in enumerate(first.sizes):
            at = [arg.axes[place] if isinstance(arg, Rows) else NO_ROWS for arg in args]
            axis = value.op.rows(value.args, at, value.shape)
            if axis in (NO_ROWS, ROWS_MEET) or axis in axes or value.shape[axis] != size:
                return None
            axes.append(axis)
        if not axes and value.size < max(arg.size for arg in value.args) and isinstance(value.op, Sum | Mean):
            return None  # one person's input: a sum of it is moved
        return self._with_norm(value, replace(first, axes=tuple(axes)))

    def _with_norm(self, value: Value, rows: Rows) -> Rows:
        op, count = value.op, value.size // math.prod(rows.sizes)
        if isinstance(op, ClipNorm):
            vectors = count / math.prod(value.shape[axis] for axis in op.axes)
            bound = math.sqrt(vectors) * op.bound
            error = _alike(count, SMOOTH_ERROR * max(1.0, op.bound)) if value in self._stored else NOWHERE
            return replace(rows, norm=Distance(math.sqrt(count) * bound, bound), slack=error)
        if isinstance(op, OneHot):
            vectors = count // op.count
            return replace(rows, norm=Distance(vectors, math.sqrt(vectors)), slack=NOWHERE)
        kept = isinstance(op, Neg | ToInt | ToFixed) or (isinstance(op, Move) and not isinstance(op, BroadcastTo))
        return rows if kept else replace(rows, norm=Distance(), slack=NOWHERE)

    def _members(self, value: Value, args: list[Known]) -> Rows | None:
        """The stacked input of an array role: its members are persons, or have persons of their own."""
        op = value.op
        if not (isinstance(op, Concat) and all(isinstance(arg, Rows) for arg in args)):
            return None
        owners: set[str] = set().union(*(arg.owners for arg in value.args))
        apart = len(owners) == sum(len(arg.owners) for arg in value.args)
        apart = apart and all(arg.shape[op.axis] == 1 for arg in value.args)
        together = any(owners <= set(array.members) for array in self._graph.array_roles)
        first = args[0]
        if not (apart and together and isinstance(first, Rows)) or any(arg != first for arg in args):
            return None
        if op.axis in first.axes:
            return None
        return Rows((op.axis, *first.axes), (len(args), *first.sizes), first.norm, first.slack)

    # -- where they meet, and behind -----------------------------------------------------------------------------------

    def _met(self, value: Value, args: list[Known]) -> Moved | None:
        """All persons in a sum or a mean."""
        op, rows = value.op, args[0]
        if not (isinstance(op, Sum | Mean) and isinstance(rows, Rows) and set(rows.axes) <= set(op.axes)):
            return None
        norm, slack = self.person(value.args[0], rows)
        together = value.args[0].size // math.prod(rows.sizes) / value.size  # elements of a person in one of the result
        by, slack = (Distance(d.l1, min(d.l1, d.l2 * math.sqrt(together))) for d in (norm, slack))
        if isinstance(op, Sum):
            return Moved(by, slack)
        share = 1 / op.count(value.args[0].shape)
        return Moved(by.times(share), slack.times(share) + self._rounded(value))

    def _linear(self, value: Value, args: list[Known]) -> Moved | None:
        """What linear ops make of values that are moved."""
        op, moved = value.op, [arg for arg in args if isinstance(arg, Moved)]
        if any(isinstance(arg, Rows) for arg in args):
            return None
        whole = all(arg.size == value.size for arg, known in zip(value.args, args, strict=True) if known in moved)
        if isinstance(op, Neg | ToInt | ToFixed) or (isinstance(op, Move) and value.size <= value.args[0].size):
            return moved[0]
        if isinstance(op, Add | Sub) and whole:
            by, slack = moved[0].by, moved[0].slack
            for other in moved[1:]:
                by, slack = by + other.by, slack + other.slack
            return Moved(by, slack)
        if isinstance(op, Mul) and whole and (factor := next((a for a in value.args if a.is_constant), None)):
            most = factor.range.magnitude
            return Moved(moved[0].by.times(most), moved[0].slack.times(most) + self._rounded(value))
        if isinstance(op, Concat):
            l1, l2 = sum(each.by.l1 for each in moved), math.hypot(*(each.by.l2 for each in moved))
            slack = Distance(sum(each.slack.l1 for each in moved), sum(each.slack.l2 for each in moved))
            return Moved(Distance(l1, l2), slack)
        return None

    def _rounded(self, value: Value) -> Distance:
        """What a truncation and the encoding of a constant add."""
        if value not in self._stored or value.kind is not Kind.FIXED:
            return NOWHERE
        return _alike(value.size, CONSTANT_ERROR * self._graph.precision.step)


def _alike(count: int, each: float) -> Distance:
    """Of so many elements of this size."""
    return Distance(count * each, math.sqrt(count) * each)
