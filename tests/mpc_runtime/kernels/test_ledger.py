"""A ledger of a Prg is told of every byte of a stream that any kernel expands, and can forbid it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.kernels import Prg

Array = np.ndarray
U = np.uint64
KEY = bytes(range(16))
SOURCES = Path(__file__).parents[3] / "mpc_runtime" / "kernels"
N = 700  # two blocks of bit planes
X = np.arange(N, dtype=U)
PLANES = np.zeros((2, 3, 8), U)
WIDTHS = (3, 2, 2)
ROOM = np.empty(1 << 16, np.uint8)


class Seen:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.uses: list[tuple[int, int, int]] = []

    def use(self, stream: int, first: int, last: int) -> None:
        self.uses.append((stream, first, last))


class Forbidden(Exception):
    pass


class Forbids:
    def use(self, stream: int, first: int, last: int) -> None:
        raise Forbidden


def table(prg: Prg) -> None:
    kernels.table_deal(X, 2, 3, np.ones((4, 2)), 32, prg, 5, ROOM[: N * 16], 64)


def table_read(prg: Prg) -> None:
    kernels.table_eval(X, 2, 3, kernels.stencil_weights(2, 3, 8), 32, None, prg, 5, 64)


def select(prg: Prg) -> None:
    kernels.select_eval(X, X.astype(np.uint8) & 1, 64, 8, 1 << 62, 64, 0, 5, 6, 7, 8, prg=prg, start=16)


def combine(prg: Prg) -> None:
    hats = np.zeros((2, kernels.combine_planes(3, 3)[0], 8), U)
    kernels.combine_eval(hats, 3, 3, "lt", True, None, hats, 0, prg=prg, stream=5, start=512)


LEAF = 64 * kernels.table_planes(WIDTHS)
TREE = 64 * kernels.combine_planes(3, 3)[1]
KERNELS: dict[str, tuple[Callable[[Prg], object], list[tuple[int, int, int]]]] = {
    "fill": (lambda p: p.fill(5, ROOM[:100], 24), [(5, 24, 124)]),
    "words": (lambda p: p.words(5, N, 2), [(5, 16, 16 + 8 * N)]),
    "add_words": (lambda p: p.add_words(5, X, start=2), [(5, 16, 16 + 8 * N)]),
    "sub_words": (lambda p: p.sub_words(5, X, start=2), [(5, 16, 16 + 8 * N)]),
    "blocks": (lambda p: p.blocks(5, np.array([9, 4], U)), [(5, 144, 160), (5, 64, 80)]),
    "mask_pack": (
        lambda p: kernels.mask_pack(p, 5, X, 8, np.empty_like(X), ROOM[:N], start=2),
        [(5, 16, 16 + 8 * N)],
    ),
    "share_pack": (lambda p: kernels.share_pack(p, 5, X, 8, ROOM[:N], start=2), [(5, 16, 16 + 8 * N)]),
    "planes_mask_pack": (
        lambda p: kernels.planes_mask_pack(p, 5, PLANES, N, PLANES.copy(), ROOM[: 3 * 88], start_block=1),
        [(5, 192, 576)],
    ),
    "planes_share_pack": (
        lambda p: kernels.planes_share_pack(p, 5, PLANES, N, ROOM[: 3 * 88], start_block=1),
        [(5, 192, 576)],
    ),
    "planes_fill": (lambda p: kernels.planes_fill(p, 5, N, 3, start_block=1), [(5, 192, 576)]),
    "leaf_read": (
        lambda p: kernels.leaf_read(X, 1, WIDTHS, None, 0, prg=p, stream=5, start=512),
        [(5, LEAF, 3 * LEAF)],
    ),
    "combine_eval": (combine, [(5, TREE, 3 * TREE)]),
    "select_eval": (select, [(5 + slot, 128, 128 + 8 * N) for slot in range(4)]),
    "open_deal": (lambda p: kernels.open_deal(p, p, 5, X, 8, np.empty_like(X)), [(5, 0, 8 * N)] * 2),
    "square_sums": (lambda p: kernels.square_sums(X, None, (1, N, 1), 0, prg=p, pad=5), [(5, 0, 8 * N)]),
    "table_deal": (table, [(5, 64, 64 + 16 * N)]),
    "table_eval": (table_read, [(5, 64, 64 + 16 * N)]),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_ledger_is_told_what_is_expanded(name: str) -> None:
    call, expected = KERNELS[name]
    seen = Seen()
    call(Prg(KEY, ledger=seen))
    assert seen.uses == expected
    with pytest.raises(Forbidden):
        call(Prg(KEY, ledger=Forbids()))


def test_no_kernel_expands_a_stream_without_a_word_to_the_ledger() -> None:
    """Every function that hands out a Prg's state tells first; those above are all that do."""
    found = set()
    for source in SOURCES.glob("*.pyx"):
        for body in re.split(r"\n *(?=def )|\n(?=cdef )", source.read_text(encoding="utf-8")):
            name = re.match(r"c?def (?:\w+ )*(\w+)\(", body)
            if name and re.search(r"&\w+\.state\b(?!\.)", body) and name.group(1) != "__dealloc__":
                found.add(name.group(1))
                assert re.search(r"\.used?\(", body), f"{source.name}: {name.group(1)}"
    assert found == KERNELS.keys() - {"select_eval"} | {"select_streams"}
