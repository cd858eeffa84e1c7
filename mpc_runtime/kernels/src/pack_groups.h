/* The steps that pack.inc.h is built from; each packing variant names one of each kind. */
#ifndef MPC_PACK_GROUPS_H
#define MPC_PACK_GROUPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pack.h"

/* Groups of 64 elements to `bits` words each, and back. */
void mpc_pack_groups(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out);
void mpc_unpack_groups(const uint8_t *buf, size_t groups, unsigned bits, uint64_t *out);

#endif
