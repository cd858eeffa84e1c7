/* The sample table kernels, written once: a wrapper defines LANES (doubles of a vector: 2, 4 or 8), VBMI (whether
 * bytes can be permuted across a vector), KERNELS (the name of the table at the end), opens the target and includes
 * this file. No operation may be fused or reordered (-ffp-contract=off): all variants give the same bits. */
#include <stdlib.h>
#include <string.h>

#include "table.h"

typedef double vec __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef int64_t ivec __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

#define INLINE static inline __attribute__((always_inline))

enum {
    CHUNK = 1 << 13, /* bytes of tables that are masked at a time: they and their stream stay in the first cache */
    SLACK = 64,      /* bytes that may be read or written behind what a buffer is for */
    BATCH = 64,      /* elements whose stream blocks are gathered together */
};

INLINE uint64_t low(int bits) { return bits == 64 ? ~(uint64_t)0 : ((uint64_t)1 << bits) - 1; }

INLINE uint64_t read_entry(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8); /* the bytes above the entry are garbage, which a caller keeps above the entry's bits */
    return word;
}

/* ---- dealer ------------------------------------------------------------------------------------------------------ */

/* round(x), to even, clipped to +-2^62. */
#if LANES == 8
INLINE ivec round_to_int(vec x) {
    const __m512d limit = _mm512_set1_pd(0x1p62);
    const __m512d clipped = _mm512_max_pd(_mm512_min_pd((__m512d)x, limit), -limit);
    return (ivec)_mm512_cvtpd_epi64(clipped);
}
#else
/* Adding 1.5 * 2^52 rounds to an integer and leaves it in the mantissa: once for the multiple of 2^32, once for the
 * rest, which is exact. */
INLINE ivec round_to_int(vec x) {
    const vec limit = (vec){0} + 0x1p62, magic = (vec){0} + 6755399441055744.0;
    x = (vec)(((ivec)x & (x < limit)) | ((ivec)limit & ~(x < limit)));
    x = (vec)(((ivec)x & (x > -limit)) | ((ivec)-limit & ~(x > -limit)));
    const vec high = x * 0x1p-32 + magic, rest = (x - (high - magic) * 0x1p32) + magic;
    return (((ivec)high - (ivec)magic) << 32) + ((ivec)rest - (ivec)magic);
}
#endif

/* values[i] = round(G(cell i, delta)); size and the length of a row of coef are multiples of 4 * LANES: four Horner
 * chains hide the latency of one. */
INLINE void samples(const double *coef, int degree, size_t size, double delta, int64_t *values) {
    const vec x = (vec){0} + delta;
    for (size_t i = 0; i < size; i += 4 * LANES) {
        vec sum[4];
        for (int k = 0; k < 4; k++) sum[k] = *(const vec *)(coef + degree * size + i + k * LANES);
        for (int d = degree - 1; d >= 0; d--)
            for (int k = 0; k < 4; k++) sum[k] = sum[k] * x + *(const vec *)(coef + d * size + i + k * LANES);
        for (int k = 0; k < 4; k++) *(ivec *)(values + i + k * LANES) = round_to_int(sum[k]);
    }
}

/* out = values - stream, `bytes` bytes each. A store runs over into the entries after it, which are written later. */
#if VBMI
INLINE void mask_entries(const int64_t *values, size_t n, int bytes, const uint8_t *stream, uint8_t *out) {
    uint8_t spread[64], gather[64] = {0};
    for (int i = 0; i < 8; i++)
        for (int b = 0; b < 8; b++) {
            spread[8 * i + b] = bytes * i + (b < bytes ? b : 0); /* what lands above an entry does not matter */
            if (b < bytes) gather[bytes * i + b] = 8 * i + b;
        }
    const __m512i spread_ = _mm512_loadu_si512(spread), gather_ = _mm512_loadu_si512(gather);
    for (size_t i = 0; i < n; i += 8) {
        const __m512i w = _mm512_permutexvar_epi8(spread_, _mm512_loadu_si512(stream + bytes * i));
        const __m512i v = _mm512_sub_epi64(_mm512_loadu_si512(values + i), w);
        _mm512_storeu_si512(out + bytes * i, _mm512_permutexvar_epi8(gather_, v));
    }
}
#else
INLINE void mask_entries(const int64_t *values, size_t n, int bytes, const uint8_t *stream, uint8_t *out) {
    if (bytes == 4) {
        for (size_t i = 0; i < n; i++) {
            uint32_t w;
            memcpy(&w, stream + 4 * i, 4);
            w = (uint32_t)values[i] - w;
            memcpy(out + 4 * i, &w, 4);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            const uint64_t w = (uint64_t)values[i] - read_entry(stream + bytes * i);
            memcpy(out + bytes * i, &w, 8);
        }
    }
}
#endif

INLINE void deal_rows(const uint64_t *r, size_t rows, const mpc_table_shape *shape, int bytes, const double *coef,
                      int degree, size_t padded, int64_t *values, const uint8_t *stream, uint8_t *out) {
    const size_t size = (size_t)1 << shape->s;
    const double step = (double)((uint64_t)1 << shape->t);
    for (size_t i = 0; i < rows; i++) {
        /* j 2^t - r = (j - shift) 2^t + delta 2^t: one delta for the whole row, and cell j - shift */
        const uint64_t rest = r[i] & low(shape->t), up = rest != 0;
        const size_t shift = ((r[i] >> shape->t) + up) & (size - 1), start = (size - shift) & (size - 1);
        samples(coef, degree, padded, up ? (double)(((uint64_t)1 << shape->t) - rest) / step : 0.0, values);
        mask_entries(values + start, size - start, bytes, stream, out);
        mask_entries(values, start, bytes, stream + bytes * (size - start), out + bytes * (size - start));
        stream += bytes * size;
        out += bytes * size;
    }
}

static int deal(const uint64_t *r, size_t n, const mpc_table_shape *shape, const double *coef, int degree,
                const mpc_prg *prg, uint64_t stream, uint64_t offset, uint8_t *out) {
    const size_t size = (size_t)1 << shape->s, row = size * shape->bytes;
    const size_t padded = (size + 4 * LANES - 1) / (4 * LANES) * (4 * LANES);
    const size_t most = row > CHUNK ? 1 : CHUNK / row; /* rows of a chunk */
    void *memory;
    if (posix_memalign(&memory, 64, (degree + 2) * padded * 8 + SLACK + 2 * (most * row + SLACK)) != 0) return -1;
    double *coefs = memory;
    int64_t *values = (int64_t *)(coefs + (degree + 1) * padded);
    for (int d = 0; d <= degree; d++) {
        memcpy(coefs + d * padded, coef + d * size, size * sizeof *coef);
        memset(coefs + d * padded + size, 0, (padded - size) * sizeof *coef);
    }
    uint8_t *expanded = (uint8_t *)(values + padded) + SLACK, *masked = expanded + most * row + SLACK;

    for (size_t i = 0; i < n; i += most) {
        const size_t rows = n - i < most ? n - i : most;
        mpc_prg_fill(prg, stream, offset + i * row, expanded, rows * row);
        switch (shape->bytes) {
#define CASE(B) case B: deal_rows(r + i, rows, shape, B, coefs, degree, padded, values, expanded, masked); break;
            CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
        }
        memcpy(out + i * row, masked, rows * row);
    }
    free(memory);
    return 0;
}

/* ---- parties ----------------------------------------------------------------------------------------------------- */

typedef struct {
    size_t start;         /* entry of the first weight */
    const int64_t *weight;
} stencil;

INLINE stencil stencil_at(uint64_t c, const mpc_table_shape *shape, const mpc_stencils *weights) {
    const int drop = shape->t - weights->index_bits;
    const uint64_t rest = c & low(shape->t);
    const uint64_t bin = drop >= 0 ? rest >> drop : rest << -drop;
    return (stencil){((c >> shape->t) - weights->points / 2 + 1) & low(shape->s),
                     weights->rows + bin * weights->points};
}

INLINE uint64_t dot(const int64_t *weight, const uint8_t *entries, int n, int bytes) {
    uint64_t sum = 0;
    for (int k = 0; k < n; k++) sum += (uint64_t)weight[k] * read_entry(entries + bytes * k);
    return sum;
}

/* `row` is a whole table, SLACK bytes after it readable. */
INLINE uint64_t eval_row(stencil at, const uint8_t *row, const mpc_table_shape *shape, int points, int bytes) {
    const size_t left = ((size_t)1 << shape->s) - at.start;
    const int first = left < (size_t)points ? (int)left : points;
    uint64_t sum = dot(at.weight, row + at.start * bytes, first, bytes);
    if (first < points) sum += dot(at.weight + first, row, points - first, bytes);
    return sum;
}

INLINE void eval_tables(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                        int bytes, const uint8_t *tables, uint64_t *out) {
    const size_t row = ((size_t)1 << shape->s) * bytes;
    for (size_t i = 0; i < n; i++)
        out[i] = low(8 * bytes) &
                 eval_row(stencil_at(c[i], shape, weights), tables + i * row, shape, weights->points, bytes);
}

/* Rows are whole numbers of blocks: the blocks that a stencil needs, cyclic within its row, are gathered. */
INLINE void eval_gathered(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                          int bytes, const mpc_prg *prg, uint64_t stream, uint64_t offset, int blocks,
                          uint64_t *numbers, uint8_t *buffer, uint64_t *out) {
    const uint64_t row = (((uint64_t)1 << shape->s) * bytes) / MPC_AES_BLOCK;
    for (size_t i = 0; i < n; i++) {
        uint64_t block = stencil_at(c[i], shape, weights).start * bytes / MPC_AES_BLOCK;
        for (int k = 0; k < blocks; k++, block = block + 1 == row ? 0 : block + 1)
            numbers[i * blocks + k] = offset / MPC_AES_BLOCK + i * row + block;
    }
    mpc_prg_gather(prg, stream, numbers, n * blocks, buffer);
    for (size_t i = 0; i < n; i++) {
        const stencil at = stencil_at(c[i], shape, weights);
        const uint8_t *entries = buffer + i * blocks * MPC_AES_BLOCK + at.start * bytes % MPC_AES_BLOCK;
        out[i] = dot(at.weight, entries, weights->points, bytes) & low(8 * bytes);
    }
}

INLINE int eval_stream(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                       int bytes, const mpc_prg *prg, uint64_t stream, uint64_t offset, uint64_t *out) {
    const size_t row = ((size_t)1 << shape->s) * bytes;
    const int blocks = (weights->points * bytes + 2 * MPC_AES_BLOCK - 2) / MPC_AES_BLOCK; /* at any alignment */
    const int gathered = (row | offset) % MPC_AES_BLOCK == 0 && (size_t)blocks * MPC_AES_BLOCK < row;
    const size_t each = gathered ? (size_t)blocks * MPC_AES_BLOCK : row;
    uint64_t *numbers = malloc(BATCH * blocks * sizeof *numbers + BATCH * each + SLACK);
    if (numbers == NULL) return -1;
    uint8_t *buffer = (uint8_t *)(numbers + BATCH * blocks);
    for (size_t i = 0; i < n; i += BATCH) {
        const size_t count = n - i < BATCH ? n - i : BATCH;
        if (gathered) {
            eval_gathered(c + i, count, shape, weights, bytes, prg, stream, offset + i * row, blocks, numbers, buffer,
                          out + i);
        } else {
            mpc_prg_fill(prg, stream, offset + i * row, buffer, count * row);
            eval_tables(c + i, count, shape, weights, bytes, buffer, out + i);
        }
    }
    free(numbers);
    return 0;
}

/* Entries are read as words, so the last row is read from a copy with room behind it. */
INLINE int eval_given(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights, int bytes,
                      const uint8_t *tables, uint64_t *out) {
    const size_t row = ((size_t)1 << shape->s) * bytes;
    if (n == 0) return 0;
    uint8_t *last = malloc(row + SLACK);
    if (last == NULL) return -1;
    memcpy(last, tables + (n - 1) * row, row);
    eval_tables(c, n - 1, shape, weights, bytes, tables, out);
    eval_tables(c + n - 1, 1, shape, weights, bytes, last, out + n - 1);
    free(last);
    return 0;
}

static int eval(const uint64_t *c, size_t n, const mpc_table_shape *shape, const mpc_stencils *weights,
                const uint8_t *tables, const mpc_prg *prg, uint64_t stream, uint64_t offset, uint64_t *out) {
    switch (shape->bytes) {
#define CASE(B)                                                                           \
    case B:                                                                               \
        return tables ? eval_given(c, n, shape, weights, B, tables, out)                  \
                      : eval_stream(c, n, shape, weights, B, prg, stream, offset, out);
        CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
    }
    return 0;
}

const mpc_table_kernels KERNELS = {deal, eval};
