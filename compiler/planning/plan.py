"""The plan: what the schedule of an expanded and assigned model is to every machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

from compiler.expand import Expanded
from compiler.graph import BATCH, Graph, Input, Kind, Owned, Param, Prepared, Value, topological
from compiler.planning.assign import Assigned
from compiler.planning.identity import identity
from compiler.planning.schedule import schedule
from compiler.reading.batch_axis import row_axes
from compiler.reading.serial import to_plain
from mpc_runtime.plan import Claim, Feed, Norm, Options, Origin, Plan, Result, State, Tensor
from mpc_runtime.procedure import CLOCK, COUNTED, EVALUATE, PACE, RUN, SETUP, TRAIN_STEP, TRAINING
from mpc_runtime.version import VERSION

__all__ = ["feed_name", "feed_stages", "make_plan", "origin"]


def feed_name(leaf: Value) -> str:
    """What a leaf's feed is called: its key, with the member's index for an array role, behind the procedure that takes
    it where that is not `run`."""
    op = leaf.op
    if isinstance(op, Prepared):
        return f"{leaf.name} {op.index}" if leaf.name in (PACE, COUNTED) else f"prepared.{op.index}"
    assert isinstance(op, (Input, Param))
    stage = f"{op.stage}." if isinstance(op, Input) and op.stage != RUN else ""
    return stage + op.key + "".join(f"[{i}]" for i in op.index_path)


def origin(value: Value) -> Origin:
    """Where an op comes from, in the author's words."""
    symbol = value.op.symbol or value.op.name.lower()
    label = symbol.replace("`", "").replace("unary ", "")
    if isinstance(value.op, Owned):
        label = value.name or label
    if value.span is None:
        return Origin(label, 0, 0, value.part)
    return Origin(label, value.span.line, value.span.column, value.part)


def feed_stages(graph: Graph) -> dict[str, str]:
    """The procedure that takes each feed."""
    return {feed_name(leaf): graph.stage_of(leaf) for leaf in _leaves(graph)}


def _leaves(graph: Graph) -> list[Value]:
    return [value for value in graph.values() if isinstance(value.op, Owned)]


def make_plan(
    graph: Graph,
    lowered: Graph,
    expanded: Expanded,
    assigned: Assigned,
    options: Options,
    claims: tuple[Claim, ...] = (),
) -> Plan:
    """graph: what was expanded; lowered: what the author wrote, whose outputs know their rows; claims: its promises."""
    scheduled = [schedule(each, assigned.registers) for each in assigned.procedures]
    feeds = _feeds(graph, assigned)
    return Plan(
        name=graph.name,
        version=VERSION,
        options=options,
        bits=graph.precision.bits,
        frac=graph.precision.frac,
        roles=graph.roles,
        array_roles=graph.array_roles,
        dims=tuple(sorted(graph.dims.items())),
        inputs=_inputs(graph, lowered),
        params=tuple(_tensor(graph, leaf, (SETUP,)) for leaf in graph.params),
        feeds=feeds,
        budgets=graph.budgets,
        privacy=graph.privacy,
        states=_states(graph, assigned),
        metrics=graph.metrics,
        coins=graph.coins,
        claims=claims,
        model=identity(lowered),
        results=_results(expanded, lowered),
        registers=tuple(assigned.registers),
        procedures=tuple(procedure for procedure, _ in scheduled),
        constants=tuple(expanded.constants),
        origins=tuple(origins for _, origins in scheduled),
        source=graph.source,
        filename=graph.filename,
    )


def _inputs(graph: Graph, lowered: Graph) -> tuple[Tensor, ...]:
    """The inputs, each with the procedures for which its owner gives it."""
    training = lowered.training
    if training is None:
        return tuple(_tensor(graph, leaf, (RUN,)) for leaf in graph.inputs)
    step = {_named(leaf) for leaf in topological([training.loss, *(output.value for output in training.outputs)])}
    loss = {_named(leaf) for leaf in topological([training.loss])}
    validates = any(output.stage == EVALUATE for output in graph.outputs)

    def stages(leaf: Value) -> tuple[str, ...]:
        return (TRAIN_STEP,) * (_named(leaf) in step) + (EVALUATE,) * (validates and _named(leaf) in loss)

    inputs = [_tensor(graph, leaf, (RUN, *stages(leaf))) for leaf in graph.inputs]
    own = [_tensor(graph, leaf, stages(leaf) or (TRAIN_STEP,)) for leaf in training.inputs]
    return (*inputs, *own, *_given_by_sessions(graph))


def _given_by_sessions(graph: Graph) -> Iterator[Tensor]:
    """The epoch and the step, and what else a session gives by itself, where something reads it."""
    prepared = (preparation.value for preparation in graph.prepared)
    found: dict[str, list[Value]] = {}
    for value in topological([*prepared, *(output.value for output in graph.outputs)]):
        if isinstance(value.op, Input) and value.op.key.startswith(CLOCK):
            found.setdefault(value.op.key, []).append(value)
    for name in sorted(found):
        read = {leaf.op.stage for leaf in found[name] if isinstance(leaf.op, Input)}
        yield _tensor(graph, found[name][0], tuple(stage for stage in TRAINING if stage in read))


def _named(leaf: Value) -> tuple[str, str] | None:
    """Whose input it is, and its name."""
    return (leaf.op.role, leaf.op.key) if isinstance(leaf.op, Input) else None


def _tensor(graph: Graph, leaf: Value, stages: tuple[str, ...]) -> Tensor:
    """As for a run: a step of private training has more rows (`Plan.sized`)."""
    op = leaf.op
    assert isinstance(op, (Input, Param))
    allowed = leaf.declared or graph.precision.format_range(leaf.kind)
    dims = tuple(name or "" for name in op.dims) or ("",) * len(leaf.shape)
    lo, hi = float(allowed.lo), float(allowed.hi)
    kind, stacked = leaf.kind.value, bool(op.index_path)
    flipped = op.flipped if isinstance(op, Input) else 0.0
    norm = Norm(op.l1, op.outputs, op.groups) if isinstance(op, Param) and math.isfinite(op.l1) else None
    shape = tuple(graph.dims[BATCH] if dim == BATCH else n for dim, n in zip(dims, leaf.shape, strict=True))
    return Tensor(op.key, op.role, kind, shape, dims, lo, hi, op.public, stages, stacked, flipped, norm)


def _feeds(graph: Graph, assigned: Assigned) -> tuple[Feed, ...]:
    leaves = {feed_name(leaf): leaf for leaf in _leaves(graph)}
    feeds = []
    gates = [gate for each in assigned.procedures for gate, _ in each.ops]
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


def _states(graph: Graph, assigned: Assigned) -> tuple[State, ...]:
    """What a step of training leaves."""
    left = [output.keeps for output in graph.outputs if output.keeps is not None and output.stage == TRAIN_STEP]
    return tuple(State(each.key, assigned.states[each.key], each.unit) for each in left if each.key in assigned.states)


def _results(expanded: Expanded, lowered: Graph) -> tuple[Result, ...]:
    """The results, with the name of the dim `batch` at the axis of its rows where a result has them."""
    axes = row_axes(output.value for output in lowered.outputs)
    found = {output.name: axis for output, axis in zip(lowered.outputs, axes, strict=True)}

    def dims(result: Result) -> tuple[str, ...]:
        return tuple(BATCH if axis == found.get(result.name) else "" for axis in range(len(result.shape)))

    return tuple(replace(result, dims=dims(result)) for result in expanded.results)
