"""What a plan says of private releases, against its op-list: each result that is declared with noise has it, and what
has a budget reaches nobody without. How wide noise must be, its gates infer themselves (`gates/noise.py`).

What is computed with a result behind its noise is free: it tells no more of a person. So the walk back from what is
revealed ends, on every way, at the noise, or else at what a role has given.
"""

from __future__ import annotations

import json
import math

from ..gates import Gate, Noise, Reveal
from ..gates.rules import Refused, expect
from ..plan import Budget, Feed, Plan, Result
from ..plan import Noise as Declared

__all__ = ["MAX_EPSILON", "Lineage", "check_declared", "check_releases", "is_private", "tensors_in"]

MAX_EPSILON = 64.0
"""More is no privacy, and nothing that a sampler could tell from infinity."""


class Lineage:
    """Which feeds the results of a plan depend on."""

    def __init__(self, plan: Plan) -> None:
        self._feeds = {feed.name: feed for feed in plan.feeds}
        self._writers: dict[int, list[Gate]] = {}
        self._kept: dict[int, list[int]] = {}
        self._reveals: dict[str, list[Gate]] = {}
        for procedure in plan.procedures:
            for gate in procedure.gates:
                for register in gate.outs:
                    self._writers.setdefault(register, []).append(gate)
                for name in gate.results:
                    self._reveals.setdefault(name, []).append(gate)
            for kept in procedure.keeps:
                self._kept.setdefault(kept.place, []).append(kept.made)

    def feeds(self, result: str, *, noisy: bool = True) -> set[Feed]:
        """Those that a result depends on. noisy: also where that is behind the result's own noise."""
        found: set[Feed] = set()
        pending = [r for gate in self._reveals.get(result, ()) for r in gate.ins]
        seen: set[int] = set()
        while pending:
            register = pending.pop()
            if register in seen:
                continue
            seen.add(register)
            pending += self._kept.get(register, ())
            for gate in self._writers.get(register, ()):
                if not noisy and isinstance(gate, Noise) and gate.result_name == result:
                    continue
                found |= {self._feeds[name] for name in gate.feeds}
                pending += gate.ins
        return found


def is_private(plan: Plan) -> bool:
    """Whether a run releases what the parties' privacy ledgers count, by what the plan says."""
    noisy = any(result.noise is not None for result in plan.results)
    return noisy or bool(plan.budgets) or any(tensor.flipped for tensor in plan.inputs)


def check_declared(plan: Plan) -> None:
    """That what is declared of budgets and noise makes sense, whatever the ops are. Raises Refused."""
    for budget in plan.budgets:
        _check_budget(plan, budget)
    for result in plan.results:
        if result.noise is not None:
            _check_noise(result, result.noise)


def check_releases(plan: Plan) -> None:
    """That the ops do as is declared. Raises Refused."""
    lineage = Lineage(plan)
    for result in plan.results:
        if result.noise is not None:
            bare = lineage.feeds(result.name, noisy=False)
            expect(not bare, f"`{result.name}` is declared with noise, but is revealed without")
        elif result.promise is None and plan.budgets:
            _check_unlimited(plan, result, lineage.feeds(result.name))
    _check_one_use(plan)


def _check_budget(plan: Plan, budget: Budget) -> None:
    tensors = [t for t in plan.inputs if (t.name, t.role) == (budget.source, budget.role)]
    expect(bool(tensors), f"a budget is for `{budget.source}` of {budget.role}, which is no input")
    expect(not any(t.public for t in tensors), f"`{budget.source}` has a budget, but is public")
    _check_spent(budget.epsilon, budget.delta, f"the budget of `{budget.source}`")


def _check_noise(result: Result, noise: Declared) -> None:
    _check_spent(noise.epsilon, noise.delta, f"the noise of `{result.name}`")
    expect((noise.law == "gaussian") == (noise.delta > 0), f"`{result.name}`: a delta is Gaussian noise's alone")
    for what, size in (("sensitivity", noise.sensitivity), ("rounding", noise.rounding)):
        expect(0 <= size < math.inf, f"`{result.name}`: expected a {what} of at least 0, found {size:g}")
    expect(noise.sensitivity > 0, f"`{result.name}`: noise that hides nothing")


def _check_spent(epsilon: float, delta: float, what: str) -> None:
    expect(0 < epsilon <= MAX_EPSILON, f"{what}: expected an epsilon of 0 to {MAX_EPSILON:g}, found {epsilon:g}")
    expect(0 <= delta < 1, f"{what}: expected a delta of 0 to 1, found {delta:g}")


def _check_unlimited(plan: Plan, result: Result, feeds: set[Feed]) -> None:
    """Nothing of an input with a budget is in a result without noise, unless its client has answered at random."""
    limited = {(budget.source, budget.role) for budget in plan.budgets}
    flipped = {(tensor.name, tensor.role) for tensor in plan.inputs if tensor.flipped}
    for feed in feeds:
        for name in tensors_in(feed):
            bare = (name, feed.role) in limited - flipped
            expect(not bare, f"`{result.name}` has no noise, but depends on `{name}`, which has a budget")


def _check_one_use(plan: Plan) -> None:
    """The noise of a result hides that result alone: another one with the same would tell their difference."""
    noisy = [gate for procedure in plan.procedures for gate in procedure.gates if isinstance(gate, Noise)]
    names = [gate.result_name for gate in noisy]
    expect(len(set(names)) == len(names), "the noise of a result is drawn twice")
    readers: dict[int, list[Gate]] = {}
    for procedure in plan.procedures:
        for gate in procedure.gates:
            for register in gate.ins:
                readers.setdefault(register, []).append(gate)
    for gate in noisy:
        reached, pending = set(), [gate.y]
        while pending:
            for reader in readers.get(pending.pop(), ()):
                if isinstance(reader, Reveal):
                    reached.add(reader.result_name)
                pending += reader.outs
        expect(reached <= {gate.result_name}, f"the noise of `{gate.result_name}` is in another result too")


def tensors_in(feed: Feed) -> list[str]:
    """The tensors of its role that a feed is, or is prepared from."""
    if feed.source:
        return [feed.source]
    try:
        leaves = [node["fields"] for node in json.loads(feed.expression) if node["op"] in ("Input", "Param")]
        return [str(fields["key"]) for fields in leaves]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("the expression cannot be read") from None
