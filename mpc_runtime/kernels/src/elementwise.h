/* Gates that act on every word by itself: truncation, selection, products, bit to word. One pass over memory each.
 *
 * Arithmetic is mod 2^64; a ring of l bits is the low l bits of a word. Bits are bytes 0 or 1. An output may be the
 * same array as an input, but may not overlap one otherwise. */
#ifndef MPC_ELEMENTWISE_H
#define MPC_ELEMENTWISE_H

#include <stddef.h>
#include <stdint.h>

/* Truncation of a wire c = z + r mod 2^l by f bits. Public part of floor(z / 2^f) + u = A + U_m:
 *     c+ = c + off mod 2^l,  m = c+ >> (l-1),  A = ((c+ mod 2^(l-1)) >> f) + m 2^(l-1-f) - (off >> f),
 * `identity` instead: A = c, m = 0. `narrow`: bits of U_1 - U_0 above 2^(l-f), 0 if there are none. */
typedef struct {
    int l, f, narrow, identity;
    uint64_t off, off_shifted; /* mod 2^64; the second is off >> f, off being a signed number */
} mpc_truncation;

/* What is squared and added up: x >> shift, as party 0 or 1 has it or, `party` 2, the dealer, of a wire mod low + 1. */
typedef struct {
    int party, shift;
    uint64_t low;
} mpc_squares;

typedef struct {
    /* y = (party == 0 ? A : 0) + m (narrow << (l-f)); narrow may be NULL */
    void (*trunc_eval)(const uint64_t *c, size_t n, const mpc_truncation *by, int party, const uint64_t *narrow,
                       uint64_t *out);
    /* U_0 and (U_1 - U_0) >> (l-f), in that many bits; narrow is NULL iff by->narrow == 0 */
    void (*trunc_deal)(const uint64_t *r, size_t n, const mpc_truncation *by, uint64_t *u0, uint64_t *narrow);
    /* d = 0: A delta + m (n0 << (l-f));  d = 1: A ((1 - party) - delta) + k10 + m (n1 << (l-f)) */
    void (*select_eval)(const uint64_t *c, const uint8_t *d, size_t n, const mpc_truncation *by, int party,
                        const uint64_t *delta, const uint64_t *k10, const uint64_t *n0, const uint64_t *n1,
                        uint64_t *out);
    /* K_00 = delta U_0, k10 = K_10 - K_00, and the narrow parts of K_01 - K_00 and of K_11 - K_10 */
    void (*select_deal)(const uint64_t *r, const uint8_t *delta, size_t n, const mpc_truncation *by, uint64_t *k00,
                        uint64_t *k10, uint64_t *n0, uint64_t *n1);
    /* With q = delta c - w:  d = 0: q;  d = 1: (party == 0 ? c : 0) - mask - q */
    void (*choose_eval)(const uint64_t *c, const uint8_t *d, const uint64_t *mask, size_t n, int party,
                        const uint64_t *delta, const uint64_t *w, uint64_t *out);
    /* x^ v - [x's mask] y^,  v = (party == 0 ? y^ : 0) - [y's mask] */
    void (*mul_eval)(const uint64_t *xh, const uint64_t *ax, const uint64_t *yh, const uint64_t *ay, size_t n,
                     int party, uint64_t *out);
    /* (party == 0 ? x^ x^ : 0) - 2 x^ [x's mask] */
    void (*square_eval)(const uint64_t *xh, const uint64_t *ax, size_t n, int party, uint64_t *out);
    /* The sum of n terms, or each of them added to `out`. With X = x^ >> shift, A = [x's mask] >> shift and all mod
     * low + 1: (party == 0 ? X X : 0) - 2 X A; the dealer's x^ is the mask: (((x^ - ax) >> shift) + A)^2 */
    uint64_t (*square_sum)(const uint64_t *xh, const uint64_t *ax, size_t n, const mpc_squares *by);
    void (*square_add)(const uint64_t *xh, const uint64_t *ax, size_t n, const mpc_squares *by, uint64_t *out);
    /* a + b - offset mod 2^bits; offset may be NULL */
    void (*open_deal)(const uint64_t *a, const uint64_t *b, const uint64_t *offset, size_t n, int bits, uint64_t *out);
    /* (party == 0 ? d : 0) + (1 - 2 d) delta */
    void (*b2a_eval)(const uint8_t *d, const uint64_t *delta, size_t n, int party, uint64_t *out);
} mpc_elementwise_kernels;

extern const mpc_elementwise_kernels mpc_elementwise_portable, mpc_elementwise_avx2, mpc_elementwise_avx512;

/* The kernels of the level in use. */
const mpc_elementwise_kernels *mpc_elementwise(void);

#endif
