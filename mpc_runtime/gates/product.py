"""Bilinear gates: matrix product, convolution and elementwise product of two masked values. PROTOCOLS section 1.

    z = f(x, y),  X = x + lx,  Y = y + ly public:      Z_i = f(X, V_i) - f([lx]_i, Y),   V_i = (i == 0) Y - [ly]_i
    Z_0 + Z_1 = f(x, y) - f(lx, ly)                    the last term is the offset, which only the dealer knows

Online this is one product of the plaintext's size per party: V_i is kept for as long as Y, and f([lx]_i, Y) does not
depend on the data, so that it is computed before the input arrives where Y comes from `setup`. With a public operand
the product is local on shares (or, the operand being a constant of the plan, on masked values and masks). D. Beaver,
"Efficient multiparty protocols using circuit randomization", CRYPTO 1991; in this form "ABY2.0", ePrint 2020/1225.

**Halved.** Twice a product takes one product of each party and no other, however fresh the operands are, because
2 f(X, Y) = 4 f(X, Y) - 2 f(X, Y) can be split between them (docs/decisions/010, 035):

    Z_0 = f(2X - [lx]_0, 2Y - [ly]_0)    = 4 f(X, Y) - 2 f(X, [ly]_0) - 2 f([lx]_0, Y) + f([lx]_0, [ly]_0)
    Z_1 = -2 f(X + [lx]_1, Y + [ly]_1)   = -2 f(X, Y) - 2 f(X, [ly]_1) - 2 f([lx]_1, Y) - 2 f([lx]_1, [ly]_1)
    Z_0 + Z_1 = 2 f(x, y) - f(lx + [lx]_1, ly + [ly]_1)
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..registers import Domain, Form
from .base import Gate, In, Out, Part, flat, low, tiles
from .contexts import Array, DealerContext, MaskContext, MeaningContext, PartyContext, Types
from .rows import Batch, expect_apart, stride_of
from .rules import Declared, Layout, broadcast, expect, expect_between, expect_domain, expect_masked

MAX_LEADING = 16
"""Leading dimensions of a stack of matrices: what the kernel has room for."""

MINUS_TWO = np.uint64((1 << 64) - 2)

MAX_PIXELS = 1 << 20
"""Most of a convolution's stride, dilation or padding: far beyond any image, and no sum of such numbers overflows."""

if TYPE_CHECKING:
    from ..kernels import Kernels


class Product(Gate, family=True):
    """A bilinear map of two registers."""

    fresh = True
    reveals = False
    protocol = Part("masked product", "multiplies under masks whose product the dealer shares")

    x: In
    y: In
    z: Out
    half: ClassVar[str] = ""

    def shape(self, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
        """Of f(x, y). Raises Refused where there is no such product."""
        raise AssertionError(f"{type(self).__name__} has no shape")

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        x, y = (expect_domain(given.layout(r), Domain.WORDS) for r in (self.x, self.y))
        expect(self.half in ("", "x", "y"), f"half: expected an operand or nothing, found {self.half!r}")
        if self.half:
            expect_masked(types, self.x, self.y)
        constant = Form.CONSTANT in (types[self.x].form, types[self.y].form)
        scale = None if constant else types[self.x].scale + types[self.y].scale + bool(self.half)
        return (Layout(self.shape(x.shape, y.shape), scale=scale),)

    def product(self, k: Kernels, a: Array, b: Array, bits: int, out: Array | None = None, sign: int = 0) -> Array:
        """f(a, b) mod 2^bits; with `out` and sign +1 or -1, out ± f(a, b) in place."""
        raise AssertionError(f"{type(self).__name__} multiplies nothing")

    def _secret(self, types: Types) -> bool:
        return types[self.x].form.masked and types[self.y].form.masked

    def known_ahead(self, types: Types, made: Container[int]) -> int | None:
        if self.half or not self._secret(types):
            return None
        return next((r for r in (self.y, self.x) if r not in made), None)

    def result(self, out: int, types: Types) -> Form:
        if self._secret(types):
            return Form.OFFSET
        forms = {types[self.x].form, types[self.y].form}
        expect(bool(forms & {Form.PUBLIC, Form.CONSTANT}), "a product of shares: open the operands first")
        for form in (Form.OFFSET, Form.SHARED, Form.BARE, Form.WIRE):
            if form in forms:
                known = form.additive or Form.PUBLIC not in forms
                expect(known, "a masked value times what is public in a run: unmask it first")
                return form
        return Form.PUBLIC if Form.PUBLIC in forms else Form.CONSTANT

    def wants_mask(self, register: int, types: Types) -> bool:
        return types[register].form.masked and (self._secret(types) or types[self.z].form is Form.WIRE)

    def wants_true_shares(self, register: int, types: Types) -> bool:
        return Form.PUBLIC in (types[self.x].form, types[self.y].form)

    def deal(self, d: DealerContext) -> None:
        if self.half:
            d[self.z] = self._halved_offset(d)
            return
        k, bits = d.kernels, d.types[self.z].bits
        if self._secret(d.types):
            d[self.z] = self.product(k, d.mask(self.x), d.mask(self.y), bits)
            return
        constant_x = d.types[self.x].form is Form.CONSTANT
        secret = d[self.y] if constant_x else d[self.x]
        if secret is None:
            d[self.z] = None
        elif constant_x:
            d[self.z] = self.product(k, d.constant(self.x), secret, bits)
        else:
            d[self.z] = self.product(k, secret, d.constant(self.y), bits)

    def _halved_offset(self, d: DealerContext) -> Array:
        bits = d.types[self.z].bits
        return self.product(d.kernels, self._lifted(d, self.x, bits), self._lifted(d, self.y, bits), bits)

    def _lifted(self, d: DealerContext, register: int, bits: int) -> Array:
        """[l]_0 + 2 [l]_1 mod 2^bits."""
        if d.types[register].bits >= bits:
            return d.add_mask_share(d.mask(register), register, 1)
        return d.add_mask_share(d.mask_share(register, 1), register, 0, twice=True)

    def _halved(self, p: PartyContext) -> Array:
        """The operand of `half` is kept for as long as its value."""
        x, y = p.halved(self.x, self.half == "x"), p.halved(self.y, self.half == "y")
        bits = p.types[self.z].bits
        if p.party == 0:
            return self.product(p.kernels, x, y, bits)
        z = np.asarray(self.product(p.kernels, x, y, max(1, bits - 1)))  # the product of scalars is not an array
        z *= MINUS_TWO
        return z

    def ahead(self, p: PartyContext, known: int) -> Array:
        """-f([lx]_i, Y), or -f(X, [ly]_i) where X is known."""
        x, y = (p.mask(self.x), p[self.y]) if known == self.y else (p[self.x], p.mask(self.y))
        part = np.asarray(self.product(p.kernels, x, y, p.types[self.z].bits))  # the product of scalars is not an array
        p.kernels.negative(part, out=part)
        return part

    def evaluate(self, p: PartyContext) -> None:
        k, bits = p.kernels, p.types[self.z].bits
        if not self._secret(p.types):
            p[self.z] = self.product(k, p[self.x], p[self.y], bits)
            return
        if self.half:
            p[self.z] = self._halved(p)
            return
        ahead = p.take_ahead()
        if ahead is not None:
            known, part = ahead
            if known == self.y:
                p[self.z] = self.product(k, p[self.x], p.affine(self.y), bits, part, +1)
            else:
                p[self.z] = self.product(k, p.affine(self.x), p[self.y], bits, part, +1)
            return
        z = self.product(k, p[self.x], p.affine(self.y), bits)
        p[self.z] = self.product(k, p.mask(self.x), p[self.y], bits, z, -1)

    def mask(self, p: MaskContext) -> Array:
        """A halved product that doubles z reads a bit of party 0's share beyond the ring (see `Halvable.demand`), which
        the dealer must have too, with whatever kernels: so that bit is asked for."""
        x, y = (p.mask(r) if p.types[r].form.masked else p[r] for r in (self.x, self.y))
        return self.product(p.kernels, x, y, min(64, p.types[self.z].bits + 1))

    def meaning(self, s: MeaningContext) -> None:
        z = self.product(s.kernels, s[self.x], s[self.y], s.types[self.z].bits)
        s[self.z] = z << np.uint64(1) if self.half else z


class Halvable(Product, family=True):
    """A product that is worth halving. half: which operand is Y in it, or ""; the result is then twice the product."""

    quick_bits = 52

    def demand(self, register: int, types: Types) -> int:
        """Y is doubled, and so needs a bit less, unless it is X too."""
        needed, doubled = super().demand(register, types), self.y if self.half == "y" else self.x
        return max(1, needed - 1) if self.half and self.x != self.y and register == doubled else needed

    def temporary_bytes(self, types: Types, strided: Container[int], kept: Container[int]) -> int:
        masks_and_operands = 2 if self.half else 1
        wires = [r for r in self.ins if types[r].form is Form.WIRE and r not in kept]
        return masks_and_operands * sum(types[r].memory_bytes for r in wires)


@dataclass(frozen=True)
class MatMul(Halvable):
    """x @ y with NumPy's meaning for two or more axes. half: which operand is Y in a halved product, or ""."""

    x: In
    y: In
    z: Out
    half: str = ""  # type: ignore[misc]  # a class variable of Product, a field of those that can be halved

    def shape(self, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
        expect(len(x) >= 2 and len(y) >= 2 and x[-1] == y[-2], f"no matrix product of {x} and {y}")
        expect_between("leading dimensions", max(len(x), len(y)) - 2, 0, MAX_LEADING)
        return (*broadcast(x[:-2], y[:-2]), x[-2], y[-1])

    def rows(self, batch: Batch) -> int:
        z = batch.types[self.z].shape
        places = {self._end(batch, r, len(z)) for r in (self.x, self.y) if r in batch.strides}
        expect_apart(len(places) == 1)
        ((axis, each),) = places
        for r in (self.x, self.y):
            if axis < len(z) - 2 and r not in batch.strides:
                batch.expect_uniform(r, axis - len(z) + len(batch.types[r].shape))
        return stride_of(z, axis, each)

    def _end(self, batch: Batch, register: int, rank: int) -> tuple[int, int]:
        """The axis of the product along which an operand's rows lie, and their entries of it."""
        axis, each = batch.place(register)
        own = len(batch.types[register].shape)
        expect_apart(axis != own - (1 if register == self.x else 2))
        return axis + rank - own, each

    def product(self, k: Kernels, a: Array, b: Array, bits: int, out: Array | None = None, sign: int = 0) -> Array:
        return k.matmul(a, b, out, sign, bits)


@dataclass(frozen=True)
class Conv2d(Halvable):
    """Cross-correlation of x [n, c, h, w] with y [o, c/groups, kh, kw]; padding is (top, bottom, left, right)."""

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    x: In
    y: In
    z: Out
    half: str = ""  # type: ignore[misc]  # as in MatMul

    def shape(self, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
        expect(len(x) == len(y) == 4, f"no convolution of {x} with {y}")
        for name, values, least in (
            ("stride", self.stride, 1),
            ("dilation", self.dilation, 1),
            ("padding", self.padding, 0),
        ):
            for value in values:
                expect_between(name, value, least, MAX_PIXELS)
        channels, outs = x[1], y[0]
        fits = self.groups >= 1 and channels % self.groups == 0 == outs % self.groups
        expect(fits and channels // self.groups == y[1], f"{self.groups} groups do not divide {x} and {y}")
        top, bottom, left, right = self.padding
        high = x[2] + top + bottom - self.dilation[0] * (y[2] - 1) - 1
        wide = x[3] + left + right - self.dilation[1] * (y[3] - 1) - 1
        expect(
            min(high, wide) >= 0 and min(y[2:]) >= 1, f"a kernel of {y[2:]} does not fit the padded image of {x[2:]}"
        )
        return (x[0], outs, high // self.stride[0] + 1, wide // self.stride[1] + 1)

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x) if self.x in batch.strides else (1, 1)
        expect_apart(axis == 0 and self.y not in batch.strides)
        return stride_of(batch.types[self.z].shape, 0, each)

    def product(self, k: Kernels, a: Array, b: Array, bits: int, out: Array | None = None, sign: int = 0) -> Array:
        return k.conv2d(a, b, self.stride, self.padding, self.dilation, self.groups, out, sign, bits)


@dataclass(frozen=True)
class Mul(Product):
    """Elementwise product with NumPy's broadcasting."""

    elementwise = True

    x: In
    y: In
    z: Out

    def shape(self, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
        return broadcast(x, y)

    def product(self, k: Kernels, a: Array, b: Array, bits: int, out: Array | None = None, sign: int = 0) -> Array:
        z: Array = a * b
        if out is None:
            return z
        if sign > 0:
            out += z
        else:
            out -= z
        return out

    def evaluate(self, p: PartyContext) -> None:
        shape = p.types[self.z].shape
        same = p.types[self.x].shape == p.types[self.y].shape
        if not self._secret(p.types) or not same:
            super().evaluate(p)
            return
        p.take_ahead()
        xh, yh = flat(p[self.x]), flat(p[self.y])
        out = np.empty_like(xh)
        for start, n in tiles(out.size):
            piece = slice(start, start + n)
            ax, ay = p.mask_words(self.x, start, n), p.mask_words(self.y, start, n)
            p.kernels.mul_eval(xh[piece], ax, yh[piece], ay, p.party, out[piece])
        p[self.z] = out.reshape(shape)


@dataclass(frozen=True)
class Square(Gate):
    """x * x for a masked x: X^2 - 2 X [l]; the mask's square is the offset."""

    fresh = True
    reveals = False
    elementwise = True
    flattens = True
    protocol = Part("masked square", "squares under a mask whose square the dealer shares")

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        return (Layout(x.shape, scale=2 * types[self.x].scale),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def wants_mask(self, register: int, types: Types) -> bool:
        return True

    def deal(self, d: DealerContext) -> None:
        mask = d.mask(self.x)
        d[self.y] = mask * mask

    def evaluate(self, p: PartyContext) -> None:
        hat = flat(p[self.x])
        out = np.empty_like(hat)
        for start, n in tiles(out.size):
            piece = slice(start, start + n)
            p.kernels.square_eval(hat[piece], p.mask_words(self.x, start, n), p.party, out[piece])
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x] * s[self.x]


@dataclass(frozen=True)
class SquareSum(Gate):
    """Sums of x * x along some axes of a masked x, one beside the other; the sums of the mask's squares are the offset.

    shift: what is squared is x / 2^shift, in a ring of so many bits less: X and both shares of its mask are shifted,
    each by itself, so that it is less than two too large or less than one too small (PROTOCOLS 1h).
    """

    fresh = True
    reveals = False
    protocol = Square.protocol

    axis: int
    axes: int
    shift: int
    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        x = expect_domain(given.layout(self.x), Domain.WORDS)
        expect_between("axes", self.axes, 1, len(x.shape))
        expect_between("axis", self.axis, 0, len(x.shape) - self.axes)
        expect_between("shift", self.shift, 0, types[self.x].bits - 1)
        shape = (*x.shape[: self.axis], *x.shape[self.axis + self.axes :])
        return (Layout(shape, scale=2 * (types[self.x].scale - self.shift)),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def demand(self, register: int, types: Types) -> int:
        """(x + 2^l)^2 = x^2 mod 2^(l + 1)."""
        return max(1, types[self.y].bits - 1) + self.shift

    def most_bits(self, most: Mapping[int, int]) -> int:
        return min(64, most.get(self.x, 64) - self.shift + 1)

    def wants_mask(self, register: int, types: Types) -> bool:
        return True

    def rows(self, batch: Batch) -> int:
        axis, each = batch.place(self.x)
        expect_apart(not self.axis <= axis < self.axis + self.axes)
        return stride_of(batch.types[self.y].shape, axis if axis < self.axis else axis - self.axes, each)

    def layout(self, types: Types) -> tuple[int, int, int]:
        """How many sums there are before the axes, terms of a sum, and sums behind."""
        shape, end = types[self.x].shape, self.axis + self.axes
        return prod(shape[: self.axis]), prod(shape[self.axis : end]), prod(shape[end:])

    def deal(self, d: DealerContext) -> None:
        d[self.y] = d.square_sums(self.x, self.layout(d.types), self.shift).reshape(d.types[self.y].shape)

    def evaluate(self, p: PartyContext) -> None:
        p[self.y] = p.square_sums(self.x, self.layout(p.types), self.shift).reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        outer, n, inner = self.layout(s.types)
        x = s[self.x]
        if self.shift:
            x = self._shifted(s)
        s[self.y] = (x * x).reshape(outer, n, inner).sum(axis=1, dtype=np.uint64).reshape(s.types[self.y].shape)

    def _shifted(self, s: MeaningContext) -> Array:
        bits, by = s.types[self.x].bits, np.uint64(self.shift)
        mask, second = s.mask(self.x), s.mask_share(self.x, 1)
        hat, first, other = (low(words, bits) >> by for words in (s[self.x] + mask, mask - second, second))
        x: Array = hat - first - other
        return x
