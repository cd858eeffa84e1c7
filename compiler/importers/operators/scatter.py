"""Elements put into a tensor at places that are known ahead of time: a selection from the tensor and what is put in.

Where each row of a free batch is changed alike, the batch stays free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Array
from compiler.importers.known import Known, term_of
from compiler.importers.nodes import Node, Result, Undecided, axis_at
from compiler.importers.operators.shapes import reshaped_to
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.importers.terms import Term, call, table

Places = Callable[[tuple[int, ...], Array], Array]
"""The places in a flattened tensor of that shape at which indices put the elements of what is put in."""


def scatter_elements(node: Node) -> Result:
    """out[at[i, j], j] = put[i, j], for the first of the axes."""

    def places(shape: tuple[int, ...], at: Array) -> Array:
        axis = axis_at(int(node.attribute("axis", 0)), len(shape))
        index: list[Array] = list(np.indices(at.shape))
        index[axis] = np.where(at < 0, at + shape[axis], at)
        return np.asarray(np.ravel_multi_index(tuple(index), shape))

    return _scattered(node, places)


def scatter_nd(node: Node) -> Result:
    """out[at[i]] = put[i], which has the axes that the places leave open."""

    def places(shape: tuple[int, ...], at: Array) -> Array:
        depth = at.shape[-1]
        at = np.where(at < 0, at + np.array(shape[:depth], np.int64), at)
        first = np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), shape[:depth])
        rest = int(np.prod(shape[depth:], dtype=np.int64))
        return np.asarray(np.asarray(first)[..., None] * rest + np.arange(rest))

    return _scattered(node, places)


def _scattered(node: Node, places: Places) -> Result:
    if node.attribute("reduction", b"none") != b"none":
        raise Unsupported("it joins what it puts in with what is there", "add, multiply or compare before")
    x, put = node.value(0), node.value(2)
    at = node.known(1, "where elements are put")
    sources = []
    for trial, array in enumerate(at.arrays):
        shape = tuple(size.values[trial] for size in x.shape)
        source = np.arange(int(np.prod(shape)))
        spots = places(shape, array).reshape(-1)
        if len(spots) != np.prod([size.values[trial] for size in put.shape]):
            raise Unsupported("it has more or fewer places than elements to put in", "give a place to each element")
        source[spots] = len(source) + np.arange(len(spots))
        sources.append(source.reshape(shape))
    if isinstance(x, Known) and isinstance(put, Known):
        return _of_known(x, put, sources)
    terms = [term_of(value, node.trials) for value in (x, put)]
    if all(np.array_equal(source, sources[0]) for source in sources):
        flat = [call("reshape", term, shape=(-1,)) for term in terms]
        return call("gather", call("concat", *flat), table(sources[0], node.trials))
    widths = _product(terms[1]).values
    rows = [_each_row(source, width) for source, width in zip(sources, widths, strict=True)]
    if not all(np.array_equal(row, rows[0]) for row in rows):
        raise Undecided
    sizes = terms[0].shape
    flat = [reshaped_to(term, [sizes[0], _product(term)]) for term in terms]
    found = call("gather", call("concat", *flat, axis=1), table(rows[0].reshape(-1), node.trials), axis=1)
    return reshaped_to(found, sizes)


def _product(term: Term) -> Size:
    """How many elements a row has."""
    behind = [[size.values[trial] for size in term.shape[1:]] for trial in range(len(term.values))]
    return Size(tuple(math.prod(sizes) for sizes in behind))


def _of_known(x: Known, put: Known, sources: list[Array]) -> Known:
    joined = [np.concatenate([a.reshape(-1), b.reshape(-1)]) for a, b in zip(x.arrays, put.arrays, strict=True)]
    arrays = tuple(np.asarray(all_[source]) for all_, source in zip(joined, sources, strict=True))
    return Known(arrays, x.hint, x.weight or put.weight)


def _each_row(source: Array, width: int) -> Array:
    """The sources of each row, within that row and its `width` elements of what is put in; raises Undecided where they
    differ."""
    flat = source.reshape(len(source), -1)
    row = np.arange(len(source))[:, None]
    own = np.where(flat < source.size, flat - row * flat.shape[1], flat - source.size - row * width + flat.shape[1])
    if not (own == own[:1]).all():
        raise Undecided
    return np.asarray(own[0])


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
