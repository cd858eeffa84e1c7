/* Chooses the sample table kernels for the level in use. */
#include "table.h"

#include "cpu.h"

const mpc_table_kernels *mpc_table(void) {
#if MPC_X86
    switch (mpc_level()) {
    case MPC_AMX:
    case MPC_AVX512: return mpc_features() & MPC_HAS_VBMI ? &mpc_table_vbmi : &mpc_table_avx512;
    case MPC_AVX2: return &mpc_table_avx2;
    }
#endif
    return &mpc_table_portable;
}
