"""Streams at C level: a kernel that expands a stream while it computes takes `&prg.state` and includes src/aes.h. It
says `prg.used` first of every byte that it expands."""

from libc.stdint cimport uint8_t, uint64_t


cdef extern from "aes.h":
    ctypedef struct mpc_aes_key:
        pass

    ctypedef struct mpc_aes_impl:
        const char *name
        uint64_t (*bare)(const mpc_aes_key *key, size_t n) noexcept nogil

    ctypedef struct mpc_prg:
        const mpc_aes_impl *aes
        mpc_aes_key key

    enum: MPC_AES_IMPLEMENTATIONS
    void mpc_aes_expand_key(mpc_aes_key *key, const uint8_t *secret) noexcept nogil
    size_t mpc_aes_implementations(unsigned features, const mpc_aes_impl **list) noexcept nogil

    void mpc_prg_fill(const mpc_prg *prg, uint64_t stream, uint64_t offset, void *out, size_t size) noexcept nogil
    void mpc_prg_words(const mpc_prg *prg, uint64_t stream, uint64_t start, size_t n, uint64_t *out) noexcept nogil
    void mpc_prg_add(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                     uint64_t *out, int twice) noexcept nogil
    void mpc_prg_sub(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                     uint64_t *out, int twice) noexcept nogil
    void mpc_prg_gather(const mpc_prg *prg, uint64_t stream, const uint64_t *numbers, size_t n,
                        void *out) noexcept nogil


cdef class Prg:
    cdef mpc_prg state
    cdef object ledger
    cdef int used(self, uint64_t stream, uint64_t start, uint64_t count, uint64_t unit) except -1
