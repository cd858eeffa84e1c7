"""Which arrays a party may write over: the buffer reuse of a plan, decided before anything runs.

Views and some sums show the array of an operand. Registers that may show one array form a group; an op may write over
an operand when nothing reads any register of its group afterwards. The executor lends this to gates (`may_overwrite`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..procedure import Procedure
from ..registers import Register


def overwritable(procedure: Procedure, types: Sequence[Register]) -> dict[int, frozenset[int]]:
    """op -> the operands that it may write over.

    Feeds, constants and what outlives an execution are never written over.
    """
    ops = [op.gate for op in procedure.ops]
    group: dict[int, int] = {}
    for gate in ops:
        shown = gate.shows(types)
        for register in (*gate.outs, *shown) if shown else ():
            _join(group, gate.outs[0], register)
    order = list(procedure.order)
    last = {_root(group, r): place for place, i in enumerate(order) for r in (*ops[i].ins, *ops[i].outs)}
    made = {r for gate in ops if gate.ins for r in gate.outs}
    made -= {kept.made for kept in procedure.keeps}
    given = {_root(group, r) for gate in ops for r in (*gate.ins, *gate.outs) if r not in made}
    out = {}
    for place, i in enumerate(order):
        roots = {r: _root(group, r) for r in ops[i].ins}
        mine = [r for r, root in roots.items() if last[root] == place and root not in given]
        alone = frozenset(r for r in mine if list(roots.values()).count(roots[r]) == 1)
        if alone:
            out[i] = alone
    return out


def _root(group: dict[int, int], register: int) -> int:
    while group.get(register, register) != register:
        register = group[register]
    return register


def _join(group: dict[int, int], a: int, b: int) -> None:
    group[_root(group, b)] = _root(group, a)
