"""What computes otherwise in training, put in its place: in a step, and in everything else.

`dropout` is an identity outside training. In a step it multiplies by coins that nobody has to hide: a role's client
draws them from the seed of the call, for each step and each use of dropout by themselves (`roles/coins.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.graph import (
    BATCH,
    Graph,
    Input,
    Kind,
    OpError,
    Output,
    Training,
    Value,
    apply,
    constant,
    rebuild,
    rewrite,
    stamp,
)
from compiler.graph.interval import Interval
from compiler.ops import BatchNorm, Dropout, Mul
from compiler.reading.batch_axis import places
from compiler.training.reverse import Blame, NotTrainable
from mpc_runtime.plan import Coins
from mpc_runtime.procedure import CLOCK, TRAIN_STEP

__all__ = ["Inside", "inside", "outside", "speaker"]

Rule = Callable[[Value, tuple[Value, ...]], Value]


@dataclass(frozen=True)
class Inside:
    """What a step computes. coins: what it takes for that; statistics: what a batch says of the parameters that are
    running statistics."""

    training: Training
    coins: tuple[Coins, ...]
    statistics: Mapping[Value, Value]


def outside(graph: Graph) -> Graph:
    """The model as it is anywhere but in a step, and its loss as validation rows have it."""
    training = graph.training
    assert training is not None

    def rule(value: Value, args: tuple[Value, ...]) -> Value:
        if isinstance(value.op, Dropout):
            return args[0]
        if not isinstance(value.op, BatchNorm):
            return rebuild(value, args)
        make = value.op.by_states if _is_trained(training, args) else value.op.by_its_owner
        return _placed(make(*args), value)

    whole = _rewritten(graph, (*graph.outputs, *_of(training)), rule)
    count = len(graph.outputs)
    return replace(graph, outputs=whole[:count], training=_with(training, whole[count:]))


def inside(graph: Graph) -> Inside:
    """The `train` block as a step computes it. Raises NotTrainable for what has no statistics of a batch."""
    training = graph.training
    assert training is not None
    coins: dict[str, Coins] = {}
    statistics: dict[Value, Value] = {}
    at = places([output.value for output in _of(training)])

    def rule(value: Value, args: tuple[Value, ...]) -> Value:
        if isinstance(value.op, Dropout):
            return dropped(value, value.op, args[0])
        if isinstance(value.op, BatchNorm) and _is_trained(training, args):
            return normalised(value, value.op, args)
        return _placed(value.op.by_its_owner(*args), value) if isinstance(value.op, BatchNorm) else rebuild(value, args)

    def dropped(value: Value, op: Dropout, x: Value) -> Value:
        key = f"{CLOCK}dropout {op.place}"
        coins[key] = Coins(key, 1 - op.p)
        dims = tuple(BATCH if axis == at[value] else None for axis in range(value.rank))
        drawn = Input(Kind.INT, value.shape, speaker(training), True, key=key, dims=dims, stage=TRAIN_STEP)
        kept = apply(Mul(), x, apply(drawn, span=value.span, declared=Interval(0, 1)), span=value.span)
        return apply(Mul(), kept, constant(1 / (1 - op.p)), span=value.span, name=value.name)

    def normalised(value: Value, op: BatchNorm, args: tuple[Value, ...]) -> Value:
        x, weight, bias, mean, variance = args
        if mean in statistics:
            message = f"`{op.layer}` is applied twice: its running statistics would be those of both"
            raise NotTrainable([Blame(value, message, "use a layer for each")])
        try:
            batch = op.by_batch(x, weight, bias, training.limits.activations)
        except OpError as error:
            raise NotTrainable([Blame(value, error.message, error.help)]) from None
        statistics.update({mean: batch.mean, variance: batch.variance})
        for each in (batch.mean, batch.variance):
            _placed(each, value)
        return _placed(batch.result, value)

    found = _with(training, _rewritten(graph, _of(training), rule))
    return Inside(found, tuple(coins.values()), statistics)


def _is_trained(training: Training, args: Sequence[Value]) -> bool:
    """Whether a layer's parameters change, so that its statistics are those of each batch."""
    return args[1].is_secret and args[1] not in training.frozen


def _placed(made: Value, value: Value) -> Value:
    """What stands for a value, at its place and with its name."""
    if value.span is not None:
        stamp(made, value.span)
    return made if value.name is None else replace(made, name=value.name)


def speaker(training: Training) -> str:
    """The role that says in clear what a session says of steps."""
    assert training.clock is not None and isinstance(training.clock[0].op, Input)
    return training.clock[0].op.role


def _of(training: Training) -> tuple[Output, ...]:
    return (Output("loss", training.loss, ()), *training.outputs)


def _with(training: Training, outputs: tuple[Output, ...]) -> Training:
    return replace(training, loss=outputs[0].value, outputs=outputs[1:])


def _rewritten(graph: Graph, outputs: tuple[Output, ...], rule: Rule) -> tuple[Output, ...]:
    return rewrite(replace(graph, outputs=outputs), rule).outputs
