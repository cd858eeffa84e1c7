"""Sample tables against their definition in Python integers, and interpolation against the function itself."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.kernels import Prg

U = np.uint64
M64 = (1 << 64) - 1
EDGES = [0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, M64 - 1, M64]
KEY = bytes(range(16))
STREAM = (3 << 56) | 77


def words(rng, n):
    x = rng.integers(0, M64, n, dtype=U, endpoint=True)
    x[: len(EDGES)] = EDGES[:n]
    return x


def entries(packed, lv):
    """Packed entries of lv bits as u64."""
    wide = np.zeros((packed.size // (lv // 8), 8), np.uint8)
    wide[:, : lv // 8] = packed.reshape(-1, lv // 8)
    return wide.view("<u8").ravel()


def stream_bytes(n):
    out = np.empty(n, np.uint8)
    Prg(KEY).fill(STREAM, out)
    return out


# ---- weights


def exact_weights(P, g, index_bits, index):
    """Lagrange weights at the centre of a bin as fractions, rounded half up, the residue on node 0."""
    z = Fraction(2 * index + 1, 2 << index_bits)
    nodes = range(-P // 2 + 1, P // 2 + 1)
    exact = [prod((z - j) / (i - j) for j in nodes if j != i) for i in nodes]
    rounded = [(x * 2**g + Fraction(1, 2)).__floor__() for x in exact]
    rounded[P // 2 - 1] += (1 << g) - sum(rounded)
    return rounded


@pytest.mark.parametrize(
    ("P", "g", "index_bits"), [(2, 18, 3), (4, 8, 0), (6, 18, 15), (8, 16, 10), (10, 20, 6), (16, 40, 4)]
)
def test_weights_are_exact(P, g, index_bits):
    weights = kernels.stencil_weights(P, g, index_bits)
    assert weights.shape == (1 << index_bits, P)
    assert weights.dtype == np.int64
    assert (weights.sum(axis=1) == 1 << g).all()
    for index in {0, 1, 5, (1 << index_bits) // 2, (1 << index_bits) - 1}:
        if index < 1 << index_bits:
            assert weights[index].tolist() == exact_weights(P, g, index_bits, index)
    assert kernels.stencil_weights(P, g, index_bits) is weights
    assert not weights.flags.writeable


# ---- dealer


def table(r, s, t, coef, lv):
    """Entries mod 2^lv of every element's table: the definition, Horner in float64 one entry at a time."""
    out = []
    for x in r.tolist():
        for j in range(1 << s):
            argument = (j * 2**t - x) % 2 ** (s + t)
            cell, delta = argument >> t, (argument % 2**t) / 2**t
            value = float(coef[cell, -1])
            for c in coef[cell, -2::-1]:
                value = value * delta + float(c)
            out.append(round(min(max(value, -(2.0**62)), 2.0**62)) % 2**lv)
    return np.array(out, U)


@pytest.mark.parametrize("lv", [32, 40, 48, 56, 64])
@pytest.mark.parametrize(("s", "t", "degree"), [(6, 15, 7), (5, 16, 0), (1, 3, 2), (3, 61, 4), (7, 0, 1), (2, 62, 3)])
def test_tables_are_their_definition(variant, lv, s, t, degree):
    rng = np.random.default_rng(lv + s)
    r = words(rng, 33)
    coef = rng.normal(0, 2.0 ** rng.uniform(0, min(lv, 62) - 3), (1 << s, degree + 1))
    coef[0] = 2.0**70  # clipped
    packed = np.empty((33 << s) * lv // 8, np.uint8)
    kernels.table_deal(r, s, t, coef, lv, Prg(KEY), STREAM, packed)
    total = entries(packed, lv) + entries(stream_bytes(packed.size), lv)
    assert np.array_equal(total & U((1 << lv) - 1), table(r, s, t, coef, lv))


def test_rounding_is_to_even_over_the_whole_range(variant):
    values = np.array(
        [0.5, 1.5, 2.5, -0.5, -1.5, 2.0**31 - 0.5, 2.0**32 + 0.5, 2.0**51 + 0.5, -(2.0**52) - 1, 2.0**53 + 2]
    )
    values = np.concatenate([values, [2.0**61 + 2**20, -(2.0**61) - 2**20, 2.0**62, -(2.0**62), 1e300, -1e300]])
    packed = np.empty(16 * 8, np.uint8)
    kernels.table_deal(np.zeros(1, U), 4, 10, values[:, None], 64, Prg(KEY), STREAM, packed)
    got = (entries(packed, 64) + entries(stream_bytes(128), 64)).view(np.int64)
    assert got.tolist() == [round(min(max(v, -(2.0**62)), 2.0**62)) for v in values]


# ---- parties


@pytest.mark.parametrize("lv", [32, 40, 48, 56, 64])
@pytest.mark.parametrize(
    ("s", "t", "P", "index_bits"),
    [
        (6, 15, 6, 15),
        (5, 16, 10, 12),
        (1, 3, 2, 3),
        (3, 61, 8, 6),
        (4, 4, 4, 7),
        (2, 0, 2, 0),
        (3, 20, 6, 10),
        (9, 7, 16, 7),
    ],
)
def test_reading_is_its_definition(variant, lv, s, t, P, index_bits):
    """From tables given and from the stream expanded where it is read, alike."""
    rng = np.random.default_rng(lv + s)
    n = 131
    c = words(rng, n)
    c[50 : 50 + (1 << min(s, 6))] = np.arange(1 << min(s, 6), dtype=U) << U(t)  # every wrap-around
    weights = kernels.stencil_weights(P, 18, index_bits)
    tables = stream_bytes((n << s) * lv // 8)
    T = entries(tables, lv).reshape(n, 1 << s)
    want = []
    for i, x in enumerate(c.tolist()):
        high, rest = (x >> t) % 2**s, x % 2**t
        index = rest >> (t - index_bits) if t >= index_bits else rest << (index_bits - t)
        terms = [int(weights[index, k]) * int(T[i, (high + k - P // 2 + 1) % 2**s]) for k in range(P)]
        want.append(sum(terms) % 2**lv)
    assert kernels.table_eval(c, s, t, weights, lv, tables).tolist() == want
    assert kernels.table_eval(c, s, t, weights, lv, None, Prg(KEY), STREAM).tolist() == want


@pytest.mark.parametrize(("s", "lv"), [(6, 40), (1, 40), (4, 56)])
def test_tiles_are_pieces_of_the_whole(variant, s, lv):
    """A tile that starts at element 7 uses the stream from byte 7 * 2^s * lv / 8 on."""
    rng = np.random.default_rng(s)
    r, coef, row = words(rng, 100), rng.normal(0, 2.0**20, (1 << s, 4)), (lv // 8) << s
    prg, weights = Prg(KEY), kernels.stencil_weights(2, 18, 8)
    whole, tile = np.empty(100 * row, np.uint8), np.empty(93 * row, np.uint8)
    kernels.table_deal(r, s, 15, coef, lv, prg, STREAM, whole)
    kernels.table_deal(r[7:], s, 15, coef, lv, prg, STREAM, tile, 7 * row)
    assert np.array_equal(tile, whole[7 * row :])
    y = kernels.table_eval(r, s, 15, weights, lv, None, prg, STREAM)
    assert np.array_equal(kernels.table_eval(r[7:], s, 15, weights, lv, None, prg, STREAM, 7 * row), y[7:])


def test_interpolated_sigmoid(variant):
    """Dealer and both parties: 64 entries, h = 1/2, P = 6 give the sigmoid of a fixed-point number within 2^-14.5."""
    s, f, fT, g, lv, degree = 6, 16, 20, 18, 40, 9
    t = f - 1

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    left = (np.arange(1 << s) << t) / 2**f - 16
    nodes = (np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)) + 1) / 2
    samples = sigmoid(left[:, None] + nodes * 2.0 ** (t - f)) * 2.0**fT
    coef = np.linalg.solve(np.vander(nodes, increasing=True), samples.T).T
    rng = np.random.default_rng(0)
    x = rng.integers(-14 << f, 14 << f, 5000)
    r = words(rng, x.size)
    c = (x + (16 << f)).astype(U) + r
    correction = np.empty((x.size << s) * lv // 8, np.uint8)
    prg = Prg(KEY)
    kernels.table_deal(r, s, t, coef, lv, prg, STREAM, correction)
    weights = kernels.stencil_weights(6, g, 15)
    y = kernels.table_eval(c, s, t, weights, lv, correction)
    y += kernels.table_eval(c, s, t, weights, lv, None, prg, STREAM)
    y = (y << U(64 - lv)).view(np.int64) >> (64 - lv)
    assert np.abs(y / 2.0 ** (fT + g) - sigmoid(x / 2.0**f)).max() < 2**-14.5


def test_errors_name_the_argument():
    c, weights, prg = np.zeros(4, U), kernels.stencil_weights(6, 18, 4), Prg(KEY)
    with pytest.raises(ValueError, match="lv: expected 32"):
        kernels.table_eval(c, 6, 15, weights, 41, None, prg)
    with pytest.raises(ValueError, match="tables: expected 1280 elements"):
        kernels.table_eval(c, 6, 15, weights, 40, np.zeros(4 * 64 * 5 - 1, np.uint8))
    with pytest.raises(ValueError, match="tables: expected an array, or a prg"):
        kernels.table_eval(c, 6, 15, weights, 40, None)
    with pytest.raises(ValueError, match="points of a stencil"):
        kernels.table_eval(c, 2, 15, weights, 40, None, prg)
    with pytest.raises(ValueError, match="coef"):
        kernels.table_deal(c, 6, 15, np.zeros((32, 3)), 40, prg, 0, np.zeros(4 * 64 * 5, np.uint8))
    with pytest.raises(ValueError, match="finite"):
        kernels.table_deal(c, 6, 15, np.full((64, 3), np.nan), 40, prg, 0, np.zeros(4 * 64 * 5, np.uint8))
    with pytest.raises(ValueError, match="even number"):
        kernels.stencil_weights(5, 18, 4)
