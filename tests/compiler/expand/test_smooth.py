"""Softmax over few and over many places. Truth: float64, and the bound of docs/numbers.md."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime import Program

ROWS = 64
BOUND = 2.0**-12
DIRECT = 15
"""Terms whose sum lies in a table that is not large."""


def softmax_of(places: int, most: float = 8.0) -> Program:
    """Of the sum of two roles' numbers, so that nobody's machine computes it in clear."""
    owned = f"[batch, {places}] from {{}} in [-{most / 2}, {most / 2}]"
    inputs = f"input x : {owned.format('client')}\ninput y : {owned.format('other')}\n"
    head = f"model m\nrole client, other\ndim batch = {ROWS}\n"
    return mpc.compile(text=f"{head}{inputs}output p = softmax(x + y) to client\n")


def probabilities(x: np.ndarray) -> np.ndarray:
    terms = np.exp(x - x.max(axis=1, keepdims=True))
    found: np.ndarray = terms / terms.sum(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("places", [2, 3, 10, DIRECT, DIRECT + 1, 40])
def test_every_sum_of_terms_is_inverted_within_the_bound(places: int) -> None:
    """From one large term, whose sum is 1, to terms that are all the largest, whose sum is their number."""
    rng = np.random.default_rng(places)
    x = rng.uniform(-4.0, 4.0, (ROWS, places))
    x[: ROWS // 2] = np.where(np.arange(places) <= np.arange(ROWS // 2)[:, None] % places, 4.0, -4.0)
    found = softmax_of(places).simulate({"x": x, "y": np.zeros_like(x)})
    assert not found.violations
    assert np.abs(found.results["p"] - probabilities(x)).max() <= BOUND


def test_the_sum_of_a_few_terms_is_not_compared() -> None:
    """It takes three rounds less: those of a comparison, and of what is scaled by it."""
    few, many = (softmax_of(places).cost.rounds for places in (DIRECT, DIRECT + 1))
    assert many - few == 3
