/* The one table of packing variants. */
#include "pack.h"

#include "cpu.h"

extern const mpc_pack_ops mpc_pack_portable_ops;

const mpc_pack_ops *mpc_pack_table(int level, unsigned features) {
    (void)level, (void)features;
    return &mpc_pack_portable_ops;
}
