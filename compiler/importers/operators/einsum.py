"""Einstein's sums as transposes, one matrix product for two operands, and reshapes.

An axis of size 1 that is broadcast is taken out of its operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compiler.importers.known import Known, term_of
from compiler.importers.nodes import Node, Result
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size, product
from compiler.importers.terms import Term, call, layer, table


def einsum(node: Node) -> Result:
    """Operands are joined from the left, two at a time."""
    values = [node.value(place) for place in range(len(node.inputs))]
    inputs, output = _labels(node.attributes["equation"].decode(), [value.rank for value in values])
    values, inputs = _without_ones(*_without_diagonals(values, inputs))
    while len(values) > 2:
        later = set(output).union(*inputs[2:])
        between = "".join(dict.fromkeys(label for label in inputs[0] + inputs[1] if label in later))
        values = [_joined(values[0], values[1], inputs[0], inputs[1], between, node.trials), *values[2:]]
        inputs = [between, *inputs[2:]]
    if len(values) == 1:
        return _one(term_of(values[0], node.trials), inputs[0], output)
    return _joined(values[0], values[1], inputs[0], inputs[1], output, node.trials)


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result; those of an ellipsis are capital Greek letters."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    wide = max((rank - len(each) + 3 for each, rank in zip(inputs, ranks, strict=True) if "..." in each), default=0)
    dots = "".join(chr(0x0391 + place) for place in range(wide))
    spelled = []
    for each, rank in zip(inputs, ranks, strict=True):
        hidden = rank - len(each) + 3 if "..." in each else 0
        spelled.append(each.replace("...", dots[len(dots) - hidden :]))
    if not arrow:
        once = sorted(label for label in set(left) - set(".,") if left.count(label) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    if wide and "..." not in right:
        raise Unsupported(f"the result of the einsum {equation} lacks the `...`", "write `...` behind `->` too")
    return spelled, right.replace("...", dots)


def _without_diagonals(values: Sequence[Term | Known], inputs: Sequence[str]) -> tuple[list[Term | Known], list[str]]:
    """A label that an operand has twice takes a diagonal: the places on it, of the two axes as one."""
    kept, spelled = list(values), list(inputs)
    for place, labels in enumerate(inputs):
        for label in dict.fromkeys(labels):
            while spelled[place].count(label) > 1:
                kept[place], spelled[place] = _diagonal(kept[place], spelled[place], label)
    return kept, spelled


def _diagonal(value: Term | Known, labels: str, label: str) -> tuple[Term | Known, str]:
    """[diagonal, the other axes]."""
    axes = [place for place, each in enumerate(labels) if each == label][:2]
    others = [place for place in range(len(labels)) if place not in axes]
    spelled = label + "".join(labels[place] for place in others)
    if isinstance(value, Known):
        arrays = (np.moveaxis(np.diagonal(array, axis1=axes[0], axis2=axes[1]), -1, 0) for array in value.arrays)
        return replace(value, arrays=tuple(arrays)), spelled
    size = value.shape[axes[0]].fixed
    turned = call("transpose", value, axes=(*axes, *others))
    merged = product([value.shape[axis] for axis in axes], len(value.values))
    flat = call("reshape", turned, shape=(merged, *(value.shape[place] for place in others)))
    return call("gather", flat, table(np.arange(size) * (size + 1), len(value.values))), spelled


def _without_ones(values: Sequence[Term | Known], inputs: Sequence[str]) -> tuple[list[Term | Known], list[str]]:
    """Without axes of size 1 whose label has another size elsewhere: broadcast, they are as if they were not there."""
    wide: set[str] = set()
    for value, labels in zip(values, inputs, strict=True):
        wide.update(label for label, size in zip(labels, value.shape, strict=True) if set(size.values) != {1})
    kept, spelled = [], []
    for value, labels in zip(values, inputs, strict=True):
        sizes = zip(labels, value.shape, strict=True)
        ones = tuple(place for place, (label, size) in enumerate(sizes) if set(size.values) == {1} and label in wide)
        kept.append(_squeezed(value, ones) if ones else value)
        spelled.append("".join(label for place, label in enumerate(labels) if place not in ones))
    return kept, spelled


def _squeezed(x: Term | Known, axes: tuple[int, ...]) -> Term | Known:
    if isinstance(x, Known):
        return replace(x, arrays=tuple(np.squeeze(array, axes) for array in x.arrays))
    kept = tuple(size for place, size in enumerate(x.shape) if place not in axes)
    return call("reshape", x, shape=kept)


def _one(x: Term, labels: str, output: str) -> Term:
    return _ordered(_summed(x, labels, output), "".join(label for label in labels if label in output), output)


def _summed(x: Term, labels: str, keep: str) -> Term:
    """Summed over what nothing else has."""
    gone = tuple(axis for axis, label in enumerate(labels) if label not in keep)
    return call("sum", x, axis=gone) if gone else x


def _ordered(x: Term, labels: str, wanted: str) -> Term:
    axes = tuple(labels.index(label) for label in wanted)
    return x if axes == tuple(range(len(axes))) else call("transpose", x, axes=axes)


def _joined(a: Term | Known, b: Term | Known, left: str, right: str, output: str, trials: int) -> Term:
    """One matrix product, over the labels that both have."""
    if isinstance(a, Known):
        a, b, left, right = b, a, right, left
    assert isinstance(a, Term)
    if isinstance(b, Known) and b.weight:
        dense = _dense(a, b, left, right, output)
        if dense is not None:
            return dense
    b = term_of(b, trials)
    a, left = _summed(a, left, right + output), "".join(label for label in left if label in right + output)
    b, right = _summed(b, right, left + output), "".join(label for label in right if label in left + output)
    both = [label for label in left if label in right and label in output]
    inner = [label for label in left if label in right and label not in output]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    sizes = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    first = _matrix(_ordered(a, left, "".join(both + rows + inner)), both, rows, inner, sizes)
    second = _matrix(_ordered(b, right, "".join(both + inner + columns)), both, inner, columns, sizes)
    made = call("matmul", first, second)
    labels = "".join(both + rows + columns)
    return _ordered(_reshaped(made, [sizes[label] for label in labels]), labels, output)


def _matrix(x: Term, both: Sequence[str], rows: Sequence[str], columns: Sequence[str], sizes: dict[str, Size]) -> Term:
    """[*both, all rows, all columns]."""
    trials = len(x.values)
    merged = [product([sizes[label] for label in group], trials) for group in (rows, columns)]
    return _reshaped(x, [*(sizes[label] for label in both), *merged])


def _reshaped(x: Term, shape: Sequence[Size]) -> Term:
    return x if tuple(shape) == x.shape else call("reshape", x, shape=tuple(shape))


def _dense(a: Term, b: Known, left: str, right: str, output: str) -> Term | None:
    """A dense layer: known weights, whose labels are either summed over or of the result alone."""
    inner = [label for label in right if label in left]
    columns = [label for label in right if label not in left]
    rows = [label for label in left if label not in right]
    if not inner or any(label in output for label in inner) or any(label not in output for label in rows + columns):
        return None
    array = b.array.transpose([right.index(label) for label in columns + inner])
    sizes = dict(zip(left, a.shape, strict=True)) | {
        label: a.shape[0].__class__((size,) * len(a.values)) for label, size in zip(columns, array.shape, strict=False)
    }
    trials = len(a.values)
    matrix = np.ascontiguousarray(array).reshape(int(np.prod(array.shape[: len(columns)], dtype=int)), -1)
    kept = [sizes[label] for label in rows]
    merged = kept if len(kept) in (1, 2) else [product(kept, trials)]
    x = _ordered(a, left, "".join(rows + inner))
    x = _reshaped(x, [*merged, product([sizes[label] for label in inner], trials)])
    made = layer("dense", x, {"weight": matrix}, b.hint, units=len(matrix))
    labels = "".join(rows + columns)
    return _ordered(_reshaped(made, [sizes[label] for label in labels]), labels, output)
