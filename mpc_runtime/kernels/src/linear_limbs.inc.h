/* Words cut into their eight bytes, in the two layouts of the AMX tiles. Included by linear_amx.c.
 *
 *     left tile     [16 rows][64 depth]             a row's bytes lie side by side
 *     right tile    [16 quads of depth][16 columns][4]    so do the four bytes that one step multiplies
 *
 * Tile i of a block of eight holds byte i of each word. */

enum {
    SIDE = 16,           /* rows and columns of a tile of sums */
    STEP = 64,           /* depth of a block */
    QUAD = 4,            /* depth of a right tile's row */
    TILE = SIDE * STEP,  /* bytes of a tile */
    LIMBS = 8,           /* of a word */
    BLOCK = LIMBS * TILE /* bytes of a block */
};

INLINE __m512i load_bytes(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE void store_bytes(uint8_t *p, __m512i v) { _mm512_storeu_si512(p, v); }

/* The eight bytes of 64 words: byte i of all of them to `to + i * TILE`. */
INLINE void store_row_limbs(const vec words[8], uint8_t *to) {
    const __m512i bytes_of_8 = _mm512_set_epi8(63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45,
                                               37, 29, 21, 13, 5, 60, 52, 44, 36, 28, 20, 12, 4, 59, 51, 43, 35, 27, 19,
                                               11, 3, 58, 50, 42, 34, 26, 18, 10, 2, 57, 49, 41, 33, 25, 17, 9, 1, 56,
                                               48, 40, 32, 24, 16, 8, 0);
    __m512i v[8], even[4], odd[4];
    EACH(q, 8) v[q] = _mm512_permutexvar_epi8(bytes_of_8, words[q]); /* quadword i: byte i of eight words */
    EACH(q, 4) {
        even[q] = _mm512_unpacklo_epi64(v[2 * q], v[2 * q + 1]);
        odd[q] = _mm512_unpackhi_epi64(v[2 * q], v[2 * q + 1]);
    }
    EACH(high, 2) {
        const __m512i *t = high ? odd : even;
        const __m512i a02 = _mm512_shuffle_i64x2(t[0], t[1], 0x88), a13 = _mm512_shuffle_i64x2(t[0], t[1], 0xdd);
        const __m512i b02 = _mm512_shuffle_i64x2(t[2], t[3], 0x88), b13 = _mm512_shuffle_i64x2(t[2], t[3], 0xdd);
        store_bytes(to + (0 + high) * TILE, _mm512_shuffle_i64x2(a02, b02, 0x88));
        store_bytes(to + (2 + high) * TILE, _mm512_shuffle_i64x2(a13, b13, 0x88));
        store_bytes(to + (4 + high) * TILE, _mm512_shuffle_i64x2(a02, b02, 0xdd));
        store_bytes(to + (6 + high) * TILE, _mm512_shuffle_i64x2(a13, b13, 0xdd));
    }
}

/* Rows of contiguous words, `row` apart, as a block of left tiles; what is missing is zero. */
static void rows_to_left(const uint64_t *from, ptrdiff_t row, size_t rows, size_t depth, uint8_t *to) {
    for (size_t r = 0; r < SIDE; r++, to += STEP) {
        vec words[8];
        for (size_t q = 0; q < 8; q++) {
            const size_t first = q * LANES, here = r < rows && first < depth ? min_size(LANES, depth - first) : 0;
            words[q] = here ? load_part(from + (ptrdiff_t)r * row + first, mask_of(here)) : _mm512_setzero_si512();
        }
        store_row_limbs(words, to);
    }
}

/* Four rows of 16 words each, two vectors a row: the four bytes i of each column in `columns` to `to + i * limb`. */
INLINE void store_quad_limbs(const vec rows[QUAD][2], __mmask16 columns, uint8_t *to, size_t limb) {
    const __m512i order = _mm512_set_epi32(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
    __m512i even[2][2], odd[2][2]; /* [half][low or high limbs]: each lane one column's four limbs */
    EACH(h, 2) {
        const __m512i ab_even = _mm512_unpacklo_epi8(rows[0][h], rows[1][h]);
        const __m512i ab_odd = _mm512_unpackhi_epi8(rows[0][h], rows[1][h]);
        const __m512i cd_even = _mm512_unpacklo_epi8(rows[2][h], rows[3][h]);
        const __m512i cd_odd = _mm512_unpackhi_epi8(rows[2][h], rows[3][h]);
        even[h][0] = _mm512_unpacklo_epi16(ab_even, cd_even), even[h][1] = _mm512_unpackhi_epi16(ab_even, cd_even);
        odd[h][0] = _mm512_unpacklo_epi16(ab_odd, cd_odd), odd[h][1] = _mm512_unpackhi_epi16(ab_odd, cd_odd);
    }
    EACH(high, 2) {
        __m512i low_pair[2], high_pair[2];
        EACH(h, 2) {
            low_pair[h] = _mm512_unpacklo_epi32(even[h][high], odd[h][high]);
            high_pair[h] = _mm512_unpackhi_epi32(even[h][high], odd[h][high]);
        }
        const __m512i limbs[QUAD] = {
            _mm512_unpacklo_epi64(low_pair[0], low_pair[1]), _mm512_unpackhi_epi64(low_pair[0], low_pair[1]),
            _mm512_unpacklo_epi64(high_pair[0], high_pair[1]), _mm512_unpackhi_epi64(high_pair[0], high_pair[1])};
        EACH(i, QUAD) _mm512_mask_storeu_epi32(to + (QUAD * high + i) * limb, columns,
                                               _mm512_permutexvar_epi32(order, limbs[i]));
    }
}

/* The first `count` of 16 lanes. */
INLINE __mmask16 first_lanes(size_t count) { return (__mmask16)((1u << count) - 1); }

/* The same of `depth` <= 4 rows of 16 words, `row` apart, of which those in `there` exist; the others are zero. */
INLINE void quad_to_limbs(const uint64_t *from, ptrdiff_t row, size_t depth, __mmask16 there, __mmask16 columns,
                          uint8_t *to, size_t limb) {
    vec rows[QUAD][2];
    EACH(i, QUAD) {
        const uint64_t *at = from + ((size_t)i < depth ? i * row : 0);
        const __mmask16 here = (size_t)i < depth ? there : 0;
        rows[i][0] = load_part(at, (mask)here);
        rows[i][1] = load_part(at + LANES, (mask)(here >> LANES));
    }
    store_quad_limbs(rows, columns, to, limb);
}

/* Rows of up to 16 contiguous words, `row` apart, as a block of right tiles; what is missing is zero. */
static void rows_to_right(const uint64_t *from, ptrdiff_t row, size_t depth, size_t cols, uint8_t *to) {
    const __mmask16 there = first_lanes(cols), all = first_lanes(SIDE);
    for (size_t p = 0; p < STEP; p += QUAD, to += STEP) {
        const size_t here = p < depth ? min_size(QUAD, depth - p) : 0;
        quad_to_limbs(from + (here ? (ptrdiff_t)p * row : 0), row, here, there, all, to, TILE);
    }
}

/* A left tile from a right one and the reverse: 16 x 16 groups of four bytes, transposed where they lie. */
static void transpose_tile(uint8_t *tile) {
    __m512i r[SIDE], t[SIDE];
    for (int i = 0; i < SIDE; i++) r[i] = load_bytes(tile + i * STEP);
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]), r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]), r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int c = 0; c < QUAD; c++) { /* r[4*g + c], lane l: column 4*l + c of rows 4*g to 4*g + 3 */
        const __m512i a02 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88),
                      a13 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
        const __m512i b02 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88),
                      b13 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
        store_bytes(tile + (0 + c) * STEP, _mm512_shuffle_i32x4(a02, b02, 0x88));
        store_bytes(tile + (4 + c) * STEP, _mm512_shuffle_i32x4(a13, b13, 0x88));
        store_bytes(tile + (8 + c) * STEP, _mm512_shuffle_i32x4(a02, b02, 0xdd));
        store_bytes(tile + (12 + c) * STEP, _mm512_shuffle_i32x4(a13, b13, 0xdd));
    }
}

static void transpose_block(uint8_t *block) {
    for (int i = 0; i < LIMBS; i++) transpose_tile(block + i * TILE);
}

/* Up to 16 x 64 words of any strides as a block: `wide` rows for a left one, `wide` columns for a right one. */
static void pack_block(const uint64_t *from, ptrdiff_t along, ptrdiff_t deep, size_t wide, size_t depth, int right,
                       uint8_t *to) {
    if (deep == 1) {
        rows_to_left(from, along, wide, depth, to);
        if (right) transpose_block(to);
        return;
    }
    uint64_t words[STEP * SIDE];
    if (along != 1) {
        for (size_t p = 0; p < depth; p++)
            for (size_t i = 0; i < wide; i++) words[p * SIDE + i] = from[(ptrdiff_t)p * deep + (ptrdiff_t)i * along];
        from = words, deep = SIDE;
    }
    rows_to_right(from, deep, depth, wide, to);
    if (!right) transpose_block(to);
}
