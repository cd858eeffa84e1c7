"""Decision trees whose structure is a value: what a node looks at, and what a tree's decisions lead to.

A complete tree of depth d has 2^d - 1 nodes in level order (the children of node i are 2i + 1, left, and 2i + 2) and
2^d leaves from left to right. The layer `forest` is `Chosen`, a comparison with every node's threshold, and `Leaves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    NO_ROWS,
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    NoGradient,
    OpError,
    Rounding,
    Shape,
    TensorOp,
    Value,
)
from compiler.graph.interval import Interval
from compiler.ops.rules import NUMBERS, expect_count, expect_kind, show

MAX_DEPTH = 12
"""Of a tree: every node of the complete tree is compared for every row, 4095 of them at this depth."""

JUMPS = "a tree's decisions change in jumps"


@dataclass(frozen=True)
class _OfTrees(TensorOp, abstract=True):
    symbol: ClassVar[str] = "forest"
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return 0 if tuple(axes) == (0, NO_ROWS) else ROWS_MEET

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient(JUMPS),) * len(args)


@dataclass(frozen=True)
class Chosen(_OfTrees):
    """x [batch, in] and one-hot rows [nodes, in] of whole numbers: the feature of each node, [batch, nodes]."""

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        x, places = args
        kind = expect_kind(self.symbol, (x,), NUMBERS)
        expect_kind(self.symbol, (places,), (Kind.INT,))
        if x.rank != 2 or places.rank != 2 or x.shape[1] != places.shape[1]:
            raise OpError(f"{self.symbol} chooses columns of {show(x.shape)} by rows {show(places.shape)}")
        return kind, (x.shape[0], places.shape[0])

    def interval(self, *args: Value) -> Interval:
        return args[0].range

    def evaluate(self, *arrays: Array) -> Array:
        x, places = arrays
        return np.asarray(x[:, places.argmax(axis=1)])


@dataclass(frozen=True)
class Leaves(_OfTrees):
    """The sum of the leaves that the trees end at, [batch, outputs].

    Takes bits [batch, trees, 2^depth - 1], 1 for left, and leaves [trees, 2^depth, outputs].
    """

    depth: int
    rounding: ClassVar[Rounding] = Rounding.STEPS

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        left, leaf = args
        expect_kind(self.symbol, (left,), (Kind.BIT,))
        kind = expect_kind(self.symbol, (leaf,), NUMBERS)
        trees, ends = leaf.shape[:1], 1 << self.depth
        if left.rank != 3 or leaf.rank != 3 or left.shape[1:] != (*trees, ends - 1) or leaf.shape[1] != ends:
            raise OpError(
                f"{self.symbol} of depth {self.depth} has no leaves {show(leaf.shape)} for {show(left.shape)}"
            )
        return kind, (left.shape[0], leaf.shape[2])

    def interval(self, *args: Value) -> Interval:
        return args[1].range.times(args[1].shape[0])

    def evaluate(self, *arrays: Array) -> Array:
        left, leaf = arrays
        rows, trees = np.arange(left.shape[0])[:, None], np.arange(left.shape[1])
        node = np.zeros(left.shape[:2], np.int64)
        for _ in range(self.depth):
            node = 2 * node + 2 - left[rows, trees, node]
        result: Array = leaf[trees, node - ((1 << self.depth) - 1)].sum(axis=1)
        return result
