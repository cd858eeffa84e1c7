/* Matrix product and convolution with the 64-bit multiplication of AVX-512DQ. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512)

#define LANES 8
#define ROWS 8
#define VECS 3
#define LHS_WORDS 1
#define VARIANT mpc_linear_avx512

typedef __m512i vec, lhs, acc;
typedef __mmask8 mask;

#define OP static inline __attribute__((always_inline))
OP mask mask_of(size_t lanes) { return (__mmask8)((1u << lanes) - 1); }
OP vec load(const uint64_t *p) { return _mm512_loadu_si512(p); }
OP void store(uint64_t *p, vec v) { _mm512_storeu_si512(p, v); }
OP vec load_part(const uint64_t *p, mask m) { return _mm512_maskz_loadu_epi64(m, p); }
OP void store_part(uint64_t *p, mask m, vec v) { _mm512_mask_storeu_epi64(p, m, v); }
OP vec add(vec x, vec y) { return _mm512_add_epi64(x, y); }
OP vec sub(vec x, vec y) { return _mm512_sub_epi64(x, y); }
OP lhs lhs_packed(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP lhs lhs_plain(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP acc acc_zero(void) { return _mm512_setzero_si512(); }
OP acc acc_mac(acc c, lhs a, vec b) { return add(c, _mm512_mullo_epi64(a, b)); }
OP vec acc_total(acc c) { return c; }

#include "linear.inc.h"
#include "linear_conv.inc.h"

MPC_TARGET_POP
#endif
