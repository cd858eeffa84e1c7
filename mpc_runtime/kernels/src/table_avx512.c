/* The sample table kernels on 512-bit vectors. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

MPC_TARGET_PUSH(MPC_TARGET_AVX512)
#define LANES 8
#define VBMI 0
#define KERNELS mpc_table_avx512
#include "table.inc.h"
MPC_TARGET_POP
#endif
