"""Sorting without revealing the order. PROTOCOLS section 5.

Two ways, of which the network's speed chooses (`_in_pairs_is_faster`). Both compare what is stored, exactly, and leave
equals in their order.

All pairs: the place of an element is the number of those that come before it. Every pair is compared at once, the bits
are added up, and an element is chosen for a place by [its place = p]. Rounds do not grow with n; bytes grow with n^2.

A network: blocks of one are merged two by two, as K. E. Batcher, "Sorting networks and their applications", 1968,
merges them (the second one turned around); from the wanted count on, only the larger halves go on. What moves is a key,
the number times 2^b plus the place counted from behind: so no two are equal, and one word carries both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

import numpy as np

from compiler import ops
from compiler.expand.context import Expansion, Handler, exact_kind
from compiler.expand.emitter import MAX_WIDTH, SHARE, Held, width
from compiler.expand.floors import floor_of
from compiler.expand.layouts import MATERIAL_WEIGHT, cost, layout
from compiler.expand.selection import one_hot
from compiler.graph import Kind, TensorOp, Value, Visibility
from compiler.graph.interval import Interval
from mpc_runtime import gates

SELECTED_WORDS = 3
"""Words of material for a selection (PROTOCOLS section 3.4, without a truncation)."""

WORD = 64


@dataclass(frozen=True)
class _Row:
    """What is sorted: rows [others, n] of masked numbers of k signed bits, of which the first `count` are wanted.

    sign: 1 where the largest come first, -1 where the smallest do.
    """

    wire: int
    scale: int
    k: int
    count: int
    sign: int
    others: int
    n: int


def sort(x: Expansion, value: Value, a: Held) -> Held:
    row, back = _row(x, value, a)
    return back(_ordered(x, row)[0], row.scale)


def argsort(x: Expansion, value: Value, a: Held) -> Held:
    row, back = _row(x, value, a)
    return back(_ordered(x, row)[1], 0)


def _ordered(x: Expansion, row: _Row) -> tuple[int, int]:
    """Shares of the sorted numbers and of where they come from; what is not used of it is never computed."""
    return _paired(x, row) if _in_pairs_is_faster(x, row) else _merged(x, row)


def _row(x: Expansion, value: Value, a: Held) -> tuple[_Row, Callable[[int, int], Held]]:
    """The rows of a tensor, and the way back to its shape."""
    op = value.op
    assert isinstance(op, ops.Sort | ops.ArgSort)
    axes = (*(i for i in range(len(a.shape)) if i != op.axis), op.axis)
    n = a.shape[op.axis]
    wire, scale = x.stored(a)
    rows = x.e.reshape(x.e.transpose(wire, axes), (a.size // n, n))
    k = width(a.range, scale, exact_kind(a), most=64)

    def back(register: int, scale: int) -> Held:
        shaped = x.e.reshape(register, (*(a.shape[i] for i in axes[:-1]), op.count))
        return x.e.held(value, x.e.transpose(shaped, tuple(np.argsort(axes).tolist())), scale)

    return _Row(rows, scale, k, op.count, 1 if op.descending else -1, a.size // n, n), back


def _in_pairs_is_faster(x: Expansion, row: _Row) -> bool:
    """By the time of both for rounds and bytes, the selections included."""
    n, b, block = row.n, _place_bits(row.n), _power(row.count)
    if row.k + b + 1 > MAX_WIDTH:
        return True  # keys have no room

    def seconds(width_: int, levels: int, comparisons: int, chosen: int, opened: int) -> float:
        digits = layout(width_, max(1, comparisons // max(1, levels)), x.network)
        offline, online = cost(digits.widths, digits.tree)
        bits = comparisons * (online + MATERIAL_WEIGHT * offline)
        bits += chosen * MATERIAL_WEIGHT * SELECTED_WORDS * WORD + opened * WORD
        return x.network.seconds(levels * (digits.rounds + 1), bits)

    halvings = b - int(log2(block))
    depth = int(log2(block)) * (int(log2(block)) + 1) // 2 + halvings * (1 + int(log2(block)))
    met = row.others * depth * _power(n) // 2
    pairs = row.others * n * (n - 1) // 2
    together = seconds(row.k, 2, pairs, row.others * n * row.count, row.others * n)
    return together <= seconds(row.k + b, depth, met, met, met)


def _power(n: int) -> int:
    """The least power of two that is not below."""
    return 1 << (n - 1).bit_length()


def _place_bits(n: int) -> int:
    return (n - 1).bit_length()


# -- all pairs ---------------------------------------------------------------------------------------------------------


def _paired(x: Expansion, row: _Row) -> tuple[int, int]:
    """Shares of the sorted numbers and of where they come from."""
    n, shape = row.n, (row.others, row.n, row.count)
    places = Held(Kind.INT, (row.others, n), Interval(0, n - 1), {(SHARE, 0): _places(x, row)})
    bits = one_hot(x, Value(ops.OneHot(row.count), (), Kind.BIT, shape, Visibility.SECRET, Interval(0, 1)), places)
    chosen = x.bits.select(x.e.bit(bits), x.e.reshape(row.wire, (row.others, n, 1)), row.scale)
    number = x.bits.number(x.e.bit(bits))
    each = x.e.emit(gates.Mul, shape, SHARE, x=number, y=x.e.constant(np.arange(n).reshape(n, 1), 0))
    result = (row.others, row.count)
    return x.e.reshape(x.e.sum(chosen, (1,)), result), x.e.reshape(x.e.sum(each, (1,)), result)


def _places(x: Expansion, row: _Row) -> int:
    """Shares of how many come before each: of the pair (i, i + d), i does where it is not beaten."""
    n, others = row.n, row.others
    place = x.e.constant(np.arange(n)[::-1].reshape(1, n), 0)
    out = x.e.broadcast(place, (others, n))
    if n == 1:
        return x.e.emit(gates.FromPublic, (others, n), SHARE, x=out)
    distances = range(1, n)
    left = x.e.concat([x.e.slice_axis(row.wire, 1, 0, 1, n - d) for d in distances], 1)
    right = x.e.concat([x.e.slice_axis(row.wire, 1, d, 1, n - d) for d in distances], 1)
    gap = x.e.sub(left, right) if row.sign > 0 else x.e.sub(right, left)
    (first,) = x.bits.at_least(gap, (0,), min(64, row.k + 1))
    before = x.bits.number(first)
    start = 0
    for d in distances:
        bit = x.e.slice_axis(before, 1, start, 1, n - d)
        start += n - d
        moved = x.e.sub(x.e.pad(bit, ((0, 0), (d, 0))), x.e.pad(bit, ((0, 0), (0, d))))
        out = x.e.add(moved, out)
    return out


# -- a network ---------------------------------------------------------------------------------------------------------


def _merged(x: Expansion, row: _Row) -> tuple[int, int]:
    """Shares of the sorted numbers and of where they come from."""
    b, block = _place_bits(row.n), _power(row.count)
    keys = _blocks(x, row, b)
    while x.e.shape(keys)[1] > 1:
        keys = _merge(x, keys, row.k + b + 1, block)
    keys = x.e.slice_axis(x.e.reshape(keys, (row.others, block)), 1, 0, 1, row.count)
    number = floor_of(x, keys, b, row.k + b)
    behind = x.e.sub(keys, x.e.scaled(number, 1 << b))
    place = x.e.sub(x.e.constant(np.array(row.n - 1), 0), behind)
    return x.e.rescaled(x.e.scaled(number, row.sign), row.scale, 1), place


def _blocks(x: Expansion, row: _Row, b: int) -> int:
    """Keys [others, blocks of one, 1], a power of two of them; those that fill up come last."""
    places = x.e.constant(np.arange(row.n)[::-1].reshape(1, row.n), 0)
    keys = x.e.add(x.e.rescaled(row.wire, 0, row.sign << b), places)
    full = max(_power(row.n), _power(row.count))
    if full > row.n:
        least = np.where(np.arange(full) < row.n, 0, -(1 << (row.k - 1 + b)))
        keys = x.e.add(x.e.pad(keys, ((0, 0), (0, full - row.n))), x.e.constant(least.reshape(1, full), 0))
    return x.e.reshape(keys, (row.others, full, 1))


def _merge(x: Expansion, keys: int, k: int, most: int) -> int:
    """Sorted blocks [others, blocks, m] merged two by two, largest first; of each pair at most `most` are kept."""
    others, blocks, m = x.e.shape(keys)
    first = x.e.slice_axis(keys, 1, 0, 2, blocks // 2)
    second = x.e.slice(keys, (0, 1, m - 1), (1, 2, -1), (others, blocks // 2, m))
    larger, smaller = _met(x, first, second, k)
    if 2 * m > most:
        return _cleaned(x, larger, k)
    halves = [x.e.reshape(half, (others, blocks // 2, 1, m)) for half in (larger, smaller)]
    both = x.e.reshape(x.e.concat(halves, 2), (others, blocks, m))
    return x.e.reshape(_cleaned(x, both, k), (others, blocks // 2, 2 * m))


def _cleaned(x: Expansion, keys: int, k: int) -> int:
    """Blocks that rise and fall, sorted: halves meet, then halves of halves."""
    shape = x.e.shape(keys)
    half = shape[-1] // 2
    while half:
        pairs = (*shape[:2], shape[2] // (2 * half), 2, half)
        keys = x.e.reshape(keys, pairs)
        larger, smaller = _met(x, x.e.slice_axis(keys, 3, 0, 1, 1), x.e.slice_axis(keys, 3, 1, 1, 1), k)
        keys = x.e.reshape(x.e.concat([larger, smaller], 3), shape)
        half //= 2
    return keys


def _met(x: Expansion, a: int, b: int, k: int) -> tuple[int, int]:
    """Masked (larger, smaller) of two: b + d (a - b) and a - d (a - b), from one opening."""
    gap = x.e.sub(a, b)
    (bit,) = x.bits.at_least(gap, (0,), k)
    chosen = x.e.open(x.bits.select(bit, gap, 0))
    return x.e.add(b, chosen), x.e.sub(a, chosen)


HANDLERS: dict[type[TensorOp], Handler] = {ops.Sort: sort, ops.ArgSort: argsort}
