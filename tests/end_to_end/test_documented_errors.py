"""The errors that docs/numbers.md promises, over whole declared ranges: values of every magnitude and the ranges' ends.

Every operand is a multiple of the step, so that what is measured is the operation's own error.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.machines import run_plan

Array = np.ndarray
Range = tuple[float, float]
HEAD = "model numbers\nrole a, b\n"
RELATIVE = 2.0**-12
DIVISORS: tuple[Range | None, ...] = (
    (1e-3, 1e3), (-1e3, -1e-3), (-1e3, 1e3), (0.01, 1e6), (-1e6, 1e-2), (0.5, 0.75), (1, 9), (-1, 1000), (0.25, 1e9),
    None,
)  # fmt: skip
NUMERATORS: tuple[Range | None, ...] = ((-1, 1), (1e-3, 1e3), (-1e6, 1e6), (0, 1e9), None)
CONSTANTS = ("x * 0.3", "x * 0.001", "x / 3", "x * 3.7", "x * 0.0001234", "x * -0.9999", "leaky_relu(x, 0.07)")


def format_of(bits: int, frac: int) -> tuple[float, float]:
    """(limit, step)."""
    return 2.0 ** (bits - 2 - 2 * frac), 2.0**-frac


def spread(range_: Range, count: int, step: float, seed: int) -> Array:
    """Multiples of the step in a range: both ends, their neighbours, powers of two, magnitudes evenly in between."""
    random = np.random.default_rng(seed)
    lo, hi = np.ceil(range_[0] / step) * step, np.floor(range_[1] / step) * step
    most = max(abs(lo), abs(hi))
    powers = 2.0 ** np.arange(np.log2(step), np.log2(most), 3)
    powers = np.concatenate([powers, powers + step, powers - step])
    magnitudes = np.exp(random.uniform(np.log(step), np.log(most), count))
    found = np.concatenate([[lo, hi, lo + step, hi - step], powers, -powers, magnitudes, -magnitudes])
    found = np.round(found / step) * step
    found = found[(found >= lo) & (found <= hi)]
    if found.size < count:
        more = np.round(random.uniform(lo, hi, count - found.size) / step) * step
        found = np.concatenate([found, np.clip(more, lo, hi)])
    return np.concatenate([found[:4], random.permutation(found[4:])])[:count]


def declared(range_: Range | None) -> str:
    return "" if range_ is None else f" in [{range_[0]}, {range_[1]}]"


@pytest.mark.parametrize("divisors", DIVISORS, ids=str)
@pytest.mark.parametrize("numerators", NUMERATORS, ids=str)
def test_quotients_keep_their_bound_over_the_whole_ranges(numerators: Range | None, divisors: Range | None) -> None:
    quotients(numerators, divisors, 64, 16)


@pytest.mark.parametrize(("bits", "frac"), [(64, 8), (64, 12), (64, 20), (64, 24), (32, 10), (32, 8)])
def test_quotients_keep_their_bound_in_every_format(bits: int, frac: int) -> None:
    quotients(None, None, bits, frac)


def quotients(numerators: Range | None, divisors: Range | None, bits: int, frac: int, count: int = 150) -> None:
    limit, step = format_of(bits, frac)
    whole = -limit + step, limit - step
    n = spread(numerators or whole, count, step, 1)
    d = spread(divisors or whole, count, step, 2)
    d = np.where(d == 0, step, d)
    text = (
        f"{HEAD}precision fixed(bits={bits}, frac={frac})\n"
        f"input n : [{count}] from a{declared(numerators)}\ninput d : [{count}] from b{declared(divisors)}\n"
        "input zero : [] from a in [0, 0]\nt = d + zero\noutput q = n / t to a\noutput r = 1 / t to a\n"
    )
    results = run_plan(mpc.compile(text=text).plan, {"n": n, "d": d, "zero": 0.0}).results
    for name, right in (("q", n / d), ("r", 1 / d)):
        fits = np.abs(right) < limit * (1 - RELATIVE)
        assert fits.any()
        error = np.abs(results[name] - right)[fits]
        assert (error <= RELATIVE * np.abs(right[fits]) + 2 * step).all(), name


@pytest.mark.parametrize("numerator", [0.0001, 3.7, -1e-5, 12345.678])
def test_constant_numerators_keep_their_digits(numerator: float) -> None:
    d = spread((1e-3, 1e3), 150, 2.0**-16, 3)
    text = f"{HEAD}input d : [150] from a in [0.001, 1000]\ninput zero : [] from b in [0, 0]\n"
    program = mpc.compile(text=f"{text}output q = {numerator} / (d + zero) to a\n")
    found = run_plan(program.plan, {"d": d, "zero": 0.0}).results["q"]
    right = numerator / d
    assert (np.abs(found - right) <= RELATIVE * np.abs(right) + 2 * 2.0**-16).all()


def test_a_weighted_mean_of_undeclared_ranges() -> None:
    text = f"{HEAD}input x : [5] from a\ninput z : [5] from b\n"
    text += "output m = sum(x * z) / sum(z) to a\noutput q = x / z to b\n"
    x, z = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([0.1, 0.1, 0.2, 0.1, 0.1])
    results = run_plan(mpc.compile(text=text).plan, {"x": x, "z": z}).results
    assert abs(results["m"][()] - np.average(x, weights=z)) < 1e-3
    assert np.abs(results["q"] - x / z).max() < 2e-3


@pytest.mark.parametrize("expression", CONSTANTS)
@pytest.mark.parametrize("range_", [None, (-4, 4), (-1000, 1000), (-1e6, 1e6), (0, 1e8)], ids=str)
def test_products_with_constants_are_right_to_one_step(range_: Range | None, expression: str) -> None:
    limit, step = format_of(64, 16)
    x = spread(range_ or (-limit / 4, limit / 4), 300, step, 4)
    text = f"{HEAD}input u : [300] from a{declared(range_)}\ninput zero : [] from b in [0, 0]\nx = u + zero\n"
    found = run_plan(mpc.compile(text=f"{text}output y = {expression} to a\n").plan, {"u": x, "zero": 0.0}).results["y"]
    right = np.where(x > 0, x, 0.07 * x) if "leaky" in expression else eval(expression, {"x": x})
    assert np.abs(found - right).max() <= step * 1.001  # float64 is not exact either at 2^28


@pytest.mark.parametrize(("bits", "frac"), [(64, 4), (64, 8), (64, 12), (64, 24), (32, 10), (32, 6)])
@pytest.mark.parametrize("factor", [0.3, 1.05, 3.7, -0.9999])
def test_products_with_constants_are_right_in_every_format(factor: float, bits: int, frac: int) -> None:
    """Of values of an undeclared range, in pieces where the ring has no room. What is less exact says so."""
    limit, step = format_of(bits, frac)
    most = min(limit / 4, 2.0**52 * step)
    x = spread((-most, most), 300, step, 6)
    text = f"{HEAD}precision fixed(bits={bits}, frac={frac})\ninput u : [300] from a\ninput z : [] from b in [0, 0]\n"
    program = mpc.compile(text=f"{text}output y = (u + z) * {factor} to a\n")
    said = re.search(r"accurate only to ([\d.]+)", " ".join(str(w) for w in program.warnings))
    found = run_plan(program.plan, {"u": x, "z": 0.0}).results["y"]
    assert np.abs(found - x * factor).max() <= step * 1.01 + (float(said[1]) if said else 0.0)


@pytest.mark.parametrize("slopes", [(0, 1), (-1, 0.25), (-100, 100)], ids=str)
@pytest.mark.parametrize("range_", [None, (-4, 4), (-16, 0), (0, 3), (-1e6, 1e6)], ids=str)
def test_prelu_is_exact_above_0_and_right_to_one_step_below(range_: Range | None, slopes: Range) -> None:
    limit, step = format_of(64, 16)
    most = limit / 4 / max(map(abs, slopes))
    x = spread(range_ or (-most, most), 300, step, 7)
    slope = spread(slopes, 300, step, 8)
    text = f"{HEAD}input u : [300] from a{declared(range_)}\ninput s : [300] from b{declared(slopes)}\n"
    text += "input zero : [] from b in [0, 0]\noutput y = prelu(u + zero, s) to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"u": x, "s": slope, "zero": 0.0}).results["y"]
    right = np.where(x > 0, x, slope * x)
    assert np.array_equal(found[x > 0], x[x > 0])
    assert np.abs(found - right).max() <= step * 1.001


@pytest.mark.parametrize("range_", [None, (-4, 4), (-1e6, 1e6)], ids=str)
def test_sums_of_products_with_constants_are_right_to_one_step(range_: Range | None) -> None:
    step = 2.0**-16
    x = spread(range_ or (-1e6, 1e6), 300, step, 5).reshape(30, 10)
    w = [0.1, 0.2, 0.3, -0.7, 0.11, 0.9, 0.01, 0.001, 1.0, -1.0]
    text = f"{HEAD}input u : [30, 10] from a{declared(range_)}\ninput zero : [] from b in [0, 0]\nx = u + zero\n"
    text += f"output y = x @ {w} to a\noutput m = mean(x) to a\noutput c = mean(x, axis=1) to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"u": x, "zero": 0.0}).results
    for name, right in (("y", x @ np.array(w)), ("m", x.mean()), ("c", x.mean(axis=1))):
        assert np.abs(found[name] - right).max() <= step * 1.001, name


def test_what_has_no_room_for_one_step_says_so() -> None:
    text = f"{HEAD}input x : [200000] from a\ninput z : [200000] from b\noutput m = mean(x + z) to a\n"
    assert any("accurate only to" in w.message for w in mpc.compile(text=text).warnings)


@pytest.mark.parametrize(
    ("count", "bits", "frac"),
    [(1, 64, 16), (2, 64, 16), (10, 64, 16), (100, 64, 16), (1000, 64, 16), (10_000, 64, 16), (100, 64, 24),
     (10, 64, 12), (2, 32, 10), (10, 32, 10), (100, 32, 10), (1000, 32, 10)],
)  # fmt: skip
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_softmax_keeps_its_bound_whatever_the_count(function: str, count: int, bits: int, frac: int) -> None:
    """Rows of one large entry and many small ones at every distance, of equal entries, and of random ones."""
    _, step = format_of(bits, frac)
    random = np.random.default_rng(6)
    x = random.uniform(-15, 15, (10, count))
    x[0] = 3.0
    for row, gap in zip(x[1:7], (1.0, 5.0, 9.0, 11.4, 12.0, 15.0), strict=True):
        row[:] = 15 - gap + random.uniform(-0.4, 0, count)
        row[0] = 15
    x = np.round(x / step) * step
    text = f"{HEAD}precision fixed(bits={bits}, frac={frac})\ninput u : [10, {count}] from a in [-16, 16]\n"
    program = mpc.compile(text=text + f"input zero : [] from b in [0, 0]\noutput y = {function}(u + zero) to a\n")
    found = run_plan(program.plan, {"u": x, "zero": 0.0}).results["y"]
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    right = powers / powers.sum(axis=1, keepdims=True)
    right = right if function == "softmax" else np.log(right)
    assert (np.abs(found - right) <= np.maximum(RELATIVE * np.maximum(1, np.abs(right)), 2 * step)).all()


@pytest.mark.parametrize(("queries", "keys", "bits", "frac"), [(1, 1, 64, 16), (2, 2, 64, 16), (3, 10, 64, 16),
                                                                (100, 100, 64, 16), (10, 300, 64, 24),
                                                                (12, 12, 32, 10)])  # fmt: skip
def test_a_causal_softmax_keeps_its_bound_and_sees_nothing_later(queries: int, keys: int, bits: int, frac: int) -> None:
    """Where the largest score is a later one, among the seen ones, far from the others, and nowhere."""
    _, step = format_of(bits, frac)
    random = np.random.default_rng(9)
    x = random.uniform(-15, 15, (4, queries, keys))
    x[0] = -16.0
    x[1, :, -1] = 16.0
    x[2, :, 0] = 16.0
    x = np.round(x / step) * step
    text = f"{HEAD}precision fixed(bits={bits}, frac={frac})\ninput u : [4, {queries}, {keys}] from a in [-16, 16]\n"
    text += "input zero : [] from b in [0, 0]\noutput y = softmax(u + zero, causal=true) to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"u": x, "zero": 0.0}).results["y"]
    seen = np.tri(queries, keys, keys - queries, dtype=bool)
    powers = np.where(seen, np.exp(x - np.where(seen, x, -np.inf).max(axis=-1, keepdims=True)), 0)
    assert (found[:, ~seen] == 0).all()
    assert np.abs(found - powers / powers.sum(axis=-1, keepdims=True)).max() <= max(RELATIVE, 2 * step)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_at_the_ends_of_its_range(causal: bool) -> None:
    """Scores from -32 to 32 on every side. What stands later changes nothing before it, however large its score is."""
    n, features, heads = 6, 8, 2
    text = f"{HEAD}input u : [3, {n}, {features}] from a in [-4, 4]\n"
    text += f"layer l = attention({heads}, causal={str(causal).lower()})\nweights l from b in [-1, 1]\n"
    program = mpc.compile(text=f"{text}output y = l(u) to a\n")
    random = np.random.default_rng(10)
    x = random.choice([-4.0, 0.0, 4.0, 1.5], (3, n, features))
    x[1] = x[0]
    x[1, -1] = -x[0, -1]
    weights = {each.name: random.choice([-1.0, 0.25, 1.0, -0.5], each.shape) for each in program.plan.params}
    found = run_plan(program.plan, {"u": x}, weights).results["y"]
    right = program.reference({"u": x}, weights)["y"]
    values = 4 * features + 1  # as large is what the n probabilities, each off by 2^-12, weigh
    assert np.abs(found - right).max() <= values * n * RELATIVE
    assert causal == (np.abs(found[1, :-1] - found[0, :-1]).max() < 0.01)


@pytest.mark.parametrize("factor", ["1e-4", "1e-9", "1e-4 * 3000 * 1e-5"])
@pytest.mark.parametrize(
    "function",
    ["sigmoid", "tanh", "exp", "softmax", "relu", "abs", "square", "1 /", "gelu", "softplus", "elu", "log_softmax",
     "hardswish", "sqrt", "rsqrt", "log", "mish", "selu", "celu", "2 **", "(1 / 3) **"],
)  # fmt: skip
def test_functions_of_what_stands_at_a_fine_scale(function: str, factor: str) -> None:
    text = f"{HEAD}input x : [3, 4] from a in [-4, 4]\nparam w : [4, 5] from b in [-1, 1]\nt = x @ w * ({factor})\n"
    shift = "1 + t" if function in ("1 /", "sqrt", "rsqrt", "log") else "t"
    program = mpc.compile(text=f"{text}output y = {function}({shift}) to a\n")
    random = np.random.default_rng(7)
    x, w = random.uniform(-4, 4, (3, 4)), random.uniform(-1, 1, (4, 5))
    right = program.reference({"x": x}, {"w": w})["y"]
    assert np.abs(run_plan(program.plan, {"x": x}, {"w": w}).results["y"] - right).max() <= RELATIVE


WHOLE = "input i : int[6] from a in [-3, 3]\ninput j : int[6] from b in [-3, 3]\n"
BITS = "input i : bit[6] from a\ninput j : bit[6] from b\n"


@pytest.mark.parametrize(
    "expression",
    ["clip(i + j, 0.5, 2.5)", "clip(i + j, -0.25, 1)", "pad(i + j, [[1, 1]], value=0.5)", "maximum(i + j, 0.5)",
     "where(i == j, 0.5, i + j)", "concat(i + j, [0.25, 0.75])", "minimum(i + j, -0.5)", "(i + j) + 0.125",
     "max(concat(i + j, [0.75]))", "clip(i + j, 0.5, 2.5) > 0.75", "relu6(i + j - 0.5)", "where(i == j, i + j, -0.75)"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [WHOLE, BITS], ids=["int", "bit"])
def test_fractional_constants_beside_whole_numbers(kind: str, expression: str) -> None:
    program = mpc.compile(text=f"{HEAD}{kind}output y = {expression} to a\n")
    i, j = np.array([-3, -1, 0, 1, 2, 3]), np.array([0, 1, 0, -1, 1, 2])
    if kind is BITS:
        i, j = i % 2, j % 2
    found = run_plan(program.plan, {"i": i, "j": j}).results["y"]
    assert np.array_equal(found, program.reference({"i": i, "j": j})["y"])


@pytest.mark.parametrize(
    "expression",
    ["sum(argmax(x + z, axis=1))", "argmax(x + z, axis=1) + 1", "sum(clip(x + z, 5, 6))", "clip(x + z, 5, 6) * z",
     "relu(clip(x + z, 5, 6)) @ [2.5]", "maximum(clip(x + z, -2, -1), z)", "clip(x + z, 5, 6) > z",
     "concat(clip(x + z, 5, 6), z)", "where(x > z, clip(x + z, 5, 6), z)", "x / clip(x + z, 5, 6)"],
)  # fmt: skip
def test_what_the_expansion_finds_to_be_constant_is_a_value_like_any_other(expression: str) -> None:
    text = f"{HEAD}input x : [3, 1] from a in [0, 1]\ninput z : [3, 1] from b in [0, 1]\noutput y = {expression} to a\n"
    program = mpc.compile(text=text)
    x, z = np.array([[0.25], [0.5], [1.0]]), np.array([[0.75], [0.5], [0.0]])
    found = run_plan(program.plan, {"x": x, "z": z}).results["y"]
    right = program.reference({"x": x, "z": z})["y"]
    assert np.abs(found.astype(float) - right.astype(float)).max() <= 2 * 2.0**-16


def test_counts_of_what_rounding_decides_have_room() -> None:
    """softmax is never 0, but what is stored of it is: 96 of 100 entries, and -96 is 0 in the few bits of [0, 0]."""
    text = f"{HEAD}input x : [100] from a in [-40, 0]\ninput zero : [] from b in [0, 0]\n"
    text += "n = sum(softmax(x + zero) > 0)\noutput n to a\noutput all = n == 100 to a\n"
    x = np.where(np.arange(100) < 4, 0.0, -40.0)
    results = run_plan(mpc.compile(text=text).plan, {"x": x, "zero": 0.0}).results
    assert results["n"] == 4 and not results["all"]


@pytest.mark.parametrize("bounds", [(0.3, 1.0), (-0.7, 0.1), (0.0, 1.0), (-3.33, 3.33)])
def test_nothing_leaves_the_ends_of_a_clip(bounds: tuple[float, float]) -> None:
    """Of a product, which stands at a finer scale: what is stored lies within the ends as they are stored."""
    step, random = 2.0**-16, np.random.default_rng(8)
    text = f"{HEAD}input x : [4000] from a in [-4, 4]\ninput z : [4000] from b in [-1, 1]\n"
    program = mpc.compile(text=f"{text}output y = clip(x * z, {bounds[0]}, {bounds[1]}) to a\n")
    x, z = random.uniform(-4, 4, 4000), random.uniform(-1, 1, 4000)
    found = run_plan(program.plan, {"x": x, "z": z}).results["y"]
    lo, hi = (round(bound / step) * step for bound in bounds)
    assert found.min() == lo and found.max() == hi


@pytest.mark.parametrize("constant", [1e300, 1e15, 2.0**30, 5.0, -5.0, -(2.0**30), -1e15, -1e300])
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_with_constants_of_every_size(operator: str, constant: float) -> None:
    text = f"{HEAD}input x : [5] from a\ninput z : [5] from b in [0, 0]\noutput y = x + z {operator} {constant} to a\n"
    x = np.array([-(2.0**29), -5.0, 0.0, 5.0, 2.0**29])
    found = run_plan(mpc.compile(text=text).plan, {"x": x, "z": np.zeros(5)}).results["y"]
    assert np.array_equal(found, eval(f"x {operator} {constant}", {"x": x}))


@pytest.mark.parametrize(
    "expression",
    ["(x + z) @ [1e300, -1e300, 0, 0]", "(x + z) * 1e300 * 1e300", "where(x > z, 1e300, x)", "maximum(x + z, -1e300)",
     "pad(x + z, [[1, 1]], value=1e300)", "concat(x + z, [1e40])", "leaky_relu(x + z, 1e300)", "(x + z) * 1e20"],
)  # fmt: skip
def test_constants_that_no_word_holds_are_refused_where_they_are_used(expression: str) -> None:
    text = f"{HEAD}input x : [4] from a in [-1, 1]\ninput z : [4] from b in [-1, 1]\noutput y = {expression} to a\n"
    with pytest.raises(mpc.CompileError, match=r"<text>:5:\d+: error: a constant here holds"):
        mpc.compile(text=text)
