/* Comparison of a public number with one that the dealer knows: one-hot digit tables and their multilinear combine.
 *
 * Everything is bit-sliced: P bits for each of n elements are planes u64[nb][P][8], nb = ceil(n / 512); element e,
 * plane p is bit e % 64 of word (e / 64) % 8 of [e / 512][p]. The eight words of a plane are independent of one
 * another, so every kernel works on columns of LANES words. compare.inc.h holds the loops, once; sizes and shapes are
 * checked by the caller. */
#ifndef MPC_COMPARE_H
#define MPC_COMPARE_H

#include <stddef.h>
#include <stdint.h>

enum {
    MPC_BLOCK = 512,     /* elements of a block */
    MPC_MAX_WIDTH = 12,  /* bits of a digit: its table has 2^width - 1 planes */
    MPC_MAX_FAN_IN = 12, /* children of a node: about 3 * 2^(g-1) monomials */
};

enum { MPC_LT = 0, MPC_EQ = 1 };

/* One level of a tree over q nodes in groups of g; nodes low to high, planes L_0, L_1, E_1, L_2, E_2, ... (MPC_LT) or
 * E_0, E_1, ... (MPC_EQ). leaf: shares of the single masks exist already and are not among the monomials. */
typedef struct {
    int q, g, kind, leaf;
    int inputs, monomials, outputs; /* planes per block of masks and hats, of monomial shares, of results */
} mpc_level_shape;

typedef struct {
    /* planes[nb][T][8] = [digit_j(r >> t) == v], digit after digit, v = 1 .. 2^width - 1 */
    void (*leaf_deal)(const uint64_t *r, size_t n, int t, const uint8_t *widths, int q, uint64_t *planes);

    /* out[nb][P][8]: this party's XOR share of [c_j < r_j], [c_j == r_j] from its share of the tables */
    void (*leaf_read)(const uint64_t *c, size_t n, int t, const uint8_t *widths, int q, const uint64_t *tables,
                      int party, int kind, uint64_t *out);

    /* out[nb][1][8]: bit `bit` of every element */
    void (*word_bit)(const uint64_t *c, size_t n, int bit, uint64_t *out);

    /* monomials and offsets of one level from the masks; scratch: mpc_combine_scratch(g) words */
    void (*combine_deal)(const uint64_t *masks, size_t nb, const mpc_level_shape *shape, uint64_t *monomials,
                         uint64_t *offset, uint64_t *scratch);

    /* this party's XOR share of the outputs (value ^ offset); singles: its shares of the masks, NULL unless
     * shape->leaf */
    void (*combine_eval)(const uint64_t *hats, size_t nb, const mpc_level_shape *shape, const uint64_t *monomials,
                         const uint64_t *singles, int party, uint64_t *out, uint64_t *scratch);
} mpc_compare_kernels;

extern const mpc_compare_kernels mpc_compare_portable, mpc_compare_avx2, mpc_compare_avx512;

/* The kernels of the level in use. */
const mpc_compare_kernels *mpc_compare(void);

/* Words of 64 bits that combine_deal and combine_eval need at `scratch`. */
size_t mpc_combine_scratch(int g);

#endif
