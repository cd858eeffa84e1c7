"""A party's whole view is exactly uniform for every secret, and broken variants of the gates are told apart.

The protocols are those of PROTOCOLS section 0's list (`views` explains the enumeration); each runs as p0's view and as
p1's, with the corrections going to either party, and its results are compared with their meaning in the same run.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.gates import (
    Add,
    BitToWord,
    Choose,
    Combine,
    Concat,
    Conv2d,
    Gaps,
    Materialize,
    MatMul,
    Mul,
    Reshape,
    Select,
    Square,
    Table,
    ToBit,
    ToPlanes,
    Truncate,
    Xor,
)
from mpc_runtime.gates.base import low
from mpc_runtime.gates.contexts import Array
from mpc_runtime.gates.streams import PURPOSE_OUTPUT, stream
from tests.plans_by_hand import BITS, PLANES, Builder, compare
from tests.security.broken import BROKEN
from tests.security.views import NOISE, Protocol, is_uniform, view
from tests.streams import Scripted, StandIns
from tests.traced import KEYS, trace

U = np.uint64
Secrets = list[tuple[int, ...]]


def ring(l: int) -> Secrets:
    """All values of a ring of l bits."""
    return [(z,) for z in range(-(1 << (l - 1)), 1 << (l - 1))]


def some(*choices: tuple[int, ...]) -> Secrets:
    return list(itertools.product(*choices))


def same(b: Builder, register: int) -> tuple[int, ...]:
    return b.registers[register].shape


# -- the protocols -----------------------------------------------------------------------------------------------------


def order(
    l: int, k: int, low_bit: int, widths: tuple[int, ...], tree: tuple[int, ...], thresholds: tuple[int, ...] = (0,)
) -> Protocol:
    def protocol(b: Builder, z: Array) -> None:
        compare(b, b.wire(z, l), k, low_bit, widths, tree, "lt", thresholds)

    return protocol


def equality(b: Builder, z: Array) -> None:
    compare(b, b.wire(z, 4), 4, 0, (2, 2), (2,), "eq")


def conjunction(b: Builder, x: Array, y: Array) -> None:
    """And of two opened bits, then of the result with the first: a bare bit and a wire in one node."""
    p, q = (b.wire(a.astype(np.uint8)) for a in (x, y))
    shape = same(b, p)
    root = b.emit(ToPlanes, shape, 1, PLANES, 2, xs=(p, q))
    both = b.open(b.emit(Combine, shape, 1, PLANES, 1, nodes=2, fan_in=2, kind="eq", leaf=False, x=root))
    bit = b.emit(ToBit, shape, 1, BITS, width=0, threshold=0, root=both, x=p)
    root = b.emit(ToPlanes, shape, 1, PLANES, 2, xs=(bit, p))
    b.open(b.emit(Combine, shape, 1, PLANES, 1, nodes=2, fan_in=2, kind="eq", leaf=False, x=root))


def relu(materialized: bool, lo: int, shift: int = 1) -> Protocol:
    """ReLU with truncation, opened for the next layer: the offset absorbed, or shipped so that the mask has shares."""

    def protocol(b: Builder, z: Array) -> None:
        x = b.wire(z, 3)
        (d,) = compare(b, x, 3, 0, (2,), (), "lt")
        y = b.emit(Select, same(b, x), lo, shift=shift, width=2, d=d, x=x)
        if materialized:
            y = b.emit(Materialize, same(b, x), lo, x=y)
        b.open(y)

    return protocol


def forward_and_backward(b: Builder, z: Array, g: Array) -> None:
    """One masked bit selects twice: y = d z and, later, d g."""
    x = b.wire(z, 2)
    (d,) = compare(b, x, 2, 0, (1,), (), "lt")
    b.open(b.emit(Select, same(b, x), 2, shift=0, width=0, d=d, x=x))
    other = b.wire(g, 2)
    b.open(b.emit(Select, same(b, x), 2, shift=0, width=0, d=d, x=other))


def to_one_of_two(b: Builder, z: Array, g: Array) -> None:
    """What the gradient of a maximum does: g goes to one of two places, both of which are opened."""
    x = b.wire(z, 2)
    (d,) = compare(b, x, 2, 0, (1,), (), "lt")
    passed = b.wire(g, 2)
    other = b.emit(Xor, same(b, x), 1, BITS, x=d, y=b.constant(np.ones(z.shape, np.uint8)))
    for place in (d, other):
        b.open(b.emit(Choose, same(b, x), 2, d=place, x=passed))


def truncation(lo: int) -> Protocol:
    def protocol(b: Builder, z: Array) -> None:
        x = b.wire(z, 4)
        b.open(b.emit(Truncate, same(b, x), lo, shift=1, width=3, x=x))

    return protocol


def residual(b: Builder, z: Array) -> None:
    """One X^ used by a truncation and, unmasked, added to its result."""
    x = b.wire(z, 4)
    y = b.emit(Truncate, same(b, x), 4, shift=1, width=3, x=x)
    b.open(b.emit(Add, same(b, x), 4, negative=False, x=y, y=b.unmask(x)))


def halved(half: str) -> Protocol:
    """W^ or the queries opened in a bit less; the results are opened."""

    def protocol(b: Builder, w: Array, x: Array) -> None:
        shape = (w.size, 1, 1)
        wire = b.wire(w.reshape(shape), 2 if half == "y" else 3)
        query = b.wire(x.reshape(shape), 2 if half == "x" else 3)
        b.open(b.emit(MatMul, shape, 3, half=half, x=query, y=wire))

    return protocol


def weights_reused(cls: type[Mul | MatMul | Conv2d]) -> Protocol:
    """W^ opened once, two queries: the absorbed products are all that hides. Each assignment is its own product."""

    def protocol(b: Builder, w: Array, x: Array, y: Array) -> None:
        n = w.size
        shape = {Mul: (n,), MatMul: (n, 1, 1), Conv2d: (1, n, 1, 1)}[cls]
        kernel = (n, 1, 1, 1) if cls is Conv2d else shape
        named = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": n} if cls is Conv2d else {}
        wire = b.wire(w.reshape(kernel), 3)
        for query in (x, y):
            b.open(b.emit(cls, shape, 3, x=b.wire(query.reshape(shape), 3), y=wire, **named))

    return protocol


def square(b: Builder, x: Array) -> None:
    wire = b.wire(x, 4)
    b.open(b.emit(Square, same(b, wire), 4, x=wire))


def maximum(b: Builder, x: Array, y: Array) -> None:
    """max(x, y) = y + [x >= y] (x - y): the difference of two masked values is masked, and not opened again."""
    p, q = b.wire(x, 3), b.wire(y, 3)
    shape = same(b, p)
    gap = b.emit(Add, shape, 3, negative=True, x=p, y=q)
    (d,) = compare(b, gap, 3, 0, (2,), (), "lt")
    chosen = b.emit(Select, shape, 3, shift=0, width=0, d=d, x=gap)
    b.open(b.emit(Add, shape, 3, negative=False, x=chosen, y=b.unmask(q)))


def rounded_pair(b: Builder, x: Array, y: Array) -> None:
    """The first of two where it is the larger, by their gap: what is open of both is shifted, and so are its masks."""
    n = x.size
    p, q = b.wire(x, 3), b.wire(y, 3)
    columns = tuple(b.emit(Reshape, (n, 1), 3, shape=(n, 1), x=each) for each in (p, q))
    both = b.emit(Concat, (n, 2), 3, axis=1, xs=columns)
    gap = b.emit(Reshape, (n,), 2, shape=(n,), x=b.emit(Gaps, (n, 1), 2, shift=1, x=both))
    (d,) = compare(b, gap, 2, 0, (1,), (), "lt")
    b.open(b.emit(Select, (n,), 3, shift=0, width=0, d=d, x=p))


def counted(b: Builder, x: Array, y: Array) -> None:
    """A bit and the exclusive or of two as numbers, added and opened."""
    p, q = (b.wire(a.astype(np.uint8)) for a in (x, y))
    shape = same(b, p)
    numbers = [b.emit(BitToWord, shape, 3, d=bit) for bit in (p, b.emit(Xor, shape, 1, BITS, x=p, y=q))]
    b.open(b.emit(Add, shape, 3, negative=False, x=numbers[0], y=numbers[1]))


def shipped_bit(b: Builder, x: Array) -> None:
    """A bit without shares of its mask, as true shares, opened again."""
    wire = b.wire(x, 3)
    (d,) = compare(b, wire, 3, 0, (1, 1), (2,), "lt")
    b.open(b.emit(Materialize, same(b, wire), 1, BITS, x=b.unmask(d)))


def table_and_flag(b: Builder, x: Array) -> None:
    """A sample table and a comparison on one wire, then the value opened; rings of 32 bits by a few of their bits."""
    wire = b.wire(x, 3)
    y = b.emit(
        Table, same(b, wire), 32, function="sigmoid", input_scale=0, origin=4, nodes_log=1, cell_log=2, table_scale=8,
        weight_scale=8, points=2, index_bits=2, entry_bits=32, x=wire,
    )  # fmt: skip
    b.open(y)
    compare(b, wire, 3, 1, (1,), (), "lt")


@dataclass(frozen=True)
class Case:
    name: str
    protocol: Protocol
    secrets: Secrets
    kept: int = 0


BIT = (0, 1)
CASES = [
    Case("order, digits 2+1", order(4, 4, 0, (1, 2), (2,)), ring(4)),
    Case("order, one 3-ary node", order(4, 4, 0, (1, 1, 1), (3,)), ring(4)[::3]),
    Case("order, two levels", order(4, 4, 0, (1, 1, 1), (2, 2)), ring(4)[::5]),
    Case("order, k < l, t = 1", order(5, 4, 1, (1, 1), (2,)), ring(4)),
    Case("two thresholds on one mask", order(4, 4, 1, (1, 1), (2,), (-2, 3)), ring(3)),
    Case("equality", equality, ring(4)),
    Case("conjunction of bits", conjunction, some(BIT, BIT)),
    Case("relu with truncation, offset absorbed", relu(False, 3), ring(2)),
    Case("relu with truncation, mask shared", relu(True, 2), ring(2)),
    Case("relu without truncation", relu(False, 3, shift=0), ring(3)),
    Case("a bit forward and backward", forward_and_backward, some((-2, 0, 1), (-1, 1))),
    Case("a value that goes to one of two places", to_one_of_two, some((-2, 0, 1), (-1, 1))),
    Case("truncation into the same ring", truncation(4), ring(3)),
    Case("truncation into a larger ring", truncation(6), ring(3)),
    Case("truncation into a smaller ring", truncation(2), ring(4)),
    Case("truncation and residual", residual, ring(3)),
    Case("weights of two products", weights_reused(Mul), some((0, 3, 6), (1, 5), (0, 7))),
    Case("weights of two matrix products", weights_reused(MatMul), some((0, 3, 6), (1, 5), (0, 7))),
    Case("weights of two convolutions", weights_reused(Conv2d), some((0, 6), (1, 5), (0, 7))),
    Case("halved product, weights kept", halved("y"), some((0, 3, 6), (1, 5, 7))),
    Case("halved product, query kept", halved("x"), some((0, 3, 6), (1, 5, 7))),
    Case("square", square, ring(4)),
    Case("maximum of two masked values", maximum, [(-2, 1), (1, -2), (0, 0)]),
    Case("a pair, rounded", rounded_pair, [(-2, 1), (1, -2), (0, 1), (1, 1)]),
    Case("bits as numbers", counted, some(BIT, BIT)),
    Case("a shipped bit", shipped_bit, ring(3)),
    Case("table and flag on one mask", table_and_flag, ring(3), kept=2),
]


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_view_is_uniform_for_every_secret(case: Case, who: int, receiver: int) -> None:
    """Exactly: each of the 2^width views belongs to one assignment of the peer's pads."""
    for secret in case.secrets:
        for top in (False, True) if case.kept else (False,):
            first = secret == case.secrets[0]
            seen, width, bits, t = view(case.protocol, secret, who, receiver, case.kept, top, observe=first)
            assert width == bits, "a party is sent something that no word of the peer's stream pads, or a pad is unused"
            assert is_uniform(seen, width), secret
            if first:
                t.assert_exact()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_protocols_are_told_apart(name: str) -> None:
    """For some party the views of two secrets have different distributions."""
    told = []
    for who, receiver in itertools.product((0, 1), (0, 1)):
        views = set()
        for secret in ((0, 0), (1, 0), (0, 1), (3, 5)):
            seen, width, _, _ = view(BROKEN[name], secret, who, receiver)
            views.add(tuple(np.bincount(seen.astype(np.int64), minlength=1 << width)))
        told.append(len(views) > 1)
    assert any(told)


def constant(own: int, feed: str, register: int, x: np.ndarray) -> np.ndarray:
    """Shares of p0 that are all the same."""
    return np.full(x.shape, own, U)


@pytest.mark.parametrize("l", [1, 5])
def test_a_result_tells_its_receiver_nothing_but_itself(l: int) -> None:
    """PROTOCOLS section 7: over all words of the pair's stream, the shares take every value with the result's sum."""
    n = 1 << l
    for own in (0, 1, 17):
        b = Builder()
        b.reveal(b.input(np.full(n, 9, U)), ("alice",), l)
        pads = {stream(PURPOSE_OUTPUT, 1): np.arange(n, dtype=U) | (NOISE << U(l))}
        streams = StandIns({KEYS["run"][2]: Scripted(KEYS["run"][2], pads)})
        t = trace(b.plan(), b.values, seed=partial(constant, own), kernels=streams)
        first, second = (kernels.unpack(t.outputs[i]["y", "alice"], n, l) for i in (0, 1))
        assert sorted(first) == list(range(n))
        assert np.array_equal(low(first + second, l), np.full(n, 9 % n, U))
