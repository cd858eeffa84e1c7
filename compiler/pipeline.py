"""The compiler on one page: each stage is a function of the one before, and each prints (`mpcc compile --emit`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler import passes
from compiler.calibration.claims import claims, of_trained_weights
from compiler.expand import Expanded, expand
from compiler.expand.network import parse_network
from compiler.graph import BATCH, Graph, Value
from compiler.lowering.model import ModelErrors, lower
from compiler.passes.check_promises import with_checks
from compiler.passes.stored_ranges import with_rounding
from compiler.planning.assign import Assigned, assign
from compiler.planning.plan import feed_name, feed_stages, make_plan, origin
from compiler.reading.report import report
from compiler.training.clipping import with_room
from compiler.training.step import with_training
from dsl import ast, parse
from dsl.errors import Diagnostic, SourceErrors, SyntaxErrors, Unread, with_source
from mpc_runtime.plan import Options, Plan


@dataclass(frozen=True)
class Stages:
    """All that the compiler made of a source text. `graph` is the one that the expansion took."""

    tree: ast.Model
    lowered: Graph
    graph: Graph
    plan: Plan
    warnings: tuple[Diagnostic, ...]


def compile_source(
    text: str, filename: str, dims: Mapping[str, int] | None = None, network: str = "lan", checked: bool = False
) -> Stages:
    """Raises SourceErrors with all errors (of the text alone when it cannot be read), InputError for a bad option."""
    parse_network(network)
    tree = _parse(text, filename, dims or {})
    lowered, warnings = _lower(tree, dims or {})
    lowered = with_room(lowered, lambda batch: _lower(tree, {**(dims or {}), BATCH: batch})[0])
    graph, plan, more = planned(lowered, Options(network, checked))
    told = sorted((*warnings, *more), key=lambda each: (each.line, each.column))
    return Stages(tree, lowered, graph, plan, with_source(told, text))


def sketched(
    text: str, filename: str, dims: Mapping[str, int] | None = None, network: str = "lan", checked: bool = False
) -> Stages:
    """What roles provide, and a plan that computes nothing: of a text that may lack the ranges that compiling takes.
    Raises SourceErrors and InputError as `compile_source`, but for ranges."""
    parse_network(network)
    tree = _parse(text, filename, dims or {})
    lowered, warnings = _lower(tree, dims or {})
    nothing = Expanded([], [], [], [], []), Assigned([], (), {})
    plan = make_plan(lowered, lowered, *nothing, Options(network, checked))
    return Stages(tree, lowered, lowered, plan, tuple(warnings))


def planned(lowered: Graph, options: Options) -> tuple[Graph, Plan, list[Diagnostic]]:
    """The graph that the expansion took, its plan, and the warnings. Raises SourceErrors."""
    whole, unchecked = with_training(with_checks(lowered) if options.checked else lowered)
    graph, found = passes.run(whole, checked=options.checked)
    found += unchecked
    expanded = expand(with_rounding(graph), parse_network(options.network), feed_name, origin)
    assigned = assign(expanded, feed_stages(graph))
    plan = make_plan(graph, lowered, expanded, assigned, options, claims(lowered))
    found += [report(graph, w.value, w.message, w.help, "warning") for w in expanded.warnings]
    found += [] if options.checked else [_unkept(lowered, value) for value in of_trained_weights(lowered)]
    return graph, plan, found


def _unkept(graph: Graph, value: Value) -> Diagnostic:
    message = "whether this promise still holds after training is not checked, and a prediction that breaks it is wrong"
    help = "leave the promise out, or compile with `--checked` (`checked=True`), which says in each run whether it held"
    return report(graph, value, message, help, "warning")


def _parse(text: str, filename: str, dims: Mapping[str, int]) -> ast.Model:
    """The syntax tree; syntax errors come together with the errors of what could be read."""
    try:
        return parse(text, filename)
    except SyntaxErrors as found:
        errors = list(found.diagnostics)
        try:
            if found.rest is not None:
                _lower(found.rest, dims, found.unread)
        except SourceErrors as behind:
            errors += behind.diagnostics
        raise SourceErrors(errors, text) from None


def _lower(tree: ast.Model, dims: Mapping[str, int], unread: Unread | None = None) -> tuple[Graph, list[Diagnostic]]:
    """The lowered graph; errors come together with those that the passes find in what could be lowered."""
    try:
        return lower(tree, dims, unread)
    except ModelErrors as found:
        errors = list(found.diagnostics)
        try:
            passes.run(found.graph)
        except SourceErrors as behind:
            errors += [each for each in behind.diagnostics if each.severity == "error"]
        raise SourceErrors(errors, tree.source) from None
