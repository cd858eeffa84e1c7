"""`mpcc budget` and `mpcc submit --dataset` at services."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.services import services
from tests.terminal import mpcc

MODEL = """model counted
role client
input x : int[20] from client in [0, 3]
budget x = dp(epsilon=5)
output counts = sum(one_hot(x, 4), axis=0) to client with laplace(epsilon=1)
"""


def test_an_owner_states_a_limit_and_is_told_what_is_spent(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(20) % 4)
    plan, dataset = "counted.plan", ("--dataset", "cohort")
    submit = "submit", plan, "--input", "x=x.npy", *dataset
    with services(tmp_path, MODEL, "counted"):
        stated = mpcc(tmp_path, "budget", "set", plan, *dataset, "--epsilon", "1.5").stdout
        assert stated == "'cohort' of client: epsilon 0 spent of epsilon 1.5 (by basic composition)\n"
        assert "counts" in mpcc(tmp_path, *submit).stdout
        shown = mpcc(tmp_path, "budget", "show", plan, *dataset).stdout
        assert shown == "'cohort' of client: epsilon 1 spent of epsilon 1.5, epsilon 5 (by basic composition)\n"
        (found,) = json.loads(mpcc(tmp_path, "budget", "show", "--json", plan, *dataset).stdout)
        assert (found["role"], found["name"], found["epsilon"]) == ("client", "cohort", 1)
        assert [limit["epsilon"] for limit in found["limits"]] == [1.5, 5]
