"""The compiler on one page: each stage is a function of the one before, and each prints (`mpcc compile --emit`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler import passes
from compiler.assign import Assigned, assign
from compiler.checked import with_checks
from compiler.expand import Expanded, expand
from compiler.expand.layouts import LAN, WAN, Network
from compiler.expand.rounding import with_rounding
from compiler.graph import BATCH, Graph, Input, Kind, Owned, Param, Prepared, Value
from compiler.lower import ModelErrors, lower
from compiler.manifest import manifest
from compiler.ops.serial import to_plain
from compiler.passes.report import report
from compiler.rows import row_axes
from compiler.schedule import schedule
from dsl import ast, parse
from dsl.errors import Diagnostic, SourceErrors, SyntaxErrors, with_source
from mpc_runtime.errors import InputError
from mpc_runtime.plan import Feed, Origin, Plan, Result, Tensor
from mpc_runtime.version import VERSION


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
    link = parse_network(network)
    tree = _parse(text, filename, dims or {})
    lowered, warnings = _lower(tree, dims or {})
    graph, more = passes.run(with_checks(lowered) if checked else lowered)
    expanded = expand(with_rounding(graph), link, feed_name, lambda value: _origin(value))
    setup_feeds = {feed_name(leaf) for leaf in _leaves(graph) if _stage(graph, leaf) == "setup"}
    assigned = assign(expanded, setup_feeds)
    results = _results(expanded, lowered)
    plan = _plan(graph, results, expanded, assigned, {"network": network, "checked": "yes" if checked else "no"})
    more += [report(graph, w.value, w.message, w.help, "warning") for w in expanded.warnings]
    told = sorted((*warnings, *more), key=lambda each: (each.line, each.column))
    return Stages(tree, lowered, graph, plan, with_source(told, text))


def _parse(text: str, filename: str, dims: Mapping[str, int]) -> ast.Model:
    """The syntax tree; syntax errors come together with the errors of what could be read."""
    try:
        return parse(text, filename)
    except SyntaxErrors as found:
        errors = list(found.diagnostics)
        try:
            if found.rest is not None:
                _lower(found.rest, dims, found.lost)
        except SourceErrors as behind:
            errors += behind.diagnostics
        raise SourceErrors(errors, text) from None


def _lower(
    tree: ast.Model, dims: Mapping[str, int], lost: frozenset[str] = frozenset()
) -> tuple[Graph, list[Diagnostic]]:
    """The lowered graph; errors come together with those that the passes find in what could be lowered."""
    try:
        return lower(tree, dims, lost)
    except ModelErrors as found:
        errors = list(found.diagnostics)
        try:
            passes.run(found.graph)
        except SourceErrors as behind:
            errors += [each for each in behind.diagnostics if each.severity == "error"]
        raise SourceErrors(errors, tree.source) from None


def parse_network(text: str) -> Network:
    """lan, wan or rtt=40ms,bandwidth=100Mbps."""
    text = str(text)
    named = {"lan": LAN, "wan": WAN}.get(text.strip().lower())
    if named is not None:
        return named
    units = {"rtt": {"us": 1e-6, "ms": 1e-3, "s": 1.0}, "bandwidth": {"kbps": 1e3, "mbps": 1e6, "gbps": 1e9}}
    found: dict[str, float] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        key, value = key.strip().lower(), value.strip().lower()
        number = value.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = units.get(key, {}).get(value[len(number) :])
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if unit is None or amount <= 0:
            raise InputError(
                f"network: expected `lan`, `wan` or `rtt=40ms,bandwidth=100Mbps`, found {text!r}"
                f" (units: {', '.join(units['rtt'])} and {', '.join(units['bandwidth'])})"
            )
        found[key] = amount * unit
    return Network(found.get("rtt", LAN.round_trip), found.get("bandwidth", LAN.bandwidth))


def feed_name(leaf: Value) -> str:
    """What a leaf's feed is called: its key, with the member's index for an array role."""
    op = leaf.op
    if isinstance(op, Prepared):
        return f"prepared.{op.index}"
    assert isinstance(op, (Input, Param))
    return op.key + "".join(f"[{i}]" for i in op.index_path)


def _origin(value: Value) -> Origin:
    symbol = value.op.symbol or value.op.name.lower()
    label = symbol.replace("`", "").replace("unary ", "")
    if isinstance(value.op, Owned):
        label = value.name or label
    if value.span is None:
        return Origin(label, 0, 0)
    return Origin(label, value.span.line, value.span.column)


def _leaves(graph: Graph) -> list[Value]:
    return [value for value in graph.values() if isinstance(value.op, Owned)]


def _stage(graph: Graph, leaf: Value) -> str:
    if isinstance(leaf.op, Prepared):
        return graph.prepared[leaf.op.index].stage
    return "setup" if isinstance(leaf.op, Param) else "run"


def _plan(
    graph: Graph, results: tuple[Result, ...], expanded: Expanded, assigned: Assigned, options: Mapping[str, str]
) -> Plan:
    scheduled = [schedule(draft, assigned.registers) for draft in assigned.procedures]
    feeds = _feeds(graph, assigned)
    plan = Plan(
        name=graph.name,
        version=VERSION,
        options=(*options.items(), ("precision", f"bits={graph.precision.bits},frac={graph.precision.frac}")),
        roles=tuple(graph.roles),
        dims=tuple(sorted(graph.dims.items())),
        inputs=tuple(_tensor(graph, leaf) for leaf in graph.inputs),
        params=tuple(_tensor(graph, leaf) for leaf in graph.params),
        feeds=feeds,
        results=results,
        registers=tuple(assigned.registers),
        procedures=tuple(procedure for procedure, _ in scheduled),
        leakage=(),
        constants=tuple(expanded.constants),
        origins=tuple(origins for _, origins in scheduled),
        source=graph.source,
        filename=graph.filename,
    )
    return replace(plan, leakage=manifest(plan))


def _tensor(graph: Graph, leaf: Value) -> Tensor:
    op = leaf.op
    assert isinstance(op, (Input, Param))
    allowed = leaf.declared or graph.precision.format_range(leaf.kind)
    dims = tuple(name or "" for name in op.dims) or ("",) * len(leaf.shape)
    member = op.index_path[0] if op.index_path else -1
    lo, hi = float(allowed.lo), float(allowed.hi)
    return Tensor(op.key, op.role, leaf.kind.value, leaf.shape, dims, lo, hi, op.public, member)


def _feeds(graph: Graph, assigned: Assigned) -> tuple[Feed, ...]:
    leaves = {feed_name(leaf): leaf for leaf in _leaves(graph)}
    feeds = []
    gates = [gate for draft in assigned.procedures for gate, _ in draft.ops]
    for name, register in [(feed, gate.outs[0]) for gate in gates for feed in gate.feeds]:
        leaf, t = leaves[name], assigned.registers[register]
        op = leaf.op
        assert isinstance(op, Owned)
        expression, source = "", ""
        if isinstance(op, Prepared):
            nodes = to_plain(graph.prepared[op.index].value)
            expression = json.dumps(nodes, sort_keys=True, separators=(",", ":"))
        else:
            assert isinstance(op, (Input, Param))
            source = op.key
        allowed = leaf.declared or graph.precision.format_range(leaf.kind)
        feeds.append(
            Feed(
                name=name,
                role=op.role,
                stage=_stage(graph, leaf),
                shape=leaf.shape,
                domain=t.domain,
                bits=t.bits,
                scale=graph.precision.frac if leaf.kind is Kind.FIXED else 0,
                public=op.public,
                source=source,
                expression=expression,
                lo=float(allowed.lo),
                hi=float(allowed.hi),
            )
        )
    return tuple(feeds)


def _results(expanded: Expanded, lowered: Graph) -> tuple[Result, ...]:
    """The results, with the name of the dim `batch` at the axis of its rows where a result has them."""
    axes = row_axes(output.value for output in lowered.outputs)
    found = {output.name: axis for output, axis in zip(lowered.outputs, axes, strict=True)}

    def dims(result: Result) -> tuple[str, ...]:
        return tuple(BATCH if axis == found.get(result.name) else "" for axis in range(len(result.shape)))

    return tuple(replace(result, dims=dims(result)) for result in expanded.results)
