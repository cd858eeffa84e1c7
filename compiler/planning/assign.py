"""After expansion: what is needed, where it is computed, in which ring and in which form.

    live        gates that no result needs are dropped
    stages      what depends on parameters alone belongs to `setup`
    rings       from the results backwards, every register gets the bits that its readers demand
    forms       where true shares or shares of a mask are needed later, `Materialize` ships the offset first

Each is one walk over the op-list, in this order: forms need rings (they decide what is shipped), rings need live gates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from compiler.expand import Expanded
from compiler.expand.emitter import CONSTANT, PUBLIC, SHARE, WIRE
from compiler.planning.schedule import Unscheduled
from mpc_runtime.gates import Gate, Materialize
from mpc_runtime.gates.base import register_fields
from mpc_runtime.plan import Origin
from mpc_runtime.procedure import Kept
from mpc_runtime.registers import Domain, Form, Register

_FORMS = {SHARE: Form.SHARED, WIRE: Form.WIRE, PUBLIC: Form.PUBLIC, CONSTANT: Form.CONSTANT}


@dataclass
class Assigned:
    """The registers with their types, and the procedures. `setup` opens the parameters, `run` is one batch."""

    registers: list[Register]
    procedures: tuple[Unscheduled, ...]


def assign(expanded: Expanded, setup_feeds: set[str]) -> Assigned:
    """setup_feeds: the feeds that arrive before `setup`."""
    ops = _live(expanded.ops)
    types = _rings(expanded, ops)
    ops, types = _forms(ops, types)
    setup_made = _stages(ops, setup_feeds)
    setup = [op for op in ops if _in_setup(op[0], setup_made)]
    run = [op for op in ops if not _in_setup(op[0], setup_made)]
    setup, run = _constants_where_used(ops, setup, run)
    needed = {r for gate, _ in run for r in gate.ins} - {r for gate, _ in run for r in gate.outs}
    setup = _needed(setup, needed)
    return _renumbered(types, setup, run)


def _live(ops: list[tuple[Gate, Origin]]) -> list[tuple[Gate, Origin]]:
    wanted: set[int] = set()
    kept = []
    for gate, origin in reversed(ops):
        if not gate.outs or not wanted.isdisjoint(gate.outs):
            wanted.update(gate.ins)
            kept.append((gate, origin))
    return kept[::-1]


def _needed(ops: list[tuple[Gate, Origin]], wanted: set[int]) -> list[tuple[Gate, Origin]]:
    wanted = set(wanted)
    kept = []
    for gate, origin in reversed(ops):
        if not wanted.isdisjoint(gate.outs) or gate.feeds:
            wanted.update(gate.ins)
            kept.append((gate, origin))
    return kept[::-1]


def _rings(expanded: Expanded, ops: list[tuple[Gate, Origin]]) -> list[Register]:
    """Backwards: the ring of a register is the widest that a reader demands."""
    types = [
        Register(d.shape, _FORMS[d.mode], d.domain, 1 if d.domain is not Domain.WORDS else 0, d.scale, d.planes)
        for d in expanded.drafts
    ]
    most = _most_bits(ops)
    for gate, _ in reversed(ops):
        for register in gate.ins:
            t = types[register]
            if t.domain is Domain.WORDS:
                demand = min(64, gate.demand(register, types))
                assert demand <= most.get(register, 64), f"{gate} asks more of register {register} than it can have"
                wished = min(gate.preference(register, types), most.get(register, 64))
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


def _forms(ops: list[tuple[Gate, Origin]], types: list[Register]) -> tuple[list[tuple[Gate, Origin]], list[Register]]:
    """Backwards: which registers must be true shares or have shares of their mask. Forwards: insert `Materialize`."""
    types = list(types)
    wanted: set[int] = set()
    for gate, _ in reversed(ops):
        for out in gate.outs:
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
    return out_ops, types


def _renamed(gate: Gate, renamed: dict[int, int]) -> Gate:
    changes: dict[str, Any] = {}
    for name, annotation in register_fields(gate):
        held = getattr(gate, name)
        if annotation == "In" and held in renamed:
            changes[name] = renamed[held]
        elif annotation == "Ins" and any(r in renamed for r in held):
            changes[name] = tuple(renamed.get(r, r) for r in held)
    return replace(gate, **changes) if changes else gate


def _stages(ops: list[tuple[Gate, Origin]], setup_feeds: set[str]) -> set[int]:
    """Registers that depend on parameters alone. Constants take no side."""
    made: set[int] = set()
    neutral: set[int] = set()
    for gate, _ in ops:
        ins = set(gate.ins)
        if not gate.feeds and ins <= neutral:
            neutral.update(gate.outs)
        elif setup_feeds.issuperset(gate.feeds) and ins <= made | neutral:
            made.update(gate.outs)
    return made


def _in_setup(gate: Gate, setup_made: set[int]) -> bool:
    return bool(gate.outs) and set(gate.outs) <= setup_made


def _constants_where_used(
    ops: list[tuple[Gate, Origin]], setup: list[tuple[Gate, Origin]], run: list[tuple[Gate, Origin]]
) -> tuple[list[tuple[Gate, Origin]], list[tuple[Gate, Origin]]]:
    """What is made of constants alone is in every procedure that reads it."""
    in_setup = {r for gate, _ in setup for r in gate.ins}
    made = {r for gate, _ in setup for r in gate.outs}
    missing: set[int] = in_setup - made
    extra = []
    for op in reversed(ops):
        if not missing.isdisjoint(op[0].outs):
            missing.update(op[0].ins)
            extra.append(op)
    place = {id(op): i for i, op in enumerate(ops)}
    setup = sorted([*extra, *setup], key=lambda op: place[id(op)])
    return setup, _live(run)


def _renumbered(types: list[Register], setup: list[tuple[Gate, Origin]], run: list[tuple[Gate, Origin]]) -> Assigned:
    """Only the registers that are used, in the order in which they are made."""
    order: dict[int, int] = {}
    for gate, _ in (*setup, *run):
        for register in (*gate.outs, *gate.ins):
            order.setdefault(register, len(order))

    def move(op: tuple[Gate, Origin]) -> tuple[Gate, Origin]:
        gate, origin = op
        changes: dict[str, Any] = {}
        for name, annotation in register_fields(gate):
            held = getattr(gate, name)
            changes[name] = order[held] if annotation in ("In", "Out") else tuple(order[r] for r in held)
        return replace(gate, **changes), origin

    registers = [types[old] for old in order]
    setup, run = [move(op) for op in setup], [move(op) for op in run]
    read = sorted({r for gate, _ in run for r in gate.ins} - {r for gate, _ in run for r in gate.outs})
    return Assigned(
        registers,
        (
            Unscheduled("setup", ahead=False, standing=True, keeps=tuple(Kept(r, r) for r in read), ops=setup),
            Unscheduled("run", ahead=True, standing=False, keeps=(), ops=run),
        ),
    )
