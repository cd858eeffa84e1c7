"""Metrics: numbers that training tells once an epoch, of the rows that it learns from and of others.

Each is a mean, whose sum the parties keep in shares: a step adds what its batch says of the weights that it finds, and
a batch of validation rows what its rows say, of which only the first ones may count. `accuracy` compares the largest of
the loss's scores with the label, the first of equals; of a binary loss, whether score and label are on the same side.
A loss of validation rows is put together from those of single rows, so it has to be made of means over them.

What a procedure does with these sums is `step.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from compiler.graph import (
    NO_ROWS,
    Graph,
    Input,
    Kind,
    Measure,
    OpError,
    Output,
    Precision,
    State,
    Training,
    Value,
    apply,
    constant,
    declare,
    topological,
)
from compiler.graph.interval import Interval
from compiler.ops import (
    OPERATORS,
    Add,
    ArgMax,
    BinaryCrossEntropy,
    Carried,
    CrossEntropy,
    Div,
    Equal,
    Less,
    Mean,
    Mul,
    Neg,
    Reshape,
    Stored,
    Sub,
    Sum,
    ToFixed,
    ToInt,
    build,
)
from compiler.reading.batch_axis import places
from dsl.errors import Diagnostic, SourceErrors
from mpc_runtime.plan import Metric
from mpc_runtime.procedure import CARRY, COUNTED, EVALUATE, METRICS, ROWS

__all__ = ["ACCURACY", "KINDS", "LOSS", "Added", "described", "expect_measurable", "of_rows", "of_steps"]

ACCURACY, LOSS = "accuracy", "loss"
KINDS = (ACCURACY, LOSS)

COARSE_BITS = 12
"""A sum of losses is held times 2^-COARSE_BITS, with as many fraction bits more than the format has: so it has room for
more than one loss may be, and nothing is rounded."""

SUM_BITS = 60
"""Of a sum of losses as a number of the ring: so there is room to add to it at its scale."""

MOST_HITS = 2.0**29

RESULT = "metric."
"""Before the names of what is told: no output of an author has a dot."""


@dataclass(frozen=True)
class Added:
    """A sum that grows by `value`, a scalar, with every step, or with every batch of `rows` rows of validation. share:
    as of `plan.Metric`."""

    of: Measure
    value: Value
    share: float
    rows: int = 0

    @property
    def name(self) -> str:
        return f"validation_{self.of.name}" if self.rows else self.of.name

    def state(self, stage: str, precision: Precision) -> State:
        """The sum, as a procedure finds it."""
        key, frac = f"sum of {self.name}", precision.frac + COARSE_BITS
        if self.of.name == ACCURACY:
            return State(Kind.INT, (), key, stage, 0, 0.0, MOST_HITS)
        most = min(precision.limit, 2.0 ** (SUM_BITS - frac)) - precision.step
        return State(Kind.FIXED, (), key, stage, frac, -most, most)

    def left(self, role: str, stage: str, precision: Precision) -> Output:
        """The sum behind an execution, which goes on or begins as this role says."""
        state = self.state(stage, precision)
        on = apply(Input(Kind.INT, (), role, True, key=CARRY, stage=stage), declared=Interval(0, 1))
        total = apply(Add(), apply(Carried(), apply(state), on), self.value, span=self.of.span)
        total = declare(total, Interval(state.lo, state.hi))
        return Output(state.key, total, (), self.of.span, stage=stage, keeps=state)

    def told(self, precision: Precision) -> Output:
        """What tells the sum of an epoch."""
        state = apply(self.state(METRICS, precision), span=self.of.span)
        return Output(RESULT + self.name, state, self.of.roles, self.of.span, stage=METRICS, fine=True)

    def described(self, precision: Precision) -> Metric:
        """The metric, of which this is what was added when ranges were known."""
        largest = min(self.value.range.magnitude, precision.limit) * (1 + 2.0**-10) + precision.step
        most = math.floor(self.state(METRICS, precision).hi / largest) * max(self.rows, 1)
        return Metric(self.of.name, RESULT + self.name, bool(self.rows), self.share, most)


def described(graph: Graph, sums: Iterable[Added]) -> tuple[Metric, ...]:
    """The metrics as the plan has them. Raises SourceErrors for one whose sum has no room."""
    metrics, found = [], []
    for each in sums:
        metrics.append(each.described(graph.precision))
        if metrics[-1].most < 1:
            message = f"the metric `{each.of.name}` has no room: in one step it may reach {each.value.range}"
            help = "declare ranges of what the loss depends on, `input x : … in [lo, hi]`"
            found.append(Diagnostic.at(each.of.span, message, file=graph.filename, help=help))
    if found:
        raise SourceErrors(found, graph.source)
    return tuple(metrics)


def expect_measurable(loss: Value, name: str) -> None:
    """Raises OpError for a metric that a model with this loss does not have."""
    at = places([loss])
    if all(place == NO_ROWS for place in at.values()):
        raise OpError("a metric is a mean over the rows of the dim `batch`, on which the loss does not depend")
    if name == ACCURACY:
        _hits(loss)
        scores = next(value.args[0] for value in at if isinstance(value.op, CrossEntropy | BinaryCrossEntropy))
        if at[scores] != 0:
            raise OpError("accuracy expects the rows of the dim `batch` on the first axis of the scores")


def of_steps(training: Training, frac: int) -> list[Added]:
    """What a step adds to each metric."""
    found = []
    for measure in training.metrics:
        if measure.name == LOSS:
            found.append(Added(measure, _coarse(training.loss, frac), 2.0**COARSE_BITS))
        else:
            hits = _hits(training.loss)
            found.append(Added(measure, build.reduce(Sum, hits), 1 / hits.size))
    return found


def of_rows(training: Training, frac: int, rows: int) -> list[Added]:
    """What a batch of validation rows adds to each metric that can be put together from single rows."""
    found = []
    for measure in training.metrics:
        if measure.name == LOSS:
            each = _of_each_row(training.loss, places([training.loss]))
            if each is not None:
                counted = build.reduce(Sum, apply(Mul(), each, _counted(training, (rows,))))
                found.append(Added(measure, _coarse(counted, frac), 2.0**COARSE_BITS, rows))
        else:
            hits = _hits(training.loss)
            shape = (rows, *(1,) * (hits.rank - 1))
            counted = build.reduce(Sum, apply(Mul(), hits, _counted(training, shape)))
            found.append(Added(measure, counted, rows / hits.size, rows))
    return found


def _coarse(loss: Value, frac: int) -> Value:
    return apply(Stored(frac + COARSE_BITS, COARSE_BITS), loss, span=loss.span)


def _counted(training: Training, shape: tuple[int, ...]) -> Value:
    """1 for each row that counts, else 0, as a role's client says in clear."""
    assert training.clock is not None and isinstance(training.clock[0].op, Input)
    rows = apply(
        Input(Kind.INT, (), training.clock[0].op.role, True, key=ROWS, stage=EVALUATE),
        declared=Interval(0, shape[0]),
    )
    first = apply(ToInt(), apply(Less(), constant(np.arange(shape[0])), rows))
    return declare(apply(Reshape(shape), first), Interval(0, 1), COUNTED)


# -- accuracy ----------------------------------------------------------------------------------------------------------


def _hits(loss: Value) -> Value:
    """1 where a score is right, else 0; the rows are on axis 0. Raises OpError where it is not clear what the scores
    of a loss are."""
    found = [value for value in topological([loss]) if isinstance(value.op, CrossEntropy | BinaryCrossEntropy)]
    help = "`cross_entropy` and `binary_cross_entropy_with_logits` have scores; `metric loss` tells any loss"
    if len(found) != 1:
        count = f"{len(found)} losses with" if found else "no"
        raise OpError(f"accuracy compares the scores of one loss with its label, found {count} scores", help)
    (scores, label) = found[0].args
    if isinstance(found[0].op, CrossEntropy):
        return apply(ToInt(), apply(Equal(), apply(ArgMax(1), scores), _classes(label)))
    above, zero, half = OPERATORS[">"], constant(0.0), constant(0.5)
    return apply(ToInt(), OPERATORS["=="](above(scores, zero), above(label, half)))


def _classes(label: Value) -> Value:
    """The class of each row: what was given, where that was compared with all classes, or the likeliest."""
    bits = label.args[0] if isinstance(label.op, ToFixed) else label
    if isinstance(bits.op, Equal) and bits.args[1].is_constant:
        given, classes = bits.args
        if np.array_equal(classes.array, np.arange(label.shape[1])) and given.shape == (label.shape[0], 1):
            return apply(Reshape((label.shape[0],)), given)
    return apply(ArgMax(1), label)


# -- the loss of validation rows ---------------------------------------------------------------------------------------


def _of_each_row(value: Value, at: Mapping[Value, int]) -> Value | None:
    """What has `value`, a scalar, as its mean over the rows: [rows], or `value` where it depends on none. None where
    there is no such thing."""
    if at[value] == NO_ROWS:
        return value
    op, args = value.op, value.args
    if isinstance(op, CrossEntropy | BinaryCrossEntropy):
        return op.of_each_row(*args) if all(at[arg] in (0, NO_ROWS) for arg in args) else None
    if isinstance(op, Mean) and at[args[0]] in op.axes and len(op.axes) == args[0].rank:
        rest = tuple(axis for axis in op.axes if axis != at[args[0]])
        return apply(Mean(rest, False), args[0]) if rest else args[0]
    if isinstance(op, Add | Sub | Neg):
        parts = [_of_each_row(arg, at) for arg in args]
        known = [part for part in parts if part is not None]
        return apply(op, *known, span=value.span) if len(known) == len(parts) else None
    if isinstance(op, Mul | Div):
        rows = [place for place, arg in enumerate(args) if at[arg] != NO_ROWS]
        if len(rows) == 1 and (isinstance(op, Mul) or rows == [0]):
            each = _of_each_row(args[rows[0]], at)
            whole = [each if place == rows[0] else arg for place, arg in enumerate(args)]
            return apply(op, *[arg for arg in whole if arg is not None]) if each is not None else None
    return None
