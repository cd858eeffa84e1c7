/* The convolution, as the matrix product of the weights [outs, ins*k_h*k_w] with patches [ins*k_h*k_w, positions] that
 * are packed panel by panel straight from the image. Included after linear.inc.h.
 *
 * A position is (image, out_y, out_x), counted through all images, so that small planes still fill the tiles. */

/* A run is a stretch of positions of one panel in one output row. */
typedef struct {
    size_t first, count;   /* columns of the panel */
    const uint64_t *image; /* channel 0 of the group */
    ptrdiff_t y, x;        /* where its first patch starts in the image; may lie in the padding */
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
INLINE void copy_patch_row(uint64_t *to, const uint64_t *row, ptrdiff_t x, size_t stride, ptrdiff_t width,
                           size_t count) {
    size_t t = 0;
    for (; t < count && x < 0; t++, x += (ptrdiff_t)stride) to[t] = 0;
    if (stride == 1) {
        const size_t inside = t < count && x < width ? min_size(count - t, (size_t)(width - x)) : 0;
        memcpy(to + t, row + x, inside * sizeof(uint64_t));
        t += inside;
    } else {
        for (; t < count && x < width; t++, x += (ptrdiff_t)stride) to[t] = row[x];
    }
    for (; t < count; t++) to[t] = 0;
}

/* Where rows [first, first+depth) of the patch matrix lie, from the patch's first word. */
static void find_offsets(const mpc_conv_args *g, size_t first, size_t depth, ptrdiff_t *offsets) {
    const size_t window = g->k_h * g->k_w;
    for (size_t p = first; p < first + depth; p++) {
        const size_t ky = p % window / g->k_w, kx = p % g->k_w;
        *offsets++ =
            (ptrdiff_t)(p / window) * g->x_channel + (ptrdiff_t)(ky * g->dilation_h * g->in_w + kx * g->dilation_w);
    }
}

/* A run of up to `vecs` vectors whose patches lie wholly in the image. */
INLINE void pack_inner_run(const int vecs, const uint64_t *from, const ptrdiff_t *offsets, size_t depth, mask edge,
                           uint64_t *to) {
    for (size_t p = 0; p < depth; p++, to += COLS) {
        const uint64_t *at = from + offsets[p];
        EACH(v, vecs - 1) store(to + v * LANES, load(at + v * LANES));
        store_part(to + (vecs - 1) * LANES, edge, load_part(at + (vecs - 1) * LANES, edge));
    }
}

/* Rows [first, first+depth) of the patch matrix for one run, COLS apart in `to`. */
INLINE void pack_run(const mpc_conv_args *g, const run *r, size_t first, size_t depth, const ptrdiff_t *offsets,
                     uint64_t *to) {
    const ptrdiff_t wide = (ptrdiff_t)g->in_w, high = (ptrdiff_t)g->in_h;
    const ptrdiff_t last_x = r->x + (ptrdiff_t)((r->count - 1) * g->stride_w + (g->k_w - 1) * g->dilation_w);
    const ptrdiff_t last_y = r->y + (ptrdiff_t)((g->k_h - 1) * g->dilation_h);
    if (g->stride_w == 1 && r->x >= 0 && last_x < wide && r->y >= 0 && last_y < high) {
        const uint64_t *from = r->image + r->y * wide + r->x;
        const size_t vecs = (r->count + LANES - 1) / LANES;
        const mask edge = mask_of(r->count - (vecs - 1) * LANES);
        switch (vecs) {
        case 1: pack_inner_run(1, from, offsets, depth, edge, to); return;
        case 2: pack_inner_run(2, from, offsets, depth, edge, to); return;
        case 3: pack_inner_run(3, from, offsets, depth, edge, to); return;
        case 4: pack_inner_run(4, from, offsets, depth, edge, to); return;
        }
    }
    const size_t window = g->k_h * g->k_w;
    size_t channel = first / window, ky = first % window / g->k_w, kx = first % g->k_w;
    for (size_t p = 0; p < depth; p++, to += COLS) {
        const ptrdiff_t y = r->y + (ptrdiff_t)(ky * g->dilation_h), x = r->x + (ptrdiff_t)(kx * g->dilation_w);
        const uint64_t *row = r->image + (ptrdiff_t)channel * g->x_channel + y * wide;
        copy_patch_row(to, row, x, g->stride_w, y >= 0 && y < high ? wide : 0, r->count);
        if (++kx == g->k_w) {
            kx = 0;
            if (++ky == g->k_h) ky = 0, channel++;
        }
    }
}

/* Fetches what the panel that starts at `from` reads first: the image rows that the panel before has not touched. They
 * lie a plane apart for each channel, where no hardware prefetcher finds them (LeNet's second layer: 16 -> 25 G/s). */
static void prefetch_patches(const mpc_conv_args *g, const uint64_t *x, size_t first, size_t depth, size_t from) {
    const size_t positions = g->images * g->out_h * g->out_w, window = g->k_h * g->k_w;
    if (from >= positions) return;
    run runs[COLS];
    const size_t found = find_runs(g, x, from, min_size(COLS, positions - from), runs);
    for (const run *r = runs; r < runs + found; r++) {
        const size_t fresh = r->y == -g->pad_top ? g->k_h : min_size(g->stride_h, g->k_h);
        const ptrdiff_t left = r->x < 0 ? 0 : r->x;
        const ptrdiff_t end = r->x + (ptrdiff_t)((r->count - 1) * g->stride_w + (g->k_w - 1) * g->dilation_w) + 1;
        const ptrdiff_t right = end < (ptrdiff_t)g->in_w ? end : (ptrdiff_t)g->in_w;
        for (size_t channel = first / window; channel * window < first + depth; channel++)
            for (size_t ky = g->k_h - fresh; ky < g->k_h; ky++) {
                const ptrdiff_t y = r->y + (ptrdiff_t)(ky * g->dilation_h);
                if (y < 0 || y >= (ptrdiff_t)g->in_h) continue;
                const uint64_t *row = r->image + (ptrdiff_t)channel * g->x_channel + y * (ptrdiff_t)g->in_w;
                for (ptrdiff_t at = left; at < right; at += LINE) __builtin_prefetch(row + at);
            }
    }
}

static void pack_patches(const mpc_conv_args *g, const uint64_t *x, size_t first, size_t depth,
                         const ptrdiff_t *offsets, size_t from, size_t cols, uint64_t *to) {
    run runs[COLS];
    const size_t found = find_runs(g, x, from, cols, runs);
    for (size_t i = 0; i < found; i++) pack_run(g, &runs[i], first, depth, offsets, to + runs[i].first);
    prefetch_patches(g, x, first, depth, from + cols);
    const size_t padded = (cols + LANES - 1) / LANES * LANES;
    for (size_t j = cols; j < padded; j++)
        for (size_t p = 0; p < depth; p++) to[p * COLS + j] = 0;
}

/* Rows [first, first+rows) of the weights times a panel, whose columns may lie in several images. */
static void conv_tile(const mpc_conv_args *g, left_operand left, size_t first, size_t rows, size_t depth,
                      const uint64_t *right, uint64_t *out, size_t from, size_t cols, int sign) {
    const size_t plane = g->out_h * g->out_w, image_words = plane * g->groups * g->outs;
    size_t image = from / plane, position = from % plane;
    out += first * plane;
    if (position + cols <= plane) {
        uint64_t *at = out + image * image_words + position;
        /* The tile of these rows in the next panel: its lines are a plane apart (LeNet's first layer: 16 -> 24 G/s). */
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

/* ---- few outputs in a group (a depthwise convolution has one): patches would be packed to be used once ---------- */

static size_t padded_width(const mpc_conv_args *g) { return (g->out_w - 1) + (g->k_w - 1) * g->dilation_w + 1; }
static size_t padded_height(const mpc_conv_args *g) {
    return (g->out_h - 1) * g->stride_h + (g->k_h - 1) * g->dilation_h + 1;
}

static int is_direct(const mpc_conv_args *g) {
    return g->stride_w == 1 && g->outs * 4 <= ROWS + 1 && padded_width(g) * padded_height(g) * g->ins <= RIGHT_WORDS;
}

/* The planes of one image, of `ins` channels, with their padding. */
static void pad_planes(const mpc_conv_args *g, const uint64_t *x, uint64_t *to) {
    const size_t wide = padded_width(g), high = padded_height(g);
    for (size_t c = 0; c < g->ins; c++)
        for (size_t y = 0; y < high; y++, to += wide) {
            const ptrdiff_t from = (ptrdiff_t)y - g->pad_top;
            if (from < 0 || from >= (ptrdiff_t)g->in_h)
                memset(to, 0, wide * sizeof(uint64_t));
            else
                copy_patch_row(to, x + (ptrdiff_t)c * g->x_channel + from * (ptrdiff_t)g->in_w, -g->pad_left, 1,
                               (ptrdiff_t)g->in_w, wide);
        }
}

/* `vecs` vectors of one output row. */
INLINE void direct_tile(const mpc_conv_args *g, const int vecs, const uint64_t *padded, const uint64_t *w,
                        uint64_t *out, mask edge) {
    const size_t wide = padded_width(g), plane = wide * padded_height(g);
    acc sums[VECS];
    EACH(v, vecs) sums[v] = acc_zero();
    for (size_t c = 0; c < g->ins; c++)
        for (size_t ky = 0; ky < g->k_h; ky++) {
            const uint64_t *from = padded + c * plane + ky * g->dilation_h * wide;
            for (size_t kx = 0; kx < g->k_w; kx++, w++, from += g->dilation_w) {
                const lhs weight = lhs_plain(w);
                EACH(v, vecs)
                    sums[v] = acc_mac(sums[v], weight,
                                      v == vecs - 1 ? load_part(from + v * LANES, edge) : load(from + v * LANES));
            }
        }
    EACH(v, vecs) {
        uint64_t *at = out + v * LANES;
        const vec sum = acc_total(sums[v]);
        const mask here = v == vecs - 1 ? edge : mask_of(LANES);
        store_part(at, here, g->sign == 0 ? sum : merge(load_part(at, here), sum, g->sign));
    }
}

/* Output rows [from, to) of all images, counted through. */
static void conv2d_direct(const mpc_conv_args *g, size_t group, size_t from, size_t to, uint64_t *padded) {
    const size_t inner = g->ins * g->k_h * g->k_w, plane = g->out_h * g->out_w;
    for (size_t row = from; row < to; row++) {
        const size_t image = row / g->out_h, y = row % g->out_h;
        if (row == from || y == 0)
            pad_planes(g, g->x + (ptrdiff_t)image * g->x_image + (ptrdiff_t)(group * g->ins) * g->x_channel, padded);
        for (size_t o = 0; o < g->outs; o++) {
            uint64_t *out = g->out + ((image * g->groups + group) * g->outs + o) * plane + y * g->out_w;
            const uint64_t *w = g->w + (group * g->outs + o) * inner,
                           *patch = padded + y * g->stride_h * padded_width(g);
            size_t x = 0;
            for (; x + COLS <= g->out_w; x += COLS) direct_tile(g, VECS, patch + x, w, out + x, mask_of(LANES));
            for (; x < g->out_w; x += LANES)
                direct_tile(g, 1, patch + x, w, out + x, mask_of(min_size(LANES, g->out_w - x)));
        }
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
    find_offsets(g, 0, inner, offsets);
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
            find_offsets(g, p, depth, offsets);
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
    const uint64_t *x = g->x + (ptrdiff_t)(group * g->ins) * g->x_channel, *w = g->w + group * g->outs * inner;
    uint64_t *out = g->out + group * g->outs * g->out_h * g->out_w;
    if (is_direct(g))
        conv2d_direct(g, group, from, to, work);
    else if ((g->outs + ROWS - 1) / ROWS * ROWS * inner * LHS_WORDS <= LEFT_WORDS)
        conv2d_resident(g, x, w, out, from * g->out_w, to * g->out_w, work);
    else
        conv2d_blocked(g, x, w, out, from * g->out_w, to * g->out_w, work);
}

const mpc_linear_variant VARIANT = {matmul, conv2d, LEFT_WORDS + RIGHT_WORDS + OFFSET_WORDS, COLS};
