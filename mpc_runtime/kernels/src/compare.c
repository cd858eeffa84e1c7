/* Chooses the comparison kernels for the level in use. */
#include "compare.h"

#include "cpu.h"

const mpc_compare_kernels *mpc_compare(void) {
#if MPC_X86
    switch (mpc_level()) {
    case MPC_AMX:
    case MPC_AVX512: return &mpc_compare_avx512;
    case MPC_AVX2: return &mpc_compare_avx2;
    }
#endif
    return &mpc_compare_portable; /* two 64-bit lanes: SSE2 and NEON are the baseline of their machines */
}

size_t mpc_combine_scratch(int g) { return (size_t)2 * 8 << (g - 1); }
