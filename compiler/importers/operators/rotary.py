"""The operator RotaryEmbedding (since version 23): pairs of features turned by an angle of their position's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from compiler.importers.known import Known, term_of
from compiler.importers.nodes import Node, Result
from compiler.importers.operators.attention import apart, together
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.importers.terms import Term, call, index


def rotary(node: Node) -> Result:
    """(x cos - y sin, x sin + y cos) for each pair (x, y): of both halves, or of neighbours where it is interleaved."""
    x = node.term()
    flat = x.rank == 3
    if flat:
        heads = int(node.attribute("num_heads", 0))
        if not heads:
            raise Unsupported("its number of heads is missing")
        x = apart(x, heads)
    size = x.shape[-1].fixed
    turned = int(node.attribute("rotary_embedding_dim", 0)) or size
    rest = index(x, ..., slice(turned, None, None)) if turned < size else None
    x = index(x, ..., slice(None, turned, None)) if turned < size else x
    between = bool(node.attribute("interleaved", 0))
    first, second = _pairs(x, turned // 2, between)
    cos, sin = (_of_positions(node, place) for place in (1, 2))
    ends = (
        call("-", call("*", first, cos), call("*", second, sin)),
        call("+", call("*", first, sin), call("*", second, cos)),
    )
    made = call("reshape", call("stack", *ends, axis=4), shape=x.shape) if between else call("concat", *ends, axis=3)
    made = made if rest is None else call("concat", made, rest, axis=3)
    return together(made) if flat else made


def _pairs(x: Term, half: int, between: bool) -> tuple[Term, Term]:
    if not between:
        return index(x, ..., slice(None, half, None)), index(x, ..., slice(half, None, None))
    count = Size((half,) * len(x.values)), Size((2,) * len(x.values))
    pairs = call("reshape", x, shape=(*x.shape[:-1], *count))
    return index(pairs, ..., 0), index(pairs, ..., 1)


def _of_positions(node: Node, place: int) -> Term:
    """[batch or 1, 1, positions, half of the features]: the cosines or sines of the positions."""
    angles = node.value(place)
    if node.has(3):
        positions = node.value(3)
        if isinstance(angles, Known) and isinstance(positions, Known):
            pairs = zip(angles.arrays, positions.arrays, strict=True)
            angles = Known(tuple(np.take(rows, at, axis=0) for rows, at in pairs), angles.hint, angles.weight)
        else:
            angles = call("gather", *(term_of(each, node.trials) for each in (angles, positions)), axis=0)
    return call("unsqueeze", term_of(angles, node.trials), axis=1)


HANDLERS: Mapping[str, Callable[[Node], Result]] = {"RotaryEmbedding": rotary}
