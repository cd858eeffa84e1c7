"""Loops that repeat a number of times known ahead of time, written out step after step.

What a step computes from the data is lowered as the nodes outside are; only its conditions and counts must be known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compiler.importers.known import Known, term_of
from compiler.importers.nodes import Absent, Node, Value, axis_at
from compiler.importers.operators import distances
from compiler.importers.problems import Unsupported
from compiler.importers.terms import call, index

MAX_STEPS = 128  # as of a recurrent layer that is unrolled

Run = Callable[[Any, Mapping[str, Value | None]], "list[Value | None]"]
"""What the outputs of a graph are, its inputs given; None where a node of it was refused."""

WAY_OUT = "unroll the loop: export with fixed sizes"
OPEN = "it repeats a number of times that depends on the data"


def loop(node: Node, run: Run) -> list[Value | None]:
    """The states behind the last step, and what the steps gave, stacked."""
    body = node.attributes["body"]
    most = int(_one(node, 0)) if node.has(0) else None
    going = bool(_one(node, 1)) if node.has(1) else True
    states: list[Value | None] = [node.value(place) for place in range(2, len(node.inputs))]
    names = given_to(body)
    made: list[list[Value | None]] = []
    while going and (most is None or len(made) < most):
        _check_steps(len(made) + 1)
        count, on = np.array(len(made), np.int64), np.array(True)
        given = [Known.same(count, node.trials), Known.same(on, node.trials), *states]
        results = run(body, dict(zip(names, given, strict=True)))
        if any(result is None for result in results):
            return [None] * len(node.outputs)
        if not isinstance(results[0], Known):
            raise Unsupported(OPEN, WAY_OUT)
        going = bool(results[0].array)
        states = results[1 : len(states) + 1]
        made.append(results[len(states) + 1 :])
    if not made and len(node.outputs) > len(states):
        raise Unsupported("it is never repeated, and its lists are empty", "leave it out of the export")
    needed = node.outputs[len(states) :]
    columns = zip(zip(*made, strict=True), needed, strict=True)
    return [*states, *(stacked(column, 0, node.trials) if name else None for column, name in columns)]


def scan(node: Node, run: Run) -> list[Value | None]:
    """As `loop`, over the elements along an axis of some of its inputs."""
    if node.opset < 9:
        raise Unsupported("before opset 9 it scans each row of a batch by itself", "export with opset 9 or later")
    found = distances.of_scan(node)
    if found is not None:
        return found
    body, count = node.attributes["body"], int(node.attributes["num_scan_inputs"])
    states: list[Value | None] = [node.value(place) for place in range(len(node.inputs) - count)]
    scanned = [node.value(place) for place in range(len(states), len(node.inputs))]
    axes = [axis_at(axis, each.rank) for axis, each in zip(_list(node, "scan_input_axes", count), scanned, strict=True)]
    back = _list(node, "scan_input_directions", count)
    steps = scanned[0].shape[axes[0]].fixed
    names = given_to(body)
    made: list[list[Value | None]] = []
    _check_steps(steps)
    for step in range(steps):
        places = [steps - 1 - step if turned else step for turned in back]
        given = [_slice(*each) for each in zip(scanned, axes, places, strict=True)]
        results = run(body, dict(zip(names, [*states, *given], strict=True)))
        if any(result is None for result in results):
            return [None] * len(node.outputs)
        states = results[: len(states)]
        made.append(results[len(states) :])
    columns, needed = list(zip(*made, strict=True)), node.outputs[len(states) :]
    axes = _list(node, "scan_output_axes", len(columns))
    turns = _list(node, "scan_output_directions", len(columns))
    found = [
        stacked(column[::-1] if turned else column, axis, node.trials) if name else None
        for column, axis, turned, name in zip(columns, axes, turns, needed, strict=True)
    ]
    return [*states, *found]


def given_to(body: Any) -> list[str]:
    """What a step is given; inputs with an initializer are weights (IR 3)."""
    held = {tensor.name for tensor in body.initializer}
    return [each.name for each in body.input if each.name not in held]


def _one(node: Node, place: int) -> Any:
    """A count or a condition."""
    found = node.value(place)
    if not isinstance(found, Known):
        raise Unsupported(OPEN, WAY_OUT)
    return found.array.reshape(-1)[0]


def _check_steps(steps: int) -> None:
    if steps > MAX_STEPS:
        raise Unsupported(
            f"it repeats more than {MAX_STEPS} times, each written by itself", "export it as an LSTM, a GRU or an RNN, "
            "or with a shorter sequence"
        )  # fmt: skip


def _list(node: Node, name: str, count: int) -> list[int]:
    return [int(each) for each in node.attribute(name, [0] * count)]


def _slice(value: Value, axis: int, place: int) -> Value:
    assert not isinstance(value, Absent)
    if isinstance(value, Known):
        return Known(tuple(np.take(array, place, axis) for array in value.arrays), value.hint, value.weight)
    return index(value, *[slice(None)] * axis, place)


def stacked(column: Sequence[Value | None], axis: int, trials: int) -> Value:
    """What each step gave, along a new axis."""
    found = [each for each in column if isinstance(each, Known)]
    if len(found) == len(column):
        rows = zip(*(each.arrays for each in found), strict=True)
        owned = any(each.weight for each in found)
        return Known(tuple(np.stack(arrays, axis) for arrays in rows), found[0].hint, owned)
    terms = [term_of(each, trials) for each in column if each is not None and not isinstance(each, Absent)]
    if len(terms) < len(column):
        raise Unsupported("its steps give what is not supported", WAY_OUT)
    axis = axis_at(axis, terms[0].rank + 1)
    return call("stack", *terms, axis=axis or None) if len(terms) > 1 else call("unsqueeze", terms[0], axis=axis)


HANDLERS: Mapping[str, Callable[[Node, Run], list[Value | None]]] = {"Loop": loop, "Scan": scan}
