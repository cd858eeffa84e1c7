/* The comparison kernels on 128-bit vectors, which every 64-bit machine has. */
#define LANES 2
#define KERNELS mpc_compare_portable
#include "compare.inc.h"
