"""Constants that the number format cannot tell from 0: told where they are compared or added, and nowhere else."""

from __future__ import annotations

import warnings

import pytest

import mpc_runtime as mpc

SOURCE = """model small
role a, b
input x : [3] from a in [0, 4]
input y : [3] from b in [0, 4]
z = {}
output z to a
"""


def told(expression: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mpc.compile(text=SOURCE.format(expression))
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    "expression",
    [
        "1 / maximum(x * y, 0.000001)",
        "x * y + 0.000007",
        "x * y - 0.000001",
        "minimum(x - y, 0.000001)",
        "where(x * y >= 0.000001, 1, 0)",
        "where(0.000001 > x * y, 1, 0)",
        "where(x - y > -0.000001, x, y)",
        "where(x * y == 0.000001, 1, 0)",
    ],
)
def test_what_counts_as_0_is_told(expression: str) -> None:
    (message,) = told(expression)
    assert "5:" in message
    assert "less than half a step of the number format, 1.52588e-05, and counts as 0" in message


@pytest.mark.parametrize(
    "expression",
    [
        "x * y * 0.000001",
        "x * y + 0.00001",
        "maximum(x * y, 0)",
        "x * y + [0.000001, 1, 2]",
        "(x + 0.000001) + y",
        "where(x * y > 0.000001, 1, 0)",
        "where(x - y >= -0.000001, x, y)",
        "where(x * y >= 0.00001, 1, 0)",
    ],
)
def test_what_keeps_its_value_is_not(expression: str) -> None:
    """A factor does, however small, an element among others is of little weight, and clients compute in float64."""
    assert not told(expression)
