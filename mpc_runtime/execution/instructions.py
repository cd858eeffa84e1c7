"""What a party derives from a procedure once, before any execution of it.

A round's openings are sent as one stream of pieces, grouped into messages of at most MESSAGE bytes; both parties derive
the grouping from the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..analysis.reuse import overwritable
from ..gates import Gate
from ..plan import Plan
from ..procedure import Procedure
from ..registers import Form, Register

__all__ = ["Instructions", "Piece", "Where"]

MESSAGE = 1 << 19
"""Bytes of one message at most: its cost is that of its bytes, and it is small enough to overlap its sending."""


class Instructions:
    """The gates of a procedure, with operands, last uses and the messages of each round."""

    def __init__(self, plan: Plan, procedure: Procedure) -> None:
        types = self.types = plan.registers
        self.gates: list[Gate] = [op.gate for op in procedure.ops]
        self.secrets = [gate.secrets(types) for gate in self.gates]
        self.receivers = [op.receiver for op in procedure.ops]
        self.rounds = procedure.rounds
        self.producer = procedure.producer
        self.reads, self.keeps = procedure.reads, procedure.keeps
        self.opens = {i: gate for i, gate in enumerate(self.gates) if gate.communicates}
        self.messages = [_messages({i: self.opens[i] for i in r.opens}, types) for r in procedure.rounds]
        self.ahead = list(self._ahead(types))
        standing = procedure.standing  # executed seldom, and needs its arrays until its end
        self.overwritable = {} if standing else overwritable(procedure, types)
        last_uses = {} if standing else procedure.last_uses
        self.steps = [self._step(i, gate, last_uses.get(i, ())) for i, gate in enumerate(self.gates)]
        """Of each op."""

    def _ahead(self, types: tuple[Register, ...]) -> Iterator[tuple[int, Gate, int]]:
        """(op, gate, known operand) of gates of which a part needs only what an earlier procedure left."""
        for i, gate in enumerate(self.gates):
            known = gate.known_ahead(types, self.producer)
            if known is not None:
                yield i, gate, known

    def _step(self, op: int, gate: Gate, last_used: Iterable[int]) -> Step:
        """A mask is rebuilt from the openings and from constants, so it needs no other register."""
        constant = bool(gate.outs) and self.types[gate.outs[0]].form is Form.CONSTANT
        freed = tuple(r for r in last_used if self.types[r].form is not Form.CONSTANT)
        forgotten = tuple(r for r in freed if self.types[r].form is Form.WIRE)
        return Step(op, None if constant or gate.communicates else gate.evaluate, freed, forgotten)


class Step(NamedTuple):
    """What a party does at an op."""

    op: int
    evaluate: Callable[[Any], None] | None
    """None where there is nothing to compute: for constants, and for openings."""
    freed: tuple[int, ...]
    """The values that nothing reads any more."""
    forgotten: tuple[int, ...]
    """Those of them beside which there may be a share of a mask, and an operand."""


class Where:
    """An op's name for messages, made only when it is read."""

    __slots__ = ("op", "plan", "procedure")

    def __init__(self, plan: Plan, procedure: str, op: int) -> None:
        self.plan, self.procedure, self.op = plan, procedure, op

    def __str__(self) -> str:
        return self.plan.where(self.procedure, self.op)


@dataclass(frozen=True)
class Piece:
    """Elements [start, start + n) of an opening, and their bytes in a message."""

    op: int
    start: int
    n: int
    size: int


def _messages(opens: Mapping[int, Gate], types: tuple[Register, ...]) -> list[tuple[int, list[Piece]]]:
    """The pieces of a round's openings in messages: (bytes, pieces)."""
    out: list[tuple[int, list[Piece]]] = []
    for op, gate in opens.items():
        for start, n, size in gate.segments(types):
            if not out or out[-1][0] + size > MESSAGE:
                out.append((0, []))
            total, pieces = out[-1]
            pieces.append(Piece(op, start, n, size))
            out[-1] = (total + size, pieces)
    return out
