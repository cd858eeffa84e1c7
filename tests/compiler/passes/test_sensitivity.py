"""How far a row moves a result: what is proved is enough for every row that is taken out, and not much more."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.errors import CompileWarning
from mpc_runtime.plan import Noise

Array = np.ndarray

ROWS = 6
HEAD = """model m
role a, b
input x : [6, 3] from a in [-1, 3]
input y : [6, 3] from b in [-1, 1]
input k : int[6] from a in [0, 3]
input one : [3] from a in [0, 2]
"""
CASES = {
    "sum(x, axis=0)": (9.0, 3 * math.sqrt(3)),
    "sum(x)": (9.0, 9.0),
    "mean(x, axis=0)": (9 / 6, 3 * math.sqrt(3) / 6),
    "mean(x)": (9 / 18, 9 / 18),
    "sum(x * y, axis=0)": (9.0, 3 * math.sqrt(3)),
    "sum(clip_norm(x, 2.0), axis=0)": (2 * math.sqrt(3), 2.0),
    "sum(clip_norm(x * y, 0.5), axis=0)": (0.5 * math.sqrt(3), 0.5),
    "sum(one_hot(k, 4), axis=0)": (1.0, 1.0),
    "sum(k > 1)": (1.0, 1.0),
    "sum(sum(x, axis=1), axis=0)": (9.0, 9.0),
    "sum(one)": (2.0, 2.0),
    "2 * sum(x, axis=0) + 1": (18.0, 6 * math.sqrt(3)),
    "sum(x, axis=0) - sum(square(x), axis=0)": (36.0, 12 * math.sqrt(3)),
    "concat(sum(x, axis=0), sum(one_hot(k, 4), axis=0))": (10.0, math.sqrt(27 + 1)),
    "reshape(sum(transpose(x), axis=1), [3, 1])": (9.0, 3 * math.sqrt(3)),
    "sum(relu(x @ transpose(y)[0:3, 0:3]), axis=0)": None,  # every row of y is in every row of the product
    "var(x, axis=0)": None,
    "max(x, axis=0)": None,
    "sum(x, axis=0) * sum(y, axis=0)": None,
    "sum(cut, axis=0)": None,  # what is only promised proves nothing
    "sigmoid(sum(x))": None,
    "sum(x - mean(x, axis=0), axis=0)": None,
    "sum(x[0:3], axis=0)": None,
}


def noise_of(expression: str, law: str = "laplace(epsilon=1") -> Noise:
    text = HEAD + f"cut = x * y in [0, 0.1]\noutput r = {expression} to b with {law})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        program = mpc.compile(text=text)
    (result,) = program.plan.outputs
    assert result.noise is not None
    return result.noise


@pytest.mark.parametrize("expression", [e for e, wanted in CASES.items() if wanted])
def test_what_is_proved_is_right(expression: str) -> None:
    wanted = CASES[expression]
    assert wanted is not None
    laplace, gaussian = noise_of(expression), noise_of(expression, "gaussian(epsilon=1, delta=1e-5")
    assert laplace.proved and gaussian.proved
    assert (laplace.sensitivity, gaussian.sensitivity) == pytest.approx(wanted)
    assert laplace.rounding <= 0.01 * laplace.sensitivity


@pytest.mark.parametrize("expression", [e for e, wanted in CASES.items() if not wanted])
def test_what_is_not_proved_has_to_be_stated(expression: str) -> None:
    with pytest.raises(mpc.CompileError, match="how far one person can move `r` is not proved, so it has to be stated"):
        noise_of(expression)
    assert not noise_of(expression, "laplace(epsilon=1, sensitivity=3").proved


def test_an_input_without_a_range_is_told_to_have_one() -> None:
    text = "model m\nrole a, b\ninput x : [4] from a\ninput y : [4] from a in [0, 1]\n"
    with pytest.raises(mpc.CompileError, match=r"help: declare the range of `x`, `in \[lo, hi\]`, or write `laplace"):
        mpc.compile(text=f"{text}output r = sum(x + y) to b with laplace(epsilon=1)\n")


@pytest.mark.parametrize("expression", ["sum(x * y, axis=0)", "sum(clip_norm(x * y, 0.5), axis=0)", "sum(k > 1)"])
def test_no_row_moves_a_result_further(expression: str) -> None:
    """The extremes of a row, in the plaintext meaning: a row of zeros in the place of one that is taken out."""
    proved = noise_of(expression).sensitivity
    program = mpc.compile(text=HEAD + f"output r = {expression} to b")
    random = np.random.default_rng(1)
    most = 0.0
    for corner in range(8):
        x = random.uniform(-1, 3, (ROWS, 3))
        y = random.uniform(-1, 1, (ROWS, 3))
        x[0], y[0] = 3, [1 if corner >> i & 1 else -1 for i in range(3)]
        k = np.array([3, 0, 1, 2, 3, 3])
        given = {"x": x, "y": y, "k": k, "one": np.zeros(3)}
        without = {"x": x.copy(), "y": y.copy(), "k": k.copy(), "one": np.zeros(3)}
        for array in without.values():
            array[0] = 0
        there, gone = (program.reference(each)["r"].astype(float) for each in (given, without))
        most = max(most, float(np.abs(there - gone).sum()))
    assert most <= proved * (1 + 1e-9)
    assert most > 0.5 * proved


def test_the_members_of_an_array_role_are_persons_of_their_own() -> None:
    text = "model m\nrole h[4], b\ninput x : [5] from h in [0, 2]\ninput z : [] from h in [0, 7]\n"
    text += "output r = sum(x) to b with laplace(epsilon=1)\noutput s = sum(z) to b with laplace(epsilon=1)"
    r, s = (result.noise for result in mpc.compile(text=text).plan.outputs)
    assert r is not None and s is not None and (r.sensitivity, s.sensitivity) == (2.0, 7.0)


def test_a_statement_below_what_is_proved_is_said_to_be_one() -> None:
    text = HEAD + "output r = sum(x * y, axis=0) to b with laplace(epsilon=1, sensitivity=2)"
    with pytest.warns(
        CompileWarning, match="can move `r` by 9 as far as ranges prove, and a sensitivity of 2 is stated"
    ):
        program = mpc.compile(text=text)
    (result,) = program.plan.outputs
    assert result.noise is not None and not result.noise.proved and result.noise.sensitivity == 2
    assert any("as its author claims, which nothing proves" in line for line in program.leakage)


def test_a_statement_above_what_is_proved_is_taken_and_proved() -> None:
    noise = noise_of("sum(x, axis=0)", "laplace(epsilon=1, sensitivity=20")
    assert noise.proved and noise.sensitivity == 20
