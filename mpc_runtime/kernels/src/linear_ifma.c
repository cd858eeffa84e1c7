/* Matrix product and convolution for rings of up to 52 bits, with the multiplication of AVX-512 IFMA: the low 52 bits of
 * a product of two words' low 52 bits, added to a sum, in one instruction where 64 bits take four. What a sum has above
 * bit 52 is right for no ring, and not used. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512 ",avx512ifma")

#define VARIANT mpc_linear_ifma

#include "linear_tile512.inc.h"

OP acc acc_mac(acc c, lhs a, vec b) { return _mm512_madd52lo_epu64(c, a, b); }

#include "linear.inc.h"
#include "linear_conv.inc.h"

MPC_TARGET_POP
#endif
