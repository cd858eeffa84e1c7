"""What a plan costs, counted from its op-list before anything runs: exactly what will cross the wire, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ..encoding.sharing import payload_sizes, result_size
from ..gates import GATES, Gate
from ..plan import Plan
from ..procedure import RUN, TRAIN_STEP, TRAINING, Procedure
from .memory import peak_memory
from .units import human

PARTS = ("", "forward", "backward", "update", "metrics")
"""Of a step of training, in this order; nothing else has parts."""


@dataclass(frozen=True)
class OpCost:
    """One operation of the model, as its author wrote it: all gates made from it in one procedure.

    Attributes:
        rounds: Message exchanges in which it takes part; operations share them.
        part: Of a step of training: "forward", "backward" or "update"; empty for all else.
        online_bytes: Bytes of both parties together.
        offline_bytes: Bytes to both parties together.
        protocols: Names of the protocols that it uses.
    """

    procedure: str
    label: str
    line: int
    column: int
    part: str
    gates: int
    rounds: int
    online_bytes: int
    offline_bytes: int
    elements: int
    protocols: tuple[str, ...]

    @property
    def protocol(self) -> str:
        """The names as a text, for a table."""
        return ", ".join(self.protocols)


@dataclass(frozen=True)
class Cost:
    """The cost of one `run`, with the prefix `setup_` of opening the parameters once per session, and with `train_` of
    one step of training (0 without a `train` block).

    Attributes:
        rounds: Message exchanges between p0 and p1.
        online_bytes: Payload from p0 to p1 plus p1 to p0.
        offline_bytes: Corrections from the dealer to p0 and p1.
        client_bytes: What the roles send and receive.
        peak_memory: Bytes of a party's process, an estimate.
        per_op: The parts by operation, with source lines.
    """

    rounds: int
    online_bytes: int
    offline_bytes: int
    setup_rounds: int
    setup_online_bytes: int
    setup_offline_bytes: int
    client_bytes: int
    peak_memory: int
    train_rounds: int = 0
    train_online_bytes: int = 0
    train_offline_bytes: int = 0
    per_op: tuple[OpCost, ...] = field(default=(), repr=False)

    @property
    def protocols(self) -> dict[str, str]:
        """The protocols named in `per_op`, with what each one does."""
        known = {g.protocol.name: g.protocol.explanation for g in GATES.values() if g.protocol}
        named = dict.fromkeys(name for op in self.per_op for name in op.protocols)
        return {name: known[name] for name in named}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        rows = [{**asdict(op), "protocol": op.protocol} for op in self.per_op]
        return {**asdict(self), "per_op": rows, "protocols": self.protocols}

    def __str__(self) -> str:
        return "\n".join(_table(self))


def cost(plan: Plan) -> Cost:
    """Count a plan's rounds and bytes."""
    standing = [p for p in plan.procedures if p.standing]
    used_up = [p for p in plan.procedures if not p.standing and p.name not in TRAINING]
    steps = [p for p in plan.procedures if p.name == TRAIN_STEP]
    return Cost(
        rounds=sum(map(_rounds, used_up)),
        online_bytes=sum(_online(plan, p.gates) for p in used_up),
        offline_bytes=sum(_offline(plan, p.gates) for p in used_up),
        setup_rounds=sum(map(_rounds, standing)),
        setup_online_bytes=sum(_online(plan, p.gates) for p in standing),
        setup_offline_bytes=sum(_offline(plan, p.gates) for p in standing),
        client_bytes=_client(plan),
        peak_memory=peak_memory(plan),
        train_rounds=sum(map(_rounds, steps)),
        train_online_bytes=sum(_online(plan, p.gates) for p in steps),
        train_offline_bytes=sum(_offline(plan, p.gates) for p in steps),
        per_op=tuple(row for p in plan.procedures for row in _per_op(plan, p)),
    )


def material_bytes(plan: Plan, procedure: Procedure, party: int) -> int:
    """Bytes of corrections that a record of the procedure has for this party."""
    return sum(op.gate.material_bytes(plan.registers) for op in procedure.ops if op.receiver == party)


def _rounds(procedure: Procedure) -> int:
    return sum(bool(r.opens) for r in procedure.rounds)


def _online(plan: Plan, gates: Iterable[Gate]) -> int:
    """Bytes of openings, both directions."""
    return sum(2 * gate.opened_bytes(plan.registers) for gate in gates)


def _offline(plan: Plan, gates: Iterable[Gate]) -> int:
    return sum(gate.material_bytes(plan.registers) for gate in gates)


def _client(plan: Plan) -> int:
    procedures = [p for p in plan.procedures if not p.standing and p.name not in TRAINING]
    sent = sum(sum(payload_sizes(plan.feeds_of(role, p.name))) for p in procedures for role in plan.roles)
    given = {name for p in procedures for name in p.gives}
    return sent + sum(2 * len(r.roles) * result_size(r) for r in plan.results if r.name in given)


def _per_op(plan: Plan, procedure: Procedure) -> Iterator[OpCost]:
    round_of = {i: n for n, r in enumerate(procedure.rounds) for i in r.opens}
    groups: dict[tuple[int, int, int, str], list[int]] = {}
    for i in range(len(procedure.ops)):
        origin = plan.origin(procedure.name, i)
        part = PARTS.index(origin.part) if origin.part in PARTS else 0
        groups.setdefault((part, origin.line, origin.column, origin.label), []).append(i)
    for (part, line, column, label), members in sorted(groups.items()):
        gates = [procedure.ops[i].gate for i in members]
        outs = [plan.registers[r].size for g in gates for r in g.outs]
        names = dict.fromkeys(g.protocol.name for g in gates if g.protocol)
        yield OpCost(
            procedure.name,
            label,
            line,
            column,
            PARTS[part],
            len(gates),
            len({round_of[i] for i in members if i in round_of}),
            _online(plan, gates),
            _offline(plan, gates),
            max(outs, default=0),
            tuple(names),
        )


def _table(c: Cost) -> list[str]:
    rows = [("line", "op", "rounds", "online", "offline", "protocol")]
    for op in c.per_op:
        if op.online_bytes or op.offline_bytes:
            name = op.label if op.procedure == RUN else f"{op.label} ({op.part or op.procedure})"
            rows.append(
                (str(op.line or ""), name, str(op.rounds), human(op.online_bytes), human(op.offline_bytes), op.protocol)
            )
    rows.append(("", "one run", str(c.rounds), human(c.online_bytes), human(c.offline_bytes), ""))
    if c.train_rounds:
        online, offline = human(c.train_online_bytes), human(c.train_offline_bytes)
        rows.append(("", "one step of training", str(c.train_rounds), online, offline, ""))
    rows.append(("", "setup, once", str(c.setup_rounds), human(c.setup_online_bytes), human(c.setup_offline_bytes), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    left = (False, True, False, False, False, True)
    lines = ["  ".join(map(_aligned, row, widths, left)).rstrip() for row in rows]
    lines.append(f"roles send and get {human(c.client_bytes)}; a party needs {human(c.peak_memory)} of memory")
    used = c.protocols
    width = max(map(len, used), default=0)
    return [*lines, *([""] if used else ()), *(f"{name:<{width}}  {what}" for name, what in used.items())]


def _aligned(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
