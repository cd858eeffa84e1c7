"""What is limited and checked in a step of training: norms of weights, of activations and of signals on the way back.

Ranges alone compound from layer to layer, and nothing bounds what training makes of a weight. Under limits of norms
every product of a step is bounded by Cauchy and Schwarz, however many layers there are (TRAINING section 2). A limit is
assumed where it is used (`Bounded`) and checked in the same step (`BeyondNorms`). What the checks say is kept from step
to step, in a state that never returns to 0: it is 0 only if every number since the parameters were provided was right.
Whatever a role is sent is 0 in the place of a number that may be wrong, beside a bit for each check, all in one result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.graph import (
    Kind,
    Leaf,
    OpError,
    Output,
    Precision,
    Shape,
    State,
    Value,
    apply,
    bounds,
    constant,
    rebuild,
    topological,
)
from compiler.ops import (
    Add,
    And,
    BeyondNorms,
    Bounded,
    Carried,
    Concat,
    Conv2d,
    Equal,
    Mark,
    MatMul,
    MaxPool2dGradient,
    Not,
    Pad,
    Reshape,
    Slice,
    SquaredNorms,
    ToInt,
    Transpose,
    Where,
)
from compiler.ops.limits import pieces
from compiler.ops.shapes import Move
from compiler.passes.guards import all_hold
from mpc_runtime.plan import Promise
from mpc_runtime.procedure import BROKEN, TRAIN_STEP, UNCHECKED

__all__ = [
    "Check",
    "Guards",
    "Limits",
    "Orientation",
    "Remembered",
    "known",
    "orientations",
    "reach",
    "verdict",
    "with_verdict",
]

NORMS = "norms"
"""What limits are called in the language."""

VERDICT = "checked: limits"
"""What a result is called that tells whether limits were kept, behind its procedure: no output of an author is."""

LEAST_LIMIT, LARGEST_LIMIT = 2.0**-4, 2.0**20


@dataclass(frozen=True)
class Limits:
    """Of L2 norms: the weights of a unit, what one input feeds, an example's activations, its signals on the way
    back."""

    weights: float = 8.0
    inputs: float = 16.0
    activations: float = 256.0
    signals: float = 64.0


@dataclass(frozen=True)
class Check:
    """What is checked: that the vectors of `value` along `axes` are no longer than `limit`; for no axes, its elements.
    name: as it is told."""

    name: str
    value: Value
    axes: tuple[int, ...]
    limit: float

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return math.prod(n for axis, n in enumerate(self.value.shape) if axis not in self.axes)

    def promise(self, place: int) -> Promise:
        line = self.value.span.line if self.value.span else 0
        return Promise(self.name, line, -self.limit, self.limit, place, norm=bool(self.axes))


@dataclass(frozen=True)
class Orientation:
    """The axes of a parameter over which products with it are added up, the others, and whether a signal is sent back
    through it."""

    summed: tuple[int, ...]
    others: tuple[int, ...]
    back: bool


def orientations(roots: Iterable[Value], wanted: Iterable[Value]) -> dict[Value, Orientation]:
    """Of the parameters that are factors of matrix products or convolutions, as they are or transposed."""
    wanted = set(wanted)
    active = set(wanted)
    found: dict[Value, Orientation] = {}
    for value in topological(roots):
        if not active.isdisjoint(value.args):
            active.add(value)
        if not isinstance(value.op, MatMul | Conv2d):
            continue
        for place, arg in enumerate(value.args):
            leaf, summed = _untransposed(arg, _summed(value, place))
            if leaf in wanted and leaf.rank > 1:
                others = (0, 2, 3) if isinstance(value.op, Conv2d) else _others(leaf.rank, summed)
                back = value.args[1 - place] in active or (leaf in found and found[leaf].back)
                found[leaf] = Orientation(summed, others, back)
    return found


def _summed(value: Value, place: int) -> tuple[int, ...]:
    if isinstance(value.op, Conv2d):
        return (1, 2, 3)
    rank = value.args[place].rank
    return (rank - 1 if place == 0 else max(rank - 2, 0),)


def _untransposed(value: Value, axes: tuple[int, ...]) -> tuple[Value, tuple[int, ...]]:
    while isinstance(value.op, Transpose):
        order = value.op.axes
        value, axes = value.args[0], tuple(order[axis] for axis in axes)
    return value, tuple(sorted(axes))


def _others(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(rank) if axis not in axes)


def _each(shape: Shape) -> tuple[int, ...]:
    """The axes of one example."""
    return tuple(range(1, len(shape))) or tuple(range(len(shape)))


class Guards:
    """The limits of one procedure, and the checks that they take, in the order of computation."""

    def __init__(self, limits: Limits, precision: Precision) -> None:
        self.limits = limits
        self._precision = precision
        self.checks: list[Check] = []
        self._limited: dict[tuple[Value, tuple[int, ...]], Value] = {}

    def parameter(self, read: Value, key: str, used: Orientation | None) -> Value:
        """A parameter as a procedure finds it, limited, whatever is known: that is what follows from the limits."""
        if used is None:
            axes = [tuple(range(read.rank - 1)), (read.rank - 1,)] if read.rank > 1 else [tuple(range(read.rank))]
            for along in axes:
                read = self._checked(read, along, self.limits.inputs, key)
            return read
        read = self._checked(read, used.summed, self.limits.weights, key)
        return self._checked(read, used.others, self.limits.inputs, f"{key} by inputs") if used.back else read

    def factors(self, roots: Sequence[Value], keys: Mapping[Value, str]) -> list[Value]:
        """The roots, with what flows into products limited. keys: of the parameters as they are read."""
        new: dict[Value, Value] = {}
        for value in topological(roots):
            args = tuple(new[arg] for arg in value.args)
            if isinstance(value.op, Mark) and not value.op.end:
                flow = f"what flows into {value.op.layer}"
                new[value] = self._limit(args[0], _each(value.shape), self.limits.activations, flow)
                continue
            if isinstance(value.op, MatMul | Conv2d):
                layer = _layer(args, keys)
                args = tuple(self._flow(arg, layer, keys) for arg in args)
            new[value] = rebuild(value, args)
        return [new[root] for root in roots]

    def _flow(self, flow: Value, layer: str, keys: Mapping[Value, str]) -> Value:
        origin = flow
        while isinstance(origin.op, Move) and origin not in keys:
            origin = origin.args[0]
        if origin in keys or isinstance(origin.op, Leaf):
            return flow
        return self._limit(flow, _each(flow.shape), self.limits.activations, f"what flows into {layer}")

    def signal(self, value: Value, gradient: Value, keys: Mapping[Value, str]) -> Value:
        """The gradient that has reached the result of a layer, before it is passed on."""
        if isinstance(value.op, Mark) and gradient.shape == value.shape:
            return self._signals(gradient, value.op.layer)
        product = _product(value)
        if product is None or gradient.shape != value.shape:
            return gradient
        return self._signals(gradient, _layer(product.args, keys))

    def _signals(self, gradient: Value, layer: str) -> Value:
        """Limited; before they are spread over windows, which only moves them, where they come through a pooling."""
        if isinstance(gradient.op, MaxPool2dGradient) and gradient.op.overlap == 1:
            image, reaching = gradient.args
            return rebuild(gradient, (image, self._signals(reaching, layer)))
        return self._limit(gradient, _each(gradient.shape), self.limits.signals, f"the signals of {layer}")

    def _limit(self, value: Value, axes: tuple[int, ...], limit: float, name: str) -> Value:
        if value.is_constant or not value.is_secret or bounds.l2(value, axes) <= limit * bounds.UP**4:
            return value
        return self._checked(value, axes, limit, name)

    def _checked(self, value: Value, axes: tuple[int, ...], limit: float, name: str) -> Value:
        if (value, axes) not in self._limited:
            held = value if not axes or self._can_square(value, axes, limit) else self._checked(value, (), limit, name)
            self.checks.append(Check(name, held, axes, limit))
            self._limited[value, axes] = apply(Bounded(axes, limit), held, span=value.span, name=value.name)
        return self._limited[value, axes]

    def _can_square(self, value: Value, axes: tuple[int, ...], limit: float) -> bool:
        """Whether its norm can be checked as it is; else each element is compared with the limit first. What may have
        left the format cannot be checked at all, and is refused where it is expanded."""
        try:
            pieces(value, axes, limit, self._precision.frac)
        except OpError:
            return value.range.magnitude >= self._precision.limit - self._precision.step
        return True


def _product(value: Value) -> Value | None:
    """The product that a value is, but for what is added to it and how it is laid out."""
    while True:
        if isinstance(value.op, MatMul | Conv2d):
            return value
        if isinstance(value.op, Move) and not isinstance(value.op, Bounded):
            value = value.args[0]
        elif isinstance(value.op, Add):
            products = [arg for arg in value.args if _product(arg) is not None]
            if len(products) != 1:
                return None
            value = products[0]
        else:
            return None


def _layer(args: Sequence[Value], keys: Mapping[Value, str]) -> str:
    """The layer whose parameter is one of the factors, or what the source calls a factor."""
    for arg in args:
        origin = arg
        while isinstance(origin.op, Move) and origin not in keys:
            origin = origin.args[0]
        if origin in keys:
            return keys[origin].rpartition(".")[0] or keys[origin]
    return next((arg.name for arg in args if arg.name), "a product")


# -- what is found -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remembered:
    """What the parties remember of a step's checks until the next execution. waiting: the places of the checks that the
    next execution makes, since the results of the step do not depend on them."""

    checks: tuple[Check, ...]
    waiting: tuple[int, ...]
    frac: int

    @staticmethod
    def of(checks: Sequence[Check], early: int, precision: Precision) -> Remembered:
        """early: on how many of the checks, the first ones, the results of a step depend."""
        late = [place for place in range(early, len(checks)) if _can_wait(checks[place], precision)]
        return Remembered(tuple(checks), tuple(late), precision.frac)

    @property
    def broken(self) -> State:
        """0 for each check that was never broken."""
        most = 1.0 + max(check.count for check in self.checks)
        return State(Kind.INT, (len(self.checks),), BROKEN, TRAIN_STEP, 0, 0.0, most)

    @property
    def unchecked(self) -> State:
        """The squared norms of which it is not known yet whether they are within their limits."""
        norms = self._norms
        count, most = sum(each.size for each in norms), max(each.range.hi for each in norms)
        return State(Kind.FIXED, (count,), UNCHECKED, TRAIN_STEP, 2 * self.frac, 0.0, most)

    @property
    def _norms(self) -> list[Value]:
        return [_squared(self.checks[place]) for place in self.waiting]

    def left(self, found: Verdict) -> list[Output]:
        """What a step leaves."""
        outputs = [Output(BROKEN, found.state, (), stage=TRAIN_STEP, keeps=self.broken)]
        if self.waiting:
            norms = apply(Concat(0), *self._norms)
            outputs.append(Output(UNCHECKED, norms, (), stage=TRAIN_STEP, keeps=self.unchecked))
        return outputs

    def waited(self, stage: str) -> list[_Norm]:
        """What this procedure finds unchecked."""
        if not self.waiting:
            return []
        found, first, norms = apply(replace(self.unchecked, stage=stage)), 0, []
        for place in self.waiting:
            check = self.checks[place]
            part = apply(Slice((first,), (1,), (check.count,)), found)
            norms.append(_Norm(place, part, None, pieces(check.value, check.axes, check.limit, self.frac).limit))
            first += check.count
        return norms


def _can_wait(check: Check, precision: Precision) -> bool:
    """Whether the norms of a check can be kept as they are."""
    if not check.axes:
        return False
    try:
        whole = pieces(check.value, check.axes, check.limit, precision.frac).count == 1
    except OpError:
        return False  # refused where it is expanded
    return whole and _squared(check).range.hi < precision.limit


def _squared(check: Check) -> Value:
    return apply(SquaredNorms(check.axes, check.limit), check.value, span=check.value.span)


@dataclass(frozen=True)
class _Norm:
    """Something that is compared with a limit: along these axes, or a square already. place: of its check."""

    place: int
    value: Value
    axes: tuple[int, ...] | None
    limit: float


@dataclass(frozen=True)
class Verdict:
    """bits: for each check whether it was kept in all executions before, and in this one where it is known before the
    results are; state: what is left of that, and of the other checks but for those that wait."""

    checks: tuple[Check, ...]
    bits: Value
    state: Value


def verdict(remembered: Remembered, own: Sequence[Check], early: int, stage: str) -> Verdict:
    """own: the checks of this execution; early: on how many of these, the first ones, its results depend."""
    before = apply(replace(remembered.broken, stage=stage))
    norms = [
        _Norm(at, check.value, check.axes, check.limit)
        for at, check in zip(_places(remembered.checks, own), own, strict=True)
    ]
    bits = apply(Equal(), _plus(before, [*norms[:early], *remembered.waited(stage)]), constant(np.int64(0)))
    late = [norm for norm in norms[early:] if norm.place not in remembered.waiting]
    return Verdict(remembered.checks, bits, _plus(apply(ToInt(), apply(Not(), bits)), late))


def _places(checks: Sequence[Check], own: Sequence[Check]) -> list[int]:
    """Where each check of an execution stands among those of a step: at the next one that is called alike. One that a
    step does not have stands at the last."""
    free: dict[str, list[int]] = {}
    for place, check in enumerate(checks):
        free.setdefault(check.name, []).append(place)
    return [free[check.name].pop(0) if free.get(check.name) else len(checks) - 1 for check in own]


def _plus(total: Value, norms: Sequence[_Norm]) -> Value:
    """With what is beyond its limit counted at the places of the checks. All are compared together."""
    if not norms:
        return total
    op = BeyondNorms(tuple(norm.axes for norm in norms), tuple(norm.limit for norm in norms))
    counts, at = apply(op, *(norm.value for norm in norms)), [norm.place for norm in norms]
    turns = [i for i in range(1, len(at)) if at[i] != at[i - 1] + 1]
    runs = [(at[first], first, end - first) for first, end in zip([0, *turns], [*turns, len(at)], strict=True)]
    parts: list[Value] = []
    reached = 0
    for place, first, size in sorted(runs):
        part = counts if size == len(at) else apply(Slice((first,), (1,), (size,)), counts)
        if place < reached:  # what has counted there already
            total = apply(Add(), total, apply(Pad(((place, total.size - place - size),)), part))
            continue
        parts += [*_zeros(place - reached), part]
        reached = place + size
    parts += _zeros(total.size - reached)  # one sum of all, so that it is known that a place gets one count
    return apply(Add(), total, parts[0] if len(parts) == 1 else apply(Concat(0), *parts))


def _zeros(count: int) -> list[Value]:
    return [constant(np.zeros(count, np.int64))] if count else []


def with_verdict(outputs: Sequence[Output], found: Verdict, roles: tuple[str, ...], stage: str) -> list[Output]:
    """The outputs, where all checks were kept, else zeros; and for each check whether it was."""
    kept = all_hold(found.bits)
    told = [output if output.promises or output.release else _withheld(output, kept) for output in outputs]
    return [*told, _told(found, roles, stage)]


def _withheld(output: Output, kept: Value) -> Output:
    value = output.value
    if value.is_constant:
        return output
    if output.fine:
        held = apply(Carried(), value, kept, span=value.span)
    elif value.kind is Kind.BIT:
        held = apply(And(), value, kept, span=value.span)
    else:
        held = apply(Where(), kept, value, constant(value.kind.dtype.type(0)), span=value.span, name=value.name)
    return replace(output, value=held)


def _told(found: Verdict, roles: tuple[str, ...], stage: str) -> Output:
    """The bits as one result. Their value stands nowhere in the source: each promise knows the line of its own."""
    before = "" if stage == TRAIN_STEP else f"{stage} "
    promises, alike = [], Counter[str]()
    for check in found.checks:
        alone = str(check.promise(0))
        promises.append(check.promise(alike[alone]))  # several in one line may be called alike
        alike[alone] += 1
    bits = found.bits if len(promises) > 1 else apply(Reshape(()), found.bits)
    return Output(before + VERDICT, bits, roles, promises=tuple(promises), stage=stage)


def reach(value: Value) -> float:
    """The largest magnitude of a value as it is stored."""
    return value.range.magnitude * (1 + 2.0**-10) + 2.0**-10


def known(value: Value) -> tuple[bounds.Norm, ...]:
    """The norms of a value as it is stored."""
    found = bounds.rounded(value.norms, 2.0**-14, value.shape)
    return tuple(replace(each, bound=each.bound * (1 + 2.0**-10)) for each in found if math.isfinite(each.bound))
