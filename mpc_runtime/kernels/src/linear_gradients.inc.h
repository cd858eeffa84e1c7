/* Two convolutions that gradients are made of, where packing patches would take longer than multiplying them, or most
 * of what is multiplied would be padding. Included by linear_conv.inc.h after its span.
 *
 *     dots      the kernel is larger than the output's plane (the gradient of a layer's weights: the kernel is the
 *               gradient of its output). Every result is a dot product along the rows of both, where they lie.
 *     spread    every word of the image meets every entry of the kernel (the gradient of a layer's input, a transposed
 *               convolution). The image times an entry is added at the entry's place of the output; zeros around the
 *               image are not touched. */

/* ---- dots ---------------------------------------------------------------------------------------------------- */

enum {
    DOTS_WORDS = RIGHT_WORDS / 2, /* for the sums of all lanes, and for channels with their padding */
    DOTS_BLOCK = 2048,            /* words of the kernel that are used while they lie in the first-level cache */
};

static size_t rows_of_padded(const mpc_conv_args *g) {
    return (g->out_h - 1) * g->stride_h + (g->k_h - 1) * g->dilation_h + 1;
}

static size_t padded_width(const mpc_conv_args *g) { return (g->out_w - 1) * g->stride_w + g->k_w; }

static int is_padded(const mpc_conv_args *g) {
    return g->pad_top > 0 || g->pad_left > 0 || rows_of_padded(g) > g->in_h || padded_width(g) > g->in_w;
}

/* Rows of the kernel should fill vectors, and be long enough together for the sums of lanes at the end. */
static int is_dots(const mpc_conv_args *g) {
    const size_t plane = g->out_h * g->out_w, filled = (g->k_w + LANES - 1) / LANES * LANES;
    return g->dilation_w == 1 && plane <= g->k_h * g->k_w && 4 * g->k_w >= 3 * filled &&
           g->ins * g->k_h * g->k_w >= 64 * LANES && plane * g->outs * LANES <= DOTS_WORDS &&
           (!is_padded(g) || rows_of_padded(g) * padded_width(g) <= DOTS_WORDS);
}

/* The sums of all lanes for outputs [0, rows) at `vecs` positions, over some channels: added to sums[row][position].
 * x_row: words from a row of the image that the kernel meets to the next. */
INLINE void dots_tile(const int rows, const int vecs, const mpc_conv_args *g, size_t channels, const uint64_t *w,
                      const uint64_t *const *from, ptrdiff_t x_channel, ptrdiff_t x_row, uint64_t *sums,
                      ptrdiff_t sums_row) {
    acc parts[ROWS][MOST_VECS];
    const uint64_t *at[MOST_VECS];
    EACH(v, vecs) at[v] = from[v];
    EACH(i, rows)
        EACH(v, vecs) parts[i][v] = acc_zero();
    const size_t whole = g->k_w / LANES * LANES;
    const mask rest = mask_of(g->k_w - whole);
    for (size_t c = 0; c < channels; c++) {
        ptrdiff_t line = (ptrdiff_t)c * x_channel;
        const uint64_t *weights = w + (ptrdiff_t)c * g->w_channel;
        for (size_t y = 0; y < g->k_h; y++, line += x_row, weights += g->k_w) {
            for (size_t x = 0; x < whole; x += LANES) {
                vec right[MOST_VECS];
                EACH(v, vecs) right[v] = load(at[v] + line + x);
                EACH(i, rows) {
                    const lanes left = lanes_of(load(weights + i * g->w_out + x));
                    EACH(v, vecs) parts[i][v] = acc_mac_lanes(parts[i][v], left, right[v]);
                }
            }
            if (whole < g->k_w) {
                vec right[MOST_VECS];
                EACH(v, vecs) right[v] = load_part(at[v] + line + whole, rest);
                EACH(i, rows) {
                    const lanes left = lanes_of(load_part(weights + i * g->w_out + whole, rest));
                    EACH(v, vecs) parts[i][v] = acc_mac_lanes(parts[i][v], left, right[v]);
                }
            }
        }
    }
    EACH(i, rows)
        EACH(v, vecs) {
            uint64_t *to = sums + i * sums_row + v * LANES;
            store(to, add(load(to), acc_total(parts[i][v])));
        }
}

#define DOTS_TILE(R, V)                                                                                                \
    case (R) * 8 + (V): dots_tile(R, V, g, channels, w, from, x_channel, x_row, sums, sums_row); return;

static void dots_tiles(size_t rows, size_t vecs, const mpc_conv_args *g, size_t channels, const uint64_t *w,
                       const uint64_t *const *from, ptrdiff_t x_channel, ptrdiff_t x_row, uint64_t *sums,
                       ptrdiff_t sums_row) {
    EACH_TILE(rows, vecs, DOTS_TILE)
}

/* Rows [0, rows) of channels of the image with its padding, `wide` words each. */
static void pad_channels(const mpc_conv_args *g, const uint64_t *x, size_t channels, size_t rows, size_t wide,
                         uint64_t *to) {
    for (size_t c = 0; c < channels; c++)
        for (size_t y = 0; y < rows; y++, to += wide) {
            const ptrdiff_t from = (ptrdiff_t)y - g->pad_top;
            const int inside = from >= 0 && from < (ptrdiff_t)g->in_h;
            const uint64_t *row = x + (ptrdiff_t)c * g->x_channel + (inside ? from * (ptrdiff_t)g->in_w : 0);
            copy_patch_row(to, row, -g->pad_left, 1, inside ? (ptrdiff_t)g->in_w : 0, wide);
        }
}

/* Output rows [from, from+rows) of one image. Channels are taken a few at a time, so that what a row of tiles
 * reads stays in the first-level cache; the sums lie aside meanwhile, a vector for each result. */
static void dots_of_image(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                          size_t rows, uint64_t *work) {
    const size_t high = rows_of_padded(g), wide = padded_width(g), count = rows * g->out_w, plane = g->out_h * g->out_w;
    const int padded = is_padded(g);
    uint64_t *sums = work, *aside = work + DOTS_WORDS;
    const ptrdiff_t row = padded ? (ptrdiff_t)wide : (ptrdiff_t)g->in_w;
    size_t block = DOTS_BLOCK / (ROWS * g->k_h * g->k_w);
    if (padded && block > DOTS_WORDS / (high * wide)) block = DOTS_WORDS / (high * wide);
    if (block == 0) block = 1;
    memset(sums, 0, g->outs * count * LANES * sizeof(uint64_t));
    for (size_t c = 0; c < g->ins; c += block) {
        const size_t channels = min_size(block, g->ins - c);
        const uint64_t *image = x + (ptrdiff_t)c * g->x_channel;
        if (padded) pad_channels(g, image, channels, high, wide, aside), image = aside;
        const ptrdiff_t channel = padded ? (ptrdiff_t)(high * wide) : g->x_channel;
        for (size_t o = 0; o < g->outs; o += ROWS)
            for (size_t p = 0, vecs; p < count; p += vecs) {
                const uint64_t *at[MOST_VECS];
                vecs = min_size(VECS, count - p);
                for (size_t v = 0; v < vecs; v++) {
                    const size_t y = from + (p + v) / g->out_w, z = (p + v) % g->out_w;
                    at[v] = image + (ptrdiff_t)(y * g->stride_h) * row + (ptrdiff_t)(z * g->stride_w);
                }
                dots_tiles(min_size(ROWS, g->outs - o), vecs, g, channels,
                           w + (ptrdiff_t)o * g->w_out + (ptrdiff_t)c * g->w_channel, at, channel,
                           row * (ptrdiff_t)g->dilation_h, sums + (o * count + p) * LANES, (ptrdiff_t)(count * LANES));
            }
    }
    for (size_t o = 0; o < g->outs; o++)
        for (size_t p = 0; p < count; p++) {
            uint64_t sum = 0, *to = out + o * plane + from * g->out_w + p;
            for (size_t i = 0; i < LANES; i++) sum += sums[(o * count + p) * LANES + i];
            *to = combine(*to, sum, g->sign);
        }
}

/* Output rows [from, to), counted through the images. */
static void conv2d_dots(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                        size_t to, uint64_t *work) {
    for (size_t row = from, rows; row < to; row += rows) {
        const size_t image = row / g->out_h, y = row % g->out_h;
        rows = min_size(g->out_h - y, to - row);
        dots_of_image(g, x + (ptrdiff_t)image * g->x_image, w,
                      out + image * g->groups * g->outs * g->out_h * g->out_w, y, rows, work + LEFT_WORDS);
    }
}

/* ---- spread -------------------------------------------------------------------------------------------------- */

enum { SPREAD_COST = 4 }; /* of adding a tile to the output, in multiplications for each of its words */

static int is_spread(const mpc_conv_args *g) {
    const ptrdiff_t high = (ptrdiff_t)((g->k_h - 1) * g->dilation_h), wide = (ptrdiff_t)((g->k_w - 1) * g->dilation_w);
    const size_t filled = (g->in_w + LANES - 1) / LANES * LANES;
    return g->stride_h == 1 && g->stride_w == 1 && g->pad_top >= high && g->pad_left >= wide &&
           g->out_h >= g->in_h + (size_t)g->pad_top && g->out_w >= g->in_w + (size_t)g->pad_left &&
           g->in_h * filled * (g->ins + SPREAD_COST) <= g->out_h * g->out_w * g->ins &&
           (g->outs + ROWS - 1) / ROWS * ROWS * g->ins * g->k_h * g->k_w * LHS_WORDS <= LEFT_WORDS;
}

/* The image's words in up to `vecs` spans times one entry of the kernel, for outputs [0, rows), added to or subtracted
 * from what is there. full: every span is a vector. */
INLINE void spread_tile(const int rows, const int vecs, const int full, size_t ins, const uint64_t *w,
                        ptrdiff_t channel, const span *spans, ptrdiff_t shift, size_t plane, int sign) {
    acc sums[ROWS][MOST_VECS];
    const uint64_t *from[MOST_VECS];
    mask here[MOST_VECS];
    EACH(v, vecs) {
        from[v] = spans[v].from;
        here[v] = mask_of(full ? LANES : spans[v].count);
    }
    EACH(i, rows)
        EACH(v, vecs) sums[i][v] = acc_zero();
    do {
        vec right[MOST_VECS];
        EACH(v, vecs) {
            right[v] = full ? load(from[v]) : load_part(from[v], here[v]);
            from[v] += channel;
        }
        EACH(i, rows) {
            const lhs left = lhs_packed(w + i);
            EACH(v, vecs) sums[i][v] = acc_mac(sums[i][v], left, right[v]);
        }
        w += ROWS * LHS_WORDS;
    } while (--ins > 0);
    EACH(v, vecs)
        EACH(i, rows) {
            uint64_t *to = spans[v].to + shift + i * plane;
            const vec sum = acc_total(sums[i][v]);
            if (full)
                store(to, merge(load(to), sum, sign));
            else
                store_part(to, here[v], merge(load_part(to, here[v]), sum, sign));
        }
}

#define SPREAD_FULL(R, V)                                                                                              \
    case (R) * 8 + (V): spread_tile(R, V, 1, ins, w, channel, spans, shift, plane, sign); return;
#define SPREAD_PART(R, V)                                                                                              \
    case (R) * 8 + (V): spread_tile(R, V, 0, ins, w, channel, spans, shift, plane, sign); return;

static void spread_tiles(size_t rows, size_t vecs, int full, size_t ins, const uint64_t *w, ptrdiff_t channel,
                         const span *spans, ptrdiff_t shift, size_t plane, int sign) {
    if (full) EACH_TILE(rows, vecs, SPREAD_FULL)
    EACH_TILE(rows, vecs, SPREAD_PART)
}

/* Up to VECS spans of an image, of one row if `apart`, from word x of row y on, which move behind them. */
static size_t next_spans(const mpc_conv_args *g, const uint64_t *image, uint64_t *out, size_t *y, size_t *x, int apart,
                         span *spans) {
    size_t count = 0;
    while (count < VECS && *y < g->in_h) {
        spans[count++] = (span){image + *y * g->in_w + *x,
                                out + (*y + (size_t)g->pad_top) * g->out_w + *x + (size_t)g->pad_left,
                                min_size(LANES, g->in_w - *x)};
        *x += LANES;
        if (*x < g->in_w) continue;
        *x = 0, ++*y;
        if (apart) break;
    }
    return count;
}

/* Output rows [first, first+rows) of one image; `left` holds the weights, packed for each entry of the kernel. */
static void spread_image(const mpc_conv_args *g, const uint64_t *image, const uint64_t *left, uint64_t *out,
                         size_t first, size_t rows) {
    const size_t plane = g->out_h * g->out_w, panel = g->ins * ROWS * LHS_WORDS;
    const int part = rows < g->out_h; /* then rows of the image differ in what they reach */
    if (g->sign == 0)
        for (size_t o = 0; o < g->outs; o++)
            memset(out + o * plane + first * g->out_w, 0, rows * g->out_w * sizeof(uint64_t));
    for (size_t y = 0, x = 0; y < g->in_h;) {
        span spans[MOST_VECS];
        const size_t row = y + (size_t)g->pad_top, count = next_spans(g, image, out, &y, &x, part, spans);
        int full = 1;
        for (size_t v = 0; v < count; v++) full &= spans[v].count == LANES;
        const uint64_t *w = left;
        for (size_t ky = 0; ky < g->k_h; ky++) {
            const size_t up = ky * g->dilation_h;
            const int outside = part && (row - up < first || row - up >= first + rows);
            for (size_t kx = 0; kx < g->k_w; kx++)
                for (size_t o = 0; o < g->outs; o += ROWS, w += panel)
                    if (!outside)
                        spread_tiles(min_size(ROWS, g->outs - o), count, full, g->ins, w, g->x_channel, spans,
                                     (ptrdiff_t)(o * plane) - (ptrdiff_t)(up * g->out_w + kx * g->dilation_w), plane,
                                     g->sign < 0 ? -1 : 1);
        }
    }
}

/* Output rows [from, to), counted through the images. */
static void conv2d_spread(const mpc_conv_args *g, const uint64_t *x, const uint64_t *w, uint64_t *out, size_t from,
                          size_t to, uint64_t *work) {
    const size_t window = g->k_h * g->k_w, tall = (g->outs + ROWS - 1) / ROWS * ROWS * LHS_WORDS;
    for (size_t entry = 0; entry < window; entry++) {
        const left_operand weights = {w + entry, (ptrdiff_t)(g->ins * window), (ptrdiff_t)window, 0};
        pack_left(g->outs, g->ins, weights, work + entry * tall * g->ins);
    }
    for (size_t row = from, rows; row < to; row += rows) {
        const size_t image = row / g->out_h, y = row % g->out_h;
        rows = min_size(g->out_h - y, to - row);
        spread_image(g, x + (ptrdiff_t)image * g->x_image, work,
                     out + image * g->groups * g->outs * g->out_h * g->out_w, y, rows);
    }
}
