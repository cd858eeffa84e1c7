"""Liveness, rings, forms and stages, on op-lists of a few gates and on every small model."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.expand import Expanded
from compiler.expand.emitter import SHARE
from compiler.pipeline import compile_source
from compiler.planning.assign import Assigned, assign
from mpc_runtime.gates import (
    Add,
    Constant,
    Conv2d,
    Gate,
    Input,
    Materialize,
    Mul,
    Open,
    Reveal,
    Select,
    Square,
    Truncate,
    Unmask,
)
from mpc_runtime.plan import Plan
from mpc_runtime.registers import Domain, Form
from tests.compiler.expand.executed import Unit
from tests.trained import IMAGES
from tests.zoo import MODELS

PATHS = sorted(MODELS.glob("*.ppml"))


def assigned(unit: Unit, *revealed: int, bits: int = 64, setup: tuple[str, ...] = ()) -> Assigned:
    """The op-list that reveals these shares."""
    ends = [(Reveal(f"y{i}", ("client",), bits, r), unit.e.origin) for i, r in enumerate(revealed)]
    stages = {name: "setup" if name in setup else "run" for gate, _ in unit.e.ops for name in gate.feeds}
    return assign(Expanded(unit.e.drafts, [*unit.e.ops, *ends], unit.e.constants, [], []), stages)


def gates(found: Assigned, stage: str = "run") -> list[Gate]:
    (each,) = (each for each in found.procedures if each.name == stage)
    return [gate for gate, _ in each.ops]


def kinds(found: Assigned, stage: str = "run") -> Counter[type[Gate]]:
    return Counter(map(type, gates(found, stage)))


@cache
def compiled(path: Path) -> Plan:
    return compile_source(path.read_text(encoding="utf-8"), path.name).plan


# -- what is needed, and where --------------------------------------------------------------------------------------


def test_what_no_result_needs_is_not_computed() -> None:
    unit = Unit()
    a, b = unit.words([1, 2]), unit.words([3, 4])
    unit.e.open(unit.e.add(a, b))
    found = assigned(unit, unit.e.add(a, a))
    assert kinds(found) == {Input: 1, Add: 1, Reveal: 1}
    assert len(found.registers) == 2


def test_what_depends_on_parameters_alone_is_done_once() -> None:
    unit = Unit()
    w, x = unit.words([1, 2]), unit.words([3, 4])
    opened = unit.e.open(unit.e.add(w, w))
    product = unit.e.emit(Mul, (2,), SHARE, x=opened, y=unit.e.open(x))
    found = assigned(unit, product, setup=("in0",))
    assert kinds(found, "setup") == {Input: 1, Add: 1, Open: 1}
    assert kinds(found)[Input] == 1 == kinds(found)[Mul]
    (setup,) = (each for each in found.procedures if each.standing)
    made = {r for gate in gates(found, "setup") for r in gate.outs}
    (kept,) = setup.keeps
    assert kept.made == kept.place and kept.made in made
    assert type(next(g for g in gates(found, "setup") if kept.made in g.outs)) is Open


def test_constants_stand_in_every_procedure_that_reads_them() -> None:
    unit = Unit()
    w, x = unit.words([1, 2]), unit.words([3, 4])
    seven = unit.e.constant(np.array([7, 7]), 0)
    sums = [unit.e.add(register, seven) for register in (w, x)]
    found = assigned(unit, unit.e.add(*sums), setup=("in0",))
    assert kinds(found, "setup")[Constant] == 1 == kinds(found)[Constant]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_a_procedure_reads_is_made_in_it_or_kept_for_it(path: Path) -> None:
    plan = compiled(path)
    kept: set[int] = set()
    for procedure in plan.procedures:
        made: set[int] = set()
        for op in procedure.ops:
            assert set(op.gate.ins) <= made | kept
            assert made.isdisjoint(op.gate.outs)
            made |= set(op.gate.outs)
        assert {each.made for each in procedure.keeps} <= made
        kept |= {each.place for each in procedure.keeps}
    used = {r for p in plan.procedures for op in p.ops for r in (*op.gate.ins, *op.gate.outs)}
    assert used == set(range(len(plan.registers)))


# -- rings ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_ring_is_as_wide_as_the_widest_reader_demands(one: int, other: int) -> None:
    unit = Unit()
    a, b, c = (unit.words([1]) for _ in range(3))
    left, right = unit.e.add(a, b), unit.e.add(b, c)
    ends = [
        (Reveal(f"y{i}", ("client",), n, r), unit.e.origin) for i, (n, r) in enumerate(((one, left), (other, right)))
    ]
    found = assign(
        Expanded(unit.e.drafts, [*unit.e.ops, *ends], [], [], []),
        {name: "run" for gate, _ in unit.e.ops for name in gate.feeds},
    )
    feeds = {gate.feed: found.registers[gate.y].bits for gate in gates(found) if isinstance(gate, Input)}
    assert feeds == {"in0": one, "in1": max(one, other), "in2": other}


def test_a_truncation_asks_for_the_bits_that_it_shifts_away() -> None:
    unit = Unit()
    cut = unit.e.truncated(unit.masked([1 << 12]), 5, 20, 0)
    found = assigned(unit, cut, bits=10)
    (gate,) = (gate for gate in gates(found) if isinstance(gate, Truncate))
    assert found.registers[gate.outs[0]].bits == 10 < found.registers[gate.x].bits <= 64


def test_in_training_a_preference_takes_no_product_out_of_the_rings_in_which_it_is_quick() -> None:
    limited = IMAGES.replace("loss =", "limits = norms(activations=4096)\n    loss =")
    plan = compile_source(limited, "images").plan
    step = plan.procedure("train_step").gates
    products = [plan.registers[gate.z].bits for gate in step if isinstance(gate, Conv2d)]
    assert min(products) <= Conv2d.quick_bits  # what flows forward; gradients of weights need more
    cut = [gate for gate in plan.procedure("train_step").gates if isinstance(gate, Select) and gate.shift]
    wished = [(gate.preference(gate.x, plan.registers), plan.registers[gate.x].bits) for gate in cut]
    assert any(wish > Conv2d.quick_bits >= has for wish, has in wished)


def test_in_predictions_a_preference_is_followed() -> None:
    plan = compile_source(IMAGES.partition("train {")[0].replace("[-1, 1]", "[-16, 16]"), "images").plan
    cut = [gate for gate in plan.procedure("run").gates if isinstance(gate, Select) and gate.shift]
    assert cut and all(plan.registers[gate.x].bits >= gate.preference(gate.x, plan.registers) for gate in cut)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_register_has_the_bits_and_the_form_that_its_readers_demand(path: Path) -> None:
    plan = compiled(path)
    types = list(plan.registers)
    for op in (op for procedure in plan.procedures for op in procedure.ops):
        for register in op.gate.ins:
            t = types[register]
            assert t.domain is not Domain.WORDS or t.bits >= min(64, op.gate.demand(register, types))
            assert t.form is not Form.OFFSET or not op.gate.wants_true_shares(register, types)
            assert t.form is not Form.BARE or not op.gate.wants_mask(register, types)
        for register in op.gate.outs:
            assert types[register].form is op.gate.result(register, types)


# -- forms ----------------------------------------------------------------------------------------------------------


def test_an_offset_is_shipped_once_and_only_where_true_shares_are_read() -> None:
    unit = Unit()
    a, b = unit.masked([2, 3]), unit.masked([5, 7])
    product = unit.e.emit(Mul, (2,), SHARE, x=a, y=b)
    assert kinds(assigned(unit, product, product))[Materialize] == 1
    again = unit.e.open(product)
    found = assigned(unit, unit.e.unmask(again))
    (opening,) = (
        gate for gate in gates(found) if isinstance(gate, Open) and found.registers[gate.x].form is Form.OFFSET
    )
    assert found.registers[opening.y].form in (Form.WIRE, Form.BARE)
    for gate in gates(found):
        if isinstance(gate, (Unmask, Reveal)):
            assert found.registers[gate.ins[0]].form is not Form.OFFSET
    assert unit.read_all(product, again) == [[10, 21], [10, 21]]


@pytest.mark.parametrize(("parts", "shipped"), [([(0, 2), (2, 2)], 1), ([(0, 4), (1, 2)], 1), ([(0, 1), (3, 1)], 2)])
def test_what_several_views_show_is_shipped_with_an_offset_if_that_is_not_more(
    parts: list[tuple[int, int]], shipped: int
) -> None:
    """Of four numbers, parts of which are revealed in another shape."""
    unit = Unit()
    product = unit.e.emit(Mul, (4,), SHARE, x=unit.masked([2, 3, 4, 5]), y=unit.masked([5, 7, 11, 13]))
    views = [unit.e.reshape(unit.e.slice_axis(product, 0, first, 1, count), (count, 1)) for first, count in parts]
    assert kinds(assigned(unit, *views))[Materialize] == shipped
    numbers = [[10], [21], [44], [65]]
    assert unit.read_all(*views) == [numbers[first : first + count] for first, count in parts]


def test_bits_are_shared_once_for_all_their_views() -> None:
    source = (
        "model parts role a, b input x : [3] from a in [-1, 1] input z : [3] from b in [-1, 1] larger = x > z\n"
        + "\n".join(f"output y{place} = larger[{place}] to b" for place in range(3))
    )
    plan = compile_source(source, "parts.ppml").plan
    found = Counter(type(op.gate) for op in plan.procedure("run").ops)
    assert (found[Unmask], found[Materialize], found[Reveal]) == (1, 1, 3)


def test_a_mask_absorbs_an_offset_unless_parties_need_shares_of_it() -> None:
    """A comparison needs none, so the product is opened as it is; another product needs them."""
    for squared, form in ((False, Form.BARE), (True, Form.WIRE)):
        unit = Unit()
        product = unit.e.emit(Mul, (2,), SHARE, x=unit.masked([2, 3]), y=unit.masked([-5, 7]))
        opened = unit.e.open(product)
        (bit,) = unit.bits.at_least(opened, (0,), 8)
        revealed = [unit.e.emit(Square, (2,), SHARE, x=opened)] if squared else []
        found = assigned(unit, unit.bits.number(bit), *revealed)
        mul = next(gate for gate in gates(found) if isinstance(gate, Mul))
        shipped = [gate.y for gate in gates(found) if isinstance(gate, Materialize) and gate.x == mul.z]
        assert len(shipped) == squared
        (opening,) = (gate for gate in gates(found) if isinstance(gate, Open) and gate.x in (mul.z, *shipped))
        assert found.registers[opening.y].form is form
        assert unit.read_all(bit, *revealed) == [[0, 1], [100, 441]][: 1 + squared]
