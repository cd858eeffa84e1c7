"""Models as text, lowered for a test, and what they compute in plain float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.graph import Array, Graph, Param, Value
from compiler.lowering.model import lower
from compiler.reading import reference
from dsl import parse
from dsl.errors import Diagnostic, SourceErrors

HEAD = "model test role client, modeller "


def graph(body: str, head: str = HEAD, **dims: int) -> Graph:
    """The graph of a model that starts with `head`."""
    return lower(parse(head + body), dims)[0]


def warnings(body: str, head: str = HEAD) -> list[Diagnostic]:
    """The warnings of a model that is right."""
    return lower(parse(head + body), {})[1]


def errors(body: str, head: str = HEAD, **dims: int) -> tuple[Diagnostic, ...]:
    """The errors of a model; none when it is right."""
    try:
        lower(parse(head + body), dims)
    except SourceErrors as caught:
        return caught.diagnostics
    return ()


def output(body: str, name: str = "y", **dims: int) -> Value:
    """The value of one output."""
    return next(each.value for each in graph(body, **dims).outputs if each.name == name)


def constant(expression: str, above: str = "") -> Any:
    """What a public expression is: a number, or nested lists."""
    return output(f"{above} output y = {expression} to client, modeller").array.tolist()


def run(body: str, inputs: Mapping[str, Any], params: Mapping[str, Any] | None = None, **dims: int) -> dict[str, Array]:
    """The outputs in float64."""
    return reference.evaluate(graph(body, **dims), inputs, params or {})


def keys(model: Graph) -> dict[str, tuple[int, ...]]:
    """The parameters' keys with their shapes, in order."""
    return {leaf.op.key: leaf.shape for leaf in model.params if isinstance(leaf.op, Param)}
