"""A short run of the random programs; `make fuzz` is the long one. And the judge itself: what it must not let pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz import judge
from tests.fuzz.boxes import Box, Format, provided
from tests.fuzz.meaning import add, mul
from tests.fuzz.programs import Case, cases

SHORT = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # `python -m tests.fuzz` makes what it finds small, which takes minutes
)  # fmt: skip
TEXT = """model m
role a, b
input x : [2] from a in [-4, 4]
input z : [2] from b in [-4, 4]
output y = x * z + 0.5 to a
"""


@settings(SHORT, max_examples=120)
@given(cases())
def test_results_are_what_the_contract_admits(case: Case) -> None:
    judge.check(case)


@settings(SHORT, max_examples=2)
@given(cases())
def test_processes_agree(case: Case) -> None:
    judge.check_launched(case)


def _case(**changes: object) -> Case:
    f = Format()
    x, z = np.array([1.5, -3.0]), np.array([0.1, 2.0])
    product = mul(f, provided(f, "fixed", x), provided(f, "fixed", z))
    expected = add(f, product, Box("fixed", np.array(0.5), np.array(0.5)))
    given = {"text": TEXT, "inputs": {"x": x, "z": z}, "expected": {"y": expected}}
    return Case(
        **{"network": "lan", "checked": False, "format": f, "params": {}, "in_memory": True, **given, **changes}
    )  # type: ignore[arg-type]


def test_what_is_right_passes() -> None:
    judge.check(_case())
    judge.check_launched(_case())


@pytest.mark.parametrize("text", [TEXT.replace("0.5", "0.5001"), TEXT.replace("x * z", "x * z * 1.0001")])
def test_a_wrong_result_is_found(text: str) -> None:
    with pytest.raises(judge.Finding, match="beyond the bound"):
        judge.check(_case(text=text))


def test_a_wrong_result_of_processes_is_found() -> None:
    with pytest.raises(judge.Finding, match="beyond the bound"):
        judge.check_launched(_case(text=TEXT.replace("0.5", "0.5001")))


def test_a_refusal_and_a_wrong_kind_are_found() -> None:
    with pytest.raises(judge.Finding, match="refused"):
        judge.check(_case(text=TEXT.replace("x * z", "x * w")))
    with pytest.raises(judge.Finding, match="type"):
        judge.check(_case(text=TEXT.replace("= x * z + 0.5", "= x > z")))
