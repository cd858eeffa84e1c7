"""Comparison kernels: tables and monomials against their definition, the whole protocol on all of an 8-bit ring."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpc_runtime import kernels

U = np.uint64
M64 = (1 << 64) - 1
EDGES = [0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, M64 - 1, M64]


def words(rng, *shape):
    return rng.integers(0, M64, shape, dtype=U, endpoint=True)


def bits(planes, n):
    """Planes u64[nb, P, 8] as u8[P, n]: element e is bit e % 64 of word e // 64 % 8 of block e // 512."""
    e = np.arange(n)
    return (planes[e >> 9, :, (e >> 6) & 7].T >> (e & 63).astype(U) & U(1)).astype(np.uint8)


def split(rng, planes):
    first = words(rng, *planes.shape)
    return first, planes ^ first


# ---- each kernel alone


@pytest.mark.parametrize("n", [1, 63, 64, 511, 512, 513, 1025])
@pytest.mark.parametrize(
    ("t", "widths"),
    [(0, [1]), (16, [5] * 5 + [6]), (0, [7] * 9), (0, [8] * 8), (63, [1]), (3, [1, 2, 3, 12]), (1, [4] * 8)],
)
def test_leaves_are_their_definition(variant, n, t, widths):
    rng = np.random.default_rng(n)
    c, r = words(rng, n), words(rng, n)
    c[: len(EDGES)], r[: len(EDGES)] = EDGES[:n], EDGES[::-1][:n]
    half = slice(n // 2, None)
    c[half] = r[half] ^ (U(1) << rng.integers(0, 64, n - n // 2, dtype=U))
    tables = kernels.leaf_deal(r, t, widths)
    assert tables.shape == ((n + 511) // 512, kernels.table_planes(widths), 8)
    got, at, want_lt, want_eq = bits(tables, n), 0, [], []
    position = t
    for m in widths:
        rj, cj = (x >> U(position) & U((1 << m) - 1) for x in (r, c))
        values = np.arange(1, 1 << m, dtype=U)
        assert np.array_equal(got[at : at + values.size], rj == values[:, None])
        want_lt.append(cj < rj)
        want_eq.append(cj == rj)
        at, position = at + values.size, position + m
    shares = split(rng, tables)
    lt = bits(kernels.leaf_read(c, t, widths, shares[0], 0) ^ kernels.leaf_read(c, t, widths, shares[1], 1), n)
    assert np.array_equal(lt[0], want_lt[0])
    assert np.array_equal(lt[1::2], want_lt[1:]) or len(widths) == 1
    assert np.array_equal(lt[2::2], want_eq[1:]) or len(widths) == 1
    eq = [kernels.leaf_read(c, t, widths, share, party, "eq") for party, share in enumerate(shares)]
    assert np.array_equal(bits(eq[0] ^ eq[1], n), want_eq)


@pytest.mark.parametrize("n", [1, 511, 512, 513])
def test_word_bit(variant, n):
    c = words(np.random.default_rng(n), n)
    for bit in (0, 1, 47, 63):
        assert np.array_equal(bits(kernels.word_bit(c, bit), n)[0], c >> U(bit) & U(1))


def groups(q, g):
    return [range(first, min(first + g, q)) for first in range(0, q, g)]


def plane(kind, which, node):
    return node if kind == "eq" else 2 * node - (which == "l" and node > 0)


def value(kind, planes, which, nodes):
    """L or E of a group from its nodes' bits, planes[P, ...]."""
    if which == "e":
        return np.bitwise_and.reduce([planes[plane(kind, "e", i)] for i in nodes])
    total = np.zeros_like(planes[0])
    for j in nodes:
        term = planes[plane(kind, "l", j)]
        for i in range(j + 1, nodes[-1] + 1):
            term = term & planes[plane(kind, "e", i)]
        total = total ^ term
    return total


def outputs(kind, q, g):
    """(which, nodes) of every output plane, in order."""
    for index, nodes in enumerate(groups(q, g)):
        if kind == "lt":
            yield "l", nodes
        if kind == "eq" or index > 0:
            yield "e", nodes


LEVELS = [(1, 2), (2, 2), (3, 2), (4, 2), (6, 6), (3, 3), (7, 3), (9, 4), (10, 12), (12, 12), (11, 5)]


@pytest.mark.parametrize(("q", "g"), LEVELS)
@pytest.mark.parametrize("kind", ["lt", "eq"])
@pytest.mark.parametrize("leaf", [True, False])
def test_one_level_is_its_formula(variant, q, g, kind, leaf):
    rng = np.random.default_rng(q * 16 + g)
    p_in, m, p_out = kernels.combine_planes(q, g, kind, leaf)
    masks0, masks1, values = (words(rng, 3, p_in, 8) for _ in range(3))
    values |= words(rng, 3, p_in, 8)  # more ones, so that long products are not all zero
    monomials, offset = kernels.combine_deal(masks0 ^ masks1, q, g, kind, leaf)
    assert monomials.shape == (3, m, 8)
    assert offset.shape == (3, p_out, 8)
    result = offset.copy()
    for party, (singles, share) in enumerate(zip((masks0, masks1), split(rng, monomials), strict=True)):
        hats = values ^ masks0 ^ masks1
        result ^= kernels.combine_eval(hats, q, g, kind, leaf, share, singles if leaf else None, party)
    planes = values.transpose(1, 0, 2)
    want = [value(kind, planes, which, nodes) for which, nodes in outputs(kind, q, g)]
    assert np.array_equal(result.transpose(1, 0, 2), want)


def test_offsets_depend_on_masks_as_the_absorbed_monomials():
    """The XOR of the full monomials is the node's value at the masks themselves; of a node alone it is its mask."""
    rng = np.random.default_rng(5)
    for (q, g), kind in itertools.product(LEVELS, ("lt", "eq")):
        masks = words(rng, 2, kernels.combine_planes(q, g, kind)[0], 8)
        _, offset = kernels.combine_deal(masks, q, g, kind)
        planes = masks.transpose(1, 0, 2)
        want = [value(kind, planes, which, nodes) for which, nodes in outputs(kind, q, g)]
        assert np.array_equal(offset.transpose(1, 0, 2), want)


@pytest.mark.parametrize("g", range(2, 13))
def test_material_is_as_cheap_as_the_protocol_says(g):
    l_leaf, l_above = 3 * 2 ** (g - 1) - 3 * g, 3 * 2 ** (g - 1) - 2 - g
    assert kernels.combine_planes(g, g, "lt", True) == (2 * g - 1, l_leaf, 1)
    assert kernels.combine_planes(g, g, "lt", False) == (2 * g - 1, l_above, 1)
    # two groups: the upper one gives E too
    assert kernels.combine_planes(2 * g, g, "lt", True) == (4 * g - 1, 2 * l_leaf + 2 ** (g - 1) - 2, 3)
    assert kernels.combine_planes(2 * g, g, "lt", False) == (4 * g - 1, 2 * l_above + 2 ** (g - 1) - 1, 3)
    assert kernels.combine_planes(g, g, "eq", True) == (g, 2**g - 2 - g, 1)
    assert kernels.combine_planes(g, g, "eq", False) == (g, 2**g - 2, 1)
    assert kernels.combine_planes(g + 1, g, "lt", True)[2] == 3


def test_shares_from_a_stream_are_the_stream(variant):
    """Fused: the party whose share is a stream reads it block by block, from any multiple of 512 elements on."""
    rng, prg, stream = np.random.default_rng(7), kernels.Prg(bytes(range(16))), 5 << 56
    n, widths, blocks = 1300, [3, 4, 5], 5
    c, T = words(rng, n), kernels.table_planes(widths)
    tables = prg.words(stream, 8 * T * blocks).reshape(blocks, T, 8)[2:].copy()
    for kind in ("lt", "eq"):
        want = kernels.leaf_read(c, 2, widths, tables, 0, kind)
        got = kernels.leaf_read(c, 2, widths, None, 0, kind, prg=prg, stream=stream, start=1024)
        assert np.array_equal(bits(got, n), bits(want, n))
    for leaf in (True, False):
        p_in, M, _ = kernels.combine_planes(7, 3, "lt", leaf)
        hats, singles = words(rng, 3, p_in, 8), words(rng, 3, p_in, 8) if leaf else None
        monomials = prg.words(stream, 8 * M * blocks).reshape(blocks, M, 8)[2:].copy()
        want = kernels.combine_eval(hats, 7, 3, "lt", leaf, monomials, singles, 1)
        got = kernels.combine_eval(hats, 7, 3, "lt", leaf, None, singles, 1, prg=prg, stream=stream, start=1024)
        assert np.array_equal(got, want)
    with pytest.raises(ValueError, match="multiple of 512"):
        kernels.leaf_read(c, 2, widths, None, 0, prg=prg, start=100)
    with pytest.raises(ValueError, match="found neither"):
        kernels.leaf_read(c, 2, widths, None, 0)


# ---- the protocol: deal, share, read, open, combine, open


def compare(rng, c, r, t, widths, tree, kind):
    """(hat, mask) of [c >> t < r >> t] or of equality in the digits given, u8[n]: what is opened, what D knows."""
    n = c.size
    shares = split(rng, kernels.leaf_deal(r, t, widths))
    parts = [kernels.leaf_read(c, t, widths, share, party, kind) for party, share in enumerate(shares)]
    offset, q, leaf = np.zeros_like(parts[0]), len(widths), True
    for g in [*tree, None]:
        free = [words(rng, *offset.shape) for _ in (0, 1)]
        hats = parts[0] ^ free[0] ^ parts[1] ^ free[1]
        masks = free[0] ^ free[1] ^ offset
        if g is None:
            assert q == 1
            return bits(hats, n)[0], bits(masks, n)[0]
        monomials, offset = kernels.combine_deal(masks, q, g, kind, leaf)
        parts = [
            kernels.combine_eval(hats, q, g, kind, leaf, share, free[party] if leaf else None, party)
            for party, share in enumerate(split(rng, monomials))
        ]
        q, leaf = -(-q // g), False


def ring(low, high):
    z, r = (x.ravel() for x in np.meshgrid(np.arange(low, high), np.arange(256), indexing="ij"))
    return z, (z + r).astype(U) & U(255), r.astype(U)


def drelu(rng, c, r, k, t, widths, tree):
    """[z >= 0] for z = c - r of k bits, t low bits dropped."""
    n = c.size
    hat, mask = compare(rng, c, r, t, widths, tree, "lt")
    assert sum(widths) == k - 1 - t
    return 1 ^ hat ^ mask ^ bits(kernels.word_bit(c, k - 1), n)[0] ^ bits(kernels.word_bit(r, k - 1), n)[0]


SHAPES = [([7], []), ([3, 4], [2]), ([2, 2, 3], [3]), ([2, 2, 2, 1], [2, 2]), ([1] * 7, [7]), ([1] * 7, [3, 3])]
SHAPES += [([2, 2, 3], [2, 2]), ([1] * 7, [2, 2, 2]), ([1] * 7, [4, 2]), ([1] * 7, [6, 2])]


@pytest.mark.parametrize(("widths", "tree"), SHAPES)
def test_all_of_an_8_bit_ring_compares(variant, widths, tree):
    rng = np.random.default_rng(1)
    z, c, r = ring(-128, 128)
    hat, mask = compare(rng, c, r, 0, widths, tree, "lt")
    assert np.array_equal(hat ^ mask, c % 128 < r % 128)
    assert np.array_equal(drelu(rng, c, r, 8, 0, widths, tree), z >= 0)


@pytest.mark.parametrize(
    ("widths", "tree"), [([2, 3, 3], [3]), ([2] * 4, [2, 2]), ([4, 4], [2]), ([8], []), ([1] * 8, [8])]
)
def test_all_of_an_8_bit_ring_equals(variant, widths, tree):
    z, c, r = ring(-128, 128)
    hat, mask = compare(np.random.default_rng(2), c, r, 0, widths, tree, "eq")
    assert np.array_equal(hat ^ mask, z == 0)


@pytest.mark.parametrize(("k", "t", "widths", "tree"), [(6, 0, [3, 2], [2]), (6, 2, [1, 2], [2]), (7, 3, [1, 2], [2])])
def test_reduced_width_and_dropped_bits(k, t, widths, tree):
    """Wrong only for -2^t < z < 0, inside the declared range less a margin of 2^t at the top."""
    z, c, r = ring(-(1 << (k - 1)), (1 << (k - 1)) - (1 << t if t else 0))
    wrong = z[drelu(np.random.default_rng(3), c, r, k, t, widths, tree) != (z >= 0)]
    assert wrong.size == 0 if t == 0 else (wrong.min() > -(1 << t) and wrong.max() < 0)


@pytest.mark.parametrize(
    ("k", "t", "widths", "tree"),
    [
        (48, 16, [5] * 5 + [6], [6]),
        (48, 16, [3] * 9 + [2, 2], [3, 4]),
        (64, 0, [7] * 9, [9]),
        (64, 0, [4] * 15 + [3], [2] * 4),
    ],
)
def test_wide_comparisons(variant, k, t, widths, tree):
    rng = np.random.default_rng(4)
    n = 3000
    c, r = words(rng, n), words(rng, n)
    c[:1000] = r[:1000] + rng.integers(-(2 << t), 2 << t, 1000).astype(U)
    pairs = np.array(list(itertools.product(EDGES, EDGES)), dtype=U)
    c[1000 : 1000 + len(pairs)], r[1000 : 1000 + len(pairs)] = pairs.T
    hat, mask = compare(rng, c, r, t, widths, tree, "lt")
    w = U((1 << (k - 1 - t)) - 1)
    assert np.array_equal(hat ^ mask, (c >> U(t) & w) < (r >> U(t) & w))


def test_wide_equality(variant):
    rng = np.random.default_rng(6)
    r = words(rng, 2000)
    c = r + (rng.integers(-2, 3, 2000) << rng.integers(0, 62, 2000)).astype(U)
    for widths, tree in (([4] * 16, [4, 4]), ([7] * 8 + [8], [9])):
        hat, mask = compare(rng, c, r, 0, widths, tree, "eq")
        assert np.array_equal(hat ^ mask, c == r)


def test_errors_name_the_argument():
    c = np.zeros(100, U)
    tables = kernels.leaf_deal(c, 0, [3, 4])
    with pytest.raises(ValueError, match="tables: expected shape"):
        kernels.leaf_read(c, 0, [3, 3], tables, 0)
    with pytest.raises(ValueError, match=r"t \+ sum"):
        kernels.leaf_deal(c, 60, [5])
    with pytest.raises(ValueError, match="width of a digit"):
        kernels.leaf_deal(c, 0, [13])
    with pytest.raises(ValueError, match="kind"):
        kernels.leaf_read(c, 0, [3, 4], tables, 0, "le")
    with pytest.raises(ValueError, match="singles"):
        hats = np.zeros((1, 3, 8), U)
        kernels.combine_eval(hats, 2, 2, "lt", False, np.zeros((1, 2, 8), U), hats, 0)
    with pytest.raises(ValueError, match="masks: expected shape"):
        kernels.combine_deal(np.zeros((1, 4, 8), U), 2, 2)
