/* The body of the matrix product and of the convolution, compiled once per instruction set.
 *
 * The wrapper file defines the register tile and the arithmetic:
 *     LANES            words in a vector `vec`
 *     ROWS, VECS       the register tile: ROWS rows by VECS*LANES columns
 *     LHS_WORDS        words that the packed left operand takes per element (2 where a multiplier wants it pre-swapped)
 *     lhs, lhs_packed(p), lhs_plain(p)      the broadcast of one left element
 *     acc, acc_zero(), acc_mac(c, a, b), acc_total(c)
 *     lanes, lanes_of(v), acc_mac_lanes(c, a, b)    the product lane by lane
 *     mask, mask_of(lanes), load, store, load_part(p, mask), store_part(p, mask, v), add, sub
 *     VARIANT          the name of the mpc_linear_variant that results
 * and includes <string.h> (before it changes the target).
 *
 * Blocking as in BLIS [VZG15, doi 10.1145/2764454]: a packed panel of the right operand (DEPTH x COLS) stays in the
 * first-level cache, a packed block of the left one (BLOCK_ROWS x DEPTH) in the second. Nothing here allocates. */

#include "linear.h"

#include "linear_base.inc.h"

enum {
    COLS = VECS * LANES,
    DEPTH = 256,                       /* 48 KiB for a panel of 24 columns; 192 to 384 are within 10 % */
    BLOCK_ROWS = 16 * ROWS,            /* 256 KiB at ROWS = 8 */
    BLOCK_COLS = COLS * (1536 / COLS), /* 3 MiB; smaller blocks repack the left operand too often */
    STRETCH = 8 * COLS,                /* columns packed together */
    PLAIN_DEPTH = 1024,
    WIDE_VECS = 16 / LHS_WORDS / 2, /* tile of one row, in vectors */
    WIDE_DEPTH = 16,                /* rows of b streamed together: as many as hardware prefetchers follow */
    MOST_VECS = WIDE_VECS > VECS ? WIDE_VECS : VECS,
    LEFT_WORDS = 2 * BLOCK_ROWS * DEPTH * LHS_WORDS, /* a convolution keeps all its weights there if they fit */
    RIGHT_WORDS = BLOCK_COLS * DEPTH,
    OFFSET_WORDS = LEFT_WORDS / ROWS, /* for each word of a patch */
};

/* ---- register tile ------------------------------------------------------------------------------------------- */

/* c[rows, vecs*LANES] (op)= a[rows, depth] @ b[depth, vecs*LANES], depth > 0; `edge` masks the last vector of each row.
 * Packed: a holds ROWS elements per step, b COLS. Plain: elements a_row, a_col and rows b_row apart, where they lie. */
INLINE void tile(const int rows, const int vecs, const int packed, size_t depth, const uint64_t *a, ptrdiff_t a_row,
                 ptrdiff_t a_col, const uint64_t *b, ptrdiff_t b_row, uint64_t *c, ptrdiff_t c_row, mask edge,
                 int sign) {
    acc sums[ROWS][MOST_VECS];
    if (packed) /* the result is next needed after the whole depth: fetch it meanwhile */
        EACH(i, rows)
            EACH(line, (vecs * LANES + LINE - 1) / LINE) __builtin_prefetch(c + i * c_row + line * LINE, 1);
    EACH(i, rows)
        EACH(v, vecs) sums[i][v] = acc_zero();
    do {
        vec right[MOST_VECS];
        EACH(v, vecs) right[v] = !packed && v == vecs - 1 ? load_part(b + v * LANES, edge) : load(b + v * LANES);
        EACH(i, rows) {
            const lhs left = packed ? lhs_packed(a + i) : lhs_plain(a + i * a_row);
            EACH(v, vecs) sums[i][v] = acc_mac(sums[i][v], left, right[v]);
        }
        a += packed ? ROWS * LHS_WORDS : a_col;
        b += packed ? COLS : b_row;
    } while (--depth > 0); /* a loop that may run zero times costs GCC 12 a copy of every sum in each step */
    EACH(i, rows)
        EACH(v, vecs) {
            uint64_t *at = c + i * c_row + v * LANES;
            const vec sum = acc_total(sums[i][v]);
            if (v == vecs - 1)
                store_part(at, edge, sign == 0 ? sum : merge(load_part(at, edge), sum, sign));
            else
                store(at, sign == 0 ? sum : merge(load(at), sum, sign));
        }
}

/* A switch on the shape of a tile: one unrolled copy, CASE(rows, vecs), for each number of rows <= ROWS and of vectors
 * <= VECS. */
#define TILE_ROW_1(R, CASE) CASE(R, 1)
#define TILE_ROW_2(R, CASE) TILE_ROW_1(R, CASE) CASE(R, 2)
#define TILE_ROW_3(R, CASE) TILE_ROW_2(R, CASE) CASE(R, 3)
#define TILE_ROW_4(R, CASE) TILE_ROW_3(R, CASE) CASE(R, 4)
#define TILES_1(V, CASE) TILE_ROW_##V(1, CASE)
#define TILES_2(V, CASE) TILES_1(V, CASE) TILE_ROW_##V(2, CASE)
#define TILES_3(V, CASE) TILES_2(V, CASE) TILE_ROW_##V(3, CASE)
#define TILES_4(V, CASE) TILES_3(V, CASE) TILE_ROW_##V(4, CASE)
#define TILES_6(V, CASE) TILES_4(V, CASE) TILE_ROW_##V(5, CASE) TILE_ROW_##V(6, CASE)
#define TILES_8(V, CASE) TILES_6(V, CASE) TILE_ROW_##V(7, CASE) TILE_ROW_##V(8, CASE)
#define TILES__(R, V, CASE) TILES_##R(V, CASE)
#define TILES_(R, V, CASE) TILES__(R, V, CASE)
#define EACH_TILE(rows, vecs, CASE)                                                                                    \
    switch ((rows) * 8 + (vecs)) { TILES_(ROWS, VECS, CASE) }

#define PACKED_TILE(R, V)                                                                                              \
    case (R) * 8 + (V): tile(R, V, 1, depth, a, 0, 0, b, 0, c, c_row, edge, sign); return;
#define PLAIN_TILE(R, V)                                                                                               \
    case (R) * 8 + (V): tile(R, V, 0, depth, a, a_row, a_col, b, b_row, c, c_row, edge, sign); return;

static void packed_tile(size_t rows, size_t cols, size_t depth, const uint64_t *a, const uint64_t *b, uint64_t *c,
                        ptrdiff_t c_row, int sign) {
    const size_t vecs = (cols + LANES - 1) / LANES;
    const mask edge = mask_of(cols - (vecs - 1) * LANES);
    EACH_TILE(rows, vecs, PACKED_TILE)
}

static void plain_tile(size_t rows, size_t cols, size_t depth, const uint64_t *a, ptrdiff_t a_row, ptrdiff_t a_col,
                       const uint64_t *b, ptrdiff_t b_row, uint64_t *c, ptrdiff_t c_row, int sign) {
    const size_t vecs = (cols + LANES - 1) / LANES;
    const mask edge = mask_of(cols - (vecs - 1) * LANES);
    EACH_TILE(rows, vecs, PLAIN_TILE)
}

/* A left operand, packed in panels of ROWS rows or used where it lies. Packing pays when several tiles use a panel. */
typedef struct {
    const uint64_t *words;
    ptrdiff_t row, col;
    int packed;
} left_operand;

enum { FEW_PANELS = 4 };

/* Rows [first, first+rows) of `left` times a packed panel of the right operand. */
INLINE void panel_tile(left_operand left, size_t first, size_t rows, size_t cols, size_t depth, const uint64_t *right,
                       uint64_t *c, ptrdiff_t c_row, int sign) {
    if (left.packed)
        packed_tile(rows, cols, depth, left.words + first * depth * LHS_WORDS, right, c, c_row, sign);
    else
        plain_tile(rows, cols, depth, left.words + (ptrdiff_t)first * left.row, left.row, left.col, right, COLS, c,
                   c_row, sign);
}

/* ---- packing ------------------------------------------------------------------------------------------------- */

INLINE uint64_t swap_halves(uint64_t x) { return x >> 32 | x << 32; }

/* Panels of ROWS rows, element after element; the rows that a last panel lacks repeat its first and are not used. */
static left_operand pack_left(size_t rows, size_t depth, left_operand a, uint64_t *to) {
    const left_operand packed = {to, 0, 0, 1};
    for (size_t i = 0; i < rows; i += ROWS) {
        const size_t here = min_size(ROWS, rows - i);
        const uint64_t *row[ROWS];
        for (size_t r = 0; r < ROWS; r++) row[r] = a.words + (ptrdiff_t)(i + (r < here ? r : 0)) * a.row;
        for (size_t p = 0; p < depth; p++, to += ROWS * LHS_WORDS) {
            EACH(r, ROWS) {
                const uint64_t word = row[r][(ptrdiff_t)p * a.col];
                to[r] = word;
                if (LHS_WORDS == 2) to[ROWS + r] = swap_halves(word);
            }
        }
    }
    return packed;
}

/* to[0..count) = from[0..count), then zeros up to the next multiple of LANES. */
INLINE void copy_row(uint64_t *to, const uint64_t *from, size_t count) {
    size_t t = 0;
    for (; t + LANES <= count; t += LANES) store(to + t, load(from + t));
    if (t < count) store(to + t, load_part(from + t, mask_of(count - t)));
}

/* One panel of `cols` <= COLS columns; the columns that it lacks become zeros up to a multiple of LANES. */
static void pack_panel(size_t depth, size_t cols, const uint64_t *b, ptrdiff_t b_row, ptrdiff_t b_col, uint64_t *to) {
    const size_t padded = (cols + LANES - 1) / LANES * LANES;
    for (size_t j = 0; j < cols; j++) {
        const uint64_t *from = b + (ptrdiff_t)j * b_col;
        for (size_t p = 0; p < depth; p++, from += b_row) to[p * COLS + j] = *from;
    }
    for (size_t j = cols; j < padded; j++)
        for (size_t p = 0; p < depth; p++) to[p * COLS + j] = 0;
}

/* Panels of COLS columns. Rows that lie contiguous are read a stretch of several panels at a time: by a panel's width
 * alone, every page of b would be touched again for each panel. */
static void pack_right(size_t depth, size_t cols, const uint64_t *b, ptrdiff_t b_row, ptrdiff_t b_col, uint64_t *to) {
    if (b_col != 1) {
        for (size_t j = 0; j < cols; j += COLS)
            pack_panel(depth, min_size(COLS, cols - j), b + (ptrdiff_t)j * b_col, b_row, b_col, to + j * depth);
        return;
    }
    for (size_t j0 = 0; j0 < cols; j0 += STRETCH) {
        const size_t end = min_size(cols, j0 + STRETCH);
        for (size_t p = 0; p < depth; p++)
            for (size_t j = j0; j < end; j += COLS)
                copy_row(to + j * depth + p * COLS, b + (ptrdiff_t)p * b_row + j, min_size(COLS, end - j));
    }
}

/* ---- matrix product ------------------------------------------------------------------------------------------ */

/* One row times a matrix whose rows lie contiguous: a few of them at a time are streamed from end to end, unless they
 * are so short that the whole matrix is one stream. */
static void row_times_rows(const mpc_matmul_args *g) {
    enum { WIDE = WIDE_VECS * LANES };
    const size_t block = g->n > 8 * WIDE ? WIDE_DEPTH : PLAIN_DEPTH;
    for (size_t p = 0; p < g->k; p += block) {
        const size_t depth = min_size(block, g->k - p);
        const int sign = p > 0 && g->sign == 0 ? 1 : g->sign;
        const uint64_t *a = g->a + (ptrdiff_t)p * g->a_col, *b = g->b + (ptrdiff_t)p * g->b_row;
        size_t j = 0;
        for (; j + WIDE <= g->n; j += WIDE)
            tile(1, WIDE_VECS, 0, depth, a, 0, g->a_col, b + j, g->b_row, g->c + j, 0, mask_of(LANES), sign);
        for (; j < g->n; j += COLS)
            plain_tile(1, min_size(COLS, g->n - j), depth, a, 0, g->a_col, b + j, g->b_row, g->c + j, 0, sign);
    }
}

INLINE uint64_t combine(uint64_t old, uint64_t sum, int sign) {
    return sign == 0 ? sum : sign > 0 ? old + sum : old - sum;
}

/* to (op)= x . y, both contiguous. */
INLINE void dot(size_t k, const uint64_t *x, const uint64_t *y, uint64_t *to, int sign) {
    uint64_t sum = 0;
    for (size_t p = 0; p < k; p++) sum += x[p] * y[p];
    *to = combine(*to, sum, sign);
}

/* Four columns at a time, so that each word of x is read once for four products. */
static void row_times_columns(const mpc_matmul_args *g, const uint64_t *restrict x) {
    size_t j = 0;
    for (; j + 4 <= g->n; j += 4) {
        const uint64_t *y0 = g->b + (ptrdiff_t)j * g->b_col, *y1 = y0 + g->b_col, *y2 = y1 + g->b_col,
                       *y3 = y2 + g->b_col;
        uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (size_t p = 0; p < g->k; p++) {
            s0 += x[p] * y0[p];
            s1 += x[p] * y1[p];
            s2 += x[p] * y2[p];
            s3 += x[p] * y3[p];
        }
        uint64_t *c = g->c + j;
        c[0] = combine(c[0], s0, g->sign);
        c[1] = combine(c[1], s1, g->sign);
        c[2] = combine(c[2], s2, g->sign);
        c[3] = combine(c[3], s3, g->sign);
    }
    for (; j < g->n; j++) dot(g->k, x, g->b + (ptrdiff_t)j * g->b_col, g->c + j, g->sign);
}

/* Few rows, or few columns: b's rows lie contiguous and are used where they lie. */
static void skinny(const mpc_matmul_args *g) {
    for (size_t p = 0; p < g->k; p += PLAIN_DEPTH) {
        const size_t depth = min_size(PLAIN_DEPTH, g->k - p);
        const int sign = p > 0 && g->sign == 0 ? 1 : g->sign;
        for (size_t j = 0; j < g->n; j += COLS)
            for (size_t i = 0; i < g->m; i += ROWS)
                plain_tile(min_size(ROWS, g->m - i), min_size(COLS, g->n - j), depth,
                           g->a + (ptrdiff_t)i * g->a_row + (ptrdiff_t)p * g->a_col, g->a_row, g->a_col,
                           g->b + (ptrdiff_t)p * g->b_row + j, g->b_row, g->c + (ptrdiff_t)i * g->c_row + j, g->c_row,
                           sign);
    }
}

/* Packed panels of the right operand, times the left operand block by block (itself packed unless panels are few). */
static void blocked(const mpc_matmul_args *g, uint64_t *work) {
    uint64_t *left = work, *right = work + LEFT_WORDS;
    const size_t depth_block = even_block(g->k, DEPTH);
    for (size_t j0 = 0; j0 < g->n; j0 += BLOCK_COLS) {
        const size_t cols = min_size(BLOCK_COLS, g->n - j0);
        for (size_t p = 0; p < g->k; p += depth_block) {
            const size_t depth = min_size(depth_block, g->k - p);
            const int sign = p > 0 && g->sign == 0 ? 1 : g->sign;
            pack_right(depth, cols, g->b + (ptrdiff_t)p * g->b_row + (ptrdiff_t)j0 * g->b_col, g->b_row, g->b_col,
                       right);
            for (size_t i0 = 0; i0 < g->m; i0 += BLOCK_ROWS) {
                const size_t rows = min_size(BLOCK_ROWS, g->m - i0);
                left_operand a = {g->a + (ptrdiff_t)i0 * g->a_row + (ptrdiff_t)p * g->a_col, g->a_row, g->a_col, 0};
                if (cols > FEW_PANELS * COLS) a = pack_left(rows, depth, a, left);
                for (size_t j = 0; j < cols; j += COLS)
                    for (size_t i = 0; i < rows; i += ROWS)
                        panel_tile(a, i, min_size(ROWS, rows - i), min_size(COLS, cols - j), depth, right + j * depth,
                                   g->c + (ptrdiff_t)(i0 + i) * g->c_row + j0 + j, g->c_row, sign);
            }
        }
    }
}

static void matmul(const mpc_matmul_args *g, uint64_t *work) {
    if (g->m == 0 || g->n == 0) return;
    if (g->k == 0) {
        if (g->sign == 0)
            for (size_t i = 0; i < g->m; i++) memset(g->c + (ptrdiff_t)i * g->c_row, 0, g->n * sizeof(uint64_t));
        return;
    }
    if (g->m == 1 && g->b_col == 1) {
        row_times_rows(g);
        return;
    }
    if (g->m == 1 && g->b_row == 1) {
        const uint64_t *x = g->a;
        if (g->a_col != 1 && g->k <= LEFT_WORDS) {
            for (size_t p = 0; p < g->k; p++) work[p] = g->a[(ptrdiff_t)p * g->a_col];
            x = work;
        }
        if (x == work || g->a_col == 1) {
            row_times_columns(g, x);
            return;
        }
    }
    if (g->b_col == 1 && (g->m <= ROWS || g->n <= COLS)) {
        skinny(g);
        return;
    }
    blocked(g, work);
}
