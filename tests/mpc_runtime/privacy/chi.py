"""Counts of whole numbers beside the law that they are said to have."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
LEAST = 20.0  # expected counts below which cells are joined


def laplace(scale: float) -> Callable[[Array], Array]:
    """exp(-|k| / scale), not normalised."""
    return lambda k: np.exp(-np.abs(k) / scale)


def gaussian(deviation: float) -> Callable[[Array], Array]:
    return lambda k: np.exp(-(k**2) / (2 * deviation**2))


def deviation_of(law: Callable[[Array], Array], most: int) -> float:
    k = np.arange(-most, most + 1, dtype=np.float64)
    weights = law(k)
    return float(np.sqrt((weights * k**2).sum() / weights.sum()))


def excess(drawn: Array, law: Callable[[Array], Array], most: int, step: int = 1) -> float:
    """Of chi-square over cells of `step` numbers in [-most, most]: (chi^2 - cells) / sqrt(2 cells), about normal."""
    k = np.arange(-most, most + 1, dtype=np.float64)
    chances = law(k) / law(k).sum()
    places = np.clip(drawn.astype(np.int64), -most, most) + most
    counts = np.bincount(places, minlength=2 * most + 1).astype(np.float64)
    cells = np.arange(2 * most + 1) // step
    expected = np.bincount(cells, chances) * drawn.size
    found = np.bincount(cells, counts)
    whole = expected >= LEAST
    expected = np.append(expected[whole], expected[~whole].sum())
    found = np.append(found[whole], found[~whole].sum())
    used = expected > 0
    chi = float(((found[used] - expected[used]) ** 2 / expected[used]).sum())
    freedom = int(used.sum()) - 1
    return (chi - freedom) / math.sqrt(2 * freedom)


def seeded(seed: int) -> Callable[[int], Array]:
    random = np.random.default_rng(seed)
    return lambda n: random.integers(0, 1 << 64, n, np.uint64)
