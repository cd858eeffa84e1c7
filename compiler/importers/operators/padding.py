"""Padding of every mode, as the language's `pad`, slices and gathers of known indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.graph import Kind
from compiler.importers.nodes import Node, Result, Undecided, axis_at
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, table

Sides = tuple[tuple[int, int], ...]


def pad(node: Node) -> Result:
    x = node.term()
    pads = node.integers("pads", 1) or node.integers("paddings", 1) or []
    axes = node.integers("axes", 3) if node.has(3) else None
    axes = list(range(x.rank)) if axes is None else [axis_at(axis, x.rank) for axis in axes]
    sides = [(0, 0)] * x.rank
    for place, axis in enumerate(axes):
        sides[axis] = (pads[place], pads[place + len(axes)])
    mode = node.attribute("mode", b"constant").decode()
    if mode == "constant":
        return padded(x, tuple(sides), node.number("value", 2, 0.0) or 0.0)
    for axis, (before, behind) in enumerate(sides):
        if before or behind:
            x = _taken(x, axis, before, behind, mode)
    return x


def padded(x: Term, sides: Sides, value: float = 0.0) -> Term:
    """Constant padding; below 0, so much less."""
    if any(min(each) < 0 for each in sides):
        kept = [slice(-b if b < 0 else None, a if a < 0 else None) for b, a in sides]
        x = index(x, *kept)
        sides = tuple((max(b, 0), max(a, 0)) for b, a in sides)
    if not any(map(any, sides)):
        return x
    number = int(value) if value == int(value) else value
    if x.kind is Kind.FIXED and number:
        number = float(number)
    return call("pad", x, widths=sides, value=number or None)


def _taken(x: Term, axis: int, before: int, behind: int, mode: str) -> Term:
    """An axis that grows by elements of its own."""
    size = x.shape[axis].fixed
    places = np.arange(-before, size + behind)
    if mode == "edge":
        places = np.clip(places, 0, size - 1)
    elif mode == "wrap":
        places = places % size
    elif mode == "reflect":
        period = max(2 * (size - 1), 1)
        places = np.abs((places + size - 1) % period - (size - 1)) if size > 1 else places * 0
    else:
        raise Unsupported(f"the padding mode {mode}", "constant, edge, reflect and wrap are supported")
    return taken(x, places, axis)


def taken(x: Term, places: Sequence[int] | np.ndarray, axis: int) -> Term:
    """The elements at these places of an axis; a run of them is a slice."""
    found = np.asarray(places, np.int64)
    size = x.shape[axis]
    if not size.is_fixed and found.max(initial=0) >= min(size.values):
        raise Undecided
    steps = set(np.diff(found).tolist())
    if len(found) > 1 and len(steps) == 1 and (step := steps.pop()) > 0:
        stop = int(found[-1]) + 1
        ends = size.is_fixed and stop >= size.fixed
        if ends and found[0] == 0 and step == 1:
            return x
        part = slice(int(found[0]) or None, None if ends else stop, step if step > 1 else None)
        return index(x, *[slice(None)] * axis, part)
    return call("gather", x, table(found, len(x.values)), axis=axis or None)
