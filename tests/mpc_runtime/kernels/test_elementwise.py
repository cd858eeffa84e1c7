"""Elementwise gates against Python integers, and the identities that dealer and parties rely on together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import kernels

M64 = (1 << 64) - 1
EDGES = [0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, M64 - 1, M64]
RINGS = [(64, 16, 64), (64, 16, 32), (64, 16, 47), (64, 16, 48), (64, 16, 49), (64, 0, 64), (64, 0, 32), (48, 12, 48)]
RINGS += [
    (48, 16, 64),
    (41, 22, 64),
    (32, 10, 64),
    (32, 0, 64),
    (32, 0, 32),
    (8, 2, 4),
    (8, 7, 8),
    (2, 1, 64),
    (1, 0, 64),
]
RINGS += [(64, 63, 64), (64, 63, 1), (63, 1, 64)]


def words(rng, n):
    x = rng.integers(0, M64, n, dtype=np.uint64, endpoint=True)
    x[: len(EDGES)] = EDGES[:n]
    return x


def public_part(c, l, f, off, lo):
    """(A, m) as integers."""
    if f == 0 and lo <= l:
        return c, 0
    cp = (c + off) % (1 << l)
    m = cp >> (l - 1)
    return ((cp % (1 << (l - 1))) >> f) + (m << (l - 1 - f)) - (off >> f), m


def secrets(r, l, f, lo):
    """(U_0, U_1) as integers."""
    if f == 0 and lo <= l:
        return -r, -r
    rho, mu = (r % (1 << (l - 1))) >> f, (r % (1 << l)) >> (l - 1)
    return -rho + (mu << (l - 1 - f)), -rho - (mu << (l - 1 - f))


def offset(l, f):
    return 1 << (l - 2) if l - 2 >= f else 0


@pytest.mark.parametrize(("l", "f", "lo"), RINGS)
def test_truncation_is_its_definition(variant, l, f, lo):
    rng = np.random.default_rng(l * 64 + f)
    n, nb = 37, max(0, lo - (l - f))
    c, r, narrow = words(rng, n), words(rng, n), words(rng, n) if nb else None
    for off in (offset(l, f), 0, -(1 << f)):
        for party in (0, 1):
            y = kernels.trunc_eval(c, l, f, off, lo, party, narrow)
            for i in range(n):
                a, m = public_part(int(c[i]), l, f, off, lo)
                want = (a if party == 0 else 0) + (m * (int(narrow[i]) << (l - f)) if nb else 0)
                assert (int(y[i]) - want) % (1 << 64) == 0
    u0, difference = kernels.trunc_deal(r, l, f, lo)
    assert (difference is None) == (nb == 0)
    for i in range(n):
        want = secrets(int(r[i]), l, f, lo)
        assert (int(u0[i]) - want[0]) % (1 << 64) == 0
        if nb:
            assert int(difference[i]) == ((want[1] - want[0]) % (1 << lo)) >> (l - f)


@pytest.mark.parametrize(("l", "f", "lo"), RINGS)
def test_selection_is_its_definition(variant, l, f, lo):
    rng = np.random.default_rng(l * 64 + f)
    n, nb, off = 41, max(0, lo - (l - f)), offset(l, f)
    c, r, delta, k10 = (words(rng, n) for _ in range(4))
    bit = rng.integers(0, 2, n, dtype=np.uint8)
    n0, n1 = (words(rng, n), words(rng, n)) if nb else (None, None)
    for party in (0, 1):
        y = kernels.select_eval(c, bit, l, f, off, lo, party, delta, k10, n0, n1)
        for i in range(n):
            a, m = public_part(int(c[i]), l, f, off, lo)
            narrow = int((n1 if bit[i] else n0)[i]) << (l - f) if nb else 0
            factor = 1 - party - int(delta[i]) if bit[i] else int(delta[i])
            want = a * factor + (int(k10[i]) if bit[i] else 0) + m * narrow
            assert (int(y[i]) - want) % (1 << 64) == 0
    k00, k10, n0, n1 = kernels.select_deal(r, bit, l, f, lo)
    for i in range(n):
        u = secrets(int(r[i]), l, f, lo)
        k = [[int(bit[i]) * x for x in u], [(1 - int(bit[i])) * x for x in u]]
        assert (int(k00[i]) - k[0][0]) % (1 << 64) == 0
        assert (int(k10[i]) - (k[1][0] - k[0][0])) % (1 << 64) == 0
        if nb:
            assert int(n0[i]) == ((k[0][1] - k[0][0]) % (1 << lo)) >> (l - f)
            assert int(n1[i]) == ((k[1][1] - k[1][0]) % (1 << lo)) >> (l - f)


@pytest.mark.parametrize(("f", "lo"), [(1, 8), (2, 8), (2, 16), (3, 5), (5, 4), (0, 16), (0, 8), (0, 5)])
def test_all_of_an_8_bit_ring_truncates_to_floor_or_one_more(f, lo):
    """-2^6 <= z <= 2^6, every mask: floor(z / 2^f) + u comes out, u = 1 exactly (z mod 2^f) 2^(8-f) times in 256."""
    z, r = (x.ravel() for x in np.meshgrid(np.arange(-64, 65), np.arange(256), indexing="ij"))
    c, r = (z + r).astype(np.uint64) & np.uint64(255), r.astype(np.uint64)
    u0, narrow = kernels.trunc_deal(r, 8, f, lo)
    rng = np.random.default_rng(0)
    share0 = None if narrow is None else words(rng, z.size)
    share1 = None if narrow is None else narrow - share0
    y = kernels.trunc_eval(c, 8, f, 64, lo, 0, share0) + kernels.trunc_eval(c, 8, f, 64, lo, 1, share1) + u0
    error = (y - (z >> f).astype(np.uint64)) & np.uint64((1 << lo) - 1)
    assert error.max() <= 1
    assert np.array_equal(error.reshape(129, 256).sum(1), (np.arange(-64, 65) & ((1 << f) - 1)) << (8 - f))


@pytest.mark.parametrize(("f", "lo"), [(2, 8), (2, 16), (3, 5), (0, 8), (0, 16)])
def test_all_of_an_8_bit_ring_selects(f, lo):
    """Selecting by 0 gives 0 exactly, by 1 the truncation, whatever delta hides the bit."""
    grids = np.meshgrid(np.arange(-64, 65), np.arange(256), [0, 1], [0, 1], indexing="ij")
    z, r, bit, delta = (x.ravel() for x in grids)
    c, r, delta = (z + r).astype(np.uint64) & np.uint64(255), r.astype(np.uint64), delta.astype(np.uint8)
    d = bit.astype(np.uint8) ^ delta
    k00, k10, n0, n1 = kernels.select_deal(r, delta, 8, f, lo)
    rng = np.random.default_rng(0)

    def share(x):
        if x is None:
            return None, None
        first = words(rng, z.size)
        return first, x - first

    shares = zip(*(share(x) for x in (delta.astype(np.uint64), k10, n0, n1)), strict=True)
    y = sum(kernels.select_eval(c, d, 8, f, 64, lo, party, *mine) for party, mine in enumerate(shares)) + k00
    ring = np.uint64((1 << lo) - 1)
    error = (y - np.where(bit, z >> f, 0).astype(np.uint64)) & ring
    assert error.max() <= (1 if f else 0)
    assert not error[bit == 0].any()


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 1500])
@pytest.mark.parametrize("bits", [1, 47, 63, 64])
def test_a_mask_is_both_shares_less_the_offset(n, bits):
    first, second = kernels.Prg(bytes(16)), kernels.Prg(bytes(range(16)))
    offset = words(np.random.default_rng(n), n)
    before = kernels.variant()
    try:
        for name in kernels.variants():
            kernels.set_variant(name)
            for taken in (None, offset):
                out = np.empty((1, n), np.uint64)
                assert kernels.open_deal(first, second, 5, taken, bits, out) is out
                total = [
                    int(a) + int(b) - (0 if taken is None else int(o))
                    for a, b, o in zip(first.words(5, n), second.words(5, n), offset, strict=True)
                ]
                assert [int(word) for word in out[0]] == [each % (1 << bits) for each in total]
    finally:
        kernels.set_variant(before)
    with pytest.raises(ValueError, match="bits"):
        kernels.open_deal(first, second, 5, None, 65, np.empty(3, np.uint64))
    with pytest.raises(ValueError, match="offset: expected 3"):
        kernels.open_deal(first, second, 5, np.empty(4, np.uint64), 8, np.empty(3, np.uint64))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(EDGES) | st.integers(0, M64)] * 4), max_size=40), st.integers(0, 1))
def test_products_and_bits_are_their_definitions(rows, party):
    xh, ax, yh, ay = np.array(rows, dtype=np.uint64).reshape(-1, 4).T.copy()
    bit = (xh & np.uint64(1)).astype(np.uint8)
    before = kernels.variant()
    try:
        for name in kernels.variants():
            kernels.set_variant(name)
            product, square = kernels.mul_eval(xh, ax, yh, ay, party), kernels.square_eval(xh, ax, party)
            word, chosen = kernels.b2a_eval(bit, ax, party), kernels.choose_eval(xh, bit, ax, party, yh, ay)
            for i, (x, a, y, b) in enumerate(rows):
                assert int(product[i]) == (x * ((y if party == 0 else 0) - b) - a * y) & M64
                assert int(square[i]) == ((x * x if party == 0 else 0) - 2 * x * a) & M64
                assert int(word[i]) == ((x & 1 if party == 0 else 0) + (1 - 2 * (x & 1)) * a) & M64
                q = x * y - b
                assert int(chosen[i]) == (q if not x & 1 else (x if party == 0 else 0) - a - q) & M64
    finally:
        kernels.set_variant(before)


SHAPES = [(1, 1, 1), (3, 7, 1), (5, 64, 1), (2, 1000, 1), (2, 5, 3), (1, 40, 700), (4, 0, 1), (0, 0, 2), (3, 2, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("bits", "shift"), [(64, 0), (47, 0), (47, 12), (64, 63), (1, 0)])
def test_sums_of_squares(variant, shape, bits, shift):
    """Both parties' and the dealer's add up to the squares of what is left of x, mod 2^(bits - shift + 1)."""
    rng = np.random.default_rng(bits)
    n = shape[0] * shape[1] * shape[2]
    x, second, noise = words(rng, n), words(rng, n), words(rng, n)
    prg, pad = kernels.Prg(b"a seed of sixteen"[:16]), 5 << 32
    first = prg.words(pad, n)
    mask = first + second
    hat = x + mask + (noise << np.uint64(bits) if bits < 64 else np.uint64(0))  # what is above the ring is nothing
    streamed = kernels.square_sums(hat, None, shape, 0, bits, shift, prg, pad)
    assert np.array_equal(streamed, kernels.square_sums(hat, first, shape, 0, bits, shift))
    other = kernels.square_sums(hat, second, shape, 1, bits, shift)
    offset = kernels.square_sums(mask, second, shape, 2, bits, shift)
    ring, below = (1 << bits) - 1, np.array([], object)
    if n:
        below = np.array(
            [
                ((int(h) & ring) >> shift) - ((int(a) & ring) >> shift) - ((int(b) & ring) >> shift)
                for h, a, b in zip(hat, first, second, strict=True)
            ],
            object,
        )
    want = (below.reshape(shape) ** 2).sum(axis=1)
    right = (1 << min(64, bits - shift + 1)) - 1
    assert np.array_equal((streamed + other + offset).astype(object) & right, np.asarray(want & right, object))
    if not shift:
        assert np.array_equal(
            kernels.square_sums(mask, None, shape, 2, bits) & np.uint64(right), offset & np.uint64(right)
        )


WRAPS = (1, 8 * pow(3, -1, 1 << 64) % (1 << 64), 3)
"""Sizes whose product is 8 mod 2^64."""


@pytest.mark.parametrize("shape", [(-1, -8, 1), (0, 8, 1), (3, 3, 1), (2, 4, 2), (8, 1), WRAPS, (1 << 63, 16, 1)])
def test_sizes_of_sums_are_those_of_the_words(shape):
    with pytest.raises(ValueError, match="shape: expected three sizes of 8 words, found"):
        kernels.square_sums(np.zeros(8, np.uint64), None, shape, 2)


def test_a_party_squares_with_its_share_of_the_mask():
    with pytest.raises(ValueError, match="ax: expected an array, or a stream of prg"):
        kernels.square_sums(np.zeros(8, np.uint64), None, (1, 8, 1), 0)
    with pytest.raises(ValueError, match="ax: expected an array"):
        kernels.square_sums(np.zeros(8, np.uint64), None, (1, 8, 1), 2, 64, 1)


def test_an_output_may_be_an_input(variant):
    rng = np.random.default_rng(1)
    x, a, y, b = (words(rng, 1000).reshape(10, 100) for _ in range(4))
    want = kernels.mul_eval(x, a, y, b, 0)
    assert kernels.mul_eval(x, a, y, b, 0, out=a) is a
    assert np.array_equal(a, want)
    want = kernels.trunc_eval(x, 64, 16, 1 << 62, 64, 0, y)
    assert np.array_equal(kernels.trunc_eval(x, 64, 16, 1 << 62, 64, 0, y, out=x), want)


@pytest.mark.parametrize("lo", [64, 48, 32])
def test_selection_from_streams_is_selection(variant, lo):
    rng = np.random.default_rng(2)
    c, bit, prg = words(rng, 1300), rng.integers(0, 2, 1300, dtype=np.uint8), kernels.Prg(bytes(16))
    streams = [11, 12, 13, 14] if lo > 48 else [11, 12, None, None]
    shares = [None if s is None else prg.words(s, 1300, 7) for s in streams]
    want = kernels.select_eval(c, bit, 64, 16, 1 << 62, lo, 1, *shares)
    got = kernels.select_eval(c, bit, 64, 16, 1 << 62, lo, 1, *streams, prg=prg, start=7)
    assert np.array_equal(got, want)


def test_errors_name_the_argument():
    x = np.zeros(8, np.uint64)
    with pytest.raises(ValueError, match="ax: expected 8 elements"):
        kernels.square_eval(x, x[:7].copy(), 0)
    with pytest.raises(ValueError, match="xh: expected a C-contiguous uint64"):
        kernels.square_eval(x[::2], x, 0)
    with pytest.raises(ValueError, match="narrow: expected None"):
        kernels.trunc_eval(x, 64, 16, 0, 32, 0, x)
    with pytest.raises(ValueError, match="narrow"):
        kernels.trunc_eval(x, 64, 16, 0, 64, 0, None)
    with pytest.raises(ValueError, match=r"f: expected 0 \.\. 63"):
        kernels.trunc_deal(x, 64, 64, 64)
    with pytest.raises(ValueError, match="party"):
        kernels.b2a_eval(np.zeros(8, np.uint8), x, 2)
