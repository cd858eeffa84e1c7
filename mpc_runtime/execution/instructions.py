"""What a party derives from a procedure once, before any execution of it.

A round's openings are sent as one stream of pieces, grouped into messages of at most MESSAGE bytes; both parties derive
the grouping from the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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
        self.constant = {i for i, g in enumerate(self.gates) if g.outs and types[g.outs[0]].form is Form.CONSTANT}
        self.opens = {i: gate for i, gate in enumerate(self.gates) if gate.communicates}
        self.messages = [_messages({i: self.opens[i] for i in r.opens}, types) for r in procedure.rounds]
        self.ahead = list(self._ahead(types))
        self.free_after: dict[int, list[int]] = {}
        """After each op the values that nothing reads any more."""
        self.forget_after: dict[int, list[int]] = {}
        """Those of them beside which there may be a share of a mask, and an operand."""
        self.overwritable: dict[int, frozenset[int]] = {}
        if not procedure.standing:  # a standing one is executed seldom, and needs its arrays until its end
            self.free_after = {i: self._freed(gone) for i, gone in procedure.last_uses.items()}
            wires = {i: [r for r in gone if types[r].form is Form.WIRE] for i, gone in self.free_after.items()}
            self.forget_after = {i: gone for i, gone in wires.items() if gone}
            self.overwritable = overwritable(procedure, types)

    def _ahead(self, types: tuple[Register, ...]) -> Iterator[tuple[int, Gate, int]]:
        """(op, gate, known operand) of gates of which a part needs only what an earlier procedure left."""
        for i, gate in enumerate(self.gates):
            known = gate.known_ahead(types, self.producer)
            if known is not None:
                yield i, gate, known

    def _freed(self, registers: Iterable[int]) -> list[int]:
        """A mask is rebuilt from the openings and from constants, so it needs no other register."""
        return [r for r in registers if self.types[r].form is not Form.CONSTANT]


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
