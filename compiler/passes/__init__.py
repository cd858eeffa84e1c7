"""The passes between lowering and expansion, in their order, and the checks behind them.

Constants are folded, and dead values never reached, by the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.graph import Graph
from compiler.passes.dead_code import dead_code
from compiler.passes.guards import with_guards
from compiler.passes.layer_scale import layer_scale
from compiler.passes.pool_first import pool_first
from compiler.passes.prepare import prepare
from compiler.passes.ranges import check_ranges
from compiler.passes.releases import check_releases
from compiler.passes.subexpressions import common_subexpressions
from compiler.passes.sum_first import sum_first
from compiler.passes.supported import unsupported
from compiler.passes.turned_products import turned_products
from compiler.passes.vanishing import vanishing
from dsl.errors import Diagnostic, SourceErrors

__all__ = [
    "PASSES",
    "Pass",
    "check_ranges",
    "check_releases",
    "common_subexpressions",
    "dead_code",
    "layer_scale",
    "pool_first",
    "prepare",
    "run",
    "sum_first",
    "turned_products",
    "unsupported",
    "vanishing",
]

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    common_subexpressions,  # first: the passes below ask whether a value has a single use
    layer_scale,  # before prepare, which then takes the scaled weights as one expression
    prepare,
    common_subexpressions,  # what is left over leaves may have become equal
    pool_first,
    sum_first,
    turned_products,
    dead_code,
)


def run(graph: Graph, passes: tuple[Pass, ...] = PASSES, checked: bool = False) -> tuple[Graph, list[Diagnostic]]:
    """The graph that the expansion takes, and the warnings; raises SourceErrors with all errors (and warnings).

    checked: whether what is not proved is guarded, or else refused.
    """
    for each in passes:
        graph = each(graph)
    graph, refused = with_guards(graph) if checked else (graph, [])
    graph, diagnostics = check_ranges(graph)
    diagnostics = refused or diagnostics  # each stands for the warning about the same value
    diagnostics += [*unsupported(graph), *vanishing(graph)]
    graph, more = check_releases(graph)
    diagnostics += more
    if any(diagnostic.severity == "error" for diagnostic in diagnostics):
        raise SourceErrors(diagnostics, graph.source)
    return graph, diagnostics
