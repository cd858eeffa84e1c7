"""What computes otherwise in a step of training than anywhere else.

In the graph of a model such an op stands for what it is outside training, and `compiler.training.modes` puts in its
place what each procedure computes. A model without a `train` block has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.ops.shapes import Same


@dataclass(frozen=True)
class Dropout(Same):
    """The argument. In training each element is 0 with probability `p`, else 1 / (1 - p) times what it is. place: among
    the uses of dropout in the model, each of which has coins of its own."""

    p: float
    place: int
    symbol: ClassVar[str] = "dropout"


@dataclass(frozen=True)
class Mark(Same):
    """The argument, at the beginning of a layer whose arguments and signals are limited in training, or at its end."""

    layer: str
    end: bool
    symbol: ClassVar[str] = "the limit of a layer"
