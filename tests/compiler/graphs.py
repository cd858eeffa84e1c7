"""Small graphs for the tests of the compiler: leaves with ranges, and samples of them."""

from __future__ import annotations

import numpy as np

from compiler.graph import Array, Graph, Input, Kind, Output, Param, Precision, Value, apply
from compiler.graph.interval import Interval


def leaf(
    name: str = "x",
    shape: tuple[int, ...] = (2, 3),
    range: tuple[float, float] | None = (-1, 1),
    role: str = "client",
    kind: Kind = Kind.FIXED,
    param: bool = False,
    public: bool = False,
) -> Value:
    """An input (or parameter) of `role` with a declared range."""
    op = (Param if param else Input)(kind, shape, role, public, key=name)
    return apply(op, name=name, declared=None if range is None else Interval(*range))


def graph(*outputs: Value, inputs: tuple[Value, ...] = (), params: tuple[Value, ...] = ()) -> Graph:
    """A model whose outputs are `y0`, `y1`, … to the client."""
    return Graph(
        name="test",
        roles=("client", "modeller"),
        dims={},
        array_roles=(),
        precision=Precision(),
        inputs=inputs,
        params=params,
        outputs=tuple(Output(f"y{place}", value, ("client",)) for place, value in enumerate(outputs)),
    )


def sample(value: Value, random: np.random.Generator) -> Array:
    """Elements of a leaf inside its range; both ends are likely."""
    if value.kind is Kind.BIT:
        return random.integers(0, 2, value.shape).astype(bool)
    lo, hi = value.range.lo, value.range.hi
    if value.kind is Kind.INT:
        return random.integers(int(lo), int(hi) + 1, value.shape)
    numbers = random.uniform(lo, hi, value.shape)
    corner = random.integers(0, 4, value.shape)
    return np.where(corner == 0, lo, np.where(corner == 1, hi, numbers))
