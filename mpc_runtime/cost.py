"""What a plan costs, counted from its op-list before anything runs: exactly what will cross the wire, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .gates import Combine, Conv2d, Leaf, MatMul, Mul, Open, Reveal, Select, Square, Table, Truncate
from .memory import peak_memory
from .plan import Plan, Procedure
from .sharing import payload_sizes, result_size
from .units import human

PROTOCOLS = {
    Leaf: "digit tables",
    Combine: "digit tables",
    Select: "select",
    Truncate: "truncation",
    Table: "sample table",
    MatMul: "masked product",
    Conv2d: "masked product",
    Mul: "masked product",
    Square: "masked square",
}
"""The parts of a protocol that are worth naming in a report, by gate."""

EXPLAINED = {
    "digit tables": "compares: looks the digits of masked values up in tables that the dealer made",
    "select": "chooses by a secret bit",
    "truncation": "rounds a product back to the number format",
    "sample table": "a function as a table of samples, looked up at a masked place",
    "masked product": "multiplies under masks whose product the dealer shares",
    "masked square": "squares under a mask whose square the dealer shares",
}
"""What each part does, in a line below the report. docs/protocols.md has the protocols."""


@dataclass(frozen=True)
class OpCost:
    """One operation of the model, as its author wrote it: all gates made from it in one procedure.

    Attributes:
        rounds: Message exchanges in which it takes part; operations share them.
        online_bytes: Bytes of both parties together.
        offline_bytes: Bytes to both parties together.
    """

    procedure: str
    label: str
    line: int
    column: int
    gates: int
    rounds: int
    online_bytes: int
    offline_bytes: int
    elements: int
    protocol: str


@dataclass(frozen=True)
class Cost:
    """The cost of one `run` and, with the prefix `setup_`, of opening the parameters once per session.

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
    per_op: tuple[OpCost, ...] = field(default=(), repr=False)

    @property
    def protocols(self) -> dict[str, str]:
        """The protocols named in `per_op`, with what each one does."""
        named = {name for op in self.per_op for name in op.protocol.split(", ")}
        return {name: what for name, what in EXPLAINED.items() if name in named}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {**asdict(self), "protocols": self.protocols}

    def __str__(self) -> str:
        return "\n".join(_table(self))


def cost(plan: Plan) -> Cost:
    """Count a plan's rounds and bytes."""
    setup, run = plan.procedure("setup"), plan.procedure("run")
    return Cost(
        rounds=_rounds(run),
        online_bytes=_online(plan, run),
        offline_bytes=_offline(plan, run),
        setup_rounds=_rounds(setup),
        setup_online_bytes=_online(plan, setup),
        setup_offline_bytes=_offline(plan, setup),
        client_bytes=_client(plan),
        peak_memory=peak_memory(plan),
        per_op=tuple(_per_op(plan, setup)) + tuple(_per_op(plan, run)),
    )


def _rounds(procedure: Procedure) -> int:
    return sum(bool(r.opens) for r in procedure.rounds)


def _opened(plan: Plan, gate: Open) -> int:
    """Bytes of an opening, both directions."""
    return 2 * sum(size for _, _, size in gate.segments(plan.registers))


def _online(plan: Plan, procedure: Procedure) -> int:
    return sum(_opened(plan, op.gate) for op in procedure.ops if isinstance(op.gate, Open))


def _offline(plan: Plan, procedure: Procedure) -> int:
    return sum(op.gate.material_bytes(plan.registers) for op in procedure.ops if op.gate.secrets(plan.registers))


def _client(plan: Plan) -> int:
    sent = sum(sum(payload_sizes(plan.feeds_of(role, "run"))) for role in plan.roles)
    return sent + sum(2 * len(r.roles) * result_size(r) for r in plan.results)


def _per_op(plan: Plan, procedure: Procedure) -> Iterator[OpCost]:
    round_of = {i: n for n, r in enumerate(procedure.rounds) for i in r.opens}
    groups: dict[tuple[int, int, str], list[int]] = {}
    for i in range(len(procedure.ops)):
        origin = plan.origin(procedure.name, i)
        groups.setdefault((origin.line, origin.column, origin.label), []).append(i)
    for (line, column, label), members in sorted(groups.items()):
        gates = [procedure.ops[i].gate for i in members]
        outs = [plan.registers[r].size for g in gates for r in g.outs if not isinstance(g, Reveal)]
        names = dict.fromkeys(PROTOCOLS[type(g)] for g in gates if type(g) in PROTOCOLS)
        yield OpCost(
            procedure.name,
            label,
            line,
            column,
            len(gates),
            len({round_of[i] for i in members if i in round_of}),
            sum(_opened(plan, g) for g in gates if isinstance(g, Open)),
            sum(g.material_bytes(plan.registers) for g in gates if g.secrets(plan.registers)),
            max(outs, default=0),
            ", ".join(names),
        )


def _table(c: Cost) -> list[str]:
    rows = [("line", "op", "rounds", "online", "offline", "protocol")]
    for op in c.per_op:
        if op.online_bytes or op.offline_bytes:
            name = op.label if op.procedure == "run" else f"{op.label} (setup)"
            rows.append(
                (str(op.line), name, str(op.rounds), human(op.online_bytes), human(op.offline_bytes), op.protocol)
            )
    rows.append(("", "one run", str(c.rounds), human(c.online_bytes), human(c.offline_bytes), ""))
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
