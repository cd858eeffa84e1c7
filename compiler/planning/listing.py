"""The prints of the op-list and of the plan: one line an instruction, stable, for people and golden tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from mpc_runtime.analysis.leakage import manifest
from mpc_runtime.errors import amount
from mpc_runtime.gates import Gate
from mpc_runtime.plan import FORMAT, Plan
from mpc_runtime.procedure import Procedure
from mpc_runtime.registers import Domain, Register


def print_oplist(plan: Plan) -> str:
    """Every gate with its operands, its result's type and the source line that it stems from."""
    lines: list[str] = []
    for procedure in plan.procedures:
        lines.append(f"procedure {procedure.name}")
        lines += [f"  {text}" for text in _gates(plan, procedure)]
    return "\n".join(lines) + "\n"


def print_plan(plan: Plan) -> str:
    """What all machines agree on: roles, feeds, results, what is revealed, and the rounds."""
    options = f"network={plan.options.network}, checked={'yes' if plan.options.checked else 'no'}"
    lines = [f"plan {plan.name}, format {FORMAT}, options {options}, fixed(bits={plan.bits}, frac={plan.frac})"]
    lines += [f"role {role}" for role in plan.roles]
    for tensor in (*plan.inputs, *plan.params):
        word = "input" if tensor in plan.inputs else "param"
        public = " public" if tensor.public else ""
        lines.append(
            f"{word} {tensor.name} : {tensor.kind}{list(tensor.shape)} from {tensor.role}{public}"
            f" in [{tensor.lo:g}, {tensor.hi:g}]"
        )
    for feed in plan.feeds:
        how = "prepared by its client" if feed.expression else f"the {feed.source!r} of its role"
        stage = next(p.name for p in plan.procedures if feed.name in p.takes)
        lines.append(
            f"feed {feed.name} ({stage}): {list(feed.shape)} from {feed.role}, {amount(feed.bits, 'bit')},"
            f" scale {feed.scale}, {how}"
        )
    for result in plan.results:
        lines.append(
            f"result {result.name} : {result.kind}{list(result.shape)} to {', '.join(result.roles)},"
            f" {amount(result.bits, 'bit')}, scale {result.scale}"
        )
    lines += [f"leakage: {line}" for line in manifest(plan)]
    for procedure in plan.procedures:
        kept = [f"%{k.made}" if k.made == k.place else f"%{k.made} as %{k.place}" for k in procedure.keeps]
        keeps = f", keeps {', '.join(kept)}" if kept else ""
        lines.append(f"procedure {procedure.name}: {amount(len(procedure.ops), 'op')}{keeps}")
        for number, r in enumerate(procedure.rounds):
            parts = ((r.before, "do"), (r.opens, "open"), (r.overlap, "meanwhile"))
            steps = [f"{word} {_runs(ops)}" for ops, word in parts if ops]
            lines.append(f"  round {number}: {'; '.join(steps)}")
    return "\n".join(lines) + "\n"


def _gates(plan: Plan, procedure: Procedure) -> Iterator[str]:
    for i, op in enumerate(procedure.ops):
        gate = op.gate
        results = ", ".join(f"%{r} : {_type(plan.registers[r])}" for r in gate.outs)
        operands = ", ".join(f"%{r}" for r in gate.ins)
        made = f"{results} = " if results else ""
        text = f"{i:>3}  {made}{type(gate).__name__.lower()}({operands}){_attributes(gate)}"
        size = gate.material_bytes(plan.registers)
        if size:
            text += f"  [{size} B to p{op.receiver}]"
        origin = plan.origin(procedure.name, i)
        yield f"{text}  # {origin.label}, line {origin.line}" if origin.line else text


def _type(t: Register) -> str:
    shape = "x".join(map(str, t.shape)) or "scalar"
    if t.domain is Domain.WORDS:
        return f"{t.form.value} {shape} z{t.bits}/{t.scale}"
    if t.domain is Domain.BITS:
        return f"{t.form.value} {shape} bit"
    return f"{t.form.value} {shape} {t.planes} planes"


def _attributes(gate: Gate) -> str:
    registers = ("In", "Ins", "Out", "Outs")
    named = {f.name: getattr(gate, f.name) for f in fields(gate) if f.type not in registers}
    shown = [f"{name}={value}" for name, value in named.items() if value != ""]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _runs(numbers: tuple[int, ...]) -> str:
    """0-3, 5: consecutive numbers joined."""
    parts: list[str] = []
    start = previous = None
    for n in [*sorted(numbers), None]:
        if previous is not None and n == previous + 1:
            previous = n
            continue
        if start is not None:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = n
    return ", ".join(parts)
