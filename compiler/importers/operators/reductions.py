"""Reductions, softmax, and what is found by comparing along an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Kind
from compiler.importers.nodes import Node, Result, axis_at
from compiler.importers.operators.shapes import permuted
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import product
from compiler.importers.terms import Term, call, index, table

FLATTENS_BEFORE = 13  # the version until which softmax joins all axes from its own on
MAX_FACTORS = 64  # of a product over an axis
MAX_SUMMED = 512  # of a running sum, whose table is its square


def reduced(name: str, before: str | None = None, after: str | None = None) -> Callable[[Node], Result]:
    """A reduction of the language, perhaps with a function before or after it."""

    def build(node: Node) -> Result:
        x = node.term()
        axes, keeps = _axes(node, x)
        if axes is not None and not axes:
            return x if before is None and after is None else _wrapped(x, before, after)
        x = call(before, x) if before else x
        whole = axes is None or len(axes) == x.rank
        axis = None if axes is None or (whole and not keeps) else axes[0] if len(axes) == 1 else axes
        found = call(name, x, axis=axis, keepdims=keeps or None)
        return call(after, found) if after else found

    return build


def _wrapped(x: Term, before: str | None, after: str | None) -> Term:
    x = call(before, x) if before else x
    return call(after, x) if after else x


def _axes(node: Node, x: Term) -> tuple[tuple[int, ...] | None, bool]:
    """The axes, None for all of them, and whether they stay with size 1. () means that nothing is reduced."""
    axes = node.integers("axes", 1)
    keeps = bool(node.attribute("keepdims", 1))
    if not axes:
        return (() if node.attribute("noop_with_empty_axes", 0) else None), keeps
    return tuple(sorted(axis_at(axis, x.rank) for axis in axes)), keeps


def log_sum_exp(node: Node) -> Result:
    """From the maximum: log_softmax says how far each lies below."""
    x = node.term()
    axes, keeps = _axes(node, x)
    chosen = tuple(range(x.rank)) if axes is None else axes
    if not chosen:
        return x
    top = call("max", x, axis=chosen, keepdims=True)
    total = call("log", call("sum", call("exp", call("-", x, top)), axis=chosen, keepdims=True))
    found = call("+", total, top)
    return found if keeps else call("squeeze", found, axis=chosen)


def product_of(node: Node) -> Result:
    """Halves multiplied with each other."""
    x = node.term()
    axes, keeps = _axes(node, x)
    for axis in range(x.rank) if axes is None else axes:
        count = x.shape[axis].fixed
        if count > MAX_FACTORS:
            raise Unsupported(f"a product of {count} numbers", f"at most {MAX_FACTORS} are supported")
        while count > 1:
            half = count // 2
            lead = [slice(None)] * axis
            joined = call("*", index(x, *lead, slice(None, half)), index(x, *lead, slice(half, 2 * half)))
            rest = [index(x, *lead, slice(2 * half, None))] if count % 2 else []
            x = call("concat", joined, *rest, axis=axis) if rest else joined
            count = half + count % 2
    if keeps or x.rank == 0:
        return x
    return call("squeeze", x, axis=tuple(range(x.rank)) if axes is None else axes)


def extreme(name: str) -> Callable[[Node], Result]:
    """The index of the first of the largest; of the last, counted from behind."""

    def build(node: Node) -> Result:
        x = node.term()
        axis = axis_at(int(node.attribute("axis", 0)), x.rank)
        last = bool(node.attribute("select_last_index", 0))
        if last:
            x = index(x, *[slice(None)] * axis, slice(None, None, -1))
        found = call(name, x, axis=axis)
        if last:
            found = call("-", x.shape[axis].fixed - 1, found)
        return call("unsqueeze", found, axis=axis) if node.attribute("keepdims", 1) else found

    return build


def softmax(name: str) -> Callable[[Node], Result]:
    def build(node: Node) -> Result:
        x = node.term()
        if node.opset >= FLATTENS_BEFORE:
            axis = axis_at(int(node.attribute("axis", -1)), x.rank)
            return call(name, x, axis=None if axis == x.rank - 1 else axis)
        axis = axis_at(int(node.attribute("axis", 1)), x.rank)
        rest = x.shape[axis:]
        large = [place for place, size in enumerate(rest) if not (size.is_fixed and size.fixed == 1)]
        if len(large) <= 1:
            along = axis + large[0] if large else axis
            return call(name, x, axis=None if along == x.rank - 1 else along)
        flat = call("reshape", x, shape=(*x.shape[:axis], product(rest, node.trials)))
        return call("reshape", call(name, flat), shape=x.shape)

    return build


def running_sum(node: Node) -> Result:
    """`cumsum`; one that leaves out the element itself, or starts at the end, is a product with a triangle of ones."""
    x = node.term()
    axis = axis_at(int(node.array(1, "the axis").reshape(-1)[0]), x.rank)
    exclusive, turned = bool(node.attribute("exclusive", 0)), bool(node.attribute("reverse", 0))
    count = x.shape[axis].fixed
    if count > MAX_SUMMED:
        raise Unsupported(f"a running sum of {count} numbers", f"at most {MAX_SUMMED} are supported")
    if not exclusive and not turned:
        return call("cumsum", x, axis=None if axis == x.rank - 1 else axis)
    ones = np.triu(np.ones((count, count), np.int64), 1 if exclusive else 0)
    triangle = table(ones.T if turned else ones, node.trials)
    if x.rank == 1:
        return call("matmul", x, triangle)
    order = [*(a for a in range(x.rank) if a != axis), axis]
    back = list(range(x.rank - 1))
    back.insert(axis, x.rank - 1)
    return permuted(call("matmul", permuted(x, order), triangle), back)


def top_k(node: Node) -> Result:
    """The largest (or smallest), in order, and where they are."""
    x = node.term()
    axis = axis_at(int(node.attribute("axis", -1)), x.rank)
    k = int(node.attributes["k"]) if "k" in node.attributes else int(node.array(1, "k").reshape(-1)[0])
    order = [*(a for a in range(x.rank) if a != axis), axis]
    back = list(range(x.rank - 1))
    back.insert(axis, x.rank - 1)
    moved = permuted(x, order)
    smallest = not node.attribute("largest", 1)
    moved = call("neg", moved) if smallest else moved
    values, places = call("topk", moved, k=k), call("argtopk", moved, k=k)
    values = call("neg", values) if smallest else values
    return permuted(values, back), permuted(places, back)


def hardmax(node: Node) -> Result:
    x = node.term()
    axis = axis_at(int(node.attribute("axis", -1 if node.opset >= FLATTENS_BEFORE else 1)), x.rank)
    if node.opset < FLATTENS_BEFORE and axis != x.rank - 1:
        raise Unsupported("hardmax over joined axes", "export with opset 13 or later")
    bits = call("one_hot", call("argmax", x, axis=axis), n=x.shape[axis].fixed)
    back = list(range(x.rank - 1))
    back.insert(axis, x.rank - 1)
    bits = permuted(bits, back)
    return call("*", bits, 1.0) if x.kind is Kind.FIXED else call("*", bits, 1)


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "ReduceSum": reduced("sum"),
    "ReduceMean": reduced("mean"),
    "ReduceMax": reduced("max"),
    "ReduceMin": reduced("min"),
    "ReduceProd": product_of,
    "ReduceSumSquare": reduced("sum", before="square"),
    "ReduceL1": reduced("sum", before="abs"),
    "ReduceL2": reduced("sum", before="square", after="sqrt"),
    "ReduceLogSum": reduced("sum", after="log"),
    "ReduceLogSumExp": log_sum_exp,
    "ArgMax": extreme("argmax"),
    "ArgMin": extreme("argmin"),
    "Softmax": softmax("softmax"),
    "LogSoftmax": softmax("log_softmax"),
    "Hardmax": hardmax,
    "CumSum": running_sum,
    "TopK": top_k,
}
