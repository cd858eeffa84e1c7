"""Norms that are checked while a plan runs: what is assumed of a value, and the bits that say whether it holds.

A plan assumes that the vectors of a value have no larger L2 norm than a limit (`Bounded`, which computes nothing), and
everything behind it is bounded by Cauchy and Schwarz. `WithinNorm` of the same value gives a bit for each vector, and
`BeyondNorms` of several counts those that are longer. A
sum of squares costs nothing where the value is opened anyway; one word a vector is opened, and one comparison made.
PROTOCOLS section 1d.

The check itself is right only where no sum of squares wraps in the ring. `pieces` proves that from what is known of
the value before: where the whole sum is not proved, parts of it are, and are checked first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
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
    bounds,
)
from compiler.graph.bounds import UP, Norm
from compiler.graph.interval import BITS, Interval
from compiler.ops.rules import NUMBERS, axes_of, expect_count, expect_kind
from compiler.ops.shapes import Same
from compiler.ops.sums import kept_axis, reduced

ROOM = 2.0**63 * (1 - 2.0**-8)
"""What a sum of squares stays below: it is compared as a signed number of 64 bits, less the low bits left out; one of
values without their `shift` lowest bits is known in shift - 1 bits less."""

MOST_PIECES = 256
"""Beyond this, one comparison for each element is hardly dearer."""

COARSE = 2.0**-8
"""By this part of a limit the roundings of what is squared may lengthen or shorten a vector."""

STEPS = 2.0
"""By less than this an element is rounded where it is squared without its lowest bits (gates.SquareSum)."""


@dataclass(frozen=True)
class Bounded(Same):
    """The argument, of whose vectors along `axes` it is checked elsewhere that none has an L2 norm beyond `bound`."""

    axes: tuple[int, ...]
    bound: float
    symbol: ClassVar[str] = "the limit of a norm"

    def moved(self, shape: Shape) -> Shape:
        axes_of(self.symbol, self.axes, len(shape))
        return shape

    def interval(self, *args: Value) -> Interval:
        return bounds.within(args[0].range, UP * self.bound)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return (Norm(2, self.axes, UP * self.bound), *args[0].norms)


class Checked(TensorOp, abstract=True):
    """Whether norms are within their limits."""

    symbol: ClassVar[str] = "the check of a norm"
    compares: ClassVar[bool] = True
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    private: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class WithinNorm(Checked):
    """A bit for each vector along `axes`: its L2 norm is at most `bound`. Next below the bound it may be 0 too. Without
    axes it is a bit for each element, by a comparison."""

    axes: tuple[int, ...]
    bound: float

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        expect_kind(self.symbol, args, NUMBERS)
        axes = axes_of(self.symbol, self.axes, args[0].rank)
        if not 0 < self.bound < math.inf:
            raise OpError(f"a norm is limited by a number above 0, found {self.bound:g}")
        return Kind.BIT, reduced(args[0].shape, axes, keepdims=False)

    def interval(self, *args: Value) -> Interval:
        return BITS

    def evaluate(self, *arrays: Array) -> Array:
        squares = np.square(arrays[0].astype(np.float64)).sum(axis=self.axes)
        return np.asarray(squares <= self.bound**2)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("a bit changes in jumps"),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET if axes[0] in self.axes else kept_axis(axes[0], self.axes, keepdims=False)


@dataclass(frozen=True)
class SquaredNorms(Checked):
    """The squares of the L2 norms of vectors along `axes`, for `BeyondNorms` of a later execution; right to where those
    differ from a limit by its part `COARSE`."""

    axes: tuple[int, ...]
    limit: float

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 1)
        expect_kind(self.symbol, args, NUMBERS)
        axes = axes_of(self.symbol, self.axes, args[0].rank)
        return Kind.FIXED, (math.prod(reduced(args[0].shape, axes, keepdims=False)),)

    def interval(self, *args: Value) -> Interval:
        return Interval(0.0, UP * (bounds.l2(args[0], self.axes) + COARSE * self.limit) ** 2)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.square(arrays[0].astype(np.float64)).sum(axis=self.axes).reshape(-1))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return (NoGradient("what is checked is not trained"),)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET


@dataclass(frozen=True)
class BeyondNorms(Checked):
    """Of each argument, how many of its vectors along its `axes` have a larger L2 norm than its limit. Next below the
    limit one may count too. Axes None: the argument has `SquaredNorms`. One op for several arguments, so that their
    comparisons are made together."""

    axes: tuple[tuple[int, ...] | None, ...]
    limits: tuple[float, ...]

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, len(self.axes))
        self._counts(args)
        return Kind.INT, (len(args),)

    def interval(self, *args: Value) -> Interval:
        return Interval(0.0, float(max(self._counts(args))))

    def evaluate(self, *arrays: Array) -> Array:
        beyond = [
            array > limit**2 if axes is None else ~WithinNorm(axes, limit).evaluate(array)
            for axes, limit, array in zip(self.axes, self.limits, arrays, strict=True)
        ]
        return np.array([np.count_nonzero(each) for each in beyond], np.int64)

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return tuple(NoGradient("a count changes in jumps") for _ in args)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET

    def _counts(self, args: Sequence[Value]) -> list[int]:
        """How many vectors there are of each."""
        each = zip(self.axes, self.limits, args, strict=True)
        return [
            arg.size if axes is None else math.prod(WithinNorm(axes, limit).infer(arg)[1]) for axes, limit, arg in each
        ]


@dataclass(frozen=True)
class Pieces:
    """Into how many parts each vector is cut, without how many of its lowest bits it is squared, and below what every
    sum of squares stays, as a ring element. limit: of the norm of what is squared, so that the vector's is within its
    own."""

    count: int
    shift: int
    most: float
    limit: float


def pieces(value: Value, axes: Sequence[int], bound: float, scale: int) -> Pieces:
    """How the norm of `value`, held with `scale` fraction bits, is checked. Raises OpError where it cannot be.

    Squares of what lacks its lowest bits take narrower rings, also of what is squared. The whole sum of several parts
    is right if each of them is within the bound, for which each is checked too.
    """
    count = math.prod(value.shape[axis] for axis in axes)
    norm, largest = bounds.l2(value, axes), value.range.magnitude
    shift = coarse(count, bound, scale) if side_by_side(axes) else 0
    units, rounded = 4.0 ** (scale - shift), COARSE * bound if shift else 0.0
    whole = UP * (norm + rounded) ** 2 * units
    if whole < ROOM / 2.0 ** max(0, shift - 1):
        return Pieces(1, shift, whole, bound - rounded)
    units = 4.0**scale
    for parts in (2**i for i in range(1, MOST_PIECES.bit_length())):
        part = UP * largest * largest * -(-count // parts) * units
        together = UP * parts * bound * bound * units
        if parts <= count and max(part, together) < ROOM:
            return Pieces(parts, 0, max(part, together), bound)
    raise OpError(
        f"its norm cannot be checked: an element may lie anywhere in {value.range}, so that {count} squares may wrap",
        "declare ranges of what it is made of, `… in [lo, hi]`; in training, use smaller `limits` or a smaller rate",
    )


def coarse(count: int, bound: float, scale: int) -> int:
    """Of vectors of so many elements, held with `scale` fraction bits, how many of these are left out of squares, so
    that no norm differs by more than the part `COARSE` of a bound."""
    bits = math.floor(math.log2(COARSE * bound / (STEPS * math.sqrt(count))) + scale)
    return min(max(0, bits), scale)


def side_by_side(axes: Sequence[int]) -> bool:
    """Whether axes follow each other."""
    return bool(axes) and sorted(axes) == list(range(min(axes), min(axes) + len(axes)))
