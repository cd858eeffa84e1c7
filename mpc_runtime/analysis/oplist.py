"""Whether the op-list of a procedure may be executed: each op once, after its operands, as its gate allows."""

from __future__ import annotations

import numpy as np

from ..gates import Gate
from ..gates.rules import DeclaredFeed, DeclaredPrivacy, DeclaredResult, Layout, Refused, expect, expect_between
from ..plan import Plan
from ..procedure import Procedure
from ..registers import Domain, Form, Register

__all__ = ["check_procedure"]


def check_procedure(plan: Plan, procedure: Procedure) -> None:
    """Raises Refused, naming the op."""
    try:
        _check_registers(plan, procedure)
        order = _check_schedule(procedure)
        _check_kept(plan, procedure)
    except Refused as broken:
        raise Refused(f"{procedure.name}: {broken}") from None
    given = _Given(plan)
    narrowest: dict[int, int] = {}
    for number in order:
        op = procedure.ops[number]
        try:
            expect_between("receiver", op.receiver, 0, 1)
            _check_gate(op.gate, given, narrowest)
        except Refused as broken:
            raise Refused(f"{plan.where(procedure.name, number)}: {broken}") from None


class _Given:
    """What a gate is told beside the registers' types: `rules.Declared` of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.types = plan.registers
        self._plan = plan
        self._feeds = {feed.name: feed for feed in plan.feeds}
        self._results = {result.name: result for result in plan.results}

    @property
    def privacy(self) -> DeclaredPrivacy | None:
        return self._plan.privacy

    def layout(self, register: int) -> Layout:
        return layout_of(self.types[register])

    def constant(self, index: int) -> np.ndarray:
        expect_between("constant", index, 0, len(self._plan.constants) - 1)
        return self._plan.constants[index]

    def feed(self, name: str) -> DeclaredFeed:
        expect(name in self._feeds, f"no role shares `{name}`")
        return self._feeds[name]

    def result(self, name: str) -> DeclaredResult:
        expect(name in self._results, f"no role is declared for `{name}`")
        return self._results[name]


def layout_of(t: Register) -> Layout:
    return Layout(t.shape, t.domain, t.scale, t.planes)


def _check_registers(plan: Plan, procedure: Procedure) -> None:
    """Every register exists, and is written once and never read by the op that writes it."""
    written: set[int] = set()
    for number, op in enumerate(procedure.ops):
        ins, outs = op.gate.ins, op.gate.outs
        for register in (*ins, *outs):
            expect_between(f"register of op {number}", register, 0, len(plan.registers) - 1)
        again = written.intersection(outs) or (set(outs) & set(ins)) or len(set(outs)) < len(outs)
        expect(not again, f"op {number} ({type(op.gate).__name__}) writes a register for the second time")
        written.update(outs)


def _check_schedule(procedure: Procedure) -> list[int]:
    """The order of execution, in which every op stands once, after its operands: an opening's result is there only
    when the peer's message has come, after the work that overlaps with it."""
    order = list(procedure.order)
    expect(sorted(order) == list(range(len(procedure.ops))), "an op is scheduled twice, or not at all")
    there = set(procedure.reads)
    for round_ in procedure.rounds:
        for part, communicates in ((round_.before, False), (round_.opens, True), (round_.overlap, False)):
            for number in part:
                gate = procedure.ops[number].gate
                here = f"op {number} ({type(gate).__name__})"
                expect(
                    gate.communicates is communicates, f"{here} is scheduled as an opening or as local work: wrongly"
                )
                expect(there.issuperset(gate.ins), f"{here} is scheduled before an operand")
                if not communicates:
                    there.update(gate.outs)
        there.update(r for number in round_.opens for r in procedure.ops[number].gate.outs)
    return order


def _check_kept(plan: Plan, procedure: Procedure) -> None:
    """What is left for later executions. What changes from one to the next crosses as shares: an aborted execution
    would otherwise leave a value whose mask was half opened, and later ones would open another under it."""
    places = [kept.place for kept in procedure.keeps]
    expect(len(set(places)) == len(places), "two values are left in one register")
    for kept in procedure.keeps:
        for register in (kept.made, kept.place):
            expect_between("register left", register, 0, len(plan.registers) - 1)
        made, place = plan.registers[kept.made], plan.registers[kept.place]
        there = kept.made in procedure.made | procedure.reads
        expect(there and made == place, f"register {kept.made} cannot be left in {kept.place}")
        crosses = procedure.standing or made.form is Form.SHARED
        expect(crosses, f"register {kept.made} is left as a {made.form.value} value, but must cross as shares")


def _check_gate(gate: Gate, given: _Given, narrowest: dict[int, int]) -> None:
    """The types of the results are those that the gate infers; its operands have the rings and forms that it needs."""
    types = given.types
    layouts = gate.infer(types, given)
    expect(len(layouts) == len(gate.outs), f"{len(gate.outs)} results, expected {len(layouts)}")
    most = gate.most_bits(narrowest)
    for register, layout in zip(gate.outs, layouts, strict=True):
        t = types[register]
        _check_result(register, t, layout, gate.result(register, types))
        expect(t.domain is not Domain.WORDS or t.bits <= most, f"register {register}: the ring has at most {most} bits")
        if most < 64:
            narrowest[register] = most
    for register in gate.ins:
        t = types[register]
        if t.domain is Domain.WORDS:
            needed = min(64, gate.demand(register, types))
            expect(t.bits >= needed, f"register {register} has {t.bits} bits, but {needed} are read")
        if t.form.masked and gate.wants_mask(register, types):
            expect(t.form is Form.WIRE, f"nobody has shares of the mask of register {register}, which are read")
        if t.form.additive and gate.wants_true_shares(register, types):
            expect(t.form is Form.SHARED, f"the shares of register {register} miss an offset")


def _check_result(register: int, t: Register, layout: Layout, form: Form) -> None:
    found = layout_of(t)
    scale = t.scale if layout.scale is None else layout.scale
    wanted = Layout(layout.shape, layout.domain, scale, layout.planes)
    expect(found == wanted, f"register {register} holds {_words(found)}, not {_words(wanted)}")
    expect(t.form is form, f"register {register} is {t.form.value}, not {form.value}")


def _words(layout: Layout) -> str:
    planes = f"{layout.planes} planes of " if layout.domain is Domain.PLANES else ""
    return f"{planes}{layout.domain.value} {list(layout.shape)} at scale {layout.scale}"
