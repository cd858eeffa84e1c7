"""Order and rounds of an op-list.

A round opens everything that is ready for it; what its openings do not need is done while their messages travel. The
parties that are sent corrections take turns, so that both of the dealer's links carry about half.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_runtime.gates import Gate
from mpc_runtime.plan import Origin
from mpc_runtime.procedure import Kept, Op, Procedure, Round
from mpc_runtime.registers import Register


@dataclass(frozen=True)
class Unscheduled:
    """A procedure (see `mpc_runtime.procedure`) before its order and its rounds are known: operands come first."""

    name: str
    ahead: bool
    standing: bool
    keeps: tuple[Kept, ...]
    ops: list[tuple[Gate, Origin]]


def schedule(unscheduled: Unscheduled, registers: list[Register]) -> tuple[Procedure, tuple[Origin, ...]]:
    """A procedure whose ops are numbered in the order of execution, and their origins in the same order."""
    gates = [gate for gate, _ in unscheduled.ops]
    level = _levels(gates)
    rounds: list[tuple[list[int], list[int], list[int]]] = []
    at_level: list[list[int]] = [[] for _ in range(max(level, default=0) + 1)]
    for i, at in enumerate(level):
        at_level[at].append(i)
    for here in at_level:
        opens = [i for i in here if gates[i].communicates]
        local = [i for i in here if not gates[i].communicates]
        needed = _needed_by(opens, local, gates) if opens else set(local)
        rounds.append(([i for i in local if i in needed], opens, [i for i in local if i not in needed]))
    order = [i for parts in rounds for part in parts for i in part]
    place = {old: new for new, old in enumerate(order)}
    numbered = tuple(Round(*(tuple(place[i] for i in part) for part in parts)) for parts in rounds)
    ops = _with_receivers([gates[i] for i in order], registers)
    procedure = Procedure(unscheduled.name, unscheduled.ahead, unscheduled.standing, unscheduled.keeps, ops, numbered)
    return procedure, tuple(unscheduled.ops[i][1] for i in order)


def _levels(gates: list[Gate]) -> list[int]:
    """The round before which each gate is done; an opening at level r is part of round r."""
    ready: dict[int, int] = {}
    level = []
    for gate in gates:
        at = max((ready.get(r, 0) for r in gate.ins), default=0)
        level.append(at)
        for out in gate.outs:
            ready[out] = at + 1 if gate.communicates else at
    return level


def _needed_by(opens: list[int], local: list[int], gates: list[Gate]) -> set[int]:
    """The local gates of a level that its openings read, directly or not."""
    wanted = {r for i in opens for r in gates[i].ins}
    needed = set()
    for i in reversed(local):
        if not wanted.isdisjoint(gates[i].outs):
            needed.add(i)
            wanted.update(gates[i].ins)
    return needed


def _with_receivers(gates: list[Gate], registers: list[Register]) -> tuple[Op, ...]:
    sent = [0, 0]
    ops = []
    for gate in gates:
        size = gate.material_bytes(registers)
        receiver = 0 if sent[0] <= sent[1] else 1
        sent[receiver] += size
        ops.append(Op(gate, receiver if size else 0))
    return tuple(ops)
