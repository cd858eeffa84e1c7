"""Distances between rows of the data and rows of the owner, as scikit-learn's neighbours and kernels need them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from onnx import helper

from compiler.importers.files import array_of
from compiler.importers.known import Known, to_term
from compiler.importers.nodes import Node, Result, Value
from compiler.importers.operators.classical import real
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call

FORMS = {("Sub", "ReduceSumSquare"): "square", ("Sub", "Abs", "ReduceSum"): "abs"}
"""What skl2onnx's steps compute of a row of each side, and the function whose sum it is."""


def between(x: Term, rows: Known, function: str, trials: int) -> Term:
    """[n, rows]: the sum of a function of the differences."""
    apart = call("-", call("unsqueeze", real(x), axis=1), to_term(rows, trials))
    return call("sum", call(function, apart), axis=2)


def of_scan(node: Node) -> list[Value | None] | None:
    """What a Scan gives that takes one row after another and computes its distance from each row of a state; None of
    other ones."""
    if len(node.inputs) != 2 or len(node.attributes) > 2 or node.attributes["num_scan_inputs"] != 1:
        return None  # of other attributes than its body
    x, rows = node.value(0), node.value(1)
    function = _function(node.attributes["body"])
    if function is None or not isinstance(x, Term) or not isinstance(rows, Known) or (x.rank, rows.rank) != (2, 2):
        return None
    return [x, call("transpose", between(x, rows, function, node.trials), axes=(1, 0))]


def _function(body: Any) -> str | None:
    """The function whose sum over the differences a step gives, the state unchanged."""
    same = {proto.output[0]: proto.input[0] for proto in body.node if proto.op_type == "Identity"}
    steps = [proto for proto in body.node if proto.op_type != "Identity"]
    form = tuple(proto.op_type for proto in steps)
    if form not in FORMS or len(body.output) != 2:
        return None
    state, row = (each.name for each in body.input[:2])  # behind them may be initializers
    chained = all(after.input[0] == before.output[0] for before, after in itertools.pairwise(steps))
    ends = [same.get(each.name, each.name) for each in body.output]
    if not chained or set(steps[0].input) != {state, row} or ends != [state, steps[-1].output[0]]:
        return None
    attributes = {each.name: helper.get_attribute_value(each) for each in steps[-1].attribute}
    axes = attributes.get("axes", [])
    if len(steps[-1].input) > 1:
        axes = {each.name: array_of(each).reshape(-1) for each in body.initializer}.get(steps[-1].input[1], [])
    return FORMS[form] if list(axes) in ([1], [-1]) and not attributes.get("keepdims", 1) else None


def cdist(node: Node) -> Result:
    """onnxruntime's own operator, [n, rows]."""
    metric = node.attribute("metric", b"sqeuclidean").decode()
    if metric not in ("sqeuclidean", "euclidean"):
        raise Unsupported(f"the metric {metric}", "euclidean and sqeuclidean are supported")
    found = between(node.term(0), node.known(1, "the rows of the model"), "square", node.trials)
    return call("sqrt", found) if metric == "euclidean" else found


HANDLERS: Mapping[str, Callable[[Node], Result]] = {"CDist": cdist}
