"""What users pass as an array, made one; and what a person would say of one that does not fit.

Arrays of other libraries are taken as they come: a PyTorch tensor on a GPU or with a gradient, a pandas table, lists of
numbers. No such library is imported. `fixed_point.py` and `roles/inputs.py` check values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InputError

__all__ = ["arrays", "as_array", "check_keys", "range_hint", "shape_problem"]

Array = np.ndarray
Shape = tuple[int, ...]

BATCH = "batch"
NEEDS_A_BATCH = "fit"  # of the calls that take any number of rows, the one that leaves out what fills no batch
LARGEST_BYTE = 255  # pixels come as bytes more often than not
SHOWN_CHARACTERS = 40  # of an entry that is not a number


def as_array(name: str, value: Any) -> Array:
    """The value as an array of numbers, copied only where it must be.

    Raises InputError, naming the tensor and the first bad entry, for text, missing entries, rows of different
    lengths and everything else that NumPy cannot read as numbers.
    """
    if isinstance(value, str):
        raise InputError(
            f"{name}: expected numbers, found the text {_short(value)}; read a file first, as np.load does"
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise InputError(f"{name}: expected numbers, found masked entries; fill them first, as value.filled(0) does")
    try:
        array = np.asarray(_on_this_machine(value))
    except Exception as error:  # whatever another library's conversion raises
        what = "rows of different lengths" if "inhomogeneous" in str(error) else f"{type(value).__name__}: {error}"
        raise InputError(f"{name}: expected an array of numbers, found {what}") from None
    if array.dtype.name == "bfloat16":  # of ml_dtypes, which NumPy does not count among its numbers
        return array.astype(np.float32)
    return _of_objects(name, array) if array.dtype == object else array


def _on_this_machine(value: Any) -> Any:
    """A PyTorch tensor without its gradient, in this machine's memory, of a type that NumPy has; else the value."""
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    tensor = value.detach().cpu()
    return tensor.float() if str(getattr(tensor, "dtype", "")) == "torch.bfloat16" else tensor


def _of_objects(name: str, array: Array) -> Array:
    """float64 of an array of Python's numbers, as a table with columns of several types gives it."""
    for index, entry in np.ndenumerate(array):
        if not isinstance(entry, (Real, Decimal, np.bool_)):
            help = "; make it dense first: value.toarray()" if hasattr(entry, "toarray") else ""
            raise InputError(f"{name}{list(index) or ''}: expected a number, found {_short(entry)}{help}")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise InputError(f"{name}: expected numbers, found one that is too large even for float64") from None


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, type(None))) else f"{type(value).__name__} {value}"
    first = text.split("\n")[0]
    return first if len(first) <= SHOWN_CHARACTERS else first[:SHOWN_CHARACTERS] + "…"


def shape_problem(
    name: str, expected: Shape, found: Shape, dims: Sequence[str] = (), kind: str = "fixed", many: str = ""
) -> str:
    """The message about a wrong shape, with what may have happened. dims: the dim's name of each axis, or ""; many:
    what the caller may call instead, with any number of rows."""
    last = name.rpartition(".")[2]
    called = last if last.isidentifier() else "x"
    hint = _shape_hint(called, expected, found, bool(dims) and dims[0] == BATCH, kind, many)
    return f"{name}: expected shape {list(expected)}, found {list(found)}" + (f"; {hint}" if hint else "")


def _shape_hint(x: str, expected: Shape, found: Shape, batched: bool, kind: str, many: str) -> str:
    if batched and len(found) == len(expected) and found[0] == 0:
        return "there are no rows"
    rows = found[0] if len(found) == len(expected) else 1
    if batched and many == NEEDS_A_BATCH and rows < expected[0]:
        many = ""
    if batched and len(found) == len(expected) and found[0] != expected[0]:
        other = _layout_hint(x, (found[0], *expected[1:]), found, batched, kind)
        if found[1:] == expected[1:] or other:
            takes = f"{many} takes any number of rows, and " if many else ""
            help = f'{takes}dims={{"batch": {rows}}} compiles for so many'
            return f"{other}; {help}" if other else help
    if batched and expected[0] > 1 and found == expected[1:]:
        takes = f"; {many} takes any number of them: {x}[None]" if many else ""
        return f"one row? the plan is for {expected[0]}{takes}"
    return _layout_hint(x, expected, found, batched, kind)


def _layout_hint(x: str, expected: Shape, found: Shape, batched: bool, kind: str) -> str:
    """What turns `found` into `expected`, if it is one of the things that happen to people."""
    rank = len(expected)
    if expected[:1] == (1,) and found == expected[1:]:
        return f"add the first axis{', the batch' if batched else ''}: {x}[None]"
    if rank == 2 and found == expected[::-1]:
        return f"transposed? give {x}.T"
    if rank > 2 and found == (expected[0], *expected[2:], expected[1]):
        return f"channels last? give np.moveaxis({x}, -1, 1)"
    if rank > 2 and expected[0] == 1 and found == (*expected[2:], expected[1]):
        return f"channels last and no batch? give np.moveaxis({x}, -1, 0)[None]"
    if rank > 2 and found == (*expected[2:], expected[1], expected[0]):
        return f"kernel axes first? give np.moveaxis({x}, [-1, -2], [0, 1])"
    if rank > 2 and expected[1] == 1 and found == (expected[0], *expected[2:]):
        return f"add the channel axis: {x}[:, None]"
    if kind == "int" and found[:-1] == expected and found[-1] > 1:
        return f"one-hot? give the numbers of the classes: np.argmax({x}, axis=-1)"
    if found != expected and np.prod(found, dtype=object) == np.prod(expected, dtype=object):
        return f"as many numbers; if their order is the same, np.reshape({x}, {list(expected)})"
    return ""


def range_hint(array: Array, lo: float, hi: float) -> str:
    """What may have happened to an array with entries outside [lo, hi], "" if nothing comes to mind."""
    if not (0 < hi <= 1 and lo >= -1):
        return ""
    pixels = bool(array.min() >= 0 and 1 < array.max() <= LARGEST_BYTE and (array == np.rint(array)).all())
    return f"pixels from 0 to {LARGEST_BYTE}? divide by {LARGEST_BYTE}" if pixels else ""


def check_keys(values: Mapping[Any, Any], what: str) -> None:
    """InputError unless all keys are texts."""
    for name in values:
        if not isinstance(name, str):
            raise InputError(f"{what}: expected names that are texts, found {_short(name)}")


def arrays(values: Any, what: str) -> dict[str, Array]:
    """By name, as `as_array`; InputError for what is no mapping."""
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise InputError(f"{what}: expected a dict, name to array, found {type(values).__name__}")
    check_keys(values, what)
    return {name: as_array(name, value) for name, value in values.items()}
