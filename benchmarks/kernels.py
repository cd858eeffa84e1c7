"""Kernels beside what this machine can do at best, in the same run: `python benchmarks/kernels.py [SECTION ...]`.

Each row is a rate and its ratio to a yardstick that was measured at the same time: NumPy's float64 product on one
thread, memcpy, a bare cipher loop. Rates are the best of a few repetitions; memcpy, the cipher and the kernels beside
them work on the same number of bytes, which fit in the L2 cache.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

for _library in ("OPENBLAS", "OMP", "MKL", "VECLIB"):  # the yardstick of products is one thread; read at import
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402

from mpc_runtime import kernels  # noqa: E402

WORDS = 1 << 15  # 256 KiB
WIDTHS = (1, 8, 31, 32, 48, 63, 64)
SHORTEST = 2e-3  # seconds of one measurement, far above the clock's grain
REPETITIONS = 7


@dataclass(frozen=True)
class Row:
    """One line of the table: `rate` in `unit`, and how much of the yardstick's rate that is."""

    name: str
    variant: str
    rate: float
    unit: str
    yardstick: str
    ratio: float


def side_by_side(*works: Callable[[], object]) -> list[float]:
    """The least processor time that one call of each takes; they take turns, so that a slow moment hits all of them."""
    calls = []
    for work in works:
        begin = time.thread_time()
        work()
        calls.append(max(1, round(SHORTEST / max(time.thread_time() - begin, 1e-6))))
    best = [float("inf")] * len(works)
    for _ in range(REPETITIONS):
        for i, work in enumerate(works):
            begin = time.thread_time()
            for _ in range(calls[i]):
                work()
            best[i] = min(best[i], (time.thread_time() - begin) / calls[i])
    return best


def seconds(work: Callable[[], object]) -> float:
    """The least processor time that one call of `work` takes."""
    return side_by_side(work)[0]


def random_words(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, n, np.uint64)


def streams() -> Iterator[Row]:
    """Expansion of a stream, to memory and fused with an addition, beside the cipher alone in registers."""
    out = np.empty(WORDS, np.uint64)
    for name in kernels.prg_implementations():
        prg = kernels.Prg(bytes(16), implementation=name)
        bare = seconds(partial(prg._bare, WORDS // 2))
        for work in (partial(prg.fill, 1, out), partial(prg.add_words, 1, out, out)):
            t = seconds(work)
            yield Row(f"Prg.{work.func.__name__}", name, out.nbytes / t / 1e9, "GB/s", "bare cipher", bare / t)


def packing() -> Iterator[Row]:
    """Packing beside a copy of the words, and fused with a stream beside the cipher; rates are of unpacked words."""
    x, y = random_words(WORDS), np.empty(WORDS, np.uint64)
    used = kernels.variant()
    for variant in kernels.variants():
        kernels.set_variant(variant)
        prg = kernels.Prg(bytes(16))
        copy, bare = seconds(partial(np.copyto, y, x)), seconds(partial(prg._bare, WORDS // 2))
        for bits in WIDTHS:
            packed = np.empty(kernels.packed_size(WORDS, bits), np.uint8)
            for yardstick, best, work in (
                ("memcpy", copy, partial(kernels.pack, x, bits, packed)),
                ("memcpy", copy, partial(kernels.unpack, packed, WORDS, bits, y)),
                ("memcpy", copy, partial(kernels.unpack_add, packed, bits, y)),
                ("bare cipher", bare, partial(kernels.mask_pack, prg, 1, x, bits, y, packed)),
                ("bare cipher", bare, partial(kernels.share_pack, prg, 1, x, bits, packed)),
            ):
                t = seconds(work)
                name = f"{work.func.__name__} {bits} bits"
                yield Row(name, variant, x.nbytes / t / 1e9, "GB/s", yardstick, best / t)
    kernels.set_variant(used)


def on_each_variant(rows: Callable[[str], Iterator[Row]]) -> Iterator[Row]:
    """The rows of every kernel variant that this machine can run."""
    used = kernels.variant()
    for variant in kernels.variants():
        kernels.set_variant(variant)
        yield from rows(variant)
    kernels.set_variant(used)


def comparison(variant: str) -> Iterator[Row]:
    """31-bit comparisons in six digits and one node, a second, beside a copy of what each reads and writes."""
    widths, g, n = (5, 5, 5, 5, 5, 6), 6, 1 << 14
    c = random_words(n)
    tables = kernels.leaf_deal(c, 16, widths)
    leaves = kernels.leaf_read(c, 16, widths, tables, 0)
    monomials, offset = kernels.combine_deal(leaves, len(widths), g)
    out, nothing = np.empty_like(leaves), np.empty_like(offset)
    read = partial(kernels.leaf_read, c, 16, widths, tables, 0, "lt", out)
    combine = partial(kernels.combine_eval, leaves, len(widths), g, "lt", True, monomials, leaves, 0, nothing)

    def both() -> None:
        read()
        combine()

    for name, work, size in (
        ("leaf_deal", partial(kernels.leaf_deal, c, 16, widths, tables), tables.nbytes),
        ("leaf_read", read, tables.nbytes),
        ("combine_deal", partial(kernels.combine_deal, leaves, len(widths), g), monomials.nbytes),
        ("combine_eval", combine, monomials.nbytes),
        ("leaf_read + combine_eval", both, tables.nbytes + monomials.nbytes),
    ):
        t, copy = seconds(work), seconds(partial(np.copyto, np.empty(size, np.uint8), np.empty(size, np.uint8)))
        yield Row(name, variant, n / t / 1e6, "M/s", "memcpy", copy / t)


def elementwise(variant: str) -> Iterator[Row]:
    """Gates on words, a second, beside a copy of as many bytes as they read."""
    n = 1 << 13
    x, a, y, b, out = (random_words(n) for _ in range(5))
    bit = (x & np.uint64(1)).astype(np.uint8)
    for name, work, operands in (
        ("trunc_eval 64/16", partial(kernels.trunc_eval, x, 64, 16, 1 << 62, 64, 0, a, out), 2),
        ("select_eval 64/16", partial(kernels.select_eval, x, bit, 64, 16, 1 << 62, 64, 0, a, y, b, b, out), 5),
        ("select_deal 64/16", partial(kernels.select_deal, x, bit, 64, 16, 64), 1),
        ("mul_eval", partial(kernels.mul_eval, x, a, y, b, 0, out), 4),
        ("square_eval", partial(kernels.square_eval, x, a, 0, out), 2),
        ("b2a_eval", partial(kernels.b2a_eval, bit, a, 0, out), 1),
    ):
        t, copy = seconds(work), seconds(partial(np.copyto, np.empty(operands * n), np.empty(operands * n)))
        yield Row(name, variant, n / t / 1e6, "M/s", "memcpy", copy / t)


def tables(variant: str) -> Iterator[Row]:
    """Sample tables of 64 entries of 40 bits, a second, beside a bare cipher on them or a copy of them."""
    n, s, t, lv, degree = 1 << 11, 6, 15, 40, 9
    c, prg = random_words(n), kernels.Prg(bytes(16))
    coef = np.random.default_rng(0).normal(0, 2.0**20, (1 << s, degree + 1))
    packed, out = np.empty((n << s) * lv // 8, np.uint8), np.empty(n, np.uint64)
    bare, copy = seconds(partial(prg._bare, packed.nbytes // 16)), seconds(partial(np.copyto, packed, packed.copy()))
    weights = kernels.stencil_weights(6, 18, 15)
    for name, work, yardstick, best in (
        ("table_deal", partial(kernels.table_deal, c, s, t, coef, lv, prg, 1, packed), "bare cipher", bare),
        ("table_eval", partial(kernels.table_eval, c, s, t, weights, lv, packed, out=out), "memcpy", copy),
        (
            "table_eval stream",
            partial(kernels.table_eval, c, s, t, weights, lv, None, prg, 1, 0, out),
            "bare cipher",
            bare,
        ),
    ):
        used = seconds(work)
        yield Row(name, variant, n / used / 1e6, "M/s", yardstick, best / used)


PRODUCTS = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048)]  # m, k, n
RINGS = (64, 52)  # bits of a product that are used: up to 52 are quicker on some processors
LAYERS = [(128, 256, 100), (128, 100, 10), (1, 256, 100), (1000, 100, 1)]
CONVOLUTIONS = [  # name, images, channels, size, outputs, kernel, stride, padding
    ("LeNet 1, batch 1", 1, 1, 28, 16, 5, 1, 0),
    ("LeNet 2, batch 1", 1, 16, 12, 16, 5, 1, 0),
    ("LeNet 1, batch 128", 128, 1, 28, 16, 5, 1, 0),
    ("LeNet 2, batch 128", 128, 16, 12, 16, 5, 1, 0),
    ("LeNet 1, gradient of weights", 1, 128, 28, 16, 24, 1, 0),
    ("LeNet 2, gradient of weights", 16, 128, 12, 16, 8, 1, 0),
    ("ResNet-18 conv1", 1, 3, 224, 64, 7, 2, 3),
    ("ResNet-18 layer1", 1, 64, 56, 64, 3, 1, 1),
    ("ResNet-18 layer2 down", 1, 64, 56, 128, 3, 2, 1),
    ("ResNet-18 layer2", 1, 128, 28, 128, 3, 1, 1),
    ("ResNet-18 layer3", 1, 256, 14, 256, 3, 1, 1),
    ("ResNet-18 layer4", 1, 512, 7, 512, 3, 1, 1),
]


def products(variant: str) -> Iterator[Row]:
    """Matrix products beside NumPy's in float64 on one thread, of the same shape."""
    for m, k, n in PRODUCTS + LAYERS:
        a, b, out = random_words(m * k).reshape(m, k), random_words(k * n).reshape(k, n), np.empty((m, n), np.uint64)
        x, y, z = np.random.rand(m, k), np.random.rand(k, n), np.empty((m, n))
        for bits in RINGS:
            work = partial(kernels.matmul, a, b, out, bits=bits)
            t, best = side_by_side(work, partial(np.matmul, x, y, out=z))
            name = f"matmul {m}x{k}x{n}, {bits} bits"
            yield Row(name, variant, m * k * n / t / 1e9, "GMAC/s", "float64 matmul", best / t)


def convolutions(variant: str) -> Iterator[Row]:
    """Convolutions of 64 bits beside the 512^3 product of as many."""
    side = 512
    a, b, c = (
        random_words(side**2).reshape(side, side),
        random_words(side**2).reshape(side, side),
        np.empty((side, side), np.uint64),
    )
    for name, images, channels, size, outs, kernel, stride, pad in CONVOLUTIONS:
        x = random_words(images * channels * size**2).reshape(images, channels, size, size)
        w = random_words(outs * channels * kernel**2).reshape(outs, channels, kernel, kernel)
        side_out = (size + 2 * pad - kernel) // stride + 1
        out = np.empty((images, outs, side_out, side_out), np.uint64)
        work = partial(kernels.conv2d, x, w, (stride, stride), (pad,) * 4, out=out)
        rate, best = (
            out.size * channels * kernel**2 / seconds(work),
            side**3 / seconds(partial(kernels.matmul, a, b, c)),
        )
        yield Row(name, variant, rate / 1e9, "GMAC/s", "matmul 512^3", rate / best)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "products": partial(on_each_variant, products),
    "convolutions": partial(on_each_variant, convolutions),
    "streams": streams,
    "packing": packing,
    "comparison": partial(on_each_variant, comparison),
    "elementwise": partial(on_each_variant, elementwise),
    "tables": partial(on_each_variant, tables),
}


def main() -> None:
    """Print the rows of the named sections, of all if none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--out", help="append JSON lines to this file")
    given = parser.parse_args()
    if unknown := set(given.sections) - SECTIONS.keys():
        parser.error(f"unknown section {', '.join(sorted(unknown))}; expected some of {', '.join(SECTIONS)}")
    for section in given.sections:
        for row in SECTIONS[section]():
            print(
                f"{row.name:26}{row.variant:10}{row.rate:10.2f} {row.unit:8}{row.ratio:6.2f} of {row.yardstick}",
                flush=True,
            )
            if given.out:
                with open(given.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"section": "kernels", "part": section, **asdict(row)}) + "\n")


if __name__ == "__main__":
    main()
