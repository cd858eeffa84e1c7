"""The table of packing functions (src/pack.h)."""

from libc.stdint cimport uint8_t, uint64_t

from mpc_runtime.kernels._prg cimport mpc_prg


cdef extern from "pack.h":
    ctypedef struct mpc_pack_ops:
        void (*pack)(const uint64_t *x, size_t n, unsigned bits, uint8_t *out) noexcept nogil
        void (*unpack)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *out) noexcept nogil
        void (*unpack_add)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *acc) noexcept nogil
        void (*mask_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                          unsigned bits, uint64_t *masked, uint8_t *packed, uint64_t *mask) noexcept nogil
        void (*share_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *secret, size_t n,
                           unsigned bits, uint8_t *packed) noexcept nogil
        void (*planes_pack)(const uint64_t *planes, size_t n, size_t P, uint8_t *out) noexcept nogil
        void (*planes_unpack)(const uint8_t *buf, size_t n, size_t P, uint64_t *planes) noexcept nogil
        void (*planes_unpack_xor)(const uint8_t *buf, size_t n, size_t P, uint64_t *acc) noexcept nogil
        void (*planes_xor_pack)(const mpc_prg *prg, uint64_t stream, uint64_t first, const uint64_t *planes, size_t n,
                                size_t P, uint64_t *masked, uint8_t *packed) noexcept nogil
        void (*bits_to_planes)(const uint8_t *bits, size_t n, uint64_t *planes) noexcept nogil
        void (*planes_to_bits)(const uint64_t *planes, size_t n, size_t P, size_t plane, uint8_t *bits) noexcept nogil

    const mpc_pack_ops *mpc_pack_table(unsigned features) noexcept nogil
