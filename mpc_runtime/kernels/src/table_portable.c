/* The sample table kernels on 128-bit vectors, which every 64-bit machine has. */
#define LANES 2
#define VBMI 0
#define KERNELS mpc_table_portable
#include "table.inc.h"
