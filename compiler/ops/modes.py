"""What computes otherwise in a step of training than anywhere else.

In the graph of a model such an op stands for what it is outside training, and `compiler.training.modes` puts in its
place what each procedure computes. A model without a `train` block has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from compiler.graph import Array, Gradients, Shape, Value
from compiler.ops.shapes import Move


@dataclass(frozen=True)
class Dropout(Move):
    """The argument. In training each element is 0 with probability `p`, else 1 / (1 - p) times what it is. place: among
    the uses of dropout in the model, each of which has coins of its own."""

    p: float
    place: int
    symbol: ClassVar[str] = "dropout"
    sizes: ClassVar[tuple[str, ...]] = ()

    def moved(self, shape: Shape) -> Shape:
        return shape

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]


@dataclass(frozen=True)
class Mark(Move):
    """The argument, at the beginning of a layer whose arguments and signals are limited in training, or at its end."""

    layer: str
    end: bool
    symbol: ClassVar[str] = "the limit of a layer"
    sizes: ClassVar[tuple[str, ...]] = ()

    def moved(self, shape: Shape) -> Shape:
        return shape

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (gradient,)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return axes[0]
