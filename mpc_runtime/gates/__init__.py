"""The instructions of the op-list. One file a family; see `base` for what a gate is."""

from .base import GATES, Gate
from .comparison import Combine, Leaf, ToBit, ToPlanes
from .given import Constant, Input
from .linear import Add, Concat, Lift, Xor
from .maps import Broadcast, LinearMap, Pad, Rescale, Reshape, Scale, Slice, Sum, SumParts, Transpose, WindowSum
from .noise import DealerNoise, GradientNoise, Noise, PartyNoise
from .opening import FromPublic, Materialize, Open, Reveal, Unmask
from .pairs import Gaps, Wins
from .product import Conv2d, MatMul, Mul, Product, Square, SquareSum
from .secrets import Planes, Samples, Secret, Words
from .selection import BitToWord, Choose, Select
from .table import Table
from .truncation import Truncate

__all__ = [
    "GATES",
    "Add",
    "BitToWord",
    "Broadcast",
    "Choose",
    "Combine",
    "Concat",
    "Constant",
    "Conv2d",
    "DealerNoise",
    "FromPublic",
    "Gaps",
    "Gate",
    "GradientNoise",
    "Input",
    "Leaf",
    "Lift",
    "LinearMap",
    "MatMul",
    "Materialize",
    "Mul",
    "Noise",
    "Open",
    "Pad",
    "PartyNoise",
    "Planes",
    "Product",
    "Rescale",
    "Reshape",
    "Reveal",
    "Samples",
    "Scale",
    "Secret",
    "Select",
    "Slice",
    "Square",
    "SquareSum",
    "Sum",
    "SumParts",
    "Table",
    "ToBit",
    "ToPlanes",
    "Transpose",
    "Truncate",
    "Unmask",
    "WindowSum",
    "Wins",
    "Words",
    "Xor",
]
