"""Range check: every value's range fits its number format afterwards, and the assumptions behind that are reported.

Ranges were derived while the graph was made. Where a derived range leaves the format, or is not known at all, the value
may overflow, and the range is cut to the format. What follows from such a value is not blamed again: a second, honest
range is carried along, unknown from the unproved value on until an op bounds it (a sigmoid, a clip, a promise). A cause
is told once: of the values that leave the format in the same way (a stack of blocks leaves it in each) the first one is
named, with the lines of the others, and of a leaf without a range what really depends on it. A range wholly outside the
format is a certain overflow, and an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from compiler.graph import INT_LIMIT, Graph, Kind, Owned, Prepared, Value, topological
from compiler.graph.bounds import useful
from compiler.graph.interval import UNKNOWN, Interval
from compiler.ops.activations import Log, Reciprocal, Rsqrt
from compiler.ops.elementwise import Add, Div
from compiler.ops.linear import Conv2d, MatMul
from compiler.ops.powers import Power, PowerOf
from compiler.ops.shapes import Move
from compiler.reading.report import called, report
from dsl.ast import Span
from dsl.errors import Diagnostic
from mpc_runtime.errors import amount, number

DIVIDING = (Div, Reciprocal)
WITH_POLE = (*DIVIDING, Rsqrt, Log, Power, PowerOf)  # what has no value at 0
MAX_LINES = 6  # of a list of lines in a message
LEAST_ADVICE = 2.0**-4  # no model's activations lie within less


@dataclass
class _Doubts:
    """What is not proved. `leaves`: without a range, and what depends on each; `causes`: by the way they leave."""

    leaves: dict[Value, _Effects] = field(default_factory=dict)
    causes: dict[object, list[tuple[Value, Interval]]] = field(default_factory=dict)
    errors: list[Diagnostic] = field(default_factory=list)
    follow: bool = False  # whether more is not proved because it is computed from these causes


def check_ranges(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with ranges inside the format, and the warnings and errors about them."""
    new: dict[Value, Value] = {}  # with the final range
    honest: dict[Value, Value] = {}  # with the range that is proved, UNKNOWN where nothing is
    blamed: dict[Value, frozenset[Value]] = {}  # the leaves without a range that leave a value without one
    doubts = _Doubts()
    implied = _implied(graph)
    for value in graph.values():
        args = tuple(new[arg] for arg in value.args)
        if value.is_constant:
            new[value] = honest[value] = value
            continue
        whole = graph.precision.format_range(value.kind)
        proved = _derived(value, tuple(honest[arg] for arg in value.args), implied)
        derived = proved if whole.contains(proved) else _derived(value, args, implied)
        new[value] = _ranged(value, args, _cut(derived, whole))
        below = frozenset().union(*(blamed.get(arg, ()) for arg in value.args))
        for leaf in below:
            doubts.leaves[leaf].note(value, leaves=not whole.contains(derived))
        if whole.contains(proved):
            honest[value] = new[value]
            continue
        honest[value] = replace(new[value], range=UNKNOWN, norms=())
        causes = _undeclared_below(graph, value)
        if isinstance(value.op, Prepared) and not causes and proved.intersect(whole) is not None:
            causes = [value]  # its owner's client refuses what the format does not hold
        for leaf in causes:
            doubts.leaves.setdefault(leaf, _Effects())
        blamed[value] = below.union(causes)
        if causes:
            continue
        if proved.intersect(whole) is None:
            doubts.errors.append(_certain(graph, value, proved))
        elif all(honest[arg].range.is_finite for arg in value.args):
            doubts.causes.setdefault(_way(value, proved), []).append((new[value], proved))
        elif not below:
            doubts.follow = True
    diagnostics = [*doubts.errors, *(_overflow(graph, group, doubts.follow) for group in doubts.causes.values())]
    diagnostics += _undeclared(graph, doubts.leaves)
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, outputs=outputs), diagnostics


def _ranged(value: Value, args: tuple[Value, ...], range_: Interval) -> Value:
    norms = value.norms if isinstance(value.op, Owned) else useful(value.op.norms(*args), range_, value.shape)
    return replace(value, args=args, range=range_, norms=norms)


def _derived(value: Value, args: tuple[Value, ...], implied: Mapping[Value, Interval]) -> Interval:
    """The range of `value` from the ranges of `args` and the author's promises."""
    if isinstance(value.op, Owned):
        return value.range
    derived = value.op.interval(*args)
    if value in implied:
        derived = derived.intersect(implied[value]) or derived
    return derived if value.declared is None else (derived.intersect(value.declared) or value.declared)


def _implied(graph: Graph) -> dict[Value, Interval]:
    """What a promise about a sum says of a term that nothing else uses: a product before its bias is added."""
    uses = graph.uses()
    found = {}
    for value in graph.values():
        if isinstance(value.op, Add) and value.declared is not None:
            for term, other in (value.args, value.args[::-1]):
                if uses[term] == 1 and not isinstance(term.op, Owned):
                    found[term] = value.declared - other.range
    return found


def _undeclared_below(graph: Graph, value: Value) -> list[Value]:
    """The leaves without a range that leave `value`, a leaf itself, without one."""
    below = topological([graph.prepared[value.op.index].value]) if isinstance(value.op, Prepared) else [value]
    return [leaf for leaf in below if isinstance(leaf.op, Owned) and not leaf.range.is_finite]


def _cut(derived: Interval, whole: Interval) -> Interval:
    return derived.intersect(whole) or whole


def _certain(graph: Graph, value: Value, proved: Interval) -> Diagnostic:
    return report(
        graph,
        value,
        f"{called(value)} overflows: it always lies in {proved}, and {graph.precision.holds(value.kind)}",
        "scale the values down, or correct the declared ranges",
    )


# -- what is computed and leaves the format ----------------------------------------------------------------------------


def _way(value: Value, proved: Interval) -> str:
    """How a value leaves the format: one warning tells of all that do so alike."""
    if proved.is_finite:
        return "too large"
    return value.op.name if isinstance(value.op, WITH_POLE) else "unknown"


def _overflow(graph: Graph, group: list[tuple[Value, Interval]], follow: bool) -> Diagnostic:
    """The warning about the first of a group, with the lines of the others."""
    value, proved = group[0]
    holds, help = graph.precision.holds(value.kind), "declare what you know of it: `x = … in [lo, hi]`"
    if proved.is_finite:
        limit = INT_LIMIT if value.kind is Kind.INT else graph.precision.limit
        bits = math.ceil(math.log2(proved.magnitude / limit) or 1)
        why = f"it may reach {proved}, and {holds} ({amount(bits, 'bit')} too few)"
        help += ", or narrow the ranges that it is made of" + _narrower(value, bits)
    elif isinstance(value.op, WITH_POLE):
        what = "a divisor" if isinstance(value.op, DIVIDING) else "an argument"
        why = f"its {what.split()[1]} lies in {value.args[-1].range}, so it may be 0"
        help = f"declare {what} without 0: `d = … in [0.01, 10]`"
    else:
        why = holds
    message = f"the range of {_what(value)} is not proved: {why}{_others([each for each, _ in group[1:]])}"
    if follow:
        message += ", nor is that of what is computed from it"
    return report(graph, value, message, help, "warning")


def _what(value: Value) -> str:
    """A value by its name, or by the layer whose result it is."""
    layer = None if value.name else _layer(value)
    return f"the result of `{layer}`" if layer else called(value)


def _layer(value: Value) -> str | None:
    """The layer whose weights or bias go into the value directly."""
    near = [arg for one in value.args for arg in (one, *one.args)]
    keys = (leaf.name for leaf in near if isinstance(leaf.op, Owned) and leaf.name and "." in leaf.name)
    return next((key.rpartition(".")[0] for key in keys), None)


def _narrower(value: Value, bits: int) -> str:
    """The range of what flows into a linear op at which its result fits, where something computed flows in."""
    flow = value.args[0] if isinstance(value.op, MatMul | Conv2d) else None
    while flow is not None and isinstance(flow.op, Move):
        flow = flow.args[0]
    if flow is None or isinstance(flow.op, Owned) or flow.is_constant or not flow.range.is_finite:
        return ""
    most = 2.0 ** (math.floor(math.log2(flow.range.magnitude or 1)) - bits)
    if most < LEAST_ADVICE:
        return ""
    return f";\nor promise what flows in, `h = … in [lo, hi]`: within [-{number(most)}, {number(most)}] the result fits"


def _others(others: list[Value]) -> str:
    """` (and 11 more like it: lines 7, 9 …)`."""
    if not others:
        return ""
    lines = sorted({each.span.line for each in others if each.span is not None})
    listed = f": {_lines(lines)}" if lines else ""
    return f" (and {len(others)} more like it{listed})"


def _lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:MAX_LINES])) + " …" * (len(lines) > MAX_LINES)
    return f"line{'s' * (len(lines) > 1)} {shown}"


# -- what is not declared ----------------------------------------------------------------------------------------------


@dataclass
class _Effects:
    """What depends on the range of a leaf that has none: the first value of each sort."""

    compares: Value | None = None
    leaves: Value | None = None
    divides: Value | None = None

    def note(self, value: Value, leaves: bool) -> None:
        if value.op.compares:
            self.compares = self.compares or value
        if isinstance(value.op, DIVIDING):
            self.divides = self.divides or value
        elif leaves:
            self.leaves = self.leaves or value

    def add(self, other: _Effects) -> None:
        self.compares = self.compares or other.compares
        self.leaves = self.leaves or other.leaves
        self.divides = self.divides or other.divides

    def sentences(self) -> list[str]:
        found = []
        if self.leaves is not None:
            found.append(f"{called(self.leaves)}{_line(self.leaves)} may leave that")
        if self.compares is not None:
            found.append(f"comparisons{_line(self.compares)} are as wide as that")
        if self.divides is not None:
            found.append(f"a quotient{_line(self.divides)} has to be right over all of that, which costs more")
        return found


def _line(value: Value) -> str:
    return f" (line {value.span.line})" if value.span is not None else ""


def _undeclared(graph: Graph, leaves: Mapping[Value, _Effects]) -> list[Diagnostic]:
    """One warning a statement, naming its leaves and what depends on their range; none where nothing does."""
    statements: dict[Span | None, list[Value]] = {}
    for leaf in leaves:
        statements.setdefault(leaf.span, []).append(leaf)
    found = []
    for group in statements.values():
        effects = _Effects()
        for leaf in group:
            effects.add(leaves[leaf])
        sentences = effects.sentences()
        if sentences:
            reasons = _listed([graph.precision.holds(group[0].kind), *sentences])
            message = f"the range of {_names(group)} is not declared: {reasons}"
            found.append(report(graph, group[0], message, "declare it: `… in [lo, hi]`", "warning"))
    return found


def _names(leaves: list[Value]) -> str:
    return _listed(list(dict.fromkeys(called(leaf) for leaf in leaves)))


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
