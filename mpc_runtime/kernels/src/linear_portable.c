/* Matrix product and convolution in plain C: a scalar 64-bit multiplier does one product a cycle, which is more than
 * 128-bit vectors without a 64-bit multiplication reach. */
#include <stdint.h>
#include <string.h>

#define LANES 1
#define ROWS 4
#define VECS 4
#define LHS_WORDS 1
#define VARIANT mpc_linear_portable

typedef uint64_t vec, lhs, lanes, acc;
typedef int mask;
#define lhs_packed(p) (*(p))
#define lhs_plain(p) (*(p))
#define acc_zero() 0
#define acc_mac(c, a, b) ((c) + (a) * (b))
#define acc_total(c) (c)
#define lanes_of(v) (v)
#define acc_mac_lanes(c, a, b) ((c) + (a) * (b))
#define mask_of(lanes) ((int)(lanes))
#define load(p) (*(p))
#define store(p, v) (*(p) = (v))
#define load_part(p, m) ((void)(m), *(p)) /* a vector of one word is never partial */
#define store_part(p, m, v) ((void)(m), *(p) = (v))
#define add(x, y) ((x) + (y))
#define sub(x, y) ((x) - (y))

#include "linear.inc.h"
#include "linear_conv.inc.h"
