/* Matrix product and convolution with AMX, whose tiles multiply bytes. With x = sum of x[i] 2^(8i),
 *
 *     x y mod 2^64 = sum over i + j < 8 of x[i] y[j] 2^(8(i+j)):    36 products of bytes for one of words.
 *
 * Sums of products with the same i + j share a tile of 16 x 16 sums mod 2^32. Those of i + j >= 4 count mod 2^32 only;
 * of the others at most four products of 255^2 are added for each step of depth, which DEPTH keeps below 2^32.
 * Small products go to the AVX-512 variant, where the model of both costs says so. */
#include "cpu.h"

#if MPC_AMX_COMPILED
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "linear.h"

MPC_TARGET_PUSH(MPC_TARGET_AVX512 ",avx512vbmi,amx-tile,amx-int8")

#include "linear_vec512.inc.h"

#define COLS 16

#include "linear_base.inc.h"
#include "linear_limbs.inc.h"
#include "linear_patches.inc.h"

enum {
    DEPTH = 512,          /* of a packed panel: 64 KiB */
    BLOCK_COLS = 256,     /* packed together: 1 MiB, half of the second-level cache */
    FEW_COLS = 4 * SIDE,  /* where the left operand stays packed */
    STEPS = DEPTH / STEP, /* blocks of a panel */
    LEFT_BYTES = 1 << 19, /* room for a left operand that stays packed, or for one panel of another */
    RIGHT_BYTES = BLOCK_COLS / SIDE * STEPS * BLOCK,
    SUM_BYTES = LIMBS * TILE,
    BAND_BYTES = 1 << 20, /* of an image, half of the second-level cache */
    OFFSETS = 1 << 15,    /* four channels of this many entries of kernels, at most */
    SLACK_BYTES = STEP,   /* behind the band: whole vectors are read */
    WORK_BYTES = LEFT_BYTES + RIGHT_BYTES + SUM_BYTES + BAND_BYTES + SLACK_BYTES + OFFSETS * (int)sizeof(ptrdiff_t),
};
_Static_assert(4ull * 255 * 255 * DEPTH < 1ull << 32, "sums of low limbs must not wrap");
_Static_assert(LEFT_BYTES >= STEPS * BLOCK, "a panel must fit");

typedef struct {
    uint8_t *left, *right, *sums;
    uint8_t *band;      /* of a convolution's image, */
    ptrdiff_t *offsets; /* and of its patches */
} workspace;

static workspace cut_workspace(uint64_t *work) {
    workspace w = {.left = (uint8_t *)work};
    w.right = w.left + LEFT_BYTES;
    w.sums = w.right + RIGHT_BYTES;
    w.band = w.sums + SUM_BYTES;
    w.offsets = (ptrdiff_t *)(w.band + BAND_BYTES + SLACK_BYTES);
    return w;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* GCC's tile intrinsics do not tell the compiler what memory they read or write. */
#define MEMORY_BARRIER() __asm__ volatile("" ::: "memory")

static void begin_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.row_bytes[i] = STEP, shape.rows[i] = SIDE;
    __asm__ volatile("" ::"r"(&shape) : "memory");
    _tile_loadconfig(&shape);
}

/* A thread that leaves tiles behind makes each switch to another one save 8 KiB. */
static void end_tiles(void) { _tile_release(); }

#define LEFT_LIMB(i) _tile_loadd(4, left + (i) * TILE, STEP);
#define TIMES(sum, tile, j)                                                                                            \
    _tile_loadd(tile, right + (j) * TILE, STEP);                                                                       \
    _tile_dpbuud(sum, 4, tile);
#define FOUR_SUMS_TO(to)                                                                                               \
    _tile_stored(0, to, STEP);                                                                                         \
    _tile_stored(1, (to) + TILE, STEP);                                                                                \
    _tile_stored(2, (to) + 2 * TILE, STEP);                                                                            \
    _tile_stored(3, (to) + 3 * TILE, STEP);
#define FOUR_ZERO_SUMS()                                                                                               \
    _tile_zero(0);                                                                                                     \
    _tile_zero(1);                                                                                                     \
    _tile_zero(2);                                                                                                     \
    _tile_zero(3);

/* Eight tiles of sums, those of i + j = s at `sums + s * TILE`, from panels of `steps` blocks. Consecutive products go
 * to different sums, as each takes three times as long as it keeps the multiplier busy. */
static void multiply_panels(const uint8_t *left, const uint8_t *right, size_t steps, uint8_t *sums) {
    const uint8_t *const first_left = left, *const first_right = right;
    MEMORY_BARRIER();
    FOUR_ZERO_SUMS()
    for (size_t step = 0; step < steps; step++, left += BLOCK, right += BLOCK) {
        LEFT_LIMB(0) TIMES(0, 5, 4) TIMES(1, 6, 5) TIMES(2, 7, 6) TIMES(3, 5, 7)
        LEFT_LIMB(1) TIMES(0, 6, 3) TIMES(1, 7, 4) TIMES(2, 5, 5) TIMES(3, 6, 6)
        LEFT_LIMB(2) TIMES(0, 7, 2) TIMES(1, 5, 3) TIMES(2, 6, 4) TIMES(3, 7, 5)
        LEFT_LIMB(3) TIMES(0, 5, 1) TIMES(1, 6, 2) TIMES(2, 7, 3) TIMES(3, 5, 4)
        LEFT_LIMB(4) TIMES(0, 6, 0) TIMES(1, 7, 1) TIMES(2, 5, 2) TIMES(3, 6, 3)
        LEFT_LIMB(5) TIMES(1, 7, 0) TIMES(2, 5, 1) TIMES(3, 6, 2)
        LEFT_LIMB(6) TIMES(2, 7, 0) TIMES(3, 5, 1)
        LEFT_LIMB(7) TIMES(3, 6, 0)
    }
    FOUR_SUMS_TO(sums + 4 * TILE)
    left = first_left, right = first_right;
    FOUR_ZERO_SUMS()
    for (size_t step = 0; step < steps; step++, left += BLOCK, right += BLOCK) {
        LEFT_LIMB(0) TIMES(0, 5, 0) TIMES(1, 6, 1) TIMES(2, 7, 2) TIMES(3, 5, 3)
        LEFT_LIMB(1) TIMES(1, 6, 0) TIMES(2, 7, 1) TIMES(3, 5, 2)
        LEFT_LIMB(2) TIMES(2, 6, 0) TIMES(3, 7, 1)
        LEFT_LIMB(3) TIMES(3, 5, 0)
    }
    FOUR_SUMS_TO(sums)
    MEMORY_BARRIER();
}

/* Row `row` of the sums as two vectors of words. */
INLINE void words_of_sums(const uint8_t *sums, size_t row, vec words[2]) {
    __m512i s[LIMBS];
    EACH(i, LIMBS) s[i] = load_bytes(sums + i * TILE + row * STEP);
    const __m512i high = _mm512_add_epi32(_mm512_add_epi32(s[4], _mm512_slli_epi32(s[5], 8)),
                                          _mm512_add_epi32(_mm512_slli_epi32(s[6], 16), _mm512_slli_epi32(s[7], 24)));
    EACH(h, 2) {
        __m512i low[4];
        EACH(i, 4)
            low[i] = _mm512_cvtepu32_epi64(h ? _mm512_extracti64x4_epi64(s[i], 1) : _mm512_castsi512_si256(s[i]));
        const __m256i top = h ? _mm512_extracti64x4_epi64(high, 1) : _mm512_castsi512_si256(high);
        words[h] = add(add(add(low[0], _mm512_slli_epi64(low[1], 8)),
                           add(_mm512_slli_epi64(low[2], 16), _mm512_slli_epi64(low[3], 24))),
                       _mm512_slli_epi64(_mm512_cvtepu32_epi64(top), 32));
    }
}

/* to[rows, cols] (op)= the words of the sums, rows `to_row` apart. */
static void store_sums(const uint8_t *sums, size_t rows, size_t cols, uint64_t *to, ptrdiff_t to_row, int sign) {
    const mask edges[2] = {mask_of(min_size(LANES, cols)), mask_of(cols > LANES ? cols - LANES : 0)};
    for (size_t r = 0; r < rows; r++, to += to_row) {
        vec words[2];
        words_of_sums(sums, r, words);
        EACH(h, 2) {
            if (edges[h] == 0) continue;
            uint64_t *at = to + h * LANES;
            store_part(at, edges[h], sign == 0 ? words[h] : merge(load_part(at, edges[h]), words[h], sign));
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* Packs rows [i, i+rows) of the left operand, rows <= 16, from depth `first` on. */
typedef void pack_left(const void *product, size_t i, size_t rows, size_t first, size_t depth, uint8_t *to);

/* Packs columns [j, j+cols) of the right operand, cols <= 16. */
typedef void pack_right(const void *product, size_t j, size_t cols, size_t first, size_t depth, uint8_t *to);

/* Merges sums into rows [i, i+rows) and columns [j, j+cols) of the result. */
typedef void store_result(const void *product, const uint8_t *sums, size_t i, size_t rows, size_t j, size_t cols,
                          int sign);

static size_t steps_of(size_t depth) { return (depth + STEP - 1) / STEP; }

/* The product [m, k] @ [k, n] of operands that two of the functions read; the third merges the result. */
INLINE void run_product(const void *product, size_t m, size_t n, size_t k, int sign, pack_left left_panel,
                        pack_right right_panel, store_result store, workspace w) {
    const size_t all_steps = steps_of(k);
    const int stays = (m + SIDE - 1) / SIDE * all_steps * BLOCK <= LEFT_BYTES;
    const size_t block_cols = stays ? FEW_COLS : BLOCK_COLS;
    begin_tiles();
    for (size_t j0 = 0; j0 < n; j0 += block_cols) {
        const size_t end = min_size(n, j0 + block_cols);
        for (size_t p = 0; p < k; p += DEPTH) {
            const size_t depth = min_size(DEPTH, k - p), panel = steps_of(depth) * BLOCK;
            for (size_t j = j0; j < end; j += SIDE)
                right_panel(product, j, min_size(SIDE, end - j), p, depth, w.right + (j - j0) / SIDE * panel);
            for (size_t i = 0; i < m; i += SIDE) {
                const size_t rows = min_size(SIDE, m - i);
                uint8_t *left = w.left + (stays ? (i / SIDE * all_steps + p / STEP) * BLOCK : 0);
                if (!stays || j0 == 0) left_panel(product, i, rows, p, depth, left);
                for (size_t j = j0; j < end; j += SIDE) {
                    multiply_panels(left, w.right + (j - j0) / SIDE * panel, steps_of(depth), w.sums);
                    store(product, w.sums, i, rows, j, min_size(SIDE, end - j), p > 0 && sign == 0 ? 1 : sign);
                }
            }
        }
    }
    end_tiles();
}

/* Whether the product [m, k] @ [k, n] takes less time here, where whole tiles are multiplied and stored, than in the
 * AVX-512 variant. In cycles, as seen on a Xeon of 2023. `depth`: k as it is packed; `packing`: of a word of the right
 * operand. A block is multiplied in 580 cycles, or in 2,600 where the processor slows its tiles down to save power. */
static int is_worth_tiles(size_t m, size_t n, size_t k, size_t depth, double packing) {
    const double rows = (double)((m + SIDE - 1) / SIDE), cols = (double)((n + SIDE - 1) / SIDE);
    const double steps = (double)steps_of(depth), words = steps * STEP * SIDE;
    const double here = 600 + rows * cols * (1200 * steps + 400) + rows * words + cols * words * packing;
    const double there = 0.3 * (double)m * (double)n * (double)k;
    return here < there;
}

static void left_of_matrix(const void *product, size_t i, size_t rows, size_t first, size_t depth, uint8_t *to) {
    const mpc_matmul_args *g = product;
    const uint64_t *from = g->a + (ptrdiff_t)i * g->a_row + (ptrdiff_t)first * g->a_col;
    for (size_t at = 0; at < depth; at += STEP, to += BLOCK)
        pack_block(from + (ptrdiff_t)at * g->a_col, g->a_row, g->a_col, rows, min_size(STEP, depth - at), 0, to);
}

static void right_of_matrix(const void *product, size_t j, size_t cols, size_t first, size_t depth, uint8_t *to) {
    const mpc_matmul_args *g = product;
    const uint64_t *from = g->b + (ptrdiff_t)first * g->b_row + (ptrdiff_t)j * g->b_col;
    for (size_t at = 0; at < depth; at += STEP, to += BLOCK)
        pack_block(from + (ptrdiff_t)at * g->b_row, g->b_col, g->b_row, cols, min_size(STEP, depth - at), 1, to);
}

static void store_matrix(const void *product, const uint8_t *sums, size_t i, size_t rows, size_t j, size_t cols,
                         int sign) {
    const mpc_matmul_args *g = product;
    store_sums(sums, rows, cols, g->c + (ptrdiff_t)i * g->c_row + j, g->c_row, sign);
}

static void matmul(const mpc_matmul_args *g, uint64_t *work) {
    if (is_worth_tiles(g->m, g->n, g->k, g->k, 1))
        run_product(g, g->m, g->n, g->k, g->sign, left_of_matrix, right_of_matrix, store_matrix, cut_workspace(work));
    else
        mpc_linear_avx512.matmul(g, work);
}

/* ---- convolution -------------------------------------------------------------------------------------------------
 *
 * Weights [outs, depth] times patches [depth, positions], as in linear_conv.inc.h, but depth is (channels / 4, kernel
 * row, kernel column, 4). A band of the padded image is cut into limbs once, four channels side by side, so that the
 * patches of neighbouring positions lie side by side as well. */

typedef struct {
    const mpc_conv_args *g;
    const uint64_t *w;        /* of the group */
    uint64_t *out;            /* of the group */
    const ptrdiff_t *offsets; /* of quads of patches, in quads */
    uint8_t *band;
    layout in;            /* of the band, in quads */
    size_t limb, image;   /* bytes from one limb, and quads from one image, to the next */
    size_t first, rows;   /* output rows that the band holds, counted through the images, */
    size_t top;           /* and which of the image's output rows its first row of quads belongs to */
} convolution;

static size_t quads_of(const mpc_conv_args *g) { return (g->ins + QUAD - 1) / QUAD * g->k_h * g->k_w; }

/* Kernel entries that follow each other in one row of channels are a run of quads. */
static void left_of_weights(const void *product, size_t i, size_t rows, size_t first, size_t depth, uint8_t *to) {
    const mpc_conv_args *g = ((const convolution *)product)->g;
    const size_t window = g->k_h * g->k_w, inner = g->ins * window;
    const size_t end = (first + depth) / QUAD;
    memset(to, 0, steps_of(depth) * BLOCK);
    for (size_t quad = first / QUAD, count; quad < end; quad += count) {
        const size_t four = quad / window, entry = quad % window, at = (quad - first / QUAD) % SIDE;
        count = min_size(min_size(window - entry, SIDE - at), end - quad);
        uint8_t *tile = to + (quad - first / QUAD) / SIDE * BLOCK + at * QUAD;
        for (size_t r = 0; r < rows; r++)
            quad_to_limbs(((const convolution *)product)->w + (i + r) * inner + four * QUAD * window + entry,
                          (ptrdiff_t)window, min_size(QUAD, g->ins - four * QUAD), first_lanes(count),
                          first_lanes(count), tile + r * STEP, TILE);
    }
}

/* A stretch of positions of one panel in one output row; `quads` is where the panel's first would lie in that row. */
typedef struct {
    const uint8_t *quads;
    __mmask16 columns;
} stretch;

static size_t find_stretches(const convolution *c, size_t j, size_t cols, stretch *found) {
    const mpc_conv_args *g = c->g;
    size_t count = 0, row = c->first + j / g->out_w, x = j % g->out_w;
    for (size_t at = 0; at < cols; count++, row++, x = 0) {
        const size_t here = min_size(cols - at, g->out_w - x);
        const size_t image = row / g->out_h - c->first / g->out_h, y = row % g->out_h - c->top;
        const ptrdiff_t quad = (ptrdiff_t)(image * c->image + y * g->stride_h * (size_t)c->in.row + x) - (ptrdiff_t)at;
        found[count] = (stretch){c->band + quad * QUAD, (__mmask16)(((1u << here) - 1) << at)};
        at += here;
    }
    return count;
}

INLINE void copy_quads(const convolution *c, const stretch *found, size_t count, size_t first, size_t quads,
                       uint8_t *to) {
    for (size_t quad = 0; quad < quads; quad++) {
        const ptrdiff_t offset = c->offsets[first + quad] * QUAD;
        uint8_t *row = to + quad / SIDE * BLOCK + quad % SIDE * STEP;
        EACH(i, LIMBS) {
            const ptrdiff_t at = offset + i * (ptrdiff_t)c->limb;
            __m512i v = _mm512_maskz_loadu_epi32(found[0].columns, found[0].quads + at);
            for (size_t s = 1; s < count; s++) v = _mm512_mask_loadu_epi32(v, found[s].columns, found[s].quads + at);
            store_bytes(row + i * TILE, v);
        }
    }
}

static void right_of_patches(const void *product, size_t j, size_t cols, size_t first, size_t depth, uint8_t *to) {
    const convolution *c = product;
    stretch found[SIDE];
    const size_t count = find_stretches(c, j, cols, found), quads = depth / QUAD, missing = quads % SIDE;
    switch (count) {
    case 1: copy_quads(c, found, 1, first / QUAD, quads, to); break;
    case 2: copy_quads(c, found, 2, first / QUAD, quads, to); break;
    default: copy_quads(c, found, count, first / QUAD, quads, to);
    }
    if (missing)
        for (size_t i = 0; i < LIMBS; i++)
            memset(to + quads / SIDE * BLOCK + i * TILE + missing * STEP, 0, (SIDE - missing) * STEP);
}

/* The columns may lie in several images. */
static void store_positions(const void *product, const uint8_t *sums, size_t i, size_t rows, size_t j, size_t cols,
                            int sign) {
    const convolution *c = product;
    const mpc_conv_args *g = c->g;
    const size_t plane = g->out_h * g->out_w, image_words = plane * g->groups * g->outs, from = c->first * g->out_w + j;
    size_t image = from / plane, position = from % plane;
    uint64_t *out = c->out + i * plane;
    if (position + cols <= plane) {
        store_sums(sums, rows, cols, out + image * image_words + position, (ptrdiff_t)plane, sign);
        return;
    }
    uint64_t aside[SIDE * SIDE];
    store_sums(sums, rows, cols, aside, SIDE, 0);
    for (size_t at = 0; at < cols; image++, position = 0) {
        const size_t count = min_size(cols - at, plane - position);
        for (size_t r = 0; r < rows; r++)
            combine_row(out + image * image_words + r * plane + position, aside + r * SIDE + at, count, sign);
        at += count;
    }
}

/* Rows of the image, padding included, that `rows` output rows read. */
static size_t rows_read(const mpc_conv_args *g, size_t rows) {
    return (rows - 1) * g->stride_h + (g->k_h - 1) * g->dilation_h + 1;
}

/* The quads of one residue of a row of the band; whole vectors are written. */
static size_t phase_quads(const mpc_conv_args *g) {
    return (g->out_w + (g->k_w - 1) * g->dilation_w / g->stride_w + SIDE - 1) / SIDE * SIDE;
}

/* Bytes that `rows` output rows of one image take in the band. */
static size_t band_bytes(const mpc_conv_args *g, size_t rows) {
    return (g->ins + QUAD - 1) / QUAD * rows_read(g, rows) * phase_quads(g) * g->stride_w * QUAD * LIMBS;
}

/* 16 quads of a row of `channels` <= 4 channels: columns left, left + stride_w ... of the image, zero outside of it. */
INLINE void fill_quads(const mpc_conv_args *g, const uint64_t *from, size_t channels, ptrdiff_t left, uint8_t *to,
                       size_t limb) {
    const ptrdiff_t wide = (ptrdiff_t)g->in_w;
    if (g->stride_w == 1) {
        const size_t before = left < 0 ? min_size(SIDE, (size_t)-left) : 0;
        const size_t end = left < wide ? min_size(SIDE, (size_t)(wide - left)) : 0;
        const __mmask16 there = first_lanes(end) & (__mmask16)~first_lanes(before);
        quad_to_limbs(from + left, g->x_channel, channels, there, first_lanes(SIDE), to, limb);
        return;
    }
    uint64_t words[QUAD][SIDE];
    for (size_t q = 0; q < channels; q++)
        copy_patch_row(words[q], from + (ptrdiff_t)q * g->x_channel, left, g->stride_w, wide, SIDE);
    quad_to_limbs(words[0], SIDE, channels, first_lanes(SIDE), first_lanes(SIDE), to, limb);
}

/* What the band's output rows of one image read, from the image's words on. */
static void fill_band(const convolution *c, const uint64_t *x, size_t rows, uint8_t *to) {
    const mpc_conv_args *g = c->g;
    const ptrdiff_t first = (ptrdiff_t)(c->top * g->stride_h) - g->pad_top, wide = (ptrdiff_t)g->in_w;
    const size_t phase = phase_quads(g);
    for (size_t channel = 0; channel < g->ins; channel += QUAD)
        for (size_t i = 0; i < rows_read(g, rows); i++) {
            const ptrdiff_t y = first + (ptrdiff_t)i;
            const int inside = y >= 0 && y < (ptrdiff_t)g->in_h;
            const uint64_t *from = x + (ptrdiff_t)channel * g->x_channel + (inside ? y * wide : 0);
            uint8_t *row = to + ((ptrdiff_t)(channel / QUAD) * c->in.channel + (ptrdiff_t)i * c->in.row) * QUAD;
            for (size_t residue = 0; residue < g->stride_w; residue++)
                for (size_t at = 0; at < phase; at += SIDE, row += SIDE * QUAD)
                    fill_quads(g, from, inside ? min_size(QUAD, g->ins - channel) : 0,
                               (ptrdiff_t)(at * g->stride_w + residue) - g->pad_left, row, c->limb);
        }
}

/* One by one: the positions' words lie in rows already. */
static void conv2d_pointwise(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                             size_t to, uint64_t *work) {
    const size_t plane = g->out_h * g->out_w;
    for (size_t row = from, rows; row < to; row += rows) {
        const size_t image = row / g->out_h, y = row % g->out_h;
        rows = min_size(g->out_h - y, to - row);
        const mpc_matmul_args product = {
            .m = g->outs, .n = rows * g->out_w, .k = g->ins,
            .a = w, .a_row = (ptrdiff_t)g->ins, .a_col = 1,
            .b = x + (ptrdiff_t)image * g->x_image + y * g->out_w, .b_row = g->x_channel, .b_col = 1,
            .c = out + image * g->groups * g->outs * plane + y * g->out_w, .c_row = (ptrdiff_t)plane,
            .sign = g->sign};
        matmul(&product, work);
    }
}

/* Output rows [from, to) of one group, counted through the images, band by band: several images, or a part of one. */
static void conv2d(const mpc_conv_args *g, size_t group, size_t from, size_t to, uint64_t *work) {
    const size_t inner = g->ins * g->k_h * g->k_w, quads = quads_of(g);
    const uint64_t *x = g->x + (ptrdiff_t)(group * g->ins) * g->x_channel, *w = g->w + group * g->outs * inner;
    uint64_t *out = g->out + group * g->outs * g->out_h * g->out_w;
    if (g->k_h * g->k_w * g->stride_h * g->stride_w == 1 && g->out_h == g->in_h && g->out_w == g->in_w) {
        conv2d_pointwise(g, x, w, out, from, to, work);
        return;
    }
    const size_t positions = (to - from) * g->out_w;
    if (quads > OFFSETS || band_bytes(g, 1) > BAND_BYTES ||
        !is_worth_tiles(g->outs, positions, inner, quads * QUAD, 0.3)) {
        mpc_linear_avx512.conv2d(g, group, from, to, work);
        return;
    }
    size_t most = 1;
    while (most < g->out_h && band_bytes(g, most + 1) <= BAND_BYTES) most++;
    const size_t images = most == g->out_h ? BAND_BYTES / band_bytes(g, most) : 1;
    const workspace work_of = cut_workspace(work);
    const size_t phase = phase_quads(g), row_quads = phase * g->stride_w, high = rows_read(g, most);
    convolution c = {.g = g, .w = w, .out = out, .offsets = work_of.offsets, .band = work_of.band};
    c.in = (layout){(ptrdiff_t)(high * row_quads), (ptrdiff_t)row_quads, (ptrdiff_t)phase};
    c.image = (g->ins + QUAD - 1) / QUAD * high * row_quads;
    c.limb = images * c.image * QUAD;
    find_offsets(g, c.in, 0, quads, work_of.offsets);
    for (size_t row = from; row < to; row += c.rows) {
        c.first = row;
        c.top = images > 1 ? 0 : row % g->out_h;
        c.rows = min_size(images > 1 ? images * g->out_h - row % g->out_h : min_size(most, g->out_h - c.top), to - row);
        for (size_t image = row / g->out_h; image * g->out_h < row + c.rows; image++)
            fill_band(&c, x + (ptrdiff_t)image * g->x_image, images > 1 ? g->out_h : c.rows,
                      c.band + (image - row / g->out_h) * c.image * QUAD);
        run_product(&c, g->outs, c.rows * g->out_w, quads * QUAD, g->sign, left_of_weights, right_of_patches,
                    store_positions, work_of);
    }
}

static int any_weights(const mpc_conv_args *g) { return (void)g, 0; }

const mpc_linear_variant mpc_linear_amx = {matmul, conv2d, any_weights, WORK_BYTES / sizeof(uint64_t), SIDE};

MPC_TARGET_POP
#endif
