"""Checks of the arrays that a caller hands to a kernel. The kernels themselves check nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray


def array(
    name: str, x: object, shape: tuple[int, ...] | None = None, dtype: DTypeLike = np.uint64, *, writable: bool = False
) -> NDArray:
    """`x` itself, if it is a C-contiguous array of `dtype` and, where `shape` is given, of that shape.

    Raises ValueError that names the argument, what was expected and what was found.
    """
    if not isinstance(x, np.ndarray) or x.dtype != dtype:
        found = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name}: expected an array of {np.dtype(dtype)}, found {found}")
    if shape is not None and x.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(f"{name}: expected a C-contiguous array, found strides {x.strides}; pass a copy")
    if writable and not x.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, found a read-only one")
    return x


def between(name: str, value: int, low: int, high: int) -> int:
    """`value`, if low <= value <= high; ValueError otherwise."""
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {low} .. {high}, found {value}")
    return value
