"""Streams of pseudorandom bytes: AES-128-CTR with random access. What a stream is used for, and that it is used once,
is the caller's business; the ciphers are in src/aes*.c, fused packing in `_pack`."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from mpc_runtime.kernels._arrays cimport same_size, words_in, words_out
from mpc_runtime.kernels._cpu cimport mpc_features, mpc_level, mpc_level_available, mpc_set_level

import numpy as np

cnp.import_array()

__all__ = ["Prg", "prg_implementations"]

cdef uint64_t END = 0xFFFFFFFFFFFFFFFF


def _level():
    return mpc_level()


def _level_available(int level):
    return bool(mpc_level_available(level))


def _set_level(int level):
    if mpc_set_level(level) != 0:
        raise ValueError(f"this machine cannot run kernel level {level}")


def prg_implementations():
    """Names of the AES implementations that the kernel variant in use allows here, best first; see `Prg`."""
    cdef const mpc_aes_impl *found[MPC_AES_IMPLEMENTATIONS]
    cdef size_t n = mpc_aes_implementations(mpc_features(), found)
    return [found[i].name.decode() for i in range(n)]


cdef class Prg:
    """The streams under one 128-bit key: AES-128 in counter mode (NIST SP 800-38A).

    A stream is an int below 2^64, the upper half of the IV; the lower half is the block number, both big-endian. Byte p
    of a stream is byte p of that keystream, and its word i is bytes [8 i, 8 i + 8), little-endian. `implementation` is
    one of `prg_implementations()`, the best one unless given; all write the same bytes. Both are fixed for the object's
    life, and the key is wiped at its end.

    ledger: is told of bytes [first, last) of a stream before they are expanded, here or in a kernel that takes the Prg,
    by `ledger.use(stream, first, last)`; what that raises stops the expansion.
    """

    def __cinit__(self, key16, *, implementation=None, ledger=None):
        cdef const uint8_t[::1] secret = key16
        if secret.shape[0] != 16:
            raise ValueError(f"key16: expected 16 bytes, found {secret.shape[0]}")
        cdef const mpc_aes_impl *found[MPC_AES_IMPLEMENTATIONS]
        cdef size_t i, n = mpc_aes_implementations(mpc_features(), found)
        self.state.aes = NULL
        for i in range(n):
            if implementation is None or found[i].name == implementation.encode():
                self.state.aes = found[i]
                break
        if self.state.aes == NULL:
            raise ValueError(f"implementation: expected one of {prg_implementations()}, found {implementation!r}")
        mpc_aes_expand_key(&self.state.key, &secret[0])
        self.ledger = ledger

    def __dealloc__(self):
        memset(&self.state, 0, sizeof(self.state))

    @property
    def implementation(self):
        """Name of the AES implementation in use."""
        return self.state.aes.name.decode()

    def fill(self, uint64_t stream, out, uint64_t offset=0):
        """Write bytes [offset, offset + out.nbytes) of a stream over `out`.

        `out` is a writable C-contiguous array of numbers, of any type and shape; `offset` is a multiple of 8.
        """
        if offset % 8:
            raise ValueError(f"offset: expected a multiple of 8 bytes, found {offset}")
        if not (cnp.PyArray_Check(out) and cnp.PyArray_ISCARRAY(out) and not out.dtype.hasobject):
            raise ValueError(f"out: expected a writable C-contiguous array of numbers, found {type(out).__name__} "
                             f"{getattr(out, 'dtype', '')} {getattr(out, 'shape', '')}")
        cdef void *to = cnp.PyArray_DATA(out)
        cdef size_t size = cnp.PyArray_NBYTES(out)
        self.used(stream, offset, size, 1)
        with nogil:
            mpc_prg_fill(&self.state, stream, offset, to, size)

    def words(self, uint64_t stream, Py_ssize_t n, uint64_t start=0):
        """Words [start, start + n) of a stream: uint64[n]."""
        out = _empty_words(n)
        cdef uint64_t *to = <uint64_t *> cnp.PyArray_DATA(out)
        self.used(stream, start, n, 8)
        with nogil:
            mpc_prg_words(&self.state, stream, start, n, to)
        return out

    def add_words(self, uint64_t stream, x, out=None, uint64_t start=0, bint twice=False):
        """out = x + words(stream, x.size, start), in one pass; `out` may be `x`. Any shape; uint64 mod 2^64.

        twice: 2x for x.
        """
        cdef uint64_t *a = words_in(x, "x")
        if out is None:
            out = np.empty_like(x)
        cdef uint64_t *to = words_out(out, "out")
        cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
        same_size(out, n, "out")
        self.used(stream, start, n, 8)
        with nogil:
            mpc_prg_add(&self.state, stream, start, a, n, to, twice)
        return out

    def sub_words(self, uint64_t stream, x, out=None, uint64_t start=0, bint twice=False):
        """out = x - words(stream, x.size, start), in one pass; `out` may be `x`. Any shape; uint64 mod 2^64.

        twice: 2x for x.
        """
        cdef uint64_t *a = words_in(x, "x")
        if out is None:
            out = np.empty_like(x)
        cdef uint64_t *to = words_out(out, "out")
        cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
        same_size(out, n, "out")
        self.used(stream, start, n, 8)
        with nogil:
            mpc_prg_sub(&self.state, stream, start, a, n, to, twice)
        return out

    def blocks(self, uint64_t stream, numbers):
        """Scattered 16-byte blocks of a stream: uint64[n] block numbers to uint8[n, 16]."""
        cdef uint64_t *which = words_in(numbers, "numbers")
        cdef Py_ssize_t n = cnp.PyArray_SIZE(numbers)
        out = np.empty((n, 16), np.uint8)
        cdef void *to = cnp.PyArray_DATA(out)
        cdef Py_ssize_t i
        for i in range(n if self.ledger is not None else 0):
            first = 16 * <object> which[i]  # may be beyond 2^64 bytes: the number of a block has 64 bits
            self.ledger.use(stream, first, first + 16)
        with nogil:
            mpc_prg_gather(&self.state, stream, which, n, to)
        return out

    cdef int used(self, uint64_t stream, uint64_t start, uint64_t count, uint64_t unit) except -1:
        """Tells the ledger, if there is one, of what is about to be expanded: `count` units of `unit` bytes from number
        `start` on. Raises ValueError where they are not all in the stream, as far as 64 bits count its bytes."""
        if unit and (start > END // unit or count > END // unit - start):
            raise ValueError(f"stream: expected a place within {END} bytes, found {count} units of {unit} bytes "
                             f"from number {start} on")
        if self.ledger is not None:
            self.ledger.use(stream, start * unit, (start + count) * unit)
        return 0

    def _bare(self, size_t n):
        """The cipher alone on `n` blocks in registers: the yardstick of the benchmark."""
        cdef uint64_t sum
        with nogil:
            sum = self.state.aes.bare(&self.state.key, n)
        return sum


cdef object _empty_words(Py_ssize_t n):
    if n < 0:
        raise ValueError(f"n: expected a number of words, found {n}")
    cdef cnp.npy_intp shape = n
    return cnp.PyArray_EMPTY(1, &shape, cnp.NPY_UINT64, 0)
