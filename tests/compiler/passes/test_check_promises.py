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
    (check,) = [result for result in program.plan.results if result.promises]
    assert check.promises == (Promise("y", 5, -1.0, 1.0, 0),) and str(check.promises[0]) == "y (line 5) in [-1, 1]"
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
    (found,) = [bool(results[result.name]) for result in program.plan.results if result.promises]
    assert found == kept


WRAPS = """model wraps
role a, b
input x : [2, 3] from a in [-1048576, 1048576]
input w : [3, 4] from b in [-8192, 8192]
y = x @ w in [-2, 2]
output y to a
"""


@pytest.mark.parametrize(("x", "kept"), [(2.0**-13, True), (2.0**19, False), (0.5, False)])
def test_a_value_that_has_left_the_format_is_not_said_to_hold(x: float, kept: bool) -> None:
    """2^19 * 2^13 is 2^32, which is 0 in the ring: every element of it lies within the promise."""
    program = mpc.compile(text=WRAPS, checked=True)
    found = program.simulate({"x": np.full((2, 3), [x, 0, 0]), "w": np.full((3, 4), 8192.0)}).checks
    assert all(found.values()) == kept
    assert list(found) == ["y (line 5) in [-2, 2]", "norm of x (line 3) at most 32768 #2"]


DEEP = """model deep
role a, b
input x : [2, 64] from a in [-1, 1]
param u : [64, 64] from b in [-8, 8]
param v : [64, 64] from b in [-65536, 65536]
h = relu(x @ u)
output y = sigmoid(h @ v) to a
"""


@pytest.mark.parametrize(("u", "kept"), [(0.5, True), (8.0, False)])
def test_what_is_not_proved_is_guarded_by_norms(u: float, kept: bool) -> None:
    """Of rows, not of elements; a plan that finds them kept is right."""
    program = mpc.compile(text=DEEP, checked=True)
    assert not program.warnings and mpc.compile(text=DEEP).warnings
    weights = {"u": np.full((64, 64), u), "v": np.full((64, 64), -(2.0**-10))}
    found = program.simulate({"x": np.array([[0.25] * 64, [0.5] * 64])}, weights)
    assert found.checks == {"norm of h (line 6) at most 1024": kept}
    assert found.errors["y"] < 1e-3 or not kept


def test_a_norm_is_cheaper_than_its_elements() -> None:
    """One comparison a row: the plan with checks is hardly dearer, and what they prove makes others narrower."""
    plain, checked = mpc.compile(text=DEEP).cost, mpc.compile(text=DEEP, checked=True).cost
    assert checked.online_bytes < 1.05 * plain.online_bytes


def test_what_cannot_be_guarded_is_refused_by_name() -> None:
    text = WRAPS.replace("x @ w", "exp(x[:, 0:1] * w[0])")
    with pytest.raises(mpc.CompileError, match="cannot be checked") as caught:
        mpc.compile(text=text, checked=True)
    assert [each.line for each in caught.value.diagnostics] == [5]
    mpc.compile(text=text)


def test_a_guard_on_what_is_not_proved_is_refused() -> None:
    """The check would be of a value that may have left the format already."""
    text = """model m
    role a, b
    input x : [2, 3] from a in [-1048576, 1048576]
    input z : [2, 3] from b in [-1, 1]
    param w : [3, 4] from b in [-1, 1]
    y = exp(x * z[0, 0])
    output q = y @ w to a
    """
    with pytest.raises(mpc.CompileError, match="cannot be checked") as caught:
        mpc.compile(text=text, checked=True)
    assert [each.line for each in caught.value.diagnostics] == [6]


CARELESS = """model careless
role a, b
input x : [2, 8] from a in [0, 1]
layer one = dense(4)
layer two = dense(3)
weights from b
output y = x |> one |> relu |> two to a
"""


@pytest.mark.parametrize("size", [0.25, 8.0, 2.0**9, 2.0**20])
def test_weights_without_a_range_are_guarded_like_what_flows_in(size: float) -> None:
    """By limits that those of a network do not reach; and so is a bias."""
    program = mpc.compile(text=CARELESS, checked=True)
    rng = np.random.default_rng(3)
    weights = {"one.weight": (4, 8), "one.bias": (4,), "two.weight": (3, 4), "two.bias": (3,)}
    params = {key: size * rng.uniform(-1, 1, shape) for key, shape in weights.items()}
    found = program.simulate({"x": rng.uniform(0, 1, (2, 8))}, params)
    assert {each.split(" ")[0] for each in found.checks} > set(weights)
    assert all(found.checks.values()) == (size <= 8)
    assert found.errors["y"] < 1e-2 or size > 8


@pytest.mark.parametrize("text", ["x / z", "1 / z", "z ** -1", "rsqrt(z)", "log(z)", "var(z)", "log_softmax(z)"])
def test_a_kept_check_of_a_function_is_right(text: str) -> None:
    """Over all that a number may be; where a function has no meaning, none is asked for."""
    model = f"""model m
    role a, b
    input x : [4] from a
    input w : [4] from b
    z = where(x > 0.5, w, x)
    y = {text} in [-10, 10]
    output y to a
    """
    program = mpc.compile(text=model, checked=True)
    for w in (2.0**-16, 2.0**-9, 0.5, 3.0, 2.0**10, 2.0**20, 2.0**29):
        found = program.simulate({"x": np.full(4, 1.0 + w), "w": np.array([w, w, w, w + 3])})
        (y,) = found.reference.values()
        kept = all(found.checks.values())
        assert not kept or (np.abs(y).max() <= 10.001 and found.errors["y"] < 1e-2)
        assert kept or np.abs(y).max() > 9.999 or w >= 2.0**10


@pytest.mark.parametrize("text", ["x * w", "x * w + x", "square(x - w)", "sum(x * w, axis=0) - w"])
@pytest.mark.parametrize("size", [1.0, 2.0**10, 2.0**15, 2.0**20])
def test_elements_are_guarded_before_sums_and_products(text: str, size: float) -> None:
    model = f"""model m
    role a, b
    input x : [3, 4] from a in [-1048576, 1048576]
    input w : [4] from b in [-1048576, 1048576]
    output y = {text} to a
    """
    program = mpc.compile(text=model, checked=True)
    found = program.simulate({"x": np.full((3, 4), -size), "w": np.full(4, size)})
    (y,) = found.reference.values()
    assert found.checks
    assert all(found.checks.values()) == (size <= 2.0**10)
    assert not all(found.checks.values()) or np.allclose(found.results["y"], y, rtol=1e-4)


WIDE = 2.0**13


@pytest.mark.parametrize("columns", [4, 64])
def test_norms_at_the_ends_of_their_range(columns: int, tmp_path: Path) -> None:
    """Against exact sums of squares, of a plan from a file: 64 squares of 2^13 are 0 in the ring."""
    text = f"""model ends
    role a, b
    input x : [1, {columns}] from a in [{-WIDE}, {WIDE}]
    input w : [{columns}, 1] from b in [-32768, 32768]
    output y = x @ w to a
    """
    mpc.compile(text=text, checked=True).save(tmp_path / "ends.plan")
    program = mpc.load(tmp_path / "ends.plan")
    ((promise,),) = [result.promises for result in program.plan.results if result.promises]
    assert promise.norm and promise.lo == -promise.hi
    limit, step = promise.hi, 2.0**-16
    w = np.full((columns, 1), 2.0**15)
    for row in _rows(limit, step, columns):
        results = run_plan(program.plan, {"x": row[None], "w": w}).results
        kept = bool(results["checked: " + str(promise)])
        squares = sum(int(n / step) ** 2 for n in row)
        if squares > int(limit / step) ** 2:
            assert not kept, row
        elif squares <= int(limit / step) ** 2 * (1 - 2.0**-8):
            assert kept, row
        if kept:
            assert np.allclose(results["y"], row @ w, rtol=1e-6, atol=2.0**-10 * columns)


def _rows(limit: float, step: float, columns: int) -> list[np.ndarray]:
    """Rows of all, of one, or of some that lie at ends: of the range, and of the limit."""
    random, found = np.random.default_rng(1), []
    for size in (0.0, step, limit / 2, limit * 0.99, limit, limit + step, 2 * limit, WIDE / 2, WIDE - step, WIDE):
        one = np.zeros(columns)
        one[columns // 2] = -size
        found += [np.full(columns, size), one, np.full(columns, size / columns**0.5)]
        found.append(np.where(random.uniform(size=columns) < 0.5, size, 0.0))
    return [np.clip(np.floor(row / step) * step, -WIDE, WIDE) for row in found]


def test_the_manifest_says_what_a_check_tells() -> None:
    lines = mpc.compile(text=DEEP, checked=True).leakage
    (told,) = [line for line in lines if " is 1 if " in line]
    assert "`checked: norm of h (line 6) at most 1024` is 1 if each vector of `h` has a norm of at most 1024" in told
