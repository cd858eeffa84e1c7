"""What the expansion of a tensor op gets: the emitter, comparisons, and the tensors expanded so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from compiler.expand.compare import Bits
from compiler.expand.emitter import MAX_WIDTH, PUBLIC, SHARE, WIRE, Emitter, Held, Shape, width
from compiler.expand.layouts import Network
from compiler.graph import Kind, State, Value
from mpc_runtime import gates

Array = np.ndarray


@dataclass(frozen=True)
class Warned:
    """A value whose documented error does not hold over its whole range, and what does."""

    value: Value
    message: str
    help: str


@dataclass
class Expansion:
    """One model's expansion. held: the forms of the values expanded so far; warnings: about what is not exact; states:
    the register in which a procedure finds a state, by its key and the procedure; played: the values through whose
    maximum a gradient goes back."""

    e: Emitter
    bits: Bits
    network: Network
    held: dict[Value, Held] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)
    states: dict[tuple[str, str], int] = field(default_factory=dict)
    played: frozenset[Value] = frozenset()

    def state(self, value: Value, op: State) -> Held:
        """Shares that an earlier execution has left: no gate makes them."""
        register = self.e.register(value.shape, SHARE, op.frac)
        self.states[op.key, op.stage] = register
        self.e.fresh.add(register)
        return self.e.held(value, register, op.frac)

    def warn(self, value: Value, message: str, help: str) -> None:
        """What the author has to know about how exact `value` can be."""
        self.warnings.append(Warned(value, message, help))

    def constant(self, value: Value) -> Held:
        return Held(value.kind, value.shape, value.range, array=value.array)

    def zeros(self, shape: Shape, scale: int) -> int:
        """Shares of zeros."""
        zero = self.e.broadcast(self.e.constant(np.zeros((), np.int64), scale), shape)
        return self.e.emit(gates.FromPublic, shape, SHARE, scale=scale, x=zero)

    def known(self, value: Value, array: Array) -> Held:
        """A value that the expansion found to be constant, as shares: what reads it need not know."""
        scale = self.e.frac if value.kind is Kind.FIXED else 0
        constant = self.e.broadcast(self.e.encoded(array, scale), value.shape)
        shares = self.e.emit(gates.FromPublic, value.shape, SHARE, scale=scale, x=constant)
        return self.e.held(value, shares, scale)

    def scale_for(self, h: Held, *numbers: float) -> int:
        """The scale at which `h` is held, or the plain one where that is too coarse for these constants."""
        scale = self.e.scale(h)
        whole = all(n * 2.0**scale == round(n * 2.0**scale) for n in numbers if np.isfinite(n))
        return scale if whole else max(scale, self.e.plain(h))

    def operand(self, h: Held, scale: int, prefer: str = WIRE) -> int:
        """A register of `h` at `scale` for a sum: a constant, or the form that exists, or `prefer`."""
        if h.array is not None:
            return self.e.encoded(h.array, scale)
        for mode in (prefer, WIRE, PUBLIC, SHARE):
            register = self.e.existing(h, mode, scale)
            if register is not None:
                return register
        return self.e.wire(h, scale)[0] if prefer == WIRE else self.e.share(h, scale)[0]

    def common_scale(self, *tensors: Held) -> int:
        """The lowest scale at which all tensors exist without a truncation; the plain one where that leaves no room."""
        scale = max(self.e.scale(h) for h in tensors)
        room = all(width(h.range, scale, most=64) < MAX_WIDTH for h in tensors)
        return scale if room else max(self.e.plain(h) for h in tensors)

    def wires(self, *tensors: Held) -> tuple[list[int], int]:
        """Masked values (or constants) of all tensors at one scale."""
        scale = self.common_scale(*tensors)
        return [self.e.wire(h, scale)[0] if h.array is None else self.e.encoded(h.array, scale) for h in tensors], scale

    def stored(self, h: Held) -> tuple[int, int]:
        """(masked value, scale) of the number as it is stored: at the format's scale."""
        scale = self.e.plain(h)
        return self.e.wire(h, scale)


Handler = Callable[..., Held]


def exact_kind(h: Held | Value) -> bool:
    """Whole numbers and bits carry no rounding, so their ranges need no slack."""
    return h.kind is not Kind.FIXED
