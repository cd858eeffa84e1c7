"""A right call of each kernel, and what becomes of an array in the hands of a careless or hostile caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mpc_runtime import kernels
from mpc_runtime.kernels import Prg

Array = np.ndarray
U = np.uint64

# -- arguments ---------------------------------------------------------------------------------------------------------


def plain(x: Array) -> Array:
    return x


def transposed(x: Array) -> Array:
    return np.ascontiguousarray(x.T).T


def reversed_(x: Array) -> Array:
    return np.flip(np.ascontiguousarray(np.flip(x)))


def spread(x: Array) -> Array:
    room = np.zeros(tuple(2 * n + 1 for n in x.shape), x.dtype)[(slice(1, None, 2),) * x.ndim]
    room[...] = x
    return room


def broadcast(x: Array) -> Array:
    return np.broadcast_to(x[..., :1], x.shape) if x.ndim else x


def read_only(x: Array) -> Array:
    x.flags.writeable = False
    return x


def misaligned(x: Array) -> Array:
    room = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    room[...] = x
    return room


def swapped(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder())


def longer(x: Array) -> Array:
    return np.concatenate([x, x[:1]]) if x.ndim and len(x) else np.zeros((3, *x.shape[1:]), x.dtype)


def shorter(x: Array) -> Array:
    return x[1:].copy() if x.ndim else x


def empty(x: Array) -> Array:
    return x[:0].copy() if x.ndim else x


def flat(x: Array) -> Array:
    return x.ravel()


def nested(x: Array) -> Array:
    return x[None]


def scalar(x: Array) -> Array:
    return np.array(x.flat[0] if x.size else 0, x.dtype)


def wide(x: Array) -> Array:
    return np.zeros((0, 1 << 59), x.dtype)  # no memory, but an axis beyond all bounds


def signed(x: Array) -> Array:
    return x.astype(np.int64)


def narrow(x: Array) -> Array:
    return x.astype(np.uint8 if x.dtype != np.uint8 else np.uint16)


def objects(x: Array) -> Array:
    return x.astype(object)


def listed(x: Array) -> list[Any]:
    return x.tolist()


def absent(x: Array) -> None:
    return None


LAYOUTS: list[Callable[[Array], Any]] = [plain, transposed, reversed_, spread, broadcast, read_only, misaligned]
LAYOUTS += [swapped, longer, shorter, empty, flat, nested, scalar, wide, signed, narrow, objects, listed, absent]


@dataclass(frozen=True)
class Given:
    """An array that is made anew for each call, laid out as a caller may have it."""

    words: Array
    layout: Callable[[Array], Any] = plain

    def made(self) -> Any:
        return self.layout(self.words.copy())

    def simple(self) -> Any:
        """The same elements in an array of its own."""
        made = self.made()
        if not isinstance(made, np.ndarray) or made.dtype == object:
            return made
        return np.array(made, made.dtype.newbyteorder("="), order="C")


def words(draw: st.DrawFn, *shape: int) -> Given:
    return Given(np.random.default_rng(draw(st.integers(0, 99))).integers(0, 1 << 64, shape, U))


def bits(draw: st.DrawFn, *shape: int) -> Given:
    return Given(np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2, shape, np.uint8))


def room(n: int, dtype: Any = np.uint8) -> Given:
    return Given(np.zeros(n, dtype))


# -- a right call of each kernel ---------------------------------------------------------------------------------------

Call = dict[str, Any]
ELEMENTS = st.sampled_from([0, 1, 2, 7, 8, 31, 33, 64, 65, 130, 511, 512, 513, 1100])
BITS = st.integers(1, 64)
PARTY = st.integers(0, 1)
STREAM = st.sampled_from([0, 5, (1 << 64) - 1])
START = st.sampled_from([0, 1, 2, 512])
BLOCKS = st.sampled_from([0, 512, 1024])
PLANES = st.integers(0, 3)


def optional(draw: st.DrawFn, x: Given) -> Given | None:
    return draw(st.sampled_from([x, None]))


def matmul(draw: st.DrawFn) -> Call:
    m, k, n = (draw(st.integers(0, 20)) for _ in range(3))
    stack = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    out = words(draw, *stack, m, n)
    options = {"sign": draw(st.integers(-1, 1)), "bits": draw(st.integers(1, 64))}
    return {"a": words(draw, *stack, m, k), "b": words(draw, k, n), "out": out, **options}


def conv2d(draw: st.DrawFn) -> Call:
    images, groups, ins, outs = (draw(st.integers(1, 3)) for _ in range(4))
    high, wide_, kernel = draw(st.integers(5, 9)), draw(st.integers(5, 20)), draw(st.integers(1, 3))
    call = {"x": words(draw, images, groups * ins, high, wide_), "w": words(draw, groups * outs, ins, kernel, kernel)}
    pairs = {name: draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) for name in ("stride", "dilation")}
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    return {
        **call,
        **pairs,
        "padding": padding,
        "groups": groups,
        "out": None,
        "sign": 0,
        "bits": draw(st.integers(1, 64)),
    }


def ring(draw: st.DrawFn) -> tuple[int, int, int]:
    """(l, f, lo) of a truncation."""
    l = draw(BITS)
    return l, draw(st.integers(0, l - 1)), draw(BITS)


def trunc_eval(draw: st.DrawFn) -> Call:
    n, (l, f, lo) = draw(ELEMENTS), ring(draw)
    narrow_ = words(draw, n) if lo > l - f else None
    off = draw(st.integers(-4, 4)) << f
    return {"c": words(draw, n), "l": l, "f": f, "off": off, "lo": lo, "party": draw(PARTY), "narrow": narrow_}


def trunc_deal(draw: st.DrawFn) -> Call:
    l, f, lo = ring(draw)
    return {"r": words(draw, n := draw(ELEMENTS)), "l": l, "f": f, "lo": lo, "u0": optional(draw, room(n, U))}


def select_eval(draw: st.DrawFn) -> Call:
    n, (l, f, lo) = draw(ELEMENTS), ring(draw)
    narrow_ = (words(draw, n), words(draw, n)) if lo > l - f else (None, None)
    call = {"c": words(draw, n), "d": bits(draw, n), "l": l, "f": f, "off": 0, "lo": lo, "party": draw(PARTY)}
    return {**call, "delta": words(draw, n), "k10": words(draw, n), "n0": narrow_[0], "n1": narrow_[1]}


def select_streams(draw: st.DrawFn) -> Call:
    call = select_eval(draw)
    return {**call, "delta": 1, "k10": 2, "n0": 3, "n1": 4, "prg": Prg, "start": draw(START)}


def select_deal(draw: st.DrawFn) -> Call:
    n, (l, f, lo) = draw(ELEMENTS), ring(draw)
    return {"r": words(draw, n), "delta": bits(draw, n), "l": l, "f": f, "lo": lo}


def choose_eval(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    call = {"c": words(draw, n), "d": bits(draw, n), **{name: words(draw, n) for name in ("mask", "delta", "w")}}
    return {**call, "party": draw(PARTY), "out": optional(draw, room(n, U))}


def mul_eval(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    call = {name: words(draw, n) for name in ("xh", "ax", "yh", "ay")}
    return {**call, "party": draw(PARTY), "out": optional(draw, room(n, U))}


def square_eval(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    return {"xh": words(draw, n), "ax": words(draw, n), "party": draw(PARTY), "out": optional(draw, room(n, U))}


def square_sums(draw: st.DrawFn) -> Call:
    shape = draw(st.sampled_from([(1, 0, 1), (1, 7, 1), (3, 3, 1), (2, 17, 2), (1, 2, 700), (9, 40, 1), (0, 3, 2)]))
    n, ring = int(np.prod(shape)), draw(st.sampled_from([(1, 0), (20, 19), (47, 12), (64, 0), (64, 63)]))
    call = {"xh": words(draw, n), "ax": optional(draw, words(draw, n)), "shape": shape, "prg": Prg, "pad": draw(STREAM)}
    return {**call, "party": draw(st.integers(0, 2)), "bits": ring[0], "shift": ring[1]}


def open_deal(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    call = {"first": Prg, "second": Prg, "pad": draw(STREAM), "offset": optional(draw, words(draw, n))}
    return {**call, "bits": draw(st.integers(1, 64)), "out": room(n, U)}


def b2a_eval(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    return {"d": bits(draw, n), "delta": words(draw, n), "party": draw(PARTY), "out": optional(draw, room(n, U))}


def digits(draw: st.DrawFn) -> tuple[int, list[int]]:
    """(t, widths) of a comparison."""
    widths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    return draw(st.integers(0, 64 - sum(widths))), widths


def leaf_deal(draw: st.DrawFn) -> Call:
    t, widths = digits(draw)
    return {"r": words(draw, draw(ELEMENTS)), "t": t, "widths": widths, "out": None}


KIND = st.sampled_from(["lt", "eq"])


def leaf_read(draw: st.DrawFn) -> Call:
    n, (t, widths) = draw(ELEMENTS), digits(draw)
    tables = words(draw, -(-n // 512), sum((1 << m) - 1 for m in widths), 8)
    call = {"c": words(draw, n), "t": t, "widths": widths, "tables": optional(draw, tables), "party": draw(PARTY)}
    return {**call, "kind": draw(KIND), "prg": Prg, "stream": draw(STREAM), "start": draw(BLOCKS)}


def level(draw: st.DrawFn) -> Call:
    return {
        "q": draw(st.integers(1, 14)),
        "g": draw(st.integers(2, 8)),
        "kind": draw(KIND),
        "leaf": draw(st.booleans()),
    }


def combine_deal(draw: st.DrawFn) -> Call:
    shape = level(draw)
    return {"masks": words(draw, draw(st.integers(0, 3)), kernels.combine_planes(**shape)[0], 8), **shape}


def combine_eval(draw: st.DrawFn) -> Call:
    shape, blocks = level(draw), draw(st.integers(0, 3))
    inputs, monomials, _ = kernels.combine_planes(**shape)
    call = {"hats": words(draw, blocks, inputs, 8), **shape}
    call["monomials"] = optional(draw, words(draw, blocks, monomials, 8))
    call["singles"] = words(draw, blocks, inputs, 8) if shape["leaf"] else None
    return {**call, "party": draw(PARTY), "prg": Prg, "stream": draw(STREAM), "start": draw(BLOCKS)}


def word_bit(draw: st.DrawFn) -> Call:
    return {"c": words(draw, draw(ELEMENTS)), "bit": draw(st.integers(0, 63))}


def stencil_weights(draw: st.DrawFn) -> Call:
    return {"P": 2 * draw(st.integers(1, 4)), "g": draw(st.integers(1, 40)), "index_bits": draw(st.integers(0, 6))}


def table(draw: st.DrawFn) -> tuple[Call, int, int]:
    """The shape of a table; its elements and bytes."""
    s, lv, n = (
        draw(st.integers(1, 6)),
        draw(st.sampled_from([32, 40, 48, 56, 64])),
        draw(st.sampled_from([0, 1, 5, 70])),
    )
    return {"s": s, "t": draw(st.integers(0, 64 - s)) % 64, "lv": lv}, n, (n << s) * lv // 8


def table_deal(draw: st.DrawFn) -> Call:
    shape, n, size = table(draw)
    coef = np.random.default_rng(1).normal(0, 1 << 20, (1 << shape["s"], draw(st.integers(1, 4))))
    place = {"stream": draw(STREAM), "offset": draw(START)}
    return {"r": words(draw, n), **shape, "coef": Given(coef), "prg": Prg, **place, "out_packed": room(size)}


def table_eval(draw: st.DrawFn) -> Call:
    shape, n, size = table(draw)
    points = min(1 << shape["s"], 2 * draw(st.integers(1, 3)))
    weights = Given(kernels.stencil_weights(points, 18, draw(st.integers(0, 5))))
    call = {"c": words(draw, n), **shape, "weights": weights, "tables": optional(draw, bits(draw, size))}
    return {**call, "prg": Prg, "stream": draw(STREAM), "offset": draw(START)}


def pack(draw: st.DrawFn) -> Call:
    n, width = draw(ELEMENTS), draw(BITS)
    return {"x": words(draw, n), "bits": width, "out": optional(draw, room((n * width + 7) // 8))}


def unpack(draw: st.DrawFn) -> Call:
    n, width = draw(ELEMENTS), draw(BITS)
    return {"buf": bits(draw, (n * width + 7) // 8), "n": n, "bits": width, "out": optional(draw, room(n, U))}


def unpack_add(draw: st.DrawFn) -> Call:
    n, width = draw(ELEMENTS), draw(BITS)
    return {"buf": bits(draw, (n * width + 7) // 8), "bits": width, "acc": words(draw, n)}


def mask_pack(draw: st.DrawFn) -> Call:
    n, width = draw(ELEMENTS), draw(BITS)
    call = {"prg": Prg, "stream": draw(STREAM), "x": words(draw, n), "bits": width, "masked": room(n, U)}
    packed = room((n * width + 7) // 8)
    return {**call, "packed": packed, "mask": optional(draw, room(n, U)), "start": draw(START)}


def share_pack(draw: st.DrawFn) -> Call:
    n, width = draw(ELEMENTS), draw(BITS)
    call = {"prg": Prg, "stream": draw(STREAM), "secret": words(draw, n), "bits": width, "start": draw(START)}
    return {**call, "packed": room((n * width + 7) // 8)}


def planes(draw: st.DrawFn) -> tuple[int, int, Given, int]:
    """Elements, planes, the words, and bytes on the wire."""
    n, count = draw(ELEMENTS), draw(PLANES)
    return n, count, words(draw, -(-n // 512), count, 8), count * ((n + 7) // 8)


def planes_mask_pack(draw: st.DrawFn) -> Call:
    n, _, x, size = planes(draw)
    call = {"prg": Prg, "stream": draw(STREAM), "planes": x, "n": n, "masked": Given(np.zeros_like(x.words))}
    return {**call, "packed": room(size), "start_block": draw(st.integers(0, 2))}


def planes_share_pack(draw: st.DrawFn) -> Call:
    n, _, x, size = planes(draw)
    place = {"prg": Prg, "stream": draw(STREAM), "start_block": draw(st.integers(0, 2))}
    return {**place, "secret": x, "n": n, "packed": room(size)}


def planes_pack(draw: st.DrawFn) -> Call:
    n, _, x, size = planes(draw)
    return {"planes": x, "n": n, "out": optional(draw, room(size))}


def planes_unpack(draw: st.DrawFn) -> Call:
    n, count, _, size = planes(draw)
    return {"buf": bits(draw, size), "n": n, "P": count}


def planes_unpack_xor(draw: st.DrawFn) -> Call:
    n, _, x, size = planes(draw)
    return {"buf": bits(draw, size), "n": n, "acc": x}


def planes_fill(draw: st.DrawFn) -> Call:
    n, count, _, _ = planes(draw)
    return {"prg": Prg, "stream": draw(STREAM), "n": n, "P": count, "start_block": draw(st.integers(0, 2))}


def bits_to_planes(draw: st.DrawFn) -> Call:
    return {"bits": bits(draw, draw(ELEMENTS))}


def planes_to_bits(draw: st.DrawFn) -> Call:
    n, count = draw(ELEMENTS), draw(st.integers(1, 3))
    return {"planes": words(draw, -(-n // 512), count, 8), "n": n, "plane": draw(st.integers(0, count - 1))}


def packed_size(draw: st.DrawFn) -> Call:
    return {"n": draw(ELEMENTS), "bits": draw(BITS)}


def planes_size(draw: st.DrawFn) -> Call:
    return {"n": draw(ELEMENTS), "P": draw(PLANES)}


def combine_planes(draw: st.DrawFn) -> Call:
    return level(draw)


def table_planes(draw: st.DrawFn) -> Call:
    return {"widths": digits(draw)[1]}


def fill(draw: st.DrawFn) -> Call:
    return {"self": Prg, "stream": draw(STREAM), "out": room(draw(ELEMENTS)), "offset": 8 * draw(START)}


def stream_words(draw: st.DrawFn) -> Call:
    return {"self": Prg, "stream": draw(STREAM), "n": draw(ELEMENTS), "start": draw(START)}


def add_words(draw: st.DrawFn) -> Call:
    n = draw(ELEMENTS)
    call = {"self": Prg, "stream": draw(STREAM), "x": words(draw, n), "start": draw(START)}
    return {**call, "out": optional(draw, room(n, U)), "twice": draw(st.booleans())}


def blocks(draw: st.DrawFn) -> Call:
    numbers = draw(st.lists(st.sampled_from([0, 1, 9, (1 << 60) - 1, 1 << 60, (1 << 64) - 1]), max_size=40))
    return {"self": Prg, "stream": draw(STREAM), "numbers": Given(np.array(numbers, U))}


CALLS: dict[str, tuple[Callable[..., Any], Callable[[st.DrawFn], Call]]] = {
    made.__name__: (getattr(kernels, made.__name__), made)
    for made in (
        *(matmul, conv2d, trunc_eval, trunc_deal, select_eval, select_deal, mul_eval, square_eval, square_sums),
        *(choose_eval, open_deal, b2a_eval, stencil_weights, table_deal, table_eval),
        *(leaf_deal, leaf_read, combine_deal, combine_eval, combine_planes, table_planes, word_bit),
        *(pack, unpack, unpack_add, mask_pack, share_pack, packed_size, bits_to_planes, planes_to_bits),
        *(planes_fill, planes_mask_pack, planes_pack, planes_share_pack, planes_size, planes_unpack, planes_unpack_xor),
    )
}
CALLS["select_streams"] = kernels.select_eval, select_streams
PRG = {"fill": fill, "words": stream_words, "blocks": blocks, "add_words": add_words, "sub_words": add_words}
CALLS |= {name: (getattr(Prg, name), made) for name, made in PRG.items()}
