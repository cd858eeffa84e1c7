"""What `simulate` reports as out of range: what a run would get wrong, and nothing else."""

from __future__ import annotations

import numpy as np

import mpc_runtime as mpc
from tests.trained import LOGISTIC, people

HEAD = """model m
role a, b
input x : [2] from a in [-1000, 1000]
input z : [2] from b in [-1000, 1000]
"""


def reported(body: str, x: list[float], z: list[float]) -> list[tuple[str, int]]:
    found = mpc.compile(text=HEAD + body).simulate({"x": x, "z": z})
    return [(each.name, each.line) for each in found.violations]


def test_what_a_client_computes_before_it_shares_is_in_no_ring() -> None:
    body = "h = x ** 4\ng = h * 1e-9\noutput y = g + z to a\n"
    assert reported(body, [1000, -900], [1, 2]) == []
    shared = "h = (x + z) ** 4\ng = h * 1e-9\noutput y = g + z to a\n"
    assert ("h", 5) in reported(shared, [1000, -900], [1, 2])


def test_a_promise_is_reported_wherever_it_is_broken() -> None:
    assert reported("h = x * z in [-1, 1]\noutput h to a\n", [2, 0], [3, 0]) == [("h", 5)]


def test_results_of_single_owner_values_are_right() -> None:
    program = mpc.compile(text=HEAD + "output y = x ** 4 * 1e-9 + z to a\n")
    found = program.simulate({"x": [1000, -900], "z": [1, 2]})
    assert np.allclose(found.results["y"], found.reference["y"], atol=2.0**-14)


def test_a_model_that_trains_is_simulated_as_it_predicts() -> None:
    """What a step sends is nothing of a run; that the norms of weights hold is checked in each."""
    program = mpc.compile(text=LOGISTIC)
    rows = {name: array for name, array in people(16).items() if name != "left"}
    weights = program.initial_weights(1)
    found = program.simulate(rows, weights)
    assert list(found.results) == ["risk"] and found.errors["risk"] < 1e-4
    assert found.violations == () and found.checks and not found.broken
    reference = program.reference(rows, weights)["risk"]
    assert np.array_equal(found.reference["risk"], reference)
