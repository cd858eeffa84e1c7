"""Bits that their owner's client answers at random, before it shares them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.roles.inputs import answered

N = 40_000
TEXT = """model vote
role person, analyst
input vote : bit[40000] from person with randomized_response(epsilon=1.5)
input plain : bit[40000] from person
output ayes = sum(vote) to analyst
output all_ = sum(plain) to analyst
"""


def test_each_bit_is_flipped_by_itself_as_often_as_declared() -> None:
    plan = mpc.compile(text=TEXT).plan
    votes = np.arange(N) % 2 == 0
    given = {"vote": votes, "plain": votes}
    shared = answered(plan, "person", given)
    assert np.array_equal(shared["plain"], votes) and shared["vote"].dtype == votes.dtype
    flipped = shared["vote"] != votes
    chance = 1 / (1 + math.exp(1.5))
    for among in (votes, ~votes):
        assert abs(flipped[among].mean() - chance) < 6 * math.sqrt(chance / among.sum())
    assert not np.array_equal(shared["vote"], answered(plan, "person", given)["vote"]), "drawn anew for every run"


def test_a_simulation_flips_and_the_reference_does_not() -> None:
    program = mpc.compile(text=TEXT)
    inputs = {"vote": np.ones(N, bool), "plain": np.ones(N, bool)}
    assert program.reference(inputs)["ayes"] == N
    found = program.simulate(inputs).results
    assert found["all_"] == N
    assert found["ayes"] == pytest.approx(N / (1 + math.exp(-1.5)), abs=6 * math.sqrt(N) / 2)
