"""Words packed to their bits, and bit planes, as they go over the wire. The formats are defined in src/pack.h; which
bytes belong to which message is left to the caller."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint64_t

from mpc_runtime.kernels._arrays cimport bytes_in, bytes_out, same_size, words_in, words_out
from mpc_runtime.kernels._cpu cimport mpc_features, mpc_level, mpc_level_available, mpc_set_level
from mpc_runtime.kernels._prg cimport Prg, mpc_prg_fill

import numpy as np

cnp.import_array()

__all__ = [
    "bits_to_planes",
    "mask_pack",
    "pack",
    "packed_size",
    "planes_fill",
    "planes_mask_pack",
    "planes_pack",
    "planes_share_pack",
    "planes_size",
    "planes_to_bits",
    "planes_unpack",
    "planes_unpack_xor",
    "share_pack",
    "unpack",
    "unpack_add",
]

cdef const mpc_pack_ops *ops = mpc_pack_table(mpc_features())


def _level():
    return mpc_level()


def _level_available(int level):
    return bool(mpc_level_available(level))


def _set_level(int level):
    global ops
    if mpc_set_level(level) != 0:
        raise ValueError(f"this machine cannot run kernel level {level}")
    ops = mpc_pack_table(mpc_features())


cdef int check_bits(int bits) except -1:
    if not 1 <= bits <= 64:
        raise ValueError(f"bits: expected 1 to 64, found {bits}")
    return 0


# Elements of an array, and planes of an element: their bits are counted in 64 bits
cdef Py_ssize_t MAX_COUNT = 1099511627776
cdef Py_ssize_t MAX_PLANES = 65536


cdef int check_count(Py_ssize_t n, str name) except -1:
    if not 0 <= n <= MAX_COUNT:
        raise ValueError(f"{name}: expected a number of elements, 0 to {MAX_COUNT}, found {n}")
    return 0


cdef int check_planes(Py_ssize_t n, Py_ssize_t P) except -1:
    """P planes of n elements."""
    check_count(n, "n")
    if not 0 <= P <= MAX_PLANES:
        raise ValueError(f"P: expected a number of planes, 0 to {MAX_PLANES}, found {P}")
    return 0


cdef object new_bytes(Py_ssize_t n):
    cdef cnp.npy_intp shape = n
    return cnp.PyArray_EMPTY(1, &shape, cnp.NPY_UINT8, 0)


cdef object new_words(Py_ssize_t n):
    cdef cnp.npy_intp shape = n
    return cnp.PyArray_EMPTY(1, &shape, cnp.NPY_UINT64, 0)


cdef object new_planes(Py_ssize_t n, Py_ssize_t P):
    cdef cnp.npy_intp shape[3]
    shape[0] = (n + 511) // 512
    shape[1] = P
    shape[2] = 8
    return cnp.PyArray_EMPTY(3, shape, cnp.NPY_UINT64, 0)


cdef object as_bytes(object buf, Py_ssize_t size):
    """`buf`, any readable buffer, as a uint8 array of at least `size` bytes."""
    if not (cnp.PyArray_Check(buf) and cnp.PyArray_TYPE(buf) == cnp.NPY_UINT8):
        buf = np.frombuffer(buf, np.uint8)
    bytes_in(buf, "buf")
    if cnp.PyArray_SIZE(buf) < size:
        raise ValueError(f"buf: expected {size} bytes, found {cnp.PyArray_SIZE(buf)}")
    return buf


cdef Py_ssize_t size_of_words(Py_ssize_t n, int bits) noexcept:
    return n // 8 * bits + (n % 8 * bits + 7) // 8


cdef Py_ssize_t plane_count(object planes, Py_ssize_t n, str name) except -1:
    """P of a uint64[ceil(n / 512), P, 8] array of bit planes of `n` elements; ValueError for another shape."""
    check_count(n, "n")
    words_in(planes, name)
    cdef Py_ssize_t blocks = (n + 511) // 512
    if (
        cnp.PyArray_NDIM(planes) != 3
        or cnp.PyArray_DIM(planes, 0) != blocks
        or cnp.PyArray_DIM(planes, 2) != 8
        or cnp.PyArray_DIM(planes, 1) > MAX_PLANES
    ):
        raise ValueError(f"{name}: expected the shape ({blocks}, P, 8) for {n} elements, found {planes.shape}")
    return cnp.PyArray_DIM(planes, 1)


def packed_size(Py_ssize_t n, int bits):
    """Bytes of `n` elements of `bits` bits each: ceil(n * bits / 8)."""
    check_bits(bits)
    check_count(n, "n")
    return size_of_words(n, bits)


def pack(x, int bits, out=None):
    """The low `bits` bits of every element, densely: uint64[...] to uint8[packed_size(x.size, bits)]."""
    check_bits(bits)
    cdef uint64_t *a = words_in(x, "x")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x), size = size_of_words(n, bits)
    if out is None:
        out = new_bytes(size)
    cdef uint8_t *to = bytes_out(out, "out")
    same_size(out, size, "out")
    with nogil:
        ops.pack(a, n, bits, to)
    return out


def unpack(buf, Py_ssize_t n, int bits, out=None):
    """The inverse of `pack`: `n` elements below 2^bits from a buffer of at least packed_size(n, bits) bytes."""
    check_bits(bits)
    check_count(n, "n")
    buf = as_bytes(buf, size_of_words(n, bits))
    if out is None:
        out = new_words(n)
    cdef uint8_t *a = bytes_in(buf, "buf")
    cdef uint64_t *to = words_out(out, "out")
    same_size(out, n, "out")
    with nogil:
        ops.unpack(a, n, bits, to)
    return out


def unpack_add(buf, int bits, acc):
    """acc = (acc + unpacked) mod 2^bits, in place; `acc` is uint64 of any shape."""
    check_bits(bits)
    cdef uint64_t *to = words_out(acc, "acc")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(acc)
    buf = as_bytes(buf, size_of_words(n, bits))
    cdef uint8_t *a = bytes_in(buf, "buf")
    with nogil:
        ops.unpack_add(a, n, bits, to)


def mask_pack(Prg prg not None, uint64_t stream, x, int bits, masked, packed, mask=None, uint64_t start=0):
    """Open x under a mask from a stream: masked = x + W mod 2^64 and packed = pack(masked, bits), in one pass.

    W is words [start, start + x.size) of the stream; it is written over `mask` if that is given. `x`, `masked`, `mask`
    are uint64 of equal size, `masked` may be `x`; `packed` is uint8[packed_size(x.size, bits)].
    """
    check_bits(bits)
    cdef uint64_t *a = words_in(x, "x")
    cdef uint64_t *m = words_out(masked, "masked")
    cdef uint8_t *to = bytes_out(packed, "packed")
    cdef uint64_t *w = NULL
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    same_size(masked, n, "masked")
    same_size(packed, size_of_words(n, bits), "packed")
    if mask is not None:
        w = words_out(mask, "mask")
        same_size(mask, n, "mask")
        if w == a or w == m:
            raise ValueError("mask: expected memory of its own, found that of x or masked")
    prg.used(stream, start, n, 8)
    with nogil:
        ops.mask_pack(&prg.state, stream, start, a, n, bits, m, to, w)


def share_pack(Prg prg not None, uint64_t stream, secret, int bits, packed, uint64_t start=0):
    """The dealer's correction for one party: packed = pack(secret - W, bits), W as in `mask_pack`, in one pass."""
    check_bits(bits)
    cdef uint64_t *a = words_in(secret, "secret")
    cdef uint8_t *to = bytes_out(packed, "packed")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(secret)
    same_size(packed, size_of_words(n, bits), "packed")
    prg.used(stream, start, n, 8)
    with nogil:
        ops.share_pack(&prg.state, stream, start, a, n, bits, to)


def planes_size(Py_ssize_t n, Py_ssize_t P):
    """Bytes on the wire of P bit planes of n elements: P * ceil(n / 8)."""
    check_planes(n, P)
    return P * ((n + 7) // 8)


def planes_pack(planes, Py_ssize_t n, out=None):
    """Bit planes uint64[ceil(n / 512), P, 8] to their wire format uint8[planes_size(n, P)]."""
    cdef Py_ssize_t P = plane_count(planes, n, "planes"), size = P * ((n + 7) // 8)
    if out is None:
        out = new_bytes(size)
    cdef uint8_t *to = bytes_out(out, "out")
    same_size(out, size, "out")
    cdef uint64_t *a = words_in(planes, "planes")
    with nogil:
        ops.planes_pack(a, n, P, to)
    return out


def planes_unpack(buf, Py_ssize_t n, Py_ssize_t P, out=None):
    """The inverse of `planes_pack`: uint64[ceil(n / 512), P, 8]."""
    check_planes(n, P)
    buf = as_bytes(buf, P * ((n + 7) // 8))
    if out is None:
        out = new_planes(n, P)
    elif plane_count(out, n, "out") != P:
        raise ValueError(f"out: expected {P} planes, found {out.shape[1]}")
    cdef uint8_t *a = bytes_in(buf, "buf")
    cdef uint64_t *to = words_out(out, "out")
    with nogil:
        ops.planes_unpack(a, n, P, to)
    return out


def planes_mask_pack(Prg prg not None, uint64_t stream, planes, Py_ssize_t n, masked, packed, size_t start_block=0):
    """Open bit planes under a mask: masked = planes ^ W, packed = planes_pack(masked, n), in one pass.

    W = planes_fill(prg, stream, n, P, start_block); `masked` may be `planes`.
    """
    cdef Py_ssize_t P = plane_count(planes, n, "planes")
    if plane_count(masked, n, "masked") != P:
        raise ValueError(f"masked: expected {P} planes, found {masked.shape[1]}")
    cdef uint64_t *a = words_in(planes, "planes")
    cdef uint64_t *m = words_out(masked, "masked")
    cdef uint8_t *to = bytes_out(packed, "packed")
    same_size(packed, P * ((n + 7) // 8), "packed")
    prg.used(stream, start_block, (n + 511) // 512, P * 64)
    with nogil:
        ops.planes_xor_pack(&prg.state, stream, start_block * P * 8, a, n, P, m, to)


def planes_share_pack(Prg prg not None, uint64_t stream, secret, Py_ssize_t n, packed, size_t start_block=0):
    """The correction of XOR-shared bit planes: packed = planes_pack(secret ^ W, n), W as in `planes_mask_pack`."""
    cdef Py_ssize_t P = plane_count(secret, n, "secret")
    cdef uint64_t *a = words_in(secret, "secret")
    cdef uint8_t *to = bytes_out(packed, "packed")
    same_size(packed, P * ((n + 7) // 8), "packed")
    prg.used(stream, start_block, (n + 511) // 512, P * 64)
    with nogil:
        ops.planes_xor_pack(&prg.state, stream, start_block * P * 8, a, n, P, NULL, to)


def planes_unpack_xor(buf, Py_ssize_t n, acc):
    """acc ^= planes_unpack(buf, n, P), in place."""
    cdef Py_ssize_t P = plane_count(acc, n, "acc")
    buf = as_bytes(buf, P * ((n + 7) // 8))
    cdef uint8_t *a = bytes_in(buf, "buf")
    cdef uint64_t *to = words_out(acc, "acc")
    with nogil:
        ops.planes_unpack_xor(a, n, P, to)


def planes_fill(Prg prg not None, uint64_t stream, Py_ssize_t n, Py_ssize_t P, size_t start_block=0):
    """Random bit planes: uint64[ceil(n / 512), P, 8], the stream in memory order.

    The planes are blocks `start_block` ... of a longer array of P planes that begins with the stream.
    """
    check_planes(n, P)
    out = new_planes(n, P)
    cdef uint64_t *to = words_out(out, "out")
    cdef size_t size = cnp.PyArray_NBYTES(out)
    prg.used(stream, start_block, (n + 511) // 512, P * 64)
    with nogil:
        mpc_prg_fill(&prg.state, stream, start_block * P * 64, to, size)
    return out


def bits_to_planes(bits):
    """uint8[...] of n bits (bit 0 counts) to one bit plane uint64[ceil(n / 512), 1, 8], padded with zeros."""
    cdef uint8_t *a = bytes_in(bits, "bits")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(bits)
    out = new_planes(n, 1)
    cdef uint64_t *to = words_out(out, "out")
    with nogil:
        ops.bits_to_planes(a, n, to)
    return out


def planes_to_bits(planes, Py_ssize_t n, Py_ssize_t plane=0):
    """One of P bit planes as uint8[n] of 0 and 1."""
    cdef Py_ssize_t P = plane_count(planes, n, "planes")
    if not 0 <= plane < P:
        raise ValueError(f"plane: expected 0 to {P - 1}, found {plane}")
    cdef uint64_t *a = words_in(planes, "planes")
    out = new_bytes(n)
    cdef uint8_t *to = bytes_out(out, "out")
    with nogil:
        ops.planes_to_bits(a, n, P, plane, to)
    return out
