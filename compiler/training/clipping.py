"""Gradients of single examples, clipped to a norm and added up, with noise that hides each (TRAINING section 3).

The gradients of an example are never written out where they are products: a dense layer that multiplies a row x and is
sent a signal d has the gradient x d, whose norm is |x| |d|. So one pass back finds the signals of all layers, from them
come the norms and the factors, and what is added up is made from the signals again. That an example has gradients of
its own is proved, not assumed: every x and every d has to keep the rows of a batch apart, by what each op says of rows.

Which noise is wide enough, and which rows a step has, is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.graph import (
    BATCH,
    Clipping,
    Graph,
    Input,
    Kind,
    OpError,
    Training,
    Value,
    apply,
    bounds,
    rebuild,
    topological,
)
from compiler.ops import (
    Add,
    Bounded,
    ClipFactor,
    Clipped,
    Conv2d,
    FactorSum,
    MatMul,
    Mean,
    Mul,
    Neg,
    Noised,
    OuterSum,
    Reshape,
    Stored,
    Sub,
    Sum,
)
from compiler.ops.clipping import along_each_kernel
from compiler.ops.losses import Loss
from compiler.ops.shapes import BroadcastTo, Move
from compiler.reading.batch_axis import row_axes
from compiler.reading.report import called, report
from compiler.reading.variants import computed_otherwise
from compiler.training.reverse import Blame, NotTrainable, gradients
from dsl.errors import Diagnostic, SourceErrors
from mpc_runtime.plan import Privacy
from mpc_runtime.privacy.accountant import capacity
from mpc_runtime.privacy.noise import reach
from mpc_runtime.procedure import DRAWN, TRAIN_STEP

__all__ = ["Gradient", "clipped", "learnt", "with_room"]

SIGNAL_BITS = 24
"""Fraction bits of clipped signals: their rounding adds little to the norms (TRAINING section 3.2)."""

NOISE_BITS = 46
"""Binary digits of the deviation of noise, in steps, at most: a sampler draws up to 2^48."""

FORMAT_BITS = 16
"""Fraction bits of what clipped signals and factors are multiplied with, at most."""

SQUARE_BITS = 60
"""Binary digits of the largest squared norm of a gradient that is written out."""

LEAST_BITS = 4
"""Fraction bits of a gradient that is written out, below which it is none."""

NO_OTHER_USE = "`privacy` clips the gradients of dense and convolutional layers and of biases, each used once"


# -- for how many rows a step is ---------------------------------------------------------------------------------------


def with_room(graph: Graph, lowered: Callable[[int], Graph]) -> Graph:
    """The graph with its block for as many rows as a step of private training has room for. lowered: the graph of the
    source for a batch of this size, of which only the rows are wanted: what else the author computes from `batch`, as a
    rate, is of the batch as it is. Raises SourceErrors where that cannot be."""
    training = graph.training
    if training is None or training.privacy is None:
        return graph
    batch = graph.dims.get(BATCH)
    if batch is None:
        message = f"`privacy` draws the rows of each step, and the model has no `dim {BATCH}`"
        found = Diagnostic.at(training.privacy.span or training.span, message, file=graph.filename)
        raise SourceErrors([found], graph.source)
    wide = lowered(capacity(batch)).training
    assert wide is not None, "the same source"
    known = {leaf.op: leaf for leaf in (*graph.params, *(training.clock or ()))}
    roots = [wide.loss, *(output.value for output in wide.outputs), *wide.frozen]
    new: dict[Value, Value] = {}
    for value in topological(roots):
        new[value] = known[value.op] if value.op in known else _rebuilt(value, new)
    outputs = tuple(replace(output, value=new[output.value]) for output in wide.outputs)
    frozen = tuple(new[value] for value in wide.frozen)
    whole = replace(training, inputs=wide.inputs, loss=new[wide.loss], outputs=outputs, frozen=frozen)
    _expect_private(graph, whole, training.privacy)
    _expect_alike(graph, training.loss, wide.loss, (batch, capacity(batch)))
    op = Input(Kind.BIT, (capacity(batch),), _first(whole), False, DRAWN, (), (BATCH,), stage=TRAIN_STEP)
    privacy = replace(training.privacy, counts=apply(op, name="rows"), batch=batch)
    return replace(graph, training=replace(whole, privacy=privacy))


def _expect_alike(graph: Graph, loss: Value, wide: Value, sizes: tuple[int, int]) -> None:
    """Raises SourceErrors for a loss that means something else in a step, which has more rows."""
    value = computed_otherwise(loss, wide, sizes)
    if value is None:
        return
    message = f"a step under `privacy` has {sizes[1]} rows, and {called(value)} is computed otherwise for these"
    help = f"a loss is a mean over the rows; write {sizes[0]} in the place of `{BATCH}` elsewhere"
    raise SourceErrors([report(graph, value if value.span else loss, message, help)], graph.source)


def _rebuilt(value: Value, new: Mapping[Value, Value]) -> Value:
    return rebuild(value, tuple(new[arg] for arg in value.args))


def _first(training: Training) -> str:
    """The role that says which rows count: the first that gives any."""
    return next(leaf.role for leaf in _given([training.loss]))


def _given(roots: Iterable[Value]) -> list[Input]:
    """What roles give of which nobody else learns anything."""
    return [v.op for v in topological(roots) if isinstance(v.op, Input) and v.is_secret]


def _expect_private(graph: Graph, training: Training, privacy: Clipping) -> None:
    """Raises SourceErrors for what noise in the gradients does not hide."""
    found = []
    for output in training.outputs:
        message = f"the output `{output.name}` of every step has no noise, and `privacy` hides single rows"
        place = output.span or training.span
        found.append(Diagnostic.at(place, message, file=graph.filename, help="remove it, or `privacy`"))
    for measure in training.metrics:
        message = f"`metric {measure.name}` has no noise, and `privacy` hides single rows"
        help = "leave it out; who has the weights can measure them on rows of their own"
        found.append(Diagnostic.at(measure.span, message, file=graph.filename, help=help))
    for leaf in topological([training.loss]):
        if not isinstance(leaf.op, Input) or not leaf.is_secret:
            continue
        if leaf.op.index_path:
            message = f"`{leaf.op.key}` comes from an array role, whose rows `privacy` does not tell apart yet"
            found.append(report(graph, leaf, message, "declare its members as roles of their own"))
        elif leaf.op.dims.count(BATCH) != 1:
            message = f"`{leaf.op.key}` has no axis `{BATCH}`: it is in every row's gradient, and nothing would hide it"
            found.append(report(graph, leaf, message, "declare it `public`, or as a `param`"))
    if not _given([training.loss]):
        message = "`privacy` hides rows that nobody gives: the loss depends on no secret input"
        found.append(Diagnostic.at(privacy.span or training.span, message, file=graph.filename))
    if found:
        raise SourceErrors(found, graph.source)


# -- the gradients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gradient:
    """Of all parameters: the sums of clipped gradients over the examples. rounding: how much longer an example's
    gradient may be than its bound, as it is held."""

    sums: tuple[Value, ...]
    rounding: float


def learnt(
    graph: Graph,
    training: Training,
    loss: Value,
    wanted: tuple[Value, ...],
    seed: float,
    limited: Callable[[Value, Value], Value],
) -> tuple[tuple[Value, ...], Privacy | None]:
    """The gradients of a step for `wanted`, of a loss that is a mean, times `seed`; under `privacy`, sums of clipped
    gradients with noise, as large as those, and what that hides."""
    private = training.privacy
    if private is None:
        return gradients(loss, wanted, seed, limited), None
    assert private.counts is not None, "a block is lowered for as many rows as a step has room for"
    most, unit = private.counts.size, seed / private.batch
    bound = unit * private.clip
    try:
        found = clipped(loss, wanted, unit * most, private.counts, bound, limited, private.noise * bound)
    except OpError as error:
        raise SourceErrors([report(graph, loss, error.message, error.help)], graph.source) from None
    privacy = Privacy(private.clip, private.noise, private.delta, private.batch, most, unit, found.rounding)
    deviation = private.noise * privacy.sensitivity
    return tuple(_noised(each, deviation) for each in found.sums), privacy


@dataclass(frozen=True)
class _Use:
    """Where a parameter is used: moved by `path`, in the order of use, it is an operand of `at`."""

    path: tuple[Value, ...]
    at: Value

    @property
    def operand(self) -> Value:
        return self.path[-1]


def clipped(
    loss: Value,
    wanted: Sequence[Value],
    seed: float,
    counts: Value,
    bound: float,
    limited: Callable[[Value, Value], Value] = lambda value, gradient: gradient,
    deviation: float = 0.0,
) -> Gradient:
    """For each of `wanted` the sum over the rows that count of the gradients of the row's loss, scaled down where the
    norm of all of them together is beyond `bound`.

    The loss is a mean over all rows: times `seed` and differentiated, it gives the gradients that are clipped. limited:
    as of `gradients`; deviation: of the noise that is added later, for which there must be room. Raises NotTrainable
    for what gives single rows no gradients of their own.
    """
    _expect_mean(loss)
    uses = [_use(loss, value) for value in wanted]
    targets = list(dict.fromkeys(use.at for use in uses))
    signals = dict(zip(targets, gradients(loss, targets, seed, limited), strict=True))
    for use in uses:
        _expect_apart(use, signals[use.at])
    dense = [use for use in uses if isinstance(use.at.op, MatMul)]
    pairs = [arg for use in dense for arg in (use.at.args[0], signals[use.at])]
    written = {use: _each(use, signals[use.at]) for use in uses if use not in dense}
    room = NOISE_BITS - FORMAT_BITS - max(0, math.ceil(math.log2(max(deviation, 1.0))))
    op = ClipFactor(bound, len(dense), room)
    factor = apply(op, *pairs, *written.values(), counts, span=loss.span, name="clip")
    bits = min(SIGNAL_BITS, room)
    rounding = 2.0**-bits * math.hypot(*(math.sqrt(_outs(use)) * _reach(use) for use in dense), 0.0)
    most = bound + rounding
    cut = {use.at: apply(Clipped(bits), signals[use.at], factor, span=use.at.span) for use in dense}
    sums = []
    for use in uses:
        if use in written:
            total = apply(FactorSum(most), written[use], factor, span=use.at.span)
            total = apply(Reshape(use.operand.shape), total) if total.shape != use.operand.shape else total
        else:
            total = apply(OuterSum(most), use.at.args[0], cut[use.at], span=use.at.span)
        sums.append(total)
    return Gradient(tuple(_back(use, total) for use, total in zip(uses, sums, strict=True)), rounding)


def _noised(gradient: Value, deviation: float) -> Value:
    """A sum with Gaussian noise."""
    most = reach("gaussian", 1, 1) * deviation
    return apply(Noised(deviation, most), gradient, span=gradient.span)


def _expect_mean(loss: Value) -> None:
    """Raises NotTrainable unless the loss is a mean over the rows, or a sum of such, each times a number."""
    pending = [loss]
    while pending:
        value = pending.pop()
        if isinstance(value.op, Loss) or value.is_constant or (isinstance(value.op, Mean) and 0 in value.op.axes):
            continue
        scaled = isinstance(value.op, Mul) and any(arg.is_constant for arg in value.args)
        if value.shape == () and (scaled or isinstance(value.op, Add | Sub | Neg)):
            pending += value.args
            continue
        message = f"`privacy` needs a loss that is a mean over the rows, and {called(value)} is none"
        help = "use `cross_entropy`, `mse` and the like, or `mean(…)`; the optimizers have a `weight_decay`"
        raise NotTrainable([Blame(value if value.span is not None else loss, message, help)])


def _use(loss: Value, parameter: Value) -> _Use:
    """The one place where a parameter is used. Raises NotTrainable for another use, or more."""
    users: dict[Value, list[tuple[Value, int]]] = {}
    for value in topological([loss]):
        for place, arg in enumerate(value.args):
            users.setdefault(arg, []).append((value, place))
    path, value = [parameter], parameter
    while True:
        found = users.get(value, [])
        if len(found) != 1:
            raise NotTrainable([_used_otherwise(parameter, found[-1][0] if found else loss, "more than once")])
        ((user, place),) = found
        if isinstance(user.op, Move) and not isinstance(user.op, BroadcastTo) and len(user.args) == 1:
            path.append(user)
            value = user
            continue
        if not _is_clipped(user, place):
            raise NotTrainable([_used_otherwise(parameter, user, "in a way that gives examples no gradients")])
        return _Use(tuple(path), user)


def _is_clipped(user: Value, place: int) -> bool:
    if isinstance(user.op, MatMul):
        return place == 1 and all(arg.rank == 2 for arg in user.args)
    return (isinstance(user.op, Conv2d) and place == 1) or isinstance(user.op, Add)


def _used_otherwise(parameter: Value, user: Value, how: str) -> Blame:
    name = f"`{parameter.name}`" if parameter.name else "a parameter"
    message = f"{name} is used {how}, so that its gradient cannot be clipped row by row"
    return Blame(user if user.span is not None else parameter, message, f"{NO_OTHER_USE}; freeze what is not")


def _expect_apart(use: _Use, signal: Value) -> None:
    """Raises NotTrainable unless both factors of a gradient have one row for each example."""
    other = [] if isinstance(use.at.op, Add) else [use.at.args[0]]
    if any(axis != 0 for axis in row_axes([*other, signal])):
        name = f"`{use.path[0].name}`" if use.path[0].name else "a parameter"
        message = f"the gradient of {name} is not a sum over the rows of the batch, one part each"
        help = f"the first axis has to be `{BATCH}`, and no op may let rows meet before the loss"
        raise NotTrainable([Blame(use.at if use.at.span is not None else use.path[0], message, help)])


def _each(use: _Use, signal: Value) -> Value:
    """The gradient of each example for an operand that is no matrix of a dense layer, [n, …]."""
    if isinstance(use.at.op, Conv2d):
        found = along_each_kernel(use.at.op, use.at.args[0], signal, use.operand.shape)
        return _stored(use, found, math.prod(use.operand.shape[2:]), use.at.args[0], signal)
    lead = signal.rank - use.operand.rank
    copied = [axis for axis in range(1, signal.rank) if axis < lead or use.operand.shape[axis - lead] == 1]
    if lead == 0 and use.operand.shape[0] != 1:
        raise NotTrainable([_used_otherwise(use.path[0], use.at, "as a number for each row")])
    copied = [axis for axis in copied if signal.shape[axis] > 1]
    if not copied:
        return signal
    found = apply(Sum(tuple(copied), True), signal, span=use.at.span)
    return _stored(use, found, math.prod(signal.shape[axis] for axis in copied), signal)


def _stored(use: _Use, found: Value, count: int, *factors: Value) -> Value:
    """A gradient with as many fraction bits as its square has room for. By Cauchy and Schwarz it is no longer than the
    product of the factors' norms and the root of `count`: of the places of a kernel, or of what was added up. Raises
    NotTrainable where it may be too long."""
    largest = math.sqrt(count) * math.prod(bounds.l2(each, range(1, each.rank)) for each in factors)
    found = apply(Bounded(tuple(range(1, found.rank)), largest), found, span=use.at.span)
    bits = min(FORMAT_BITS, math.floor((SQUARE_BITS - 2 * math.log2(max(largest, 1.0))) / 2))
    if bits < LEAST_BITS:
        message = f"the gradient of {called(use.path[0])} may have a norm of 2^{math.ceil(math.log2(largest))}"
        help = "narrow the limits: `limits = norms(activations=64, signals=8)`"
        raise NotTrainable([Blame(use.at if use.at.span is not None else use.path[0], message, help)])
    return apply(Stored(bits), found, span=use.at.span)


def _outs(use: _Use) -> int:
    return use.at.shape[1]


def _reach(use: _Use) -> float:
    """The largest norm of what a dense layer multiplies, as it is stored."""
    return bounds.l2(use.at.args[0], (1,)) * (1 + 2.0**-10)


def _back(use: _Use, gradient: Value) -> Value:
    """From the operand, as which a parameter is used, to the parameter."""
    for value in reversed(use.path[1:]):
        (part,) = value.op.gradient(value.args, value, gradient)
        assert isinstance(part, Value), "moves pass gradients on"
        gradient = part
    return gradient
