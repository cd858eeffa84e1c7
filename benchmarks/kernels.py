"""Kernels beside what this machine can do at best, in the same run: `python benchmarks/kernels.py [SECTION ...]`.

Each row is a rate and its ratio to a yardstick that was measured a moment before: memcpy, a bare cipher loop. Rates are
the best of a few repetitions; the yardstick and the kernel work on the same number of bytes, which fit in the L2 cache.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mpc_runtime import kernels

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


def seconds(work: Callable[[], object]) -> float:
    """The least time that one call of `work` takes."""
    begin = time.perf_counter()
    work()
    calls = max(1, round(SHORTEST / (time.perf_counter() - begin)))
    best = float("inf")
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best


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


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {"streams": streams, "packing": packing}


def main(names: list[str]) -> None:
    """Print the rows of the named sections, of all if none is named."""
    if unknown := set(names) - SECTIONS.keys():
        raise SystemExit(f"unknown section {', '.join(sorted(unknown))}; expected some of {', '.join(SECTIONS)}")
    for section in names or SECTIONS:
        for row in SECTIONS[section]():
            print(
                f"{row.name:24}{row.variant:10}{row.rate:10.2f} {row.unit:8}{row.ratio:6.2f} of {row.yardstick}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
