"""Plans compiled as `checked`: a broken promise is seen, a kept one is not a nuisance, and neither without asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.plan import Promise
from tests.machines import run_plan

MODEL = """model promise
role a, b
input x : [3] from a in [-2, 2]
input z : [3] from b in [-2, 2]
y = x * z in [-1, 1]
output q = sigmoid(y) to a
"""


@pytest.mark.parametrize(("z", "kept"), [([0.5, -0.25, 2], True), ([2, 0, 0.1], False), ([0.5, -0.5, -4 / 3], True)])
def test_one_bit_says_whether_the_promise_holds(z: list[float], kept: bool) -> None:
    program = mpc.compile(text=MODEL, checked=True)
    results = run_plan(program.plan, {"x": [2, 2, 0.5], "z": z}).results
    (check,) = [result for result in program.plan.results if result.promise is not None]
    assert check.promise == Promise("y", 5, -1.0, 1.0, 0) and str(check.promise) == "y (line 5) in [-1, 1]"
    assert bool(results[check.name]) == kept
    assert [output.name for output in program.plan.outputs] == ["q"]
    if kept:
        assert np.allclose(results["q"], program.reference({"x": [2, 2, 0.5], "z": z})["q"], atol=1e-3)


def test_the_bit_stands_in_the_manifest_and_only_there_where_it_was_asked_for() -> None:
    assert any("checked: y" in line for line in mpc.compile(text=MODEL, checked=True).leakage)
    plain = mpc.compile(text=MODEL)
    assert not any("checked" in line for line in plain.leakage)
    assert plain.plan.hash != mpc.compile(text=MODEL, checked=True).plan.hash


@pytest.mark.parametrize(("z", "kept"), [([0.5, -0.25, 2], True), ([2, 0, 0.1], False)])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_simulation_tells_promises_apart_from_results(
    tmp_path: Path, loaded: bool, z: list[float], kept: bool
) -> None:
    program = mpc.compile(text=MODEL, checked=True)
    if loaded:
        program.save(tmp_path / "promise.plan")
        program = mpc.load(tmp_path / "promise.plan")
    simulation = program.simulate({"x": [2, 2, 0.5], "z": z})
    assert list(simulation.results) == list(simulation.reference) == list(simulation.errors) == ["q"]
    assert simulation.checks == {"y (line 5) in [-1, 1]": kept}
    assert simulation.broken == (() if kept else ("y (line 5) in [-1, 1]",))
    assert bool(simulation.violations) == (not kept)


def test_a_plan_without_checks_has_none() -> None:
    assert mpc.compile(text=MODEL).simulate({"x": [2, 2, 0.5], "z": [2, 0, 0]}).checks == {}
    assert "checked: " not in repr(mpc.compile(text=MODEL, checked=True))


@pytest.mark.parametrize(
    ("promise", "kept"),
    [
        ("i + j in [0, 5]", True),
        ("i + j in [0, 4.5]", False),
        ("i + j in [-1e30, 1e30]", True),
        ("i > j in [0, 1]", True),
        ("i > j in [0, 0.5]", False),
        ("sum(i * j) in [4, 4]", False),
        ("sum(i * j) in [0, 4]", True),
    ],
)
def test_promises_on_whole_numbers_and_bits(promise: str, kept: bool) -> None:
    text = f"""model m
    role a, b
    input i : int[2] from a in [0, 3]
    input j : int[2] from b in [0, 3]
    y = {promise}
    output y to a
    """
    program = mpc.compile(text=text, checked=True)
    results = run_plan(program.plan, {"i": [2, 0], "j": [3, 1] if "+" in promise else [1, 3]}).results
    (found,) = [bool(results[result.name]) for result in program.plan.results if result.promise is not None]
    assert found == kept
