"""Operators that move elements: shapes, slices, joins and selections."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compiler.graph import Kind
from compiler.importers.known import Known, spread, term_of
from compiler.importers.nodes import Node, Result, Undecided, axis_at, fixed
from compiler.importers.operators.elementwise import cast_to, joint_shape
from compiler.importers.operators.linear import embedded
from compiler.importers.operators.padding import pad, taken
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size, product
from compiler.importers.terms import Source, Term, call, index, origin, table

MAX_TILES = 64  # copies that are joined one by one


# -- sizes -------------------------------------------------------------------------------------------------------------


def shape(node: Node) -> Result:
    sizes = node.term().shape
    start, end = node.attribute("start", 0), node.attribute("end", None)
    return Known.sizes(sizes[slice(start, end)], node.trials)


def size(node: Node) -> Result:
    total = product(node.term().shape, node.trials)
    return Known(tuple(np.array(value, np.int64) for value in total.values))


# -- shapes ------------------------------------------------------------------------------------------------------------


def reshaped(x: Term, sizes: Sequence[Size]) -> Term:
    """In the shortest words: nothing, `flatten`, or `reshape`."""
    wanted = tuple(sizes)
    if wanted == x.shape:
        return x
    if x.rank > 2 and len(wanted) == 2 and wanted[0] == x.shape[0]:
        return call("flatten", x)
    return call("reshape", x, shape=wanted)


def reshape(node: Node) -> Result:
    """0 keeps a size, -1 is what is left over."""
    x = node.term()
    if "shape" in node.attributes:
        wanted = Known.same(np.array(node.attributes["shape"]), node.trials)
    else:
        wanted = node.known(1, "the shape")
    keeps = not node.attribute("allowzero", 0)
    return reshaped(x, _resolved(x, wanted, keeps))


def _resolved(x: Term, wanted: Known, keeps: bool) -> list[Size]:
    columns = []
    for trial, array in enumerate(wanted.arrays):
        known = x.values[trial].shape
        sizes = [known[axis] if n == 0 and keeps else int(n) for axis, n in enumerate(array.reshape(-1).tolist())]
        rest = math.prod(n for n in sizes if n != -1)
        columns.append([math.prod(known) // max(rest, 1) if n == -1 else n for n in sizes])
    if len({len(column) for column in columns}) > 1:
        raise Undecided
    return [Size(each) for each in zip(*columns, strict=True)]


def flatten(node: Node) -> Result:
    x = node.term()
    axis = int(node.attribute("axis", 1))
    axis = axis + x.rank if axis < 0 else axis
    sizes = x.shape
    return reshaped(x, [product(sizes[:axis], node.trials), product(sizes[axis:], node.trials)])


def squeeze(node: Node) -> Result:
    x = node.term()
    axes = node.integers("axes", 1)
    if axes is None:
        axes = [axis for axis, n in enumerate(x.shape) if 1 in n.values and n.fixed]
    gone = tuple(sorted(axis_at(axis, x.rank) for axis in axes))
    if not gone:
        return x
    return call("squeeze", x, axis=gone if len(gone) > 1 else gone[0])


def unsqueeze(node: Node) -> Result:
    x = node.term()
    axes = node.integers("axes", 1) or []
    rank = x.rank + len(axes)
    for axis in sorted(axis_at(axis, rank) for axis in axes):
        x = call("unsqueeze", x, axis=axis)
    return x


def transpose(node: Node) -> Result:
    x = node.term()
    axes = node.attribute("perm", None)
    return permuted(x, list(range(x.rank))[::-1] if axes is None else axes)


def permuted(x: Term, axes: Sequence[int]) -> Term:
    order = tuple(axis_at(int(axis), x.rank) for axis in axes)
    if order == tuple(range(x.rank)):
        return x
    return call("transpose", x, axes=None if order == tuple(range(x.rank))[::-1] else order)


def expand(node: Node) -> Result:
    """NumPy's broadcasting of both shapes."""
    x, wanted = node.term(), node.known(1, "the shape").size_list()
    return spread(x, joint_shape(x.shape, wanted))


def tile(node: Node) -> Result:
    x = node.term()
    repeats = node.known(1, "the number of copies").size_list()
    for axis, times in enumerate(repeats):
        if times.is_fixed and times.fixed == 1:
            continue
        sizes = list(x.shape)
        if sizes[axis].is_fixed and sizes[axis].fixed == 1:
            sizes[axis] = times
            x = spread(x, sizes)
        elif times.fixed > MAX_TILES:
            raise Unsupported(f"{times.fixed} copies along an axis", f"at most {MAX_TILES} are supported")
        else:
            x = call("concat", *[x] * times.fixed, axis=axis)
    return x


# -- joins and parts ---------------------------------------------------------------------------------------------------


def concat(node: Node) -> Result:
    values = [node.value(place) for place in range(len(node.inputs)) if node.has(place)]
    terms = [term_of(value, node.trials) for value in values if not _is_empty(value)]
    if len(terms) == 1:
        return terms[0]
    axis = axis_at(int(node.attributes["axis"]), terms[0].rank)
    return call("concat", *terms, axis=axis or None)


def _is_empty(value: Term | Known) -> bool:
    """Raises Undecided where that depends on a free dim."""
    if isinstance(value, Term):
        return False
    empty = {not array.size for array in value.arrays}
    if len(empty) > 1:
        raise Undecided
    return empty.pop()


def split(node: Node) -> Result:
    x = node.term()
    axis = axis_at(int(node.attribute("axis", 0)), x.rank)
    parts, total = node.integers("split", 1), x.shape[axis].fixed
    if parts is None:
        count = int(node.attribute("num_outputs", len(node.outputs)))
        each = -(-total // count)
        parts = [min(each, total - each * place) for place in range(count)]
    ends = np.cumsum(parts).tolist()
    return [
        taken(x, range(end - part, end), axis) if part else _nothing(x, axis)
        for part, end in zip(parts, ends, strict=True)
    ]


def _nothing(x: Term, axis: int) -> Known:
    """A part without elements, which joins drop."""
    return Known(tuple(np.zeros((*v.shape[:axis], 0, *v.shape[axis + 1 :])) for v in x.values))


def slices(node: Node) -> Result:
    """From attributes before version 10, from inputs since; ends may be as far as 2^63."""
    x = node.term()
    if "starts" in node.attributes:
        given = {name: Known.same(np.array(node.attributes[name]), node.trials) for name in ("starts", "ends")}
        starts, ends = given["starts"].size_list(), given["ends"].size_list()
        axes = [int(each) for each in node.attribute("axes", range(len(starts)))]
        steps = [1] * len(starts)
    else:
        starts, ends = node.known(1, "where it starts").size_list(), node.known(2, "where it ends").size_list()
        axes = node.integers("axes", 3) or list(range(len(starts)))
        steps = node.integers("steps", 4) or [1] * len(starts)
    items: list[slice] = [slice(None)] * x.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_at(axis, x.rank)
        size = x.shape[place]
        ends_of = zip(start.values, end.values, size.values, strict=True)
        if not any(range(*slice(s, e, step).indices(n)) for s, e, n in ends_of):
            return _nothing(x, place)
        _expect_decided((start, end), size)
        items[place] = _part(start, end, step, size)
    while items and items[-1] == slice(None):
        items.pop()
    return index(x, *items) if items else x


FAR = 10**9  # from here on, the end of a slice is what exporters write for "to the end"; tf2onnx this, others 2^31 - 1


def _expect_decided(ends: Sequence[Size], size: Size) -> None:
    """Raises Undecided where a number lies beyond an axis of free size in some trial: at another it lies within."""
    for end in ends:
        if not size.is_fixed and end.is_fixed and FAR > abs(end.fixed) > min(size.values):
            raise Undecided


def _part(start: Size, end: Size, step: int, size: Size) -> slice:
    """A slice as the language writes it, without ends that cut nothing off."""
    ends = list(zip(start.values, end.values, size.values, strict=True))
    found = [slice(s, e, step).indices(n) for s, e, n in ends]
    if step < 0:
        found = [slice(s, e if e >= -n else None, step).indices(n) for s, e, n in ends]
        if all(f == (n - 1, -1, step) for f, (_, _, n) in zip(found, ends, strict=True)):
            return slice(None, None, step)
        return slice(_end(start, size), None if all(f[1] < 0 for f in found) else _end(end, size), step)
    first = None if all(f[0] == 0 for f in found) else _end(start, size)
    last = None if all(f[1] == n for f, (_, _, n) in zip(found, ends, strict=True)) else _end(end, size)
    return slice(first, last, step if step != 1 else None)


def _end(end: Size, size: Size) -> Size:
    """An end within the axis, counted from the front or from behind."""
    return Size(tuple(max(-n, min(e, n)) for e, n in zip(end.values, size.values, strict=True)))


# -- selection ---------------------------------------------------------------------------------------------------------


def gather(node: Node) -> Result:
    x, i = node.value(0), node.value(1)
    rank = x.rank
    axis = axis_at(int(node.attribute("axis", 0)), rank)
    if isinstance(i, Term):
        i = from_front(i, x.shape[axis])
        if isinstance(x, Known) and axis == 0:
            return embedded(x, i, node.trials)
        return call("gather", node.term(0), i, axis=axis or None)
    assert isinstance(x, Term)
    places = i.array
    if places.ndim == 0:
        return index(x, *[slice(None)] * axis, int(places))
    if places.ndim == 1:
        behind = (places < 0).any()  # counted from there, a place needs an axis of one size
        return taken(x, np.where(places < 0, places + x.shape[axis].fixed, places) if behind else places, axis)
    return call("gather", x, table(places, node.trials), axis=axis or None)


def from_front(i: Term, size: Size) -> Term:
    """Computed indices, those from behind counted from the front. What an input provides is bound by its range."""
    i = cast_to(i, INT64)
    if isinstance(origin(i).form, Source) or i.lowest >= 0:
        return i
    return call("where", call("<", i, 0), call("+", i, size.fixed), i)


INT64 = 7  # onnx.TensorProto.INT64


def gather_elements(node: Node) -> Result:
    """out[i, j] = x[i, at[i, j]] along the last of the axes: a sum of one-hot rows."""
    x, i = node.term(0), node.value(1)
    axis = axis_at(int(node.attribute("axis", 0)), x.rank)
    count = x.shape[axis].fixed
    if isinstance(i, Term):
        i = from_front(i, x.shape[axis])
    at = i if isinstance(i, Term) else table(np.where(i.array < 0, i.array + count, i.array), node.trials)
    if isinstance(i, Known):
        return _flat(x, i.array, axis)
    for place, (have, need) in enumerate(zip(x.shape, at.shape, strict=True)):
        if place != axis and have != need:
            raise Unsupported("its indices cover only part of the tensor", "slice the tensor first")
    moved = permuted(x, [*(a for a in range(x.rank) if a != axis), axis])
    turned = permuted(at, [*(a for a in range(x.rank) if a != axis), axis])
    rows = call("unsqueeze", moved, axis=x.rank - 1)
    chosen = call("sum", call("*", call("one_hot", turned, n=count), rows), axis=-1)
    back = list(range(x.rank - 1))
    back.insert(axis, x.rank - 1)
    return permuted(chosen, back)


def _flat(x: Term, at: np.ndarray, axis: int) -> Term:
    """Known indices: one gather of the flattened tensor."""
    sizes = fixed(x.shape)
    at = np.where(at < 0, at + sizes[axis], at)
    places = [at if place == axis else each for place, each in enumerate(np.indices(at.shape))]
    flat = np.ravel_multi_index(tuple(places), sizes)
    return call("gather", call("reshape", x, shape=(-1,)), table(flat, len(x.values)))


def gather_nd(node: Node) -> Result:
    x = node.term(0)
    at = node.array(1, "the indices")
    batch = int(node.attribute("batch_dims", 0))
    depth = at.shape[-1]
    if batch:
        return _gather_nd_batched(x, at, batch)
    sizes = fixed(x.shape[:depth])
    at = np.where(at < 0, at + np.array(sizes), at)
    flat = np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), sizes)
    merged = x if depth == 1 else reshaped_to(x, [Size((math.prod(sizes),) * node.trials), *x.shape[depth:]])
    return call("gather", merged, table(flat, node.trials)) if flat.ndim else index(merged, int(flat))


def _gather_nd_batched(x: Term, at: np.ndarray, batch: int) -> Term:
    sizes, depth = fixed(x.shape), at.shape[-1]
    lead = list(np.indices(at.shape[:-1]))[:batch]
    at = np.where(at < 0, at + np.array(sizes[batch : batch + depth]), at)
    places = (*lead, *np.moveaxis(at, -1, 0))
    flat = np.ravel_multi_index(places, sizes[: batch + depth])
    trials = len(x.values)
    rest = [Size((n,) * trials) for n in sizes[batch + depth :]]
    merged = reshaped_to(x, [Size((math.prod(sizes[: batch + depth]),) * trials), *rest])
    return call("gather", merged, table(flat, trials))


def reshaped_to(x: Term, sizes: Sequence[Size]) -> Term:
    return x if tuple(sizes) == x.shape else call("reshape", x, shape=tuple(sizes))


def one_hot(node: Node) -> Result:
    i = node.term(0)
    depth = int(node.array(1, "the depth").reshape(-1)[0])
    off, on = (node.array(2, "the values").reshape(-1)[k] for k in (0, 1))
    i = cast_to(i, INT64)
    if i.lowest < 0:
        i = call("where", call("<", i, 0), call("+", i, depth), i)
    bits = call("one_hot", i, n=depth)
    axis = int(node.attribute("axis", -1))
    rank = bits.rank
    axis = axis + rank if axis < 0 else axis
    order = list(range(rank - 1))
    order.insert(axis, rank - 1)
    bits = permuted(bits, order)
    if on.dtype.kind == "b":
        return bits
    number = float if on.dtype.kind == "f" else int
    return call("where", bits, number(on), number(off))


# -- blocks of space ---------------------------------------------------------------------------------------------------


def depth_to_space(node: Node) -> Result:
    x = node.term()
    n, c, h, w = x.shape
    b = int(node.attributes["blocksize"])
    block, part = Size((b,) * node.trials), Size((c.fixed // b**2,) * node.trials)
    if node.attribute("mode", b"DCR") == b"CRD":
        apart, order = (n, part, block, block, h, w), (0, 1, 4, 2, 5, 3)
    else:
        apart, order = (n, block, block, part, h, w), (0, 3, 4, 1, 5, 2)
    return call("reshape", permuted(call("reshape", x, shape=apart), order), shape=(n, part, h * block, w * block))


def space_to_depth(node: Node) -> Result:
    x = node.term()
    n, c, h, w = x.shape
    b = int(node.attributes["blocksize"])
    block = Size((b,) * node.trials)
    down = [Size(tuple(v // b for v in each.values)) for each in (h, w)]
    apart = call("reshape", x, shape=(n, c, down[0], block, down[1], block))
    return call("reshape", permuted(apart, (0, 3, 5, 1, 2, 4)), shape=(n, c * block * block, *down))


def trilu(node: Node) -> Result:
    x = node.term()
    k = int(node.array(1, "the diagonal").reshape(-1)[0]) if node.has(1) else 0
    rows, columns = fixed(x.shape[-2:])
    ones = np.ones((rows, columns), np.bool_)
    kept = np.triu(ones, k) if node.attribute("upper", 1) else np.tril(ones, k)
    zero: int | float = 0.0 if x.kind is Kind.FIXED else 0
    return call("where", table(kept, node.trials), x, zero)


def zip_map(node: Node) -> Result:
    """The scores themselves: a column for each label."""
    return node.term()


def constant_of_shape(node: Node) -> Result:
    raise Unsupported("its shape is computed from the data")


__all__ = ["HANDLERS", "permuted", "reshaped"]

HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Shape": shape,
    "Size": size,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Slice": slices,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
}
