"""Warns of constants that the number format cannot tell from 0, where that changes what a value means.

A factor keeps its precision however small it is, and a weight among others may be 0. But what stands in `maximum(x,
1e-6)` or beside a sum keeps nothing: the numbers that are compared or added have a step of 2^-frac.
"""

from __future__ import annotations

import numpy as np

from compiler.graph import Graph, Kind, TensorOp, Value
from compiler.ops import Add, Equal, Greater, GreaterEqual, Less, LessEqual, Maximum, Minimum, NotEqual, Sub
from compiler.reading.report import report
from dsl.errors import Diagnostic
from mpc_runtime.errors import number

KEPT: tuple[type[TensorOp], ...] = (Add, Sub, Maximum, Minimum)
"""Ops whose operands are held with the format's step."""

COMPARISONS: tuple[type[TensorOp], ...] = (Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual)
"""Ops that hold theirs so too, but may still find 0 on the right side of a constant."""


def vanishing(graph: Graph) -> list[Diagnostic]:
    """A warning for each value with a constant of which every element counts as 0, though none is."""
    step = graph.precision.step
    return [
        report(
            graph,
            value,
            f"{number(_least(lost))} is less than half a step of the number format, {number(step)}, and counts as 0",
            f"write at least {number(step)}, or scale the numbers up",
            "warning",
        )
        for value in graph.values()
        if value.is_secret and isinstance(value.op, KEPT + COMPARISONS)
        for lost in value.args
        if _vanishes(lost, step) and (isinstance(value.op, KEPT) or _decides(value, lost))
    ]


def _vanishes(value: Value, step: float) -> bool:
    return value.is_constant and value.kind is Kind.FIXED and _least(value) > 0 and _most(value) < step / 2


def _decides(value: Value, lost: Value) -> bool:
    """Whether 0 is found on another side of this constant than of 0."""
    zero = np.zeros(lost.shape)
    exact = value.op.evaluate(*(lost.array if arg is lost else zero for arg in value.args))
    return bool(np.any(exact != value.op.evaluate(zero, zero)))


def _least(value: Value) -> float:
    return float(np.abs(value.array).min(initial=np.inf))


def _most(value: Value) -> float:
    return float(np.abs(value.array).max(initial=0.0))
