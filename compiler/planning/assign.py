"""After expansion: what is needed, where it is computed, in which ring and in which form.

    live        gates that no result needs are dropped
    rings       from the results backwards, every register gets the bits that its readers demand; a state has the ring
                of the widest reader among all procedures
    forms       where true shares or shares of a mask are needed later, `Materialize` ships the offset first
    stages      what depends on parameters alone belongs to `setup`, all else to the procedure whose leaves it reads

Each is one walk over the op-list, in this order: forms need rings (they decide what is shipped), rings need live gates.
Which procedure an op belongs to is `stages.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.expand import Expanded
from compiler.expand.emitter import CONSTANT, PUBLIC, SHARE, WIRE
from compiler.planning.schedule import Unscheduled
from compiler.planning.stages import Staged, staged
from mpc_runtime.gates import Gate, Materialize
from mpc_runtime.gates.base import register_fields
from mpc_runtime.gates.maps import View
from mpc_runtime.plan import Origin
from mpc_runtime.procedure import EVALUATE, RUN, SETUP, TRAIN_STEP, Kept
from mpc_runtime.registers import Domain, Form, Register

_FORMS = {SHARE: Form.SHARED, WIRE: Form.WIRE, PUBLIC: Form.PUBLIC, CONSTANT: Form.CONSTANT}
AHEAD = (RUN, TRAIN_STEP, EVALUATE)
"""The procedures whose records are dealt while they are executed."""


@dataclass
class Assigned:
    """The registers with their types, the procedures, and the register of each state."""

    registers: list[Register]
    procedures: tuple[Unscheduled, ...]
    states: Mapping[str, int]


def assign(expanded: Expanded, feed_stages: Mapping[str, str]) -> Assigned:
    """feed_stages: the procedure that takes each feed."""
    left = {each.register for each in expanded.left}
    ops = _live(expanded.ops, left)
    types = _rings(expanded, ops)
    ops, types, renamed = _forms(ops, types, left)
    keeps = [(each.stage, each.key, renamed.get(each.register, each.register)) for each in expanded.left]
    found = staged(ops, types, feed_stages, expanded.stages, expanded.states, keeps)
    return _renumbered(found)


def _live(ops: list[tuple[Gate, Origin]], left: set[int]) -> list[tuple[Gate, Origin]]:
    wanted = set(left)
    kept = []
    for gate, origin in reversed(ops):
        if not gate.outs or not wanted.isdisjoint(gate.outs):
            wanted.update(gate.ins)
            kept.append((gate, origin))
    return kept[::-1]


def _rings(expanded: Expanded, ops: list[tuple[Gate, Origin]]) -> list[Register]:
    """As wide as readers prefer. In training, where that takes a product out of the rings in which it is quick, as wide
    as they need: a Select's preference moves bytes from the dealer's stream to the parties' openings, as many as it
    saves, and what predictions get by it is a bound for the dealer's bytes of a ReLU (PROTOCOLS section 3.4)."""
    preferred = _agreed(expanded, ops, prefer=True)
    if not any(each.stage == TRAIN_STEP for each in expanded.left):
        return preferred
    needed = _agreed(expanded, ops, prefer=False)
    slower = any(needed[out].bits <= gate.quick_bits < preferred[out].bits for gate, _ in ops for out in gate.outs)
    return needed if slower else preferred


def _agreed(expanded: Expanded, ops: list[tuple[Gate, Origin]], prefer: bool) -> list[Register]:
    """The registers of a state have one ring, which what is left as the state must have too, and so what that is made
    of: again until nothing grows."""
    same: dict[str, set[int]] = {}
    for (key, _), register in expanded.states.items():
        same.setdefault(key, set()).add(register)
    for each in expanded.left:
        same.setdefault(each.key, set()).add(each.register)
    floors: dict[int, int] = {}
    while True:
        types = _demanded(expanded, ops, floors, prefer)
        wider: dict[int, int] = {}
        for group in same.values():
            bits = max(types[register].bits for register in group)
            wider |= {register: max(bits, wider.get(register, 0)) for register in group}
        if all(types[r].bits == bits for r, bits in wider.items()):
            return types
        floors = wider


def _demanded(
    expanded: Expanded, ops: list[tuple[Gate, Origin]], floors: Mapping[int, int], prefer: bool
) -> list[Register]:
    """Backwards: the ring of a register is the widest that a reader demands. floors: of those that have a least one."""
    types = [
        Register(
            d.shape,
            _FORMS[d.mode],
            d.domain,
            1 if d.domain is not Domain.WORDS else floors.get(r, 0),
            d.scale,
            d.planes,
        )
        for r, d in enumerate(expanded.drafts)
    ]
    most = _most_bits(ops)
    for gate, _ in reversed(ops):
        for register in gate.ins:
            t = types[register]
            if t.domain is Domain.WORDS:
                demand = min(64, gate.demand(register, types))
                assert demand <= most.get(register, 64), f"{gate} asks more of register {register} than it can have"
                wished = min(gate.preference(register, types), most.get(register, 64)) if prefer else 1
                types[register] = replace(t, bits=max(t.bits, demand, wished, 1))
    return types


def _most_bits(ops: list[tuple[Gate, Origin]]) -> dict[int, int]:
    """Forwards: the widest ring that a register can have, where it is below 64 bits: samples are stored in fewer."""
    most: dict[int, int] = {}
    for gate, _ in ops:
        bits = gate.most_bits(most)
        if bits < 64:
            most |= dict.fromkeys(gate.outs, bits)
    return most


def _forms(
    ops: list[tuple[Gate, Origin]], types: list[Register], left: set[int]
) -> tuple[list[tuple[Gate, Origin]], list[Register], dict[int, int]]:
    """Backwards: which registers must be true shares or have shares of their mask. Forwards: insert `Materialize`.

    Where several views must be true shares, what they show is, if that ships no more. The third result: the register
    with true shares of one that had an offset. left: what is left as a state, which must be true shares.
    """
    types = list(types)
    wanted = set(left)
    views: dict[int, list[int]] = {}
    for gate, _ in reversed(ops):
        for out in gate.outs:
            shown = views.get(out, [])
            if len(shown) > 1 and sum(shown) >= types[out].bits * types[out].size:
                wanted.add(out)
            t = types[out]
            if t.form in (Form.WIRE, Form.BARE):
                types[out] = replace(t, form=Form.WIRE if out in wanted else Form.BARE)
            elif t.form in (Form.SHARED, Form.OFFSET):
                types[out] = replace(t, form=Form.SHARED if out in wanted else Form.OFFSET)
        for register in gate.ins:
            form = types[register].form
            masked = form.masked and gate.wants_mask(register, types)
            shared = form.additive and gate.wants_true_shares(register, types)
            if masked or shared:
                wanted.add(register)
            elif form.additive and isinstance(gate, View):
                size = types[gate.y].bits * types[gate.y].size
                part = size if gate.y in wanted else min(size, sum(views.get(gate.y, [])))
                views.setdefault(register, []).append(part)
    out_ops: list[tuple[Gate, Origin]] = []
    renamed: dict[int, int] = {}
    for gate, origin in ops:
        gate = _renamed(gate, renamed)
        out_ops.append((gate, origin))
        for out in gate.outs:
            form = gate.result(out, types)
            types[out] = replace(types[out], form=form)
            if form is Form.OFFSET and out in wanted:
                types.append(replace(types[out], form=Form.SHARED))
                renamed[out] = len(types) - 1
                out_ops.append((Materialize(out, renamed[out]), origin))
    return out_ops, types, renamed


def _renamed(gate: Gate, renamed: dict[int, int]) -> Gate:
    changes: dict[str, Any] = {}
    for name, annotation in register_fields(gate):
        held = getattr(gate, name)
        if annotation == "In" and held in renamed:
            changes[name] = renamed[held]
        elif annotation == "Ins" and any(r in renamed for r in held):
            changes[name] = tuple(renamed.get(r, r) for r in held)
    return replace(gate, **changes) if changes else gate


def _renumbered(found: Staged) -> Assigned:
    """Only the registers that are used, in the order in which they are made."""
    order: dict[int, int] = {}
    for ops in found.ops.values():
        for gate, _ in ops:
            for register in (*gate.outs, *gate.ins):
                order.setdefault(register, len(order))

    def move(op: tuple[Gate, Origin]) -> tuple[Gate, Origin]:
        gate, origin = op
        changes: dict[str, Any] = {}
        for name, annotation in register_fields(gate):
            held = getattr(gate, name)
            changes[name] = order[held] if annotation in ("In", "Out") else tuple(order[r] for r in held)
        return replace(gate, **changes), origin

    procedures = []
    for stage, ops in found.ops.items():
        keeps = tuple(
            sorted((Kept(order[k.made], order[k.place]) for k in found.keeps[stage] if k.place in order), key=_place)
        )
        procedures.append(Unscheduled(stage, stage in AHEAD, stage == SETUP, keeps, [move(op) for op in ops]))
    states = {key: order[place] for key, place in found.places.items() if place in order}
    return Assigned([found.types[old] for old in order], tuple(procedures), states)


def _place(kept: Kept) -> int:
    return kept.place
