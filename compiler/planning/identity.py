"""Which model a graph is of: what the checkpoints of its training are bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields

from compiler.graph import Graph, Value, topological
from mpc_runtime.procedure import RUN

__all__ = ["identity"]


def identity(lowered: Graph) -> str:
    """A hash, in hexadecimal, of what a model with a `train` block computes, as the author wrote it, whatever the
    ranges, the learning rate and the limits; empty for a model without one."""
    if lowered.training is None:
        return ""
    digest = hashlib.sha256(repr((lowered.name, lowered.precision, dict(lowered.dims))).encode())
    outputs = [output for output in lowered.outputs if output.stage == RUN]
    values = topological([*lowered.inputs, *lowered.params, *(output.value for output in outputs)])
    place = {value: index for index, value in enumerate(values)}
    for described in _described(values, place):
        digest.update(repr(described).encode())
    digest.update(repr([(output.name, place[output.value]) for output in outputs]).encode())
    return digest.hexdigest()


def _described(values: list[Value], place: dict[Value, int]) -> Iterator[tuple[object, ...]]:
    """What makes each value: its op with all that the op was told, its operands, its kind and its shape."""
    for value in values:
        told = [getattr(value.op, field.name) for field in fields(value.op)]
        yield type(value.op).__name__, told, [place[arg] for arg in value.args], value.kind, value.shape
