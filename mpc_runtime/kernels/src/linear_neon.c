/* Matrix product and convolution with Advanced SIMD, which multiplies 32-bit halves: x*y = lo(x)*lo(y) + 2^32
 * (lo(x)*hi(y) + hi(x)*lo(y)) mod 2^64. Four products are two widening multiply-adds for the low halves and two plain
 * ones for the cross terms, which count mod 2^32 only. */
#include "cpu.h"

#if MPC_ARM
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define LANES 4
#define ROWS 3 /* 4 would not leave registers for the operands */
#define VECS 2
#define LHS_WORDS 1
#define VARIANT mpc_linear_neon

typedef uint64x2x2_t vec;
typedef uint32x2_t lhs; /* low and high half */
typedef size_t mask;    /* number of lanes */
typedef uint64x2x2_t lanes;
typedef struct {
    uint64x2_t low01, low23;
    uint32x4_t cross;
} acc;

#define OP static inline __attribute__((always_inline))
OP mask mask_of(size_t lanes) { return lanes; }
OP vec load(const uint64_t *p) { return (vec){{vld1q_u64(p), vld1q_u64(p + 2)}}; }
OP void store(uint64_t *p, vec v) { vst1q_u64(p, v.val[0]), vst1q_u64(p + 2, v.val[1]); }
OP vec load_part(const uint64_t *p, mask m) {
    if (m == LANES) return load(p);
    uint64_t words[LANES] = {0};
    for (size_t i = 0; i < m; i++) words[i] = p[i];
    return load(words);
}
OP void store_part(uint64_t *p, mask m, vec v) {
    if (m == LANES) {
        store(p, v);
        return;
    }
    uint64_t words[LANES];
    store(words, v);
    for (size_t i = 0; i < m; i++) p[i] = words[i];
}
OP vec add(vec x, vec y) { return (vec){{vaddq_u64(x.val[0], y.val[0]), vaddq_u64(x.val[1], y.val[1])}}; }
OP vec sub(vec x, vec y) { return (vec){{vsubq_u64(x.val[0], y.val[0]), vsubq_u64(x.val[1], y.val[1])}}; }
OP lhs lhs_plain(const uint64_t *p) { return vreinterpret_u32_u64(vld1_u64(p)); }
OP lhs lhs_packed(const uint64_t *p) { return lhs_plain(p); }
OP acc acc_zero(void) { return (acc){vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u32(0)}; }
OP acc acc_mac(acc c, lhs a, vec b) {
    const uint32x4_t b01 = vreinterpretq_u32_u64(b.val[0]), b23 = vreinterpretq_u32_u64(b.val[1]);
    const uint32x4_t low = vuzp1q_u32(b01, b23), high = vuzp2q_u32(b01, b23); /* once for all rows of a tile */
    c.low01 = vmlal_lane_u32(c.low01, vget_low_u32(low), a, 0);
    c.low23 = vmlal_high_lane_u32(c.low23, low, a, 0);
    c.cross = vmlaq_lane_u32(vmlaq_lane_u32(c.cross, high, a, 0), low, a, 1);
    return c;
}
OP lanes lanes_of(vec v) { return v; }
OP acc acc_mac_lanes(acc c, lanes a, vec b) {
    const uint32x4_t a01 = vreinterpretq_u32_u64(a.val[0]), a23 = vreinterpretq_u32_u64(a.val[1]);
    const uint32x4_t b01 = vreinterpretq_u32_u64(b.val[0]), b23 = vreinterpretq_u32_u64(b.val[1]);
    const uint32x4_t a_low = vuzp1q_u32(a01, a23), a_high = vuzp2q_u32(a01, a23);
    const uint32x4_t b_low = vuzp1q_u32(b01, b23), b_high = vuzp2q_u32(b01, b23);
    c.low01 = vmlal_u32(c.low01, vget_low_u32(a_low), vget_low_u32(b_low));
    c.low23 = vmlal_high_u32(c.low23, a_low, b_low);
    c.cross = vmlaq_u32(vmlaq_u32(c.cross, a_low, b_high), a_high, b_low);
    return c;
}
OP vec acc_total(acc c) {
    return (vec){{vaddq_u64(c.low01, vshll_n_u32(vget_low_u32(c.cross), 32)),
                  vaddq_u64(c.low23, vshll_high_n_u32(c.cross, 32))}};
}

#include "linear.inc.h"
#include "linear_conv.inc.h"
#endif
