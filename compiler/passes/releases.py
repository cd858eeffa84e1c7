"""Private releases: how far one person moves each, so how wide its noise must be; and what is released without any.

Where ranges prove the sensitivity, it may be left out. Otherwise it is the author's statement, which is noted as such.
"""

from __future__ import annotations

import math
from dataclasses import replace

from compiler.graph import Graph, Input, Kind, Output, Prepared, Value, topological
from compiler.passes.sensitivity import Moved, inputs_of, sensitivity
from compiler.passes.stored_ranges import CONSTANT_ERROR
from dsl.ast import Span
from dsl.errors import Diagnostic, Severity
from mpc_runtime.errors import number
from mpc_runtime.plan import Noise

__all__ = ["check_releases"]

CLOSE = 1 - 1e-12  # a bound that float64 has rounded is no other than the one stated


def check_releases(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with the noise of each release, and what is wrong or worth saying."""
    found: list[Diagnostic] = _unnoised(graph)
    if all(output.release is None for output in graph.outputs):
        return graph, found
    known = sensitivity(graph)
    outputs = tuple(_released(graph, output, known(output.value), found) for output in graph.outputs)
    return replace(graph, outputs=outputs), found


def _boundless(graph: Graph, value: Value) -> list[str]:
    """The inputs that a value depends on and that have no declared range."""
    names: dict[str, None] = {}
    for each in topological([value]):
        if isinstance(each.op, Prepared):
            names |= dict.fromkeys(_boundless(graph, graph.prepared[each.op.index].value))
        elif isinstance(each.op, Input) and each.declared is None and each.kind is not Kind.BIT:
            names[each.op.key] = None
    return list(names)


def _unnoised(graph: Graph) -> list[Diagnostic]:
    """An error for each output that says more of an input than its budget allows. A bit that says whether a promise
    was kept is beside the budget, which the manifest says; what training keeps is told to nobody, and has its noise."""
    budgets = {(budget.source, budget.role) for budget in graph.budgets}
    found = []
    for output in graph.outputs:
        if output.release is not None or output.promises or output.keeps is not None:
            continue
        read = {
            leaf.key for leaf in inputs_of(graph, output.value) if not leaf.flipped and (leaf.key, leaf.role) in budgets
        }
        if read:
            names = " and ".join(f"`{name}`" for name in sorted(read))
            message = f"the output `{output.name}` depends on {names}, which has a budget, and has no noise"
            help = "add `with laplace(epsilon=…)` or `with gaussian(epsilon=…, delta=…)`"
            found.append(_report(graph, output.span, message, help))
    return found


def _released(graph: Graph, output: Output, moved: Moved | None, found: list[Diagnostic]) -> Output:
    release = output.release
    if release is None:
        return output
    laplace = release.law == "laplace"
    bound = slack = math.inf
    if moved is not None:
        bound, slack = (d.l1 if laplace else d.l2 for d in (moved.by, moved.slack))
    if not math.isfinite(slack):
        slack = _unknown_rounding(graph, output.value, laplace)
    stated = release.sensitivity
    if stated is None and not math.isfinite(bound):
        message = f"how far one person can move `{output.name}` is not proved, so it has to be stated"
        help = f"write `{release.law}(…, sensitivity=…)`; ranges prove it of a `sum` or `mean` of rows"
        if boundless := _boundless(graph, output.value):
            names = " and ".join(f"`{name}`" for name in boundless)
            help = f"declare the range of {names}, `in [lo, hi]`, or write `{release.law}(…, sensitivity=…)`"
        found.append(_report(graph, release.span, message, help))
        return output
    if stated is not None and stated < bound * CLOSE and math.isfinite(bound):
        message = (
            f"one person can move `{output.name}` by {number(bound)} as far as ranges prove, and a sensitivity of "
            f"{number(stated)} is stated"
        )
        help = "the statement is yours to answer for: narrower ranges, or `clip_norm`, would prove it"
        found.append(_report(graph, release.span, message, help, "warning"))
    proved = math.isfinite(bound) and (stated is None or stated >= bound * CLOSE)
    taken = bound if stated is None else stated
    if taken == 0:
        message = f"no person can move `{output.name}`, so noise would hide nothing"
        found.append(_report(graph, release.span, message, "remove the noise, or correct the ranges"))
        return output
    noise = Noise(release.law, release.epsilon, release.delta, float(taken), float(slack), proved, release.made_by)
    return replace(output, noise=noise)


def _unknown_rounding(graph: Graph, value: Value, laplace: bool) -> float:
    """Of a result whose sensitivity its author states."""
    if value.kind is not Kind.FIXED:
        return 0.0
    return CONSTANT_ERROR * graph.precision.step * (value.size if laplace else math.sqrt(value.size))


def _report(
    graph: Graph, span: Span | None, message: str, help: str | None, severity: Severity = "error"
) -> Diagnostic:
    assert span is not None, "outputs of a source have a place"
    return Diagnostic.at(span, message, file=graph.filename, help=help, severity=severity)
