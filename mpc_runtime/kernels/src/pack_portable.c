/* Packing for every CPU. */
#include "pack.h"

#define NAME(x) mpc_pack_portable_##x
#include "pack_portable.inc.h"
#include "pack.inc.h"
