/* AES-128 in portable constant-time C: four blocks bit-sliced over eight 64-bit words (T. Pornin, BearSSL), times the
 * lanes of a compiler vector; the S-box is the circuit of J. Boyar and R. Peralta (2009). No table is indexed by a
 * secret. Also the key schedule, which every implementation shares. */
#include "aes.h"

enum { LANES = 2, GROUP = 4 * LANES }; /* 128-bit vectors: 0.32 GB/s with SSE2, where 64 bits gave 0.26, 256 0.28 */
typedef uint64_t vec __attribute__((vector_size(8 * LANES)));

#define SLICED_NAME(x) x##_vec
#define WORD vec
#include "aes_sliced.inc.h"
#undef SLICED_NAME
#undef WORD
#define SLICED_NAME(x) x##_word
#define WORD uint64_t
#include "aes_sliced.inc.h"

void mpc_aes_expand_key(mpc_aes_key *key, const uint8_t secret[MPC_AES_BLOCK]) {
    static const uint8_t rcon[10] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
    uint32_t w[4 * MPC_AES_ROUND_KEYS]; /* columns, little-endian */
    memcpy(w, secret, MPC_AES_BLOCK);
    for (int i = 4; i < 4 * MPC_AES_ROUND_KEYS; i++) {
        uint32_t t = w[i - 1];
        if (i % 4 == 0) {
            uint64_t q[8] = {(t << 24) | (t >> 8)};
            transpose_word(q);
            sub_bytes_word(q);
            transpose_word(q);
            t = (uint32_t)q[0] ^ rcon[i / 4 - 1];
        }
        w[i] = w[i - 4] ^ t;
    }
    memcpy(key->round_keys, w, sizeof w);
    for (int r = 0; r < MPC_AES_ROUND_KEYS; r++) {
        uint64_t column[4] = {w[4 * r], w[4 * r + 1], w[4 * r + 2], w[4 * r + 3]};
        uint64_t *q = key->sliced[r];
        spread_word(column, &q[0], &q[4]);
        q[1] = q[2] = q[3] = q[0];
        q[5] = q[6] = q[7] = q[4];
        transpose_word(q);
    }
}

/* Up to GROUP blocks; lane v, slot s holds block LANES * s + v. */
static void encrypt_group(const mpc_aes_key *key, uint64_t stream, const uint64_t numbers[GROUP], uint8_t *out) {
    const uint64_t high = __builtin_bswap64(stream);
    vec q[8], w[4];
    for (int slot = 0; slot < 4; slot++) {
        for (int v = 0; v < LANES; v++) {
            const uint64_t low = __builtin_bswap64(numbers[LANES * slot + v]);
            w[0][v] = (uint32_t)high;
            w[1][v] = high >> 32;
            w[2][v] = (uint32_t)low;
            w[3][v] = low >> 32;
        }
        spread_vec(w, &q[slot], &q[slot + 4]);
    }
    transpose_vec(q);
    encrypt_vec(q, key);
    transpose_vec(q);
    for (int slot = 0; slot < 4; slot++) {
        unspread_vec(&q[slot], &q[slot + 4], w);
        for (int v = 0; v < LANES; v++) {
            const uint64_t words[2] = {w[0][v] | w[1][v] << 32, w[2][v] | w[3][v] << 32};
            memcpy(out + MPC_AES_BLOCK * (LANES * slot + v), words, MPC_AES_BLOCK);
        }
    }
}

static void encrypt_some(const mpc_aes_key *key, uint64_t stream, const uint64_t *numbers, size_t n, uint8_t *out) {
    uint64_t some[GROUP] = {0};
    uint8_t blocks[GROUP * MPC_AES_BLOCK];
    memcpy(some, numbers, n * sizeof *numbers);
    encrypt_group(key, stream, some, blocks);
    memcpy(out, blocks, n * MPC_AES_BLOCK);
}

static void sliced_run(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, uint8_t *out) {
    uint64_t numbers[GROUP];
    for (; n; first += GROUP, out += GROUP * MPC_AES_BLOCK) {
        for (int i = 0; i < GROUP; i++) numbers[i] = first + i;
        if (n < GROUP) {
            encrypt_some(key, stream, numbers, n, out);
            return;
        }
        encrypt_group(key, stream, numbers, out);
        n -= GROUP;
    }
}

static inline void sliced_sum(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in,
                              uint8_t *out, const int sign, int twice) {
    for (; n; first += GROUP) {
        const size_t m = n < GROUP ? n : GROUP;
        uint64_t w[2 * GROUP], x[2 * GROUP];
        sliced_run(key, stream, first, m, (uint8_t *)w);
        memcpy(x, in, m * MPC_AES_BLOCK);
        for (size_t i = 0; i < 2 * m; i++) x[i] = sign > 0 ? (x[i] << twice) + w[i] : (x[i] << twice) - w[i];
        memcpy(out, x, m * MPC_AES_BLOCK);
        in += m * MPC_AES_BLOCK, out += m * MPC_AES_BLOCK, n -= m;
    }
}

static void sliced_run_add(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in,
                           uint8_t *out, int twice) {
    sliced_sum(key, stream, first, n, in, out, 1, twice);
}

static void sliced_run_sub(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in,
                           uint8_t *out, int twice) {
    sliced_sum(key, stream, first, n, in, out, -1, twice);
}

static void sliced_gather(const mpc_aes_key *key, uint64_t stream, const uint64_t *numbers, size_t n, uint8_t *out) {
    for (; n >= GROUP; n -= GROUP, numbers += GROUP, out += GROUP * MPC_AES_BLOCK)
        encrypt_group(key, stream, numbers, out);
    if (n) encrypt_some(key, stream, numbers, n, out);
}

static uint64_t sliced_bare(const mpc_aes_key *key, size_t n) {
    vec q[8] = {0};
    for (size_t done = 0; done < n; done += GROUP) encrypt_vec(q, key);
    return q[0][0];
}

const mpc_aes_impl mpc_aes_sliced_impl = {
    "sliced", sliced_run, sliced_run_add, sliced_run_sub, sliced_gather, sliced_bare,
};
