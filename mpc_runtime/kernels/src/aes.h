/* AES-128 in counter mode as a random-access stream of bytes.
 *
 * A stream is the upper 64 bits of the IV, a block number the lower 64, both big-endian; byte p of a stream is byte
 * p % 16 of block p / 16. Every implementation writes the same bytes. An `mpc_prg` carries its key schedule and the
 * implementation chosen for it, so code of another extension module expands streams with this header alone.
 * Key schedule and cipher are constant-time in every implementation. What a stream is used for is left to the caller.
 * Hosts are little-endian, as all that the kernels are written for are. */
#ifndef MPC_AES_H
#define MPC_AES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MPC_AES_BLOCK = 16, MPC_AES_ROUND_KEYS = 11 };

typedef struct mpc_aes_key {
    uint8_t round_keys[MPC_AES_ROUND_KEYS][MPC_AES_BLOCK]; /* FIPS-197, 5.2, in byte order */
    uint64_t sliced[MPC_AES_ROUND_KEYS][8];                /* the same for the bit-sliced implementation */
} mpc_aes_key;

/* Blocks W = first, first + 1, ..., first + n - 1 of a stream; `in` and `out` have n blocks and may be the same. */
typedef struct mpc_aes_impl {
    const char *name;
    void (*run)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, uint8_t *out); /* out = W */
    /* out = in + W and out = in - W, on 64-bit words; `twice` (1 or 0): with 2 in for in */
    void (*run_add)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in, uint8_t *out,
                    int twice);
    void (*run_sub)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in, uint8_t *out,
                    int twice);
    /* out = blocks numbers[0], ..., numbers[n - 1] */
    void (*gather)(const mpc_aes_key *key, uint64_t stream, const uint64_t *numbers, size_t n, uint8_t *out);
    /* the cipher alone on n blocks in registers, no byte order and no stores: the yardstick of the benchmarks */
    uint64_t (*bare)(const mpc_aes_key *key, size_t n);
} mpc_aes_impl;

typedef struct mpc_prg {
    const mpc_aes_impl *aes;
    mpc_aes_key key;
} mpc_prg;

void mpc_aes_expand_key(mpc_aes_key *key, const uint8_t secret[MPC_AES_BLOCK]);

/* The implementations that a set of features (cpu.h) allows, best first; their number. The last is portable C. */
enum { MPC_AES_IMPLEMENTATIONS = 5 };
size_t mpc_aes_implementations(unsigned features, const mpc_aes_impl *list[MPC_AES_IMPLEMENTATIONS]);

/* Bytes [offset, offset + size) of a stream. */
static inline void mpc_prg_fill(const mpc_prg *prg, uint64_t stream, uint64_t offset, void *out, size_t size) {
    uint8_t *to = (uint8_t *)out;
    uint64_t block = offset / MPC_AES_BLOCK;
    const size_t skip = offset % MPC_AES_BLOCK;
    uint8_t partial[MPC_AES_BLOCK];

    if (skip && size) {
        const size_t take = MPC_AES_BLOCK - skip < size ? MPC_AES_BLOCK - skip : size;
        prg->aes->run(&prg->key, stream, block++, 1, partial);
        memcpy(to, partial + skip, take);
        to += take;
        size -= take;
    }
    const size_t whole = size / MPC_AES_BLOCK, rest = size % MPC_AES_BLOCK;
    if (whole) prg->aes->run(&prg->key, stream, block, whole, to);
    if (!rest) return;
    prg->aes->run(&prg->key, stream, block + whole, 1, partial);
    memcpy(to + whole * MPC_AES_BLOCK, partial, rest);
}

/* Words [start, start + n) of a stream: word i is its bytes [8 i, 8 i + 8), little-endian. */
static inline void mpc_prg_words(const mpc_prg *prg, uint64_t stream, uint64_t start, size_t n, uint64_t *out) {
    mpc_prg_fill(prg, stream, 8 * start, out, 8 * n);
}

static inline uint64_t mpc_prg_word(const mpc_prg *prg, uint64_t stream, uint64_t at) {
    uint64_t block[2];
    prg->aes->run(&prg->key, stream, at / 2, 1, (uint8_t *)block);
    return block[at % 2];
}

/* out = x + W with W = words [start, start + n) of a stream, in one pass; out may be x. twice (1 or 0): 2x for x. */
static inline void mpc_prg_add(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                               uint64_t *out, int twice) {
    if (start % 2 && n) *out++ = (*x++ << twice) + mpc_prg_word(prg, stream, start++), n--;
    if (n / 2) prg->aes->run_add(&prg->key, stream, start / 2, n / 2, (const uint8_t *)x, (uint8_t *)out, twice);
    if (n % 2) out[n - 1] = (x[n - 1] << twice) + mpc_prg_word(prg, stream, start + n - 1);
}

/* out = x - W likewise. */
static inline void mpc_prg_sub(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                               uint64_t *out, int twice) {
    if (start % 2 && n) *out++ = (*x++ << twice) - mpc_prg_word(prg, stream, start++), n--;
    if (n / 2) prg->aes->run_sub(&prg->key, stream, start / 2, n / 2, (const uint8_t *)x, (uint8_t *)out, twice);
    if (n % 2) out[n - 1] = (x[n - 1] << twice) - mpc_prg_word(prg, stream, start + n - 1);
}

/* Scattered blocks of a stream, for look-ups that need a few entries of a long table. */
static inline void mpc_prg_gather(const mpc_prg *prg, uint64_t stream, const uint64_t *numbers, size_t n, void *out) {
    prg->aes->gather(&prg->key, stream, numbers, n, (uint8_t *)out);
}

#endif
