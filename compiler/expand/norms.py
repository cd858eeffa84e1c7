"""Tensors that are scaled by a norm of their own: layernorm and clip_norm.

Both multiply by a factor over the root of a sum of squares, which is kept at the scale of the squares: rounded to the
format, a small one would lose its digits. What the ring has no room for is refused, or said in a warning.
"""

from __future__ import annotations

from math import ceil, log2, sqrt

import numpy as np

from compiler import ops
from compiler.expand.arithmetic import mean_over, sub, typed
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.expand.roots import ROOT_SCALE, logarithmic, root
from compiler.graph import OpError, TensorOp, Value
from compiler.graph.interval import Interval
from compiler.ops.limits import side_by_side
from mpc_runtime import gates
from mpc_runtime.errors import amount, number

ERROR = 2.0**-12
"""Of a result of at most 1, or two steps."""

FACTOR_BITS = 15
"""Bits below its leading one to which a factor is right."""

CLIP_MARGIN = 1.3e-4
"""By this part a clipped norm stays below its bound, so that no error lifts it above: the root's samples and weights
bring 2^-13.7, its power of two 2^-16 and its truncation 2^-15, which add up to 1.22e-4."""

SQUARED_STEPS = 8.0
"""Of a squared bound, rounded to the square of a step: so much finer than the error that a result may have."""

LEAST_SCALE = 8
"""Of distances to a mean, below which there is nothing left to promise."""


def square_sums(x: Expansion, wire: int, axes: tuple[int, ...], scale: int) -> int:
    """Shares of the sums of squares of a masked value along axes, which stay with size 1."""
    shape = x.e.shape(wire)
    return x.e.reshape(summed_squares(x, wire, axes, scale), tuple(1 if a in axes else n for a, n in enumerate(shape)))


def summed_squares(x: Expansion, wire: int, axes: tuple[int, ...], scale: int, shift: int = 0) -> int:
    """The same without these axes (but with them if they lie apart), of the value / 2^shift."""
    shape = x.e.shape(wire)
    if not side_by_side(axes):
        assert not shift, "axes that lie apart"
        return x.e.sum(x.e.emit(gates.Square, shape, SHARE, scale=2 * scale, x=wire), axes)
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    fine, first = 2 * (scale - shift), min(axes)
    return x.e.emit(gates.SquareSum, kept, SHARE, scale=fine, axis=first, axes=len(axes), shift=shift, x=wire)


def layernorm(x: Expansion, value: Value, a: Held) -> Held:
    """With d = a - mean(a): d sqrt(n) / sqrt(sum(d^2) + n eps)."""
    op = value.op
    assert isinstance(op, ops.LayerNorm)
    n, axis, spread = a.shape[-1], len(a.shape) - 1, a.range.width
    if n == 1:
        return x.known(value, np.array(0.0))
    squared = n * (spread / 2) ** 2
    if isinstance(op, ops.Standardised):
        squared = min(squared, op.most**2)
    scale = _distance_scale(x, value, n, spread, squared, op.eps)
    reach = Interval(-spread, spread)
    exact = sub(x, typed(value, a.shape, reach), a, mean_over(x, value, a, axis))
    register, fine = x.e.share(exact)
    distance = x.e.open(x.e.at_scale(register, fine, scale, width(reach, fine)))
    least = round(n * op.eps * 4.0**scale)
    squares = square_sums(x, distance, (axis,), scale)
    total = x.e.add(squares, x.e.constant(np.array(least), 2 * scale))
    within = Interval(least * 0.25**scale, squared + n * op.eps)
    return _scaled(x, value, distance, scale, total, within, sqrt(n))


def _distance_scale(x: Expansion, value: Value, n: int, spread: float, squared: float, eps: float) -> int:
    """Fraction bits of d: a quarter of the error where the variance is 0, or what the sum of squares has room for.
    squared: the largest such sum."""
    error = max(ERROR, 2 * x.e.precision.step)
    wanted = ceil(log2(4 / error / sqrt(eps)))
    room = (MAX_WIDTH - 2 - ceil(log2(squared + n * eps))) // 2 if spread < 2.0**40 else 0
    if room < LEAST_SCALE:
        raise _no_room(value)
    if room < wanted:
        deviation = number(4 / error * 2.0**-room)
        x.warn(
            value,
            f"this {value.op.symbol} is accurate to {number(error)} only where the standard deviation is at least "
            f"{deviation}",
            "declare a narrower range for what flows in: `h = … in [lo, hi]`",
        )
    return min(room, wanted)


def clip_norm(x: Expansion, value: Value, a: Held) -> Held:
    """a factor / sqrt(max(sum(a^2), bound^2)), where the factor is the bound less all that rounding may add.

    What is clipped is never longer than the bound: a privacy budget counts on it. The results' own truncations, one
    step each, add up to the root of their number in the norm.
    """
    op = value.op
    assert isinstance(op, ops.ClipNorm)
    wire, scale = x.stored(a)
    count = int(np.prod([a.shape[axis] for axis in op.axes]))
    most, floor_ = count * min(a.range.magnitude, x.e.precision.limit) ** 2, op.bound**2
    if most <= floor_:
        return Held(value.kind, value.shape, value.range, base=a, view=lambda register: register)
    allowed = max(ERROR * max(1.0, op.bound), 2 * x.e.precision.step) / op.bound
    if floor_ * 4.0**scale * allowed < SQUARED_STEPS:
        found = f"clip_norm expects a larger bound, found {number(op.bound)}: its square has no digits in this format"
        raise OpError(found, "scale the values up, or use a finer `precision`")
    factor = op.bound * (1 - CLIP_MARGIN) - sqrt(count) * x.e.precision.step
    if factor < op.bound / 2:
        expected = f"a larger bound, found {number(op.bound)}: rounding may add as much"
        found = f"clip_norm of {amount(count, 'value')} expects {expected}"
        raise OpError(found, "scale the values up, or use a finer `precision`")
    if width(Interval(0.0, 2 * most), 2 * scale, most=64) >= MAX_WIDTH:
        raise _no_room(value)
    total = x.e.open(square_sums(x, wire, op.axes, scale))
    bound = x.e.encoded(np.array(floor_), 2 * scale)
    above = x.e.sub(total, bound)
    bit = x.bits.positive(above, Interval(-floor_, most), 2 * scale, exact=True)
    clipped = x.e.add(x.bits.select(bit, above, 2 * scale), bound)
    return _scaled(x, value, wire, scale, clipped, Interval(floor_, most), factor)


def _scaled(x: Expansion, value: Value, wire: int, scale: int, total: int, within: Interval, factor: float) -> Held:
    """A masked value at a scale, times factor / sqrt(total), where total's range does not reach below 0."""
    shape, total_scale = x.e.shape(total), x.e.drafts[total].scale
    smallest, largest = factor / sqrt(within.hi), factor / sqrt(max(within.lo, 2.0**-total_scale))
    held = Held(value.kind, shape, within, {(SHARE, total_scale): total})
    inverse = typed(value, shape, Interval(0.0, 2 * largest))
    needed = FACTOR_BITS + max(0, ceil(-log2(smallest)))
    root_ = root(x, inverse, logarithmic(x, held, total_scale), "rsqrt", -0.5, factor, needed)
    fine = min(needed, x.e.scale(root_))
    most = max(value.range.magnitude, 2.0**-scale)
    if needed > x.e.scale(root_) - 2 * ROOT_SCALE or scale + fine + ceil(log2(most)) + 3 > MAX_WIDTH:
        raise _no_room(value)
    by, _ = x.e.wire(root_, fine)
    product = x.e.emit(gates.Mul, value.shape, SHARE, scale=scale + fine, x=wire, y=x.e.broadcast(by, value.shape))
    return x.e.held(value, product, scale + fine)


def _no_room(value: Value) -> OpError:
    wide = number(value.args[0].range.width)
    found = f"{value.op.symbol} has no room for its accuracy over a range as wide as {wide}"
    return OpError(found, "declare a narrower range for what flows in: `h = … in [lo, hi]`")


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.LayerNorm: layernorm,
    ops.Standardised: layernorm,
    ops.ClipNorm: clip_norm,
}
