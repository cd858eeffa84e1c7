/* Shifted sample tables: a smooth function of a wire by public interpolation between secret samples.
 *
 * A table has 2^s entries of `bytes` bytes (4 to 8), little-endian; entry j of element i is at byte (i * 2^s + j) *
 * bytes, in the tables and, from byte `offset` on, in the stream that masks them. The wire counts mod 2^(s+t): its top
 * s bits choose the entry, its low t bits the point between two entries. */
#ifndef MPC_TABLE_H
#define MPC_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "aes.h"

typedef struct {
    int s, t, bytes;
} mpc_table_shape;

/* Integer interpolation weights: row i of `points` weights serves the i-th of 2^index_bits bins of the low t bits. */
typedef struct {
    const int64_t *rows;
    int index_bits, points;
} mpc_stencils;

typedef struct {
    /* entry j of element i = round(G((j 2^t - r_i) mod 2^(s+t))) - stream. G is a polynomial on each cell of 2^t:
     * coef[d][i] is the coefficient of delta^d on cell i, 0 <= delta <= 1. Values are clipped to +-2^62.
     * -1 if memory for a few rows is not to be had. */
    int (*deal)(const uint64_t *r, size_t n, const mpc_table_shape *shape, const double *coef, int degree,
                const mpc_prg *prg, uint64_t stream, uint64_t offset, uint8_t *out);
    /* out = sum_k w_k T[high - points/2 + 1 + k] mod 2^(8 bytes), cyclic in the entry, from the tables or, where they
     * are NULL, from the stream, of which only the blocks that are read are expanded. -1 as above. */
    int (*eval)(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                const uint8_t *tables, const mpc_prg *prg, uint64_t stream, uint64_t offset, uint64_t *out);
} mpc_table_kernels;

extern const mpc_table_kernels mpc_table_portable, mpc_table_avx2, mpc_table_avx512, mpc_table_vbmi;

/* The kernels of the level in use. */
const mpc_table_kernels *mpc_table(void);

#endif
