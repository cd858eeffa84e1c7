"""What computes otherwise in training, put in its place: in a step, and in everything else.

`dropout` is an identity outside training. In a step it multiplies by coins that nobody has to hide: a role's client
draws them from the seed of the call, for each step and each use of dropout by themselves (`roles/coins.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.graph import BATCH, Graph, Input, Kind, Output, Training, Value, apply, constant, rebuild, rewrite
from compiler.graph.interval import Interval
from compiler.ops import Dropout, Mul
from compiler.reading.batch_axis import places
from mpc_runtime.plan import Coins
from mpc_runtime.procedure import CLOCK, TRAIN_STEP

__all__ = ["inside", "outside", "speaker"]

Rule = Callable[[Value, tuple[Value, ...]], Value]


def outside(graph: Graph) -> Graph:
    """The model as it is anywhere but in a step, and its loss as validation rows have it."""

    def rule(value: Value, args: tuple[Value, ...]) -> Value:
        return args[0] if isinstance(value.op, Dropout) else rebuild(value, args)

    training = graph.training
    assert training is not None
    whole = _rewritten(graph, (*graph.outputs, *_of(training)), rule)
    count = len(graph.outputs)
    return replace(graph, outputs=whole[:count], training=_with(training, whole[count:]))


def inside(graph: Graph) -> tuple[Training, tuple[Coins, ...]]:
    """The `train` block as a step computes it, and the coins that it takes."""
    training = graph.training
    assert training is not None
    coins: dict[str, Coins] = {}
    at = places([output.value for output in _of(training)])

    def rule(value: Value, args: tuple[Value, ...]) -> Value:
        if not isinstance(value.op, Dropout):
            return rebuild(value, args)
        key = f"{CLOCK}dropout {value.op.place}"
        coins[key] = Coins(key, 1 - value.op.p)
        dims = tuple(BATCH if axis == at[value] else None for axis in range(value.rank))
        op = Input(Kind.INT, value.shape, speaker(training), True, key=key, dims=dims, stage=TRAIN_STEP)
        kept = apply(Mul(), args[0], apply(op, span=value.span, declared=Interval(0, 1)), span=value.span)
        return apply(Mul(), kept, constant(1 / (1 - value.op.p)), span=value.span, name=value.name)

    found = _with(training, _rewritten(graph, _of(training), rule))
    return found, tuple(coins.values())


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
