"""The plaintext meaning of a model in float64: what the private result is compared with, and how clients prepare.

Nothing is rounded to the number format, with one exception: comparisons compare what is stored, so both sides are
rounded to the nearest step first. Ranges are not checked here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from compiler.graph import Array, Graph, Input, Leaf, Param, Precision, Prepared, Value, topological
from compiler.graph.interval import Interval
from compiler.ops.comparisons import Comparison
from compiler.ops.rules import show
from compiler.reading.formula import formula

Arrays = Mapping[str, Array]


def evaluate(graph: Graph, inputs: Arrays, params: Arrays) -> dict[str, Array]:
    """The outputs by name: float64, int64 or bool arrays of the outputs' shapes.

    `inputs` and `params` are by key; the value of an array role is stacked along its first axis. Raises KeyError for a
    missing key and ValueError for a wrong shape.
    """
    leaf = leaf_values(graph, inputs, params)
    results = evaluate_values([output.value for output in graph.outputs], leaf, graph.precision)
    return {output.name: result for output, result in zip(graph.outputs, results, strict=True)}


def leaf_values(graph: Graph, inputs: Arrays, params: Arrays) -> Callable[[Leaf], Array]:
    """The array of each leaf of the graph: what is provided, and what an owner prepares from it."""
    prepared: dict[int, Array] = {}

    def leaf(op: Leaf) -> Array:
        if not isinstance(op, Prepared):
            return provided(op, inputs, params)
        if op.index not in prepared:
            preparation = graph.prepared[op.index].value
            prepared[op.index] = evaluate_values([preparation], leaf, graph.precision)[0]
        return prepared[op.index]

    return leaf


def provided(op: Leaf, inputs: Arrays, params: Arrays) -> Array:
    """The array of an Input or Param, in the plaintext type of its kind."""
    assert isinstance(op, (Input, Param))
    source, what = (inputs, "input") if isinstance(op, Input) else (params, "parameter")
    key = op.key
    if key not in source:
        raise KeyError(f"the {what} {key!r} is missing; expected {show(op.shape)}")
    array = np.asarray(source[key])
    for position in op.index_path:
        array = array[position]
    if array.shape != op.shape:
        raise ValueError(f"the {what} {key!r} expects {show(op.shape)}, found {show(array.shape)}")
    return array.astype(op.kind.dtype)


class BrokenPromise(ValueError):
    """A prepared number lies outside what the model promises: what it is, where, and what its owner can do."""


def prepare_value(value: Value, leaf: Callable[[Leaf], Array], precision: Precision) -> Array:
    """What a client shares for `Preparation.value`; raises BrokenPromise where a declared range does not hold.

    The promises inside the expression are checked too, to half a step, and NaN and infinity are refused.
    """
    promised = [below for below in topological([value]) if below.declared is not None and below is not value]
    arrays = evaluate_values([*promised, value], leaf, precision)
    for node, array in zip([*promised, value], arrays, strict=True):
        allowed = node.declared or precision.format_range(node.kind)
        wider = allowed.widened(precision.step / 2)
        wrong = ~((array >= wider.lo) & (array <= wider.hi))
        if wrong.any():
            raise BrokenPromise(_broken(node, allowed, array, wrong))
    return arrays[-1]


def _broken(value: Value, allowed: Interval, array: Array, wrong: Array) -> str:
    """The message, in the form of those about the tensors that an owner provides."""
    index = tuple(int(axis) for axis in np.argwhere(wrong)[0])
    more = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
    made, found = formula(value), float(array[index])
    called = value.name or f"({made})"
    where = f"{called}{show(index) if index else ''}"
    what = f"; {called} is {made}" if value.name and value.args else ""
    remedy = _remedy(value, allowed, array)
    return f"{where}: expected a value in {allowed}, found {found:g}{more}{what}; {remedy}"


def _remedy(value: Value, allowed: Interval, array: Array) -> str:
    """What to do about numbers that were found outside."""
    if not np.isfinite(array).all():
        return "is there a division by zero, or a root or logarithm of a negative number?"
    if value.declared is None:
        return "the number format holds no more: scale the values down"
    wide = allowed.hull(Interval(math.floor(array.min()), math.ceil(array.max())))
    layer, dot, _ = (value.name or "").partition(".")
    if dot:  # what a layer makes of its parameters has a path; the names of an author have none
        (role,) = value.owners
        return f"declare a wider range, `weights {layer} from {role} in {wide}`, or retrain"
    return f"let the model promise {wide}, or provide other values"


def evaluate_values(
    roots: Iterable[Value],
    leaf: Callable[[Leaf], Array],
    precision: Precision | None = None,
    seen: Callable[[Value, Array], None] = lambda value, array: None,
) -> list[Array]:
    """The arrays of `roots`; `leaf` gives those of all leaves but constants.

    With a `precision`, comparisons see fixed-point numbers as that format stores them. seen: is shown every value on
    the way, which is then dropped with its last use.
    """
    roots = list(roots)
    order = topological(roots)
    last_use = {arg: place for place, value in enumerate(order) for arg in value.args}
    arrays: dict[Value, Array] = {}
    keep = set(roots)
    for place, value in enumerate(order):
        args = [arrays[arg] for arg in value.args]
        if precision is not None and isinstance(value.op, Comparison):
            args = [_stored(arg, precision) for arg in args]
        if value.is_constant:
            arrays[value] = value.op.evaluate(*args)
        elif isinstance(value.op, Leaf):
            arrays[value] = leaf(value.op)
        else:
            arrays[value] = value.op.evaluate(*args)
        seen(value, arrays[value])
        for arg in set(value.args) - keep:
            if last_use[arg] == place:
                del arrays[arg]
    return [np.array(arrays[root]) for root in roots]


def _stored(array: Array, precision: Precision) -> Array:
    if array.dtype != np.float64:
        return array
    return np.rint(array * 2.0**precision.frac)
