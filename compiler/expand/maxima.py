"""The largest along an axis: maxima, minima, and where they are. PROTOCOLS section 3.5.

Places meet in groups. Two of a group take one comparison and its choice. In a larger group all pairs are compared at
once, and the bits of a place are joined to one that says whether it is the first of the largest: so a group of ten
takes a round more than one of two, where a tournament of ten takes four times the rounds. Pairs grow with the square of
the group, so that the network decides (`groups`).
"""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np

from compiler import ops
from compiler.expand.choice import ignored, larger
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import SHARE, WIRE, Held, width
from compiler.expand.layouts import Network, conjunction, conjunction_cost, cost, layout
from compiler.graph import TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.registers import Domain

MOST_IN_GROUP = 32
"""Places that meet at once: beyond, 496 pairs and conjunctions of 31 bits cost more than rounds on any network."""

SELECTED_WORDS = 3
"""Words of material for a selection (PROTOCOLS section 3.4, without a truncation)."""

WORD = 64

MATERIAL = 0.5
"""How much a byte of material counts here: as if it were dealt at the time, over both of the dealer's links. What grows
with the square of a group is to be worth its rounds in any case, processor time included."""


def max_(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Max)
    wire, scale = x.e.wire(a)
    return x.e.held(value, x.e.reshape(_reduced(x, value, wire, op.axes, a, scale), value.shape), scale)


def min_(x: Expansion, value: Value, a: Held) -> Held:
    """-max(-a)."""
    op = value.op
    assert isinstance(op, ops.Min)
    wire, scale = x.e.wire(a)
    largest = _reduced(x, value, x.e.scaled(wire, -1), op.axes, a, scale)
    return x.e.held(value, x.e.reshape(x.e.scaled(largest, -1), value.shape), scale)


def _reduced(x: Expansion, value: Value, wire: int, axes: tuple[int, ...], a: Held, scale: int) -> int:
    """The masked maximum over axes (which stay with size 1), along one after the other. Where a gradient goes back
    through it, that asks for the comparisons of a tournament, so that this is one."""
    along = tournament if value.args[0] in x.played else maximum_along
    for axis in axes:
        wire = along(x, wire, axis, a, scale)
    return wire


def tournament(x: Expansion, wire: int, axis: int, a: Held, scale: int, wins: list[int] | None = None) -> int:
    """The masked maximum along one axis, which stays with size 1. wins: takes the bits of each round."""
    while x.e.shape(wire)[axis] > 1:
        wire = _halved(x, wire, axis, a, scale, wins)
    return wire


def _halved(x: Expansion, wire: int, axis: int, a: Held, scale: int, wins: list[int] | None = None) -> int:
    """A round of a tournament: the places of one half meet those of the other, and a last one goes on."""
    n = x.e.shape(wire)[axis]
    half = n // 2
    left = x.e.slice_axis(wire, axis, 0, 1, half)
    right = x.e.slice_axis(wire, axis, half, 1, half)
    found = x.e.open(larger(x, left, right, a.range - a.range, scale, a, wins))
    rest = [x.e.slice_axis(wire, axis, 2 * half, 1, 1)] if n % 2 else []
    return x.e.concat([found, *rest], axis)


def maximum_along(x: Expansion, wire: int, axis: int, a: Held, scale: int) -> int:
    """The masked maximum along one axis, which stays with size 1, by groups of places."""
    shape = x.e.shape(wire)
    compared = width(a.range - a.range, scale, scale == 0, most=64) - 1 - ignored(x, a, scale)
    for places in groups(shape[axis], prod(shape) // max(1, shape[axis]), max(1, compared), x.network):
        wire = _halved(x, wire, axis, a, scale) if places == 2 else _grouped(x, wire, axis, places, a, scale)
    return wire


def _grouped(x: Expansion, wire: int, axis: int, places: int, a: Held, scale: int) -> int:
    """The masked maximum of each group of so many neighbours along an axis; those that fill none stay behind."""
    shape = x.e.shape(wire)
    count, left = divmod(shape[axis], places)
    before, behind = shape[:axis], shape[axis + 1 :]
    whole = x.e.slice_axis(wire, axis, 0, 1, count * places)
    apart = x.e.reshape(whole, (*before, count, places, *behind)) if count > 1 else whole
    at = axis + 1 if count > 1 else axis
    order = (*(i for i in range(len(x.e.shape(apart))) if i != at), at)
    found = x.e.open(x.e.reshape(_largest(x, x.e.transpose(apart, order), a, scale), (*before, count, *behind)))
    rest = [x.e.slice_axis(wire, axis, count * places, 1, left)] if left else []
    return x.e.concat([found, *rest], axis)


def _largest(x: Expansion, wire: int, a: Held, scale: int) -> int:
    """Shares of the maximum along the last axis."""
    first = _first(x, wire, a, scale, ignored(x, a, scale))
    return x.e.sum(x.bits.select(first, wire, scale), (len(x.e.shape(wire)) - 1,))


def _first(x: Expansion, wire: int, a: Held, scale: int, low_bit: int) -> int:
    """Masked bits: which place of the last axis is the first of the largest, all pairs compared at once.

    What is compared is one number for each place, x / 2^low_bit rounded up or down (`gates.Gaps`): so exactly one bit
    is 1, at a place that is less than 2^(low_bit + 1) below the maximum.
    """
    *others, n = x.e.shape(wire)
    gaps = x.e.emit(gates.Gaps, (*others, n * (n - 1) // 2), WIRE, scale=scale - low_bit, shift=low_bit, x=wire)
    reach = a.range - a.range
    margin = 2.0 ** (low_bit + 1 - scale) if low_bit else 0.0
    rounded = Interval(reach.lo - margin, reach.hi + margin)
    k = width(rounded, scale - low_bit, scale == 0, most=64 - low_bit)
    (wins,) = x.bits.at_least(gaps, (0,), k)
    planes = x.e.emit(gates.Wins, (*others, n), WIRE, domain=Domain.PLANES, planes=n - 1, places=n, x=wins)
    return x.bits.conjunction(planes, n - 1, conjunction(n - 1, prod((*others, n)), x.network), wire)


# -- where it is -------------------------------------------------------------------------------------------------------


def argmax(x: Expansion, value: Value, a: Held) -> Held:
    """All pairs at once; else a tournament that carries the index. Neighbours meet, and the first of equals wins."""
    op = value.op
    assert isinstance(op, ops.ArgMax)
    axis = op.axis % len(a.shape)
    n = a.shape[axis]
    if n == 1:
        return x.known(value, np.array(0))
    wire, scale = x.stored(a)
    difference = a.range - a.range
    if groups(n, a.size // n, width(difference, scale, scale == 0, most=64) - 1, x.network) == (n,) and n > 2:
        return x.e.held(value, _counted(x, value, wire, axis, a, scale), 0)
    shape = tuple(n if i == axis else 1 for i in range(len(a.shape)))
    index: int = x.e.constant(np.arange(n).reshape(shape), 0)
    while (n := x.e.shape(wire)[axis]) > 1:
        half = n // 2
        (left, right), (li, ri) = (
            tuple(x.e.slice_axis(r, axis, first, 2, half) for first in (0, 1)) for r in (wire, index)
        )
        gap = x.e.sub(left, right)
        bit = x.bits.positive(gap, difference, scale, exact=scale == 0)
        best = x.e.open(x.e.add(x.bits.select(bit, gap, scale), right))
        chosen = _chosen_index(x, bit, li, ri)
        if n % 2:
            best = x.e.concat([best, x.e.slice_axis(wire, axis, n - 1, 1, 1)], axis)
            last = x.e.slice_axis(index, axis, n - 1, 1, 1)
            last = _like_shares(x, last, (*x.e.shape(best)[:axis], 1, *x.e.shape(best)[axis + 1 :]))
            chosen = x.e.concat([x.e.open(chosen), last], axis)
            index = chosen
        else:
            index = x.e.open(chosen)
        wire = best
    return x.e.held(value, x.e.reshape(index, value.shape), 0)


def _counted(x: Expansion, value: Value, wire: int, axis: int, a: Held, scale: int) -> int:
    """Shares of the index of the first of the largest: one bit for each place, times the place."""
    order = (*(i for i in range(len(a.shape)) if i != axis), axis)
    places = x.bits.number(_first(x, x.e.transpose(wire, order), a, scale, 0))
    shape = x.e.shape(places)
    each = x.e.emit(gates.Mul, shape, SHARE, x=places, y=x.e.constant(np.arange(shape[-1]), 0))
    return x.e.reshape(x.e.sum(each, (len(shape) - 1,)), value.shape)


def _chosen_index(x: Expansion, bit: int, left: int, right: int) -> int:
    """Shares of right + bit (left - right), for constant or masked indices."""
    if x.e.mode(left) == WIRE:
        return x.e.add(x.bits.select(bit, x.e.sub(left, right), 0), right)
    number = x.bits.number(bit)
    step = x.e.sub(left, right)
    chosen = x.e.emit(gates.Mul, x.e.shape(bit), x.e.mode(number), x=number, y=step)
    return x.e.add(chosen, right)


def _like_shares(x: Expansion, index: int, shape: tuple[int, ...]) -> int:
    """A masked value in the given shape; a constant index becomes one."""
    if x.e.mode(index) == WIRE:
        return index
    shared = x.e.emit(gates.FromPublic, shape, SHARE, x=x.e.broadcast(index, shape))
    return x.e.open(shared)


# -- how many places meet ----------------------------------------------------------------------------------------------


@cache
def groups(n: int, others: int, bits: int, network: Network) -> tuple[int, ...]:
    """How many places meet in each round of groups, for the least time in all for rounds, opened bits and material.

    others: how many maxima there are; bits: compared ones. A group of two is a round of a tournament.
    """
    return _quickest(n, others, bits, network)[1]


@cache
def _quickest(n: int, others: int, bits: int, network: Network) -> tuple[float, tuple[int, ...]]:
    if n <= 1:
        return 0.0, ()
    best: tuple[float, tuple[int, ...]] | None = None
    for places in range(2, min(n, MOST_IN_GROUP) + 1):
        count, left = divmod(n, places)
        seconds, after = _quickest(count + left, others, bits, network)
        seconds += _seconds(places, count * others, bits, network)
        if best is None or seconds < best[0]:
            best = seconds, (places, *after)
    assert best is not None
    return best


def _seconds(places: int, met: int, bits: int, network: Network) -> float:
    """Of so many groups at once."""
    pairs, chosen = met * places * (places - 1) // 2, met * (places if places > 2 else 1)
    digits = layout(bits, pairs, network)
    offline, online = cost(digits.widths, digits.tree)
    total, rounds = pairs * (online + MATERIAL * offline), digits.rounds + 1
    if places > 2:
        tree = conjunction(places - 1, chosen, network)
        offline, online = conjunction_cost(places - 1, tree)
        total, rounds = total + chosen * (online + MATERIAL * offline), rounds + len(tree)
    total += chosen * MATERIAL * SELECTED_WORDS * WORD + met * WORD
    return network.seconds(rounds, total)


HANDLERS: dict[type[TensorOp], Handler] = {ops.Max: max_, ops.Min: min_, ops.ArgMax: argmax}
