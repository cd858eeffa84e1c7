"""Emitting gates: registers, the forms in which a tensor is held, and how one form is made from another.

A tensor of the graph is `Held` in one or more forms: shares or a masked value, at one or more scales. The expansion of
an op asks for the form it needs (`wire`, `share`, `bits`), and the emitter makes it from what is there, once. So a
value is opened once, however many ops use it, and a sum of products is truncated once, when its plain scale is first
needed.

Rings and the forms that depend on later uses (whether shares of a mask are held, whether an offset is materialized) are
assigned afterwards, by `compiler.planning.assign`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from math import ceil, floor, prod
from typing import Any

import numpy as np

from compiler.graph import Kind, OpError, Precision, Value
from compiler.graph.interval import Interval
from mpc_runtime import gates
from mpc_runtime.errors import number
from mpc_runtime.gates import Gate
from mpc_runtime.plan import Origin
from mpc_runtime.registers import Domain

Array = np.ndarray
Shape = tuple[int, ...]

SHARE, WIRE, PUBLIC, CONSTANT = "share", "wire", "public", "constant"
MAX_WIDTH = 63
"""Signed bits of a value that can still be truncated in Z_2^64 (PROTOCOLS section 2b)."""

MAX_CONSTANT = 2.0**62
"""Constants are encoded below this; beyond, a signed word wraps."""

SLACK = 2.0**-10
"""Ranges are widened by this part (of at least 1) for the rounding of fixed point and of smooth functions."""


@dataclass
class Held:
    """The forms in which a tensor exists. words: (mode, scale) -> register; bits: mode -> register.

    array: its elements if the compiler knows them. base, view: the tensor of which this one is a view, and the op on
    registers that makes it.
    """

    kind: Kind
    shape: Shape
    range: Interval
    words: dict[tuple[str, int], int] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    array: Array | None = None
    base: Held | None = None
    view: Callable[[int], int] | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def constant(self) -> bool:
        return self.array is not None


@dataclass
class Draft:
    """A register before rings are assigned."""

    shape: Shape
    mode: str
    domain: Domain
    scale: int
    planes: int


def width(range_: Interval, scale: int, exact: bool = False, most: int = MAX_WIDTH) -> int:
    """Signed bits that hold a range at a scale: -2^(k-1) <= v < 2^(k-1); at most `most`."""
    slack = 0.0 if exact else SLACK * max(1.0, range_.magnitude)
    if not range_.is_finite:
        return most
    hi = ceil((range_.hi + slack) * 2.0**scale)
    lo = floor((range_.lo - slack) * 2.0**scale)
    bits = 1 + max(hi.bit_length() if hi > 0 else 0, (-lo - 1).bit_length() if lo < 0 else 0)
    return max(2, min(bits, most))


def expect_encodable(array: Array, scale: int) -> None:
    """Refuses constants that a word does not hold with so many fraction bits."""
    largest = float(np.abs(array.astype(np.float64)).max(initial=0.0))
    if largest * 2.0**scale >= MAX_CONSTANT:
        most = number(MAX_CONSTANT * 2.0**-scale)
        raise OpError(f"a constant here holds |v| < {most}, found {number(largest)}", "scale the values down")


class Emitter:
    """The op-list under construction. `origin` is what the ops emitted from now on stem from."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.frac = precision.frac
        self.drafts: list[Draft] = []
        self.ops: list[tuple[Gate, Origin]] = []
        self.constants: list[Array] = []
        self.origin = Origin("", 0, 0)
        self.fresh: set[int] = set()
        """Registers that every execution makes anew: all but those that are made of parameters and constants."""
        self._memo: dict[Any, int] = {}
        self._reshaped: dict[int, int] = {}
        self._multiples: dict[int, tuple[int, int]] = {}
        self._transposed: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._places: dict[Any, int] = {}

    # -- registers and gates -------------------------------------------------------------------------------------------

    def register(self, shape: Shape, mode: str, scale: int = 0, domain: Domain = Domain.WORDS, planes: int = 1) -> int:
        self.drafts.append(Draft(tuple(int(n) for n in shape), mode, domain, scale, planes))
        return len(self.drafts) - 1

    def emit(
        self,
        cls: type[Gate],
        shape: Shape,
        mode: str,
        /,
        *,
        scale: int = 0,
        domain: Domain = Domain.WORDS,
        planes: int = 1,
        **attributes: Any,
    ) -> int:
        """A gate with one result; the same gate on the same registers is emitted once."""
        key = (cls, scale, tuple(attributes.items()))
        if key in self._memo:
            return self._memo[key]
        register = self.register(shape, mode, scale, domain, planes)
        result = next(f.name for f in fields(cls) if f.type == "Out")
        self.add_gate(cls(**attributes, **{result: register}))
        self._memo[key] = register
        return register

    def add_gate(self, gate: Gate) -> None:
        """A gate whose registers are there."""
        self.ops.append((gate, self.origin))
        if not self.fresh.isdisjoint(gate.ins):
            self.fresh.update(gate.outs)

    def constant(self, array: Array, scale: int) -> int:
        """A register with encoded ring elements; equal elements are stored once, even at different scales."""
        words = np.asarray(array, np.int64, order="C").view(np.uint64)
        return self.emit(gates.Constant, words.shape, CONSTANT, scale=scale, index=self._stored(words))

    def encoded(self, array: Array, scale: int) -> int:
        """A constant rounded to `scale` fraction bits. Raises OpError for one that no word holds."""
        expect_encodable(array, scale)
        if array.dtype.kind in "ib":
            return self.constant(np.asarray(array, np.int64) << scale, scale)
        return self.constant(np.rint(array * 2.0**scale), scale)

    def bit_constant(self, array: Array) -> int:
        """A register with constant bits."""
        bits = np.asarray(array, np.uint8, order="C")
        return self.emit(gates.Constant, bits.shape, CONSTANT, domain=Domain.BITS, index=self._stored(bits))

    def _stored(self, array: Array) -> int:
        """The place of an array among the plan's constants."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._places:
            self._places[key] = len(self.constants)
            self.constants.append(array)
        return self._places[key]

    def mode(self, register: int) -> str:
        return self.drafts[register].mode

    def shape(self, register: int) -> Shape:
        return self.drafts[register].shape

    # -- forms of a tensor ---------------------------------------------------------------------------------------------

    def scales(self, h: Held) -> list[int]:
        """The scales at which the tensor exists, lowest first."""
        found = {scale for _, scale in h.words}
        if h.base is not None:
            found |= set(self.scales(h.base))
        return sorted(found)

    def scale(self, h: Held) -> int:
        """The scale at which the tensor is held without more work: its lowest."""
        if h.array is not None:
            return 0 if h.kind is not Kind.FIXED else self.frac
        return self.scales(h)[0]

    def plain(self, h: Held) -> int:
        """The scale of the stored number: the format's fraction bits, none for whole numbers."""
        return self.frac if h.kind is Kind.FIXED else 0

    def wire(self, h: Held, scale: int | None = None) -> tuple[int, int]:
        """(register, scale) of the masked value; at its lowest scale unless one is given."""
        scale = self.scale(h) if scale is None else scale
        return self._form(h, WIRE, scale), scale

    def share(self, h: Held, scale: int | None = None) -> tuple[int, int]:
        """(register, scale) of shares."""
        scale = self.scale(h) if scale is None else scale
        return self._form(h, SHARE, scale), scale

    def any(self, h: Held, scale: int | None = None) -> tuple[int, int]:
        """(register, scale) of the masked value if there is one, else of shares (or of a public value)."""
        scale = self.scale(h) if scale is None else scale
        for mode in (WIRE, PUBLIC, SHARE):
            found = self.existing(h, mode, scale)
            if found is not None:
                return found, scale
        return self._form(h, SHARE, scale), scale

    def has(self, h: Held, mode: str, scale: int) -> bool:
        return self.existing(h, mode, scale) is not None

    def existing(self, h: Held, mode: str, scale: int) -> int | None:
        """The register of a form that costs no opening: it is there, or a view or an upscaling of what is there."""
        if (mode, scale) in h.words:
            return h.words[mode, scale]
        if h.base is not None and h.view is not None:
            below = self.existing(h.base, mode, scale)
            if below is not None:
                h.words[mode, scale] = h.view(below)
                return h.words[mode, scale]
        lower = [s for m, s in h.words if m == mode and s < scale]
        if lower:
            at = max(lower)
            h.words[mode, scale] = self.rescaled(h.words[mode, at], scale, 1 << (scale - at))
            return h.words[mode, scale]
        return None

    def _form(self, h: Held, mode: str, scale: int) -> int:
        found = self.existing(h, mode, scale)
        if found is not None:
            return found
        if h.base is not None and h.view is not None:
            h.words[mode, scale] = h.view(self._form(h.base, mode, scale))
            return h.words[mode, scale]
        below = max((s for _, s in h.words if s <= scale), default=None)
        if below is None:
            h.words[SHARE, scale] = self._lowered(h, min(s for _, s in h.words), scale)
            if mode == SHARE:
                return h.words[SHARE, scale]
        elif below < scale:
            self._form(h, mode, below)
            return self._form(h, mode, scale)
        h.words[mode, scale] = self._converted(h, mode, scale)
        return h.words[mode, scale]

    def _lowered(self, h: Held, higher: int, scale: int) -> int:
        """Shares at a lower scale: one truncation of the masked value."""
        x = self._form(h, WIRE, higher)
        return self.emit(
            gates.Truncate,
            h.shape,
            SHARE,
            scale=scale,
            shift=higher - scale,
            width=width(h.range, higher),
            x=x,
        )

    def _converted(self, h: Held, mode: str, scale: int) -> int:
        """From shares to masked, from masked to shares, from public to either."""
        public = self.existing(h, PUBLIC, scale)
        if mode == SHARE and public is not None:
            return self.emit(gates.FromPublic, h.shape, SHARE, scale=scale, x=public)
        if mode == WIRE:
            return self.open(self._form(h, SHARE, scale))
        return self.unmask(self._form(h, WIRE, scale))

    def open(self, register: int) -> int:
        t = self.drafts[register]
        return self.emit(gates.Open, t.shape, WIRE, scale=t.scale, domain=t.domain, planes=t.planes, x=register)

    def unmask(self, register: int) -> int:
        t = self.drafts[register]
        return self.emit(gates.Unmask, t.shape, SHARE, scale=t.scale, domain=t.domain, x=register)

    def bit(self, h: Held) -> int:
        """Register of the masked bits of a bit tensor."""
        if WIRE not in h.bits:
            if h.base is not None and h.view is not None:
                h.bits[WIRE] = h.view(self.bit(h.base))
            elif PUBLIC in h.bits:
                t = self.drafts[h.bits[PUBLIC]]
                shared = self.emit(gates.FromPublic, t.shape, SHARE, domain=Domain.BITS, x=h.bits[PUBLIC])
                h.bits[WIRE] = self.open(shared)
            else:
                h.bits[WIRE] = self.open(h.bits[SHARE])
        return h.bits[WIRE]

    def shared_bit(self, h: Held) -> int:
        """Register of shares of a bit tensor, which is not constant. What all views share is shared once."""
        if SHARE not in h.bits:
            if h.base is not None and h.view is not None and WIRE not in h.bits:
                h.bits[SHARE] = h.view(self.shared_bit(h.base))
            else:
                h.bits[SHARE] = self.unmask(self.bit(h))
        return h.bits[SHARE]

    # -- linear building blocks on registers ---------------------------------------------------------------------------

    def add(self, a: int, b: int, negative: bool = False) -> int:
        """a + b or a - b; a masked operand beside shares is unmasked."""
        modes = {self.mode(a), self.mode(b)}
        if modes >= {SHARE, WIRE}:
            a, b = (self.unmask(r) if self.mode(r) == WIRE else r for r in (a, b))
        mode = next(m for m in (SHARE, WIRE, PUBLIC, CONSTANT) if m in {self.mode(a), self.mode(b)})
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        scale = self.drafts[a].scale
        return self.emit(gates.Add, shape, mode, scale=scale, negative=negative, x=a, y=b)

    def sub(self, a: int, b: int) -> int:
        return self.add(a, b, negative=True)

    def scaled(self, register: int, factor: int) -> int:
        if factor == 1:
            return register
        t = self.drafts[register]
        return self.emit(gates.Scale, t.shape, t.mode, scale=t.scale, factor=factor, x=register)

    def rescaled(self, register: int, scale: int, factor: int) -> int:
        """`register` times a whole number, read at another scale. A multiple of a multiple is one of the first."""
        t = self.drafts[register]
        if factor != 1:
            register, before = self._multiples.get(register, (register, 1))
            made = self.emit(gates.Scale, t.shape, t.mode, scale=scale, factor=factor * before, x=register)
            self._multiples[made] = register, factor * before
            return made
        if scale != t.scale:
            return self.emit(gates.Rescale, t.shape, t.mode, scale=scale, x=register)
        return register

    def truncated(self, wire: int, shift: int, k: int, scale: int) -> int:
        """Shares of a masked value of k signed bits over 2^shift, which then stands at `scale`."""
        return self.emit(gates.Truncate, self.shape(wire), SHARE, scale=scale, shift=shift, width=k, x=wire)

    def at_scale(self, shares: int, have: int, wanted: int, k: int) -> int:
        """Shares of k signed bits at another scale: one opening and a truncation to a coarser one, local to a finer."""
        if wanted >= have:
            return self.rescaled(shares, wanted, 1 << (wanted - have))
        return self.truncated(self.open(shares), have - wanted, k, wanted)

    def reshape(self, register: int, shape: Shape) -> int:
        """A shape of a shape is one of the first."""
        register = self._reshaped.get(register, register)
        if self.shape(register) == tuple(shape):
            return register
        made = self._move(gates.Reshape, register, shape, shape=tuple(shape))
        self._reshaped[made] = register
        return made

    def transpose(self, register: int, axes: tuple[int, ...]) -> int:
        """Orders that follow each other are one."""
        register, before = self._transposed.get(register, (register, tuple(range(len(axes)))))
        axes = tuple(before[axis] for axis in axes)
        if axes == tuple(range(len(axes))):
            return register
        shape = tuple(self.shape(register)[a] for a in axes)
        made = self._move(gates.Transpose, register, shape, axes=axes)
        self._transposed[made] = register, axes
        return made

    def broadcast(self, register: int, shape: Shape) -> int:
        if self.shape(register) == tuple(shape):
            return register
        return self._move(gates.Broadcast, register, shape, shape=tuple(shape))

    def slice(self, register: int, starts: Shape, steps: Shape, counts: Shape) -> int:
        whole = all(
            s == 0 and d == 1 and c == n for s, d, c, n in zip(starts, steps, counts, self.shape(register), strict=True)
        )
        if whole:
            return register
        stops = tuple(s + d * c for s, d, c in zip(starts, steps, counts, strict=True))
        return self._move(gates.Slice, register, tuple(counts), starts=tuple(starts), stops=stops, steps=tuple(steps))

    def slice_axis(self, register: int, axis: int, start: int, step: int, count: int) -> int:
        """`count` elements of one axis."""
        shape = self.shape(register)
        starts = tuple(start if a == axis else 0 for a in range(len(shape)))
        steps = tuple(step if a == axis else 1 for a in range(len(shape)))
        counts = tuple(count if a == axis else n for a, n in enumerate(shape))
        return self.slice(register, starts, steps, counts)

    def pad(self, register: int, widths: tuple[tuple[int, int], ...]) -> int:
        """Zeros around."""
        if not any(map(any, widths)):
            return register
        sizes = zip(self.shape(register), widths, strict=True)
        return self._move(gates.Pad, register, tuple(n + before + after for n, (before, after) in sizes), widths=widths)

    def spread(self, register: int, shape: Shape, starts: Shape, steps: Shape) -> int:
        """Zeros of `shape`, with the elements where a slice with these starts and steps takes them from."""
        counts = self.shape(register)
        turned = tuple(n - 1 if step < 0 else 0 for step, n in zip(steps, counts, strict=True))
        register = self.slice(register, turned, tuple(-1 if step < 0 else 1 for step in steps), counts)
        for axis, step in enumerate(map(abs, steps)):
            register = self._apart(register, axis, step)
        firsts = (min(s, s + d * (n - 1)) for s, d, n in zip(starts, steps, counts, strict=True))
        sizes = zip(firsts, self.shape(register), shape, strict=True)
        return self.pad(register, tuple((first, size - first - n) for first, n, size in sizes))

    def _apart(self, register: int, axis: int, step: int) -> int:
        """The elements along an axis `step` places apart: zeros behind each but the last."""
        shape = self.shape(register)
        before, n, behind = shape[:axis], shape[axis], shape[axis + 1 :]
        if step == 1 or n == 1:
            return register
        widths = tuple((0, step - 1 if at == axis + 1 else 0) for at in range(len(shape) + 1))
        rows = self.pad(self.reshape(register, (*before, n, 1, *behind)), widths)
        return self.slice_axis(self.reshape(rows, (*before, n * step, *behind)), axis, 0, 1, (n - 1) * step + 1)

    def concat(self, registers: list[int], axis: int) -> int:
        if len(registers) == 1:
            return registers[0]
        first = self.drafts[registers[0]]
        total = sum(self.shape(r)[axis] for r in registers)
        shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
        return self.emit(
            gates.Concat, shape, first.mode, scale=first.scale, domain=first.domain, axis=axis, xs=tuple(registers)
        )

    def sum(self, register: int, axes: tuple[int, ...]) -> int:
        shape = tuple(1 if a in axes else n for a, n in enumerate(self.shape(register)))
        if shape == self.shape(register):
            return register
        return self._move(gates.Sum, register, shape, axes=tuple(axes))

    def _move(self, cls: type[Gate], register: int, shape: Shape, /, **attributes: Any) -> int:
        t = self.drafts[register]
        return self.emit(cls, shape, t.mode, scale=t.scale, domain=t.domain, x=register, **attributes)

    # -- results -------------------------------------------------------------------------------------------------------

    def held(self, value: Value, register: int, scale: int) -> Held:
        """A tensor of words that exists in one form."""
        return Held(value.kind, value.shape, value.range, {(self.mode(register), scale): register})

    def held_bit(self, value: Value, register: int) -> Held:
        return Held(value.kind, value.shape, value.range, bits={self.mode(register): register})
