"""Expressions as plain data, and back: how a plan carries what a client prepares, with the promises it checks.

Ops are frozen dataclasses of ints, strings, floats and tuples, so one generic rule serves all: an op is its class name
and its fields. Floats are written in hexadecimal, bytes in base64; the same expression gives the same data.
"""

from __future__ import annotations

import base64
from dataclasses import fields
from enum import Enum
from typing import Any

import compiler.ops  # noqa: F401  # so that every op is known before the first look-up
from compiler.graph import OPS, Kind, Value, apply, topological
from compiler.graph.interval import Interval


def to_plain(value: Value) -> list[dict[str, Any]]:
    """The nodes of an expression, arguments before their users, the expression itself last."""
    order = topological([value])
    place = {node: index for index, node in enumerate(order)}
    return [_node_to_plain(node, [place[arg] for arg in node.args]) for node in order]


def from_plain(nodes: list[dict[str, Any]]) -> Value:
    """The expression that `to_plain` wrote; raises ValueError when an op is unknown or its fields do not fit."""
    values: list[Value] = []
    for node in nodes:
        kind = OPS.get(node["op"])
        if kind is None:
            raise ValueError(f"expected one of the compiler's ops, found {node['op']!r}")
        try:
            op = kind(**{name: _field_from_plain(field) for name, field in node["fields"].items()})
        except TypeError as error:
            raise ValueError(f"the fields of {node['op']} do not fit: {error}") from None
        args = [values[index] for index in node["args"]]
        promise = node.get("declared")
        declared = None if promise is None else Interval(*map(float.fromhex, promise))
        values.append(apply(op, *args, name=node.get("name"), declared=declared))
    return values[-1]


def _node_to_plain(value: Value, args: list[int]) -> dict[str, Any]:
    op = value.op
    attributes = {field.name: _field_to_plain(getattr(op, field.name)) for field in fields(op)}
    node: dict[str, Any] = {"op": op.name, "fields": attributes, "args": args}
    if value.name is not None:
        node["name"] = value.name
    if value.declared is not None:
        node["declared"] = [value.declared.lo.hex(), value.declared.hi.hex()]
    return node


def _field_to_plain(field: Any) -> Any:
    if isinstance(field, Enum):
        return {"kind": field.value}
    if isinstance(field, float):
        return {"float": field.hex()}
    if isinstance(field, bytes):
        return {"bytes": base64.b64encode(field).decode("ascii")}
    if isinstance(field, tuple):
        return [_field_to_plain(item) for item in field]
    return field


def _field_from_plain(field: Any) -> Any:
    if isinstance(field, list):
        return tuple(map(_field_from_plain, field))
    if not isinstance(field, dict):
        return field
    if "kind" in field:
        return Kind(field["kind"])
    if "float" in field:
        return float.fromhex(field["float"])
    return base64.b64decode(field["bytes"])
