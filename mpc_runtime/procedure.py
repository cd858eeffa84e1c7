"""A procedure of a plan: what machines execute, in which order and rounds, and all that they ask about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .gates import Gate

__all__ = [
    "BROKEN",
    "CARRY",
    "CHECK",
    "CLOCK",
    "COUNTED",
    "DRAWN",
    "EVALUATE",
    "FINISH",
    "METRICS",
    "PACE",
    "RESCALE",
    "ROWS",
    "RUN",
    "SCALE",
    "SETUP",
    "TRAINING",
    "TRAIN_STEP",
    "UNCHECKED",
    "Kept",
    "Op",
    "Procedure",
    "Round",
]

SETUP, RUN, TRAIN_STEP, FINISH = "setup", "run", "train_step", "finish"
"""The procedures that the compiler makes: `setup` takes the parameters, `run` computes one batch, `train_step` changes
the parameters by what one batch teaches, `finish` releases them."""

EVALUATE, METRICS = "evaluate", "metrics"
"""`evaluate` adds up what a batch of validation rows says of the parameters, `metrics` tells the sums of an epoch."""

CHECK, RESCALE = "check", "rescale"
"""`check` tells what checks of steps have found, `rescale` changes what momentums remember for another rate."""

BROKEN = "broken limits"
"""The state that counts what checks of steps have found: 0 wherever a checkpoint may be written."""

UNCHECKED = "unchecked norms"
"""The state with squared norms of a step that the next execution compares with their limits, whichever it is."""

CLOCK = "training."
"""Before `epoch` and `step`, the names of what a session gives a step of training by itself."""

CARRY, ROWS = CLOCK + "carry", CLOCK + "rows"
"""What a session gives where metrics are added up: 1 where they go on, 0 where they begin; how many rows of a batch
count, from the first."""

DRAWN = CLOCK + "drawn"
"""What a session gives a step of private training: for each row whether it was drawn."""
SCALE = CLOCK + "scale"
"""By what `rescale` multiplies."""

PACE = "learning rate"
"""What a public number is called that follows the epoch and the step, in the manifest."""

COUNTED = "rows that count"
"""What a public list of 1 and 0 is called that says which rows of a batch count, in the manifest."""

TRAINING = (TRAIN_STEP, EVALUATE, METRICS, CHECK, RESCALE, FINISH)
"""Those that only a model with a `train` block has."""


@dataclass(frozen=True)
class Op:
    """One instruction. receiver: the party that is sent the op's corrections."""

    gate: Gate
    receiver: int


@dataclass(frozen=True)
class Round:
    """One message each way. Numbers of ops of the procedure, in the order of execution: `before` feeds the openings,
    `overlap` is done while their messages travel."""

    before: tuple[int, ...]
    opens: tuple[int, ...]
    overlap: tuple[int, ...]


@dataclass(frozen=True)
class Kept:
    """A value that outlives its execution: later ones find in register `place` what this one has in `made`."""

    made: int
    place: int


@dataclass(frozen=True)
class Procedure:
    """An op-list with its schedule, and all that machines ask about its executions. `rounds[-1]` may have no openings.

    ahead:    its records of material are dealt ahead of the parties while they execute it; else one is dealt when p0
              asks for it.
    standing: what roles give it stays with the parties until they give anew, and then it is executed again; else an
              execution uses it up. The parties execute nothing else before all that is standing.
    keeps:    what it leaves for later executions, of this procedure too.
    """

    name: str
    ahead: bool
    standing: bool
    keeps: tuple[Kept, ...]
    ops: tuple[Op, ...]
    rounds: tuple[Round, ...]

    @property
    def gates(self) -> Iterator[Gate]:
        return (op.gate for op in self.ops)

    @cached_property
    def producer(self) -> dict[int, int]:
        """The op that writes each register."""
        return {r: i for i, op in enumerate(self.ops) for r in op.gate.outs}

    @cached_property
    def made(self) -> frozenset[int]:
        """The registers that its ops write."""
        return frozenset(self.producer)

    @cached_property
    def reads(self) -> frozenset[int]:
        """The registers that it finds as an earlier execution left them."""
        return frozenset(r for gate in self.gates for r in gate.ins) - self.made

    @cached_property
    def takes(self) -> frozenset[str]:
        """The feeds that roles give it."""
        return frozenset(name for gate in self.gates for name in gate.feeds)

    @cached_property
    def gives(self) -> frozenset[str]:
        """The results that it sends to roles."""
        return frozenset(name for gate in self.gates for name in gate.results)

    @cached_property
    def last_uses(self) -> dict[int, tuple[int, ...]]:
        """Op -> the registers that are not needed after it. What was found or is kept is needed for ever."""
        last: dict[int, int] = {}
        for i in self.order:
            last.update(dict.fromkeys((*self.ops[i].gate.ins, *self.ops[i].gate.outs), i))
        needed = {kept.made for kept in self.keeps}
        gone: dict[int, tuple[int, ...]] = {}
        for register, i in last.items():
            if register in self.made and register not in needed:
                gone[i] = (*gone.get(i, ()), register)
        return gone

    @property
    def order(self) -> Iterator[int]:
        """Every op in the order in which all machines work (and material flows)."""
        for r in self.rounds:
            yield from r.before
            yield from r.opens
            yield from r.overlap
