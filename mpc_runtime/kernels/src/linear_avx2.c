/* Matrix product and convolution with AVX2, which multiplies 32-bit halves: x*y = lo(x)*lo(y) + 2^32 (hi(x)*lo(y) +
 * lo(x)*hi(y)) mod 2^64. The cross terms count mod 2^32 only, so one vpmulld of x with its halves swapped gives both,
 * and their two sums are kept in the halves of one accumulator until the end. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX2)

#define LANES 4
#define ROWS 3
#define VECS 2
#define LHS_WORDS 2
#define VARIANT mpc_linear_avx2

typedef __m256i vec, mask;
typedef struct {
    vec plain, swapped;
} lhs, lanes;
typedef struct {
    vec low, cross;
} acc;

static const int64_t LANE_MASKS[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

#define OP static inline __attribute__((always_inline))
OP mask mask_of(size_t lanes) { return _mm256_loadu_si256((const __m256i *)(LANE_MASKS + 4 - lanes)); }
OP vec load(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
OP void store(uint64_t *p, vec v) { _mm256_storeu_si256((__m256i *)p, v); }
OP vec load_part(const uint64_t *p, mask m) { return _mm256_maskload_epi64((const long long *)p, m); }
OP void store_part(uint64_t *p, mask m, vec v) { _mm256_maskstore_epi64((long long *)p, m, v); }
OP vec add(vec x, vec y) { return _mm256_add_epi64(x, y); }
OP vec sub(vec x, vec y) { return _mm256_sub_epi64(x, y); }
OP vec broadcast(const uint64_t *p) { return _mm256_set1_epi64x((long long)*p); }
OP lhs lhs_packed(const uint64_t *p) { return (lhs){broadcast(p), broadcast(p + ROWS)}; }
OP lhs lhs_plain(const uint64_t *p) { return (lhs){broadcast(p), _mm256_shuffle_epi32(broadcast(p), 0xb1)}; }
OP acc acc_zero(void) { return (acc){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
OP acc acc_mac(acc c, lhs a, vec b) {
    return (acc){add(c.low, _mm256_mul_epu32(a.plain, b)), _mm256_add_epi32(c.cross, _mm256_mullo_epi32(a.swapped, b))};
}
OP lanes lanes_of(vec v) { return (lanes){v, _mm256_shuffle_epi32(v, 0xb1)}; }
OP acc acc_mac_lanes(acc c, lanes a, vec b) { return acc_mac(c, a, b); }
OP vec acc_total(acc c) {
    const vec both = _mm256_add_epi32(c.cross, _mm256_shuffle_epi32(c.cross, 0xb1));
    return add(c.low, _mm256_slli_epi64(both, 32));
}

#include "linear.inc.h"
#include "linear_conv.inc.h"

MPC_TARGET_POP
#endif
