"""Sizes that depend on free dims: a size is what it is in each of several trials, in which the dims have other values.

Shape arithmetic is then ordinary arithmetic, trial by trial; what it says of a dim is read off the results at the end
(`Trials.formula`). What cannot be written in the dims raises `Undecided`, and the importer gives the dims numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Trial values: small, so that no axis of a model is exceeded, and without a common factor, so that none is taken for
# another or for a number of the model.
TRIAL_PRIMES = ((5, 7, 11), (13, 17, 19), (23, 29, 31), (37, 41, 43))


class Undecided(Exception):
    """What is computed depends on a free dim in a way that no size of the language says."""


@dataclass(frozen=True)
class Size:
    """A size in each trial."""

    values: tuple[int, ...]

    @property
    def fixed(self) -> int:
        """The number that it is in every trial."""
        if len(set(self.values)) > 1:
            raise Undecided
        return self.values[0]

    @property
    def is_fixed(self) -> bool:
        return len(set(self.values)) == 1

    def __mul__(self, other: Size) -> Size:
        return Size(tuple(a * b for a, b in zip(self.values, other.values, strict=True)))


def product(sizes: Sequence[Size], trials: int) -> Size:
    """Of no sizes, 1."""
    return Size(tuple(math.prod(size.values[trial] for size in sizes) for trial in range(trials)))


@dataclass(frozen=True)
class Formula:
    """`factor * dim * … + rest`."""

    factor: int
    dims: tuple[str, ...]
    rest: int


@dataclass(frozen=True)
class Trials:
    """What each free dim is in each trial, in the last one the size that was asked for; one trial without free dims."""

    dims: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, names: Sequence[str], asked: Mapping[str, int]) -> Trials:
        """Raises Undecided for more dims than there are trial values."""
        if len(names) > len(TRIAL_PRIMES):
            raise Undecided
        return cls({name: (*primes, asked[name]) for name, primes in zip(names, TRIAL_PRIMES, strict=False)})

    @property
    def count(self) -> int:
        return max((len(values) for values in self.dims.values()), default=1)

    def size(self, number: int) -> Size:
        return Size((number,) * self.count)

    def formula(self, size: Size) -> Formula:
        """The size in the dims; raises Undecided."""
        if size.is_fixed:
            return Formula(0, (), size.values[0])
        for names in self._products():
            found = _linear([math.prod(column) for column in zip(*(self.dims[n] for n in names), strict=True)], size)
            if found is not None:
                return Formula(found[0], names, found[1])
        raise Undecided

    def _products(self) -> Iterator[tuple[str, ...]]:
        for length in range(1, len(self.dims) + 1):
            yield from itertools.combinations(self.dims, length)


def _linear(dim: Sequence[int], size: Size) -> tuple[int, int] | None:
    """(a, b) with size = a * dim + b in every trial."""
    factor, remainder = divmod(size.values[1] - size.values[0], dim[1] - dim[0])
    rest = size.values[0] - factor * dim[0]
    fits = all(factor * d + rest == s for d, s in zip(dim, size.values, strict=True))
    return (factor, rest) if not remainder and factor and fits else None
