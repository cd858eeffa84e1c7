/* The elementwise kernels for the compiler's baseline target. */
#define KERNELS mpc_elementwise_portable
#include "elementwise.inc.h"
