"""Intervals through the actual weights: for each element of each value, the numbers that it may take.

A value's own range, as the compiler has it, is one interval for all elements and knows of weights only their bounds.
Here the weights are numbers, and every element has an interval of its own: a layer's output is bounded by the L1 norm
of its row, weighted by what each input may be. Ops that have no rule here are bounded by their range rule; both hold,
and the narrower end is taken.

What is proved holds for every input within its declared range, and if the promises hold that are relied on.

An end is *reached* where some input within its declared range makes an element that large, so that no better analysis
could bring it down: the ends of inputs, of a linear layer of them, and of what an increasing function makes of those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler import ops
from compiler.graph import (
    MAX_FOLDED,
    Array,
    Graph,
    Input,
    Kind,
    Owned,
    Param,
    Precision,
    Shape,
    TensorOp,
    Value,
    apply,
    constant,
)
from compiler.graph.interval import Interval
from compiler.ops.shapes import Move, Reshape, Slice, Transpose
from compiler.ops.sums import Sum
from compiler.reading.reference import provided

ROUNDING = 2.0**-10
"""Part of a bound (of at least 1) by which rounding to fixed point may exceed it: promises have that much room."""

Ends = tuple[Array, Array]

INCREASING = (
    Move,
    ops.Concat,
    ops.Add,
    ops.Maximum,
    ops.Minimum,
    Sum,
    ops.Mean,
    ops.Max,
    ops.Min,
    ops.MaxPool2d,
    ops.AvgPool2d,
    ops.ToInt,
    ops.ToFixed,
)
"""Ops that decrease with none of their arguments: the ends of the arguments make the ends of the result."""


@dataclass(frozen=True)
class Box:
    """What is known of a value. plain: the value with a narrower range, or a constant; lo, hi: of each element.

    reached: some inputs make an element as small and as large as its ends say, each element by itself; apart: so they
    can all elements at once, whichever end each is at.
    """

    plain: Value
    lo: Array
    hi: Array
    reached: bool = False
    apart: bool = False

    @property
    def exact(self) -> bool:
        return self.lo is self.hi

    @property
    def range(self) -> Interval:
        return Interval(float(self.lo.min()), float(self.hi.max()))


Judge = Callable[[Value, Box], bool]
"""Whether a promise is relied on, which has this box without it."""


def bounds(
    graph: Graph, params: Mapping[str, Array], relied_on: Judge = lambda value, box: True
) -> dict[Value, Interval]:
    """The range of every value that an output needs, with these parameters; others are anywhere in their range."""
    order = graph.values()
    last_use = {arg: place for place, value in enumerate(order) for arg in value.args}
    known: dict[Value, Box] = {}
    found: dict[Value, Interval] = {}
    for place, value in enumerate(order):
        box = _box(value, [known[arg] for arg in value.args], params, graph.precision, relied_on)
        known[value], found[value] = box, box.range
        for arg in set(value.args):
            if last_use[arg] == place:
                del known[arg]
    return found


def _box(value: Value, args: Sequence[Box], params: Mapping[str, Array], precision: Precision, relied_on: Judge) -> Box:
    op = value.op
    if value.is_constant:
        return _exact(value, value.array)
    if isinstance(op, Param) and op.key in params:
        return _exact(value, _stored(provided(op, {}, params), precision))
    whole = precision.format_range(value.kind)
    if isinstance(op, Owned):
        free = isinstance(op, Input) and value.kind is Kind.FIXED
        found = _uniform(replace(value, range=value.range.intersect(whole) or whole))
        return replace(found, reached=free, apart=free)
    if args and all(arg.exact for arg in args):
        with np.errstate(all="ignore"):
            array = np.asarray(op.evaluate(*(arg.lo for arg in args)))
        if np.isfinite(array).all():
            return _exact(value, array.astype(value.kind.dtype))
    plain = apply(op, *(arg.plain for arg in args))
    plain = replace(plain, range=plain.range.intersect(whole) or whole)
    ends = _ends(op, args)
    box = _uniform(plain) if ends is None else _within(plain, *ends)
    if ends is not None:
        reached, apart = _reached(op, args, plain.shape)
        box = replace(box, reached=reached, apart=apart)
    if value.declared is None or not relied_on(value, box):
        return box
    plain = replace(box.plain, range=box.range.intersect(value.declared) or value.declared)
    return replace(_within(plain, box.lo, box.hi), reached=box.reached, apart=box.apart)


def _stored(array: Array, precision: Precision) -> Array:
    """As the format stores it: what the machines multiply by."""
    return np.rint(array * 2.0**precision.frac) / 2.0**precision.frac if array.dtype.kind == "f" else array


def _exact(value: Value, array: Array) -> Box:
    small = array.size <= MAX_FOLDED
    ends = Interval(float(array.min()), float(array.max()))
    return Box(constant(array, name=value.name) if small else replace(value, range=ends), array, array)


def _uniform(plain: Value) -> Box:
    lo, hi = (np.broadcast_to(np.float64(end), plain.shape) for end in (plain.range.lo, plain.range.hi))
    return Box(plain, lo, hi)


def _within(plain: Value, lo: Array, hi: Array) -> Box:
    """The ends cut to the value's range, and the range to the ends; rounding may let an end pass the other."""
    lo = np.clip(np.broadcast_to(lo, plain.shape), plain.range.lo, plain.range.hi)
    hi = np.clip(np.broadcast_to(hi, plain.shape), lo, plain.range.hi)
    return Box(replace(plain, range=Interval(float(lo.min()), float(hi.max()))), lo, hi)


# -- rules -------------------------------------------------------------------------------------------------------------


def _ends(op: TensorOp, args: Sequence[Box]) -> Ends | None:
    """The ends of each element of the result; None where the op has no rule here, or an argument is unbounded."""
    if not all(np.isfinite(arg.lo).all() and np.isfinite(arg.hi).all() for arg in args):
        return None
    first = args[0]
    with np.errstate(all="ignore"):
        match op:
            case ops.Neg():
                found = -first.hi, -first.lo
            case ops.Sub():
                found = first.lo - args[1].hi, first.hi - args[1].lo
            case ops.Mul():
                found = _product(first, args[1])
            case ops.Square():
                low = np.where((first.lo < 0) & (first.hi > 0), 0.0, np.minimum(first.lo**2, first.hi**2))
                found = low, np.maximum(first.lo**2, first.hi**2)
            case ops.MatMul() | ops.Conv2d():
                found = _bilinear(op, first, args[1])
            case ops.Where():
                found = _chosen(args)
            case ops.Gather() | ops.Chosen() if args[1].exact:
                found = op.evaluate(first.lo, args[1].lo), op.evaluate(first.hi, args[1].lo)
            case _ if _increases(op):
                found = op.evaluate(*(arg.lo for arg in args)), op.evaluate(*(arg.hi for arg in args))
            case _:
                return None
    lo, hi = (np.asarray(end, np.float64) for end in found)
    return (lo, hi) if np.isfinite(lo).all() and np.isfinite(hi).all() else None


APART = (Reshape, Transpose, Slice)
"""Moves that take each element at most once."""


def _reached(op: TensorOp, args: Sequence[Box], shape: Shape) -> tuple[bool, bool]:
    """Whether the ends of the result are reached: of an op with one argument that is not exact."""
    free = [arg for arg in args if not arg.exact]
    if len(free) != 1 or not free[0].reached:
        return False, False
    (box,) = free
    match op:
        case ops.MatMul() | ops.Conv2d() | Sum() | ops.Mean() | ops.AvgPool2d():
            return box.apart, False
        case ops.Neg() | ops.Add() | ops.Sub() | ops.Mul():
            return True, box.apart and box.plain.shape == shape
        case Move():
            return True, box.apart and isinstance(op, APART)
        case _:
            alone = len(args) == 1 and (op.monotone or isinstance(op, ops.LeakyRelu))
            return alone, alone and box.apart


def _increases(op: TensorOp) -> bool:
    return isinstance(op, INCREASING) or op.monotone or (isinstance(op, ops.LeakyRelu) and op.slope >= 0)


def _product(a: Box, b: Box) -> Ends:
    corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _bilinear(op: TensorOp, a: Box, b: Box) -> Ends:
    """Centers and radii: (p ± r)(q ± s) lies within p q ± (|p| s + r |q| + r s)."""
    (p, r), (q, s) = ((arg.lo / 2 + arg.hi / 2, arg.hi / 2 - arg.lo / 2) for arg in (a, b))
    center = op.evaluate(p, q)
    radius = op.evaluate(r, np.abs(q)) if not a.exact else np.zeros_like(center)
    if not b.exact:
        radius = radius + op.evaluate(np.abs(p) + r, s)
    return center - radius, center + radius


def _chosen(args: Sequence[Box]) -> Ends:
    bit, a, b = args
    if bit.exact:
        return np.where(bit.lo, a.lo, b.lo), np.where(bit.lo, a.hi, b.hi)
    return np.minimum(a.lo, b.lo), np.maximum(a.hi, b.hi)


def with_rounding(proved: Interval) -> Interval:
    """What the fixed-point numbers may reach where the real ones stay within `proved`; an end at 0 stays there."""
    if not proved.is_finite:
        return proved
    wider = proved.widened(ROUNDING * max(1.0, proved.magnitude))
    return Interval(0 if proved.lo == 0 else wider.lo, 0 if proved.hi == 0 else wider.hi)
