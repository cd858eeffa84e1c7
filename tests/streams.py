"""Stand-ins for `Prg`, so that a test can choose the words of a stream, enumerate them, or keep a record of their use.

    trace(plan, feeds, kernels=StandIns({key: Scripted(key, {...})}))  # the Prg of `key` is the stand-in

The kernels read a real Prg's state in C. `StandIns` are kernels that do what these do, by their definition in terms of
`words`, `planes` and `fill`, wherever they are handed a stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpc_runtime import kernels

Array = np.ndarray
U = np.uint64
BLOCK = 512
REAL = kernels.Prg


@dataclass(frozen=True)
class Pad:
    """A message or a piece of one: n elements of `width` bits, padded by bytes [first, last) of a stream."""

    stream: int
    opening: bool
    first: int
    last: int
    n: int
    width: int
    message: bytes


class Streams:
    """The readings of a `Prg` in terms of two: `words`, and `planes` (bits of elements, bit-sliced)."""

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        raise AssertionError(f"no words of stream {stream:x}")

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        raise AssertionError(f"no planes of stream {stream:x}")

    def fill(self, stream: int, out: Array, offset: int = 0) -> None:
        first, size = offset // 8, -(-(offset + out.nbytes) // 8) - offset // 8
        text = self.words(stream, size, first).astype("<u8").tobytes()
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(text, np.uint8)[offset % 8 : offset % 8 + out.nbytes]

    def add_words(self, stream: int, x: Array, out: Array | None = None, start: int = 0, twice: bool = False) -> Array:
        return np.add(x << U(twice), self.words(stream, x.size, start).reshape(x.shape), out=out)

    def sub_words(self, stream: int, x: Array, out: Array | None = None, start: int = 0, twice: bool = False) -> Array:
        return np.subtract(x << U(twice), self.words(stream, x.size, start).reshape(x.shape), out=out)

    def pads(self, use: Pad) -> None:
        """Told of every message that a kernel pads with words of this key."""


class Real(Streams):
    """The stream of a key; what other stand-ins fall back to."""

    def __init__(self, key: bytes) -> None:
        self.prg = REAL(key)

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        return self.prg.words(stream, n, start)

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        out = np.empty((-(-n // BLOCK), planes, 8), U)
        self.prg.fill(stream, out, start_block * planes * 64)
        return out

    def fill(self, stream: int, out: Array, offset: int = 0) -> None:
        self.prg.fill(stream, out, offset)


class Scripted(Real):
    """The stream of a key but for those that are given: uint64[n] of words or uint64[blocks, planes, 8] of planes."""

    def __init__(self, key: bytes, scripts: Mapping[int, Array]) -> None:
        super().__init__(key)
        self.scripts = scripts

    def words(self, stream: int, n: int, start: int = 0) -> Array:
        if stream not in self.scripts:
            return super().words(stream, n, start)
        return self.scripts[stream][start : start + n].copy()

    def planes(self, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
        if stream not in self.scripts:
            return super().planes(stream, n, planes, start_block)
        return self.scripts[stream][start_block : start_block + -(-n // BLOCK)].copy()


def bit_planes(columns: Array) -> Array:
    """Planes uint64[blocks, P, 8] of bits [n, P]."""
    parts = [kernels.bits_to_planes(np.ascontiguousarray(column, np.uint8)) for column in columns.T]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def plane_bits(planes: Array, n: int) -> Array:
    """Bits uint8[n, P] of planes."""
    return np.stack(
        [kernels.planes_to_bits(np.ascontiguousarray(planes), n, p) for p in range(planes.shape[1])], axis=1
    )


# -- the kernels that take a Prg, by their definitions -----------------------------------------------------------------


def _mask_pack(
    prg: Streams, stream: int, x: Array, bits: int, masked: Array, packed: Array, mask: Any = None, start: int = 0
) -> None:
    words = prg.words(stream, x.size, start).reshape(x.shape)
    if mask is not None:
        mask[...] = words
    masked[...] = x + words
    kernels.pack(np.ascontiguousarray(masked), bits, packed)
    prg.pads(Pad(stream, True, 8 * start, 8 * (start + x.size), x.size, bits, packed.tobytes()))


def _share_pack(prg: Streams, stream: int, secret: Array, bits: int, packed: Array, start: int = 0) -> None:
    kernels.pack(secret - prg.words(stream, secret.size, start).reshape(secret.shape), bits, packed)
    prg.pads(Pad(stream, False, 8 * start, 8 * (start + secret.size), secret.size, bits, packed.tobytes()))


def _open_deal(first: Streams, second: Streams, stream: int, offset: Array | None, bits: int, out: Array) -> Array:
    total = first.words(stream, out.size).reshape(out.shape) + second.words(stream, out.size).reshape(out.shape)
    out[...] = (total if offset is None else total - offset.reshape(out.shape)) & U((1 << bits) - 1)
    return out


def _planes_mask_pack(
    prg: Streams, stream: int, planes: Array, n: int, masked: Array, packed: Array, start_block: int = 0
) -> None:
    masked[...] = planes ^ prg.planes(stream, n, planes.shape[1], start_block)
    kernels.planes_pack(np.ascontiguousarray(masked), n, packed)
    first, last = (64 * planes.shape[1] * b for b in (start_block, start_block + planes.shape[0]))
    prg.pads(Pad(stream, True, first, last, n, planes.shape[1], packed.tobytes()))


def _planes_share_pack(prg: Streams, stream: int, secret: Array, n: int, packed: Array, start_block: int = 0) -> None:
    kernels.planes_pack(secret ^ prg.planes(stream, n, secret.shape[1], start_block), n, packed)
    first, last = (64 * secret.shape[1] * b for b in (start_block, start_block + secret.shape[0]))
    prg.pads(Pad(stream, False, first, last, n, secret.shape[1], packed.tobytes()))


def _planes_fill(prg: Streams, stream: int, n: int, planes: int, start_block: int = 0) -> Array:
    return prg.planes(stream, n, planes, start_block)


def _table_deal(
    prg: Streams,
    r: Array,
    s: int,
    t: int,
    coef: Array,
    lv: int,
    stream: int,
    packed: Array,
    offset: int,
) -> None:
    """Another stream's correction, with that stream added again, is the table; less the stand-in's stream."""
    other, other_stream, own_stream = REAL(bytes(16)), np.empty_like(packed), np.empty_like(packed)
    kernels.table_deal(r, s, t, coef, lv, other, stream, packed, offset)
    other.fill(stream, other_stream, offset)
    prg.fill(stream, own_stream, offset)
    n = packed.size * 8 // lv
    entries = [kernels.unpack(a, n, lv) for a in (packed, other_stream, own_stream)]
    packed[:] = kernels.pack(entries[0] + entries[1] - entries[2], lv)
    prg.pads(Pad(stream, False, offset, offset + packed.size, r.size, lv << s, packed.tobytes()))


class StandIns(kernels.Kernels):
    """The kernels, for which the streams of these keys are stand-ins."""

    def __init__(self, prgs: Mapping[bytes, Streams]) -> None:
        self._prgs = prgs

    def Prg(self, key: bytes, **named: Any) -> Any:
        return self._prgs[key] if key in self._prgs else REAL(key, **named)

    def mask_pack(self, prg: Any, *args: Any, **named: Any) -> None:
        (_mask_pack if isinstance(prg, Streams) else kernels.mask_pack)(prg, *args, **named)

    def share_pack(self, prg: Any, *args: Any, **named: Any) -> None:
        (_share_pack if isinstance(prg, Streams) else kernels.share_pack)(prg, *args, **named)

    def open_deal(self, first: Any, *args: Any, **named: Any) -> Array:
        return (_open_deal if isinstance(first, Streams) else kernels.open_deal)(first, *args, **named)

    def planes_mask_pack(self, prg: Any, *args: Any, **named: Any) -> None:
        (_planes_mask_pack if isinstance(prg, Streams) else kernels.planes_mask_pack)(prg, *args, **named)

    def planes_share_pack(self, prg: Any, *args: Any, **named: Any) -> None:
        (_planes_share_pack if isinstance(prg, Streams) else kernels.planes_share_pack)(prg, *args, **named)

    def planes_fill(self, prg: Any, *args: Any, **named: Any) -> Array:
        return (_planes_fill if isinstance(prg, Streams) else kernels.planes_fill)(prg, *args, **named)

    def table_deal(
        self, r: Array, s: int, t: int, coef: Array, lv: int, prg: Any, stream: int, out: Array, offset: int = 0
    ) -> None:
        if isinstance(prg, Streams):
            _table_deal(prg, r, s, t, coef, lv, stream, out, offset)
        else:
            kernels.table_deal(r, s, t, coef, lv, prg, stream, out, offset)

    def table_eval(
        self,
        c: Array,
        s: int,
        t: int,
        weights: Array,
        lv: int,
        tables: Any,
        prg: Any = None,
        stream: int = 0,
        offset: int = 0,
        out: Any = None,
    ) -> Array:
        if tables is None and isinstance(prg, Streams):
            tables, prg = np.empty((c.size << s) * lv // 8, np.uint8), prg
            prg.fill(stream, tables, offset)
        if isinstance(prg, Streams):
            prg = None
        return kernels.table_eval(c, s, t, weights, lv, tables, prg, stream, offset, out)

    def leaf_read(
        self,
        c: Array,
        t: int,
        widths: Any,
        tables: Any,
        party: int,
        kind: str = "lt",
        out: Any = None,
        *,
        prg: Any = None,
        stream: int = 0,
        start: int = 0,
    ) -> Array:
        if isinstance(prg, Streams):
            if tables is None:
                tables = prg.planes(stream, c.size, kernels.table_planes(widths), start // BLOCK)
            prg = None
        return kernels.leaf_read(c, t, widths, tables, party, kind, out, prg=prg, stream=stream, start=start)

    def combine_eval(
        self,
        hats: Array,
        q: int,
        g: int,
        kind: str,
        leaf: bool,
        monomials: Any,
        singles: Any,
        party: int,
        out: Any = None,
        *,
        prg: Any = None,
        stream: int = 0,
        start: int = 0,
    ) -> Array:
        if isinstance(prg, Streams):
            planes = kernels.combine_planes(q, g, kind, leaf)[1]
            if monomials is None and planes:
                monomials = prg.planes(stream, hats.shape[0] * BLOCK, planes, start // BLOCK)
            prg = None
        return kernels.combine_eval(
            hats, q, g, kind, leaf, monomials, singles, party, out, prg=prg, stream=stream, start=start
        )

    def select_eval(
        self,
        c: Array,
        d: Array,
        l: int,
        f: int,
        off: int,
        lo: int,
        party: int,
        *four: Any,
        out: Any = None,
        prg: Any = None,
        start: int = 0,
    ) -> Array:
        four, out = (four[:4], four[4]) if len(four) > 4 else (four, out)
        if isinstance(prg, Streams):
            narrow = lo > l - f
            four = tuple(prg.words(s, c.size, start) if slot < 2 or narrow else None for slot, s in enumerate(four))
            prg = None
        return kernels.select_eval(c, d, l, f, off, lo, party, *four, out, prg=prg, start=start)

    def square_sums(
        self,
        xh: Array,
        ax: Array | None,
        shape: tuple[int, int, int],
        party: int,
        bits: int = 64,
        shift: int = 0,
        prg: Any = None,
        pad: int = 0,
    ) -> Array:
        if isinstance(prg, Streams):
            ax, prg = prg.words(pad, xh.size), None
        return kernels.square_sums(xh, ax, shape, party, bits, shift, prg, pad)
