"""What the language's operators and functions make of their arguments: conversions between kinds, defaults, and the
small rewritings (`x / 4`, `x[0]`) that leave few kinds of ops to the passes and the expansion.

Each builder takes values, and plain Python numbers, flags and tuples for what is known at compile time, and returns a
value or raises OpError. `compiler.ops.functions` and `layers` list them under their names in the language.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.graph import Array, Kind, OpError, TensorOp, Value, apply, constant, declare
from compiler.ops.activations import PRelu, Reciprocal, Softmax
from compiler.ops.comparisons import And, GreaterEqual, Not, Or
from compiler.ops.curves import Celu, Elu, LogSoftmax
from compiler.ops.elementwise import (
    Add,
    Clip,
    Div,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Square,
    Sub,
    ToFixed,
    ToInt,
    Where,
)
from compiler.ops.floors import Floor, Round
from compiler.ops.linear import MatMul
from compiler.ops.modes import Dropout
from compiler.ops.norms import ClipNorm
from compiler.ops.ordering import ArgSort, Sort
from compiler.ops.reductions import ArgMax, Mean, Reduction, Sum, Var
from compiler.ops.rules import axes_of, axis_of, broadcast, expect_kind, show, typed
from compiler.ops.selection import Gather
from compiler.ops.shapes import BroadcastTo, Concat, Pad, Reshape, Transpose
from compiler.ops.sums import CumSum

LEAST_ALPHA, MAX_ALPHA = 0.01, 4  # of elu and celu: a larger factor would need a finer table of the exponential

# -- kinds -------------------------------------------------------------------------------------------------------------


def to_number(x: Value) -> Value:
    """A bit as an int; numbers as they are."""
    return apply(ToInt(), x) if x.kind is Kind.BIT else x


def to_fixed(x: Value) -> Value:
    x = to_number(x)
    return apply(ToFixed(), x) if x.kind is Kind.INT else x


def promote(*values: Value) -> tuple[Value, ...]:
    """All fixed when one is, else all int."""
    if any(value.kind is Kind.FIXED for value in values):
        return tuple(map(to_fixed, values))
    return tuple(map(to_number, values))


def numeric(op: TensorOp, *values: Value) -> Value:
    return apply(op, *promote(*values))


def smooth(op: TensorOp, x: Value) -> Value:
    return apply(op, to_fixed(x))


# -- operators ---------------------------------------------------------------------------------------------------------


def mul(a: Value, b: Value) -> Value:
    """A product; one with a bit is a choice, which costs less."""
    broadcast("`*`", a, b)
    if a.kind is b.kind is Kind.BIT:
        return apply(ToInt(), apply(And(), a, b))
    for bit, other in ((a, b), (b, a)):
        if bit.kind is Kind.BIT and not bit.is_constant and not other.is_constant:
            return apply(Where(), bit, other, constant(np.zeros((), other.kind.dtype)))
    if a is b and not a.is_constant:
        return apply(Square(), a)
    return apply(Mul(), to_number(a), to_number(b))


def div(a: Value, b: Value) -> Value:
    """A fixed number; division by a constant is a product."""
    if not b.is_constant:
        a, b = to_fixed(a), to_fixed(b)
        if a.is_constant and bool(np.all(a.array == 1)) and broadcast("`/`", a, b) == b.shape:
            return apply(Reciprocal(), b)
        return apply(Div(), a, b)
    divisor = to_fixed(b)
    if not divisor.array.all():
        raise OpError("division by zero", "the divisor is known here: correct it", 1)
    if a.is_constant:
        return apply(Div(), to_fixed(a), divisor)
    broadcast("`/`", a, b)
    return apply(Mul(), to_number(a), constant(1 / divisor.array))


def matmul(a: Value, b: Value) -> Value:
    return apply(MatMul(), to_number(a), to_number(b))


# -- elementwise functions ---------------------------------------------------------------------------------------------


def clip(x: Value, lo: float, hi: float) -> Value:
    x = to_number(x)
    whole = isinstance(lo, int) and isinstance(hi, int)
    return apply(Clip(float(lo), float(hi)), x if whole else to_fixed(x))


def where(bit: Value, a: Value, b: Value) -> Value:
    if a.kind is b.kind is Kind.BIT:
        return apply(Or(), apply(And(), bit, a), apply(And(), apply(Not(), bit), b))
    a, b = promote(a, b)
    chosen = apply(Where(), bit, a, b)
    if not bit.is_constant or chosen.is_constant:
        return chosen
    mask = to_number(bit)
    return declare(add(mul(a, mask), mul(b, constant(1 - mask.array))), chosen.range)


def add(a: Value, b: Value) -> Value:
    return numeric(Add(), a, b)


def sub(a: Value, b: Value) -> Value:
    return numeric(Sub(), a, b)


def neg(x: Value) -> Value:
    return numeric(Neg(), x)


def minimum(*more: Value, a: Value, b: Value) -> Value:
    return _among(Minimum(), (a, b, *more))


def maximum(*more: Value, a: Value, b: Value) -> Value:
    return _among(Maximum(), (a, b, *more))


def _among(op: TensorOp, values: Sequence[Value]) -> Value:
    """Of several: the pairs side by side, round after round."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [numeric(op, *pair) for pair in pairs] + list(values[len(values) // 2 * 2 :])
    return values[0]


def softmax(x: Value, axis: int = -1, causal: bool = False) -> Value:
    return smooth(Softmax(axis_of("softmax", axis, x.rank), causal), x)


def log_softmax(x: Value, axis: int = -1) -> Value:
    return smooth(LogSoftmax(axis_of("log_softmax", axis, x.rank)), x)


def elu(x: Value, alpha: float = 1) -> Value:
    if not 0 <= alpha <= MAX_ALPHA:
        raise OpError(f"`alpha` of elu expects a number from 0 to {MAX_ALPHA}, found {alpha:g}", arg="alpha")
    return smooth(Elu(float(alpha)), x)


def celu(x: Value, alpha: float = 1) -> Value:
    if not LEAST_ALPHA <= alpha <= MAX_ALPHA:
        message = f"`alpha` of celu expects a number from {LEAST_ALPHA} to {MAX_ALPHA}, found {alpha:g}"
        raise OpError(message, arg="alpha")
    return smooth(Celu(float(alpha)), x)


def prelu(x: Value, slope: Value) -> Value:
    return apply(PRelu(), to_fixed(x), to_fixed(slope))


def hardsigmoid(x: Value) -> Value:
    """min(max(x + 3, 0), 6) / 6."""
    return div(clip(add(x, constant(3)), 0, 6), constant(6))


def clip_norm(x: Value, bound: float, axis: Sequence[int] = (-1,)) -> Value:
    """Scaled down to this L2 norm."""
    return smooth(ClipNorm(float(bound), axes_of("clip_norm", axis, x.rank)), x)


def dropout(x: Value, p: float) -> Value:
    """Identity outside training."""
    if not 0 <= p < 1:
        raise OpError(f"dropout expects a probability of at least 0 and below 1, found {p:g}", arg=1)
    return x


def dropped(place: int, x: Value, p: float) -> Value:
    """What stands for `dropout` in a model that trains. place: as of `Dropout`."""
    x = dropout(x, p)
    return apply(Dropout(float(p), place), to_fixed(x)) if 1 - p < 1 else x


# -- selection ---------------------------------------------------------------------------------------------------------


def gather(x: Value, i: Value, axis: int = 0) -> Value:
    """NumPy's `take`; bits are taken as numbers and compared."""
    op = Gather(axis_of("gather", axis, x.rank))
    if i.is_constant:
        i = constant(_indices(i, x.shape[op.axis]))
    found = apply(op, to_number(x), i)
    return apply(GreaterEqual(), found, constant(1)) if x.kind is Kind.BIT else found


def _indices(i: Value, size: int) -> Array:
    """Indices that the compiler knows, counted from the front."""
    if i.kind is not Kind.INT:
        raise OpError(f"gather expects int indices, found {typed(i)}", arg=1)
    out = i.array[(i.array < -size) | (i.array >= size)]
    if out.size:
        raise OpError(f"index {out.flat[0]} is out of range for an axis of {size}", f"use {-size} to {size - 1}", 1)
    return np.where(i.array < 0, i.array + size, i.array)


# -- reductions --------------------------------------------------------------------------------------------------------


def reduce(kind: type[Reduction], x: Value, axis: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    """Over `axis` (all axes for None); `mean` of whole numbers is fixed."""
    op = kind(axes_of(kind.symbol, axis, x.rank), keepdims)
    if not op.axes and kind is not Var:
        return to_fixed(x) if kind is Mean else to_number(x)
    return apply(op, to_fixed(x) if kind in (Mean, Var) else to_number(x))


def cumsum(x: Value, axis: int = -1) -> Value:
    return apply(CumSum(axis_of("cumsum", axis, x.rank)), to_number(x))


def any_(x: Value, axis: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    """Whether one of the bits is 1: they are counted."""
    return apply(GreaterEqual(), _counted("any", x, axis, keepdims), constant(1))


def all_(x: Value, axis: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    count = _counted("all", x, axis, keepdims)
    return apply(GreaterEqual(), count, constant(x.size // max(1, count.size)))


def _counted(name: str, x: Value, axis: Sequence[int] | None, keepdims: bool) -> Value:
    expect_kind(name, (x,), (Kind.BIT,))
    axes = axes_of(name, axis, x.rank)
    return apply(Sum(axes, keepdims), to_number(x)) if axes else to_number(x)


def argmin(x: Value, axis: int | None = None) -> Value:
    """The index of the first smallest, as `argmax` of the negated."""
    if axis is not None:
        axis_of("argmin", axis, x.rank)
    return argmax(neg(to_number(x)), axis)


def argmax(x: Value, axis: int | None = None) -> Value:
    """The index of the first largest; over all elements, counted in C order, for None."""
    x = to_number(x)
    if axis is None:
        return apply(ArgMax(0), reshape(x, (-1,)))
    return apply(ArgMax(axis_of("argmax", axis, x.rank)), x)


# -- orders ------------------------------------------------------------------------------------------------------------


def sort(x: Value, axis: int = -1, descending: bool = False) -> Value:
    return _ordered("sort", Sort, x, axis, None, descending)


def argsort(x: Value, axis: int = -1, descending: bool = False) -> Value:
    return _ordered("argsort", ArgSort, x, axis, None, descending)


def topk(x: Value, k: int) -> Value:
    return _ordered("topk", Sort, x, -1, k, True)


def argtopk(x: Value, k: int) -> Value:
    return _ordered("argtopk", ArgSort, x, -1, k, True)


def _ordered(
    name: str, op: type[Sort] | type[ArgSort], x: Value, axis: int, count: int | None, descending: bool
) -> Value:
    """The first `count` (all for None) along an axis; of bits, as numbers."""
    x, place = to_number(x), axis_of(name, axis, x.rank)
    return apply(op(place, x.shape[place] if count is None else count, descending), x)


# -- whole numbers -----------------------------------------------------------------------------------------------------


def floor(x: Value) -> Value:
    x = to_number(x)
    return x if x.kind is Kind.INT else apply(Floor(), x)


def ceil(x: Value) -> Value:
    """What is below, of the negated, negated."""
    return neg(floor(neg(x)))


def round_(x: Value) -> Value:
    x = to_number(x)
    return x if x.kind is Kind.INT else apply(Round(), x)


# -- shapes ------------------------------------------------------------------------------------------------------------


def reshape(x: Value, shape: Sequence[int]) -> Value:
    """One size may be -1."""
    sizes = tuple(shape)
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        if known > 0 and x.size % known == 0:
            sizes = tuple(x.size // known if size == -1 else size for size in sizes)
    return x if sizes == x.shape else apply(Reshape(sizes), x)


def flatten(x: Value) -> Value:
    """[n, …] becomes [n, everything else]."""
    if x.rank == 0:
        raise OpError("flatten expects at least one axis, found a scalar", arg=0)
    return reshape(x, (x.shape[0], -1))


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    if axes is None:
        axes = range(x.rank)[::-1]
    order = tuple(axis_of("transpose", axis, x.rank) for axis in axes)
    return x if order == tuple(range(x.rank)) else apply(Transpose(order), x)


def same_kind(*values: Value) -> tuple[Value, ...]:
    """Bits stay bits when all are, else numbers are promoted."""
    return values if all(value.kind is Kind.BIT for value in values) else promote(*values)


def concat(*values: Value, axis: int = 0) -> Value:
    if not values:
        raise OpError("concat expects at least one value, found none")
    op = Concat(axis_of("concat", axis, values[0].rank))
    return apply(op, *same_kind(*values)) if len(values) > 1 else values[0]


def stack(*values: Value, axis: int = 0) -> Value:
    """The values along a new axis; their shapes are equal."""
    if not values:
        raise OpError("stack expects at least one value, found none")
    for index, value in enumerate(values):
        if value.shape != values[0].shape:
            raise OpError(
                f"stack expects values of one shape, found {show(values[0].shape)} and {show(value.shape)}", arg=index
            )
    return concat(*(unsqueeze(value, axis) for value in values), axis=axis)


def pad(x: Value, widths: Sequence[tuple[int, int]], value: float = 0) -> Value:
    if x.kind is not Kind.FIXED and not isinstance(value, int):
        x = to_fixed(x)
    op = Pad(tuple((before, after) for before, after in widths), float(value))
    return apply(op, x)


def squeeze(x: Value, axis: Sequence[int]) -> Value:
    axes = axes_of("squeeze", axis, x.rank)
    for gone in axes:
        if x.shape[gone] != 1:
            raise OpError(f"squeeze expects an axis of size 1, found axis {gone} of {show(x.shape)}", arg=0)
    return reshape(x, [size for position, size in enumerate(x.shape) if position not in axes])


def unsqueeze(x: Value, axis: int) -> Value:
    position = axis_of("unsqueeze", axis, x.rank + 1)
    return reshape(x, (*x.shape[:position], 1, *x.shape[position:]))


def broadcast_to(x: Value, shape: Sequence[int]) -> Value:
    return x if tuple(shape) == x.shape else apply(BroadcastTo(tuple(shape)), x)
