"""A party's memory, counted from the plan: what is live while each op runs, the shares and the material that wait, the
process.

The count follows the executor: a view shares the array it shows, party 0's shares of a bare masked value are that
value, and the products of masks that are computed ahead wait as long as their op does. A standing procedure, as `setup`
is, frees nothing before its end, where the masks of what it opened are made, so that large parameters take more there
than in any run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from ..encoding.sharing import payload_sizes
from ..gates import Gate
from ..limits import RECORDS_AHEAD, WINDOW_BYTES
from ..plan import Plan
from ..procedure import Procedure
from ..registers import Form

BASE = 66_000_000
"""Resident bytes of an idle party: interpreter, NumPy, kernels, transport, OpenSSL, and huge pages that are not full
(measured on Linux, CPython 3.11)."""

IN_FLIGHT = 8_000_000
"""Messages on their way out and in, with their encrypted copies (executor: WINDOW messages of MESSAGE bytes)."""

HEAP = 1.1
"""What the heap holds for each live byte: holes, less the arrays that ops write over (counted here as new ones)."""


def peak_memory(plan: Plan) -> int:
    """Bytes that a party's process holds at most in any execution, with the default window of material.

    It is party 1's, which is sent its shares; party 0 expands them from a seed.
    """
    staying = sum(_submitted(plan, p) for p in plan.procedures if p.standing)
    busy = [_set_up(plan, p) if p.standing else _executed(plan, p) for p in plan.procedures]
    return BASE + staying + max(busy, default=0)


def _submitted(plan: Plan, procedure: Procedure) -> int:
    """Shares as they come; those of parameters stay, to be opened again beside another role's new ones."""
    return payload_sizes(tuple(feed for role in plan.roles for feed in plan.feeds_of(role, procedure.name)))[1]


def _in_flight(plan: Plan, procedure: Procedure) -> int:
    opened = sum(gate.opened_bytes(plan.registers) for gate in procedure.gates)
    return min(IN_FLIGHT, 2 * opened)


def _executed(plan: Plan, procedure: Procedure) -> int:
    """An execution whose arrays are let go after their last use, beside all that others left."""
    material = sum(gate.material_bytes(plan.registers) for gate in procedure.gates)
    waiting = min(WINDOW_BYTES, RECORDS_AHEAD * material // 2) if procedure.ahead else 0
    live = int(HEAP * max(_live(plan, procedure)))
    return _kept(plan) + live + waiting + _submitted(plan, procedure) + _in_flight(plan, procedure)


def _kept(plan: Plan) -> int:
    """What executions left: masked values with their masks and the operands made of them, and shares."""
    types = plan.registers
    places = {kept.place for p in plan.procedures for kept in p.keeps}
    return sum(types[r].memory_bytes * (3 if types[r].form is Form.WIRE else 1) for r in places)


def _set_up(plan: Plan, procedure: Procedure) -> int:
    """What a standing procedure holds at its end: all that it made, and the masks of what it leaves. A mask of a view
    is a view, of which a contiguous copy is kept."""
    types = plan.registers
    shown = _shown(plan, procedure)
    made = sum(types[r].memory_bytes for r in procedure.made if r not in shown)
    wires = [kept.made for kept in procedure.keeps if types[kept.made].form is Form.WIRE]
    masks = sum(types[r].memory_bytes * (2 if r in shown else 1) for r in wires)
    return made + masks + _in_flight(plan, procedure)


def _live(plan: Plan, run: Procedure) -> Iterator[int]:
    """Bytes of arrays while each op runs."""
    types = plan.registers
    shown = _shown(plan, run)
    last: dict[int, int] = {}
    order = list(run.order)
    for n, i in enumerate(order):
        for r in (*run.ops[i].gate.ins, *run.ops[i].gate.outs):
            last[shown.get(r, r)] = n
    last.update({shown.get(kept.made, kept.made): len(order) for kept in run.keeps})
    waiting = [_computed_ahead(plan, gate, run.made) for gate in run.gates]
    held: dict[int, int] = {}
    ahead = sum(waiting)
    yield ahead
    for n, i in enumerate(order):
        gate = run.ops[i].gate
        ahead -= waiting[i]
        for r in gate.outs:
            if shown.get(r, r) == r:
                held[r] = types[r].memory_bytes
        yield ahead + sum(held.values()) + gate.temporary_bytes(types, shown, run.reads)
        for r in [r for r in held if last[r] <= n]:
            del held[r]


def _computed_ahead(plan: Plan, gate: Gate, made: Container[int]) -> int:
    """Bytes that the part of a gate that needs no input takes until its op, 0 where there is none."""
    if gate.known_ahead(plan.registers, made) is None:
        return 0
    return sum(plan.registers[r].memory_bytes for r in gate.outs)


def _shown(plan: Plan, run: Procedure) -> dict[int, int]:
    """register -> the register whose array it shows."""
    shown: dict[int, int] = {}
    for gate in run.gates:
        if gate.is_view(plan.registers):
            shown[gate.outs[0]] = shown.get(gate.ins[0], gate.ins[0])
    return shown
