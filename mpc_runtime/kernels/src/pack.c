/* The one table of packing variants, best first, with the features (cpu.h) that each needs. */
#include "pack.h"

#include "cpu.h"

extern const mpc_pack_ops mpc_pack_avx512_ops, mpc_pack_avx2_ops, mpc_pack_portable_ops;

static const struct {
    const mpc_pack_ops *ops;
    unsigned needs;
} TABLE[] = {
#if MPC_X86
    {&mpc_pack_avx512_ops, MPC_HAS_AVX512 | MPC_HAS_VBMI | MPC_HAS_VBMI2},
    {&mpc_pack_avx2_ops, MPC_HAS_AVX2},
#endif
    {&mpc_pack_portable_ops, 0}, /* also for NEON, which C compilers for ARM64 always use */
};

const mpc_pack_ops *mpc_pack_table(unsigned features) {
    size_t i = 0;
    while ((features & TABLE[i].needs) != TABLE[i].needs) i++;
    return TABLE[i].ops;
}
