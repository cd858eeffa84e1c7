"""Values of the graph, and how they are made: typed, ranged, and folded to constants where every argument is one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.graph.bounds import Norm, useful
from compiler.graph.interval import Interval
from compiler.graph.kinds import (
    FOLD_LIMIT,
    MAX_ELEMENTS,
    MAX_FOLDED,
    MAX_RANK,
    Array,
    Kind,
    OpError,
    Shape,
    Visibility,
)
from compiler.graph.op import Constant, Leaf, Owned, State, TensorOp

if TYPE_CHECKING:
    from dsl.ast import Span


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor of the graph. `owners` are the roles on whose values (secret or public) it depends."""

    op: TensorOp
    args: tuple[Value, ...]
    kind: Kind
    shape: Shape
    visibility: Visibility
    range: Interval
    span: Span | None = field(default=None, repr=False)
    declared: Interval | None = None  # the author's promise `x = EXPR in [lo, hi]`, or the contract on a leaf
    name: str | None = None
    owners: frozenset[str] = frozenset()
    measured: bool = False  # whether `declared` was seen on samples, so that nobody tries to prove it
    part: str = ""  # of a step of training, for reports: FORWARD, BACKWARD, UPDATE
    norms: tuple[Norm, ...] = ()  # what is known of its elements together, beside `range`; of a leaf the contract

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.visibility is Visibility.CONSTANT

    @property
    def is_secret(self) -> bool:
        return self.visibility is Visibility.SECRET

    @property
    def array(self) -> Array:
        """The elements of a constant."""
        if not isinstance(self.op, Constant):
            raise TypeError(f"{self.name or self.op.name} is not a constant")
        return self.op.array

    def __repr__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        return f"<{self.name or '-'} = {self.op.name} {self.kind.value}[{dims}] {self.range}>"


def constant(array: Any, span: Span | None = None, name: str | None = None) -> Value:
    """A constant value from anything NumPy reads: whole numbers become int64, bools bit, the rest float64."""
    if isinstance(array, list | tuple):
        expect_constant(table_shape(array))
    array = np.asarray(array)
    if array.dtype == np.bool_:
        kind = Kind.BIT
    elif np.issubdtype(array.dtype, np.integer):
        kind = Kind.INT
    elif np.issubdtype(array.dtype, np.floating):
        kind = Kind.FIXED
    else:
        raise OpError(f"expected numbers, found a table of {array.dtype}", "rows of a table need equal lengths")
    if not array.size:
        raise OpError("a tensor has at least one element, found an empty table", "a scalar is written without brackets")
    array = np.ascontiguousarray(array, dtype=kind.dtype.newbyteorder("<")).reshape(array.shape)
    if kind is Kind.FIXED and not np.isfinite(array).all():
        raise OpError("a constant is not a finite number", "is there a division by zero, or a logarithm of zero?")
    return apply(Constant(kind, array.shape, array.tobytes()), span=span, name=name)


def table_shape(table: Any) -> Shape:
    """The shape of a table whose rows are alike: lists in lists."""
    shape = []
    while isinstance(table, list | tuple):
        shape.append(len(table))
        table = table[0] if table else None
    return tuple(shape)


def expect_tensor(shape: Shape) -> None:
    """Refuses a shape that no value of a model has."""
    if len(shape) > MAX_RANK:
        raise OpError(f"a tensor has at most {MAX_RANK} axes, found {len(shape)}", "`reshape` joins axes", "shape")
    if 0 in shape:
        raise OpError(f"a tensor [{', '.join(map(str, shape))}] has no elements", "sizes are at least 1", "shape")
    if math.prod(shape) > MAX_ELEMENTS:
        sizes = ", ".join(map(str, shape))
        raise OpError(f"a tensor [{sizes}] has more elements than a machine holds", "use smaller sizes", "shape")


def expect_constant(shape: Shape) -> None:
    """Refuses a shape that no constant has: the compiler and the plan hold all its elements."""
    expect_tensor(shape)
    if math.prod(shape) > MAX_FOLDED:
        sizes = ", ".join(map(str, shape))
        raise OpError(f"a constant [{sizes}] is too large to compile", "let a role provide it as a `param`", "shape")


# -- making values -----------------------------------------------------------------------------------------------------


def apply(
    op: TensorOp,
    *args: Value,
    span: Span | None = None,
    name: str | None = None,
    declared: Interval | None = None,
) -> Value:
    """The value `op(*args)`: typed, ranged, and folded to a constant when every argument is one.

    Raises OpError when the arguments do not fit, when a constant is not a number, or when the result can never lie in
    `declared`.
    """
    kind, shape = op.infer(*args)
    folds = bool(args) and all(arg.is_constant for arg in args)
    (expect_constant if folds else expect_tensor)(shape)  # before anything is made of that size
    derived = op.interval(*args)
    if folds:
        return _declared_constant(_fold(op, args, kind, shape, derived, span, name), declared)
    value = Value(
        op=op,
        args=args,
        kind=kind,
        shape=tuple(shape),
        visibility=_visibility(op, args),
        range=derived,
        span=span,
        name=name,
        owners=_owners(op, args),
        norms=useful(op.norms(*args), derived, tuple(shape)),
    )
    return value if declared is None else declare(value, declared)


def declare(value: Value, declared: Interval, name: str | None = None, measured: bool = False) -> Value:
    """`value` with the author's promise that it lies in `declared`; raises OpError when that can never hold."""
    if value.is_constant:
        return _declared_constant(value, declared)
    both = value.range.intersect(declared)
    if both is None:
        raise OpError(
            f"the value is promised to be in {declared}, but it always lies in {value.range}",
            "correct the range after `in`, or the expression",
        )
    promise = declared if value.declared is None else (value.declared.intersect(declared) or declared)
    measured = measured or value.measured
    return replace(value, range=both, declared=promise, name=name or value.name, measured=measured)


FORWARD, BACKWARD, UPDATE, METRIC = "forward", "backward", "update", "metrics"


def mark(roots: Iterable[Value], part: str) -> None:
    """Say which part of a step of training the roots are, and what is below them and was not said to be another."""
    fresh = list(roots)
    while fresh:
        each = fresh.pop()
        if not each.part and not isinstance(each.op, Leaf):
            object.__setattr__(each, "part", part)
            fresh.extend(each.args)


def stamp(value: Value, span: Span) -> list[Value]:
    """Give `value` and what it was just made of their place in the source: those that got it. What has one is older."""
    fresh, stamped = [value], []
    while fresh:
        each = fresh.pop()
        if each.span is None:
            object.__setattr__(each, "span", span)
            stamped.append(each)
            fresh.extend(each.args)
    return stamped


PARTIES = frozenset({"p0", "p1"})
"""Whose a state is: no role's, so that no role's client is asked to compute with it."""


def _owners(op: TensorOp, args: tuple[Value, ...]) -> frozenset[str]:
    if isinstance(op, State):
        return PARTIES
    return frozenset({op.role}) if isinstance(op, Owned) else frozenset().union(*(a.owners for a in args))


def _visibility(op: TensorOp, args: tuple[Value, ...]) -> Visibility:
    if isinstance(op, Owned):
        return Visibility.PUBLIC if op.public else Visibility.SECRET
    if isinstance(op, State):
        return Visibility.SECRET
    return max((arg.visibility for arg in args), default=Visibility.CONSTANT)


def _fold(
    op: TensorOp,
    args: tuple[Value, ...],
    kind: Kind,
    shape: Shape,
    derived: Interval,
    span: Span | None,
    name: str | None,
) -> Value:
    if kind is Kind.INT and derived.magnitude > FOLD_LIMIT:
        raise OpError("the whole number is too large to compute", f"whole numbers are below 2^{62} here")
    with np.errstate(all="ignore"):
        array = np.asarray(op.evaluate(*(arg.array for arg in args)))
    return constant(array.astype(kind.dtype, copy=False), span=span, name=name)


def _declared_constant(value: Value, declared: Interval | None) -> Value:
    if declared is not None and not declared.contains(value.range):
        raise OpError(
            f"the value is promised to be in {declared}, but it is {value.range}",
            "correct the range after `in`, or the expression",
        )
    return value
