/* The convolution, as the matrix product of the weights [outs, ins*k_h*k_w] with patches [ins*k_h*k_w, positions] that
 * are packed panel by panel straight from the image or, if outputs are few, read from a copy of it with its padding.
 * Included after linear.inc.h. */

#include "linear_patches.inc.h"

/* Rows [first, first+rows) of the weights times a panel, whose columns may lie in several images. */
static void conv_tile(const mpc_conv_args *g, left_operand left, size_t first, size_t rows, size_t depth,
                      const uint64_t *right, uint64_t *out, size_t from, size_t cols, int sign) {
    const size_t plane = g->out_h * g->out_w, image_words = plane * g->groups * g->outs;
    size_t image = from / plane, position = from % plane;
    out += first * plane;
    if (position + cols <= plane) {
        uint64_t *at = out + image * image_words + position;
        /* The tile of these rows in the next panel: its lines are a plane apart (LeNet's first layer, when it was
         * packed: 16 -> 24 G/s). */
        for (size_t i = 0; i < rows; i++)
            for (size_t v = COLS; v < 2 * COLS; v += LINE) __builtin_prefetch(at + i * plane + v, 1);
        panel_tile(left, first, rows, cols, depth, right, at, (ptrdiff_t)plane, sign);
        return;
    }
    uint64_t aside[ROWS * COLS];
    panel_tile(left, first, rows, cols, depth, right, aside, COLS, 0);
    for (size_t j = 0; j < cols; image++, position = 0) {
        const size_t count = min_size(cols - j, plane - position);
        for (size_t i = 0; i < rows; i++)
            combine_row(out + image * image_words + i * plane + position, aside + i * COLS + j, count, sign);
        j += count;
    }
}

/* ---- few outputs: patches would be packed to be used a few times (in a depthwise convolution: once) --------------
 *
 * Rows of the image are copied with their padding, and the tiles read the patches there: a word is copied once, not
 * once for each entry of the kernel. Vectors do not cross output rows, so that rows should fill them. */

/* A span is a vector of positions in one output row, or what is left of the row. */
typedef struct {
    const uint64_t *from; /* its first patch */
    uint64_t *to;         /* its place in output 0 */
    size_t count;
} span;

/* Outputs [first, first+rows) of `vecs` spans; w points to the weights of the first. */
INLINE void span_tile(const int rows, const int vecs, size_t depth, const uint64_t *w, const ptrdiff_t *offsets,
                      const span *spans, size_t first, size_t plane, int sign) {
    acc sums[ROWS][MOST_VECS];
    const uint64_t *from[MOST_VECS];
    EACH(v, vecs) {
        from[v] = spans[v].from;
        __asm__("" : "+r"(from[v])); /* GCC 12 would keep it in a vector register (ResNet's layer1: 10 % slower) */
    }
    const size_t w_row = depth;
    EACH(i, rows)
        EACH(v, vecs) sums[i][v] = acc_zero();
    do {
        const ptrdiff_t offset = *offsets++;
        vec right[MOST_VECS];
        EACH(v, vecs) right[v] = load(from[v] + offset);
        EACH(i, rows) {
            const lhs left = lhs_plain(w + i * w_row);
            EACH(v, vecs) sums[i][v] = acc_mac(sums[i][v], left, right[v]);
        }
        w++;
    } while (--depth > 0);
    EACH(v, vecs) {
        const mask here = mask_of(spans[v].count);
        EACH(i, rows) {
            uint64_t *to = spans[v].to + (first + i) * plane;
            const vec sum = acc_total(sums[i][v]);
            store_part(to, here, sign == 0 ? sum : merge(load_part(to, here), sum, sign));
        }
    }
}

#define SPAN_TILE(R, V)                                                                                                \
    case (R) * 8 + (V): span_tile(R, V, depth, w, offsets, spans, first, plane, sign); return;

/* The tile for any number of rows <= ROWS and of spans <= VECS, and for one row of WIDE_VECS spans. It fetches what the
 * next spans write, which is about where these end (LeNet's first layer: 33 -> 38 G/s). */
static void spans_tile(size_t rows, size_t vecs, size_t depth, const uint64_t *w, const ptrdiff_t *offsets,
                       const span *spans, size_t first, size_t plane, int sign) {
    for (size_t i = 0; i < rows; i++)
        for (size_t line = 0; line < (vecs * LANES + LINE - 1) / LINE; line++)
            __builtin_prefetch(spans[line * LINE / LANES].to + vecs * LANES + (first + i) * plane, 1);
    if (rows == 1 && vecs == WIDE_VECS)
        span_tile(1, WIDE_VECS, depth, w, offsets, spans, first, plane, sign);
    else
        EACH_TILE(rows, vecs, SPAN_TILE)
}

#include "linear_gradients.inc.h"

enum { BAND_WORDS = 1 << 15 }; /* 256 KiB: a band of the image shares the second-level cache with the weights */

static size_t spans_in_row(const mpc_conv_args *g) { return (g->out_w + LANES - 1) / LANES; }

/* The length of one residue of a row: the last span may read past what its positions need. */
static size_t phase_words(const mpc_conv_args *g) {
    return spans_in_row(g) * LANES + (g->k_w - 1) * g->dilation_w / g->stride_w;
}

/* Rows of the image, padding included, that `rows` output rows read. */
static size_t rows_read(const mpc_conv_args *g, size_t rows) {
    return (rows - 1) * g->stride_h + (g->k_h - 1) * g->dilation_h + 1;
}

/* Most output rows whose band fits; 0 if one row's does not. */
static size_t rows_in_band(const mpc_conv_args *g) {
    const size_t high = BAND_WORDS / (g->ins * phase_words(g) * g->stride_w), least = rows_read(g, 1);
    return high < least ? 0 : min_size(g->out_h, (high - least) / g->stride_h + 1);
}

/* Lanes that spans leave empty may cost one row of tiles, about what packing the patches costs, or two where packing
 * must mind the padding. The weights must fit in the second-level cache: they are read again for each tile's spans. */
static int is_direct(const mpc_conv_args *g) {
    const size_t inner = g->ins * g->k_h * g->k_w, empty = spans_in_row(g) * LANES - g->out_w;
    const size_t packing = g->pad_top > 0 || g->pad_left > 0 ? 2 * ROWS : ROWS;
    return g->outs * empty <= packing * g->out_w && g->outs * inner <= LEFT_WORDS && inner <= OFFSET_WORDS &&
           rows_in_band(g) > 0;
}

/* What output rows [y, y+rows) of one image read, with its padding. */
static void copy_band(const mpc_conv_args *g, const uint64_t *x, layout band, size_t y, size_t rows, uint64_t *to) {
    const ptrdiff_t first = (ptrdiff_t)(y * g->stride_h) - g->pad_top;
    for (size_t c = 0; c < g->ins; c++)
        for (size_t i = 0; i < rows_read(g, rows); i++) {
            const ptrdiff_t from = first + (ptrdiff_t)i;
            const int inside = from >= 0 && from < (ptrdiff_t)g->in_h;
            const uint64_t *row = x + (ptrdiff_t)c * g->x_channel + (inside ? from * (ptrdiff_t)g->in_w : 0);
            uint64_t *at = to + (ptrdiff_t)c * band.channel + (ptrdiff_t)i * band.row;
            for (size_t phase = 0; phase < g->stride_w; phase++, at += band.phase)
                copy_patch_row(at, row, (ptrdiff_t)phase - g->pad_left, g->stride_w, inside ? (ptrdiff_t)g->in_w : 0,
                               (size_t)band.phase);
        }
}

/* `rows` output rows of one image, whose band lies at `from`; `out` is where they begin in output 0. */
static void conv_band(const mpc_conv_args *g, const uint64_t *from, layout band, const ptrdiff_t *offsets,
                      const uint64_t *w, size_t rows, uint64_t *out) {
    const size_t inner = g->ins * g->k_h * g->k_w, plane = g->out_h * g->out_w;
    size_t x = 0;
    for (size_t left = rows * spans_in_row(g), count; left > 0; left -= count) {
        span spans[MOST_VECS];
        count = g->outs == 1 && left >= WIDE_VECS ? WIDE_VECS : min_size(VECS, left);
        for (size_t v = 0; v < count; v++) {
            spans[v] = (span){from + x, out + x, min_size(LANES, g->out_w - x)};
            x += LANES;
            if (x >= g->out_w) x = 0, from += (ptrdiff_t)g->stride_h * band.row, out += g->out_w;
        }
        for (size_t o = 0; o < g->outs; o += ROWS)
            spans_tile(min_size(ROWS, g->outs - o), count, inner, w + o * inner, offsets, spans, o, plane, g->sign);
    }
}

/* Output rows [from, to), counted through the images, band by band. */
static void conv2d_direct(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                          size_t to, uint64_t *work) {
    uint64_t *words = work + LEFT_WORDS;
    ptrdiff_t *offsets = (ptrdiff_t *)(words + RIGHT_WORDS);
    const size_t most = rows_in_band(g), phase = phase_words(g), row_words = phase * g->stride_w;
    const layout band = {(ptrdiff_t)(rows_read(g, most) * row_words), (ptrdiff_t)row_words, (ptrdiff_t)phase};
    find_offsets(g, band, 0, g->ins * g->k_h * g->k_w, offsets);
    for (size_t row = from, rows; row < to; row += rows) {
        const size_t image = row / g->out_h, y = row % g->out_h;
        rows = min_size(min_size(most, g->out_h - y), to - row);
        copy_band(g, x + (ptrdiff_t)image * g->x_image, band, y, rows, words);
        conv_band(g, words, band, offsets, w, rows, out + (image * g->groups * g->outs * g->out_h + y) * g->out_w);
    }
}

/* ---- the general case ------------------------------------------------------------------------------------------ */

/* Weights [outs, depth] times the packed patches of columns [from, from+cols). */
INLINE void conv_block(const mpc_conv_args *g, left_operand left, size_t outs, size_t depth, const uint64_t *right,
                       uint64_t *out, size_t from, size_t cols, int sign) {
    for (size_t j = 0; j < cols; j += COLS)
        for (size_t i = 0; i < outs; i += ROWS)
            conv_tile(g, left, i, min_size(ROWS, outs - i), depth, right + j * depth, out, from + j,
                      min_size(COLS, cols - j), sign);
}

/* Weights few enough to stay packed in the second-level cache: a panel of patches is used as soon as it is packed, out
 * of the first-level cache. */
static void conv2d_resident(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                            size_t to, uint64_t *work) {
    uint64_t *left = work, *right = work + LEFT_WORDS;
    ptrdiff_t *offsets = (ptrdiff_t *)(right + RIGHT_WORDS);
    const size_t inner = g->ins * g->k_h * g->k_w, depth_block = even_block(inner, DEPTH);
    const size_t tall = (g->outs + ROWS - 1) / ROWS * ROWS * LHS_WORDS;
    const int few = to - from <= FEW_PANELS * COLS;
    find_offsets(g, image_layout(g), 0, inner, offsets);
    for (size_t j = from; j < to; j += COLS)
        for (size_t p = 0; p < inner; p += depth_block) {
            const size_t depth = min_size(depth_block, inner - p), cols = min_size(COLS, to - j);
            left_operand weights = {few ? w + p : left + p * tall, (ptrdiff_t)inner, 1, !few};
            if (!few && j == from)
                pack_left(g->outs, depth, (left_operand){w + p, (ptrdiff_t)inner, 1, 0}, left + p * tall);
            pack_patches(g, x, p, depth, offsets + p, j, cols, right);
            conv_block(g, weights, g->outs, depth, right, out, j, cols, p > 0 && g->sign == 0 ? 1 : g->sign);
        }
}

/* More weights than that: they are packed again for each block of columns, unless panels are few. */
static void conv2d_blocked(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                           size_t to, uint64_t *work) {
    uint64_t *left = work, *right = work + LEFT_WORDS;
    ptrdiff_t *offsets = (ptrdiff_t *)(right + RIGHT_WORDS);
    const size_t inner = g->ins * g->k_h * g->k_w, plane = g->out_h * g->out_w, depth_block = even_block(inner, DEPTH);
    for (size_t j0 = from; j0 < to; j0 += BLOCK_COLS)
        for (size_t p = 0; p < inner; p += depth_block) {
            const size_t depth = min_size(depth_block, inner - p), cols = min_size(BLOCK_COLS, to - j0);
            const int sign = p > 0 && g->sign == 0 ? 1 : g->sign;
            find_offsets(g, image_layout(g), p, depth, offsets);
            for (size_t j = 0; j < cols; j += COLS)
                pack_patches(g, x, p, depth, offsets, j0 + j, min_size(COLS, cols - j), right + j * depth);
            for (size_t i = 0; i < g->outs; i += BLOCK_ROWS) {
                const size_t outs = min_size(BLOCK_ROWS, g->outs - i);
                left_operand weights = {w + i * inner + p, (ptrdiff_t)inner, 1, 0};
                if (cols > FEW_PANELS * COLS) weights = pack_left(outs, depth, weights, left);
                conv_block(g, weights, outs, depth, right, out + i * plane, j0, cols, sign);
            }
        }
}

/* Output rows [from, to) of one group, counted through the images. */
static void conv2d(const mpc_conv_args *g, size_t group, size_t from, size_t to, uint64_t *work) {
    const size_t inner = g->ins * g->k_h * g->k_w;
    const uint64_t *x = g->x + (ptrdiff_t)(group * g->ins) * g->x_channel;
    const uint64_t *w = g->w + (ptrdiff_t)(group * g->outs) * g->w_out;
    uint64_t *out = g->out + group * g->outs * g->out_h * g->out_w;
    if (is_dots(g))
        conv2d_dots(g, x, w, out, from, to, work);
    else if (is_spread(g))
        conv2d_spread(g, x, w, out, from, to, work);
    else if (is_direct(g))
        conv2d_direct(g, x, w, out, from, to, work);
    else if ((g->outs + ROWS - 1) / ROWS * ROWS * inner * LHS_WORDS <= LEFT_WORDS)
        conv2d_resident(g, x, w, out, from * g->out_w, to * g->out_w, work);
    else
        conv2d_blocked(g, x, w, out, from * g->out_w, to * g->out_w, work);
}

const mpc_linear_variant VARIANT = {matmul, conv2d, is_dots, LEFT_WORDS + RIGHT_WORDS + OFFSET_WORDS, COLS};
