"""What `mpcc explain` says of every value: its bound, how that is known, its cost, and what a tighter one saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from compiler.calibration.choose import rounded
from compiler.calibration.claims import made_by_parties
from compiler.graph import Graph, Input, Kind, Leaf, OpError, Param, Value, declare, rebuild, rewrite
from compiler.graph.interval import Interval, hull
from compiler.pipeline import planned
from compiler.planning.plan import origin
from dsl.errors import SourceErrors
from mpc_runtime.analysis.cost import cost
from mpc_runtime.errors import number
from mpc_runtime.gates.comparison import Leaf as Compared
from mpc_runtime.plan import Claim, Origin, Plan
from mpc_runtime.registers import Domain

if TYPE_CHECKING:
    from mpc_runtime.program import Program

TIGHTER = 16.0
"""The bound that is tried is so many times narrower: four bits of every comparison."""

LEAST_SAVING = 0.01
KNOWN = {
    "compiled": "promised, proved by ranges",
    "provided": "promised, {owner} checks it",
    "measured": "promised, only measured",
    "claimed": "promised, by the author",
}


@dataclass(frozen=True)
class Bound:
    """Of the values of one name in one line. ring: bits of the widest register; compared: of the widest comparison.

    tighter, saving: a narrower promise, and the part of all bytes of a run that it saves; only where they were asked
    for and it saves any.
    """

    line: int
    value: str
    lo: float
    hi: float
    known: str
    ring: int | None = None
    compared: int | None = None
    tighter: tuple[float, float] | None = None
    saving: float | None = None
    values: tuple[Value, ...] = field(default=(), repr=False, compare=False)

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        found = asdict(replace(self, values=()))
        del found["values"]
        return found


def bounds(program: Program, *, tighter: bool) -> list[Bound]:
    """A row for every value that is no constant, in the order of the file; none for a plan without source.

    tighter: whether to compile the model once more for each, with a narrower promise.
    """
    if not program.plan.source:
        return []
    lowered, plan = program.stages.lowered, program.plan
    rings, widths = _widths(plan)
    groups: dict[tuple[int, int, str], list[Value]] = {}
    for value in lowered.values():
        if not value.is_constant and value.span is not None:
            name = value.name or value.op.symbol.strip("`") or value.op.name.lower()
            groups.setdefault((value.span.line, value.span.column, name), []).append(value)
    found = []
    for (line, _, name), values in sorted(groups.items()):
        range_ = hull(value.range for value in values)
        known = _known(values[0], plan.claims)
        at = origin(values[0])
        found.append(
            Bound(line, name, range_.lo, range_.hi, known, rings.get(at), widths.get(at), values=tuple(values))
        )
    return list(_with_savings(found, lowered, plan)) if tighter else found


def _widths(plan: Plan) -> tuple[dict[Origin, int], dict[Origin, int]]:
    """By place in the source: bits of the widest ring, and of the widest comparison."""
    rings: dict[Origin, int] = {}
    compared: dict[Origin, int] = {}
    for procedure in plan.procedures:
        for place, op in enumerate(procedure.ops):
            at = plan.origin(procedure.name, place)
            for out in op.gate.outs:
                if plan.registers[out].domain is Domain.WORDS:
                    rings[at] = max(rings.get(at, 0), plan.registers[out].bits)
            if isinstance(op.gate, Compared):
                compared[at] = max(compared.get(at, 0), op.gate.width - op.gate.low_bit)
    return rings, compared


def _known(value: Value, claims: tuple[Claim, ...]) -> str:
    op, promise = value.op, value.declared
    if isinstance(op, Input | Param):
        return f"{op.role} checks it" if promise is not None else "the number format"
    if promise is None:
        return "derived"
    if not made_by_parties(value):
        return f"{next(iter(value.owners))} checks it"
    line = value.span.line if value.span is not None else 0
    told = (promise.lo, promise.hi, line)
    claim = next((c for c in claims if (c.lo, c.hi, c.line) == told and c.value == value.name), None)
    return "derived" if claim is None else KNOWN[claim.known].format(owner=claim.owner)


def _with_savings(found: list[Bound], lowered: Graph, plan: Plan) -> Iterator[Bound]:
    now = _bytes(plan)
    for bound in found:
        trial = _narrowed(bound, lowered)
        if trial is None:
            yield bound
            continue
        graph, promise = trial
        try:
            after = _bytes(planned(graph, plan.options)[1])
        except SourceErrors:
            after = now
        saving = 1 - after / now if now else 0.0
        told = saving >= LEAST_SAVING
        yield replace(bound, tighter=(promise.lo, promise.hi), saving=saving) if told else bound


def _bytes(plan: Plan) -> int:
    found = cost(plan)
    return found.online_bytes + found.offline_bytes


def _narrowed(bound: Bound, lowered: Graph) -> tuple[Graph, Interval] | None:
    """The model with a promise on these values; None where no author would write one."""
    first = bound.values[0]
    if isinstance(first.op, Leaf) or first.kind is Kind.BIT or not made_by_parties(first):
        return None
    now = Interval(bound.lo, bound.hi).intersect(lowered.precision.format_range(first.kind))
    if now is None or not now.lo <= 0 <= now.hi:
        return None
    promise = rounded(Interval(now.lo / TIGHTER, now.hi / TIGHTER))

    def rule(value: Value, args: tuple[Value, ...]) -> Value:
        new = rebuild(value, args)
        return declare(new, promise) if value in bound.values else new

    try:
        return rewrite(lowered, rule), promise
    except OpError:
        return None


def table(found: list[Bound]) -> Iterator[str]:
    """As text, a line each."""
    for each in found:
        widths = f"ring {each.ring}" if each.ring else ""
        widths += f", compares {each.compared}" if each.compared else ""
        row = (
            f"  {each.line:>4}  {each.value:<20} {Interval(each.lo, each.hi)!s:<28} {each.known:<28} {widths}".rstrip()
        )
        yield row
        if each.tighter is not None and each.saving is not None:
            lo, hi = map(number, each.tighter)
            yield f"        promise [{lo}, {hi}] here: {100 * each.saving:.0f} % fewer bytes"
