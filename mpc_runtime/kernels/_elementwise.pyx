"""Gates that act on every word by itself, each in one pass over memory: truncation, selection, products, bit to word.

Words are u64 mod 2^64, a ring of l bits being their low l bits: arguments need not be reduced and results are not (but
the narrow words of `trunc_deal` and `select_deal` are). Bits are u8, 0 or 1. Arrays are C-contiguous, of one size and
of any shape; results have the shape of the first, and `out` may be one of the inputs. The letters (c, r, l, f, off,
lo, U_0, U_1, K) are those of the protocols.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

cimport numpy as cnp

from mpc_runtime.kernels._arrays cimport bytes_in, in_range, same_size, words_in, words_out
from mpc_runtime.kernels._prg cimport Prg, mpc_prg_words

from math import prod

import numpy as np

include "level.pxi"

cnp.import_array()

__all__ = [
    "b2a_eval",
    "choose_eval",
    "mul_eval",
    "open_deal",
    "select_deal",
    "select_eval",
    "square_eval",
    "square_sums",
    "trunc_deal",
    "trunc_eval",
]

cdef enum:
    STRIP = 512  # words of each stream at a time: four of them fill half of a first-level cache

cdef extern from "elementwise.h" nogil:
    ctypedef struct mpc_truncation:
        int l
        int f
        int narrow
        int identity
        uint64_t off
        uint64_t off_shifted
    ctypedef struct mpc_squares:
        int party
        int shift
        uint64_t low
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
        void (*choose_eval)(const uint64_t *c, const uint8_t *d, const uint64_t *mask, size_t n, int party,
                            const uint64_t *delta, const uint64_t *w, uint64_t *out) noexcept nogil
        void (*mul_eval)(const uint64_t *xh, const uint64_t *ax, const uint64_t *yh, const uint64_t *ay, size_t n,
                         int party, uint64_t *out) noexcept nogil
        void (*square_eval)(const uint64_t *xh, const uint64_t *ax, size_t n, int party, uint64_t *out) noexcept nogil
        uint64_t (*square_sum)(const uint64_t *xh, const uint64_t *ax, size_t n, const mpc_squares *by) noexcept nogil
        void (*square_add)(const uint64_t *xh, const uint64_t *ax, size_t n, const mpc_squares *by,
                           uint64_t *out) noexcept nogil
        void (*open_deal)(const uint64_t *a, const uint64_t *b, const uint64_t *offset, size_t n, int bits,
                          uint64_t *out) noexcept nogil
        void (*b2a_eval)(const uint8_t *d, const uint64_t *delta, size_t n, int party, uint64_t *out) noexcept nogil
    const mpc_elementwise_kernels *mpc_elementwise()


cdef uint64_t *operand(x, Py_ssize_t n, str name) except? NULL:
    words_in(x, name)
    same_size(x, n, name)
    return words_in(x, name)


cdef uint8_t *bits(x, Py_ssize_t n, str name) except? NULL:
    bytes_in(x, name)
    same_size(x, n, name)
    return bytes_in(x, name)


cdef uint64_t *narrow_operand(x, Py_ssize_t n, int narrow, str name) except? NULL:
    """The narrow part of a truncation's secrets, which is None where it has no bits."""
    if narrow:
        return operand(x, n, name)
    if x is not None:
        raise ValueError(f"{name}: expected None, since lo <= l-f leaves no narrow bits, found an array")
    return NULL


cdef result(out, like):
    if out is None:
        return np.empty(like.shape, np.uint64)
    words_out(out, "out")
    same_size(out, like.size, "out")
    return out


cdef mpc_truncation truncation(int l, int f, off, int lo) except *:
    cdef mpc_truncation by
    in_range(l, 1, 64, "l")
    in_range(f, 0, l - 1, "f")
    in_range(lo, 1, 64, "lo")
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
    in_range(party, 0, 1, "party")
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    cdef uint64_t *narrow_ = narrow_operand(narrow, n, by.narrow, "narrow")
    out = result(out, c)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_elementwise().trunc_eval(c_, n, &by, party, narrow_, out_)
    return out


def trunc_deal(r, int l, int f, int lo, u0=None):
    """The dealer's secrets of a truncation: (U_0, narrow) with narrow = ((U_1 - U_0) mod 2^lo) >> (l-f), or None.

    rho = (r mod 2^(l-1)) >> f, mu = (r mod 2^l) >> (l-1): U_0 = -rho + mu * 2^(l-1-f), U_1 = -rho - mu * 2^(l-1-f).
    narrow has lo-(l-f) bits; None if that is not positive. f = 0 and lo <= l: U_0 = -r. u0: where U_0 goes, if that is
    given.
    """
    cdef mpc_truncation by = truncation(l, f, 0, lo)
    cdef uint64_t *r_ = words_in(r, "r")
    cdef size_t n = r.size
    u0 = result(u0, r)
    narrow = np.empty(r.shape, np.uint64) if by.narrow else None
    cdef uint64_t *u0_ = words_out(u0, "u0")
    cdef uint64_t *narrow_ = words_out(narrow, "narrow") if by.narrow else NULL
    with nogil:
        mpc_elementwise().trunc_deal(r_, n, &by, u0_, narrow_)
    return u0, narrow


def select_eval(c, d, int l, int f, off, int lo, int party, delta, k10, n0, n1, out=None, *, Prg prg=None,
                uint64_t start=0):
    """A party's share of bit * trunc_f(z), less its share of K_00, from the wire c and the public bit d = bit ^ delta.

    A and m as in `trunc_eval`;  d = 0: A * delta + m * (n0 << (l-f));  d = 1: A * ((1 - party) - delta) + k10 + m *
    (n1 << (l-f)). delta, k10, n0, n1: this party's shares of delta as a word and of `select_deal`'s words; n0 and n1
    None where those are. Valid mod 2^lo. With a prg the four are ints instead: its streams from word `start` on,
    expanded a few hundred words at a time and never stored.
    """
    cdef mpc_truncation by = truncation(l, f, off, lo)
    in_range(party, 0, 1, "party")
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    cdef uint8_t *d_ = bits(d, n, "d")
    out = result(out, c)
    cdef uint64_t *out_ = words_out(out, "out")
    cdef uint64_t *delta_
    cdef uint64_t *k10_
    cdef uint64_t *n0_
    cdef uint64_t *n1_
    if prg is not None:
        select_streams(c_, d_, n, &by, party, prg, delta, k10, n0 if by.narrow else 0, n1 if by.narrow else 0, start,
                       out_)
        return out
    delta_, k10_ = operand(delta, n, "delta"), operand(k10, n, "k10")
    n0_, n1_ = narrow_operand(n0, n, by.narrow, "n0"), narrow_operand(n1, n, by.narrow, "n1")
    with nogil:
        mpc_elementwise().select_eval(c_, d_, n, &by, party, delta_, k10_, n0_, n1_, out_)
    return out


cdef int select_streams(const uint64_t *c, const uint8_t *d, size_t n, const mpc_truncation *by, int party, Prg prg,
                        uint64_t delta, uint64_t k10, uint64_t n0, uint64_t n1, uint64_t start,
                        uint64_t *out) except -1:
    cdef uint64_t[4][STRIP] words
    cdef uint64_t[4] streams = [delta, k10, n0, n1]
    cdef size_t i = 0, count, slot, used = 4 if by.narrow else 2
    for slot in range(used):
        prg.used(streams[slot], start, n, 8)
    with nogil:
        while i < n:
            count = min(<size_t>STRIP, n - i)
            for slot in range(used):
                mpc_prg_words(&prg.state, streams[slot], start + i, count, words[slot])
            mpc_elementwise().select_eval(c + i, d + i, count, by, party, words[0], words[1],
                                          words[2] if by.narrow else NULL, words[3] if by.narrow else NULL, out + i)
            i += count
    return 0


def select_deal(r, delta, int l, int f, int lo, k00=None):
    """The dealer's secrets of a selection: (K_00, K_10 - K_00, n0, n1), K_0m = delta * U_m, K_1m = (1 - delta) * U_m.

    n0 = ((K_01 - K_00) mod 2^lo) >> (l-f) and n1 = ((K_11 - K_10) mod 2^lo) >> (l-f) have lo-(l-f) bits; None if that
    is not positive. delta: u8 bits; U_m as in `trunc_deal`; k00: where K_00 goes, if that is given.
    """
    cdef mpc_truncation by = truncation(l, f, 0, lo)
    cdef uint64_t *r_ = words_in(r, "r")
    cdef size_t n = r.size
    cdef uint8_t *delta_ = bits(delta, n, "delta")
    k00, k10 = result(k00, r), np.empty(r.shape, np.uint64)
    n0, n1 = (np.empty(r.shape, np.uint64), np.empty(r.shape, np.uint64)) if by.narrow else (None, None)
    cdef uint64_t *k00_ = words_out(k00, "k00")
    cdef uint64_t *k10_ = words_out(k10, "k10")
    cdef uint64_t *n0_ = words_out(n0, "n0") if by.narrow else NULL
    cdef uint64_t *n1_ = words_out(n1, "n1") if by.narrow else NULL
    with nogil:
        mpc_elementwise().select_deal(r_, delta_, n, &by, k00_, k10_, n0_, n1_)
    return k00, k10, n0, n1


def choose_eval(c, d, mask, int party, delta, w, out=None):
    """A party's share of bit * x, from the wire c of x and the public bit d = bit ^ delta.

    With q = c * delta - w:  d = 0: q;  d = 1: (party 0: c) - mask - q. mask, delta, w: this party's shares of x's mask,
    of delta as a word, and of the product of both.
    """
    in_range(party, 0, 1, "party")
    cdef uint64_t *c_ = words_in(c, "c")
    cdef size_t n = c.size
    cdef uint8_t *d_ = bits(d, n, "d")
    cdef uint64_t *mask_ = operand(mask, n, "mask")
    cdef uint64_t *delta_ = operand(delta, n, "delta")
    cdef uint64_t *w_ = operand(w, n, "w")
    out = result(out, c)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_elementwise().choose_eval(c_, d_, mask_, n, party, delta_, w_, out_)
    return out


def mul_eval(xh, ax, yh, ay, int party, out=None):
    """A party's share of x * y - (x's mask * y's mask): xh * v - ax * yh, v = (party 0: yh) - ay.

    xh, yh: the wires; ax, ay: this party's shares of their masks.
    """
    in_range(party, 0, 1, "party")
    cdef uint64_t *xh_ = words_in(xh, "xh")
    cdef size_t n = xh.size
    cdef uint64_t *ax_ = operand(ax, n, "ax")
    cdef uint64_t *yh_ = operand(yh, n, "yh")
    cdef uint64_t *ay_ = operand(ay, n, "ay")
    out = result(out, xh)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_elementwise().mul_eval(xh_, ax_, yh_, ay_, n, party, out_)
    return out


def square_eval(xh, ax, int party, out=None):
    """A party's share of x^2 - (x's mask)^2: (party 0: xh^2) - 2 * xh * ax."""
    in_range(party, 0, 1, "party")
    cdef uint64_t *xh_ = words_in(xh, "xh")
    cdef size_t n = xh.size
    cdef uint64_t *ax_ = operand(ax, n, "ax")
    out = result(out, xh)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_elementwise().square_eval(xh_, ax_, n, party, out_)
    return out


cdef enum:
    DEALER = 2  # what `square_sums` takes for `party`, besides 0 and 1


def square_sums(xh, ax, shape, int party, int bits=64, int shift=0, Prg prg=None, uint64_t pad=0):
    """Shares of sums of squares of x >> shift along the middle axis of shape (outer, n, inner), less the offset.

    x = xh - (the parties' shares of its mask) mod 2^bits; each word of the three is shifted by itself, which makes what
    is squared up to two larger, or one smaller. ax: this party's share of the mask, or None: the words of prg's stream
    `pad`. party 2: the offset, which the dealer knows: xh is the mask, and ax the share of party 1, which a shift of 0
    does not need. The sums are right mod 2^(bits - shift + 1). Result: uint64[outer, inner].
    """
    cdef uint64_t[STRIP] words
    cdef mpc_squares by
    cdef bint streamed = prg is not None
    cdef uint64_t *xh_ = words_in(xh, "xh")
    cdef Py_ssize_t total = xh.size, outer, n, inner
    if len(shape) != 3 or min(shape) < 0 or max(shape) >> 60 or prod(shape) != total:  # of Python, which do not wrap
        raise ValueError(f"shape: expected three sizes of {total} words, found {shape}")
    outer, n, inner = shape
    in_range(party, 0, DEALER, "party")
    in_range(bits, 1, 64, "bits")
    in_range(shift, 0, bits - 1, "shift")
    by.party, by.shift, by.low = party, shift, 0xFFFFFFFFFFFFFFFF >> (64 - bits)
    cdef uint64_t *ax_ = NULL
    if ax is not None:
        ax_ = operand(ax, total, "ax")
    elif prg is not None:
        prg.used(pad, 0, total, 8)
    elif party != DEALER or shift:
        raise ValueError("ax: expected an array, or a stream of prg")
    memset(words, 0, sizeof(words))
    out = np.zeros((outer, inner), np.uint64)
    cdef uint64_t *out_ = words_out(out, "out")
    cdef uint64_t *share
    cdef Py_ssize_t line = n if inner == 1 else inner  # of words of which all, or none, go into one sum
    cdef Py_ssize_t start = 0, at, first = 0, end = 0, count
    with nogil:
        while start < total:  # words [start, start + count) of one line, and of one strip of the stream
            at = start % line
            count = min(line - at, total - start)
            if ax_ != NULL:
                share = ax_ + start
            else:
                if start >= end:
                    first, end = start, min(start + STRIP, total)
                    if streamed:
                        mpc_prg_words(&prg.state, pad, first, end - first, words)
                share = words + (start - first)
                count = min(count, end - start)
            if inner == 1:
                out_[start // line] += mpc_elementwise().square_sum(xh_ + start, share, count, &by)
            else:
                mpc_elementwise().square_add(xh_ + start, share, count, &by, out_ + start // (n * inner) * inner + at)
            start += count
    return out


def open_deal(Prg first, Prg second, uint64_t pad, offset, int bits, out):
    """The mask of an opened value: both parties' streams `pad`, added up, less an offset (or None), mod 2^bits."""
    cdef uint64_t[2][STRIP] words
    in_range(bits, 1, 64, "bits")
    cdef uint64_t *out_ = words_out(out, "out")
    cdef size_t i = 0, count, n = out.size
    cdef uint64_t *offset_ = NULL if offset is None else operand(offset, n, "offset")
    first.used(pad, 0, n, 8)
    second.used(pad, 0, n, 8)
    with nogil:
        while i < n:
            count = min(<size_t>STRIP, n - i)
            mpc_prg_words(&first.state, pad, i, count, words[0])
            mpc_prg_words(&second.state, pad, i, count, words[1])
            mpc_elementwise().open_deal(words[0], words[1], NULL if offset_ == NULL else offset_ + i, count, bits,
                                        out_ + i)
            i += count
    return out


def b2a_eval(d, delta, int party, out=None):
    """A party's additive share of the bit d ^ delta: (party 0: d) + (1 - 2d) * delta, from its share of delta."""
    in_range(party, 0, 1, "party")
    cdef uint8_t *d_ = bytes_in(d, "d")
    cdef size_t n = d.size
    cdef uint64_t *delta_ = operand(delta, n, "delta")
    out = result(out, d)
    cdef uint64_t *out_ = words_out(out, "out")
    with nogil:
        mpc_elementwise().b2a_eval(d_, delta_, n, party, out_)
    return out
