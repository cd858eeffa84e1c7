"""Encoding against Python's exact fractions; contracts against a plain comparison."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime.encoding.fixed_point import check, decode, encode
from mpc_runtime.errors import InputError

FEW = settings(max_examples=60, deadline=None)


@FEW
@given(value=st.floats(-(2.0**30), 2.0**30), scale=st.integers(0, 20))
def test_encoding_rounds_to_the_nearest_multiple(value: float, scale: int) -> None:
    (word,) = encode(np.array([value]), scale).tolist()
    signed = word - (1 << 64) if word >> 63 else word
    assert abs(Fraction(signed, 2**scale) - Fraction(value)) <= Fraction(1, 2 ** (scale + 1))


@FEW
@given(
    values=st.lists(st.integers(-(2**29), 2**29 - 1), min_size=1, max_size=5),
    bits=st.integers(31, 64),
    noise=st.integers(0, 2**64 - 1),
)
def test_decoding_is_twos_complement_of_the_low_bits(values: list[int], bits: int, noise: int) -> None:
    high = (noise << bits) & (2**64 - 1)
    words = np.array([(v & ((1 << bits) - 1)) | high for v in values], np.uint64)
    assert decode(words, bits, 0, "int").tolist() == values
    assert decode(words, bits, 7, "fixed").tolist() == [v / 128 for v in values]


def test_kinds_keep_their_types() -> None:
    assert decode(np.array([3], np.uint64), 64, 0, "bit").tolist() == [True]
    assert decode(np.array([3 << 16], np.uint64), 64, 16, "int").dtype == np.int64
    assert check("n", np.array([2.0]), "int", (1,), 0, 5, 0).dtype == np.int64
    assert encode(np.array([True, False]), 0).tolist() == [1, 0]


@pytest.mark.parametrize(("kind", "dtype"), [("fixed", np.float64), ("int", np.int64), ("bit", np.bool_)])
@pytest.mark.parametrize(("bits", "scale"), [(64, 0), (40, 0), (64, 3)])
def test_a_number_without_axes_is_an_array_too(kind: str, dtype: type, bits: int, scale: int) -> None:
    """As the parties' results are: `simulate` gives what `run` gives."""
    found = decode(np.array(1 << scale, np.uint64), bits, scale if kind != "bit" else 0, kind)
    assert isinstance(found, np.ndarray) and found.dtype == dtype and found.shape == ()


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([[0.5, 2.0]], "fixed", r"x\[0, 1\]: expected a value in \[0, 1\], found 2"),
        ([[0.5, np.nan]], "fixed", r"x\[0, 1\]: expected a finite number, found nan"),
        ([[-np.inf, 0.0]], "fixed", r"x\[0, 0\]: expected a finite number, found -inf"),
        ([[0.5, 1.0]], "int", r"x\[0, 0\]: expected a whole number, found 0.5"),
        ([[2, 1]], "bit", r"x\[0, 0\]: expected 0 or 1, found 2"),
        ([0.5, 1.0], "fixed", r"x: expected shape \[1, 2\], found \[2\]"),
        ([["a", "b"]], "fixed", r"x: expected numbers, found text, such as 'a'"),
        ([[1j, 0]], "fixed", r"x: expected numbers, found complex128"),
        ([[3.0, 4.0]], "fixed", r"and 1 more"),
    ],
)
def test_a_broken_contract_names_place_and_expectation(values: object, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check("x", values, kind, (1, 2), 0.0, 1.0, 16)


def test_the_contract_is_checked_after_rounding() -> None:
    assert check("x", np.float32([0.1]), "fixed", (1,), 0.0, 0.1, 16)[0] == np.float32(0.1)
    with pytest.raises(InputError):
        check("x", [0.1 + 2.0**-16], "fixed", (1,), 0.0, 0.1, 16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint64, np.bool_])
def test_ends_of_a_range_are_those_of_float64_whatever_the_type(dtype: type) -> None:
    values = np.array([[0, 1]], dtype)
    assert check("x", values, "fixed", (1, 2), 0.0, 1.0, 16).dtype == np.float64
    for lo, hi in ((0.0, 0.9994), (0.0004, 1.0)):  # in float16, some of these would be the value
        with pytest.raises(InputError, match="expected a value in"):
            check("x", values, "fixed", (1, 2), lo, hi, 16)
    assert check("x", values[:, :0], "fixed", (1, 0), 5.0, 6.0, 16).size == 0


@pytest.mark.parametrize("place", [0, 77, 199])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found_anywhere(place: int, bad: float) -> None:
    values = np.full(200, 0.5)
    values[place] = bad
    for lo, hi in ((0.0, 1.0), (-np.inf, np.inf)):
        with pytest.raises(InputError, match=rf"x\[{place}\]: expected a finite number"):
            check("x", values, "fixed", (200,), lo, hi, 16)


@pytest.mark.parametrize(
    ("kind", "hi", "value", "expected"),
    [
        ("fixed", 1.0, 1.5, r"in \[0, 1\], found 1\.5"),
        ("fixed", 1.0, np.float32(1.0001), r"in \[0, 1\], found 1\.0001"),
        ("fixed", 1e6, 1e6 + 0.25, r"in \[0, 1000000\], found 1000000\.25"),
        ("int", 2**30 - 1, 2**30, r"in \[0, 1073741823\], found 1073741824"),
    ],
)
def test_one_sees_that_a_value_is_outside(kind: str, hi: float, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check("x", value, kind, (), 0, hi, 16)
