/* Matrix product and convolution with the 64-bit multiplication of AVX-512DQ. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512)

#define VARIANT mpc_linear_avx512

#include "linear_tile512.inc.h"

OP acc acc_mac(acc c, lhs a, vec b) { return add(c, _mm512_mullo_epi64(a, b)); }

#include "linear.inc.h"
#include "linear_conv.inc.h"

MPC_TARGET_POP
#endif
