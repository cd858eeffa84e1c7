"""Gates that act on every word by itself, each in one pass over memory: truncation, selection, products, bit to word.

Words are u64 mod 2^64, a ring of l bits being their low l bits: arguments need not be reduced and results are not (but the
narrow words of `trunc_deal` and `select_deal` are). Bits are u8, 0 or 1. Arrays are C-contiguous and of one shape; `out` may
be one of the inputs. The letters (c, r, l, f, off, lo, U_0, U_1, K) are those of the protocols.
"""

from libc.stdint cimport uint8_t, uint64_t

cimport numpy as cnp

import numpy as np

from mpc_runtime.kernels.checks import array, between

include "level.pxi"

cnp.import_array()

__all__ = ["b2a_eval", "mul_eval", "select_deal", "select_eval", "square_eval", "trunc_deal", "trunc_eval"]

cdef extern from "elementwise.h" nogil:
    ctypedef struct mpc_truncation:
        int l
        int f
        int narrow
        int identity
        uint64_t off
        uint64_t off_shifted
    ctypedef struct mpc_elementwise_kernels:
        void (*trunc_eval)(const uint64_t *c, size_t n, const mpc_truncation *by, int party, const uint64_t *narrow,
                           uint64_t *out) noexcept nogil
        void (*trunc_deal)(const uint64_t *r, size_t n, const mpc_truncation *by, uint64_t *u0,
                           uint64_t *narrow) noexcept nogil
        void (*select_eval)(const uint64_t *c, const uint8_t *d, size_t n, const mpc_truncation *by, int party,
                            const uint64_t *delta, const uint64_t *k10, const uint64_t *n0, const uint64_t *n1,
                            uint64_t *out) noexcept nogil
        void (*select_deal)(const uint64_t *r, const uint8_t *delta, size_t n, const mpc_truncation *by, uint64_t *k00,
                            uint64_t *k10, uint64_t *n0, uint64_t *n1) noexcept nogil
        void (*mul_eval)(const uint64_t *xh, const uint64_t *ax, const uint64_t *yh, const uint64_t *ay, size_t n,
                         int party, uint64_t *out) noexcept nogil
        void (*square_eval)(const uint64_t *xh, const uint64_t *ax, size_t n, int party, uint64_t *out) noexcept nogil
        void (*b2a_eval)(const uint8_t *d, const uint64_t *delta, size_t n, int party, uint64_t *out) noexcept nogil
    const mpc_elementwise_kernels *mpc_elementwise()


cdef inline uint64_t *words(x):
    return NULL if x is None else <uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>x)


cdef inline uint8_t *bits(x):
    return <uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>x)


cdef result(out, shape):
    return np.empty(shape, np.uint64) if out is None else array("out", out, shape, writable=True)


cdef mpc_truncation truncation(int l, int f, off, int lo) except *:
    cdef mpc_truncation by
    between("l", l, 1, 64)
    between("f", f, 0, l - 1)
    between("lo", lo, 1, 64)
    by.l, by.f = l, f
    by.narrow = max(0, lo - (l - f))
    by.identity = f == 0 and by.narrow == 0
    by.off = off & 0xFFFFFFFFFFFFFFFF
    by.off_shifted = (off >> f) & 0xFFFFFFFFFFFFFFFF
    return by


def trunc_eval(c, int l, int f, off, int lo, int party, narrow, out=None):
    """A party's share of floor(z / 2^f) + u, less its share of U_0, from the wire c = z + r mod 2^l.

    With c+ = c + off mod 2^l and m = c+ >> (l-1): (party 0: A) + m * (narrow << (l-f)), where
    A = ((c+ mod 2^(l-1)) >> f) + m * 2^(l-1-f) - (off >> f). narrow: this party's share from `trunc_deal`, None where
    that is None (lo <= l-f). f = 0 and lo <= l: A = c. off is an int, a multiple of 2^f. Result valid mod 2^lo.
    """
    cdef mpc_truncation by = truncation(l, f, off, lo)
    array("c", c)
    between("party", party, 0, 1)
    check_narrow("narrow", narrow, c.shape, by.narrow)
    out = result(out, c.shape)
    cdef size_t n = c.size
    cdef uint64_t *c_ = words(c)
    cdef uint64_t *narrow_ = words(narrow)
    cdef uint64_t *out_ = words(out)
    with nogil:
        mpc_elementwise().trunc_eval(c_, n, &by, party, narrow_, out_)
    return out


cdef check_narrow(name, x, shape, int narrow):
    if narrow:
        array(name, x, shape)
    elif x is not None:
        raise ValueError(f"{name}: expected None, since lo <= l-f leaves no narrow bits, found an array")


def trunc_deal(r, int l, int f, int lo):
    """The dealer's secrets of a truncation: (U_0, narrow) with narrow = ((U_1 - U_0) mod 2^lo) >> (l-f), or None.

    rho = (r mod 2^(l-1)) >> f, mu = (r mod 2^l) >> (l-1): U_0 = -rho + mu * 2^(l-1-f), U_1 = -rho - mu * 2^(l-1-f).
    narrow has lo-(l-f) bits; None if that is not positive. f = 0 and lo <= l: U_0 = -r.
    """
    cdef mpc_truncation by = truncation(l, f, 0, lo)
    array("r", r)
    u0 = np.empty(r.shape, np.uint64)
    narrow = np.empty(r.shape, np.uint64) if by.narrow else None
    cdef size_t n = r.size
    cdef uint64_t *r_ = words(r)
    cdef uint64_t *u0_ = words(u0)
    cdef uint64_t *narrow_ = words(narrow)
    with nogil:
        mpc_elementwise().trunc_deal(r_, n, &by, u0_, narrow_)
    return u0, narrow


def select_eval(c, d, int l, int f, off, int lo, int party, delta, k10, n0, n1, out=None):
    """A party's share of bit * trunc_f(z), less its share of K_00, from the wire c and the public bit d = bit ^ delta.

    A and m as in `trunc_eval`;  d = 0: A * delta + m * (n0 << (l-f));  d = 1: A * ((1 - party) - delta) + k10 +
    m * (n1 << (l-f)). delta, k10, n0, n1: this party's shares of delta as a word and of `select_deal`'s words; n0 and n1
    None where those are. Valid mod 2^lo.
    """
    cdef mpc_truncation by = truncation(l, f, off, lo)
    array("c", c)
    array("d", d, c.shape, np.uint8)
    array("delta", delta, c.shape)
    array("k10", k10, c.shape)
    between("party", party, 0, 1)
    check_narrow("n0", n0, c.shape, by.narrow)
    check_narrow("n1", n1, c.shape, by.narrow)
    out = result(out, c.shape)
    cdef size_t n = c.size
    cdef uint64_t *c_ = words(c)
    cdef uint8_t *d_ = bits(d)
    cdef uint64_t *delta_ = words(delta)
    cdef uint64_t *k10_ = words(k10)
    cdef uint64_t *n0_ = words(n0)
    cdef uint64_t *n1_ = words(n1)
    cdef uint64_t *out_ = words(out)
    with nogil:
        mpc_elementwise().select_eval(c_, d_, n, &by, party, delta_, k10_, n0_, n1_, out_)
    return out


def select_deal(r, delta, int l, int f, int lo):
    """The dealer's secrets of a selection: (K_00, K_10 - K_00, n0, n1), K_0m = delta * U_m, K_1m = (1 - delta) * U_m.

    n0 = ((K_01 - K_00) mod 2^lo) >> (l-f) and n1 = ((K_11 - K_10) mod 2^lo) >> (l-f) have lo-(l-f) bits; None if that is
    not positive. delta: u8 bits; U_m as in `trunc_deal`.
    """
    cdef mpc_truncation by = truncation(l, f, 0, lo)
    array("r", r)
    array("delta", delta, r.shape, np.uint8)
    k00, k10 = np.empty(r.shape, np.uint64), np.empty(r.shape, np.uint64)
    n0, n1 = (np.empty(r.shape, np.uint64), np.empty(r.shape, np.uint64)) if by.narrow else (None, None)
    cdef size_t n = r.size
    cdef uint64_t *r_ = words(r)
    cdef uint8_t *delta_ = bits(delta)
    cdef uint64_t *k00_ = words(k00)
    cdef uint64_t *k10_ = words(k10)
    cdef uint64_t *n0_ = words(n0)
    cdef uint64_t *n1_ = words(n1)
    with nogil:
        mpc_elementwise().select_deal(r_, delta_, n, &by, k00_, k10_, n0_, n1_)
    return k00, k10, n0, n1


def mul_eval(xh, ax, yh, ay, int party, out=None):
    """A party's share of x * y - (x's mask * y's mask): xh * v - ax * yh, v = (party 0: yh) - ay.

    xh, yh: the wires; ax, ay: this party's shares of their masks.
    """
    array("xh", xh)
    array("ax", ax, xh.shape)
    array("yh", yh, xh.shape)
    array("ay", ay, xh.shape)
    between("party", party, 0, 1)
    out = result(out, xh.shape)
    cdef size_t n = xh.size
    cdef uint64_t *xh_ = words(xh)
    cdef uint64_t *ax_ = words(ax)
    cdef uint64_t *yh_ = words(yh)
    cdef uint64_t *ay_ = words(ay)
    cdef uint64_t *out_ = words(out)
    with nogil:
        mpc_elementwise().mul_eval(xh_, ax_, yh_, ay_, n, party, out_)
    return out


def square_eval(xh, ax, int party, out=None):
    """A party's share of x^2 - (x's mask)^2: (party 0: xh^2) - 2 * xh * ax."""
    array("xh", xh)
    array("ax", ax, xh.shape)
    between("party", party, 0, 1)
    out = result(out, xh.shape)
    cdef size_t n = xh.size
    cdef uint64_t *xh_ = words(xh)
    cdef uint64_t *ax_ = words(ax)
    cdef uint64_t *out_ = words(out)
    with nogil:
        mpc_elementwise().square_eval(xh_, ax_, n, party, out_)
    return out


def b2a_eval(d, delta, int party, out=None):
    """A party's additive share of the bit d ^ delta: (party 0: d) + (1 - 2d) * delta, with its share of delta as a word."""
    array("d", d, None, np.uint8)
    array("delta", delta, d.shape)
    between("party", party, 0, 1)
    out = result(out, d.shape)
    cdef size_t n = d.size
    cdef uint8_t *d_ = bits(d)
    cdef uint64_t *delta_ = words(delta)
    cdef uint64_t *out_ = words(out)
    with nogil:
        mpc_elementwise().b2a_eval(d_, delta_, n, party, out_)
    return out
