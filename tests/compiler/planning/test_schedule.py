"""Order and rounds: what a gate reads is there when it runs, and no plan has more rounds than its longest chain."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.planning.schedule import Unscheduled, schedule
from mpc_runtime.gates import Add, Gate, Input, Materialize, Mul, Open, Unmask
from mpc_runtime.plan import Origin
from mpc_runtime.procedure import Procedure
from mpc_runtime.registers import Form, Register

CHOICES = st.lists(st.tuples(st.sampled_from("aoumi"), st.integers(0, 99), st.integers(0, 99)), max_size=40)


def op_list(choices: list[tuple[str, int, int]]) -> tuple[list[Gate], list[Register]]:
    """Gates that read what earlier ones made: sums, openings, products of what is open, shares of it."""
    registers = [Register((4,), Form.SHARED)] * 2
    gates: list[Gate] = [Input("in0", False, 0), Input("in1", False, 1)]
    shared, wires = [0, 1], []
    for kind, a, b in choices:
        new = len(registers)
        masked = [wires[a % len(wires)], wires[b % len(wires)]] if wires else []
        if kind == "o":
            gates.append(Open(shared[a % len(shared)], new))
            wires.append(new)
            registers.append(Register((4,), Form.WIRE))
            continue
        if kind == "m" and masked:
            gates += [Mul(*masked, new), Materialize(new, new + 1)]
            registers += [Register((4,), Form.OFFSET), Register((4,), Form.SHARED)]
            shared.append(new + 1)
            continue
        if kind == "u" and masked:
            gates.append(Unmask(masked[0], new))
        elif kind == "i":
            gates.append(Input(f"in{new}", False, new))
        else:
            gates.append(Add(False, shared[a % len(shared)], shared[b % len(shared)], new))
        registers.append(Register((4,), Form.SHARED))
        shared.append(new)
    return gates, registers


def scheduled(gates: list[Gate], registers: list[Register]) -> tuple[Procedure, tuple[Origin, ...]]:
    unscheduled = Unscheduled("run", True, False, (), [(gate, Origin(str(i), i, 0)) for i, gate in enumerate(gates)])
    return schedule(unscheduled, registers)


def openings_before(gates: list[Gate]) -> int:
    """The most openings on a chain of gates that read each other."""
    depth: dict[int, int] = {}
    for gate in gates:
        at = max((depth[r] for r in gate.ins), default=0) + isinstance(gate, Open)
        depth |= dict.fromkeys(gate.outs, at)
    return max(depth.values())


@settings(max_examples=200)
@given(CHOICES)
def test_every_gate_runs_once_after_what_it_reads(choices: list[tuple[str, int, int]]) -> None:
    gates, registers = op_list(choices)
    procedure, origins = scheduled(gates, registers)
    assert sorted(map(repr, gates)) == sorted(repr(op.gate) for op in procedure.ops)
    assert [gates[origin.line] for origin in origins] == [op.gate for op in procedure.ops]
    numbers = [i for r in procedure.rounds for part in (r.before, r.opens, r.overlap) for i in part]
    assert numbers == list(range(len(gates)))
    made: set[int] = set()
    for r in procedure.rounds:
        for part in (r.before, r.opens, r.overlap):
            arriving: set[int] = set()
            for i in part:
                gate = procedure.ops[i].gate
                assert set(gate.ins) <= made
                (arriving if part is r.opens else made).update(gate.outs)
            if part is r.overlap:
                made |= {out for i in r.opens for out in procedure.ops[i].gate.outs}


@settings(max_examples=200)
@given(CHOICES)
def test_there_are_as_many_rounds_as_the_longest_chain_has_openings(choices: list[tuple[str, int, int]]) -> None:
    gates, registers = op_list(choices)
    procedure, _ = scheduled(gates, registers)
    assert sum(bool(r.opens) for r in procedure.rounds) == openings_before(gates)


@settings(max_examples=200)
@given(CHOICES)
def test_messages_wait_for_nothing_that_they_do_not_carry(choices: list[tuple[str, int, int]]) -> None:
    procedure, _ = scheduled(*op_list(choices))
    for r in procedure.rounds:
        if not r.opens:
            continue
        wanted = {x for i in r.opens for x in procedure.ops[i].gate.ins}
        for i in reversed(r.before):
            assert not wanted.isdisjoint(procedure.ops[i].gate.outs)
            wanted |= set(procedure.ops[i].gate.ins)


@settings(max_examples=200)
@given(CHOICES)
def test_the_dealers_links_carry_the_same_but_for_one_correction(choices: list[tuple[str, int, int]]) -> None:
    gates, registers = op_list([("o", 0, 0), ("m", 0, 0), ("m", 0, 0), *choices])
    procedure, _ = scheduled(gates, registers)
    sizes = [(op.receiver, op.gate.material_bytes(registers)) for op in procedure.ops]
    sent = [sum(size for receiver, size in sizes if receiver == party) for party in (0, 1)]
    assert sum(sent) > 0 and abs(sent[0] - sent[1]) <= max(size for _, size in sizes)


def test_nothing_to_do_takes_no_round() -> None:
    procedure, origins = schedule(Unscheduled("setup", False, True, (), []), [])
    assert procedure.ops == () == origins and not any(r.opens for r in procedure.rounds)
