/* Counter mode over one set of AES instructions. The including file defines
 *   AES_NAME(x)                     a name for this instruction set
 *   VEC, LANES, FLIGHT              a vector, the blocks in it, the vectors that hide the latency of a round
 *   vec_key(bytes)                  a round key in every block of a vector
 *   vec_first(stream, block)        (stream, block + lane) as native words in each lane
 *   vec_pick(stream, numbers)       (stream, numbers[lane]) likewise
 *   vec_step(counters, blocks)      block numbers moved on
 *   vec_bytes(counters)             native words to the big-endian bytes of the standard
 *   vec_store(out, x), vec_fold(x)
 *   vec_begin(x), vec_round(x, r) for r = 0..8, vec_end(x): the cipher with round keys k[0..10]
 */

#define LOAD_KEYS                                                                                                      \
    VEC k[MPC_AES_ROUND_KEYS];                                                                                         \
    for (int r = 0; r < MPC_AES_ROUND_KEYS; r++) k[r] = vec_key(key->round_keys[r])

#define ENCRYPT(x)                                                                                                     \
    do {                                                                                                               \
        for (int i = 0; i < FLIGHT; i++) vec_begin(x[i]);                                                              \
        UNROLL for (int r = 0; r < 9; r++)                                                                             \
            UNROLL for (int i = 0; i < FLIGHT; i++) vec_round(x[i], r);                                                \
        for (int i = 0; i < FLIGHT; i++) vec_end(x[i]);                                                                \
    } while (0)

#define UNROLL _Pragma("GCC unroll 16")
#define GROUP ((size_t)LANES * FLIGHT)

static void AES_NAME(run)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, uint8_t *out) {
    LOAD_KEYS;
    VEC counters = vec_first(stream, first), x[FLIGHT];
    for (;;) {
        VEC c = counters;
        UNROLL for (int i = 0; i < FLIGHT; i++) {
            x[i] = vec_bytes(c);
            c = vec_step(c, LANES);
        }
        ENCRYPT(x);
        if (n < GROUP) break;
        UNROLL for (int i = 0; i < FLIGHT; i++) vec_store(out + i * LANES * MPC_AES_BLOCK, x[i]);
        out += GROUP * MPC_AES_BLOCK;
        n -= GROUP;
        if (!n) return;
        counters = c;
    }
    uint8_t tail[LANES * FLIGHT * MPC_AES_BLOCK];
    for (int i = 0; i < FLIGHT; i++) vec_store(tail + i * LANES * MPC_AES_BLOCK, x[i]);
    memcpy(out, tail, n * MPC_AES_BLOCK);
}

static void AES_NAME(gather)(const mpc_aes_key *key, uint64_t stream, const uint64_t *numbers, size_t n, uint8_t *out) {
    LOAD_KEYS;
    VEC x[FLIGHT];
    uint64_t last[LANES * FLIGHT] = {0};
    uint8_t tail[LANES * FLIGHT * MPC_AES_BLOCK];
    for (; n; numbers += GROUP) {
        size_t m = n < GROUP ? n : GROUP;
        const uint64_t *from = numbers;
        if (m < GROUP) {
            memcpy(last, numbers, m * sizeof *numbers);
            from = last;
        }
        UNROLL for (int i = 0; i < FLIGHT; i++) x[i] = vec_bytes(vec_pick(stream, from + i * LANES));
        ENCRYPT(x);
        uint8_t *to = m < GROUP ? tail : out;
        UNROLL for (int i = 0; i < FLIGHT; i++) vec_store(to + i * LANES * MPC_AES_BLOCK, x[i]);
        if (m < GROUP) {
            memcpy(out, tail, m * MPC_AES_BLOCK);
            return;
        }
        out += GROUP * MPC_AES_BLOCK;
        n -= m;
    }
}

static uint64_t AES_NAME(bare)(const mpc_aes_key *key, size_t n) {
    LOAD_KEYS;
    VEC x[FLIGHT];
    for (int i = 0; i < FLIGHT; i++) x[i] = vec_bytes(vec_first(0, (uint64_t)i));
    for (size_t done = 0; done < n; done += GROUP) ENCRYPT(x);
    uint64_t sum = 0;
    for (int i = 0; i < FLIGHT; i++) sum ^= vec_fold(x[i]);
    return sum;
}

#include "stream_add.inc.h"

const mpc_aes_impl AES_NAME(impl) = {
    AES_LABEL, AES_NAME(run), AES_NAME(gather), AES_NAME(add), AES_NAME(sub), AES_NAME(bare),
};
