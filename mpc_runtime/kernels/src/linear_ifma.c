/* Matrix product and convolution for rings of up to 52 bits, with the multiplication of AVX-512 IFMA: the low 52 bits of
 * a product of two words' low 52 bits, added to a sum, in one instruction where 64 bits take four. What a sum has above
 * bit 52 is right for no ring, and not used. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512 ",avx512ifma")

#include "linear_vec512.inc.h"

#define ROWS 8
#define VECS 3
#define LHS_WORDS 1
#define VARIANT mpc_linear_ifma

typedef vec lhs, lanes, acc;

OP lhs lhs_packed(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP lhs lhs_plain(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP acc acc_zero(void) { return _mm512_setzero_si512(); }
OP acc acc_mac(acc c, lhs a, vec b) { return _mm512_madd52lo_epu64(c, a, b); }
OP vec acc_total(acc c) { return c; }
OP lanes lanes_of(vec v) { return v; }
OP acc acc_mac_lanes(acc c, lanes a, vec b) { return acc_mac(c, a, b); }

#include "linear.inc.h"
#include "linear_conv.inc.h"

MPC_TARGET_POP
#endif
