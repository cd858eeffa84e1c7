"""Numbers as ring elements: fixed point in two's complement mod 2^64, whole numbers, bits.

`encode` is where an owner's contract `in [lo, hi]` is checked, before anything is shared; `decode` is its inverse on
what the roles rebuild. Leaves sharing and packing to `sharing.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import InputError, number
from ..plan import Norm
from .arrays import as_array, range_hint, shape_problem

__all__ = ["check", "check_norm", "decode", "encode", "first_index"]

Array = np.ndarray

DTYPE_KINDS = "biuf"  # bool, signed, unsigned, float; complex, text and objects are refused
DIGITS = (6, 9, 17)  # of numbers in messages: more where fewer would not tell them apart
RESULT_TYPES = {"fixed": np.float64, "int": np.int64, "bit": np.bool_}


def check(
    name: str,
    values: Any,
    kind: str,
    shape: tuple[int, ...],
    lo: float,
    hi: float,
    scale: int,
    dims: tuple[str, ...] = (),
    *,
    measured: bool = True,
    many: str = "",
) -> Array:
    """The values as an array of `shape`: float64 for "fixed", int64 for "int" and "bit".

    Raises InputError, naming the tensor, what was expected and the first bad index, for another shape, a type that is
    no number, NaN and infinity, fractions where whole numbers are expected, and values that are outside [lo, hi] after
    rounding to `scale` fraction bits (so a float32 0.1 is inside [0, 0.1]). dims: the dim's name of each axis, or "";
    measured: whether they may be pixels, which parameters are not; many: as of `shape_problem`.
    """
    array = as_array(name, values)
    if array.dtype.kind not in DTYPE_KINDS:
        found = (
            f"text, such as {str(array.reshape(-1)[0])!r}" if array.dtype.kind in "US" and array.size else array.dtype
        )
        raise InputError(f"{name}: expected numbers, found {found}")
    if array.shape != shape:
        raise InputError(shape_problem(name, shape, array.shape, dims, kind, many))
    if kind == "fixed" and _within(array, lo, hi, scale):
        return array.astype(np.float64, copy=False)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        bad = ~finite
        raise InputError(f"{name}{first_index(bad)}: expected a finite number, found {_value(array, bad)}{_more(bad)}")
    if kind == "fixed":
        array = array.astype(np.float64, copy=False)
        step = 2.0**-scale
        low, high = lo - step / 2, hi + step / 2
    else:
        if array.dtype.kind == "f" and (fraction := array != np.rint(array)).any():
            raise InputError(
                f"{name}{first_index(fraction)}: expected {'0 or 1' if kind == 'bit' else 'a whole number'}, "
                f"found {_value(array, fraction)}"
            )
        low, high = (0.0, 1.0) if kind == "bit" else (lo, hi)
    if (outside := (array < low) | (array > high)).any():
        low_text, high_text, found_text = _apart(lo, hi, array.reshape(-1)[int(outside.reshape(-1).argmax())])
        range_text = "0 or 1" if kind == "bit" else f"a value in [{low_text}, {high_text}]"
        hint = range_hint(array, lo, hi) if kind == "fixed" and measured else ""
        help = f"; {hint}" if hint else ""
        raise InputError(
            f"{name}{first_index(outside)}: expected {range_text}, found {found_text}{_more(outside)}{help}"
        )
    return array if kind == "fixed" else array.astype(np.int64)


def _within(array: Array, lo: float, hi: float, scale: int) -> bool:
    """Whether all elements are within a finite range, which is found out at once; not where one is no number."""
    if not array.size or not (math.isfinite(lo) and math.isfinite(hi)):
        return False
    half = 2.0 ** -(scale + 1)
    return lo - half <= float(array.min()) and float(array.max()) <= hi + half


def check_norm(name: str, weights: Array, norm: Norm, scale: int) -> None:
    """Raises InputError, naming the output, where the magnitudes of its weights sum to more than `norm` allows."""
    stored = np.abs(np.rint(np.ldexp(weights, scale)))
    parts = stored.reshape(1 if norm.outputs == 0 else norm.groups, -1, *stored.shape[1:])
    rest = tuple(axis for axis in range(parts.ndim) if axis not in (0, norm.outputs + 1))
    sums = np.ldexp(parts.sum(axis=rest), -scale).reshape(-1)
    if sums.max() > norm.l1:
        worst = int(sums.argmax())
        raise InputError(
            f"{name}: expected weights of an output whose magnitudes sum to at most {number(norm.l1)}, found "
            f"{number(sums[worst])} for output {worst}; declare a larger one, `with l1({math.ceil(sums[worst])})`"
        )


def encode(values: Array, scale: int) -> Array:
    """Ring elements mod 2^64 of checked values: rounded to the nearest multiple of 2^-scale (ties to even)."""
    if values.dtype.kind == "f":
        scaled = values * 2.0**scale  # exact, as it is a power of two
        values = np.rint(scaled, out=scaled if scaled.ndim else None).astype(np.int64)
    elif scale:
        values = values.astype(np.int64) << scale
    return np.asarray(values, np.int64, order="C").view(np.uint64)


def decode(words: Array, bits: int, scale: int, kind: str) -> Array:
    """Numbers from ring elements mod 2^bits, as an array: float64 for "fixed", int64 for "int", bool for "bit"."""
    if kind == "bit":
        return np.asarray(words & np.uint64(1), np.bool_)
    spare = 64 - bits
    signed = (words << np.uint64(spare)).view(np.int64) >> spare if spare else words.view(np.int64)
    if kind == "int":
        return np.asarray(signed >> scale if scale else signed)
    return np.asarray(signed.astype(np.float64) * 2.0**-scale)


def first_index(bad: Array) -> str:
    """The index of the first True, as Python writes it: "[3, 0]"; empty for a scalar."""
    if not bad.ndim:
        return ""
    return str([int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape)])


def _more(bad: Array) -> str:
    return f" (and {n - 1} more)" if (n := int(bad.sum())) > 1 else ""


def _apart(lo: float, hi: float, found: Any) -> list[str]:
    """A range and a number outside of it in so many digits that one sees that it is."""
    for digits in DIGITS:
        texts = [f"{value:.{digits}g}" for value in (lo, hi, found)]
        if texts[2] not in texts[:2]:
            break
    return texts


def _value(array: Array, bad: Array) -> str:
    return f"{array.reshape(-1)[int(bad.reshape(-1).argmax())]:g}"
