/* The right operand of a convolution as a matrix product: patches [ins*k_h*k_w, positions], packed panel by panel of COLS
 * positions straight from the image. Included after what linear.inc.h says a wrapper defines, and COLS.
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

/* Planes `channel` words apart, of rows `row` apart. If `phase` is not 0, a row is cut into the residues of its columns
 * mod stride_w, `phase` apart: so the words that neighbouring positions read lie side by side. */
typedef struct {
    ptrdiff_t channel, row, phase;
} layout;

static layout image_layout(const mpc_conv_args *g) { return (layout){g->x_channel, (ptrdiff_t)g->in_w, 0}; }

/* Where rows [first, first+depth) of the patch matrix lie, from the patch's first word. */
static void find_offsets(const mpc_conv_args *g, layout in, size_t first, size_t depth, ptrdiff_t *offsets) {
    const size_t window = g->k_h * g->k_w;
    size_t channel = first / window, ky = first % window / g->k_w, kx = first % g->k_w;
    for (size_t p = 0; p < depth; p++) {
        const size_t x = kx * g->dilation_w;
        const size_t phase = in.phase ? x % g->stride_w : 0, column = in.phase ? x / g->stride_w : x;
        offsets[p] = (ptrdiff_t)channel * in.channel + (ptrdiff_t)(ky * g->dilation_h) * in.row +
                     (ptrdiff_t)phase * in.phase + (ptrdiff_t)column;
        if (++kx == g->k_w) {
            kx = 0;
            if (++ky == g->k_h) ky = 0, channel++;
        }
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
 * lie a plane apart for each channel, where no hardware prefetcher finds them (LeNet's second layer, packed:
 * 16 -> 25 G/s). */
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
