/* Chooses the elementwise kernels for the level in use. */
#include "elementwise.h"

#include "cpu.h"

const mpc_elementwise_kernels *mpc_elementwise(void) {
#if MPC_X86
    switch (mpc_level()) {
    case MPC_AMX:
    case MPC_AVX512: return &mpc_elementwise_avx512;
    case MPC_AVX2: return &mpc_elementwise_avx2;
    }
#endif
    return &mpc_elementwise_portable;
}
