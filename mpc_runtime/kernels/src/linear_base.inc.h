/* What the bodies of matrix product and convolution share: loops, sizes and rows of words. Included after the arithmetic
 * that linear.inc.h says a wrapper defines. */

#define INLINE static inline __attribute__((always_inline))

/* An unrolled loop, its bound known to the compiler. */
#if defined(__clang__)
#define EACH(i, bound) _Pragma("clang loop unroll(full)") for (int i = 0; i < (int)(bound); i++)
#else
#define EACH(i, bound) _Pragma("GCC unroll 8") for (int i = 0; i < (int)(bound); i++)
#endif

enum { LINE = 8 }; /* words of a cache line */

INLINE size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Length of the first block when `total` is cut into the fewest equal blocks of at most `limit`. */
INLINE size_t even_block(size_t total, size_t limit) {
    const size_t blocks = (total + limit - 1) / limit;
    return blocks ? (total + blocks - 1) / blocks : 1;
}

INLINE vec merge(vec old, vec sum, int sign) { return sign > 0 ? add(old, sum) : sub(old, sum); }

/* to[0..count) (op)= from[0..count). */
INLINE void combine_row(uint64_t *to, const uint64_t *from, size_t count, int sign) {
    for (size_t t = 0; t < count; t += LANES) {
        const mask here = mask_of(min_size(LANES, count - t));
        const vec sum = load_part(from + t, here);
        store_part(to + t, here, sign == 0 ? sum : merge(load_part(to + t, here), sum, sign));
    }
}
