"""Which procedure executes which op, and what it leaves for others.

An op belongs to the procedure whose feeds or states it reads, directly or not; one that reads parameters alone, to
`setup`, which leaves to the others what they read of it. What is made of constants alone is made in every procedure
that reads it, each time in registers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpc_runtime.gates import Gate
from mpc_runtime.gates.base import register_fields
from mpc_runtime.plan import Origin
from mpc_runtime.procedure import CHECK, EVALUATE, FINISH, METRICS, RESCALE, RUN, SETUP, TRAIN_STEP, Kept
from mpc_runtime.registers import Form, Register

Ops = list[tuple[Gate, Origin]]
ORDER = (SETUP, RUN, TRAIN_STEP, EVALUATE, METRICS, CHECK, RESCALE, FINISH)
"""In which a plan has its procedures; it always has the first two."""


@dataclass
class Staged:
    """The ops of each procedure, and what each leaves. A state is in one register, whoever reads it: places, by key."""

    types: list[Register]
    ops: dict[str, Ops]
    keeps: dict[str, tuple[Kept, ...]]
    places: dict[str, int]


def staged(
    ops: Ops,
    types: list[Register],
    feed_stages: Mapping[str, str],
    result_stages: Mapping[str, str],
    states: Mapping[tuple[str, str], int],
    left: Sequence[tuple[str, str, int]],
) -> Staged:
    """feed_stages, result_stages: the procedure of each feed and result; states: (key, procedure) -> register; left:
    (procedure, key, register) of what becomes a state."""
    stage_of = _stages(ops, feed_stages, states)
    stages = [RUN, SETUP, *result_stages.values(), *(stage for stage, _, _ in left)]
    mine: dict[str, Ops] = {stage: [] for stage in ORDER if stage in stages}
    for op in ops:
        stage = _stage_of_op(op[0], stage_of, result_stages)
        if stage:
            mine[stage].append(op)
    place = {id(op): i for i, op in enumerate(ops)}
    neutral = [op for op in ops if not _stage_of_op(op[0], stage_of, result_stages)]
    taken: set[int] = set()
    types = list(types)
    kept: dict[str, list[tuple[str, int]]] = {stage: [(key, r) for at, key, r in left if at == stage] for stage in mine}
    for stage, own in mine.items():
        wanted = {r for gate, _ in own for r in gate.ins} | {r for _, r in kept[stage]}
        needed = _needed(neutral, wanted)
        whole = sorted([*needed, *own], key=lambda op: place[id(op)])
        again = {r for gate, _ in needed for r in gate.outs if types[r].form is not Form.CONSTANT and r in taken}
        taken.update(r for gate, _ in needed for r in gate.outs)
        fresh = {r: len(types) + i for i, r in enumerate(sorted(again))}
        types += [types[r] for r in sorted(again)]
        mine[stage] = [(_moved(gate, fresh), origin) for gate, origin in whole]
        kept[stage] = [(key, fresh.get(r, r)) for key, r in kept[stage]]
    return _with_states(types, mine, kept, states)


def _stages(ops: Ops, feed_stages: Mapping[str, str], states: Mapping[tuple[str, str], int]) -> dict[int, str]:
    """The procedure that makes each register; none for what is made of constants alone."""
    found = {register: stage for (_, stage), register in states.items()}
    for gate, _ in ops:
        stages = {found[r] for r in gate.ins if r in found} | {feed_stages[name] for name in gate.feeds}
        others = stages - {SETUP}
        assert len(others) <= 1, f"{gate} reads what {' and '.join(sorted(others))} make"
        for stage in others or stages:
            found.update(dict.fromkeys(gate.outs, stage))
    return found


def _stage_of_op(gate: Gate, stage_of: Mapping[int, str], result_stages: Mapping[str, str]) -> str:
    """The procedure of an op; empty for what is made of constants alone."""
    if gate.results:
        return result_stages.get(gate.results[0], RUN)
    return stage_of.get(gate.outs[0], "") if gate.outs else RUN


def _needed(ops: Ops, wanted: set[int]) -> Ops:
    """Those of the ops that make what is wanted, directly or not."""
    wanted = set(wanted)
    kept = []
    for op in reversed(ops):
        if not wanted.isdisjoint(op[0].outs):
            wanted.update(op[0].ins)
            kept.append(op)
    return kept[::-1]


def _with_states(
    types: list[Register],
    mine: dict[str, Ops],
    kept: Mapping[str, Sequence[tuple[str, int]]],
    states: Mapping[tuple[str, str], int],
) -> Staged:
    """Every state in one register; and what others read of `setup`, which leaves it. What nobody reads of it goes."""
    places: dict[str, int] = {}
    for (key, _), register in states.items():
        places.setdefault(key, register)
    same = {register: places[key] for (key, _), register in states.items()}
    moved = {stage: [(_moved(gate, same), origin) for gate, origin in ops] for stage, ops in mine.items()}
    made = {r for gate, _ in moved[SETUP] for r in gate.outs}
    others = {r for stage, ops in moved.items() if stage != SETUP for gate, _ in ops for r in gate.ins}
    read = {r for r in others & made if types[r].form is not Form.CONSTANT}
    wanted = read | {r for _, r in kept[SETUP]}
    moved[SETUP] = _wanted(moved[SETUP], wanted)
    keeps = {stage: tuple(Kept(r, places[key]) for key, r in left if key in places) for stage, left in kept.items()}
    keeps[SETUP] = (*(Kept(r, r) for r in sorted(read)), *keeps[SETUP])
    return Staged(types, moved, keeps, places)


def _wanted(ops: Ops, wanted: Iterable[int]) -> Ops:
    """What is needed for registers that others read, and whatever takes a feed."""
    needed = set(wanted)
    kept = []
    for gate, origin in reversed(ops):
        if not needed.isdisjoint(gate.outs) or gate.feeds:
            needed.update(gate.ins)
            kept.append((gate, origin))
    return kept[::-1]


def _moved(gate: Gate, fresh: Mapping[int, int]) -> Gate:
    """The gate with other registers."""
    changes: dict[str, Any] = {}
    for name, annotation in register_fields(gate):
        held = getattr(gate, name)
        if annotation in ("In", "Out") and held in fresh:
            changes[name] = fresh[held]
        elif annotation in ("Ins", "Outs") and any(r in fresh for r in held):
            changes[name] = tuple(fresh.get(r, r) for r in held)
    return replace(gate, **changes) if changes else gate
