"""Noise of whole numbers, drawn exactly: the discrete Laplace and the discrete Gaussian distribution.

C. Canonne, G. Kamath, T. Steinke, "The Discrete Gaussian for Differential Privacy", NeurIPS 2020, arXiv:2004.00010:
algorithms 1 (exp(-g)), 2 (`laplace`) and 3 (`gaussian`). Floats would leak: their gaps say where the noise came from
(I. Mironov, CCS 2012), so every decision here compares whole numbers. All elements are drawn at once; those that an
algorithm rejects are drawn again.

Random words are an argument. Whose they are, and what the noise is for, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np

__all__ = ["MAX_NUMERATOR", "Words", "bernoulli_logistic", "gaussian", "laplace"]

Array: TypeAlias = np.ndarray
Words: TypeAlias = Callable[[int], Array]
"""Words(n): the next n uniform uint64 of a stream; none is given twice."""

MAX_NUMERATOR = 1 << 48
"""Of a scale, so that what is drawn stays far below 2^63: beyond 2^15 scales it is less likely than e^-32000."""

WORD = 1 << 64


def laplace(words: Words, n: int, numerator: int, denominator: int) -> Array:
    """n int64 with P(k) in proportion to exp(-|k| denominator / numerator)."""
    _expect_scale(numerator, denominator)

    def draw(m: int) -> tuple[Array, Array]:
        low = _below(words, m, numerator)
        kept = _exp(m, lambda at: _below(words, at.size, numerator) < low[at], words)
        high = np.zeros(m, np.int64)
        more = np.flatnonzero(kept)
        while more.size:
            more = more[_exp(more.size, lambda at: np.ones(at.size, np.bool_), words)]
            high[more] += 1
        size = (low + numerator * high) // denominator
        negative = _coins(words, m)
        return np.where(negative, -size, size), kept & ~(negative & (size == 0))

    return _redrawn(n, draw)


def gaussian(words: Words, n: int, numerator: int, denominator: int) -> Array:
    """n int64 with P(k) in proportion to exp(-k^2 / (2 s^2)), s = numerator / denominator.

    As algorithm 3 with t = s, which may be a fraction too: a Laplace k of scale s stays with probability
    exp(-(|k| - s)^2 / (2 s^2)). With | |k| - s | = (q + u / numerator) s, that is a product of powers of exp(-1/2),
    of exp(-u / numerator) and exp(-(u / numerator)^2 / 2), none of which needs a number beyond 64 bits.
    """
    _expect_scale(numerator, denominator)

    def draw(m: int) -> tuple[Array, Array]:
        k = laplace(words, m, numerator, denominator)
        q, u = np.divmod(np.abs(np.abs(k) * denominator - numerator), numerator)

        def part(at: Array) -> Array:
            less: Array = _below(words, at.size, numerator) < u[at]
            return less

        kept = _exp(m, lambda at: part(at) & part(at) & _coins(words, at.size), words)
        _keep_powers(kept, q, lambda at: _exp(at.size, lambda i: part(at[i]), words))
        _keep_powers(kept, q * q, lambda at: _exp(at.size, lambda i: _coins(words, i.size), words))
        return k, kept

    return _redrawn(n, draw)


def bernoulli_logistic(words: Words, n: int, epsilon: Fraction) -> Array:
    """n bools that are true with probability 1 / (1 + exp(epsilon)): whether an answer is flipped."""
    whole, rest = divmod(epsilon, 1)

    def exp_epsilon(m: int) -> Array:
        kept = _exp(m, lambda at: _below(words, at.size, rest.denominator) < rest.numerator, words)
        _keep_powers(kept, np.full(m, int(whole)), lambda at: _exp(at.size, lambda i: np.ones(i.size, bool), words))
        return kept

    def draw(m: int) -> tuple[Array, Array]:
        heads = _coins(words, m)  # false ends here; true is flipped with exp(-epsilon), and drawn again else
        flipped = np.zeros(m, np.bool_)
        flipped[heads] = exp_epsilon(int(heads.sum()))
        return flipped, ~heads | flipped

    return _redrawn(n, draw)


def _expect_scale(numerator: int, denominator: int) -> None:
    if not (0 < numerator <= MAX_NUMERATOR and 0 < denominator <= MAX_NUMERATOR):
        raise ValueError(f"a scale of noise has parts from 1 to 2^48, found {numerator} / {denominator}")


def _redrawn(n: int, draw: Callable[[int], tuple[Array, Array]]) -> Array:
    """n elements, each drawn until it is accepted. draw(m): m elements, and which of them are."""
    drawn, accepted = draw(n)
    missing = np.flatnonzero(~accepted)
    while missing.size:
        again, accepted = draw(missing.size)
        drawn[missing[accepted]] = again[accepted]
        missing = missing[~accepted]
    return drawn


def _exp(n: int, chance: Callable[[Array], Array], words: Words) -> Array:
    """n bools that are true with probability exp(-g): algorithm 1. chance(places): bools that are with g <= 1."""
    result = np.zeros(n, np.bool_)
    going, k = np.arange(n), 1
    while going.size:
        more = chance(going) & (_below(words, going.size, k) == 0)
        result[going[~more]] = k % 2 == 1
        going, k = going[more], k + 1
    return result


def _keep_powers(kept: Array, powers: Array, chance: Callable[[Array], Array]) -> None:
    """Keeps each element with the probability of `chance` to its power."""
    left = powers.copy()
    going = np.flatnonzero(kept & (left > 0))
    while going.size:
        passed = chance(going)
        kept[going[~passed]] = False
        going = going[passed]
        left[going] -= 1
        going = going[left[going] > 0]


def _below(words: Words, n: int, limit: int) -> Array:
    """n uniform int64 in [0, limit): a word of the last, incomplete round of `limit` numbers is drawn again."""
    if limit == 1:
        return np.zeros(n, np.int64)
    whole = WORD - WORD % limit

    def draw(m: int) -> tuple[Array, Array]:
        drawn = words(m)
        fits = np.ones(m, np.bool_) if whole == WORD else drawn < np.uint64(whole)
        return (drawn % np.uint64(limit)).astype(np.int64), fits

    return _redrawn(n, draw)


def _coins(words: Words, n: int) -> Array:
    result: Array = words(n) >> np.uint64(63) == 1
    return result
