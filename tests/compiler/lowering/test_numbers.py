"""Public numbers are computed exactly or in float64, wherever they stand. Truth: Python's own arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph import Kind
from compiler.lowering.model import lower
from dsl import parse
from dsl.errors import SourceErrors
from tests.compiler.lowered import constant, errors, graph, output


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("7 - 4 - 2", 1),
        ("16 / 4 / 2", 2.0),
        ("1 / 3", 1 / 3),
        ("1e-3", 0.001),
        ("4 ** 0.5", 2.0),
        ("4 ** -0.5", 0.5),
        ("(1 / 3) * 3", 1.0),
        ("0.1 + 0.2", 0.1 + 0.2),
        ("true + true", 2),
        ("not true", False),
        ("true and false or true", True),
        ("1 < 2", True),
        ("1 / 2 == 0.5", True),
        ("not 1 > 2", True),
        ("3 |> relu", 3),
        ("relu(-3)", 0),
        ("minimum(3, 4)", 3),
        ("exp(0)", 1.0),
        ("sqrt(2)", math.sqrt(2)),
        ("log(10)", math.log(10)),
        ("sum([1, 2, 3])", 6),
        ("mean([1, 2, 4])", 7 / 3),
        ("max([[1, 5], [4, 2]], axis=0)", [4, 5]),
        ("[1, 2] + [10, 20]", [11, 22]),
        ("[[1, 2], [3, 4]] @ [1, 1]", [3, 7]),
        ("transpose([[1, 2], [3, 4]])", [[1, 3], [2, 4]]),
        ("[[1, 2], [3, 4]][1]", [3, 4]),
        ("[[1, 2], [3, 4]][:, 0]", [1, 3]),
        ("[5, 6, 7][-1]", 7),
        ("[1, 0.5]", [1.0, 0.5]),
        ("[[1, 2], [3, 4]].shape", [2, 2]),
        ("where([1, -1] > 0, 1, 0)", [1, 0]),
    ],
)
def test_value(expression: str, value: object) -> None:
    found = constant(expression)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert type(found) is type(value)


def test_quotient_that_is_whole_is_a_size_but_no_int() -> None:
    assert output(
        "const n = 12 / 4 input x : [n, 6 / 3] from client output y = reshape(x, [6 / 1]) to client"
    ).shape == (6,)
    assert output("output y = 12 / 4 to client, modeller").kind is Kind.FIXED


def test_whole_literal_takes_the_type_of_its_neighbour() -> None:
    body = "input i : int[2] from client input b : bit[2] from client input x : [2] from client\n"
    for expression, kind in {
        "i + 1": Kind.INT,
        "i + 1.0": Kind.FIXED,
        "x + 1": Kind.FIXED,
        "i * 2 - i": Kind.INT,
        "i / 2": Kind.FIXED,
        "i ** 2": Kind.INT,
        "i ** -1": Kind.FIXED,
        "b + b": Kind.INT,
        "-b": Kind.INT,
        "b * 0.5": Kind.FIXED,
        "i > 0": Kind.BIT,
        "b and (i > 0)": Kind.BIT,
        "not b": Kind.BIT,
        "where(b, i, 0)": Kind.INT,
        "where(b, i, 0.5)": Kind.FIXED,
        "where(b, x, i)": Kind.FIXED,
        "maximum(i, 3)": Kind.INT,
        "maximum(i, x)": Kind.FIXED,
        "sum(i)": Kind.INT,
        "sum(b)": Kind.INT,
        "mean(i)": Kind.FIXED,
        "max(i)": Kind.INT,
        "argmax(x)": Kind.INT,
        "relu(i)": Kind.INT,
        "sigmoid(i)": Kind.FIXED,
        "i @ i": Kind.INT,
        "i @ x": Kind.FIXED,
        "concat(i, x)": Kind.FIXED,
        "stack(b, b)": Kind.BIT,
        "abs(i)": Kind.INT,
        "clip(i, 0, 3)": Kind.INT,
        "clip(i, 0, 4 / 2)": Kind.FIXED,
    }.items():
        assert output(f"{body} output y = {expression} to client").kind is kind, expression


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 50)), min_size=1, max_size=6),
    st.integers(0, 50),
)
def test_arithmetic_is_exact(steps: list[tuple[str, int]], start: int) -> None:
    text, value = str(start), Fraction(start)
    for sign, number in steps:
        text = f"({text}) {sign} {number}"
        value = {"+": value + number, "-": value - number, "*": value * number, "/": value / number}[sign]
    assert float(constant(text)) == float(value)


def test_dims_consts_and_indices_are_sizes() -> None:
    model = graph(
        """
        dim n = 3 dim m = n * 2 const k = [m, 4]
        input x : [n, m + 1, k[0], k[1] - 3] from client
        input z : [x.shape[1], x.shape[3]] from client
        output y = x to client output w = z to client
        """,
        n=5,
    )
    assert [leaf.shape for leaf in model.inputs] == [(5, 11, 10, 1), (11, 1)]
    assert dict(model.dims) == {"n": 5, "m": 10}
    assert model.inputs[0].op.dims == ("n", None, None, None)


def test_scalar_types() -> None:
    value = output("input x : [] from client input i : int[] from client output y = x * i to client")
    assert (value.kind, value.shape) == (Kind.FIXED, ())


def test_unknown_and_wrong_overrides() -> None:
    body = "dim batch = 1 input x : [batch] from client output y = x to modeller"
    assert [each.line for each in errors(body, bach=3)] == [1]
    assert errors(body, bach=3)[0].help == "did you mean `batch`?"
    assert len(errors(body, batch=0)) == 1
    assert graph(body, batch=7).inputs[0].shape == (7,)


def test_tables_are_constants_of_the_graph() -> None:
    value = output("const t = [[1, 0], [0, 1]] input x : [2] from client output y = t @ x to client")
    table = next(each for each in value.args if each.is_constant)
    assert np.array_equal(table.array, np.eye(2)) and table.kind is Kind.INT


@pytest.mark.parametrize(
    ("statement", "bits", "frac"),
    [
        ("", 64, 16),
        ("precision fixed(bits=64, frac=16)", 64, 16),
        ("precision fixed(bits=32)", 32, 10),
        ("precision fixed(frac=20)", 64, 20),
        ("const b = 32 precision fixed(bits=b, frac=b / 4)", 32, 8),
    ],
)
def test_precision(statement: str, bits: int, frac: int) -> None:
    found = graph(f"{statement} input x : [2] from client output y = x to modeller").precision
    assert (found.bits, found.frac) == (bits, frac)


def test_endless_loops_are_refused_before_they_run() -> None:
    for body in ("", "h = x", "for j in 0..1000000000 { }", "for j in 0..1000 { h = x }"):
        text = f"model m role a input x : [1] from a for i in 0..100000 {{ {body} }} output x to a"
        with pytest.raises(SourceErrors, match="unrolls to more than"):
            lower(parse(text))
