"""Prints of graphs, before and after the passes, as golden text."""

from __future__ import annotations

from collections.abc import Callable

from compiler.passes import run
from compiler.reading.printer import print_graph
from tests.compiler.models import small_network


def test_a_graph_prints_the_same_every_time(golden: Callable[[str, str], None]) -> None:
    golden("small.graph", print_graph(small_network()))


def test_the_graph_that_the_expansion_takes(golden: Callable[[str, str], None]) -> None:
    graph, _ = run(small_network())
    golden("small.prepared.graph", print_graph(graph))
