"""Gradients of choices: what reaches a result goes on to what was chosen.

They ask for the comparisons of the forward pass, which the emitter has (`compiler.expand.choice`): nothing is compared
twice, and a choice and its gradient agree.
"""

from __future__ import annotations

import numpy as np

from compiler import ops
from compiler.expand import choice
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, Held
from compiler.graph import TensorOp, Value
from mpc_runtime import gates
from mpc_runtime.registers import Domain

# -- bits --------------------------------------------------------------------------------------------------------------


def positive(x: Expansion, value: Value, a: Held) -> Held:
    return x.e.held_bit(value, choice.is_positive(x, a))


def larger(x: Expansion, value: Value, a: Held, b: Held) -> Held:
    (left, right), scale = x.wires(a, b)
    nothing = b.array is not None and not b.array.any()
    gap = left if nothing and a.shape == value.shape else x.e.sub(left, right)
    bit = choice.is_larger(x, gap, a.range - b.range, scale, a)
    return x.e.held_bit(value, x.e.broadcast(bit, value.shape))


def within(x: Expansion, value: Value, a: Held) -> Held:
    """[a >= lo] and not [a >= hi]."""
    op = value.op
    assert isinstance(op, ops.Within)
    bounds = choice.reached(a, op.lo, op.hi)
    if not bounds:
        inside = op.lo <= a.range.lo and a.range.hi <= op.hi
        return x.e.held_bit(value, _known(x, value, inside))
    *_, flags = choice.at_bounds(x, a, bounds)
    if len(flags) == 2:
        return x.e.held_bit(value, x.bits.exclusive(*flags))
    return x.e.held_bit(value, flags[0] if bounds == [op.lo] else x.bits.negate(flags[0]))


def _known(x: Expansion, value: Value, bit: bool) -> int:
    """Masked bits that are all the same."""
    constant = x.e.broadcast(x.e.bit_constant(np.array(bit, np.uint8)), value.shape)
    return x.e.open(x.e.emit(gates.FromPublic, value.shape, SHARE, domain=Domain.BITS, x=constant))


# -- maxima ------------------------------------------------------------------------------------------------------------


def max_gradient(x: Expansion, value: Value, a: Held, g: Held) -> Held:
    """Back through the tournament along each axis."""
    op = value.op
    assert isinstance(op, ops.MaxGradient)
    wire, scale = x.e.wire(a)
    played: list[tuple[int, list[int]]] = []
    for axis in op.axes:
        wins: list[int] = []
        wire = choice.tournament(x, wire, axis, a, scale, wins)
        played.append((axis, wins))
    register, out_scale = _reaching(x, g)
    for axis, wins in reversed(played):
        for bit in reversed(wins):
            register = _returned(x, register, bit, axis, out_scale)
    return x.e.held(value, register, out_scale)


def maxpool2d_gradient(x: Expansion, value: Value, a: Held, g: Held) -> Held:
    """Back to the places of the windows along the height, then along the width."""
    op = value.op
    assert isinstance(op, ops.MaxPool2dGradient)
    wire, scale = x.e.wire(a)
    wire = choice.bordered(x, wire, op.padding, a.range.lo, scale)
    played: list[tuple[int, int, int, int, list[int]]] = []
    for axis, k, stride in ((3, op.kernel[1], op.stride[1]), (2, op.kernel[0], op.stride[0])):
        wins: list[int] = []
        played.append((axis, k, stride, x.e.shape(wire)[axis], wins))
        wire = choice.largest(x, choice.places(x, wire, axis, k, stride), a, scale, wins)
    register, out_scale = _reaching(x, g)
    for axis, k, stride, size, wins in reversed(played):
        parts = _to_places(x, register, k, wins, out_scale)
        register = _gathered(x, parts, axis, stride, size)
    vertical, horizontal = op.padding
    register = x.e.slice(register, (0, 0, vertical, horizontal), (1, 1, 1, 1), value.shape)
    return x.e.held(value, register, out_scale)


def _reaching(x: Expansion, g: Held) -> tuple[int, int]:
    """(register, scale) of what reaches a result."""
    if g.array is None:
        return x.e.any(g)
    constant = x.e.encoded(g.array, x.e.frac)
    return x.e.emit(gates.FromPublic, g.shape, SHARE, scale=x.e.frac, x=constant), x.e.frac


def _returned(x: Expansion, register: int, bit: int, axis: int, scale: int) -> int:
    """Shares of what reaches the operands of one round of a tournament: the halves, and a last one without an opponent.

    register: what reaches its results. bit: where those of the first half won.
    """
    half, n = x.e.shape(bit)[axis], x.e.shape(register)[axis]
    wire = _opened(x, x.e.slice_axis(register, axis, 0, 1, half))
    first = x.bits.select(bit, wire, scale)
    rest = [_shared(x, x.e.slice_axis(register, axis, half, 1, n - half))] if n > half else []
    return x.e.concat([first, x.e.sub(wire, first), *rest], axis)


def _to_places(x: Expansion, register: int, k: int, wins: list[int], scale: int) -> list[int]:
    """What reaches each of k places of the windows; the pairs of a round were compared side by side on axis 0."""
    n = x.e.shape(register)[0]
    parts = register
    for bit in reversed(wins):
        parts = _returned(x, parts, bit, 0, scale)
    return [_shared(x, x.e.slice_axis(parts, 0, j * n, 1, n)) for j in range(k)]


def _gathered(x: Expansion, parts: list[int], axis: int, stride: int, size: int) -> int:
    """The sum of what reaches the elements of an axis of `size` as this or that place of a window."""
    total: int | None = None
    for place, part in enumerate(parts):
        shape = x.e.shape(part)
        full = tuple(size if at == axis else n for at, n in enumerate(shape))
        starts = tuple(place if at == axis else 0 for at in range(len(shape)))
        steps = tuple(stride if at == axis else 1 for at in range(len(shape)))
        spread = x.e.spread(part, full, starts, steps)
        total = spread if total is None else x.e.add(total, spread)
    assert total is not None
    return total


def _opened(x: Expansion, register: int) -> int:
    return x.e.open(register) if x.e.mode(register) == SHARE else register


def _shared(x: Expansion, register: int) -> int:
    return register if x.e.mode(register) == SHARE else x.e.unmask(register)


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Positive: positive,
    ops.Larger: larger,
    ops.Within: within,
    ops.MaxGradient: max_gradient,
    ops.MaxPool2dGradient: maxpool2d_gradient,
}
