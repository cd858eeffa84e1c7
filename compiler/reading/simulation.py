"""`mpcc run --simulate`: the plan's ring meaning in one process, beside float64, and every value out of its range.

A plain run cannot see a broken promise: a value outside its range gives a wrong number, not an error. Here all values
are in clear, so it can be seen; for the author's own data on the author's own machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.graph import Graph, Leaf, Value
from compiler.reading.prepared import prepare_feed
from compiler.reading.reference import evaluate, evaluate_values, leaf_values
from mpc_runtime.encoding.fixed_point import decode
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.plan import Plan
from mpc_runtime.plan_file import read
from mpc_runtime.procedure import RUN
from mpc_runtime.roles.batches import BATCH, Batches
from mpc_runtime.roles.files import parameters
from mpc_runtime.roles.inputs import Given

Array = np.ndarray

ROUNDING = 2.0**-10
"""Part of a range by which a value may leave it through rounding; registers have this much room."""


@dataclass(frozen=True)
class Violation:
    """A value that left its range: where it is made, what was promised or derived, the worst element and how many."""

    name: str
    line: int
    expected: str
    found: float
    index: tuple[int, ...]
    count: int
    first_row: int = 0
    """Of the run in which it is, where many rows take several."""

    def __str__(self) -> str:
        at = list(self.index) if self.index else "the value"
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        run = f", in the run that begins with row {self.first_row}" if self.first_row else ""
        return (
            f"line {self.line}: `{self.name}` is expected in {self.expected}, found {self.found:g} at {at}{run}{more}"
        )


@dataclass(frozen=True)
class Simulation:
    """results: what the parties would have computed; reference: float64; errors: their largest difference by result.

    checks: the promises of a plan compiled as `checked`, and whether this run would have found each one kept.
    """

    results: dict[str, Array]
    reference: dict[str, Array]
    errors: dict[str, float]
    violations: tuple[Violation, ...]
    checks: dict[str, bool]

    @property
    def broken(self) -> tuple[str, ...]:
        """The checks that did not hold: a session raises InputError for them."""
        return tuple(promise for promise, kept in self.checks.items() if not kept)


def simulate(plan: Plan, graph: Graph, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Simulation:
    """One run in clear. Raises InputError as a session would, before anything is computed."""
    simulator = Simulator(read(plan.to_bytes()))  # what servers would load
    encoded = _encoded(plan, inputs, params)
    simulator.execute("setup", (os.urandom(16), os.urandom(16)), encoded["setup"])
    words = simulator.execute("run", (os.urandom(16), os.urandom(16)), encoded["run"])
    told = [r for r in plan.results if r.name in plan.procedure(RUN).gives]
    decoded = {r.name: decode(words[r.name].astype(np.uint64), r.bits, r.scale, r.kind) for r in told}
    results = {r.name: decoded[r.name] for r in plan.outputs}
    checks = {str(promise): kept for r in told if r.promises for promise, kept in r.kept(decoded[r.name])}
    reference = evaluate(graph, inputs, params)
    errors = {
        name: float(np.abs(results[name].astype(np.float64) - reference[name].astype(np.float64)).max(initial=0.0))
        for name in results
    }
    return Simulation(results, reference, errors, tuple(_violations(graph, inputs, params)), checks)


def simulate_rows(plan: Plan, graph: Graph, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Simulation:
    """Any number of rows along the dim `batch`, one run after the other, the last filled up; of each value the worst of
    its violations."""
    tensors = [t for t in plan.inputs if RUN in t.stages]
    if not any(t.name in inputs and BATCH in t.dims for t in tensors):
        return simulate(plan, graph, inputs, params)
    stacked = Given(plan, plan.roles, prepare_feed, stacked=True).stacked
    batches = Batches(plan, tensors, plan.outputs, inputs, stacked)
    if batches.runs == 1 and batches.rows == batches.size:
        return simulate(plan, graph, inputs, params)
    parts = [simulate(plan, graph, batch, params) for batch in batches]
    starts = range(0, batches.rows, batches.size)
    worst: dict[tuple[str, int, str], Violation] = {}
    for part, start in zip(parts, starts, strict=True):
        for found in part.violations:
            before = worst.get(key := (found.name, found.line, found.expected), found)
            chosen = found if before is found or abs(found.found) > abs(before.found) else before
            row = start if chosen is found else before.first_row
            count = found.count if before is found else before.count + found.count
            worst[key] = replace(chosen, first_row=row, count=count)
    return Simulation(
        batches.join([batches.cut(part.results, start) for part, start in zip(parts, starts, strict=True)]),
        batches.join([batches.cut(part.reference, start) for part, start in zip(parts, starts, strict=True)]),
        {name: max(part.errors[name] for part in parts) for name in parts[0].errors},
        tuple(sorted(worst.values(), key=lambda each: each.line)),
        {promise: all(part.checks[promise] for part in parts) for promise in parts[0].checks},
    )


def _encoded(plan: Plan, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """stage -> feed -> ring elements, for all roles, as a session that plays them makes them."""
    given = Given(plan, plan.roles, prepare_feed, stacked=True)
    weights = parameters(params, {}, [t.name for t in plan.params], strict=True)
    provided = given.check(plan.params, weights, "parameter")
    submitted = given.check(given.tensors(RUN), inputs, "input")
    by_role = {"setup": given.encode("setup", provided, provided), "run": given.encode("run", submitted, provided)}
    return {
        stage: {name: feed for own in feeds.values() for name, feed in own.items()} for stage, feeds in by_role.items()
    }


def _violations(graph: Graph, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> list[Violation]:
    values = [v for v in graph.values() if not v.is_constant]
    arrays = evaluate_values(values, leaf_values(graph, inputs, params), graph.precision)
    shared = _shared(graph, values)
    found = [
        _violation(graph, value, array, shared=value in shared) for value, array in zip(values, arrays, strict=True)
    ]
    return sorted((v for v in found if v is not None), key=lambda v: v.line)


def _shared(graph: Graph, values: Iterable[Value]) -> set[Value]:
    """The values that exist in the ring. What leads from one owner's values to others of that owner does not: the
    owner's client computes it in float64 before it shares (`compiler.passes.prepare`)."""
    values = list(values)
    alone = {value for value in values if len(value.owners) == 1 and not isinstance(value.op, Leaf)}
    read = {arg for value in values if value not in alone for arg in value.args}
    return (set(values) - alone) | read | {output.value for output in graph.outputs}


def _violation(graph: Graph, value: Value, array: Array, shared: bool) -> Violation | None:
    if not shared and value.declared is None:
        return None
    whole = graph.precision.format_range(value.kind)
    allowed = (value.range.intersect(whole) or whole) if shared else value.declared or whole
    room = ROUNDING * max(1.0, allowed.magnitude)
    numbers = array.astype(np.float64)
    wrong = ~((numbers >= allowed.lo - room) & (numbers <= allowed.hi + room))
    if not wrong.any():
        return None
    beyond = np.where(wrong, np.maximum(allowed.lo - numbers, numbers - allowed.hi), -np.inf)
    worst = np.unravel_index(int(np.nan_to_num(beyond, nan=np.inf).argmax()), numbers.shape)
    symbol = value.op.symbol.strip("`") or value.op.name
    line = value.span.line if value.span else 0
    index = tuple(int(i) for i in worst)
    return Violation(value.name or symbol, line, str(allowed), float(numbers[worst]), index, int(wrong.sum()))
