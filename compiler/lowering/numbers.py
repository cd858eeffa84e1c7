"""Public numbers: what the compiler knows and computes itself, exactly where that is possible.

A number is an `int` (kind int), a `bool` (kind bit), or a `Fraction` or `float` (kind fixed): quotients of whole
numbers stay exact, literals with a point and the results of functions are float64. A table is a tuple of numbers and
tables. Tables as operands, and functions of numbers, are folded by the tensor ops (`compiler.graph.apply`); this module
is the scalar arithmetic, and the readings ("a whole number", "a list") that sizes, indices and options ask for.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from compiler.graph import Constant, OpError, Value, constant, expect_constant, table_shape
from dsl.ast import Operator

__all__ = [
    "NUMBERS",
    "Number",
    "NumberError",
    "Table",
    "arithmetic",
    "as_constant",
    "describe_number",
    "entries",
    "flat",
    "power",
    "public",
    "real",
    "whole",
]

Number = int | float | Fraction | bool
NUMBERS = (int, float, Fraction)  # a bool is an int
Table = tuple[Any, ...]

MAX_BITS = 1000  # below what float64 reaches; an exact power or product beyond it only fills the memory


class NumberError(Exception):
    """A public number cannot be computed; the caller knows the place."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def arithmetic(op: Operator, left: Number, right: Number) -> Number:
    """`left op right` for `+ - * /` and comparisons. Raises NumberError for a division by zero and for giants."""
    compare = _COMPARISONS.get(op)
    if compare is not None:
        return compare(left, right)
    left, right = _plain(left), _plain(right)
    if op is Operator.DIV:
        return _bounded(_quotient(left, right))
    return _bounded(_ARITHMETIC[op](left, right))


def power(base: Number, exponent: Number) -> Number:
    """`base ** exponent`; a base below 0 has whole powers only."""
    base, given = _plain(base), whole(exponent)
    exponent = float(exponent) if given is None else given
    if isinstance(exponent, int):
        if base == 0 and exponent < 0:
            raise NumberError("division by zero", "zero has no negative power")
        if not isinstance(base, float) and abs(exponent) * _bits(base) > MAX_BITS:
            raise _too_large()
        if isinstance(base, int) and exponent < 0:
            return Fraction(base) ** exponent
        try:
            return _bounded(base**exponent)
        except OverflowError:
            raise _too_large() from None
    if (base < 0 and not exponent.is_integer()) or (base == 0 and exponent < 0):
        message = f"{describe_number(base)} has no real power {describe_number(exponent)}"
        raise NumberError(message, "the base is above 0, or the exponent is whole")
    try:
        return _bounded(math.pow(float(base), float(exponent)))
    except OverflowError:
        raise _too_large() from None


def whole(meaning: object) -> int | None:
    """The whole number that a public scalar is, or None: `3`, `6 / 2`, a folded constant of kind int; not `3.0`."""
    meaning = public(meaning)
    if isinstance(meaning, bool):
        return None
    if isinstance(meaning, int):
        return meaning
    if isinstance(meaning, Fraction) and meaning.denominator == 1:
        return meaning.numerator
    return None


def real(meaning: object) -> float | None:
    """The float64 that a public scalar is, or None if it is not a scalar."""
    meaning = public(meaning)
    if isinstance(meaning, NUMBERS):
        return float(meaning)
    return None


def entries(meaning: object) -> Table | None:
    """The entries of a public list along its first axis, or None if it is not a list."""
    if isinstance(meaning, tuple):
        return meaning
    if isinstance(meaning, Value) and isinstance(meaning.op, Constant) and meaning.rank > 0:
        return _as_table(meaning.array.tolist())
    return None


def public(meaning: object) -> object:
    """A constant scalar of the graph as the number it is; everything else as it was."""
    if isinstance(meaning, Value) and isinstance(meaning.op, Constant) and meaning.rank == 0:
        scalar: Number = meaning.array.item()
        return scalar
    return meaning


def flat(meaning: object) -> object:
    """Numbers and tables as plain Python numbers and nested tuples of them: exact quotients become whole or float64."""
    if isinstance(meaning, tuple):
        return tuple(flat(each) for each in meaning)
    if isinstance(meaning, Fraction):
        return float(meaning)
    return meaning


def as_constant(meaning: Number | Table) -> Value:
    """The constant tensor of a number or table. Raises OpError for numbers beyond int64, and for tables too large."""
    expect_constant(table_shape(meaning))
    array = np.asarray(flat(meaning))
    if array.dtype == np.object_ or array.dtype == np.uint64:
        help = "write it with a decimal point if it is a fixed number"
        raise OpError("a whole number beyond 2^63 does not fit in a tensor", help)
    return constant(array)


def describe_number(value: Number) -> str:
    """The number as a message shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Fraction):
        return str(value) if value.denominator == 1 else f"{float(value):.6g}"
    return str(value) if isinstance(value, int) else f"{value:.6g}" if value != int(value) else f"{value:.1f}"


def _as_table(nested: list[Any]) -> Table:
    return tuple(_as_table(each) if isinstance(each, list) else each for each in nested)


def _plain(value: Number) -> int | float | Fraction:
    return int(value) if isinstance(value, bool) else value


def _quotient(left: int | float | Fraction, right: int | float | Fraction) -> Number:
    if right == 0:
        raise NumberError("division by zero", "the divisor is known here: correct it")
    if isinstance(left, float) or isinstance(right, float):
        return float(left) / float(right)
    return Fraction(left) / Fraction(right)


def _bounded(value: Any) -> Number:
    if isinstance(value, float) and not math.isfinite(value):
        raise _too_large()
    if not isinstance(value, float) and _bits(value) > MAX_BITS:
        raise _too_large()
    number: Number = value
    return number


def _bits(value: int | Fraction) -> int:
    if isinstance(value, Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length())
    return value.bit_length()


def _too_large() -> NumberError:
    return NumberError("the number is too large to compute", "public numbers are exact or float64")


_ARITHMETIC: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.ADD: operator.add,
    Operator.SUB: operator.sub,
    Operator.MUL: operator.mul,
}

_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_EQUAL: operator.ge,
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
}
