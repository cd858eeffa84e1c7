"""Values of an ONNX graph that do not depend on its inputs' elements: weights, constants, and arithmetic on shapes.

They are computed by ONNX's own reference evaluator, once for each trial of the free dims where they depend on these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from compiler.graph import Array
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size, Undecided
from compiler.importers.terms import Term, call, table, weight

HUGE = 1e9
"""Beyond this a number stands for infinity: bounds that bind nothing, and what masks add to scores before a softmax."""

DECIMALS = 64  # numbers of single precision that are written by their shortest decimals


@dataclass(frozen=True, eq=False)
class Known:
    """An array in each trial. `weight` says whether it holds the owner's numbers, which stay secret."""

    arrays: tuple[Array, ...]
    hint: str = ""
    weight: bool = False

    @classmethod
    def same(cls, array: Any, trials: int, hint: str = "", weight: bool = False) -> Known:
        return cls((np.asarray(array),) * trials, hint, weight)

    @classmethod
    def sizes(cls, sizes: Sequence[Size], trials: int) -> Known:
        """A list of sizes, as ONNX's int64."""
        return cls(tuple(np.array([size.values[t] for size in sizes], np.int64) for t in range(trials)))

    @property
    def is_same(self) -> bool:
        """Whether it depends on no free dim."""
        first = self.arrays[0]
        return all(each is first or _equal(first, each) for each in self.arrays[1:])

    @property
    def array(self) -> Array:
        """The array in every trial; raises Undecided when it depends on a free dim."""
        if not self.is_same:
            raise Undecided
        return self.arrays[0]

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    @property
    def shape(self) -> tuple[Size, ...]:
        """Raises Undecided where the number of axes depends on a free dim."""
        shapes = [array.shape for array in self.arrays]
        if len(set(map(len, shapes))) > 1:
            raise Undecided
        return tuple(map(Size, zip(*shapes, strict=True)))

    def size_list(self) -> list[Size]:
        """The elements of a list of whole numbers."""
        columns = [array.reshape(-1).tolist() for array in self.arrays]
        if len({len(column) for column in columns}) > 1:
            raise Undecided
        return [Size(tuple(map(int, entry))) for entry in zip(*columns, strict=True)]


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def is_weight(array: Array) -> bool:
    """Whether a constant of the graph is taken for the owner's: more than one real number, none of them infinite."""
    return array.dtype.kind == "f" and array.size > 1 and bool((np.abs(array) < HUGE).all())


def fold(proto: Any, inputs: Sequence[Known | None], opsets: Mapping[str, int], trials: int) -> list[Known]:
    """What a node of known inputs gives. Raises Unsupported when it cannot be computed."""
    given = {name: known for name, known in zip(proto.input, inputs, strict=True) if known is not None}
    if proto.op_type == "CumSum":  # PyTorch's axis is a list of one
        axis = given[proto.input[1]]
        given[proto.input[1]] = Known(tuple(array.reshape(()) for array in axis.arrays))
    ends = [[helper.make_empty_tensor_value_info(name) for name in names if name] for names in (given, proto.output)]
    graph = helper.make_graph([proto], "fold", ends[0], ends[1])
    try:
        evaluator = ReferenceEvaluator(graph, opsets={proto.domain: 1} | dict(opsets))
    except Exception as error:  # of an operator that it does not know in that version
        raise Unsupported(f"it cannot be computed ahead of time: {error}") from None
    once = all(known.arrays[0] is each for known in given.values() for each in known.arrays)
    results = []
    for trial in range(1 if once else trials):
        try:
            with np.errstate(all="ignore"):
                results.append(evaluator.run(None, {name: known.arrays[trial] for name, known in given.items()}))
        except Exception as error:  # noqa: PERF203
            raise Unsupported(f"it cannot be computed ahead of time: {error}") from None
    if once:
        results *= trials
    owned = next((known for known in given.values() if known.weight), None)
    found = []
    for arrays in zip(*results, strict=True):
        real = np.asarray(arrays[0]).dtype.kind == "f"
        mine = owned is not None and real
        found.append(Known(tuple(map(readable, arrays)), owned.hint if mine and owned else "", mine))
    return found


def readable(array: Any) -> Array:
    """NumPy has no bfloat16: its numbers are held in single precision."""
    found = np.asarray(array)
    return np.asarray(found.astype(np.float32)) if found.dtype.kind == "V" else found


def to_term(known: Known, trials: int) -> Term:
    """A parameter of the owner, or public numbers; raises Undecided where they depend on a free dim."""
    return spread(to_broadcast(known, trials), known.shape)


def spread(x: Term, sizes: Sequence[Size]) -> Term:
    """Broadcast to a shape."""
    return x if tuple(sizes) == x.shape else call("broadcast_to", x, shape=tuple(sizes))


def to_broadcast(known: Known, trials: int) -> Term:
    """As `to_term`, for an operand beside another that has its axes: one of free size along which all is alike gets
    the size 1."""
    array = _shrunk(known)
    if array.dtype.kind not in "fiub":
        raise Unsupported("it holds text, not numbers")
    if array.dtype.kind == "f" and not (np.abs(array) < HUGE).all():
        raise Unsupported("a constant is infinite", "only masks before a softmax, and bounds, may be")
    if array.dtype.kind == "f" and array.size > 1 and known.weight:
        return weight(array, trials, known.hint)
    return table(plain(array), trials, known.hint)


def term_of(value: Term | Known, trials: int) -> Term:
    return value if isinstance(value, Term) else to_term(value, trials)


def plain(array: Array) -> Array:
    """float64, int64 or bool; single precision by its shortest decimals."""
    if array.dtype.kind == "f":
        if array.dtype.itemsize >= 8 or array.size > DECIMALS:
            return np.asarray(array.astype(np.float64))
        text = [float(str(value)) for value in array.reshape(-1)]
        return np.asarray(np.array(text, np.float64).reshape(array.shape))
    return np.asarray(array.astype(np.int64 if array.dtype.kind in "iu" else np.bool_))


def scalar(known: Known) -> float | int | bool | None:
    """The one number that all elements are, or None."""
    flat = known.arrays[0].reshape(-1)
    if not flat.size or flat.dtype.kind not in "fiub" or known.weight:
        return None
    alike = all(array.size and (array == flat[0]).all() for array in known.arrays)
    if not alike:
        return None
    found: float | int | bool = plain(flat[:1])[0].item()
    return found


def _shrunk(known: Known) -> Array:
    if known.is_same:
        return known.arrays[0]
    arrays = list(known.arrays)
    for axis, size in enumerate(known.shape):
        if not size.is_fixed:
            arrays = [_alike(array, axis) for array in arrays]
    return Known(tuple(arrays)).array


def _alike(array: Array, axis: int) -> Array:
    first: Array = np.take(array, [0], axis) if array.shape[axis] else array
    if not array.shape[axis] or not bool((array == first).all()):
        raise Undecided
    return first


def is_huge(value: float) -> bool:
    return not math.isfinite(value) or abs(value) >= HUGE
