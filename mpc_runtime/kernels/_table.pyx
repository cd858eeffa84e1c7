"""Shifted sample tables: a smooth function of a wire, by public interpolation weights on secret samples.

A table has 2^s entries of lv bits (32, 40, 48, 56 or 64), packed to bytes, little-endian: entry j of element i is at
byte (i * 2^s + j) * lv / 8, in the tables and in the stream that masks them. The wire counts mod 2^(s+t): its top s
bits choose the entry, its low t bits the point between two entries. Which function, domain and scale is the caller's
business.
"""

from functools import lru_cache
from itertools import accumulate
from operator import mul

from libc.stdint cimport int64_t, uint8_t, uint64_t

cimport numpy as cnp

from mpc_runtime.kernels._arrays cimport bytes_in, bytes_out, in_range, same_size, words_in, words_out
from mpc_runtime.kernels._prg cimport Prg, mpc_prg

import numpy as np

include "level.pxi"

cnp.import_array()

__all__ = ["stencil_weights", "table_deal", "table_eval"]

cdef extern from "table.h" nogil:
    ctypedef struct mpc_table_shape:
        int s
        int t
        int bytes
    ctypedef struct mpc_stencils:
        const int64_t *rows
        int index_bits
        int points
    ctypedef struct mpc_table_kernels:
        int (*deal)(const uint64_t *r, size_t n, const mpc_table_shape *shape, const double *coef, int degree,
                    const mpc_prg *prg, uint64_t stream, uint64_t offset, uint8_t *out) noexcept nogil
        int (*eval)(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                    const uint8_t *tables, const mpc_prg *prg, uint64_t stream, uint64_t offset,
                    uint64_t *out) noexcept nogil
    const mpc_table_kernels *mpc_table()

MAX_TABLE_BITS = 16
MAX_POINTS = 16
MAX_INDEX_BITS = 20


@lru_cache(maxsize=64)
def stencil_weights(P, g, index_bits):
    """Lagrange weights i64[2^index_bits, P] of nodes -P/2+1 .. P/2 at the centres of 2^index_bits bins of [0, 1).

    Exact integers: scale 2^g, rounded half up, the residue put on node 0 so that every row sums to 2^g. Two machines
    must agree to the last bit, since a difference multiplies a uniformly random share. Read-only, cached.
    """
    in_range(P, 2, MAX_POINTS, "P")
    in_range(g, 1, 40, "g")
    in_range(index_bits, 0, MAX_INDEX_BITS, "index_bits")
    if P % 2:
        raise ValueError(f"P: expected an even number of points, found {P}")
    # z = c / one is the centre; numerator and denominator of prod_{j != i} (z - j) / (i - j), times one^(P-1)
    one = 2 << index_bits
    nodes = range(-P // 2 + 1, P // 2 + 1)
    factors = [np.arange(1, one, 2).astype(object) - j * one for j in nodes]
    before = list(accumulate(factors, mul, initial=1))
    after = list(accumulate(reversed(factors), mul, initial=1))
    weights = np.empty((1 << index_bits, P), np.int64)
    for k, i in enumerate(nodes):
        bottom = one ** (P - 1)
        for j in nodes:
            bottom *= i - j if j != i else 1
        top = before[k] * after[P - 1 - k] * (1 if bottom > 0 else -1)
        weights[:, k] = (top * (2 << g) + abs(bottom)) // (2 * abs(bottom))
    weights[:, P // 2 - 1] += (1 << g) - weights.sum(axis=1)
    weights.flags.writeable = False
    return weights


cdef mpc_table_shape table_shape(int s, int t, int lv) except *:
    cdef mpc_table_shape shape
    in_range(s, 1, MAX_TABLE_BITS, "s")
    in_range(t, 0, 63, "t")
    in_range(s + t, 1, 64, "s + t")
    if lv not in (32, 40, 48, 56, 64):
        raise ValueError(f"lv: expected 32, 40, 48, 56 or 64, found {lv}")
    shape.s, shape.t, shape.bytes = s, t, lv // 8
    return shape


def table_deal(r, int s, int t, coef, int lv, Prg prg not None, uint64_t stream, out_packed, uint64_t offset=0):
    """The dealer's correction: entry j of element i is round(G((j * 2^t - r_i) mod 2^(s+t))) - stream, in lv bits.

    r: u64[n]. coef: f64[2^s, degree + 1]; at i * 2^t + delta * 2^t, 0 <= delta < 1, G is the polynomial of row i in
    delta, lowest power first, already scaled. Values beyond +-2^62 are clipped. out_packed: u8[n * 2^s * lv/8],
    written. offset: the byte of the stream that masks its first one.
    """
    cdef mpc_table_shape shape = table_shape(s, t, lv)
    cdef uint64_t *r_ = words_in(r, "r")
    if not isinstance(coef, np.ndarray) or coef.ndim != 2 or coef.shape[0] != 1 << s or coef.shape[1] < 1:
        found = getattr(coef, "shape", type(coef).__name__)
        raise ValueError(f"coef: expected {1 << s} rows of coefficients, found {found}")
    by_power = np.ascontiguousarray(coef.T, np.float64)
    if not np.isfinite(by_power).all():
        raise ValueError("coef: expected finite coefficients, found an infinity or NaN")
    cdef size_t n = r.size
    cdef uint8_t *out_ = bytes_out(out_packed, "out_packed")
    same_size(out_packed, (n << s) * shape.bytes, "out_packed")
    cdef const double *coef_ = <const double *>cnp.PyArray_DATA(by_power)
    cdef int degree = by_power.shape[0] - 1
    cdef int failed
    prg.used(stream, offset, (n << s) * shape.bytes, 1)
    with nogil:
        failed = mpc_table().deal(r_, n, &shape, coef_, degree, &prg.state, stream, offset, out_)
    if failed:
        raise MemoryError("table_deal: no memory for a row of the table")


def table_eval(c, int s, int t, weights, int lv, tables, Prg prg=None, uint64_t stream=0,
               uint64_t offset=0, out=None):
    """A party's share of the interpolated function: out = sum_k W[index, k] * T[(cH + k - P/2 + 1) mod 2^s] mod 2^lv.

    c: u64[n], the wire; cH its bits t .. s+t-1, index its low t bits as a number of index_bits bits. weights:
    i64[2^index_bits, P] (`stencil_weights`). tables: this party's share, u8[n * 2^s * lv/8], or None, and the share is
    the stream of prg from byte `offset` on, of which only the blocks that are read are expanded. Returns u64[n].
    """
    cdef mpc_table_shape shape = table_shape(s, t, lv)
    cdef mpc_stencils stencils
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    cdef uint8_t *tables_ = NULL
    cdef mpc_prg *prg_ = NULL
    if not isinstance(weights, np.ndarray) or weights.dtype != np.int64 or not cnp.PyArray_ISCARRAY_RO(weights):
        raise ValueError("weights: expected an aligned C-contiguous array of int64, see stencil_weights")
    if weights.ndim != 2 or weights.shape[0] < 1 or weights.shape[0] & (weights.shape[0] - 1):
        raise ValueError(f"weights: expected 2^index_bits rows, found shape {weights.shape}")
    in_range(weights.shape[1], 1, 1 << s, "points of a stencil")
    if tables is None and prg is None:
        raise ValueError("tables: expected an array, or a prg and its stream instead, found neither")
    stencils.rows = <const int64_t *>cnp.PyArray_DATA(weights)
    stencils.index_bits = weights.shape[0].bit_length() - 1
    stencils.points = weights.shape[1]
    if tables is not None:
        tables_ = bytes_in(tables, "tables")
        same_size(tables, (n << s) * shape.bytes, "tables")
    else:
        prg_ = &prg.state
        prg.used(stream, offset, (n << s) * shape.bytes, 1)
    if out is None:
        out = np.empty(c.shape, np.uint64)
    cdef uint64_t *out_ = words_out(out, "out")
    same_size(out, n, "out")
    cdef int failed
    with nogil:
        failed = mpc_table().eval(c_, n, &shape, &stencils, tables_, prg_, stream, offset, out_)
    if failed:
        raise MemoryError("table_eval: no memory for a batch of the stream")
    return out
