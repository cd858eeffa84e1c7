"""What a plan says of private releases, against its op-list: each result that is declared with noise has it, and what
has a budget reaches nobody without. How wide noise must be, its gates infer themselves (`gates/noise.py`).

What is computed with a result behind its noise is free: it tells no more of a person. So the walk back from what is
revealed ends, on every way, at the noise, or else at what a role has given. It ends too at the noise of gradients, and
at bits that roles are told anyway, whether limits were kept: what was learnt beyond them is withheld by these bits.
"""

from __future__ import annotations

import json
import math

from ..gates import Gate, GradientNoise, Materialize, Noise, Reshape, Reveal, Unmask
from ..gates.rules import Refused, expect
from ..plan import BATCH, Budget, Feed, Plan, Privacy, Result
from ..plan import Noise as Declared
from ..privacy.accountant import capacity
from ..privacy.noise import MAX_EPSILON, hides_nothing
from ..procedure import TRAIN_STEP
from ..registers import Domain

__all__ = [
    "Lineage",
    "check_declared",
    "check_releases",
    "is_private",
    "is_private_in",
    "tensors_in",
]

SAME = (Materialize, Unmask, Reshape)
"""Gates whose result has the bits of their operand."""


class Lineage:
    """Which feeds the results of a plan depend on."""

    def __init__(self, plan: Plan) -> None:
        self._feeds = {feed.name: feed for feed in plan.feeds}
        self._promises = {result.name for result in plan.results if result.promises}
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
        self._told = self._bits_told(plan)

    def _bits_told(self, plan: Plan) -> set[int]:
        """The registers of bits each of which a role is told as whether a limit was kept."""
        told: set[int] = set()
        pending = [r for name in self._promises for gate in self._reveals.get(name, ()) for r in gate.ins]
        while pending:
            register = pending.pop()
            told.add(register)
            pending += [r for gate in self._writers.get(register, ()) if isinstance(gate, SAME) for r in gate.ins]
        return {register for register in told if plan.registers[register].domain is Domain.BITS}

    def feeds(self, result: str, *, noisy: bool = True) -> set[Feed]:
        """Those that a result depends on. noisy: also where that is behind the result's own noise."""
        found: set[Feed] = set()
        ends: set[int] = set() if result in self._promises else self._told
        pending = [r for gate in self._reveals.get(result, ()) for r in gate.ins]
        seen: set[int] = set()
        while pending:
            register = pending.pop()
            if register in seen:
                continue
            seen.add(register)
            if register in ends:
                continue
            pending += self._kept.get(register, ())
            for gate in self._writers.get(register, ()):
                if isinstance(gate, GradientNoise):
                    continue
                if not noisy and isinstance(gate, Noise) and gate.result_name == result:
                    continue
                found |= {self._feeds[name] for name in gate.feeds}
                pending += gate.ins
        return found


def is_private(plan: Plan) -> bool:
    """Whether an execution releases what the parties' privacy ledgers count, by what the plan says."""
    return any(is_private_in(plan, procedure.name) for procedure in plan.procedures)


def is_private_in(plan: Plan, stage: str) -> bool:
    """Whether executions of this procedure do."""
    if stage == TRAIN_STEP and plan.privacy is not None:
        return True
    gives = plan.procedure(stage).gives
    noisy = any(result.noise is not None for result in plan.results if result.name in gives)
    limited = {(budget.source, budget.role) for budget in plan.budgets}
    given = [tensor for tensor in plan.inputs if stage in tensor.stages]
    return noisy or any(t.flipped or (t.name, t.role) in limited for t in given)


def check_declared(plan: Plan) -> None:
    """That what is declared of budgets and noise makes sense, whatever the ops are. Raises Refused."""
    for budget in plan.budgets:
        _check_budget(plan, budget)
    if plan.privacy is not None:
        _check_privacy(plan, plan.privacy)
    for result in plan.results:
        if result.noise is not None:
            _check_noise(result, result.noise)


def check_releases(plan: Plan) -> None:
    """That the ops do as is declared. Raises Refused."""
    lineage = Lineage(plan)
    if plan.privacy is not None:
        _check_trained(plan, lineage)
    for result in plan.results:
        if result.noise is not None:
            bare = lineage.feeds(result.name, noisy=False)
            expect(not bare, f"`{result.name}` is declared with noise, but is revealed without")
        elif not result.promises and plan.budgets:
            _check_unlimited(plan, result, lineage.feeds(result.name))
    _check_one_use(plan)


def _check_budget(plan: Plan, budget: Budget) -> None:
    tensors = [t for t in plan.inputs if (t.name, t.role) == (budget.source, budget.role)]
    expect(bool(tensors), f"a budget is for `{budget.source}` of {budget.role}, which is no input")
    expect(not any(t.public for t in tensors), f"`{budget.source}` has a budget, but is public")
    _check_spent(budget.epsilon, budget.delta, f"the budget of `{budget.source}`")


def _check_privacy(plan: Plan, privacy: Privacy) -> None:
    """The chance of a row follows from the size of a batch, and the room from the chance."""
    for what, size in (("norm", privacy.clip), ("noise", privacy.noise), ("unit", privacy.unit)):
        expect(0 < size < math.inf, f"the privacy of training: expected a {what} above 0, found {size:g}")
    expect(0 <= privacy.rounding < math.inf, "the privacy of training: expected a rounding of at least 0")
    expect(0 < privacy.delta < 1, f"the privacy of training: expected a delta of 0 to 1, found {privacy.delta:g}")
    nothing = hides_nothing(privacy.delta, privacy.noise)
    expect(not nothing, f"the noise of training, {privacy.noise:g} times as wide as what it hides, hides nothing")
    expect(privacy.batch == dict(plan.dims).get(BATCH), "the privacy of training is of batches of another size")
    room = capacity(privacy.batch)
    expect(privacy.most == room, f"a step of private training has room for {room} rows, found {privacy.most}")


def _check_trained(plan: Plan, lineage: Lineage) -> None:
    """What training learns from rows is behind noise, whoever is told of it and in whichever procedure."""
    steps = [procedure.takes for procedure in plan.procedures if procedure.name == TRAIN_STEP]
    taken = {feed for feed in plan.feeds if not feed.public and any(feed.name in takes for takes in steps)}
    for result in plan.results:
        bare = taken & lineage.feeds(result.name) if not result.promises else set()
        expect(not bare, f"`{result.name}` depends on rows of training without noise")


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
