"""A short run of `plans`: every file is answered with a plan or a typed error, and what is verified is executed."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc
from mpc_runtime.plan_file import read
from tests.fuzz.plans import bases, finding, mutated

CASES = 160


@pytest.mark.parametrize("first", range(0, CASES, 40))
def test_mutated_plans_are_answered(first: int) -> None:
    for number in range(first, first + 40):
        data, changes = mutated(3, number)
        found = finding(data)
        assert found is None, f"{found}\n{changes}\npython -m tests.fuzz.plans --seed 3 --only {number}"


def is_verified(number: int) -> bool:
    try:
        read(mutated(3, number)[0])
    except mpc.CompileError:
        return False
    return True


def test_the_mutations_are_neither_all_refused_nor_all_harmless() -> None:
    """Else a short run would show nothing."""
    assert CASES // 10 < sum(map(is_verified, range(CASES))) < CASES * 9 // 10


def test_the_unchanged_plans_are_executed() -> None:
    assert not any(finding(data) for data in bases()[::20])
