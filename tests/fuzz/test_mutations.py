"""A short run of `mutations`: located errors or success. Time and memory are bounded in the long run alone."""

from __future__ import annotations

import pytest

from tests.fuzz.mutations import Case, finding, mutated, shrunk, sources

HEAD = "model m\nrole a, b\ninput x : [4] from a in [-1, 1]\ninput z : [4] from b in [-1, 1]\n"
HEAD += "input u : [4] from a\ninput i : int[4] from a in [0, 3]\ninput j : int[4] from b in [0, 3]\n"

# What used to end in a traceback, or in gigabytes.
BODIES = {
    "a long chain of attributes": f"y = x{'.shape' * 200}",
    "zero times an unknown range": "y = (u + z) @ [0, 0, 0, 0]",
    "padding": "y = pad(x + z, [[0, 1000000000]])",
    "a power of a huge tensor": "y = broadcast_to(x + z, [50000000, 4]) ** 0",
    "a size beyond int64": f"y = reshape(x + z, [{'9' * 30}, -1])",
    "more axes than NumPy has": "const k0 = [1, 2]\n"
    + "\n".join(f"const k{n + 1} = unsqueeze(k{n}, 0)" for n in range(70))
    + "\ny = k70 * x",
    "a table nested deep": f"y = {'[' * 70}1{']' * 70} * x",
    "a table that doubles": "const a0 = [1, 2]\n"
    + "\n".join(f"const a{n + 1} = [a{n}, a{n}]" for n in range(60))
    + "\ny = a60 * x",
    "an empty table": "y = x + max([])",
    "a window over everything": "y = maxpool2d(reshape(x + z, [1, 1, 2, 2]), 1000000000, padding=500000000)",
    "constants without end": "const k = broadcast_to(1.5, [2000, 2000])\n"
    + "\n".join(f"const k{n} = k + {n}" for n in range(40))
    + "\ny = x[0] + k39",
}


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_mutated_sources_are_answered(first: int) -> None:
    for number in range(first, first + 40):
        case = mutated(7, number)
        found = finding(case)
        assert found is None, f"{found}\npython -m tests.fuzz.mutations --seed 7 --only {number}"


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_once_crashed(body: str, checked: bool) -> None:
    assert finding(Case(f"{HEAD}{body}\noutput y to a\n", checked=checked)) is None


def test_sources_are_the_real_ones() -> None:
    assert len(sources()) > 100 and any("model lenet" in text for text in sources())
    assert mutated(3, 5) == mutated(3, 5) != mutated(3, 6)


def test_a_finding_is_made_small() -> None:
    case = Case("one\ntwo three\nfour\n" * 20)
    assert shrunk(case, lambda smaller: "three" in smaller.text).text == "three"
