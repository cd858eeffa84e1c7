/* Counter mode over one set of AES instructions. The including file defines
 *   AES_NAME(x), AES_LABEL          names for this instruction set
 *   VEC, LANES, FLIGHT              a vector, the blocks in it, the vectors that hide the latency of a round
 *   vec_key(bytes)                  a round key in every block of a vector
 *   vec_first(stream, block)        (stream, block + lane) as native words in each lane
 *   vec_pick(stream, numbers)       (stream, numbers[lane]) likewise
 *   vec_step(counters, blocks)      block numbers moved on
 *   vec_bytes(counters)             native words to the big-endian bytes of the standard
 *   vec_load(x), vec_store(out, x), vec_add(a, b), vec_sub(a, b) (words), vec_xor(a, b), vec_fold(x)
 *   vec_begin(x), vec_round(x, r) for r = 0..8, vec_end(x): the cipher with round keys k[0..10]
 */

#define UNROLL _Pragma("GCC unroll 16")
#define GROUP ((size_t)LANES * FLIGHT)
#define VEC_BYTES (LANES * MPC_AES_BLOCK)

#define LOAD_KEYS                                                                                                      \
    VEC k[MPC_AES_ROUND_KEYS];                                                                                         \
    UNROLL for (int r = 0; r < MPC_AES_ROUND_KEYS; r++) k[r] = vec_key(key->round_keys[r])

#define ENCRYPT(x)                                                                                                     \
    do {                                                                                                               \
        UNROLL for (int i = 0; i < FLIGHT; i++) vec_begin(x[i]);                                                       \
        UNROLL for (int r = 0; r < 9; r++)                                                                             \
            UNROLL for (int i = 0; i < FLIGHT; i++) vec_round(x[i], r);                                                \
        UNROLL for (int i = 0; i < FLIGHT; i++) vec_end(x[i]);                                                         \
    } while (0)

/* n blocks W of the stream from number first on: out = W (sign 0), in + W (1), in - W (-1), the sums on words; `twice`:
 * with 2 in for in. */
static inline __attribute__((always_inline)) void AES_NAME(expand)(const mpc_aes_key *key, uint64_t stream,
                                                                   uint64_t first, size_t n, const uint8_t *in,
                                                                   uint8_t *out, const int sign, const int twice) {
    LOAD_KEYS;
    VEC counters = vec_first(stream, first), x[FLIGHT];
    for (; n; n -= GROUP, out += GROUP * MPC_AES_BLOCK) {
        UNROLL for (int i = 0; i < FLIGHT; i++) {
            x[i] = vec_bytes(counters);
            counters = vec_step(counters, LANES);
        }
        ENCRYPT(x);
        if (n < GROUP) break;
        UNROLL for (int i = 0; i < FLIGHT; i++) {
            if (sign) {
                VEC a = vec_load(in + i * VEC_BYTES);
                if (twice) a = vec_add(a, a);
                x[i] = sign > 0 ? vec_add(a, x[i]) : vec_sub(a, x[i]);
            }
            vec_store(out + i * VEC_BYTES, x[i]);
        }
        if (sign) in += GROUP * MPC_AES_BLOCK;
    }
    if (!n) return;
    uint64_t tail[2 * LANES * FLIGHT], words[2 * LANES * FLIGHT];
    UNROLL for (int i = 0; i < FLIGHT; i++) vec_store((uint8_t *)tail + i * VEC_BYTES, x[i]);
    if (sign) {
        memcpy(words, in, n * MPC_AES_BLOCK);
        for (size_t i = 0; i < 2 * n; i++) {
            const uint64_t a = words[i] << twice;
            tail[i] = sign > 0 ? a + tail[i] : a - tail[i];
        }
    }
    memcpy(out, tail, n * MPC_AES_BLOCK);
}

static void AES_NAME(run)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, uint8_t *out) {
    AES_NAME(expand)(key, stream, first, n, out, out, 0, 0);
}

static void AES_NAME(run_add)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in,
                              uint8_t *out, int twice) {
    if (twice)
        AES_NAME(expand)(key, stream, first, n, in, out, 1, 1);
    else
        AES_NAME(expand)(key, stream, first, n, in, out, 1, 0);
}

static void AES_NAME(run_sub)(const mpc_aes_key *key, uint64_t stream, uint64_t first, size_t n, const uint8_t *in,
                              uint8_t *out, int twice) {
    if (twice)
        AES_NAME(expand)(key, stream, first, n, in, out, -1, 1);
    else
        AES_NAME(expand)(key, stream, first, n, in, out, -1, 0);
}

static void AES_NAME(gather)(const mpc_aes_key *key, uint64_t stream, const uint64_t *numbers, size_t n, uint8_t *out) {
    LOAD_KEYS;
    VEC x[FLIGHT];
    for (; n; n -= GROUP, numbers += GROUP, out += GROUP * MPC_AES_BLOCK) {
        uint64_t last[LANES * FLIGHT] = {0};
        const uint64_t *from = numbers;
        if (n < GROUP) from = memcpy(last, numbers, n * sizeof *numbers);
        UNROLL for (int i = 0; i < FLIGHT; i++) x[i] = vec_bytes(vec_pick(stream, from + i * LANES));
        ENCRYPT(x);
        if (n < GROUP) break;
        UNROLL for (int i = 0; i < FLIGHT; i++) vec_store(out + i * VEC_BYTES, x[i]);
    }
    if (!n) return;
    uint8_t tail[LANES * FLIGHT * MPC_AES_BLOCK];
    UNROLL for (int i = 0; i < FLIGHT; i++) vec_store(tail + i * VEC_BYTES, x[i]);
    memcpy(out, tail, n * MPC_AES_BLOCK);
}

/* Groups are independent of one another, as in `expand`, so that the rounds of two overlap. */
static uint64_t AES_NAME(bare)(const mpc_aes_key *key, size_t n) {
    LOAD_KEYS;
    VEC x[FLIGHT], sum = vec_first(0, 0), counters = vec_first(0, 0);
    for (size_t done = 0; done < n; done += GROUP) {
        UNROLL for (int i = 0; i < FLIGHT; i++) {
            x[i] = counters;
            counters = vec_step(counters, LANES);
        }
        ENCRYPT(x);
        UNROLL for (int i = 0; i < FLIGHT; i++) sum = vec_xor(sum, x[i]);
    }
    return vec_fold(sum);
}

const mpc_aes_impl AES_NAME(impl) = {
    AES_LABEL, AES_NAME(run), AES_NAME(run_add), AES_NAME(run_sub), AES_NAME(gather), AES_NAME(bare),
};
