"""`checked=True`: what no range proves is guarded, so that a run that finds all checks kept has computed right numbers.

A promise is checked on the value itself, and a value that has left the format looks like any other. So every value is
proved to stay in the format as long as the checks before it hold: take the first check, in the order of computation,
that fails; all before it was in range, so it was computed rightly, and says so.

Where a matrix product or a convolution is not proved, the norm of what flows into it is limited and checked (see
`compiler.ops.limits`): one comparison for each vector. Where even that cannot be checked, and before sums and products
of elements, each element is; of weights without a range, too. What else is not proved (an exponential) is refused by
name where a check depends on it, and warned of as in any plan where none does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.graph import (
    Graph,
    Kind,
    Leaf,
    OpError,
    Output,
    Owned,
    Precision,
    Value,
    apply,
    bounds,
    constant,
    rebuild,
    topological,
)
from compiler.graph.bounds import Terms
from compiler.graph.interval import Interval
from compiler.ops.activations import Log, Reciprocal, Relu, Rsqrt
from compiler.ops.comparisons import And, Equal, GreaterEqual, LessEqual
from compiler.ops.curves import LogSoftmax
from compiler.ops.elementwise import Add, Div, Mul, Square, Sub, ToFixed, ToInt
from compiler.ops.limits import Bounded, WithinNorm, pieces
from compiler.ops.linear import Conv2d, MatMul
from compiler.ops.reductions import Var
from compiler.ops.shapes import Move
from compiler.ops.sums import CumSum, Sum
from compiler.reading.report import called, report
from dsl.errors import Diagnostic
from mpc_runtime.plan import Promise
from mpc_runtime.procedure import RUN

RESULTS = (2.0**14, 2.0**20)
"""Below what the results of a guarded product shall lie, if that leaves enough room for what flows in: the lower, the
less it costs to compare them, and to guard them again."""

ROUNDED_UP = 2.0**-20
"""Bits by which a bound may be too large because it was rounded up; twice the result still fits the format."""

ENOUGH = {True: 2.0**10, False: 2.0**8}
"""A limit that the activations of a model hardly reach: of the norm of a vector, and of an element."""

ALL = {True: math.inf, False: math.inf}
"""A limit as large as there is room for."""

GROWING = (Add, Sub, Mul, Square, Sum, CumSum, Var, LogSoftmax)
"""What leaves the format only where an element of an argument is large, on either side of 0."""

LEEWAY = 2.0**-10
"""More than the error of a smooth function, of a result of at least 1."""

LEAST_BITS = 6
"""Of a limit of elements: below this, values that are right would be refused."""


@dataclass(frozen=True)
class Guard:
    """What is checked of a value: that the norm of its vectors along `axes` (of each element, for none) is limited."""

    value: Value
    axes: tuple[int, ...]
    limit: float


def with_guards(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with guards and their outputs, and an error for each value below a check that cannot be guarded."""
    guards = _Guards(graph.precision)
    unproved: dict[Value, Value] = {}
    new: dict[Value, Value] = {}
    runs = set(topological(output.value for output in graph.outputs if output.stage == RUN))
    expected = _expected(graph)
    for value in graph.values():
        if value not in runs:  # a step of training has limits of its own
            new[value] = rebuild(value, tuple(new[arg] for arg in value.args))
            continue
        found = _rebuilt(_in_format(value, graph.precision), tuple(new[arg] for arg in value.args))
        found = _in_domain(found, graph.precision)
        whole = graph.precision.format_range(found.kind)
        if not (found.is_constant or whole.contains(found.range)):
            guarded = guards.guarded(found, expected.get(value, 0.0))
            cut = replace(found, range=found.range.intersect(whole) or whole) if guarded is None else guarded
            if guarded is None:
                unproved[cut] = found
            found = cut
        new[value] = found
    roles = tuple(dict.fromkeys(role for output in graph.outputs if output.stage == RUN for role in output.roles))
    outputs = [replace(output, value=new[output.value]) for output in graph.outputs]
    place = sum(len(output.promises) for output in outputs)
    outputs += [_output(guard, roles, place + i) for i, guard in enumerate(guards.made)]
    compared = topological(output.value for output in outputs if output.promises)
    errors = (_refused(graph, unproved[value]) for value in compared if value in unproved)
    return replace(graph, outputs=tuple(outputs)), list(dict.fromkeys(errors))  # a promise and its check say the same


def _expected(graph: Graph) -> dict[Value, float]:
    """How large what flows into promised values may be, as far as their authors say so."""
    found: dict[Value, float] = {}
    for value in reversed(list(graph.values())):
        if value.declared is not None and value.declared.is_finite:
            found[value] = max(found.get(value, 0.0), value.declared.magnitude)
        if isinstance(value.op, Move | Add | Sub | ToFixed | Relu) and value in found:
            for arg in value.args:
                found[arg] = max(found.get(arg, 0.0), found[value])
    return found


def _rebuilt(value: Value, args: tuple[Value, ...]) -> Value:
    """With limited arguments. A promise that these cannot keep is broken in every run, and stays as it is."""
    try:
        return rebuild(value, args)
    except OpError:
        if value.declared is None:
            raise
        return replace(value, args=args)


def _in_format(value: Value, precision: Precision) -> Value:
    """A leaf as its owner's client gives it: within the format."""
    if not isinstance(value.op, Owned):
        return value
    whole = precision.format_range(value.kind)
    return replace(value, range=value.range.intersect(whole) or whole)


def _in_domain(value: Value, precision: Precision) -> Value:
    """What a function gives where it has a meaning: no number of the format but 0 itself is nearer to 0 than a step.
    Outside, it gives some number, and no check says which."""
    if not isinstance(value.op, Div | Reciprocal | Rsqrt | Log):
        return value
    step = 2.0**-precision.frac if value.args[-1].kind is Kind.FIXED else 1.0
    if isinstance(value.op, Log):
        within = Interval(math.log(step) - LEEWAY, math.inf)
    elif isinstance(value.op, Rsqrt):
        within = Interval(0.0, (1 + LEEWAY) / math.sqrt(step))
    else:
        most = (1 + LEEWAY) / step * (value.args[0].range.magnitude if isinstance(value.op, Div) else 1.0)
        within = Interval(-most, most)
    return replace(value, range=value.range.intersect(within) or value.range)


def _refused(graph: Graph, value: Value) -> Diagnostic:
    message = (
        f"{called(value)} cannot be checked: it may reach {value.range}, {graph.precision.holds(value.kind)},"
        " and what has left that looks like any other number"
    )
    return report(graph, value, message, "promise a range of what it is made of: `h = … in [lo, hi]`, which is checked")


class _Guards:
    """The guards made so far."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.made: list[Guard] = []
        self._limited: dict[tuple[Value, tuple[int, ...], float], Value] = {}

    def guarded(self, value: Value, expected: float) -> Value | None:
        """`value` of a guarded operand, proved to stay in the format; None where that does not help. expected: how
        large it may be without breaking a promise."""
        if isinstance(value.op, GROWING):
            return self._by_elements(value)
        if isinstance(value.op, Div):
            return self._alike(value, value.args[:1])
        if not isinstance(value.op, MatMul | Conv2d):
            return None
        for place in sorted((0, 1), key=lambda place: isinstance(_moved(value.args[place]).op, Leaf)):
            if value.args[place].is_constant:
                continue
            guards = self._of_product(value.op, value, place, expected)
            held = {guard.value: _bounded(guard) for guard in guards}
            found = rebuild(value, tuple(held.get(arg, arg) for arg in value.args))
            if self.precision.format_range(value.kind).contains(found.range):
                limited = {guard.value: self._limit(guard) for guard in guards}
                return rebuild(value, tuple(limited.get(arg, arg) for arg in value.args))
        return None

    def _of_product(self, op: MatMul | Conv2d, value: Value, place: int, expected: float) -> list[Guard]:
        """Of what flows in at `place`; and of the other factor, where it is so little bounded that hardly anything
        could flow in."""
        flow, other = value.args[place], value.args[1 - place]
        axes = _summed(op, flow, place)
        guard = self._guard(flow, axes, _terms(op, value.args, 1 - place), expected)
        if other.is_constant or other is flow or guard.limit >= ENOUGH[bool(guard.axes)]:
            return [guard]
        others = self._checkable(other, _summed(op, other, 1 - place), ENOUGH)
        bounded = _bounded(others)
        args = (flow, bounded) if place == 0 else (bounded, flow)
        if self.precision.format_range(value.kind).contains(rebuild(value, args).range):
            return [others]
        return [self._guard(flow, axes, _terms(op, args, 1 - place), expected), others]

    def _by_elements(self, value: Value) -> Value | None:
        """Every element of what was computed before limited alike, to the largest power of two that is enough; of what
        is given too, where that is not enough."""
        flows = [arg for arg in value.args if not arg.is_constant]
        computed = [arg for arg in flows if not isinstance(_moved(arg).op, Leaf)]
        chosen = [computed, flows] if computed else [flows]
        return next((found for each in chosen if (found := self._alike(value, each)) is not None), None)

    def _alike(self, value: Value, flows: Sequence[Value]) -> Value | None:
        for limit in (2.0**bits for bits in range(math.ceil(math.log2(self.precision.limit)), LEAST_BITS - 1, -1)):
            held = {arg: arg if arg.range.magnitude <= limit else _bounded(Guard(arg, (), limit)) for arg in flows}
            found = _in_domain(rebuild(value, tuple(held.get(arg, arg) for arg in value.args)), self.precision)
            if self.precision.format_range(value.kind).contains(found.range):
                limited = {arg: arg if held[arg] is arg else self._limit(Guard(arg, (), limit)) for arg in flows}
                return _in_domain(rebuild(value, tuple(limited.get(arg, arg) for arg in value.args)), self.precision)
        return None

    def _guard(self, flow: Value, axes: tuple[int, ...], other: Terms, expected: float) -> Guard:
        """The norm where that can be checked, else every element."""
        least = max(flow.range.lo, -flow.range.hi)
        usual = _moved(flow).declared is None and least <= 0 and expected <= RESULTS[0]
        enough = ENOUGH if usual else ALL  # else larger values are expected
        limits = {True: self._most(other.l2, enough[True]), False: self._most(other.l1, enough[False])}
        return self._checkable(flow, axes, limits)

    def _checkable(self, flow: Value, axes: tuple[int, ...], limits: Mapping[bool, float]) -> Guard:
        """limits: of the norm where that can be checked (True), else of every element."""
        try:
            pieces(flow, axes, limits[True], self.precision.frac if flow.kind is Kind.FIXED else 0)
        except OpError:
            return Guard(flow, (), limits[False])
        return Guard(flow, axes, limits[True])

    def _most(self, factor: float, enough: float) -> float:
        """A power of two: how large an operand may be for a small result, if that is enough, else for any."""
        limits = [
            2.0 ** math.floor(math.log2(most / factor) + ROUNDED_UP) for most in (*RESULTS, self.precision.limit / 2)
        ]
        return next((limit for limit in limits if limit >= enough), limits[-1])

    def _limit(self, guard: Guard) -> Value:
        key = (guard.value, guard.axes, guard.limit)
        if key not in self._limited:
            self._limited[key] = _bounded(guard)
            self.made.append(guard)
        return self._limited[key]


def _bounded(guard: Guard) -> Value:
    flow = guard.value
    return apply(Bounded(guard.axes, guard.limit), flow, span=flow.span, name=flow.name)


def _moved(value: Value) -> Value:
    while isinstance(value.op, Move):
        value = value.args[0]
    return value


def _summed(op: MatMul | Conv2d, operand: Value, place: int) -> tuple[int, ...]:
    """The axes of an operand over which products are added up, or more."""
    if isinstance(op, Conv2d):
        return (1, 2, 3)
    return (operand.rank - 1 if place == 0 else max(operand.rank - 2, 0),)


def _terms(op: MatMul | Conv2d, args: Sequence[Value], place: int) -> Terms:
    if isinstance(op, Conv2d) and place == 0:
        return bounds.window(args[0], args[1].shape[1:])
    return bounds.terms(args[place], _summed(op, args[place], place))


# -- what is revealed --------------------------------------------------------------------------------------------------


def _output(guard: Guard, roles: tuple[str, ...], place: int) -> Output:
    value = guard.value
    line = value.span.line if value.span else 0
    promise = Promise(_said(value), line, -guard.limit, guard.limit, place, norm=bool(guard.axes))
    return Output(f"checked: {promise}", replace(_kept(guard), span=value.span), roles, value.span, (promise,))


def _said(value: Value) -> str:
    """What the author calls it: its name, or that of what it was made of by moving elements or by an activation."""
    while value.name is None and len(value.args) == 1:
        value = value.args[0]
    return value.name or "value"


def _kept(guard: Guard) -> Value:
    """One bit: everything of the value is within its limit."""
    value = guard.value
    if guard.axes:
        bits = apply(WithinNorm(guard.axes, guard.limit), value, span=value.span)
    else:
        bits = _elements(value, guard.limit)
    return all_hold(bits)


def _elements(value: Value, limit: float) -> Value:
    sides, end = [], value.kind.dtype.type(limit)  # a power of two, and whole for an int
    if value.range.hi > limit:
        sides.append(apply(LessEqual(), value, constant(end), span=value.span))
    if value.range.lo < -limit:
        sides.append(apply(GreaterEqual(), value, constant(-end), span=value.span))
    return sides[0] if len(sides) == 1 else apply(And(), *sides, span=value.span)


def all_hold(bits: Value) -> Value:
    """One bit for all of them."""
    if bits.rank == 0:
        return bits
    number = apply(ToInt(), bits, span=bits.span)
    count = apply(Sum(tuple(range(bits.rank)), False), number, span=bits.span)
    return apply(Equal(), count, constant(np.int64(bits.size)), span=bits.span)
