"""Smooth functions keep their bound, 2^-12 max(1, |result|) or two steps, over whole ranges and formats.

Ends of ranges, powers of two and their neighbours, values of every magnitude, and the places where tails begin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.end_to_end.test_documented_errors import HEAD, RELATIVE, Array, Range, declared, format_of, spread
from tests.machines import run_plan

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def elu(x: Array, alpha: float, inner: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(inner * np.minimum(x, 0)))


EVERYWHERE: dict[str, Callable[[Array], Array]] = {
    "sigmoid(x)": sigmoid,
    "tanh(x)": np.tanh,
    "softplus(x)": lambda x: np.logaddexp(x, 0),
    "gelu(x)": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "silu(x)": lambda x: x * sigmoid(x),
    "erf(x)": erf,
    "elu(x)": lambda x: elu(x, 1.0),
    "elu(x, alpha=1.7)": lambda x: elu(x, 1.7),
    "elu(x, alpha=4)": lambda x: elu(x, 4.0),
    "elu(x, alpha=0)": lambda x: np.maximum(x, 0),
    "celu(x)": lambda x: elu(x, 1.0),
    "celu(x, alpha=0.3)": lambda x: elu(x, 0.3, 1 / 0.3),
    "celu(x, alpha=4)": lambda x: elu(x, 4.0, 0.25),
    "selu(x)": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "mish(x)": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hardswish(x)": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid(x)": lambda x: np.clip(x + 3, 0, 6) / 6,
}
POSITIVE: dict[str, Callable[[Array], Array]] = {
    "sqrt(x)": np.sqrt,
    "x ** 0.5": np.sqrt,
    "rsqrt(x)": lambda x: 1 / np.sqrt(x),
    "log(x)": np.log,
    "x ** (1 / 3)": np.cbrt,
    "x ** 2.5": lambda x: x**2.5,
    "x ** -1.7": lambda x: x**-1.7,
    "x ** -3": lambda x: x**-3.0,
}
FORMATS = [
    *((64, 4), (64, 24), (32, 10)),
    *(pytest.param(bits, frac, marks=pytest.mark.long) for bits, frac in ((64, 8), (64, 12), (64, 20), (32, 8))),
]
TAILS = np.array([0, 3, 4.5, 6.5, 10.5, 11.5, 12.5])


def check(expression: str, function: Callable[[Array], Array], x: Array, range_: Range | None, bits: int, frac: int,
          error: float = 1.0) -> None:  # fmt: skip
    limit, step = format_of(bits, frac)
    text = f"{HEAD}precision fixed(bits={bits}, frac={frac})\ninput u : [{x.size}] from a{declared(range_)}\n"
    text += f"input zero : [] from b in [0, 0]\nx = u + zero\noutput y = {expression} to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"u": x, "zero": 0.0}).results["y"]
    right = function(x)
    fits = np.abs(right) < limit * (1 - RELATIVE)
    bound = np.maximum(RELATIVE * np.maximum(1, np.abs(right)), 2 * step)
    worst = (np.abs(found - right) / bound)[fits]
    assert fits.any() and worst.max() <= error, (x[fits][worst.argmax()], worst.max())


def tails(range_: Range, step: float) -> Array:
    near = np.concatenate([TAILS + d * step * 2**e for d in (-1, 0, 1) for e in (0, 4, 8, 12)])
    near = np.concatenate([near, -near])
    return np.rint(near[(near >= range_[0]) & (near <= range_[1])] / step) * step


@pytest.mark.parametrize("range_", [None, (-4, 4), (-16, 16), (0, 3), (-5, -1), (2, 1000), (-1e6, 1e6)], ids=str)
@pytest.mark.parametrize("expression", EVERYWHERE)
def test_functions_of_every_number_keep_their_bound(expression: str, range_: Range | None) -> None:
    limit, step = format_of(64, 16)
    whole = range_ or (-limit + step, limit - step)
    x = np.concatenate([spread(whole, 500, step, 1), tails(whole, step)])
    check(expression, EVERYWHERE[expression], x, range_, 64, 16, error=0.6)


@pytest.mark.parametrize(("bits", "frac"), FORMATS)
@pytest.mark.parametrize("expression", EVERYWHERE)
def test_functions_of_every_number_keep_their_bound_in_every_format(expression: str, bits: int, frac: int) -> None:
    limit, step = format_of(bits, frac)
    whole = -limit + step, limit - step
    x = np.concatenate([spread(whole, 300, step, 2), tails(whole, step)])
    check(expression, EVERYWHERE[expression], x, None, bits, frac)


@pytest.mark.parametrize("range_", [None, (1e-3, 1e3), (0, 4), (0.5, 0.75), (1, 9), (0.25, 1e9), (-1, 1000)], ids=str)
@pytest.mark.parametrize("expression", POSITIVE)
def test_functions_of_positive_numbers_keep_their_bound(expression: str, range_: Range | None) -> None:
    limit, step = format_of(64, 16)
    x = spread(range_ or (step, limit - step), 500, step, 3)
    check(expression, POSITIVE[expression], x[x > 0], range_, 64, 16, error=0.6)


@pytest.mark.parametrize(("bits", "frac"), FORMATS)
@pytest.mark.parametrize("expression", POSITIVE)
def test_functions_of_positive_numbers_keep_their_bound_in_every_format(expression: str, bits: int, frac: int) -> None:
    limit, step = format_of(bits, frac)
    check(expression, POSITIVE[expression], spread((step, limit - step), 300, step, 4), None, bits, frac)


@pytest.mark.parametrize("range_", [None, (1e-3, 1e3), (0, 4), (1, 9), (0.25, 1e9)], ids=str)
@pytest.mark.parametrize("exponent", [15.9, -16, -9.1, 0.01])
def test_powers_up_to_the_largest_exponent_keep_their_bound(exponent: float, range_: Range | None) -> None:
    """Of bases whose powers have a place in the format, of every size."""
    limit, step = format_of(64, 16)
    lo, hi = range_ or (step, limit - step)
    ends = sorted([2.0 ** (29.9 / exponent), 2.0 ** (-20 / exponent)]) if abs(exponent) > 1 else [lo, hi]
    x = spread((max(lo, step, ends[0]), min(hi, ends[1])), 600, step, 5)
    check(f"x ** {exponent}", lambda x: x**exponent, x, range_, 64, 16, error=0.8)


@pytest.mark.parametrize("n", [2, 3, 16, 17])
def test_inverse_powers_of_both_signs(n: int) -> None:
    step = 2.0**-16
    x = spread((-4, 4), 600, step, 6)
    check(f"x ** -{n}", lambda x: x ** -float(n), x[x != 0], (-4, 4), 64, 16, error=1.0)


@pytest.mark.parametrize("exponents", [(-2, 2), (3, 3.5), (-16, 16)], ids=str)
@pytest.mark.parametrize("range_", [(0.01, 10), (0, 4), (1, 1e9)], ids=str)
def test_secret_exponents_keep_their_bound(range_: Range, exponents: Range) -> None:
    (limit, step), random = format_of(64, 16), np.random.default_rng(7)
    x = spread((max(range_[0], step), range_[1]), 800, step, 8)
    y = (
        np.round(np.clip(random.uniform(*exponents, x.size) * random.choice([1, 0.1], x.size), *exponents) / step)
        * step
    )
    y[:8] = np.repeat(exponents, 4)
    text = f"{HEAD}input x : [800] from a{declared(range_)}\ninput y : [800] from b{declared(exponents)}\n"
    found = run_plan(mpc.compile(text=text + "output z = x ** y to a\n").plan, {"x": x, "y": y}).results["z"]
    right = np.exp(y * np.log(x))
    fits = right < limit * (1 - RELATIVE)
    assert fits.sum() > 80
    assert (np.abs(found - right) <= np.maximum(RELATIVE * np.maximum(1, right), 2 * step))[fits].all()


def test_a_table_of_exponents() -> None:
    x = spread((0.25, 8), 200, 2.0**-16, 10)
    for exponents in ([2.0, -1.5], [3, 0]):
        table = np.tile(exponents, 100)
        expression = f"reshape(reshape(x, [100, 2]) ** {exponents}, [200])"
        check(expression, lambda x, table=table: x ** table.astype(float), x, (0.25, 8), 64, 16)
    found = mpc.compile(text=f"{HEAD}input x : int[2] from a\noutput z = 2 ** [3, 10] + x to b\n").reference(
        {"x": [1, 2]}
    )
    assert found["z"].tolist() == [9, 1026]


@pytest.mark.parametrize("base", [2, 0.3, 100])
def test_powers_of_a_number_keep_their_bound(base: float) -> None:
    check(f"{base} ** x", lambda x: base**x, spread((-4, 4), 400, 2.0**-16, 9), (-4, 4), 64, 16)


@pytest.mark.parametrize(
    ("declared_", "expression", "column", "message"),
    [((-4, -1), "x ** 2.5", 14, "a negative number has no power 2.5, found one in [-4, -1]"),
     ((0, 4), "x ** 17.5", 14, "an exponent that is not whole lies within [-16, 16], found 17.5"),
     ((0, 4), "x ** [1, 2]", 14, "several exponents, int[2], are powers of a base that is proved to be above 0"),
     ((0, 4), "x ** w", 14, "a computed exponent lies within [-16, 16], found one without a range"),
     ((0, 4), "pow(x, 5 * y + 15)", 19, "a computed exponent lies within [-16, 16], found one in [15, 20]"),
     ((-4, 0), "x ** y", 14, "a power with a computed exponent has a base above 0, found one in [-4, 0]"),
     ((0, 4), "(-2) ** y", 17, "a power with a computed exponent has a base above 0, found -2"),
     ((0, 4), "x * (-8) ** 0.3", 21, "-8 has no real power 0.3"),
     ((0, 4), "celu(x, alpha=5)", 26, "`alpha` of celu expects a number from 0.01 to 4, found 5")],
)  # fmt: skip
def test_powers_that_have_no_meaning_are_refused(declared_: Range, expression: str, column: int, message: str) -> None:
    text = f"{HEAD}input x : [2] from a{declared(declared_)}\ninput y : [2] from b in [0, 1]\n"
    text += f"input w : [2] from b\nh = w\noutput z = {expression} to a\noutput v = h + y to b\n"
    with pytest.raises(mpc.CompileError, match=re.escape(f"<text>:7:{column}: error: {message}")):
        mpc.compile(text=text)


@pytest.mark.parametrize("range_", [None, (0, 4), (-4, 4), (0, 1e6)], ids=str)
def test_a_root_of_what_is_not_positive_is_0(range_: Range | None) -> None:
    """0 has one; below, what rounding brought there must not become large."""
    step = 2.0**-16
    x = spread(range_ or (-1e6, 1e6), 200, step, 5)
    x = np.concatenate([x, np.zeros(3)])
    check("sqrt(x)", lambda x: np.sqrt(np.maximum(x, 0)), x, range_, 64, 16, error=0.6)


def test_whole_numbers_have_roots_and_logarithms() -> None:
    i = np.array([1, 2, 3, 100, 65536, 2**29])
    text = f"{HEAD}input i : int[6] from a in [1, 1e9]\ninput j : int[6] from b in [0, 0]\nx = i + j\n"
    text += "output s = sqrt(x) to a\noutput l = log(x) to a\noutput r = rsqrt(x) to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"i": i, "j": 0 * i}).results
    for name, right in (("s", np.sqrt(i)), ("l", np.log(i)), ("r", i**-0.5)):
        assert (np.abs(found[name] - right) <= RELATIVE * np.maximum(1, right)).all(), name


@pytest.mark.parametrize("range_", [(-1, 1), (0, 4), (-1000, 1000), (900, 1000)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 30, 700])
def test_a_variance_keeps_its_bound(count: int, range_: Range) -> None:
    """Rows of one number, of both ends, of neighbours, and of random ones."""
    step, random = 2.0**-16, np.random.default_rng(6)
    x = random.uniform(*range_, (5, count))
    x[0], x[1], x[2] = range_[1], range_[0], np.mean(range_)
    x[1, ::2] = range_[1]
    x[2, ::3] += step
    x = np.round(x / step) * step
    text = f"{HEAD}input u : [5, {count}] from a{declared(range_)}\ninput zero : [] from b in [0, 0]\n"
    found = run_plan(mpc.compile(text=text + "output y = var(u + zero, axis=1) to a\n").plan, {"u": x, "zero": 0.0})
    right = x.var(axis=1)
    assert (np.abs(found.results["y"] - right) <= RELATIVE * np.maximum(1, right)).all()


def normed(expression: str, x: Array, range_: Range, bits: int, frac: int, head: str = "") -> tuple[Array, list[str]]:
    """(results, warnings) for rows of numbers."""
    text = f"{HEAD}precision fixed(bits={bits}, frac={frac})\ninput u : {list(x.shape)} from a in {list(range_)}\n"
    text += f"input zero : [] from b in [0, 0]\n{head}output y = {expression} to a\n"
    params = {"l.weight": np.ones(x.shape[-1]), "l.bias": np.zeros(x.shape[-1])} if head else {}
    program = mpc.compile(text=text)
    return run_plan(program.plan, {"u": x, "zero": 0.0}, params).results["y"], [str(w) for w in program.warnings]


def rows_of(count: int, range_: Range, step: float, seed: int) -> Array:
    """Equal numbers, one apart by a step, one far, both ends, little and much deviation."""
    (lo, hi), random = range_, np.random.default_rng(seed)
    x = random.uniform(lo, hi, (8, count))
    x[:3] = (lo + hi) / 2
    x[1, 0] += step
    x[2, 0] = hi
    x[3, ::2], x[3, 1::2] = lo, hi
    x[4:6] = (lo + hi) / 2 + random.normal(size=(2, count)) * [[0.003], [0.1]]
    return np.clip(np.round(x / step) * step, lo, hi)


@pytest.mark.parametrize(
    ("count", "range_", "eps", "bits", "frac"),
    [(1, (-4, 4), 1e-5, 64, 16), (2, (-4, 4), 1e-5, 64, 16), (64, (-4, 4), 1e-5, 64, 16), (768, (-2, 2), 1e-5, 64, 16),
     (64, (0, 100), 1e-3, 64, 16), (64, (-4, 4), 1e-5, 64, 24), (64, (-4, 4), 1e-5, 64, 12),
     (16, (-4, 4), 1e-3, 32, 10), (16, (-4, 4), 1e-3, 32, 6)],
)  # fmt: skip
def test_layernorm_keeps_its_bound(count: int, range_: Range, eps: float, bits: int, frac: int) -> None:
    _, step = format_of(bits, frac)
    x = rows_of(count, range_, step, 7)
    layer = f"layer l = layernorm(eps={eps})\nweights l from b in [0, 1]\n"
    found, warnings = normed("l(u + zero)", x, range_, bits, frac, layer)
    right = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    bound = np.maximum(RELATIVE * np.maximum(1, np.abs(right)), 2 * step)
    assert warnings == [] and (np.abs(found - right) <= bound).all()


def test_a_wide_layernorm_says_where_it_is_accurate_or_is_refused() -> None:
    x = rows_of(768, (-50, 50), 2.0**-16, 8)
    layer = "layer l = layernorm()\nweights l from b in [0, 1]\n"
    found, (warning,) = normed("l(u + zero)", x, (-50, 50), 64, 16, layer)
    assert "accurate to 0.000244141 only where the standard deviation is at least 0.015625" in warning
    clear = x.std(axis=1) >= 0.015625
    right = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    assert clear.sum() >= 5
    assert (np.abs(found - right) <= RELATIVE * np.maximum(1, np.abs(right)))[clear].all()
    with pytest.raises(mpc.CompileError, match=r"<text>:8:12: error: layernorm has no room for its accuracy"):
        normed("l(u + zero)", x, (-1e6, 1e6), 64, 16, layer)


@pytest.mark.parametrize(
    ("count", "range_", "limit", "bits", "frac"),
    [(8, (-4, 4), 1.0, 64, 16), (100, (-1, 1), 0.5, 64, 16), (100, (-100, 100), 1.0, 64, 16),
     (4, (0, 1000), 3.0, 64, 16), (1000, (-4, 4), 0.01, 64, 16), (10, (-4, 4), 0.001, 64, 16),
     (5, (-0.1, 0.1), 1.0, 64, 16), (10, (-4, 4), 1.0, 64, 24), (10, (-4, 4), 1.0, 32, 10),
     (10, (-8, 8), 0.5, 32, 6), (10, (-8, 8), 3.0, 64, 20)],
)  # fmt: skip
def test_clip_norm_keeps_its_bound(count: int, range_: Range, limit: float, bits: int, frac: int) -> None:
    """Norms of 0, just below and above the limit, and far from it. Nothing is ever longer than the limit."""
    _, step = format_of(bits, frac)
    x = rows_of(count, range_, step, 9)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    x[5:7] *= np.minimum(1, np.array([[0.999], [1.001]]) * limit / lengths[5:7])
    x[7] *= np.minimum(1, 0.1 * limit / lengths[7])
    x = np.round(x / step) * step
    found, _ = normed(f"clip_norm(u + zero, {limit})", x, range_, bits, frac)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    right = x * (limit / np.maximum(lengths, limit))
    bound = np.maximum(RELATIVE * np.maximum(1, np.abs(right)), 2 * step) + step * math.sqrt(count)
    assert (np.abs(found - right) <= bound).all()
    assert (np.linalg.norm(found, axis=1) <= limit).all()


def test_rounding_never_lifts_a_clipped_norm_above_its_bound() -> None:
    """Of vectors in every direction and of lengths from the bound to far beyond it."""
    random, limit = np.random.default_rng(10), 1.0
    for count in (1, 3, 40):
        x = random.normal(size=(3000, count))
        x *= limit * 4 ** random.uniform(0, 1, (3000, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
        x = np.round(np.clip(x, -4, 4) * 2**16) / 2**16
        found, _ = normed(f"clip_norm(u + zero, {limit})", x, (-4, 4), 64, 16)
        lengths = np.linalg.norm(found, axis=1)
        assert limit * 0.999 < lengths.max() <= limit


@pytest.mark.parametrize(
    ("range_", "limit", "message"),
    [((-1e6, 1e6), 1.0, "clip_norm has no room for its accuracy over a range as wide as 2"),
     ((-4, 4), 1e-6, "clip_norm expects a larger bound, found 1e-06: its square has no digits in this format")],
)  # fmt: skip
def test_what_clip_norm_cannot_keep_is_refused(range_: Range, limit: float, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=f"<text>:6:12: error: {message}"):
        normed(f"clip_norm(u + zero, {limit})", np.zeros((2, 10)), range_, 64, 16)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 65])
def test_one_hot_of_every_index(count: int) -> None:
    i = np.arange(-3, count + 3)
    text = f"{HEAD}input i : int[{i.size}] from a in [-3, {count + 3}]\ninput j : int[{i.size}] from b in [0, 0]\n"
    found = run_plan(mpc.compile(text=text + f"output y = one_hot(i + j, {count}) to a\n").plan, {"i": i, "j": 0 * i})
    assert np.array_equal(found.results["y"], i[:, None] == np.arange(count))
