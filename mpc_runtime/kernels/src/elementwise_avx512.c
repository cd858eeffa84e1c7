/* The elementwise kernels, compiled for avx512. */
#include "cpu.h"

#if MPC_X86
#include <stddef.h>
#include <stdint.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512)
#define KERNELS mpc_elementwise_avx512
#include "elementwise.inc.h"
MPC_TARGET_POP
#endif
