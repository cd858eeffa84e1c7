"""Scales and shifts that follow a linear layer of the same owner move into its weights and bias.

`(x @ w + b) * s + t` with w, b, s and t of one owner becomes `x @ (w * s) + (b * s + t)`, and `prepare` then lets the
owner compute both brackets before sharing: a batchnorm after a convolution costs nothing. Only a scale that differs
from output channel to output channel at most can move; promised ranges and values with other uses stay. Constants stay
too: the expansion encodes them with more fraction bits than a weight has.
"""

from __future__ import annotations

from compiler.graph import Graph, Value, apply, rebuild, rewrite
from compiler.ops import build
from compiler.ops.elementwise import Add, Mul
from compiler.ops.linear import Conv2d, MatMul


def layer_scale(graph: Graph) -> Graph:
    uses = graph.uses()
    movable: set[Value] = set()  # values of the new graph whose only use is the one that is looked at

    def fold(value: Value, args: tuple[Value, ...]) -> Value:
        found = _scaled(value, args, movable) or _shifted(value, args, movable) or rebuild(value, args)
        if uses[value] == 1 and value.declared is None:
            movable.add(found)
        return found

    return rewrite(graph, fold)


def _scaled(value: Value, args: tuple[Value, ...], movable: set[Value]) -> Value | None:
    if not isinstance(value.op, Mul):
        return None
    for layer, scale in (args, args[::-1]):
        if layer in movable and _sole_owner(scale) is not None:
            moved = _move(layer, scale, movable)
            if moved is not None and moved.shape == value.shape:
                return _dressed(moved, value)
    return None


def _move(layer: Value, scale: Value, movable: set[Value]) -> Value | None:
    """`layer * scale` with the scale in the layer's weights and bias, or None when it cannot move."""
    if isinstance(layer.op, Add):
        for product, bias in (layer.args, layer.args[::-1]):
            if product in movable and _sole_owner(bias) == _sole_owner(scale):
                moved = _move(product, scale, movable)
                if moved is not None:
                    shift = apply(Mul(), bias, scale, span=bias.span)
                    return apply(Add(), moved, shift, span=layer.span, name=layer.name)
        return None
    if not isinstance(layer.op, Conv2d | MatMul) or _sole_owner(layer.args[1]) != _sole_owner(scale):
        return None
    x, weight = layer.args
    factor = _per_output(layer.op, weight, scale)
    if factor is None or x.owners == weight.owners:
        return None
    return apply(layer.op, x, apply(Mul(), weight, factor, span=weight.span), span=layer.span)


def _per_output(op: Conv2d | MatMul, weight: Value, scale: Value) -> Value | None:
    """`scale` shaped to multiply the weight's outputs, or None when it differs along another axis."""
    if scale.size == 1:
        return build.reshape(scale, ())
    if isinstance(op, Conv2d):
        channels = weight.shape[0]
        return build.reshape(scale, (-1, 1, 1, 1)) if scale.shape[-3:] == (channels, 1, 1) == _tail(scale, 3) else None
    if weight.rank != 2:
        return None
    return build.reshape(scale, (-1,)) if scale.shape[-1:] == weight.shape[-1:] == _tail(scale, 1) else None


def _tail(scale: Value, axes: int) -> tuple[int, ...] | None:
    """The last `axes` sizes when all before them are 1."""
    return scale.shape[-axes:] if all(size == 1 for size in scale.shape[:-axes]) else None


def _shifted(value: Value, args: tuple[Value, ...], movable: set[Value]) -> Value | None:
    """`(y + a) + b` as `y + (a + b)` when a and b have one owner, and y others."""
    if not isinstance(value.op, Add):
        return None
    for inner, last in (args, args[::-1]):
        owner = _sole_owner(last)
        if owner is None or inner not in movable or not isinstance(inner.op, Add):
            continue
        for y, first in (inner.args, inner.args[::-1]):
            if _sole_owner(first) == owner != _sole_owner(y):
                shift = apply(Add(), first, last, span=last.span)
                return _dressed(apply(Add(), y, shift), value)
    return None


def _sole_owner(value: Value) -> str | None:
    """The one role that knows everything `value` depends on."""
    return next(iter(value.owners)) if len(value.owners) == 1 else None


def _dressed(moved: Value, value: Value) -> Value:
    """`moved` in the place of `value`: its span, name and promise."""
    return apply(moved.op, *moved.args, span=value.span, name=value.name, declared=value.declared)
