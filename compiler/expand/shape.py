"""Ops that move elements: views of what they are taken from, so that a tensor is opened once, however many views it
has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compiler import ops
from compiler.expand.context import Expansion, Handler
from compiler.expand.emitter import CONSTANT, PUBLIC, SHARE, WIRE, Held
from compiler.graph import Kind, TensorOp, Value, expect_constant
from mpc_runtime import gates
from mpc_runtime.registers import Domain


def _view(value: Value, a: Held, view: Callable[[int], int]) -> Held:
    return Held(value.kind, value.shape, value.range, base=a, view=view)


def reshape(x: Expansion, value: Value, a: Held) -> Held:
    return _view(value, a, lambda register: x.e.reshape(register, value.shape))


def transpose(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Transpose)
    return _view(value, a, lambda register: x.e.transpose(register, op.axes))


def broadcast(x: Expansion, value: Value, a: Held) -> Held:
    return _view(value, a, lambda register: x.e.broadcast(register, value.shape))


def slice_(x: Expansion, value: Value, a: Held) -> Held:
    """A part. It is opened with the whole only where the whole is opened anyway."""
    op = value.op
    assert isinstance(op, ops.Slice)

    def cut(register: int) -> int:
        return x.e.slice(register, op.starts, op.steps, op.counts)

    if a.kind is Kind.BIT or _masked(x, a):
        return _view(value, a, cut)
    register, scale = x.e.any(a)
    return x.e.held(value, cut(register), scale)


def _masked(x: Expansion, a: Held) -> bool:
    return any(x.e.has(a, WIRE, scale) for scale in x.e.scales(a))


def spread(x: Expansion, value: Value, a: Held) -> Held:
    """Zeros between and around: a view, so that they are never opened."""
    op = value.op
    assert isinstance(op, ops.Spread)
    return _view(value, a, lambda register: x.e.spread(register, op.shape, op.starts, op.steps))


def concat(x: Expansion, value: Value, *args: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Concat)
    if value.kind is Kind.BIT:
        parts = [x.e.bit(a) if a.array is None else x.e.bit_constant(a.array) for a in args]
        return x.e.held_bit(value, x.e.concat(_one_mode(x, parts, Domain.BITS), op.axis))
    scale = x.common_scale(*args)
    secret = [a for a in args if not a.constant]
    prefer = WIRE if all(x.e.has(a, WIRE, scale) for a in secret) else SHARE
    parts = [x.operand(a, scale, prefer) for a in args]
    return x.e.held(value, x.e.concat(_one_mode(x, parts, Domain.WORDS), op.axis), scale)


def _one_mode(x: Expansion, parts: list[int], domain: Domain) -> list[int]:
    """All parts in one form: shares where any part is shared, else masked; public parts join them."""
    modes = {x.e.mode(p) for p in parts}
    if len(modes) == 1:
        return parts
    mode = SHARE if SHARE in modes else WIRE if WIRE in modes else PUBLIC
    return [_as(x, p, mode, domain) for p in parts]


def _as(x: Expansion, part: int, mode: str, domain: Domain) -> int:
    have = x.e.mode(part)
    if have == mode:
        return part
    if have == WIRE:
        return x.e.unmask(part)
    t = x.e.drafts[part]
    if have in (PUBLIC, CONSTANT) and mode in (SHARE, WIRE):
        shared = x.e.emit(gates.FromPublic, t.shape, SHARE, scale=t.scale, domain=domain, x=part)
        return shared if mode == SHARE else x.e.open(shared)
    return x.e.emit(gates.Reshape, t.shape, mode, scale=t.scale, domain=domain, shape=t.shape, x=part)


def pad(x: Expansion, value: Value, a: Held) -> Held:
    op = value.op
    assert isinstance(op, ops.Pad)
    if value.shape == a.shape:
        return _view(value, a, lambda register: register)
    if not op.value:
        return _view(value, a, lambda register: x.e.pad(register, op.widths))
    expect_constant(value.shape)
    border = np.pad(np.zeros(a.shape), op.widths, constant_values=op.value)
    if value.kind is Kind.BIT:
        bit = x.e.bit(a)
        ones = x.e.bit_constant(border.astype(np.uint8))
        padded = x.e.pad(bit, op.widths)
        return x.e.held_bit(value, x.e.emit(gates.Xor, value.shape, WIRE, domain=Domain.BITS, x=padded, y=ones))
    register, scale = x.e.any(a, x.scale_for(a, op.value))
    return x.e.held(value, x.e.add(x.e.pad(register, op.widths), x.e.encoded(border, scale)), scale)


def unchanged(x: Expansion, value: Value, a: Held) -> Held:
    return a


HANDLERS: dict[type[TensorOp], Handler] = {
    ops.Dropout: unchanged,
    ops.Mark: unchanged,
    ops.Reshape: reshape,
    ops.Transpose: transpose,
    ops.BroadcastTo: broadcast,
    ops.Slice: slice_,
    ops.Spread: spread,
    ops.Concat: concat,
    ops.Pad: pad,
}
