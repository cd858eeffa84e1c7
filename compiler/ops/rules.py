"""What the ops' type and range rules have in common: broadcasting, axes, linear forms and the wording of messages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.graph import Array, Kind, OpError, Shape, Value
from compiler.graph.interval import UNKNOWN, Interval

NUMBERS = (Kind.FIXED, Kind.INT)
TWICE = "a gradient is not differentiated once more"


def show(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def typed(value: Value) -> str:
    """`fixed[2, 3]`, as the language writes types."""
    return value.kind.value + show(value.shape)


def expect_count(name: str, args: Sequence[Value], count: int) -> None:
    if len(args) != count:
        raise OpError(f"{name} expects {count} value{'s' * (count != 1)}, found {len(args)}")


def expect_kind(name: str, args: Sequence[Value], kinds: Sequence[Kind]) -> Kind:
    """The kind that all `args` have in common, which is one of `kinds`."""
    wanted = " or ".join(kind.value for kind in kinds)
    for index, arg in enumerate(args):
        if arg.kind not in kinds:
            raise OpError(f"{name} expects {wanted} values, found {typed(arg)}", _kind_help(arg.kind, kinds), index)
        if arg.kind is not args[0].kind:
            raise OpError(f"{name} expects values of one type, found {typed(args[0])} and {typed(arg)}", arg=index)
    return args[0].kind


def _kind_help(found: Kind, wanted: Sequence[Kind]) -> str | None:
    if Kind.BIT in wanted and found is not Kind.BIT:
        return "compare first: `x > 0` gives bits"
    return None


def broadcast_shapes(*shapes: Shape) -> Shape | None:
    """NumPy's broadcast shape, of any size; None where there is none."""
    found = []
    for axis in range(-max(map(len, shapes), default=0), 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            return None
        found.append(sizes.pop() if sizes else 1)
    return tuple(found)


def broadcast(name: str, *args: Value) -> Shape:
    """NumPy's broadcast shape of all arguments."""
    found = broadcast_shapes(*(arg.shape for arg in args))
    if found is None:
        shapes = " and ".join(show(arg.shape) for arg in args)
        raise OpError(
            f"{name} expects shapes that broadcast, found {shapes}",
            "counted from the last axis, sizes must be equal or one of them 1; `reshape` or `unsqueeze` adds axes of 1",
            len(args) - 1,
        )
    return found


def axis_of(name: str, axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        have = f"axes are {-rank} to {rank - 1}" if rank else "the value is a scalar, without axes"
        raise OpError(f"{name} has no axis {axis}: {have}", "give an axis of the value", "axis")
    return axis % rank


def axes_of(name: str, axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted axes counted from the front; all of them for None."""
    if axes is None:
        return tuple(range(rank))
    found = sorted(axis_of(name, axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise OpError(f"{name} expects every axis once, found {show(axes)}")
    return tuple(found)


def linear_form(weights: Array, axes: tuple[int, ...], x: Interval) -> Interval:
    """The range of `sum(weights * x, axes)` when every x lies in `x`, each on its own: exact in the weights."""
    terms = int(np.prod([weights.shape[axis] for axis in axes], dtype=np.int64))
    weights = weights.astype(np.float64)
    known = max((abs(end) for end in (x.lo, x.hi) if math.isfinite(end)), default=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        up = np.maximum(weights, 0).sum(axis=axes)
        down = np.minimum(weights, 0).sum(axis=axes)
        largest = float((up - down).max()) * known  # of what a finite end of the result is made of
        if not math.isfinite(largest):
            return UNKNOWN
        lo = _scaled(up, x.lo) + _scaled(down, x.hi)
        hi = _scaled(up, x.hi) + _scaled(down, x.lo)
    found = Interval(float(lo.min()), float(hi.max()))
    if _on_grid(weights) and _on_grid(x.lo) and _on_grid(x.hi) and largest * GRID**2 < 2.0**53:
        return found  # whole multiples of 2^-32 below 2^53 steps: float64 has not rounded
    return found.widened((terms + 2) * float(np.finfo(np.float64).eps) * largest)


GRID = 2.0**16


def _on_grid(numbers: Array | float) -> bool:
    with np.errstate(over="ignore"):
        scaled = np.multiply(numbers, GRID)
    return bool(np.all(scaled == np.rint(scaled)))


def _scaled(factors: Array, end: float) -> Array:
    """`factors * end` with 0 * inf = 0."""
    if np.isfinite(end):
        return factors * end
    signs: Array = np.multiply(np.sign(factors), end, out=np.zeros_like(factors), where=factors != 0)
    return signs
