"""Reverse differentiation: from a scalar loss and the parameters to the gradients, as values of the same graph.

Values are visited from the loss on, users before arguments. What reaches a value from its users is added up and handed
to the value's op, which says what of it reaches its arguments (`TensorOp.gradient`); nothing is asked of an op on which
no trained parameter has an influence. Gradients refer to the values of the forward pass, so what both need is computed,
and opened, once.

Gradients are fixed numbers, whatever the kind of the value; whole numbers and bits on the way pass them on. Their place
in the source is that of the op whose gradient they are. Which parameters are trained, batches and the update are the
caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from compiler.graph import Kind, NoGradient, OpError, Param, Shape, Value, apply, constant, stamp, topological
from compiler.ops import Add, BroadcastTo, Reshape, Sum
from compiler.ops.rules import typed


@dataclass(frozen=True)
class Blame:
    """Why a loss cannot be trained: the value at whose place it is said, and what to do."""

    value: Value
    message: str
    help: str | None


class NotTrainable(Exception):
    """All that keeps a loss from being trained. The front end adds the places and formats it."""

    def __init__(self, blames: Sequence[Blame]) -> None:
        super().__init__("; ".join(each.message for each in blames))
        self.blames = tuple(blames)


def trained(loss: Value, frozen: Iterable[Value] = ()) -> tuple[Value, ...]:
    """The parameters that training this loss changes: secret fixed numbers that are not frozen, in order of their use.

    Raises NotTrainable where there is none.
    """
    left = set(frozen)
    params = [value for value in topological([loss]) if isinstance(value.op, Param)]
    found = tuple(value for value in params if value.is_secret and value.kind is Kind.FIXED and value not in left)
    if found:
        return found
    if not params:
        message, help = "the loss depends on no parameter", "is it made of the result of a layer with `weights`?"
    else:
        names = ", ".join(f"`{value.name}` ({_untrained(value)})" for value in params)
        message = f"the loss depends on no parameter that training changes, only on {names}"
        help = "leave out `public`, or freeze fewer layers"
    raise NotTrainable([Blame(loss, message, help)])


def _untrained(value: Value) -> str:
    if not value.is_secret:
        return "public"
    return "frozen" if value.kind is Kind.FIXED else f"{value.kind.value} numbers"


def gradients(
    loss: Value,
    wanted: Sequence[Value],
    seed: float = 1.0,
    limited: Callable[[Value, Value], Value] = lambda value, gradient: gradient,
) -> tuple[Value, ...]:
    """The gradient of `loss`, times `seed`, for each of `wanted`, of its shape.

    limited: what stands in the place of the gradient that has reached a value before it is passed on: what is equal to
    it, and known to be smaller.

    Raises NotTrainable for a loss that is no scalar, for ops without a gradient on the way, and for values that no
    gradient reaches.
    """
    if loss.shape != () or loss.kind is not Kind.FIXED:
        help = "take the mean or the sum: `loss = mean(…)`" if loss.shape else "a loss is a fixed number"
        raise NotTrainable([Blame(loss, f"the loss is expected to be fixed[], a scalar, found {typed(loss)}", help)])
    order = topological([loss])
    active = _depending(order, wanted)
    reached: dict[Value, Value] = {loss: constant(float(seed))} if loss in active else {}
    blames: list[Blame] = []
    for value in reversed(order):
        if value not in reached or not value.args:
            continue
        try:
            reached[value] = limited(value, reached[value])
            blames += _pass_on(value, active, reached)
        except OpError as error:
            blames.append(Blame(value, f"the gradient of {_called(value)}: {error.message}", error.help))
    if not blames:
        used = set(order)
        blames = [_unreached(value, value in used) for value in wanted if value not in reached]
    if blames:
        raise NotTrainable(list(dict.fromkeys(blames)))
    return tuple(_whole(reached[value], value.shape) for value in wanted)


def _pass_on(value: Value, active: set[Value], reached: dict[Value, Value]) -> list[Blame]:
    """Add what reaches the arguments of `value` to what has reached them; what has no gradient."""
    blames = []
    for arg, part in _parts(value, reached[value], active):
        if isinstance(part, NoGradient):
            blames.append(_without(value, part))
        elif part is not None:
            back = _summed_back(part, arg.shape)
            reached[arg] = apply(Add(), reached[arg], back) if arg in reached else back
            if value.span is not None:
                stamp(reached[arg], value.span)
    return blames


def _depending(order: Iterable[Value], wanted: Iterable[Value]) -> set[Value]:
    """The values that depend on one of `wanted`."""
    found = set(wanted)
    for value in order:
        if any(arg in found for arg in value.args):
            found.add(value)
    return found


def _parts(value: Value, gradient: Value, active: set[Value]) -> list[tuple[Value, Value | NoGradient | None]]:
    """The arguments that matter, each with what reaches it."""
    if any(arg.shape != value.shape for arg in value.args):
        gradient = _whole(gradient, value.shape)
    parts = value.op.gradient(value.args, value, gradient)
    return [(arg, part) for arg, part in zip(value.args, parts, strict=True) if arg in active]


def _whole(gradient: Value, shape: Shape) -> Value:
    return gradient if gradient.shape == shape else apply(BroadcastTo(shape), gradient)


def _summed_back(part: Value, shape: Shape) -> Value:
    """The sum of what reaches the copies of an argument of `shape` that was broadcast."""
    lead = max(0, part.rank - len(shape))
    first = len(shape) - part.rank
    copied = [axis for axis in range(lead, part.rank) if part.shape[axis] > shape[first + axis]]
    axes = (*range(lead), *copied)
    if not axes:
        return part
    return _without_axes(apply(Sum(axes, True), part), lead)


def _without_axes(total: Value, lead: int) -> Value:
    return apply(Reshape(total.shape[lead:]), total) if lead else total


def _without(value: Value, part: NoGradient) -> Blame:
    message = f"{_called(value)} has no gradient: {part.reason}"
    return Blame(value, message, "compute it from what is not trained, or freeze the layers that it depends on")


def _unreached(value: Value, used: bool) -> Blame:
    called = f"`{value.name}`" if value.name else "a value"
    if not used:
        return Blame(value, f"the loss does not depend on {called}", "freeze it, or use it in the loss")
    message = f"the loss depends on {called} only through choices, which change in jumps"
    return Blame(value, message, "freeze it, or choose smoothly: `sigmoid(…)` instead of a comparison")


def _called(value: Value) -> str:
    symbol = value.op.symbol or value.op.name
    return symbol if symbol.startswith("`") or " " in symbol else f"`{symbol}`"
