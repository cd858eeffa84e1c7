/* The convolution, as the matrix product of the weights [outs, ins*k_h*k_w] with patches [ins*k_h*k_w, positions] that
 * are packed panel by panel straight from the image. Included after linear.inc.h.
 *
 * A position is (image, out_y, out_x), counted through all images, so that small planes still fill the tiles. */

/* A run is a stretch of positions of one panel in one output row. */
typedef struct {
    size_t first, count;    /* columns of the panel */
    const uint64_t *image;  /* channel 0 of the group */
    ptrdiff_t y, x;         /* where its first patch starts in the image; may lie in the padding */
} run;

INLINE size_t find_runs(const mpc_conv_args *g, const uint64_t *x, size_t from, size_t cols, run *runs) {
    const size_t plane = g->out_h * g->out_w;
    size_t found = 0;
    size_t image = from / plane, out_y = from % plane / g->out_w, out_x = from % plane % g->out_w;
    for (size_t j = 0; j < cols; found++) {
        const size_t count = min_size(cols - j, g->out_w - out_x);
        runs[found] = (run){j, count, x + (ptrdiff_t)image * g->x_image, (ptrdiff_t)(out_y * g->stride_h) - g->pad_top,
                            (ptrdiff_t)(out_x * g->stride_w) - g->pad_left};
        j += count;
        out_x = 0;
        if (++out_y == g->out_h) out_y = 0, image++;
    }
    return found;
}

/* to[t] = row[x + t*stride] where that lies in [0, width), else 0. */
INLINE void copy_patch_row(uint64_t *to, const uint64_t *row, ptrdiff_t x, size_t stride, ptrdiff_t width, size_t count) {
    const ptrdiff_t last = x + (ptrdiff_t)((count - 1) * stride);
    if (x >= 0 && last < width) {
        if (stride == 1)
            for (size_t t = 0; t < count; t++) to[t] = row[x + (ptrdiff_t)t];
        else
            for (size_t t = 0; t < count; t++) to[t] = row[x + (ptrdiff_t)(t * stride)];
        return;
    }
    for (size_t t = 0; t < count; t++, x += (ptrdiff_t)stride) to[t] = x >= 0 && x < width ? row[x] : 0;
}

/* Rows [first, first+depth) of the patch matrix for one run, COLS apart in `to`. */
INLINE void pack_run(const mpc_conv_args *g, const run *r, size_t first, size_t depth, uint64_t *to) {
    const size_t window = g->k_h * g->k_w;
    size_t channel = first / window, ky = first % window / g->k_w, kx = first % window % g->k_w;
    const ptrdiff_t width = (ptrdiff_t)g->in_w;
    const ptrdiff_t reach = (ptrdiff_t)((r->count - 1) * g->stride_w);
    for (size_t p = 0; p < depth;) {
        const size_t here = min_size(depth - p, g->k_w - kx);
        const ptrdiff_t y = r->y + (ptrdiff_t)(ky * g->dilation_h);
        const ptrdiff_t x = r->x + (ptrdiff_t)(kx * g->dilation_w);
        const ptrdiff_t last = x + (ptrdiff_t)((here - 1) * g->dilation_w) + reach;
        const uint64_t *row = r->image + (ptrdiff_t)channel * g->x_channel + y * width;
        uint64_t *at = to + p * COLS;
        if (y < 0 || y >= (ptrdiff_t)g->in_h) {
            for (size_t s = 0; s < here; s++, at += COLS) memset(at, 0, r->count * sizeof(uint64_t));
        } else if (g->stride_w == 1 && x >= 0 && last < width) {
            const size_t whole = r->count / LANES * LANES;
            const mask edge = mask_of(r->count - whole);
            for (size_t s = 0; s < here; s++, at += COLS) {
                const uint64_t *from = row + x + (ptrdiff_t)(s * g->dilation_w);
                for (size_t t = 0; t < whole; t += LANES) store(at + t, load(from + t));
                if (whole < r->count) store_part(at + whole, edge, load_part(from + whole, edge));
            }
        } else {
            for (size_t s = 0; s < here; s++, at += COLS)
                copy_patch_row(at, row, x + (ptrdiff_t)(s * g->dilation_w), g->stride_w, width, r->count);
        }
        p += here;
        kx = 0;
        if (++ky == g->k_h) ky = 0, channel++;
    }
}

static void pack_patches(const mpc_conv_args *g, const uint64_t *x, size_t first, size_t depth, size_t from, size_t cols,
                         uint64_t *to) {
    run runs[COLS];
    const size_t found = find_runs(g, x, from, cols, runs);
    for (size_t i = 0; i < found; i++) pack_run(g, &runs[i], first, depth, to + runs[i].first);
    const size_t padded = (cols + LANES - 1) / LANES * LANES;
    for (size_t j = cols; j < padded; j++)
        for (size_t p = 0; p < depth; p++) to[p * COLS + j] = 0;
}

/* A tile whose columns may lie in several images: computed aside if they do. */
static void conv_tile(const mpc_conv_args *g, size_t rows, size_t depth, const uint64_t *left, const uint64_t *right,
                      uint64_t *out, size_t from, size_t cols, int sign) {
    const size_t plane = g->out_h * g->out_w, image_words = plane * g->groups * g->outs;
    const size_t image = from / plane, position = from % plane;
    if (position + cols <= plane) {
        packed_tile(rows, cols, depth, left, right, out + image * image_words + position, (ptrdiff_t)plane, sign);
        return;
    }
    uint64_t aside[ROWS * COLS];
    packed_tile(rows, cols, depth, left, right, aside, COLS, 0);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            uint64_t *at = out + (from + j) / plane * image_words + i * plane + (from + j) % plane;
            *at = combine(*at, aside[i * COLS + j], sign);
        }
}

static void conv2d(const mpc_conv_args *g, size_t group, size_t from, size_t to, uint64_t *work) {
    uint64_t *left = work, *right = work + LEFT_WORDS;
    const size_t inner = g->ins * g->k_h * g->k_w, plane = g->out_h * g->out_w;
    const size_t depth_block = even_block(inner, DEPTH);
    const uint64_t *x = g->x + (ptrdiff_t)(group * g->ins) * g->x_channel;
    const uint64_t *w = g->w + group * g->outs * inner;
    uint64_t *out = g->out + group * g->outs * plane;
    const int one_block = g->outs <= BLOCK_ROWS && inner <= DEPTH;
    if (one_block) pack_left(g->outs, inner, w, (ptrdiff_t)inner, 1, left);
    /* With one block of weights a panel is used as soon as it is packed and stays in the first-level cache. */
    const size_t block_cols = one_block ? COLS : BLOCK_COLS;
    for (size_t j0 = from; j0 < to; j0 += block_cols) {
        const size_t cols = min_size(block_cols, to - j0);
        for (size_t p = 0; p < inner; p += depth_block) {
            const size_t depth = min_size(depth_block, inner - p);
            const int sign = p > 0 && g->sign == 0 ? 1 : g->sign;
            for (size_t j = 0; j < cols; j += COLS)
                pack_patches(g, x, p, depth, j0 + j, min_size(COLS, cols - j), right + j * depth);
            for (size_t i0 = 0; i0 < g->outs; i0 += BLOCK_ROWS) {
                const size_t rows = min_size(BLOCK_ROWS, g->outs - i0);
                if (!one_block) pack_left(rows, depth, w + i0 * inner + p, (ptrdiff_t)inner, 1, left);
                for (size_t j = 0; j < cols; j += COLS)
                    for (size_t i = 0; i < rows; i += ROWS)
                        conv_tile(g, min_size(ROWS, rows - i), depth, left + i * depth * LHS_WORDS, right + j * depth,
                                  out + (i0 + i) * plane, j0 + j, min_size(COLS, cols - j), sign);
            }
        }
    }
}

const mpc_linear_variant VARIANT = {matmul, conv2d, LEFT_WORDS + RIGHT_WORDS, COLS};
