"""A party's memory, counted from the plan: the live registers, the masks beside them, and the interpreter's own."""

from __future__ import annotations

from .gates import Add, Concat, LinearMap, Open, Product, Select, Square, Unmask
from .gates.linear import Broadcast, Reshape, Slice, Transpose
from .plan import Plan
from .registers import Form

BASE = 56 << 20
"""Resident bytes of an idle party: interpreter, NumPy, kernels, transport (measured on Linux, CPython 3.11)."""

VIEWS = (Reshape, Transpose, Slice, Broadcast)


def peak_memory(plan: Plan) -> int:
    """Bytes that a party's process holds at most during a run."""
    types = plan.registers
    run = plan.procedure("run")
    made = {r for op in run.ops for r in op.gate.outs}
    foreign = {r for op in run.ops for r in op.gate.ins} - made
    kept = sum(types[r].memory_bytes * (3 if types[r].form is Form.WIRE else 1) for r in foreign)
    order = list(run.order)
    last = {r: n for n, i in enumerate(order) for r in (*run.ops[i].gate.ins, *run.ops[i].gate.outs)}
    owner = _owners(plan)
    last_of_owner: dict[int, int] = {}
    for r, n in last.items():
        last_of_owner[owner.get(r, r)] = max(last_of_owner.get(owner.get(r, r), 0), n)
    ahead = {
        i: types[op.gate.z].memory_bytes
        for i, op in enumerate(run.ops)
        if isinstance(op.gate, Product) and ({op.gate.x, op.gate.y} & foreign) and types[op.gate.x].form.masked
        and types[op.gate.y].form.masked
    }
    live = sum(ahead.values())
    peak = live
    held: dict[int, int] = {}
    for n, i in enumerate(order):
        gate = run.ops[i].gate
        for r in gate.outs:
            if owner.get(r, r) == r and i not in ahead:
                held[r] = types[r].memory_bytes
        now = live + sum(held.values()) + _temporary(plan, gate)
        peak = max(peak, now)
        for r in [r for r in held if last_of_owner[r] <= n]:
            del held[r]
        if i in ahead:
            live -= ahead[i]
            held[gate.outs[0]] = ahead[i]
    return BASE + kept + peak


def _owners(plan: Plan) -> dict[int, int]:
    """The register whose array a view shows."""
    owner: dict[int, int] = {}
    for op in plan.procedure("run").ops:
        gate = op.gate
        if isinstance(gate, VIEWS):
            owner[gate.y] = owner.get(gate.x, gate.x)
    return owner


def _temporary(plan: Plan, gate: object) -> int:
    """What an op holds beside its operands and results."""
    types = plan.registers
    if isinstance(gate, (Product, Square, Unmask)):
        return sum(types[r].memory_bytes for r in gate.ins if types[r].form is Form.WIRE)
    if isinstance(gate, Select):
        return types[gate.x].memory_bytes
    if isinstance(gate, (Open, LinearMap, Add, Concat)):
        return 0
    return 0
