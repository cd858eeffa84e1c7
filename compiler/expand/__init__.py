"""From the tensor graph to gates: each tensor op becomes the gates that compute it, by the handlers of its family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from compiler.expand import (
    arithmetic,
    choice,
    clipping,
    division,
    floors,
    gradients,
    limits,
    maxima,
    norms,
    ordering,
    powers,
    roots,
    selection,
    shape,
    smooth,
    trees,
    updates,
)
from compiler.expand.compare import Bits
from compiler.expand.context import Expansion, Handler, Warned
from compiler.expand.emitter import PUBLIC, SHARE, Draft, Emitter, Held, width
from compiler.expand.layouts import Network
from compiler.expand.noise import released
from compiler.graph import OPS, Graph, Kind, OpError, Owned, State, TensorOp, Value
from compiler.ops.limits import BeyondNorms, SquaredNorms, WithinNorm
from compiler.ops.reductions import MaxGradient
from compiler.reading.report import report
from dsl.errors import SourceErrors
from mpc_runtime import gates
from mpc_runtime.gates import Gate
from mpc_runtime.plan import Origin, Result
from mpc_runtime.procedure import SETUP
from mpc_runtime.registers import Domain


def complete(*families: dict[type[TensorOp], Handler]) -> dict[type[TensorOp], Handler]:
    """One handler for each op that can be computed privately; a missing or a second one is an error on import."""
    found: dict[type[TensorOp], Handler] = {}
    for family in families:
        if twice := found.keys() & family.keys():
            raise TypeError(f"two expansions for {', '.join(sorted(op.__name__ for op in twice))}")
        found |= family
    wanted = {op for op in OPS.values() if op.private}
    if odd := wanted ^ found.keys():
        raise TypeError(f"ops with an expansion and those that say they are private differ in {sorted(map(str, odd))}")
    return found


HANDLERS = complete(
    arithmetic.HANDLERS,
    shape.HANDLERS,
    choice.HANDLERS,
    maxima.HANDLERS,
    gradients.HANDLERS,
    selection.HANDLERS,
    ordering.HANDLERS,
    floors.HANDLERS,
    division.HANDLERS,
    roots.HANDLERS,
    powers.HANDLERS,
    norms.HANDLERS,
    limits.HANDLERS,
    clipping.HANDLERS,
    smooth.HANDLERS,
    trees.HANDLERS,
    updates.HANDLERS,
)


@dataclass(frozen=True)
class Left:
    """A register that a procedure leaves as a state."""

    stage: str
    key: str
    register: int


@dataclass
class Expanded:
    """The op-list before rings, forms and rounds are assigned. warnings: about what is less exact than documented.

    stages: the procedure of each result; states: the register in which a procedure finds a state, by its key and the
    procedure; left: what procedures leave as states.
    """

    drafts: list[Draft]
    ops: list[tuple[Gate, Origin]]
    constants: list[np.ndarray]
    results: list[Result]
    warnings: list[Warned]
    stages: dict[str, str] = field(default_factory=dict)
    states: dict[tuple[str, str], int] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)


def expand(
    graph: Graph, network: Network, feed_name: Callable[[Value], str], label: Callable[[Value], Origin]
) -> Expanded:
    """Gates for every value that an output needs.

    feed_name: what a leaf's feed is called. label: where a value comes from. Raises SourceErrors for a constant that
    cannot be encoded.
    """
    emitter = Emitter(graph.precision)
    played = frozenset(value.args[0] for value in graph.values() if isinstance(value.op, MaxGradient))
    x = Expansion(emitter, Bits(emitter, network), network, played=played)
    for value in graph.values():
        emitter.origin = label(value)
        try:
            x.held[value] = _held(x, graph, value, feed_name)
        except OpError as error:
            raise SourceErrors(
                [report(graph, _blamed(value, error), error.message, error.help)], graph.source
            ) from None
    found = Expanded(emitter.drafts, emitter.ops, emitter.constants, [], x.warnings, states=x.states)
    for output in graph.outputs:
        emitter.origin = label(output.value)
        if output.keeps is not None:
            register = _left(x, x.held[output.value], output.keeps)
            found.left.append(Left(output.stage, output.keeps.key, register))
            continue
        try:
            held, value = released(x, output, x.held[output.value])
        except OpError as error:
            raise SourceErrors([report(graph, output.value, error.message, error.help)], graph.source) from None
        result = _revealed(x, output.name, output.roles, held, value, output.fine)
        found.results.append(replace(result, promises=output.promises, noise=output.noise))
        found.stages[output.name] = output.stage
    checks = {label(value) for value in graph.values() if isinstance(value.op, WithinNorm | BeyondNorms | SquaredNorms)}
    found.ops = _credited(found.ops, checks)
    return found


def _blamed(value: Value, error: OpError) -> Value:
    """What stands in the source: the value, or else the argument that it cannot take."""
    return value.args[error.arg] if value.span is None and isinstance(error.arg, int) else value


def _credited(emitted: list[tuple[Gate, Origin]], checks: set[Origin]) -> list[tuple[Gate, Origin]]:
    """A check squares what is opened anyway, and comes before whoever opens it: an opening, or a view of it, that
    others read too stems from the first of these, in what reports say of costs."""
    readers: dict[int, Origin] = {}
    credited = []
    for gate, origin in reversed(emitted):
        if origin in checks and (gate.communicates or not gate.fresh):
            origin = next((readers[out] for out in gate.outs if out in readers), origin)
        if origin not in checks:
            readers |= dict.fromkeys(gate.ins, origin)
        credited.append((gate, origin))
    return credited[::-1]


def _left(x: Expansion, h: Held, state: State) -> int:
    """Shares of what is left as a state. A constant is left in all its elements."""
    if h.array is None:
        return x.e.share(h, state.frac)[0]
    constant = x.e.broadcast(x.e.encoded(h.array, state.frac), state.shape)
    return x.e.emit(gates.FromPublic, state.shape, SHARE, scale=state.frac, x=constant)


def _held(x: Expansion, graph: Graph, value: Value, feed_name: Callable[[Value], str]) -> Held:
    if value.is_constant:
        return x.constant(value)
    if isinstance(value.op, Owned):
        return _leaf(x, value, feed_name(value), fresh=graph.stage_of(value) != SETUP)
    if isinstance(value.op, State):
        return x.state(value, value.op)
    handler = HANDLERS[type(value.op)]
    return handler(x, value, *(x.held[a] for a in value.args))


def _leaf(x: Expansion, value: Value, feed: str, fresh: bool) -> Held:
    op = value.op
    assert isinstance(op, Owned)
    mode = PUBLIC if op.public else SHARE
    bits = value.kind is Kind.BIT
    scale = x.e.frac if value.kind is Kind.FIXED else 0
    register = x.e.emit(
        gates.Input,
        value.shape,
        mode,
        scale=scale,
        domain=Domain.BITS if bits else Domain.WORDS,
        feed=feed,
        public=op.public,
    )
    if fresh:
        x.e.fresh.add(register)
    if bits:
        return x.e.held_bit(value, register)
    return x.e.held(value, register, scale)


def _revealed(x: Expansion, name: str, roles: tuple[str, ...], h: Held, value: Value, fine: bool) -> Result:
    """Send a value at the format's precision: bits below it would tell more than the result. fine: with all its
    bits."""
    if value.kind is Kind.BIT:
        if h.array is not None:
            shared = x.e.emit(gates.FromPublic, h.shape, SHARE, domain=Domain.BITS, x=x.e.bit_constant(h.array))
        else:
            shared = x.e.shared_bit(h)
        _reveal(x, name, roles, 1, shared)
        return Result(name, roles, "bit", value.shape, (), Domain.BITS, 1, 0)
    scale = max(x.e.scales(h)) if fine and not h.constant else x.e.plain(h)
    if h.array is not None:
        shared = x.e.emit(gates.FromPublic, h.shape, SHARE, scale=scale, x=x.e.encoded(h.array, scale))
    else:
        shared = x.e.share(h, scale)[0]
    bits = width(value.range, scale, value.kind is not Kind.FIXED, most=64)
    _reveal(x, name, roles, bits, shared)
    return Result(name, roles, value.kind.value, value.shape, (), Domain.WORDS, bits, scale)


def _reveal(x: Expansion, name: str, roles: tuple[str, ...], bits: int, register: int) -> None:
    x.e.add_gate(gates.Reveal(name, roles, bits, register))
