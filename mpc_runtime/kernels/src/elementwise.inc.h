/* The elementwise kernels, written once, in loops that compilers vectorise; a wrapper opens the target, defines KERNELS
 * (the name of the table at the end) and includes this file. Formulas in elementwise.h. */
#include "elementwise.h"

/* Outputs may be inputs, element for element, so `restrict` would be a lie; this says what holds. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef uint64_t u64;

INLINE u64 low(int bits) { return ~(u64)0 >> (64 - bits); } /* 1 <= bits <= 64 */

/* The numbers of a truncation that a loop needs, all in registers. */
typedef struct {
    u64 off, sub, ring, half_mask, half;
    int f, top, shift;
} constants;

INLINE constants prepare(const mpc_truncation *by) {
    return (constants){.off = by->off,
                       .sub = by->off_shifted,
                       .ring = low(by->l),
                       .half_mask = low(by->l) >> 1,
                       .half = (u64)1 << (by->l - 1 - by->f),
                       .f = by->f,
                       .top = by->l - 1,
                       .shift = by->narrow ? by->l - by->f : 0};
}

INLINE u64 public_part(u64 c, const constants *k, u64 *m) {
    const u64 cp = (c + k->off) & k->ring;
    *m = cp >> k->top;
    return ((cp & k->half_mask) >> k->f) + (k->half & -*m) - k->sub;
}

static void trunc_eval(const u64 *c, size_t n, const mpc_truncation *by, int party, const u64 *narrow, u64 *out) {
    const constants k = prepare(by);
    const u64 mine = party == 0 ? ~(u64)0 : 0;
    u64 m;
    if (by->identity) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] = c[i] & mine;
    } else if (narrow == NULL) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] = public_part(c[i], &k, &m) & mine;
    } else if (party == 0) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            const u64 a = public_part(c[i], &k, &m);
            out[i] = a + ((narrow[i] << k.shift) & -m);
        }
    } else {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            public_part(c[i], &k, &m);
            out[i] = (narrow[i] << k.shift) & -m;
        }
    }
}

/* -rho + mu 2^(l-1-f), with mu as a mask of 64 bits */
INLINE u64 dealer_part(u64 r, const constants *k, u64 *mu) {
    *mu = -((r >> k->top) & 1);
    return (k->half & *mu) - ((r & k->half_mask) >> k->f);
}

static void trunc_deal(const u64 *r, size_t n, const mpc_truncation *by, u64 *u0, u64 *narrow) {
    const constants k = prepare(by);
    u64 mu;
    if (by->identity) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) u0[i] = -r[i];
    } else if (narrow == NULL) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) u0[i] = dealer_part(r[i], &k, &mu);
    } else {
        const u64 bits = low(by->narrow); /* U_1 - U_0 = -mu 2^(l-f): in narrow bits all ones or zero */
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            u0[i] = dealer_part(r[i], &k, &mu);
            narrow[i] = mu & bits;
        }
    }
}

static void select_eval(const u64 *c, const uint8_t *d, size_t n, const mpc_truncation *by, int party, const u64 *delta,
                        const u64 *k10, const u64 *n0, const u64 *n1, u64 *out) {
    const constants k = prepare(by);
    const u64 one = party == 0;
    u64 m;
/* With D = -d: x ^ D = -1 - x where d = 1, so (delta ^ D) + (2 - party) d = (1 - party) - delta there. */
#define SELECT(A, REST)                                                              \
    INDEPENDENT                                                                      \
    for (size_t i = 0; i < n; i++) {                                                 \
        const u64 D = -(u64)d[i], a = (A);                                           \
        out[i] = a * ((delta[i] ^ D) + ((one + 1) & D)) + (k10[i] & D) + (REST);     \
    }
    if (by->identity) {
        SELECT(c[i], 0)
    } else if (n0 == NULL) {
        SELECT(public_part(c[i], &k, &m), 0)
    } else {
        SELECT(public_part(c[i], &k, &m), (((n0[i] & ~D) | (n1[i] & D)) << k.shift) & -m)
    }
#undef SELECT
}

static void select_deal(const u64 *r, const uint8_t *delta, size_t n, const mpc_truncation *by, u64 *k00, u64 *k10,
                        u64 *n0, u64 *n1) {
    const constants k = prepare(by);
    u64 mu;
    if (by->identity) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            const u64 D = -(u64)delta[i], u = -r[i];
            k00[i] = u & D;
            k10[i] = (u ^ D) - D; /* -u where delta = 1 */
        }
    } else if (n0 == NULL) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            const u64 D = -(u64)delta[i], u = dealer_part(r[i], &k, &mu);
            k00[i] = u & D;
            k10[i] = (u ^ D) - D;
        }
    } else {
        const u64 bits = low(by->narrow);
        INDEPENDENT
        for (size_t i = 0; i < n; i++) {
            const u64 D = -(u64)delta[i], u = dealer_part(r[i], &k, &mu);
            k00[i] = u & D;
            k10[i] = (u ^ D) - D;
            n0[i] = mu & bits & D;
            n1[i] = mu & bits & ~D;
        }
    }
}

static void choose_eval(const u64 *c, const uint8_t *d, const u64 *mask, size_t n, int party, const u64 *delta,
                        const u64 *w, u64 *out) {
    const u64 mine = party == 0 ? ~(u64)0 : 0;
    INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        const u64 D = -(u64)d[i], q = delta[i] * c[i] - w[i];
        out[i] = ((q ^ D) - D) + (((c[i] & mine) - mask[i]) & D);
    }
}

static void mul_eval(const u64 *xh, const u64 *ax, const u64 *yh, const u64 *ay, size_t n, int party, u64 *out) {
    const u64 mine = party == 0 ? ~(u64)0 : 0;
    INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = xh[i] * ((yh[i] & mine) - ay[i]) - ax[i] * yh[i];
}

static void square_eval(const u64 *xh, const u64 *ax, size_t n, int party, u64 *out) {
    const u64 mine = party == 0 ? ~(u64)0 : 0;
    INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = xh[i] * ((xh[i] & mine) - 2 * ax[i]);
}

static inline u64 square_term(u64 x, u64 a, const mpc_squares *by, u64 mine) {
    const u64 X = (x & by->low) >> by->shift, A = (a & by->low) >> by->shift;
    return X * ((X & mine) - 2 * A);
}

static inline u64 square_of_mask(u64 r, u64 a, const mpc_squares *by) {
    const u64 R = (((r - a) & by->low) >> by->shift) + ((a & by->low) >> by->shift);
    return R * R;
}

static u64 square_sum(const u64 *xh, const u64 *ax, size_t n, const mpc_squares *by) {
    const mpc_squares how = *by;
    const u64 mine = how.party == 0 ? ~(u64)0 : 0;
    u64 sum = 0;
    if (how.party == 2) {
        for (size_t i = 0; i < n; i++) sum += square_of_mask(xh[i], ax[i], &how);
    } else {
        for (size_t i = 0; i < n; i++) sum += square_term(xh[i], ax[i], &how, mine);
    }
    return sum;
}

static void square_add(const u64 *xh, const u64 *ax, size_t n, const mpc_squares *by, u64 *out) {
    const mpc_squares how = *by;
    const u64 mine = how.party == 0 ? ~(u64)0 : 0;
    if (how.party == 2) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] += square_of_mask(xh[i], ax[i], &how);
    } else {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] += square_term(xh[i], ax[i], &how, mine);
    }
}

static void open_deal(const u64 *a, const u64 *b, const u64 *offset, size_t n, int bits, u64 *out) {
    const u64 ring = low(bits);
    if (offset == NULL) {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] = (a[i] + b[i]) & ring;
    } else {
        INDEPENDENT
        for (size_t i = 0; i < n; i++) out[i] = (a[i] + b[i] - offset[i]) & ring;
    }
}

static void b2a_eval(const uint8_t *d, const u64 *delta, size_t n, int party, u64 *out) {
    const u64 mine = party == 0 ? ~(u64)0 : 0;
    INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        const u64 D = -(u64)d[i];
        out[i] = ((delta[i] ^ D) - D) + (d[i] & mine);
    }
}

const mpc_elementwise_kernels KERNELS = {trunc_eval,  trunc_deal, select_eval, select_deal, choose_eval, mul_eval,
                                         square_eval, square_sum, square_add,  open_deal,   b2a_eval};
