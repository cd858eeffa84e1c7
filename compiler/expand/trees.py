"""Decision trees: features chosen by a product with one-hot rows, and the sum of the leaves that bits lead to.

All nodes of all trees are compared at once. A path is the conjunction of the bits on it, negated where it turns right:
the levels are cut into blocks, whose paths are made in one round, and the blocks' paths are joined in another. So the
rounds do not grow with the depth, and nobody sees which way a row went.
"""

from __future__ import annotations

from compiler import ops
from compiler.expand.arithmetic import bilinear
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import PUBLIC, SHARE, Held
from compiler.graph import Kind, TensorOp, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates

BLOCK_LEVELS = 4
"""Levels of a block at most: the material of a conjunction of g bits grows as 2^g."""

MOST_CHOICES = 4
"""Outputs for which each path chooses its leaf by itself. Beyond, paths are opened once more, as numbers under a mask,
and a matrix product serves all outputs."""


def chosen(x: Expansion, value: Value, a: Held, places: Held) -> Held:
    """x times the transposed rows: a sum of which one term is not 0, so that the result has the range of x."""
    rows = places.shape
    turned = Held(
        places.kind, rows[::-1], places.range, base=places, view=lambda register: x.e.transpose(register, (1, 0))
    )
    if places.array is not None:
        turned = Held(places.kind, rows[::-1], places.range, array=places.array.T)
    return bilinear(x, value, a, turned, gates.MatMul)


def leaves(x: Expansion, value: Value, left: Held, leaf: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Leaves)
    batch, trees, _ = left.shape
    count, outputs = trees << op.depth, leaf.shape[2]
    paths = x.e.reshape(_paths(x, x.e.bit(left), op.depth), (batch, count))
    rows = Held(leaf.kind, (count, outputs), leaf.range, base=leaf, view=lambda r: x.e.reshape(r, (count, outputs)))
    if leaf.array is not None:
        rows = Held(leaf.kind, (count, outputs), leaf.range, array=leaf.array.reshape(count, outputs))
    elif outputs <= MOST_CHOICES and not x.e.has(leaf, PUBLIC, x.e.plain(leaf)):
        return _each_chosen(x, value, paths, rows)
    taken = Held(Kind.INT, (batch, count), Interval(0, 1), {(SHARE, 0): x.bits.number(paths)})
    return bilinear(x, value, taken, rows, gates.MatMul)


def _each_chosen(x: Expansion, value: Value, paths: int, rows: Held) -> Held:
    """Every path's bit times its leaf, added up: no opening but those of the bits."""
    (batch, count), outputs = x.e.shape(paths), rows.shape[1]
    wire, scale = x.e.wire(rows)
    each = x.e.broadcast(x.e.transpose(wire, (1, 0)), (batch, outputs, count))
    taken = x.bits.select(x.e.broadcast(x.e.reshape(paths, (batch, 1, count)), (batch, outputs, count)), each, scale)
    return x.e.held(value, x.e.reshape(x.e.sum(taken, (2,)), value.shape), scale)


def _paths(x: Expansion, left: int, depth: int) -> int:
    """Masked bits [batch, trees, 2^depth]: whether a row takes this path, from left to right."""
    batch, trees, _ = x.e.shape(left)
    blocks = []
    for first, last in _blocks(depth):
        paths = x.bits.all([_turns(x, left, level, first, last) for level in range(first, last)])
        each = x.e.reshape(paths, (batch, trees, 1 << last, 1))
        whole = x.e.broadcast(each, (batch, trees, 1 << last, 1 << (depth - last)))
        blocks.append(x.e.reshape(whole, (batch, trees, 1 << depth)))
    return x.bits.all(blocks)


def _blocks(depth: int) -> list[tuple[int, int]]:
    """The levels in as few blocks as there can be, about equal, the longer ones above: they have fewer paths."""
    count = -(-depth // BLOCK_LEVELS)
    lengths = [depth // count + (i < depth % count) for i in range(count)]
    return [(sum(lengths[:i]), sum(lengths[: i + 1])) for i in range(count)]


def _turns(x: Expansion, left: int, level: int, first: int, last: int) -> int:
    """Masked bits [batch, trees, 2^last]: whether a row turns at this level as the paths of the block [first, last) do.

    Their order is that of the nodes of level `last`: the path to one starts at its ancestor in level `first`.
    """
    batch, trees, _ = x.e.shape(left)
    nodes = x.e.slice_axis(left, 2, (1 << level) - 1, 1, 1 << level)
    nodes = x.e.reshape(nodes, (batch, trees, 1 << level, 1))
    both = x.e.reshape(x.e.concat([nodes, x.bits.negate(nodes)], 3), (batch, trees, 2 << level, 1))
    below = 1 << (last - level - 1)
    return x.e.reshape(x.e.broadcast(both, (batch, trees, 2 << level, below)), (batch, trees, 1 << last))


HANDLERS: dict[type[TensorOp], Handler] = {ops.Chosen: chosen, ops.Leaves: leaves}
