"""Comparison of a public number with one that the dealer knows, bit-sliced over 512 elements: the one-hot digit tables
(leaves) and the multilinear nodes above them (combine). Opening, masking and packing of the planes are not done here.

Planes: P bits for each of n elements are u64[ceil(n/512), P, 8]; element e, plane p is bit e % 64 of [e // 512, p,
e // 64 % 8]. Bits beyond n are unspecified. Nodes and digits run from low to high; the planes of q nodes are L_0, L_1,
E_1, L_2, E_2, ... for kind "lt" (the lowest node needs no E) and E_0, E_1, ... for kind "eq".
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free
from posix.stdlib cimport posix_memalign

cimport numpy as cnp

from mpc_runtime.kernels._arrays cimport in_range, same_shape, words_in, words_out
from mpc_runtime.kernels._prg cimport Prg, mpc_prg_fill

import numpy as np

include "level.pxi"

cnp.import_array()

__all__ = ["combine_deal", "combine_eval", "combine_planes", "leaf_deal", "leaf_read", "table_planes", "word_bit"]

cdef extern from "compare.h" nogil:
    int MPC_BLOCK
    int MPC_MAX_WIDTH
    int MPC_MAX_FAN_IN
    int MPC_LT
    int MPC_EQ
    ctypedef struct mpc_level_shape:
        int q
        int g
        int kind
        int leaf
        int inputs
        int monomials
        int outputs
    ctypedef struct mpc_compare_kernels:
        void (*leaf_deal)(const uint64_t *r, size_t n, int t, const uint8_t *widths, int q,
                          uint64_t *planes) noexcept nogil
        void (*leaf_read)(const uint64_t *c, size_t n, int t, const uint8_t *widths, int q, const uint64_t *tables,
                          int party, int kind, uint64_t *out) noexcept nogil
        void (*word_bit)(const uint64_t *c, size_t n, int bit, uint64_t *out) noexcept nogil
        void (*combine_deal)(const uint64_t *masks, size_t nb, const mpc_level_shape *shape, uint64_t *monomials,
                             uint64_t *offset, uint64_t *scratch) noexcept nogil
        void (*combine_eval)(const uint64_t *hats, size_t nb, const mpc_level_shape *shape, const uint64_t *monomials,
                             const uint64_t *singles, int party, uint64_t *out, uint64_t *scratch) noexcept nogil
    const mpc_compare_kernels *mpc_compare()
    size_t mpc_combine_scratch(int g)


cdef uint64_t *planes_in(x, tuple shape, str name) except? NULL:
    words_in(x, name)
    same_shape(x, shape, name)
    return words_in(x, name)


cdef planes_out(out, tuple shape):
    if out is None:
        return np.empty(shape, np.uint64)
    words_out(out, "out")
    same_shape(out, shape, "out")
    return out


cdef size_t blocks_of(x, str name) except? 1:
    """nb of an array of planes u64[nb, P, 8]."""
    words_in(x, name)
    if x.ndim != 3:
        raise ValueError(f"{name}: expected planes, uint64[blocks, planes, 8], found shape {x.shape}")
    return x.shape[0]


cdef uint64_t *aligned(size_t words) except NULL:
    cdef void *memory = NULL
    if posix_memalign(&memory, 64, words * sizeof(uint64_t)) != 0:
        raise MemoryError(f"comparison: no memory for {words} words of scratch space")
    return <uint64_t *>memory


cdef size_t first_block(Py_ssize_t start) except? 1:
    if start < 0 or start % MPC_BLOCK:
        raise ValueError(f"start: expected a multiple of {MPC_BLOCK} elements, found {start}")
    return start // MPC_BLOCK


cdef int kind_code(kind) except -1:
    if kind == "lt":
        return MPC_LT
    if kind == "eq":
        return MPC_EQ
    raise ValueError(f"kind: expected 'lt' or 'eq', found {kind!r}")


cdef bytes digit_widths(widths, int t):
    """The widths as bytes, checked; together with t they must fit a word."""
    if not widths:
        raise ValueError("widths: expected at least one digit, found none")
    table_planes(widths)
    in_range(t, 0, 63, "t")
    in_range(t + sum(widths), 1, 64, "t + sum(widths)")
    return bytes(widths)


def table_planes(widths):
    """Planes of the one-hot tables of digits of these widths: sum(2^m - 1), entry 0 of each being implied."""
    for m in widths:
        in_range(m, 1, MPC_MAX_WIDTH, "width of a digit")
    return sum((1 << m) - 1 for m in widths)


def word_bit(c, int bit):
    """Bit `bit` of every element of c u64[n], as planes u64[nb, 1, 8]."""
    in_range(bit, 0, 63, "bit")
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    out = np.empty(((n + 511) // 512, 1, 8), np.uint64)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_compare().word_bit(c_, n, bit, out_)
    return out


def leaf_deal(r, int t, widths, out=None):
    """The dealer's tables: planes u64[nb, T, 8] of [digit_j(r >> t) == v], digit after digit, v = 1 .. 2^width - 1.

    r: u64[n]; T = table_planes(widths).
    """
    cdef bytes digits = digit_widths(widths, t)
    cdef const uint8_t *digits_ = <const uint8_t *><const char *>digits
    cdef int q = len(digits)
    cdef uint64_t *r_ = words_in(r, "r")
    cdef size_t n = r.size
    out = planes_out(out, ((n + 511) // 512, table_planes(widths), 8))
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_compare().leaf_deal(r_, n, t, digits_, q, out_)
    return out


def leaf_read(c, int t, widths, tables, int party, kind="lt", out=None, *, Prg prg=None, uint64_t stream=0,
              Py_ssize_t start=0):
    """This party's XOR shares of lt_j = [c_j < r_j] and eq_j = [c_j == r_j], c_j the digits of c >> t.

    c: u64[n], public; tables: this party's XOR share of `leaf_deal`'s planes. Returns planes u64[nb, 2q-1 or q, 8].
    tables = None: the share is the stream of prg, expanded block by block and never stored; start is the number of the
    first element, a multiple of 512.
    """
    in_range(party, 0, 1, "party")
    cdef bytes digits = digit_widths(widths, t)
    cdef const uint8_t *digits_ = <const uint8_t *><const char *>digits
    cdef int q = len(digits)
    cdef int code = kind_code(kind)
    cdef size_t planes = 2 * q - 1 if code == MPC_LT else q
    cdef size_t table = table_planes(widths)
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    cdef size_t nb = (n + MPC_BLOCK - 1) // MPC_BLOCK
    out = planes_out(out, (nb, planes, 8))
    cdef uint64_t *out_ = words_out(out, "out")
    cdef uint64_t *tables_
    cdef size_t b, first
    if tables is not None:
        tables_ = planes_in(tables, (nb, table, 8), "tables")
        with nogil:
            mpc_compare().leaf_read(c_, n, t, digits_, q, tables_, party, code, out_)
        return out
    if prg is None:
        raise ValueError("tables: expected planes, or a prg and its stream instead, found neither")
    first = first_block(start)
    prg.used(stream, first, nb, table * 64)
    tables_ = aligned(8 * table)
    with nogil:
        for b in range(nb):
            mpc_prg_fill(&prg.state, stream, (first + b) * table * 64, tables_, table * 64)
            mpc_compare().leaf_read(c_ + MPC_BLOCK * b, min(<size_t>MPC_BLOCK, n - MPC_BLOCK * b), t, digits_, q,
                                    tables_, party, code, out_ + 8 * planes * b)
        free(tables_)
    return out


cdef mpc_level_shape level_shape(int q, int g, kind, leaf) except *:
    cdef mpc_level_shape shape
    cdef int first, s
    in_range(q, 1, 64, "q")
    in_range(g, 2, MPC_MAX_FAN_IN, "g")
    shape.q, shape.g, shape.kind, shape.leaf = q, g, kind_code(kind), bool(leaf)
    shape.inputs = 2 * q - 1 if shape.kind == MPC_LT else q
    shape.monomials = shape.outputs = 0
    for first in range(0, q, g):
        s = min(g, q - first)
        want_l, want_e = shape.kind == MPC_LT, shape.kind == MPC_EQ or first > 0
        shape.outputs += want_l + want_e
        if s == 1:
            continue
        shape.monomials += (1 << (s - 1)) - 1 - (s - 1) * shape.leaf
        if want_l:
            shape.monomials += (1 << s) - 2 - (s - 1) * (1 + shape.leaf)
        if want_e:
            shape.monomials += (1 << (s - 1)) - 1 - shape.leaf
    return shape


def combine_planes(int q, int g, kind="lt", leaf=True):
    """Planes (inputs, monomials, outputs) of one tree level: q nodes, low to high, in groups of at most g.

    leaf: the nodes' masks are free, so their shares (`singles`) exist; above the leaves they are among the monomials.
    """
    cdef mpc_level_shape shape = level_shape(q, g, kind, leaf)
    return shape.inputs, shape.monomials, shape.outputs


def combine_deal(masks, int q, int g, kind="lt", leaf=True):
    """The dealer's side of one tree level: (monomials planes[nb, M, 8], offset planes[nb, P_out, 8]).

    masks: planes[nb, P_in, 8] of the nodes' masks. The monomials are to be XOR-shared between the parties; offset is
    the XOR of the absorbed ones: the shares that combine_eval returns XOR to value ^ offset. A group of one node
    passes through with its mask as the offset.
    """
    cdef mpc_level_shape shape = level_shape(q, g, kind, leaf)
    cdef size_t nb = blocks_of(masks, "masks")
    cdef uint64_t *masks_ = planes_in(masks, (nb, shape.inputs, 8), "masks")
    monomials = np.empty((nb, shape.monomials, 8), np.uint64)
    offset = np.empty((nb, shape.outputs, 8), np.uint64)
    cdef uint64_t *monomials_ = words_out(monomials, "monomials")
    cdef uint64_t *offset_ = words_out(offset, "offset")
    cdef uint64_t *scratch_ = aligned(mpc_combine_scratch(g))
    with nogil:
        mpc_compare().combine_deal(masks_, nb, &shape, monomials_, offset_, scratch_)
        free(scratch_)
    return monomials, offset


def combine_eval(hats, int q, int g, kind, leaf, monomials, singles, int party, out=None, *, Prg prg=None,
                 uint64_t stream=0, Py_ssize_t start=0):
    """A party's side of one tree level: its XOR share of the outputs, planes[nb, P_out, 8] (value ^ offset).

    hats: planes[nb, P_in, 8], public; monomials: its share of `combine_deal`'s (None if there are none); singles: on a
    leaf level its shares of the masks, planes[nb, P_in, 8], else None. Party 0 adds the public terms. monomials = None
    with a prg: the share is that stream, as for `leaf_read`.
    """
    cdef mpc_level_shape shape = level_shape(q, g, kind, leaf)
    in_range(party, 0, 1, "party")
    cdef size_t nb = blocks_of(hats, "hats")
    cdef uint64_t *hats_ = planes_in(hats, (nb, shape.inputs, 8), "hats")
    cdef uint64_t *singles_ = planes_in(singles, (nb, shape.inputs, 8), "singles") if shape.leaf else NULL
    if singles is not None and not shape.leaf:
        raise ValueError("singles: expected None above the leaves, where they are among the monomials, found an array")
    out = planes_out(out, (nb, shape.outputs, 8))
    cdef uint64_t *out_ = words_out(out, "out")
    cdef uint64_t *scratch_
    cdef uint64_t *monomials_ = NULL
    cdef size_t b, first, size = 64 * shape.monomials
    if monomials is None and size and prg is None:
        raise ValueError("monomials: expected planes, or a prg and its stream instead, found neither")
    if monomials is not None or size == 0:
        if size:
            monomials_ = planes_in(monomials, (nb, shape.monomials, 8), "monomials")
        scratch_ = aligned(mpc_combine_scratch(g))
        with nogil:
            mpc_compare().combine_eval(hats_, nb, &shape, monomials_, singles_, party, out_, scratch_)
            free(scratch_)
        return out
    first = first_block(start)
    prg.used(stream, first, nb, size)
    scratch_ = aligned(mpc_combine_scratch(g) + 8 * shape.monomials)
    monomials_ = scratch_ + mpc_combine_scratch(g)
    with nogil:
        for b in range(nb):
            mpc_prg_fill(&prg.state, stream, (first + b) * size, monomials_, size)
            mpc_compare().combine_eval(hats_ + 8 * shape.inputs * b, 1, &shape, monomials_,
                                       singles_ + 8 * shape.inputs * b if shape.leaf else NULL, party,
                                       out_ + 8 * shape.outputs * b, scratch_)
        free(scratch_)
    return out
