"""A whole model: its values, what is prepared, its outputs, and the walk and the rewriting of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from compiler.graph.kinds import Precision
from compiler.graph.op import Input, Prepared, State
from compiler.graph.values import Value, apply
from mpc_runtime.plan import ArrayRole, Budget, Coins, Metric, Noise, Privacy, Promise
from mpc_runtime.privacy.noise import Law
from mpc_runtime.procedure import RUN, SETUP

if TYPE_CHECKING:
    from compiler.training.limits import Limits
    from compiler.training.optimizers import Optimizer
    from dsl.ast import Span


@dataclass(frozen=True)
class Release:
    """The noise that an output asks for: `plan.Noise` but for what is known of the sensitivity.

    sensitivity: what the author states, if anything. span: of the words behind `with`.
    """

    law: Law
    epsilon: float
    delta: float
    sensitivity: float | None
    made_by: Literal["dealer", "parties"]
    span: Span | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Output:
    """A result of a procedure, and the roles that learn it, or the state as which the parties keep it.

    promises: those that it checks, if it is a bit for each of them. fine: whether it is told in all the fraction bits
    with which it is held, and not in those of the format. release: the noise that it asks for; noise: the one that it
    gets, once its sensitivity is known.
    """

    name: str
    value: Value
    roles: tuple[str, ...]
    span: Span | None = field(default=None, repr=False)
    promises: tuple[Promise, ...] = ()
    release: Release | None = None
    noise: Noise | None = None
    stage: str = RUN
    keeps: State | None = None
    fine: bool = False


@dataclass(frozen=True)
class Measure:
    """What is told once an epoch, as its author wrote it: `metric accuracy to modeller`."""

    name: str
    roles: tuple[str, ...]
    span: Span = field(repr=False)


@dataclass(frozen=True)
class Clipping:
    """How single rows are hidden in training: `plan.Privacy` as the author states it.

    counts: for each row of a step whether it was drawn, as a role gives it; batch: how many are on average. Both are
    known once the block is lowered for as many rows as a step has room for.
    """

    clip: float
    noise: float
    delta: float
    counts: Value | None = None
    batch: int = 0
    span: Span | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Training:
    """A `train` block as its author wrote it.

    rate: the learning rate, a number or a function of the clock, which is the epoch and the step, from 0, as a role
    gives them; inputs: what only training reads; outputs: sent at every step; weights_to: who learns the parameters
    when training is finished; frozen: parameters that stay as they are; limits: of norms; metrics: told once an epoch;
    privacy: under which single rows are hidden.
    """

    loss: Value
    optimizer: Optimizer
    rate: Value
    clock: tuple[Value, Value] | None
    inputs: tuple[Value, ...]
    outputs: tuple[Output, ...]
    weights_to: tuple[str, ...]
    frozen: tuple[Value, ...]
    limits: Limits
    span: Span = field(repr=False)
    metrics: tuple[Measure, ...] = ()
    privacy: Clipping | None = None


@dataclass(frozen=True)
class Preparation:
    """An expression over leaves of `role` alone, which its client evaluates in float64 before sharing.

    `stage` is the procedure that takes it: "setup" when it depends on params only.
    """

    role: str
    value: Value
    name: str
    stage: str


@dataclass(frozen=True)
class Graph:
    """A model. `inputs` and `params` are leaf values in source order, whether or not an output needs them."""

    name: str
    roles: tuple[str, ...]
    array_roles: tuple[ArrayRole, ...]
    dims: Mapping[str, int]
    precision: Precision
    inputs: tuple[Value, ...]
    params: tuple[Value, ...]
    outputs: tuple[Output, ...]
    prepared: tuple[Preparation, ...] = ()
    training: Training | None = None
    layers: Mapping[str, str] = field(default_factory=dict)  # the kind of each layer, by its path
    budgets: tuple[Budget, ...] = ()
    privacy: Privacy | None = None  # of training, once it is known what its steps compute
    metrics: tuple[Metric, ...] = ()  # what the results of the procedure METRICS are, once there is one
    coins: tuple[Coins, ...] = ()  # what a client draws for each step, once there are steps
    source: str = field(default="", repr=False)
    filename: str = "<text>"

    def values(self) -> list[Value]:
        """Every value that an output needs, arguments before their users, in a stable order."""
        return topological(output.value for output in self.outputs)

    def stage_of(self, leaf: Value) -> str:
        """The procedure that takes what a role gives."""
        if isinstance(leaf.op, Prepared):
            return self.prepared[leaf.op.index].stage
        return leaf.op.stage if isinstance(leaf.op, Input) else SETUP

    def uses(self) -> Counter[Value]:
        """How many arguments and outputs refer to each value that an output needs."""
        counts = Counter(output.value for output in self.outputs)
        for value in self.values():
            counts.update(value.args)
        return counts


def topological(roots: Iterable[Value]) -> list[Value]:
    """All values that `roots` need, arguments first; without recursion, for deep models."""
    order: dict[Value, None] = {}
    for root in roots:
        stack: list[tuple[Value, Iterator[Value]]] = [(root, iter(root.args))]
        while stack:
            value, rest = stack[-1]
            if value in order:
                stack.pop()
                continue
            following = next((arg for arg in rest if arg not in order), None)
            if following is None:
                order[value] = None
                stack.pop()
            else:
                stack.append((following, iter(following.args)))
    return list(order)


Rule = Callable[[Value, tuple[Value, ...]], Value]


def rebuild(value: Value, args: tuple[Value, ...]) -> Value:
    """`value` with other arguments (of the same types); itself when they are its own."""
    if all(new is old for new, old in zip(args, value.args, strict=True)):
        return value
    made = apply(value.op, *args, span=value.span, name=value.name, declared=value.declared)
    return replace(made, part=value.part) if value.part else made


def rewrite(graph: Graph, rule: Rule = rebuild) -> Graph:
    """The graph with `rule(value, new arguments)` in the place of each value, arguments first."""
    new: dict[Value, Value] = {}
    for value in graph.values():
        new[value] = rule(value, tuple(new[arg] for arg in value.args))
    return replace(graph, outputs=tuple(replace(output, value=new[output.value]) for output in graph.outputs))
